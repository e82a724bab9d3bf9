-- Files that a repository may be given only once its remote was seen to hold them.
-- Kinds (debfleet.model.Kind): 1 package, 2 installer package, 3 generic content, 12 source package.

-- name: find_reach
-- Which repositories whoever asked for a task may read. Nobody asked (a schedule whose maker is
-- gone): as an administrator.
select coalesce(u.is_superuser, true) or g.is_everywhere as is_unlimited,
       coalesce(g.repositories, '{}') as repositories
  from tasks t
  left join users u on u.id = t.created_by
  left join lateral (
       select bool_or(g.object is null) as is_everywhere, array_agg(r.id) filter (where r.id is not null) as repositories
         from grants g join roles o on o.id = g.role and 'deb.view_aptrepository' = any (o.permissions)
         left join repositories r on g.object = 'prn:deb.aptrepository:' || r.uuid
        where not u.is_superuser
          and (g.who = u.id or g.in_group in (select in_group from members where who = u.id))) g on true
 where t.id = %(task)s

-- name: list_held
-- Those of some files that one of the repositories has in any version, and has seen.
with units as materialized (
  select d.sha256, p.kind, p.id
    from unnest(%(digests)s::bytea[]) d (sha256) join packages p using (sha256)
  union all
  select d.sha256, 3, g.id
    from unnest(%(digests)s::bytea[]) d (sha256) join generic_contents g using (sha256)
  union all
  select d.sha256, f.kind, f.unit
    from unnest(%(digests)s::bytea[]) d (sha256) join unit_files f using (sha256))
select distinct u.sha256
  from units u
  join content_lists l on l.kind = u.kind and l.release_component = 0
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id) and c.repository = any (%(repositories)s::int[])
   and get_bit(c.bits, place_of(u.id)) = 1
 where not exists (select from unseen_files x where x.repository = c.repository and x.sha256 = u.sha256)

-- name: list_to_see
-- The files that some wanted indices list, and that this remote was not seen to hold.
with sets as materialized (
  select c.kind, c.chunk, bit_or(c.bits) as bits
    from wanted_indices w
    join index_chunks c on c.index = w.index and c.kind = w.lists and (w.accept is null or c.architecture = any (w.accept))
   where w.task = %(task)s and w.position = any (%(positions)s)
   group by 1, 2),
seen as materialized (
  select s.kind, s.chunk, bit_or(c.bits) as bits
    from sets s join index_chunks c on c.kind = s.kind and c.chunk = s.chunk
    join offers o on o.index = c.index and o.remote = %(remote)s and o.is_seen
   group by 1, 2),
ids as materialized (
  select s.kind, id_at(s.chunk, place) as id
    from sets s left join seen using (kind, chunk), generate_series(0, chunk_size() - 1) place
   where get_bit(s.bits, place) = 1 and coalesce(get_bit(seen.bits, place), 0) = 0)
select p.sha256, p.size, p.relative_path as path
  from ids join packages p using (id) where ids.kind in (1, 2)
union all
select g.sha256, null, g.relative_path
  from ids join generic_contents g using (id) where ids.kind = 3
union all
select f.sha256, f.size, f.path
  from ids join unit_files f on f.kind = 12 and f.unit = ids.id where ids.kind = 12

-- name: note_to_see
-- The remote is to show these. What an on-demand sync does not fetch, and nobody has stored, is in no
-- chunk: it is shown when somebody asks for it. Without a size it cannot be served, so it is fetched.
insert into task_files (task, sha256, size, path, must_see, opener, chunk)
select distinct on (f.sha256) %(task)s, f.sha256, f.size, f.path, true, null,
       case when not %(everything)s and a.id is null and f.size is not null then -1 end
  from unnest(%(digests)s::bytea[], %(sizes)s::bigint[], %(paths)s::text[]) as f (sha256, size, path)
  left join artifacts a on a.sha256 = f.sha256
 order by f.sha256, f.path
    on conflict (task, sha256) do nothing

-- name: see_files
-- The remote has shown these.
update task_files set must_see = false
 where task = %(task)s and sha256 = any (%(digests)s::bytea[]) and must_see

-- name: forget_listed
-- A new sync lists these for the repository: what it saw counts, and not what an earlier one missed.
with unseen as materialized (select sha256 from unseen_files where repository = %(repository)s),
units as materialized (
  select s.sha256, p.kind::int as kind, p.id from unseen s join packages p using (sha256)
  union all
  select s.sha256, 3, g.id from unseen s join generic_contents g using (sha256)
  union all
  select s.sha256, 12, f.unit from unseen s join unit_files f using (sha256) where f.kind = 12)
delete from unseen_files x
 where x.repository = %(repository)s
   and x.sha256 in (select u.sha256
                      from units u join wanted_indices w on w.task = %(task)s
                      join index_chunks c on c.index = w.index and c.kind = u.kind and c.chunk = chunk_of(u.id)
                     where get_bit(c.bits, place_of(u.id)) = 1)

-- name: keep_unseen
insert into unseen_files (repository, sha256, remote)
select %(repository)s, sha256, %(remote)s from task_files
 where task = %(task)s and must_see order by sha256
    on conflict (repository, sha256) do update set remote = excluded.remote

-- name: has_unseen
select exists (select from unseen_files where %(repository)s::int is null or repository = %(repository)s) as has_unseen

-- name: pass_on
-- What a version has newly of files that some repository of its maker's has not seen: unless another
-- of them has, the version's repository has not seen it either.
with unseen as materialized (
  select sha256, max(remote) as remote from unseen_files
   where repository = %(repository)s or %(reach)s::int[] is null or repository = any (%(reach)s::int[]) group by 1),
units as materialized (
  select s.sha256, s.remote, p.kind::int as kind, p.id from unseen s join packages p using (sha256)
  union all
  select s.sha256, s.remote, 3, g.id from unseen s join generic_contents g using (sha256)
  union all
  select s.sha256, s.remote, 12, f.unit from unseen s join unit_files f using (sha256) where f.kind = 12),
places as materialized (
  select u.*, l.id as list from units u join content_lists l on l.kind = u.kind and l.release_component = 0),
news as materialized (
  select u.* from places u
    join repository_chunks c on c.repository = %(repository)s and c.list = u.list and c.chunk = chunk_of(u.id)
     and c.added = %(number)s and get_bit(c.bits, place_of(u.id)) = 1
   where not exists (select from repository_chunks o
                      where o.repository = c.repository and o.list = c.list and o.chunk = c.chunk
                        and o.added < %(number)s and (o.removed is null or o.removed >= %(number)s)
                        and get_bit(o.bits, place_of(u.id)) = 1)),
seen as materialized (
  select distinct n.sha256
    from news n
    join places u on u.sha256 = n.sha256
    join repository_chunks c on c.list = u.list and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1
   where c.repository = any (%(reach)s::int[]) and (c.repository <> %(repository)s or c.added < %(number)s)
     and not exists (select from unseen_files x where x.repository = c.repository and x.sha256 = u.sha256)),
gone as (
  delete from unseen_files x
   where x.repository = %(repository)s
     and x.sha256 in (select sha256 from news where %(reach)s::int[] is null or sha256 in (select sha256 from seen)))
insert into unseen_files (repository, sha256, remote)
select distinct on (sha256) %(repository)s, sha256, remote from news
 where %(reach)s::int[] is not null and sha256 not in (select sha256 from seen)
 order by sha256
    on conflict do nothing

-- name: forget_unseen
-- The repository was given the files themselves, or its remote has shown them now.
delete from unseen_files where repository = %(repository)s and sha256 = any (%(digests)s::bytea[])
