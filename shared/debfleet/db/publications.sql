-- Publications, their files, and who serves them.

-- name: find_unpublished
-- The latest version. No row: it has a publication already (of checkpoints: one that is).
SELECT max(v.number) AS number FROM repository_versions v
 WHERE v.repository = %(repository)s
HAVING NOT EXISTS (SELECT FROM publications p
                    WHERE p.repository = %(repository)s AND p.number = max(v.number)
                      AND p.is_complete AND p.kind = 'apt' AND (p.checkpoint OR NOT %(checkpoint)s))

-- name: add_publication
insert into publications (repository, number, kind, simple, structured, checkpoint, layout, options, made_by)
values (%(repository)s, %(number)s, %(kind)s, %(simple)s, %(structured)s, %(checkpoint)s, %(layout)s,
        %(options)s, %(made_by)s)
returning id, uuid, repository, number, kind, simple, structured, checkpoint, layout, options, is_complete, created

-- name: get_publication
select id, uuid, repository, number, kind, simple, structured, checkpoint, layout, options, is_complete, created
  from publications where id = %(id)s

-- name: find_publication
-- No row: there is none, or it is being made.
select id, uuid, repository, number, kind, simple, structured, checkpoint, layout, options, is_complete, created
  from publications where uuid = %(uuid)s and is_complete

-- name: delete_publication
-- No row: it was deleted before.
delete from publications where uuid = %(uuid)s returning repository

-- name: complete_publication
update publications set is_complete = true where id = %(id)s returning repository, checkpoint

-- name: forget_served
delete from served s using (
  select distribution, publication, since, until,
         row_number() over (partition by distribution order by until desc) as back
    from served where until is not null) o
 where (s.distribution, s.publication, s.since) = (o.distribution, o.publication, o.since)
   and o.back > %(switches)s and o.until < clock_timestamp() - make_interval(secs => %(seconds)s)

-- name: lock_surplus
-- A few at a time: each takes its files along.
select id from publications
 where id in (select id from (
         select id, row_number() over (partition by repository, number, kind order by id desc) as back
           from publications where is_complete and not checkpoint) p where p.back > %(keep)s)
   and id not in (select publication from distributions where publication is not null)
   and id not in (select publication from served)
 order by id limit 50 for update skip locked

-- name: delete_surplus
delete from publications
 where id = any(%(ids)s)
   and id not in (select publication from distributions where publication is not null)
   and id not in (select publication from served)

-- name: retain_checkpoints
delete from publications
 where id in (select p.id from publications p
               where p.repository = %(repository)s and p.checkpoint and p.is_complete
               order by p.created desc, p.id desc
              offset (select retain_checkpoints from repositories where id = %(repository)s))
   and (select retain_checkpoints from repositories where id = %(repository)s) is not null
   and id not in (select publication from distributions where publication is not null)
   and id not in (select publication from served where until is null)

-- name: lock_distributions
-- In one order: two publications of a repository may be completed at once.
select id from distributions d
 where d.id = %(distribution)s or d.repository = %(repository)s or d.version_repository = %(repository)s
    or d.publication in (select id from publications where repository = %(repository)s)
 order by id for no key update

-- name: lock_serving
-- One repository at a time, after the rows: a distribution that turns to it while its publication is
-- completed would be seen by neither.
select pg_advisory_xact_lock(hashtextextended('debfleet.serving', repository))
  from (select %(repository)s::int as repository
        union
        select coalesce(d.repository, d.version_repository, p.repository)
          from distributions d left join publications p on p.id = d.publication
         where d.id = %(distribution)s
         order by 1) targets
 where repository is not null

-- name: end_served
update served s set until = clock_timestamp()
  from serving n join distributions d on d.id = n.distribution
 where s.distribution = n.distribution and s.until is null and s.publication is distinct from n.publication
   and (d.id = %(distribution)s or d.repository = %(repository)s or d.version_repository = %(repository)s
        or d.publication in (select id from publications where repository = %(repository)s))
returning s.distribution

