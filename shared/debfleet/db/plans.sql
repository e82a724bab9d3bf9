-- What one sync decided and found: wanted indices, units for its version, files to fetch.

-- name: get_repository_state
-- What the latest version was made with. number 0 with options null: nothing was ever synced.
select r.id, r.uuid, r.name, v.number, v.options
  from repositories r
  join repository_versions v on v.repository = r.id
 where r.id = %(repository)s
 order by v.number desc
 limit 1;

-- name: list_held_release_files
-- The Release files of the latest version.
with held as materialized (
  select id_at(c.chunk, i) as id
    from repository_chunks c
    join content_lists l on l.id = c.list and l.kind = 4
   cross join generate_series(0, chunk_size() - 1) i
   where c.repository = %(repository)s and c.removed is null and get_bit(c.bits, i) = 1)
select u.id, u.directory, u.release_digest from held join release_files u using (id);

-- name: list_held_indices
-- The package, source and installer file indices of the latest version.
with held as materialized (
  select l.kind, id_at(c.chunk, i) as id
    from repository_chunks c
    join content_lists l on l.id = c.list and l.kind in (5, 6, 7)
   cross join generate_series(0, chunk_size() - 1) i
   where c.repository = %(repository)s and c.removed is null and get_bit(c.bits, i) = 1)
select h.kind, u.id, u.directory, u.relative_path, u.index_digest
  from held h join package_indices u using (id) where h.kind = 5
union all
select h.kind, u.id, u.directory, u.relative_path, u.index_digest
  from held h join source_indices u using (id) where h.kind = 6
union all
select h.kind, u.id, u.directory, u.relative_path, u.index_digest
  from held h join installer_file_indices u using (id) where h.kind = 7;

-- name: add_release
insert into releases (codename, suite, distribution, version, origin, label, description,
                      not_automatic, but_automatic_upgrades)
select %(codename)s, %(suite)s, %(distribution)s, %(version)s, %(origin)s, %(label)s, %(description)s,
       %(not_automatic)s, %(but_automatic_upgrades)s
 where not exists (select from releases
   where texts_key(codename, suite, distribution, version, origin, label, description, not_automatic, but_automatic_upgrades)
       = texts_key(%(codename)s, %(suite)s, %(distribution)s, %(version)s, %(origin)s, %(label)s, %(description)s,
                   %(not_automatic)s, %(but_automatic_upgrades)s))
    on conflict do nothing;

-- name: find_release
update releases set last_wanted = now()
 where texts_key(codename, suite, distribution, version, origin, label, description, not_automatic, but_automatic_upgrades)
     = texts_key(%(codename)s, %(suite)s, %(distribution)s, %(version)s, %(origin)s, %(label)s, %(description)s,
                 %(not_automatic)s, %(but_automatic_upgrades)s)
returning id;

-- name: add_release_file
insert into release_files (codename, suite, distribution, components, architectures, directory,
                           relative_path, sha256, release_digest, date, valid_until)
select %(codename)s, %(suite)s, %(distribution)s, %(components)s, %(architectures)s, %(directory)s,
       %(relative_path)s, %(sha256)s, %(release_digest)s, %(date)s, %(valid_until)s
 where not exists (select from release_files
   where relative_path = %(relative_path)s and sha256 = %(sha256)s and release_digest = %(release_digest)s
     and texts_key(codename, suite, distribution, components, architectures)
       = texts_key(%(codename)s, %(suite)s, %(distribution)s, %(components)s, %(architectures)s))
    on conflict do nothing;

-- name: find_release_file
update release_files set last_wanted = now()
 where relative_path = %(relative_path)s and sha256 = %(sha256)s and release_digest = %(release_digest)s
   and texts_key(codename, suite, distribution, components, architectures)
     = texts_key(%(codename)s, %(suite)s, %(distribution)s, %(components)s, %(architectures)s)
returning id;

-- name: add_release_architectures
insert into release_architectures (distribution, architecture, base_architecture, variant_architecture)
select %(distribution)s, a, b, v
  from unnest(%(architectures)s::text[], %(bases)s::text[], %(variants)s::text[]) as u(a, b, v)
 where not exists (select from release_architectures r where r.distribution = %(distribution)s and r.architecture = a)
 order by a
    on conflict do nothing;

