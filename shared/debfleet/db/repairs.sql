-- Files of a version that are to be looked at, and where they can be had again.

-- name: list_files
-- The next stored files that a version's units name, by artifact.
with held as materialized (
  select l.kind, c.chunk, c.bits from repository_chunks c join content_lists l on l.id = c.list
   where c.repository = %(repository)s and c.added <= %(number)s
     and (c.removed is null or c.removed > %(number)s) and l.kind in (1, 2, 3, 4, 5, 6, 7, 12)),
next as materialized (
  select a.id, a.sha256, a.size from artifacts a
   where a.id > %(after)s
     and (exists (select from packages p join held h on h.kind = p.kind and h.chunk = chunk_of(p.id)
                   where p.sha256 = a.sha256 and get_bit(h.bits, place_of(p.id)) = 1)
          or exists (select from generic_contents g join held h on h.kind = 3 and h.chunk = chunk_of(g.id)
                      where g.sha256 = a.sha256 and get_bit(h.bits, place_of(g.id)) = 1)
          or exists (select from unit_files f join held h on h.kind = f.kind and h.chunk = chunk_of(f.unit)
                      where f.sha256 = a.sha256 and get_bit(h.bits, place_of(f.unit)) = 1))
   order by a.id limit %(limit)s)
select id, sha256, size from next order by id

-- name: list_all_files
select id, sha256, size from artifacts where id > %(after)s order by id limit %(limit)s

-- name: list_sources
-- Where a remote offers files: a package or generic content by an index that lists it, the newest
-- first; anything else where this repository's remote had it.
select distinct on (sha256, remote) sha256, remote, path
  from (select u.sha256, o.remote, u.path, o.index
          from (select id, kind, sha256, relative_path as path from packages
                 where sha256 = any(%(digests)s::bytea[])
                union all
                select id, 3, sha256, relative_path from generic_contents
                 where sha256 = any(%(digests)s::bytea[])) u
          join index_chunks c on c.kind = u.kind and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1
          join offers o on o.index = c.index
        union all
        select f.sha256, o.remote, f.path, o.index
          from unit_files f
          join index_chunks c on c.kind = 12 and c.chunk = chunk_of(f.unit) and get_bit(c.bits, place_of(f.unit)) = 1
          join offers o on o.index = c.index
         where f.kind = 12 and f.sha256 = any(%(digests)s::bytea[])
        union all
        select f.sha256, r.remote, f.path, 0
          from unit_files f join repositories r on r.id = %(repository)s and r.remote is not null
         where f.sha256 = any(%(digests)s::bytea[])) found
 order by sha256, remote, index desc

-- name: drop_artifacts
-- What is lost is not stored: the next sync fetches it, and nobody is told that we have it.
delete from artifacts where sha256 = any(%(digests)s::bytea[])

-- name: doom_files
insert into doomed_files (sha256)
select distinct d from unnest(%(digests)s::bytea[]) d order by 1 on conflict do nothing

-- name: restart_reports
-- An earlier attempt counted the same files.
update progress_reports set done = 0 where task = %(task)s and code like 'repair.%%'