-- name: begin_served
insert into served (distribution, publication)
select n.distribution, n.publication
  from serving n join distributions d on d.id = n.distribution
 where n.publication is not null
   and not exists (select from served s where s.distribution = n.distribution and s.until is null)
   and (d.id = %(distribution)s or d.repository = %(repository)s or d.version_repository = %(repository)s
        or d.publication in (select id from publications where repository = %(repository)s))
returning distribution

-- name: get_origin
-- The version that is published, and what its repository says of it.
select r.uuid, r.description, r.autopublish, r.publish_upstream_release_fields, r.signing_service,
       r.signing_service_release_overrides, r.excluded_package_metadata_fields,
       v.id as version, v.made_by
  from repositories r join repository_versions v on v.repository = r.id
 where r.id = %(repository)s and v.number = %(number)s

-- name: list_components
select u.id, u.distribution, u.component
  from repository_chunks c join content_lists l on l.id = c.list and l.kind = 10
  join release_components u on u.id between id_at(c.chunk, 0) and id_at(c.chunk, chunk_size() - 1)
   and get_bit(c.bits, place_of(u.id)) = 1
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 order by u.distribution, u.component

-- name: list_architectures
select u.distribution, u.architecture
  from repository_chunks c join content_lists l on l.id = c.list and l.kind = 9
  join release_architectures u on u.id between id_at(c.chunk, 0) and id_at(c.chunk, chunk_size() - 1)
   and get_bit(c.bits, place_of(u.id)) = 1
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 order by u.distribution, u.architecture

-- name: list_releases
-- The youngest last, which is the one that counts where a distribution has several.
select u.distribution, u.codename, u.suite, u.version, u.origin, u.label, u.description,
       u.not_automatic, u.but_automatic_upgrades
  from repository_chunks c join content_lists l on l.id = c.list and l.kind = 8
  join releases u on u.id between id_at(c.chunk, 0) and id_at(c.chunk, chunk_size() - 1)
   and get_bit(c.bits, place_of(u.id)) = 1
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 order by u.distribution, u.id

-- name: count_places
-- How many packages go to which architecture of which component. A list of its own architecture
-- counts as it is; one without (links made by hand) by the architectures of its packages.
with lists as materialized (
  select l.release_component, l.index_architecture, c.chunk, c.bits
    from repository_chunks c join content_lists l on l.id = c.list and l.kind = 11
   where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s))
select release_component as component, index_architecture as architecture, sum(bit_count(bits))::bigint as count
  from lists where index_architecture <> '' group by 1, 2
union all
select s.release_component, p.architecture || p.architecture_variant, count(*)
  from lists s cross join generate_series(0, chunk_size() - 1) place
  join packages p on p.id = id_at(s.chunk, place)
 where s.index_architecture = '' and get_bit(s.bits, place) = 1
 group by 1, 2

-- name: count_udebs
-- Packages of the installer by component and index architecture.
select l.release_component as component, l.index_architecture as architecture, sum(bit_count(c.bits))::bigint as count
  from repository_chunks c join content_lists l on l.id = c.list and l.kind = 14
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 group by 1, 2

-- name: list_installer_lists
-- The stored lists of the installer's files that upstream gave the version, by the directory of Release.
select distinct on (f.path) u.directory, f.path, f.sha256, a.size
  from repository_chunks c join content_lists l on l.id = c.list and l.kind = 7
  join installer_file_indices u on u.id between id_at(c.chunk, 0) and id_at(c.chunk, chunk_size() - 1)
   and get_bit(c.bits, place_of(u.id)) = 1
  join unit_files f on f.kind = 7 and f.unit = u.id
  join artifacts a on a.sha256 = f.sha256
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 order by f.path, f.unit desc

-- name: count_sources
-- Source packages by release component; 0: all of the version.
select l.release_component as component, sum(bit_count(c.bits))::bigint as count
  from repository_chunks c join content_lists l on l.id = c.list and l.kind in (12, 13)
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 group by 1

-- name: count_architectures
-- Of all packages of the version.
with ids as materialized (
  select id_at(c.chunk, place) as id
    from repository_chunks c join content_lists l on l.id = c.list and l.kind = 1
   cross join generate_series(0, chunk_size() - 1) place
   where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
     and get_bit(c.bits, place) = 1)
