-- Lists of content units. Most statements here are pieces that contents.py puts together: what
-- stands in braces is another piece or a quoted value. A list is with_wanted (of held and its
-- like), then a count or a page, then how to show it. What holds the conditions of a list is run
-- without parameters, since they may hold a bare percent sign.

-- name: with_wanted
with {sets},
wanted as materialized (select {key}, {bits} as bits from {joined})

-- name: with_wanted_links
-- Of links those for which a condition is true: each is looked at on its own.
with {sets},
found as materialized (select {key}, {bits} as bits from {joined}),
wanted as materialized (
  select f.list, f.chunk, bit_or(one_bit(u.id)) as bits
    from found f join content_lists l on l.id = f.list
    cross join generate_series(0, chunk_size() - 1) place
    cross join lateral (select id_at(f.chunk, place) as id) u
   where get_bit(f.bits, place) = 1 and ({condition})
   group by 1, 2)

-- name: held
-- The bits of one version. Units of a kind lie in one list; packages of a component in several.
select {key}, bit_or(c.bits) as bits from repository_chunks c
 where c.repository = {r} and c.added <= {n} and (c.removed is null or c.removed > {n}) and {lists}
 group by {key}

-- name: held_anywhere
-- Every chunk row belongs to some version that still exists.
select {key}, bit_or(c.bits) as bits from repository_chunks c where {lists} group by {key}

-- name: links_anywhere
-- Links that a version holds, and those that were made by hand.
select {key}, bit_or(c.bits) as bits
  from (select list, chunk, bits from repository_chunks
        union all
        select list, chunk_of(package), one_bit(package) from loose_links) c
 where {lists} group by {key}

-- name: held_without
-- The bits of one version that another lacks.
select {key}, bit_or(c.bits & ~ coalesce(o.bits, no_bits())) as bits
  from repository_chunks c
  left join repository_chunks o on o.repository = {wr} and o.list = c.list and o.chunk = c.chunk
   and o.added <= {wn} and (o.removed is null or o.removed > {wn})
 where c.repository = {r} and c.added <= {n} and (c.removed is null or c.removed > {n}) and {lists}
 group by {key}

-- name: id_of_list
(select id from content_lists where kind = {kind} and release_component = 0 and index_architecture = '')

-- name: list_of_units
c.list = {list}

-- name: lists_of_links
c.list in (select id from content_lists where kind = {kind})

-- name: lists_of_components
c.list in (select id from content_lists where kind = {kind} and release_component = any({components}::bigint[]))

-- name: given_links
select list, chunk_of(id) as chunk, bit_or(one_bit(id)) as bits
  from unnest({lists}::int[], {ids}::bigint[]) as given(list, id)
 group by 1, 2

-- name: count_bits
{sets} select coalesce(sum(bit_count(bits)), 0)::bigint as n from wanted

-- name: count_rows
{sets} select count(*) as n {source}

-- name: rows_of_table
from {table} u where {where}

-- name: rows_of_sets
-- The chunk joins, the range lets a chunk be read from the table's order: the planner has both.
from wanted w join {table} u
  on u.id >= id_at(w.chunk, 0) and u.id < id_at(w.chunk + 1, 0)
 and chunk_of(u.id) = w.chunk and get_bit(w.bits, place_of(u.id)) = 1
 where {where}

-- name: chunks_of_page
-- Newest first, all chunks with what they count; bits: only of those that the page falls into. Chunks
-- of one number, whatever their list, are one piece of the order.
{sets},
counted as (select chunk, {list} as list, bits, bit_count(bits) as n from wanted where bit_count(bits) > 0),
summed as (
  select *, sum(n) over (order by chunk desc) as upto,
         coalesce(sum(n) over (order by chunk desc groups between unbounded preceding and 1 preceding), 0) as before
    from counted)
select chunk, list, n, before::bigint, case when before < {upto} and upto > {offset} then bits end as bits
  from summed

-- name: chunks_of_version
-- The same of one version's units of a kind, which lie in one list: a whole statement. A version
-- without any is one row that counts nothing; no row: there is no such version.
with version as materialized (
  select v.repository from repositories r join repository_versions v on v.repository = r.id
   where r.uuid = %(repository)s and v.number = %(number)s),
counted as materialized (
  select c.chunk, c.bits, bit_count(c.bits) as n
    from repository_chunks c
   where c.repository = (select repository from version)
     and c.added <= %(number)s and (c.removed is null or c.removed > %(number)s)
     and c.list = (select id from content_lists
                    where kind = %(kind)s and release_component = 0 and index_architecture = '')),
summed as (select chunk, bits, n, sum(n) over (order by chunk desc) - n as before from counted)
select chunk, 0 as list, coalesce(n, 0) as n, before::bigint,
       case when before < %(upto)s and before + n > %(offset)s then bits end as bits
  from version left join summed on true

-- name: ids_given
with ids as materialized (
  select * from unnest({ids}::bigint[], {lists}::int[]) with ordinality as page(id, list, place_in_list))

-- name: page_of_rows
{sets} ids as materialized (
  select id, row_number() over () as place_in_list
    from (select u.id {source} order by {order}, u.id desc limit {limit} offset {offset}) page)

-- name: page_of_artifacts
select u.id, u.sha256, u.size, u.created {source}
 order by {order}, u.id desc limit {limit} offset {offset}

-- name: page_of_links
{sets} ids as materialized (
  select id, list, row_number() over () as place_in_list
    from (select u.id, l.id as list
            from wanted w cross join generate_series(0, chunk_size() - 1) place
            join {table} u on u.id = id_at(w.chunk, place)
            join content_lists l on l.id = w.list
           where get_bit(w.bits, place) = 1
           order by {order}, u.id desc, l.id limit {limit} offset {offset}) page)

