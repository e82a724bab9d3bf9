-- Cleanup of what nobody holds: ingested indices, then units, then artifacts, then files.
-- orphans.py says why in this order and under which lock.

-- name: delete_indices
-- Indices that no task relies on, nobody asked for lately, and that are no remote's newest offer of
-- some unit that a version still holds: such a unit could not be fetched any more.
with alive as materialized (
  select l.kind, c.chunk, bit_or(c.bits) as bits
    from repository_chunks c join content_lists l on l.id = c.list and l.kind in (1, 2, 3, 12) group by l.kind, c.chunk),
offered as materialized (
  select o.remote, c.kind, c.index, c.chunk, bit_or(c.bits) as bits
    from offers o join index_chunks c on c.index = o.index
   group by o.remote, c.kind, c.index, c.chunk),
newer as (
  select kind, index, chunk, bits,
         bit_or(bits) over (partition by remote, kind, chunk order by index desc
                            rows between unbounded preceding and 1 preceding) as later
    from offered),
needed as materialized (
  select distinct n.index from newer n join alive a using (kind, chunk)
   where bit_count(n.bits & a.bits & ~ coalesce(n.later, no_bits())) > 0),
free as materialized (
  select i.id from indices i
   where i.last_wanted < now() - make_interval(mins => %(minutes)s)
     and i.id not in (select index from needed)
     and not exists (select from wanted_indices w where w.index = i.id)
   order by i.id limit %(limit)s
     for update of i skip locked)
delete from indices i using free where i.id = free.id

-- name: list_dead_chunks
-- Chunks with more units than bits. A look without a lock: delete_units looks again.
with alive as (
  select chunk, bit_count(bit_or(bits)) as n
    from (select c.chunk, c.bits from repository_chunks c join content_lists l on l.id = c.list
           where l.kind = {kind} or l.kind = link_kind({kind})
          union all
          select chunk, bits from index_chunks where kind = {kind}) held
   group by chunk),
there as (select chunk_of(u.id) as chunk, count(*) as n from {table} u where {mine} group by 1)
select chunk from there left join alive using (chunk)
 where there.n > coalesce(alive.n, 0) order by chunk

-- name: delete_units
-- Units of a few chunks whose bit is set nowhere, that no task has found for its version, and that
-- nobody wanted lately; with their files and labels. Gives how many.
with alive as materialized (
  select chunk, bit_or(bits) as bits
    from (select c.chunk, c.bits from repository_chunks c join content_lists l on l.id = c.list
           where (l.kind = {kind} or l.kind = link_kind({kind})) and c.chunk = any({chunks}::int[])
          union all
          select chunk, bits from index_chunks where kind = {kind} and chunk = any({chunks}::int[])) held
   group by chunk),
free as materialized (
  select u.id
    from unnest({chunks}::int[]) as c (chunk)
    join {table} u on u.id >= id_at(c.chunk, 0) and u.id < id_at(c.chunk + 1, 0)
    left join alive a on a.chunk = c.chunk
   where u.last_wanted < now() - make_interval(mins => {minutes})
     and coalesce(get_bit(a.bits, place_of(u.id)), 0) = 0
     and not exists (select from task_units t where t.kind = {kind} and t.unit = u.id)
     and {also}
   order by u.id
     for update of u skip locked),
labels as (delete from unit_labels t using free, content_lists l
            where t.list = l.id and t.unit = free.id and (l.kind = {kind} or l.kind = link_kind({kind}))),
files as (delete from unit_files f using free where f.kind = {kind} and f.unit = free.id),
places as (delete from content_lists l using free
            where {kind} = 10 and l.kind in (11, 13, 14) and l.release_component = free.id)
delete from {table} u using free where u.id = free.id

-- name: is_of_kind
u.kind = {kind}

-- name: is_one_of
u.id = any({ids}::bigint[])

-- name: is_no_task_s_index
not exists (select from wanted_indices w where w.unit = u.id and case w.lists when 12 then 6 when 3 then 7 else 5 end = {kind})

-- name: has_no_links
-- The places of a component's links go with it, so none may be in use.
not exists (select from content_lists l join repository_chunks c on c.list = l.id
             where l.kind in (11, 13, 14) and l.release_component = u.id)

-- name: doom_artifacts
-- The next artifacts whose digest no unit names and no sync is about to store. Their rows go now,
-- their files after the commit. last: where to go on; null: that was all.
with next as materialized (
  select id, sha256 from artifacts where id > %(after)s order by id limit %(limit)s),
free as materialized (
  select a.id, a.sha256 from next join artifacts a using (id)
   where a.last_wanted < now() - make_interval(mins => %(minutes)s)
     and not exists (select from packages p where p.sha256 = a.sha256)
     and not exists (select from generic_contents g where g.sha256 = a.sha256)
     and not exists (select from unit_files f where f.sha256 = a.sha256)
     and not exists (select from published_files f where f.sha256 = a.sha256)
     and not exists (select from task_files f join tasks t on t.id = f.task and t.finished is null
                      where f.sha256 = a.sha256)
     and a.sha256 not in (select decode(e.value ->> 'sha256', 'hex') from wanted_indices w, jsonb_each(w.files) e
                          union all select w.sha256 from wanted_indices w)
   order by a.id
     for update of a skip locked),
gone as (delete from artifacts a using free where a.id = free.id returning a.sha256),
doomed as (insert into doomed_files (sha256) select sha256 from gone order by 1 on conflict do nothing)
select (select max(id) from next) as last, (select count(*) from gone) as count

-- name: list_next_doomed
-- In the order of their digests, from where the batch before ended: what that one deleted is not
-- passed over again.
select sha256 from doomed_files where sha256 > %(after)s order by sha256 limit %(limit)s

-- name: forgive_files
-- Stored again since: the file stays.
delete from doomed_files d
 where d.sha256 = any(%(digests)s::bytea[]) and exists (select from artifacts a where a.sha256 = d.sha256)

-- name: list_doomed_files
-- Of some those without a row that no sync is about to store, and that are no chunk of an upload.
select d.sha256 from doomed_files d
 where d.sha256 = any(%(digests)s::bytea[])
   and not exists (select from artifacts a where a.sha256 = d.sha256)
   and not exists (select from upload_chunks c where c.sha256 = d.sha256)
   and not exists (select from task_files f join tasks t on t.id = f.task and t.finished is null
                    where f.sha256 = d.sha256)
   and d.sha256 not in (select decode(e.value ->> 'sha256', 'hex') from wanted_indices w, jsonb_each(w.files) e
                        union all select w.sha256 from wanted_indices w)

-- name: forget_doomed_files
delete from doomed_files where sha256 = any(%(digests)s::bytea[])

-- name: claim_files
-- In no chunk that a download job reads: only the claim is wanted.
insert into task_files (task, sha256, size, path, opener, chunk)
select %(task)s, f.sha256, f.size, f.path, %(job)s, -1
  from unnest(%(digests)s::bytea[], %(sizes)s::bigint[], %(paths)s::text[]) as f (sha256, size, path)
 order by f.sha256
    on conflict (task, sha256) do nothing

-- name: close_reports
update progress_reports set total = done
 where task = %(task)s and code in ('clean-up.content', 'clean-up.artifacts')