-- name: add_release_components
insert into release_components (distribution, component)
select %(distribution)s, c
  from unnest(%(components)s::text[]) as c
 where not exists (select from release_components r where r.distribution = %(distribution)s and r.component = c)
 order by c
    on conflict do nothing;

-- name: want_release_structure
-- The architectures and components of one distribution belong to the task's version.
insert into task_units (task, kind, unit)
select %(task)s, 9, id from release_architectures
 where distribution = %(distribution)s and architecture = any(%(architectures)s::text[])
union all
select %(task)s, 10, id from release_components
 where distribution = %(distribution)s and component = any(%(components)s::text[])
    on conflict do nothing;

-- name: want_units
insert into task_units (task, kind, unit)
select %(task)s, %(kind)s, unnest(%(units)s::bigint[])
    on conflict do nothing;

-- name: add_unit_files
-- Only those that are stored: what could not be had is no file of the unit.
insert into unit_files (kind, unit, path, sha256)
select %(kind)s, %(unit)s, path, sha256
  from unnest(%(paths)s::text[], %(digests)s::bytea[]) as f(path, sha256)
  join artifacts using (sha256)
 order by path
    on conflict do nothing;

-- name: add_wanted_indices
with r as materialized (
  select * from jsonb_to_recordset(%(rows)s) as r(
    position int, distribution text, directory text, component text, architecture text, path text,
    files jsonb, by_hash boolean, sha256 text, accept text[], optional boolean, index int, unit bigint, state text,
    lists smallint)),
added as (
  insert into wanted_indices (task, position, distribution, directory, component, architecture, path,
                              files, by_hash, sha256, accept, optional, index, unit, state)
  select %(task)s, position, distribution, directory, component, architecture, path,
         files, by_hash, decode(sha256, 'hex'), accept, optional, index, unit, state from r)
insert into listed_kinds (task, position, lists)
select %(task)s, position, lists from r where lists <> 1;

-- name: get_wanted_index
-- lists is a function, so it needs the table's name (migration 0006).
select w.*, w.lists from wanted_indices w where task = %(task)s and position = %(position)s;

-- name: lock_siblings
-- The wanted indices of one component, locked: whether "all" is missing decides what the others give.
select position, architecture, accept, state from wanted_indices w
 where task = %(task)s and distribution = %(distribution)s and component = %(component)s and w.lists = %(lists)s
 order by position
   for update;

-- name: finish_wanted_index
update wanted_indices set index = %(index)s, unit = %(unit)s, state = %(state)s
 where task = %(task)s and position = %(position)s;

-- name: accept_all_as_well
-- binary-all cannot be had: what the other indices say of "all" counts now. Gives those already read.
update wanted_indices w set accept = accept || 'all'::text
 where task = %(task)s and distribution = %(distribution)s and component = %(component)s
   and w.lists = %(lists)s and architecture <> 'all' and not 'all' = any(accept)
returning position, state;

-- name: add_package_index
insert into package_indices (component, architecture, directory, relative_path, sha256, index_digest)
select %(component)s, %(architecture)s, %(directory)s, %(relative_path)s, %(sha256)s, %(index_digest)s
 where not exists (select from package_indices
   where relative_path = %(relative_path)s and sha256 = %(sha256)s and index_digest = %(index_digest)s)
    on conflict do nothing;

-- name: find_package_index
update package_indices set last_wanted = now()
 where relative_path = %(relative_path)s and sha256 = %(sha256)s and index_digest = %(index_digest)s
returning id;

-- name: add_source_index
insert into source_indices (component, directory, relative_path, sha256, index_digest)
select %(component)s, %(directory)s, %(relative_path)s, %(sha256)s, %(index_digest)s
 where not exists (select from source_indices
   where relative_path = %(relative_path)s and sha256 = %(sha256)s and index_digest = %(index_digest)s)
    on conflict do nothing;

-- name: find_source_index
update source_indices set last_wanted = now()
 where relative_path = %(relative_path)s and sha256 = %(sha256)s and index_digest = %(index_digest)s
returning id;

