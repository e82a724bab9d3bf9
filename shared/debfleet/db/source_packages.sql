-- Source packages as they come in: the same statements as those of packages in units.sql, which
-- explain themselves there. Kind 12 is a source package (debfleet.model.Kind); in a set of an index
-- its architecture is ''.

-- name: create_staging
create temp table staged_source_packages on commit drop as
select digest, name, version, relative_path, sha256, same_key, stanza, null::jsonb as files
  from source_packages with no data;

-- name: find_known
-- See units.sql.
with found as materialized (
  select id, digest from source_packages where digest = any (%(digests)s::uuid[]))
select '' as architecture, chunk_of(id) as chunk, array_agg(place_of(id)) as places, null::int[] as unknown
  from found group by 2
union all
select null, null, null, array_agg(d.n::int)
  from unnest(%(digests)s::uuid[]) with ordinality as d (digest, n)
 where (select count(*) from found) < cardinality(%(digests)s::uuid[])
   and not exists (select from found where found.digest = d.digest)
having count(*) > 0;

-- name: copy_staged
copy staged_source_packages from stdin;

-- name: analyze_staging
analyze staged_source_packages (digest);

-- name: merge_staged
-- The files go with who made the row: another transaction that made it meanwhile has committed them.
insert into source_packages (digest, name, version, relative_path, sha256, same_key, stanza)
select distinct on (digest) digest, name, version, relative_path, sha256, same_key, stanza
  from staged_source_packages s
 where (select p.id from source_packages p where p.digest = s.digest) is null
 order by digest
    on conflict (digest) do nothing;
insert into unit_files (kind, unit, path, sha256, size)
select distinct on (p.id, f.path) 12, p.id, f.path, decode(f.sha256, 'hex'), f.size
  from staged_source_packages s
  join source_packages p using (digest)
 cross join lateral jsonb_to_recordset(s.files) as f (path text, size bigint, sha256 text)
 where not exists (select from unit_files u where u.kind = 12 and u.unit = p.id)
 order by p.id, f.path
    on conflict do nothing;

-- name: list_staged
select '' as architecture, chunk_of(p.id) as chunk, array_agg(place_of(p.id)) as places
  from staged_source_packages s
  join lateral (select id from source_packages where digest = s.digest limit 1) p on true
 group by 2;

-- name: drop_staging
drop table staged_source_packages;
