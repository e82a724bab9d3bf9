-- Where packages lie: their links to a component of a distribution. Kinds: 1 package with links of
-- kind 11, 12 source package with links of kind 13.

-- name: list_architectures
select distinct architecture from packages
 where id = any(%(packages)s::bigint[]) and architecture <> 'all' order by 1

-- name: add_lists
-- A package lies in its component's list for its architecture, a source package in one for all.
insert into content_lists (kind, release_component, index_architecture)
select n.kind, %(component)s, n.architecture
  from (select distinct 11 as kind, architecture from packages where id = any(%(packages)s::bigint[])
        union
        select 13, '' where cardinality(%(sources)s::bigint[]) > 0) n
 where not exists (select from content_lists l
                    where l.kind = n.kind and l.release_component = %(component)s
                      and l.index_architecture = n.architecture)
 order by 1, 3
    on conflict do nothing

-- name: list_places
select l.kind, l.id as list, p.id as unit
  from packages p
  join content_lists l on l.kind = 11 and l.release_component = %(component)s
   and l.index_architecture = p.architecture
 where p.id = any(%(packages)s::bigint[])
union all
select l.kind, l.id, s.id
  from unnest(%(sources)s::bigint[]) as s (id)
  join content_lists l on l.kind = 13 and l.release_component = %(component)s
   and l.index_architecture = ''

-- name: list_displaced
-- Of packages that leave a component: their links there, and those that then have no other.
with links as materialized (
  select u.kind, u.id, l.id as list, l.kind as link, r.id is not null as is_here
    from unnest(%(kinds)s::int[], %(ids)s::bigint[]) as u (kind, id)
    join content_lists l on l.kind = link_kind(u.kind)
    join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
     and get_bit(c.bits, place_of(u.id)) = 1
    left join release_components r on r.id = l.release_component
     and r.distribution = %(distribution)s and r.component = %(component)s
   where c.repository = %(repository)s and c.added <= %(number)s
     and (c.removed is null or c.removed > %(number)s))
select link as kind, list, id as unit from links where is_here
union all
select kind, 0, id from links group by kind, id having bool_and(is_here)