-- name: rows_in_order
from ids join {table} u using (id) order by ids.place_in_list

-- name: rows_newest_first
-- Ids that lie close to each other, as those of a page mostly do, are one walk through the index.
from {table} u where u.id = any({ids}::bigint[]) order by u.id desc

-- name: show_packages
select u.id, u.created, u.relative_path, u.sha256, u.stanza, {labels},
       (select a.id from artifacts a where a.sha256 = u.sha256) as artifact
  {rows}

-- name: show_release_files
select u.*, {labels}, coalesce((select jsonb_object_agg(f.path, a.id) from unit_files f
                        left join artifacts a on a.sha256 = f.sha256
                       where f.kind = 4 and f.unit = u.id), '{{}}') as files
  {rows}

-- name: show_package_indices
select u.*, {labels}, coalesce((select jsonb_object_agg(f.path, a.id) from unit_files f
                        left join artifacts a on a.sha256 = f.sha256
                       where f.kind = 5 and f.unit = u.id), '{{}}') as files
  {rows}

-- name: show_source_packages
select u.id, u.created, u.relative_path, u.sha256, u.stanza, {labels},
       (select jsonb_object_agg(f.path, a.id) from unit_files f
          left join artifacts a on a.sha256 = f.sha256 and a.size = f.size
         where f.kind = 12 and f.unit = u.id) as files
  {rows}

-- name: show_source_indices
-- release: a release file of the same directory that some version holds together with the index; of an
-- index that no version holds, the youngest of that directory.
select u.*, {labels}, coalesce((select jsonb_object_agg(f.path, a.id) from unit_files f
                        left join artifacts a on a.sha256 = f.sha256
                       where f.kind = 6 and f.unit = u.id), '{{}}') as files,
       coalesce(
         (select max(r.id)
            from release_files r
            join content_lists lr on lr.kind = 4 join content_lists li on li.kind = 6
            join repository_chunks cr on cr.list = lr.id and cr.chunk = chunk_of(r.id) and get_bit(cr.bits, place_of(r.id)) = 1
            join repository_chunks ci on ci.list = li.id and ci.chunk = chunk_of(u.id) and get_bit(ci.bits, place_of(u.id)) = 1
             and ci.repository = cr.repository
             and (cr.removed is null or cr.removed > ci.added) and (ci.removed is null or ci.removed > cr.added)
           where r.directory = u.directory),
         (select max(r.id) from release_files r where r.directory = u.directory)) as release
  {rows}

-- name: show_generic_contents
select u.id, u.created, u.relative_path, u.sha256, {labels},
       (select a.id from artifacts a where a.sha256 = u.sha256) as artifact
  {rows}

-- name: show_installer_file_indices
select u.*, {labels}, coalesce((select jsonb_object_agg(f.path, a.id) from unit_files f
                        left join artifacts a on a.sha256 = f.sha256
                       where f.kind = 7 and f.unit = u.id), '{{}}') as files
  {rows}

-- name: show_releases
select u.*, {labels} {rows}

-- name: show_release_architectures
select u.*, {labels} {rows}

-- name: show_release_components
select u.*, {labels} {rows}

-- name: show_links
-- A link has no row of its own: it is as young as the younger of its package and its list.
select ids.id as package, ids.list, l.release_component, l.index_architecture,
       greatest(p.created, l.created) as created, {labels}
  from ids join content_lists l on l.id = ids.list join {table} p on p.id = ids.id
 order by ids.place_in_list

-- name: labels_of
-- Null: it has none. list: as of labels_hold.
(select t.labels from unit_labels t where t.list = {list} and t.unit = {unit}) as labels

-- name: labels_hold
-- A condition on the labels of the unit u, whose row here is called t; of a link, l is its list.
exists (select from unit_labels t where t.list = {list} and t.unit = u.id and {condition})

-- name: is_of_kind
u.kind = {kind}

-- name: is_given
u.id = any({ids}::bigint[])

-- name: unit_is_orphaned
u.last_wanted < now() - make_interval(mins => {minutes})
  and not exists (
    select from (select c.chunk, bit_or(c.bits) as bits from repository_chunks c where {lists} group by 1) alive
     where alive.chunk = chunk_of(u.id) and get_bit(alive.bits, place_of(u.id)) = 1)

-- name: artifact_is_orphaned
u.last_wanted < now() - make_interval(mins => {minutes})
  and not exists (select from packages p where p.sha256 = u.sha256)
  and not exists (select from generic_contents g where g.sha256 = u.sha256)
  and not exists (select from unit_files f where f.sha256 = u.sha256)
  and not exists (select from published_files f where f.sha256 = u.sha256)

-- name: artifact_is_of_a_version
u.sha256 in (
  with held as materialized (
    select l.kind, c.chunk, c.bits from repository_chunks c join content_lists l on l.id = c.list
     where c.repository = {repository} and c.added <= {number}
       and (c.removed is null or c.removed > {number}) and l.kind in (1, 2, 3, 4, 5, 6, 7, 12)),
  ids as materialized (
    select kind, id_at(chunk, place) as id from held, generate_series(0, chunk_size() - 1) place
     where get_bit(bits, place) = 1)
  select p.sha256 from ids join packages p on p.id = ids.id where ids.kind in (1, 2)
  union all
  select g.sha256 from ids join generic_contents g on g.id = ids.id where ids.kind = 3
  union all
  select f.sha256 from ids join unit_files f on f.kind = ids.kind and f.unit = ids.id)
