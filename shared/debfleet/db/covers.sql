-- Whether a version that is being put together is part of one that is there. They work on the temporary
-- tables of versions.sql (wanted, base).

-- name: find_cover
-- A repository whose latest version holds all packages (kinds 1 and 2) and source packages (12) that
-- are wanted. No row: none was found, or base holds packages beside them that stay (it goes whole in
-- mirror mode). To look costs little beside the checks that it may save: one repository for sixteen
-- fresh packages, the newest first. A few places, that of the newest packages among them, tell most
-- repositories apart; of those that have these, eight are compared in whole. The offsets are fences:
-- each place is one probe, and the first that is missing is the last.
with needed as materialized (
  select w.list, w.chunk, w.bits, bit_count(w.bits & ~ coalesce(b.bits, no_bits())) as fresh
    from wanted w join content_lists l on l.id = w.list and l.kind in (1, 2, 12)
    left join base b on b.list = w.list and b.chunk = w.chunk
   where bit_count(w.bits) > 0),
places as materialized (
  select distinct on (part) list, chunk, bits
    from (select list, chunk, bits, ntile(8) over (order by chunk, list) as part from needed) n
   order by part desc, chunk desc, list),
candidates as materialized (
  select id
    from (select id from repositories order by id desc limit (select sum(fresh) / 16 + 1 from needed)) r
   where not exists (
     select from places n
      where not exists (select from repository_chunks c
                         where c.repository = r.id and c.list = n.list and c.chunk = n.chunk
                           and c.removed is null and n.bits & ~ c.bits = no_bits() offset 0) offset 0)
   limit 8)
select id
  from candidates r
 where (select sum(fresh) from needed) > 0
   and (%(mirror)s
        or not exists (select from base b join content_lists l on l.id = b.list and l.kind in (1, 2, 12)
                         left join wanted w on w.list = b.list and w.chunk = b.chunk
                        where b.bits & ~ coalesce(w.bits, no_bits()) <> no_bits()))
   and not exists (
     select from needed n
      where not exists (select from repository_chunks c
                         where c.repository = r.id and c.list = n.list and c.chunk = n.chunk
                           and c.removed is null and n.bits & ~ c.bits = no_bits() offset 0) offset 0)
 limit 1;
