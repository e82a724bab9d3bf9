-- Files that nobody has any more. They are few, and every statement begins with them, each looked up
-- by itself (the offsets are fences): none costs more where a version holds more.
-- Kinds (debfleet.model.Kind): 1 package, 2 installer package, 3 generic content, 4 to 7 upstream's
-- own files, 12 source package.

-- name: is_gone
select exists (select from gone_files where sha256 = %(sha256)s) as is_gone

-- name: note
-- Of some files those that are not stored, and that each remote which offers them (there may be none)
-- said it has no more. Gives what was not known yet. In the order of the key.
insert into gone_files (sha256)
select d.sha256 from (select distinct sha256 from unnest(%(digests)s::bytea[]) as f (sha256)) d
 where not exists (select from gone_files g where g.sha256 = d.sha256)
   and not exists (select from artifacts a where a.sha256 = d.sha256)
   and not exists (
       select from (select kind::int as kind, id from packages where sha256 = d.sha256
                    union all
                    select 3, id from generic_contents where sha256 = d.sha256
                    union all
                    select 12, unit from unit_files where kind = 12 and sha256 = d.sha256) u
         join index_chunks c on c.kind = u.kind and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1
         join offers o on o.index = c.index
        where not exists (select from unnest(%(said)s::bytea[], %(remotes)s::int[]) as s (sha256, remote)
                           where s.sha256 = d.sha256 and s.remote = o.remote))
 order by 1
    on conflict do nothing
returning sha256

-- name: forget
delete from gone_files where sha256 = any (%(digests)s::bytea[])

-- name: forget_listed
-- What the indices list that a sync looked at is offered anew, unless this sync itself missed it.
with units as materialized (
  select g.sha256, p.kind::int as kind, p.id from gone_files g join packages p using (sha256)
  union all
  select g.sha256, 3, c.id from gone_files g join generic_contents c using (sha256)
  union all
  select g.sha256, 12, f.unit from gone_files g join unit_files f using (sha256) where f.kind = 12)
delete from gone_files
 where sha256 in (select u.sha256
                    from units u join wanted_indices w on w.task = %(task)s and w.state in ('known', 'ingested')
                    join index_chunks c on c.index = w.index and c.kind = u.kind and c.chunk = chunk_of(u.id)
                   where get_bit(c.bits, place_of(u.id)) = 1)
   and not exists (select from task_files t
                    where t.task = %(task)s and t.sha256 = gone_files.sha256 and t.refused is not null)

-- name: forget_unnamed
-- No unit has such a file any more.
delete from gone_files g
 where not exists (select from packages p where p.sha256 = g.sha256)
   and not exists (select from generic_contents c where c.sha256 = g.sha256)
   and not exists (select from unit_files f where f.sha256 = g.sha256)

-- name: with_units
-- The units of the files that are gone.
with gone as materialized (
  select sha256 from gone_files g where not exists (select from artifacts a where a.sha256 = g.sha256)),
units as materialized (
  select g.sha256, u.kind, u.id
    from gone g
   cross join lateral (select kind::int as kind, id from packages where sha256 = g.sha256
                       union all
                       select 3, id from generic_contents where sha256 = g.sha256
                       union all
                       select kind::int, unit from unit_files where sha256 = g.sha256 offset 0) u)

-- name: count_in_versions
-- How many files of each of some versions, given as two lists of the same length, are gone; no row: none.
{with_units}
select v.repository, v.number, count(distinct u.sha256) as files
  from units u
  join content_lists l on l.kind = u.kind and l.release_component = 0
 cross join unnest(%(repositories)s::int[], %(numbers)s::int[]) as v (repository, number)
  join repository_chunks c on c.repository = v.repository and c.list = l.id and c.chunk = chunk_of(u.id)
   and c.added <= v.number and (c.removed is null or c.removed > v.number)
 where get_bit(c.bits, place_of(u.id)) = 1
 group by 1, 2

-- name: count_held
-- How many files are gone that some version holds.
{with_units}
select count(distinct u.sha256) as files
  from units u join content_lists l on l.kind = u.kind and l.release_component = 0
 where exists (select from repository_chunks c
                where c.list = l.id and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1)