select p.architecture, count(*) as count from ids join packages p using (id) group by 1 order by 1

-- name: add_digest_paths
-- Packages and source packages of one component, or of the whole version where it is simple, with a
-- file whose name a file of other bytes has as well, so that both may want one path of the pool.
-- (Whether their sources differ is not looked at: that happens hardly ever, and a path by digest is
-- as good.) Few names are anybody else's too: only of these more than a number is looked at.
with held as materialized (
  select c.list, c.chunk, c.bits from repository_chunks c
   where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)),
sets as materialized (
  select coalesce(rc.component, '') as place, l.kind in (12, 13) as is_source, h.chunk, bit_or(h.bits) as bits
    from held h join content_lists l on l.id = h.list
    left join release_components rc on rc.id = l.release_component and l.kind in (11, 13, 14)
   where %(structured)s and l.kind in (11, 13, 14) or %(simple)s and l.kind in (1, 12)
   group by 1, 2, 3),
ids as materialized (
  select place, is_source, id_at(chunk, n) as id from sets, generate_series(0, chunk_size() - 1) n
   where get_bit(bits, n) = 1),
names as materialized (
  select i.place, i.is_source, i.id, hashtextextended(split_part(p.relative_path, '/', -1), 0) as name
    from ids i join packages p using (id) where not i.is_source
  union all
  select i.place, i.is_source, i.id, hashtextextended(split_part(f.path, '/', -1), 0)
    from ids i join unit_files f on f.kind = 12 and f.unit = i.id where i.is_source),
repeated as materialized (
  select place, name from names group by 1, 2 having count(*) > 1),
files as materialized (
  select n.place, n.is_source, n.id, p.sha256, file_name(p.relative_path) as file
    from repeated join names n using (place, name) join packages p using (id) where not n.is_source
  union all
  select distinct n.place, n.is_source, n.id, f.sha256, file_name(f.path)
    from repeated join names n using (place, name)
    join unit_files f on f.kind = 12 and f.unit = n.id where n.is_source),
shared as materialized (
  select place, file from files group by 1, 2
  having count(*) > 1 and min(encode(sha256, 'hex')) <> max(encode(sha256, 'hex'))),
sharing as materialized (
  select distinct f.is_source, f.id from shared s join files f using (place, file)),
of_packages as (
  insert into digest_paths (publication, package)
  select %(publication)s::int, id from sharing where not is_source on conflict do nothing),
of_sources as (
  insert into digest_sources (publication, source_package)
  select %(publication)s::int, id from sharing where is_source on conflict do nothing)
select count(*) as count from sharing

-- name: list_index_sources
-- The source packages of one index, in the order of the file: those linked to some components (of
-- one plain name), or all of the version.
with sets as materialized (
  select c.chunk, coalesce(rc.component, 'all') as component, bit_or(c.bits) as bits
    from repository_chunks c join content_lists l on l.id = c.list
    left join release_components rc on rc.id = l.release_component and l.kind = 13
   where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
     and (l.kind = 12 and %(components)s::bigint[] is null
          or l.kind = 13 and l.release_component = any (%(components)s::bigint[]))
   group by 1, 2),
ids as materialized (
  select id_at(chunk, place) as id, min(component) as component
    from sets, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1
   group by 1)
select p.name, p.sha256, p.stanza, i.component,
       exists (select from digest_sources d where d.publication = %(publication)s and d.source_package = p.id)
  from ids i join source_packages p using (id)
 order by p.name collate "C", p.version collate "C", p.id

-- name: list_index_packages
-- The packages of one index, in the order of the file: those linked to some components (of one
-- plain name; a package of several lies below the first) for one architecture; no components: all
-- packages of the version for that architecture.
with sets as materialized (
  select c.chunk, coalesce(rc.component, 'all') as component, l.index_architecture, bit_or(c.bits) as bits
    from repository_chunks c join content_lists l on l.id = c.list
    left join release_components rc on rc.id = l.release_component and l.kind = link_kind(%(kind)s)
   where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
     and (l.kind = %(kind)s and %(components)s::bigint[] is null
          or l.kind = link_kind(%(kind)s) and l.release_component = any (%(components)s::bigint[])
         and l.index_architecture in ('', %(architecture)s))
   group by 1, 2, 3),