-- name: add_installer_file_index
insert into installer_file_indices (component, architecture, directory, relative_path, sha256, index_digest)
select %(component)s, %(architecture)s, %(directory)s, %(relative_path)s, %(sha256)s, %(index_digest)s
 where not exists (select from installer_file_indices
   where relative_path = %(relative_path)s and sha256 = %(sha256)s and index_digest = %(index_digest)s)
    on conflict do nothing;

-- name: find_installer_file_index
update installer_file_indices set last_wanted = now()
 where relative_path = %(relative_path)s and sha256 = %(sha256)s and index_digest = %(index_digest)s
returning id;

-- name: list_stored
select sha256 from artifacts where sha256 = any(%(digests)s::bytea[]);

-- name: list_chunk
-- The files of a chunk that nobody has stored yet, or that this remote is to show.
select f.sha256, f.size, f.path, f.must_see, a.sha256 is not null as is_stored
  from task_files f
  left join artifacts a on a.sha256 = f.sha256 and a.size = coalesce(f.size, a.size)
 where f.task = %(task)s and f.opener = %(opener)s and f.chunk = %(chunk)s and (f.must_see or a.sha256 is null)
 order by f.path;

-- name: list_release_pins
-- The Release files that this task verified: what it must still find upstream.
select u.directory, f.path, f.sha256
  from task_units t
  join release_files u on u.id = t.unit
  join unit_files f on f.kind = 4 and f.unit = u.id
 where t.task = %(task)s and t.kind = 4;

-- name: count_live_workers
select count(*) as workers from processes
 where kind = 'worker' and ended is null and last_heartbeat > now() - interval '30 s';

-- name: touch_remote
update remotes set last_seen = now() where id = %(remote)s;

-- name: add_offers
-- This remote offers what these indices list, whether or not they were read this time; is_seen: and
-- it holds all of that, as far as this sync was to see.
insert into offers (remote, index, is_seen)
select %(remote)s::int, w.index, s.is_seen
  from (select distinct index from wanted_indices where task = %(task)s and index is not null) w,
       (select not exists (select from task_files where task = %(task)s and must_see)
               and not exists (select from task_files where task = %(task)s and refused is not null) as is_seen) s
 where not exists (select from offers o
                    where o.remote = %(remote)s and o.index = w.index and (o.is_seen or not s.is_seen))
 order by 2
    on conflict (remote, index) do update set is_seen = true;

-- name: count_own_tolerances
-- What the bytes of the used indices made us leave out.
select t.reason, sum(t.count)::bigint as count
  from wanted_indices w join indices i on i.id = w.index
 cross join lateral jsonb_to_recordset(i.tolerated) as t (reason text, count bigint)
 where w.task = %(task)s group by 1 order by 1;

-- name: list_own_tolerances
-- The first of each reason.
select reason, path as file, line, detail
  from (select t.reason, w.path, e.line, e.detail,
               row_number() over (partition by t.reason order by w.position, e.line) as nth
          from wanted_indices w join indices i on i.id = w.index
         cross join lateral jsonb_to_recordset(i.tolerated) as t (reason text, examples jsonb)
         cross join lateral jsonb_to_recordset(t.examples) as e (line int, detail text)
         where w.task = %(task)s) first
 where nth <= %(most)s order by reason, nth;

-- name: count_upstream_files
-- Without the indices of a dist that was skipped whole, as Pulp counts.
select (select count(*) from task_units where task = %(task)s and kind = 4)
       + (select count(distinct (case when w.lists in (3, 12) then w.lists end, unit)) filter (where unit is not null)
            from wanted_indices w where task = %(task)s) as n;

-- name: renew_options
update repository_versions v set options = %(options)s
 where v.repository = %(repository)s and v.options is not null and v.options <> %(options)s
   and v.number = (select max(number) from repository_versions where repository = %(repository)s);

-- name: list_flat_architectures
-- A flat archive's architectures are those of the packages that this sync takes from it.
select distinct w.distribution, c.architecture
  from wanted_indices w
  join index_chunks c on c.index = w.index and c.kind = w.lists
   and (w.accept is null or c.architecture = any(w.accept))
 where w.task = %(task)s and w.architecture = '' and w.state in ('known', 'ingested')
 order by 1, 2;
