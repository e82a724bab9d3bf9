-- Content units as they come in: ingested indices, missing files, artifacts.
-- Kind 1 is a package, 2 one of the installer's (debfleet.model.Kind).

-- name: lock_content_shared
-- Held to the end of a transaction that relies on units or indices it has seen: cleanup, which
-- takes the same lock exclusively, deletes none of them meanwhile.
select pg_advisory_xact_lock_shared(hashtextextended('debfleet.content', 0));

-- name: lock_content
-- For cleanup, one batch at a time: nobody is between finding a unit and setting its bit.
select pg_advisory_xact_lock(hashtextextended('debfleet.content', 0));

-- name: lock_index
-- One worker at a time ingests an index: the next finds it done, and no id is burnt.
select pg_advisory_xact_lock(hashtextextended(encode(%(sha256)s, 'hex'), 1));

-- name: find_indices
-- No row for a digest: never ingested, or cleaned up since.
select sha256, id from indices where sha256 = any (%(sha256s)s) and profile = %(profile)s;

-- name: touch_indices
-- In one order, and not the row that everybody wants a hundred times a second.
update indices set last_wanted = now()
 where id in (select id from indices
               where sha256 = any (%(sha256s)s) and profile = %(profile)s and last_wanted < now() - interval '1 minute'
               order by id for no key update);

-- name: get_ingested
select i.id, i.stanzas, i.tolerated,
       (select coalesce(sum(bit_count(bits)), 0)::bigint from index_chunks c where c.index = i.id) as packages
  from indices i where i.sha256 = %(sha256)s and i.profile = %(profile)s;

-- name: create_staging
create temp table staged_packages on commit drop as
select digest, kind, name, version, architecture, architecture_variant, source, section, priority,
       multi_arch, relative_path, size, sha256, same_key, stanza
  from packages with no data;

-- name: find_known
-- Which of a batch's digests are known, as places by architecture and chunk; the row without a
-- chunk, if there is one, has the ordinals (from 1) of the others. As one list the digests are
-- sought in the order of the Postgres index, many in one walk; a join would seek each, or read the
-- whole table for each batch.
with found as materialized (
  select id, architecture, digest from packages where digest = any (%(digests)s::uuid[]))
select architecture, chunk_of(id) as chunk, array_agg(place_of(id)) as places, null::int[] as unknown
  from found group by 1, 2
union all
select null, null, null, array_agg(d.n::int)
  from unnest(%(digests)s::uuid[]) with ordinality as d (digest, n)
 where (select count(*) from found) < cardinality(%(digests)s::uuid[])
   and not exists (select from found where found.digest = d.digest)
having count(*) > 0;

-- name: find_index_before
-- The index at a path in the latest version of a repository, unless it is a huge one.
select i.id
  from package_indices u
  join indices i on i.sha256 = u.sha256 and i.profile = %(profile)s and i.stanzas <= %(most)s
 where u.relative_path = %(path)s
   and exists (select from repository_chunks c join content_lists l on l.id = c.list and l.kind = 5
                where c.repository = %(repository)s and c.removed is null
                  and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1)
 order by u.last_wanted desc, u.id desc
 limit 1;

-- name: list_digests
-- The packages of an index: digests of 16 bytes and places of 4 by architecture and chunk, in one walk
-- over each chunk's ids. Without chunks of which a package is gone.
select c.architecture, c.chunk, c.bits, p.digests, p.places
  from index_chunks c
 cross join lateral (
   select string_agg(uuid_send(digest), '' order by id) as digests,
          string_agg(int4send(place_of(id)), '' order by id) as places, count(*) as n
     from packages
    where id between id_at(c.chunk, 0) and id_at(c.chunk, chunk_size() - 1) and get_bit(c.bits, place_of(id)) = 1) p
 where c.index = %(index)s and c.kind = %(kind)s and p.n = bit_count(c.bits);

-- name: copy_staged
copy staged_packages from stdin;

-- name: analyze_staging
analyze staged_packages (digest, architecture);

-- name: merge_staged
-- Everybody inserts in this order, so that siblings sharing packages wait and never deadlock;
-- architecture first keeps the ids of one set close together. Conflicts alone would burn ids; the
-- subquery is a probe per row, where an anti-join may read the whole table.
insert into packages (digest, kind, name, version, architecture, architecture_variant, source, section,
                      priority, multi_arch, relative_path, size, sha256, same_key, stanza)
select distinct on (architecture, digest)
       digest, kind, name, version, architecture, architecture_variant, source, section,
       priority, multi_arch, relative_path, size, sha256, same_key, stanza
  from staged_packages s
 where (select p.id from packages p where p.digest = s.digest) is null
 order by architecture, digest
    on conflict (digest) do nothing;

-- name: list_staged
-- The ids of what was staged, whoever inserted it.
select p.architecture, chunk_of(p.id) as chunk, array_agg(place_of(p.id)) as places
  from staged_packages s
  join lateral (select id, architecture from packages where digest = s.digest limit 1) p on true
 group by 1, 2;

-- name: drop_staging
drop table staged_packages;

-- name: add_index
insert into indices (sha256, profile, stanzas, tolerated)
values (%(sha256)s, %(profile)s, %(stanzas)s, %(tolerated)s)
returning id;

-- name: copy_index_chunks
copy index_chunks (index, kind, architecture, chunk, bits) from stdin (format binary);

-- name: list_missing_files
-- The files of the units that some wanted indices list, each digest once, unless stored; one
-- that is stored under another size is for the download to refuse. In the order of the key: index
-- jobs of one task may add the same files. Sizes are what upstream says: their sum may be absurd.
-- With an opener they are dealt at once (dealt of dealing.sql).
with sets as materialized (
  select c.kind, c.chunk, bit_or(c.bits) as bits
    from wanted_indices w
    join index_chunks c on c.index = w.index and c.kind = w.lists
     and (w.accept is null or c.architecture = any (w.accept))
   where w.task = %(task)s and w.position = any (%(positions)s)
   group by c.kind, c.chunk),
ids as materialized (
  select s.kind, id_at(s.chunk, place) as id
    from sets s, generate_series(0, chunk_size() - 1) place where get_bit(s.bits, place) = 1),
files as materialized (
  select p.sha256, p.size, p.relative_path as path
    from ids join packages p using (id) where ids.kind in (1, 2)
  union all
  select f.sha256, f.size, f.path
    from ids join unit_files f on f.kind = 12 and f.unit = ids.id where ids.kind = 12),
missing as materialized (
  select distinct on (f.sha256) f.sha256, f.size, f.path
    from files f
   where not exists (select from artifacts a where a.sha256 = f.sha256 and a.size = f.size)
   order by f.sha256, f.path, f.size),
/* dealt */,
added as (
  insert into task_files (task, sha256, size, path, opener, chunk)
  select %(task)s, sha256, size, path, %(opener)s::bigint,
         case when %(opener)s::bigint is not null then chunk end
    from dealt
   order by sha256
      on conflict (task, sha256) do nothing
  returning chunk)
select coalesce(chunk, 0) as chunk, count(*)::int as files from added group by chunk order by chunk;

-- name: add_artifacts
-- In the order of the key; an artifact that is known is wanted again.
insert into artifacts (sha256, size)
select distinct on (f.sha256) f.sha256, f.size
  from unnest(%(sha256s)s::bytea[], %(sizes)s::bigint[]) as f (sha256, size)
 order by f.sha256
    on conflict (sha256) do update set last_wanted = now()
 where artifacts.last_wanted < now() - interval '1 minute';
