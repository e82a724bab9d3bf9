-- What one repository version gives to another repository, as sets. The temporary tables are those
-- of versions.sql: what is picked is gathered in masks, and then wanted.

-- name: pick_all
-- Everything but upstream's own files: the new version is not the one that upstream signed.
insert into masks
select c.list, c.chunk, c.bits
  from repository_chunks c join content_lists l on l.id = c.list
 where c.repository = %(source)s and c.added <= %(number)s
   and (c.removed is null or c.removed > %(number)s) and l.kind not in (4, 5, 6, 7);

-- name: pick_units
-- Of the units that were named, those that the version holds.
insert into masks
select c.list, c.chunk, c.bits & u.bits
  from (select l.id as list, chunk_of(n.unit) as chunk, bit_or(one_bit(n.unit)) as bits
          from unnest(%(kinds)s::smallint[], %(lists)s::int[], %(units)s::bigint[]) as n (kind, list, unit)
          join content_lists l on l.kind = n.kind and (n.list = 0 or l.id = n.list)
           and l.kind not in (4, 5, 6, 7)
         group by 1, 2) u
  join repository_chunks c on c.list = u.list and c.chunk = u.chunk
 where c.repository = %(source)s and c.added <= %(number)s
   and (c.removed is null or c.removed > %(number)s) and bit_count(c.bits & u.bits) > 0;

-- name: count_picked
select coalesce(sum(bit_count(bits)), 0)::bigint as count from masks;

-- name: pick_structure
-- What publishes the picked packages where they lie in the source: their links, the components of
-- these, and the architectures and releases of their distributions.
insert into masks
with held as materialized (
  select c.list, c.chunk, c.bits, l.kind, l.release_component, l.index_architecture
    from repository_chunks c join content_lists l on l.id = c.list
   where c.repository = %(source)s and c.added <= %(number)s
     and (c.removed is null or c.removed > %(number)s) and l.kind in (8, 9, 10, 11, 13, 14)),
picked as materialized (
  select link_kind(l.kind) as kind, m.chunk, bit_or(m.bits) as bits
    from masks m join content_lists l on l.id = m.list and l.kind in (1, 2, 12)
   group by 1, 2),
links as materialized (
  select h.list, h.chunk, h.bits & p.bits as bits, h.release_component, h.index_architecture
    from held h join picked p on p.kind = h.kind and p.chunk = h.chunk
   where bit_count(h.bits & p.bits) > 0),
places as materialized (
  select distinct r.id, r.distribution, k.index_architecture
    from links k join release_components r on r.id = k.release_component),
units as materialized (
  select distinct 10 as kind, id from places
  union
  select 9, a.id from release_architectures a join places p
      on p.distribution = a.distribution and p.index_architecture = a.architecture
  union
  select 8, r.id from releases r join places p on p.distribution = r.distribution)
select list, chunk, bits from links
union all
select h.list, h.chunk, one_bit(u.id)
  from units u join held h on h.kind = u.kind and h.chunk = chunk_of(u.id)
 where get_bit(h.bits, place_of(u.id)) = 1;

-- name: want_picked
insert into wanted select list, chunk, bit_or(bits) from masks group by list, chunk;

-- name: forget_picked
delete from masks;
