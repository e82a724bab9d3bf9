-- Source packages that may not stand together in one version. They work on the temporary tables of
-- versions.sql (wanted, base, masks, result), as the statements for packages there do.

-- name: create_tables
-- fresh_sources: source packages that base lacks; rival_sources: those of base of the same name and
-- version as a fresh one.
create temp table fresh_sources on commit drop as select id, same_key, sha256 from source_packages with no data;
create temp table rival_sources (id bigint, wanted boolean, differs boolean, label text) on commit drop;

-- name: drop_tables
drop table fresh_sources, rival_sources;

-- name: fill_fresh
insert into fresh_sources
with news as materialized (
  select w.chunk, w.bits & ~ coalesce(b.bits, no_bits()) as bits
    from wanted w join content_lists l on l.id = w.list and l.kind = 12
    left join base b on b.list = w.list and b.chunk = w.chunk
   where w.bits is distinct from b.bits),
ids as materialized (
  select id_at(chunk, place) as id from news, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1)
select id, same_key, sha256 from ids join source_packages using (id);

-- name: analyze_fresh
analyze fresh_sources (id, same_key);

-- name: find_duplicates
-- Among the fresh: one name and version, several .dsc files.
with suspects as materialized (
  select same_key from (select distinct same_key, sha256 from fresh_sources) keys
   group by same_key having count(*) > 1),
pairs as (
  select concat_ws(' ', p.name, p.version) as label
    from fresh_sources f join source_packages p using (id)
   where f.same_key in (select same_key from suspects)
   group by p.name, p.version
  having count(distinct p.sha256) > 1)
select count(*) as count, (array_agg(label order by label))[1:10] as examples from pairs;

-- name: fill_rivals
-- The offset is a fence, as in find_path_clashes of versions.sql.
insert into rival_sources
with others as materialized (
  select f.id as fresh, p.id
    from fresh_sources f
   cross join lateral (select id from source_packages where same_key = f.same_key offset 0) p
   where p.id <> f.id and exists (select from base where list in (select id from content_lists where kind = 12)))
select p.id, coalesce(get_bit(w.bits, place_of(p.id)) = 1, false), p.sha256 <> n.sha256,
       concat_ws(' ', p.name, p.version)
  from others o
  join content_lists l on l.kind = 12
  join base b on b.list = l.id and b.chunk = chunk_of(o.id) and get_bit(b.bits, place_of(o.id)) = 1
  left join wanted w on w.list = l.id and w.chunk = chunk_of(o.id)
  join source_packages p on p.id = o.id
  join source_packages n on n.id = o.fresh and (p.name, p.version) = (n.name, n.version);

-- name: find_clashes
-- Upstream wants both builds, one of which we hold.
select count(distinct label) as count, (array_agg(distinct label))[1:10] as examples
  from rival_sources where wanted and differs;

-- name: get_replaced
select count(distinct id) as count, (array_agg(distinct label))[1:10] as examples
  from rival_sources where not wanted;

-- name: mask_rivals
insert into masks
select l.id, chunk_of(r.id), bit_or(one_bit(r.id))
  from (select distinct id from rival_sources where not wanted) r join content_lists l on l.kind = 12
 group by 1, 2;

-- name: find_path_clashes
-- Files of fresh source packages at the path of another file of the new version's source packages;
-- and where one of the two is a package, whichever of them is fresh.
with mine as materialized (
  select f.path, f.sha256 from fresh_sources s join unit_files f on f.kind = 12 and f.unit = s.id),
others as materialized (
  select m.path, f.unit
    from mine m
   cross join lateral (select unit, sha256, path from unit_files
                        where kind = 12 and file_name(path) = file_name(m.path) offset 0) f
   where f.path = m.path and f.sha256 <> m.sha256
  union
  select p.relative_path, f.unit
    from fresh p
   cross join lateral (select unit, sha256, path from unit_files
                        where kind = 12 and file_name(path) = file_name(p.relative_path) offset 0) f
   where f.path = p.relative_path and f.sha256 <> p.sha256
     and exists (select from result r join content_lists l on l.id = r.list where l.kind = 12)),
packages_there as materialized (
  select m.path, p.id
    from mine m
   cross join lateral (select id, sha256 from packages where relative_path = m.path offset 0) p
   where p.sha256 <> m.sha256)
select count(*) as count, (array_agg(path order by path))[1:10] as examples
  from (select o.path
          from others o
          join content_lists l on l.kind = 12
          join result r on r.list = l.id and r.chunk = chunk_of(o.unit) and get_bit(r.bits, place_of(o.unit)) = 1
        union
        select p.path
          from packages_there p
          join content_lists l on l.kind in (1, 2)
          join result r on r.list = l.id and r.chunk = chunk_of(p.id) and get_bit(r.bits, place_of(p.id)) = 1
       ) clashes;
