-- Which versions hold a unit, and what a version holds of another.

-- name: find_previous
select max(number) as number from repository_versions
 where repository = %(repository)s and number < %(number)s

-- name: find_latest
select max(number) as number from repository_versions where repository = %(repository)s

-- name: list_components_of_release
select u.id
  from releases r
  join release_components u on u.distribution = r.distribution
  join content_lists l on l.kind = 10
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
 where r.id = %(release)s and get_bit(c.bits, place_of(u.id)) = 1
   and c.repository = %(repository)s and c.added <= %(number)s
   and (c.removed is null or c.removed > %(number)s)
 order by u.id

-- name: list_components_of_package
select distinct l.release_component as id
  from repository_chunks c join content_lists l on l.id = c.list and l.kind = 11
 where c.repository = %(repository)s and c.added <= %(number)s
   and (c.removed is null or c.removed > %(number)s)
   and c.chunk = chunk_of(%(package)s) and get_bit(c.bits, place_of(%(package)s)) = 1
 order by 1

-- name: list_links_of_package
select c.list
  from content_lists l join repository_chunks c on c.list = l.id and c.chunk = chunk_of(%(package)s)
 where l.kind = %(kind)s and get_bit(c.bits, place_of(%(package)s)) = 1
union
select k.list from loose_links k join content_lists l on l.id = k.list and l.kind = %(kind)s
 where k.package = %(package)s
 order by 1

-- name: list_releases_of_package
with distributions as materialized (
  select distinct u.distribution
    from repository_chunks c join content_lists l on l.id = c.list and l.kind = 11
    join release_components u on u.id = l.release_component
   where c.repository = %(repository)s and c.added <= %(number)s
     and (c.removed is null or c.removed > %(number)s)
     and c.chunk = chunk_of(%(package)s) and get_bit(c.bits, place_of(%(package)s)) = 1)
select u.id
  from distributions join releases u using (distribution)
  join content_lists l on l.kind = 8
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
 where get_bit(c.bits, place_of(u.id)) = 1
   and c.repository = %(repository)s and c.added <= %(number)s
   and (c.removed is null or c.removed > %(number)s)
 order by u.id

-- name: find_repositories
-- Every chunk row belongs to some version that still exists, so any row will do.
select distinct c.repository
  from unnest(%(kinds)s::int[], %(lists)s::int[], %(ids)s::bigint[]) as u(kind, list, id)
  join content_lists l on l.kind = u.kind and (l.id = u.list or (u.list = 0 and l.release_component = 0))
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
 where get_bit(c.bits, place_of(u.id)) = 1
 order by 1

-- name: find_repositories_latest
select distinct c.repository
  from unnest(%(kinds)s::int[], %(lists)s::int[], %(ids)s::bigint[]) as u(kind, list, id)
  join content_lists l on l.kind = u.kind and (l.id = u.list or (u.list = 0 and l.release_component = 0))
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
 where get_bit(c.bits, place_of(u.id)) = 1 and c.removed is null
 order by 1

-- name: list_held
-- Those of the units that some version of one of these repositories holds.
select u.kind, u.list, u.id
  from unnest(%(kinds)s::int[], %(lists)s::int[], %(ids)s::bigint[]) as u(kind, list, id)
  join content_lists l on l.kind = u.kind and (l.id = u.list or (u.list = 0 and l.release_component = 0))
 where exists (select from repository_chunks c
                where c.list = l.id and c.chunk = chunk_of(u.id) and get_bit(c.bits, place_of(u.id)) = 1
                  and c.repository = any(%(repositories)s::int[]))

-- name: find_versions
select distinct v.repository, v.number
  from unnest(%(kinds)s::int[], %(lists)s::int[], %(ids)s::bigint[]) as u(kind, list, id)
  join content_lists l on l.kind = u.kind and (l.id = u.list or (u.list = 0 and l.release_component = 0))
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
  join repository_versions v on v.repository = c.repository and v.number >= c.added
   and (c.removed is null or v.number < c.removed)
 where get_bit(c.bits, place_of(u.id)) = 1
   and (%(repository)s::int is null or c.repository = %(repository)s)
 order by 1, 2