ids as materialized (
  select id_at(chunk, place) as id, min(component) as component, max(index_architecture) as index_architecture
    from sets, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1
   group by 1)
select p.name, p.source, p.relative_path, p.size, p.sha256, p.stanza, i.component,
       exists (select from digest_paths d where d.publication = %(publication)s and d.package = p.id)
  from ids i join packages p using (id)
 where i.index_architecture <> ''
    or %(components)s::bigint[] is null and p.architecture = %(architecture)s
    or %(components)s::bigint[] is not null and p.architecture || p.architecture_variant = %(architecture)s
 order by p.name collate "C", p.version collate "C", p.architecture collate "C", p.id

-- name: list_known_forms
-- How a plain index was compressed before; its plain form too where it is stored.
select form, sha256, sha512, md5, sha1, size from compressed_forms where plain = %(plain)s
union all
select 'plain', sha256, null, null, null, size from artifacts where sha256 = %(plain)s

-- name: add_compressed_forms
insert into compressed_forms (plain, form, sha256, sha512, md5, sha1, size)
select %(plain)s, f.form, f.sha256, f.sha512, f.md5, f.sha1, f.size
  from unnest(%(forms)s::text[], %(sha256s)s::bytea[], %(sha512s)s::bytea[], %(md5s)s::bytea[], %(sha1s)s::bytea[],
              %(sizes)s::bigint[]) as f (form, sha256, sha512, md5, sha1, size)
 order by f.form
    on conflict (plain, form) do update
   set sha256 = excluded.sha256, sha512 = excluded.sha512, md5 = excluded.md5, sha1 = excluded.sha1, size = excluded.size

-- name: add_published_files
-- A job that runs again writes the same paths again.
insert into published_files (publication, path, sha256, sha512, md5, sha1, size, is_index)
select %(publication)s, f.path, f.sha256, f.sha512, f.md5, f.sha1, f.size, f.is_index
  from unnest(%(paths)s::text[], %(sha256s)s::bytea[], %(sha512s)s::bytea[], %(md5s)s::bytea[], %(sha1s)s::bytea[],
              %(sizes)s::bigint[], %(indices)s::boolean[])
       as f (path, sha256, sha512, md5, sha1, size, is_index)
    on conflict (publication, path) do nothing

-- name: find_alike
-- The file at this path in the latest publication of the repository, else in one of the last made of
-- any: where a thousand repositories follow one upstream, theirs is the same. No row: there is none.
select f.sha256
  from (select id, true as is_own from publications
         where repository = %(repository)s and is_complete and kind = 'apt' and id <> %(publication)s
         union all
        (select id, false from publications where is_complete and kind = 'apt' order by id desc limit 50)) p
  join published_files f on f.publication = p.id and f.path = %(path)s
 order by p.is_own desc, p.id desc limit 1

-- name: list_published_files
select path, sha256, sha512, md5, sha1, size, is_index from published_files
 where publication = %(publication)s order by path

-- name: list_unit_files
-- The stored files of the Release files and indices that upstream gave the version.
select distinct on (f.path) f.path, f.sha256, a.size, f.kind <> 4 as is_index
  from repository_chunks c join content_lists l on l.id = c.list and l.kind in (4, 5, 6, 7)
  join unit_files f on f.kind = l.kind and f.unit between id_at(c.chunk, 0) and id_at(c.chunk, chunk_size() - 1)
   and get_bit(c.bits, place_of(f.unit)) = 1
  join artifacts a on a.sha256 = f.sha256
 where c.repository = %(repository)s and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
 order by f.path, f.unit desc

-- name: find_signing_service
select id, uuid, name, kind, public_key, fingerprint, script, gnupghome, secret
  from signing_services where uuid = %(uuid)s
