-- Labels of content units; contents.sql reads them. A unit is named by the list that its bit stands
-- in and its id there, a link by its list and its package. list 0: the list of the unit's kind.

-- name: set_label
insert into unit_labels (list, unit, labels)
select l.id, %(unit)s, jsonb_build_object(%(key)s::text, %(value)s::text)
  from content_lists l where l.kind = %(kind)s and (l.id = %(list)s or (%(list)s = 0 and l.release_component = 0))
    on conflict (list, unit) do update set labels = unit_labels.labels || excluded.labels

-- name: find_labels
-- Nobody else changes them until this transaction ends. No row: the unit has none.
select t.list, t.labels from unit_labels t join content_lists l on l.id = t.list
 where l.kind = %(kind)s and (l.id = %(list)s or (%(list)s = 0 and l.release_component = 0)) and t.unit = %(unit)s
   for update of t

-- name: replace_labels
-- All of a unit's labels; there is at least one.
insert into unit_labels (list, unit, labels)
select l.id, %(unit)s, %(labels)s
  from content_lists l where l.kind = %(kind)s and (l.id = %(list)s or (%(list)s = 0 and l.release_component = 0))
    on conflict (list, unit) do update set labels = excluded.labels

-- name: delete_labels
delete from unit_labels where list = %(list)s and unit = %(unit)s

-- name: forget_links
-- Labels of links that no version holds any more, and that nobody made by hand.
delete from unit_labels t using content_lists l
 where l.id = t.list and l.release_component <> 0
   and not exists (select from repository_chunks c
                    where c.list = t.list and c.chunk = chunk_of(t.unit) and get_bit(c.bits, place_of(t.unit)) = 1)
   and not exists (select from loose_links k where k.list = t.list and k.package = t.unit)
