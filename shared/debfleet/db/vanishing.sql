-- Files that upstream lists no more and will soon have no more.
-- Kinds (debfleet.model.Kind): 1 package, 2 installer package, 3 generic content, 5 to 7 indices of
-- packages, sources and the installer's files, 12 source package.

-- name: list_files
-- For a sync whose indices are all known: the files of units that an index listed which this remote
-- has replaced since the last sync, that no index of now lists, in whatever unit, and that some given
-- version holds; unless stored. must_see: stored or not, the repository has yet to see them. An
-- index that is there no more, and not another in its place, was perhaps only not asked for. The
-- offsets are fences: few packages are looked up among all, each by itself.
with held as materialized (
  select l.kind::int as kind, id_at(c.chunk, i) as id
    from (select max(number) as number from repository_versions
           where repository = %(repository)s and options is not null) last
    join repository_chunks c on c.repository = %(repository)s and c.added <= last.number
     and (c.removed is null or c.removed > last.number)
    join content_lists l on l.id = c.list and l.kind in (5, 6, 7)
   cross join generate_series(0, chunk_size() - 1) i
   where get_bit(c.bits, i) = 1),
wanted as materialized (
  select kind::int as kind, unit as id from task_units where task = %(task)s and kind in (5, 6, 7)),
both_times as (select kind, id from held union select kind, id from wanted),
places as materialized (
  select b.kind, b.id, u.relative_path, u.sha256 from both_times b join package_indices u using (id) where b.kind = 5
  union all
  select b.kind, b.id, u.relative_path, u.sha256 from both_times b join source_indices u using (id) where b.kind = 6
  union all
  select b.kind, b.id, u.relative_path, u.sha256 from both_times b join installer_file_indices u using (id) where b.kind = 7),
replaced as materialized (
  select distinct x.id as index
    from held join places p using (kind, id)
    join indices x on x.sha256 = p.sha256
    join offers o on o.index = x.id and o.remote = %(remote)s
   where not exists (select from wanted w where w.kind = p.kind and w.id = p.id)
     and exists (select from wanted w join places n using (kind, id)
                  where n.kind = p.kind and n.relative_path = p.relative_path)),
listed as materialized (
  select c.kind::int as kind, c.chunk, bit_or(c.bits) as bits
    from wanted join places p using (kind, id)
    join indices x on x.sha256 = p.sha256 join index_chunks c on c.index = x.id
   where exists (select from replaced)
   group by 1, 2),
dropped as materialized (
  select r.kind, r.chunk, r.bits & ~ coalesce(n.bits, no_bits()) as bits
    from (select c.kind::int as kind, c.chunk, bit_or(c.bits) as bits
            from replaced join index_chunks c using (index) group by 1, 2) r
    left join listed n using (kind, chunk)),
ids as materialized (
  select distinct d.kind, id_at(d.chunk, place) as id
    from dropped d
    join content_lists l on l.kind = d.kind and l.release_component = 0
    join repository_chunks k on k.repository = %(repository)s and k.list = l.id and k.chunk = d.chunk
   cross join generate_series(0, chunk_size() - 1) place
   where bit_count(d.bits & k.bits) > 0 and get_bit(d.bits & k.bits, place) = 1
     and exists (select from unnest(%(versions)s::int[]) v (number)
                  where k.added <= v.number and (k.removed is null or k.removed > v.number))),
files as materialized (
  select p.sha256, p.size, p.relative_path as path
    from ids cross join lateral (select sha256, size, relative_path from packages where id = ids.id offset 0) p
   where ids.kind in (1, 2)
  union all
  select g.sha256, null, g.relative_path from ids join generic_contents g using (id) where ids.kind = 3
  union all
  select f.sha256, f.size, f.path from ids join unit_files f on f.kind = 12 and f.unit = ids.id where ids.kind = 12),
missing as materialized (
  select distinct on (f.sha256) f.sha256, f.size, f.path, x.sha256 is not null as must_see
    from files f left join unseen_files x on x.repository = %(repository)s and x.sha256 = f.sha256
   where x.sha256 is not null or not exists (select from artifacts a where a.sha256 = f.sha256)
   order by f.sha256, f.path),
units as (
  select m.sha256, p.kind::int as kind, p.id
    from missing m cross join lateral (select kind, id from packages where sha256 = m.sha256 offset 0) p
  union all
  select m.sha256, 3, g.id from missing m join generic_contents g using (sha256)
  union all
  select m.sha256, 12, f.unit from missing m join unit_files f using (sha256) where f.kind = 12),
again as materialized (
  select u.sha256 from units u join listed n on n.kind = u.kind and n.chunk = chunk_of(u.id)
   where get_bit(n.bits, place_of(u.id)) = 1)
insert into task_files (task, sha256, size, path, must_see)
select %(task)s, m.sha256, m.size, m.path, m.must_see
  from missing m
 where not exists (select from again a where a.sha256 = m.sha256)
 order by m.sha256
    on conflict (task, sha256) do nothing
