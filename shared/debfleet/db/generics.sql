-- Generic content: files that no index of packages names, as those of the installer; and what lists them.
-- Kinds (debfleet.model.Kind): 1 package, 2 installer package, 3 generic content.

-- name: list_sizes
-- How large files are, of those for which somebody said so; an artifact's own size before all.
select f.sha256, coalesce(min(a.size), min(g.size)) as size
  from unnest(%(sha256s)s::bytea[]) as f (sha256)
  left join artifacts a on a.sha256 = f.sha256
  left join generic_contents g on g.sha256 = f.sha256
 group by 1 having coalesce(min(a.size), min(g.size)) is not null;

-- name: drop_refused
-- Those whose files upstream did not give (task_files.refused).
update wanted w set bits = w.bits & ~ r.bits
  from (select chunk_of(g.id) as chunk, bit_or(one_bit(g.id)) as bits
          from task_files f join generic_contents g on g.sha256 = f.sha256
         where f.task = %(task)s and f.refused is not null
           and (f.must_see or not exists (select from artifacts a where a.sha256 = f.sha256))
         group by 1) r, content_lists l
 where l.id = w.list and l.kind = 3 and w.chunk = r.chunk;

-- name: add_generics
-- Everybody in this order. What was known gets a size where it had none.
with new as materialized (
  select f.path, f.sha256, f.size
    from unnest(%(paths)s::text[], %(sha256s)s::bytea[], %(sizes)s::bigint[]) as f (path, sha256, size)
   order by f.sha256, texts_key(f.path))
insert into generic_contents (relative_path, sha256, size)
select path, sha256, size from new n
 where not exists (select from generic_contents g
                    where g.sha256 = n.sha256 and texts_key(g.relative_path) = texts_key(n.path))
    on conflict do nothing;

-- name: touch_generics
update generic_contents u set last_wanted = now(), size = coalesce(u.size, f.size)
  from (select g.id, f.size
          from unnest(%(paths)s::text[], %(sha256s)s::bytea[], %(sizes)s::bigint[]) as f (path, sha256, size)
          join generic_contents g on g.sha256 = f.sha256 and texts_key(g.relative_path) = texts_key(f.path)
         where g.last_wanted < now() - interval '1 minute' or g.size is null and f.size is not null
         order by g.id for no key update of g) f
 where u.id = f.id;

-- name: add_chunks
-- The set of an index's files.
insert into index_chunks (index, kind, architecture, chunk, bits)
select %(index)s, 3, '', chunk_of(g.id), bit_or(one_bit(g.id))
  from unnest(%(paths)s::text[], %(sha256s)s::bytea[]) as f (path, sha256)
  join generic_contents g on g.sha256 = f.sha256 and texts_key(g.relative_path) = texts_key(f.path)
 group by chunk_of(g.id);

-- name: list_missing_files
-- The files of some wanted installer indices, each digest once, unless stored. Those whose size
-- nobody told are wanted even where no file is: without a size they cannot be served.
with ids as materialized (
  select id_at(c.chunk, place) as id
    from wanted_indices w join index_chunks c on c.index = w.index and c.kind = 3
   cross join generate_series(0, chunk_size() - 1) place
   where w.task = %(task)s and w.position = any (%(positions)s) and w.lists = 3 and get_bit(c.bits, place) = 1)
insert into task_files (task, sha256, size, path)
select distinct on (g.sha256) %(task)s, g.sha256, null, g.relative_path
  from ids join generic_contents g using (id)
 where not exists (select from artifacts a where a.sha256 = g.sha256)
   and (%(everything)s or g.size is null)
 order by g.sha256, g.relative_path
    on conflict (task, sha256) do nothing;

-- name: note_sizes
-- A file that is stored has the size that it has, whatever was said before.
with ids as materialized (
  select id_at(c.chunk, place) as id
    from wanted_indices w join index_chunks c on c.index = w.index and c.kind = 3
   cross join generate_series(0, chunk_size() - 1) place
   where w.task = %(task)s and w.lists = 3 and get_bit(c.bits, place) = 1),
wrong as materialized (
  select g.id, a.size from ids join generic_contents g using (id) join artifacts a on a.sha256 = g.sha256
   where g.size is distinct from a.size
   order by g.id for no key update of g)
update generic_contents u set size = wrong.size from wrong where u.id = wrong.id;

-- name: mask_replaced
-- A file in base at the path of another one that is wanted: the new replaces the old.
insert into masks
with news as materialized (
  select n.id, n.relative_path
    from wanted f join content_lists l on l.id = f.list and l.kind = 3
    join generic_contents n on n.id between id_at(f.chunk, 0) and id_at(f.chunk, chunk_size() - 1)
     and get_bit(f.bits, place_of(n.id)) = 1),
olds as materialized (
  select o.id, b.list
    from news n
   cross join lateral (select id from generic_contents where relative_path = n.relative_path offset 0) o
    join content_lists l on l.kind = 3
    join base b on b.list = l.id and b.chunk = chunk_of(o.id) and get_bit(b.bits, place_of(o.id)) = 1
   where o.id <> n.id)
select list, chunk_of(id), bit_or(one_bit(id)) from olds group by 1, 2;

-- name: find_path_clashes
-- Files of the new version at the path of another one, of a package, or of a source package's file.
with ids as materialized (
  select id_at(r.chunk, place) as id
    from result r join content_lists l on l.id = r.list and l.kind = 3
   cross join generate_series(0, chunk_size() - 1) place
   where get_bit(r.bits, place) = 1),
others as materialized (
  select g.relative_path, p.id, p.kind
    from ids join generic_contents g using (id)
   cross join lateral (select id, kind, sha256 from packages where relative_path = g.relative_path offset 0) p
   where p.sha256 <> g.sha256
  union all
  select g.relative_path, f.unit, 12
    from ids join generic_contents g using (id)
   cross join lateral (select unit, sha256, path from unit_files
                        where kind = 12 and file_name(path) = file_name(g.relative_path) offset 0) f
   where f.path = g.relative_path and f.sha256 <> g.sha256)
select count(*) as count, (array_agg(path order by path))[1:10] as examples
  from (select g.relative_path as path from ids join generic_contents g using (id)
         group by 1 having count(*) > 1
        union
        select o.relative_path
          from others o
          join content_lists l on l.kind = o.kind
          join result r on r.list = l.id and r.chunk = chunk_of(o.id) and get_bit(r.bits, place_of(o.id)) = 1
       ) clashes;
