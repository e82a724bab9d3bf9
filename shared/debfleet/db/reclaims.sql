-- Stored files that can be had again. Kinds: 1 and 2 packages, 3 generic content, 12 source packages.

-- name: doom_artifacts
-- Of the next artifacts those that only the given repositories hold, in no version that is to be kept,
-- that some remote offers, and that no task is about to rely on. last: where to go on; null: that
-- was all.
with next as materialized (
  select id, sha256 from artifacts where id > %(after)s order by id limit %(limit)s),
units as materialized (
  select n.id as artifact, p.kind::int as kind, p.id from next n join packages p using (sha256)
  union all
  select n.id, 3, g.id from next n join generic_contents g using (sha256)
  union all
  select n.id, f.kind, f.unit from next n join unit_files f using (sha256)),
holders as materialized (
  select distinct u.artifact, u.kind, c.repository, c.added, c.removed
    from units u
    join content_lists l on l.kind = u.kind and l.release_component = 0
    join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1),
offered as (
  select u.artifact
    from units u
    join index_chunks c on c.kind = u.kind and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1
    join offers o on o.index = c.index),
relied_on as (
  select u.artifact
    from units u
    join index_chunks c on c.kind = u.kind and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1
    join wanted_indices w on w.index = c.index
    join tasks t on t.id = w.task and t.finished is null),
free as materialized (
  select a.id from next join artifacts a using (id)
   where a.id in (select artifact from holders)
     and a.id not in (select artifact from holders h
                       where h.repository <> all (%(repositories)s::int[]) or h.kind not in (1, 2, 3, 12)
                          or exists (select from unnest(%(kept)s::int[], %(numbers)s::int[]) k (repository, number)
                                      where k.repository = h.repository and h.added <= k.number
                                        and (h.removed is null or h.removed > k.number)))
     and a.id in (select artifact from offered)
     and a.id not in (select artifact from relied_on)
     and not exists (select from published_files f where f.sha256 = a.sha256)
     and not exists (select from task_files f join tasks t on t.id = f.task and t.finished is null
                      where f.sha256 = a.sha256)
   order by a.id
     for update of a skip locked),
gone as (delete from artifacts a using free where a.id = free.id returning a.sha256),
doomed as (insert into doomed_files (sha256) select sha256 from gone order by 1 on conflict do nothing)
select (select max(id) from next) as last, (select count(*) from gone) as count

-- name: close_report
update progress_reports set total = done where task = %(task)s and code = 'reclaim-space.artifact'
