-- Which tasks may run now. A claim row lives from asking to the end of its task; a task may start when
-- no older one claims one of its resources in conflict (exclusive against any).

-- name: lock_resources
-- Who asks for a resource does so one after the other, so that ids of tasks follow the order of
-- asking. In one order over all resources, so that two askers never wait for each other.
SELECT pg_advisory_xact_lock(h) FROM (
  SELECT DISTINCT hashtextextended(r, 0) AS h FROM unnest(%(resources)s::text[]) r ORDER BY 1) s

-- name: find_conflict
-- No row: nobody claims any of these in conflict. Only true while lock_resources holds.
SELECT c.task FROM claims c
  JOIN unnest(%(resources)s::text[], %(exclusive)s::bool[]) AS r (resource, exclusive)
    ON r.resource = c.resource AND (r.exclusive OR c.exclusive)
 LIMIT 1
