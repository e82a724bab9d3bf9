-- What upstream sees of the whole fleet: so many requests at once (limits), so many a second, and
-- none while it says "later" (gates).

-- name: closed_for
-- Seconds until the host's gate opens. No row: it is open.
SELECT extract(epoch FROM closed_until - clock_timestamp())::float8 AS seconds
  FROM gates WHERE scope = %(host)s AND closed_until > clock_timestamp()

-- name: set_limits
-- What a remote says now holds for the whole fleet; 20 where it says nothing.
INSERT INTO limits (scope, slots)
SELECT s.scope, coalesce(r.download_concurrency, 20)
  FROM (SELECT DISTINCT unnest(%(scopes)s::text[]) AS scope ORDER BY 1) s
  LEFT JOIN remotes r ON s.scope = 'remote:' || r.id
ON CONFLICT (scope) DO UPDATE SET slots = excluded.slots

-- name: lock_limit
-- Everything about one scope's slots happens one after the other.
SELECT slots FROM limits WHERE scope = %(scope)s FOR NO KEY UPDATE

-- name: ring_scope
-- The next jobs that need slots of one scope: no more than slots are free, the tasks in turn, each
-- within its window. Under the limit's row lock. Reads a window of each task and not every job:
-- waiting is by the thousand.
WITH RECURSIVE room AS (
  SELECT l.slots
         - (SELECT coalesce(sum(granted), 0) FROM slot_leases
             WHERE scope = l.scope AND until > clock_timestamp())
         - (SELECT count(*) FROM jobs
             WHERE scope = l.scope AND state = 'queued' AND rung IS NOT NULL) AS free
    FROM limits l
   WHERE l.scope = %(scope)s),
waiting AS (  -- each task once, by hops over the index
  (SELECT task FROM jobs
    WHERE scope = %(scope)s AND state = 'queued' AND rung IS NULL ORDER BY task LIMIT 1)
  UNION ALL
  SELECT (SELECT task FROM jobs
           WHERE scope = %(scope)s AND state = 'queued' AND rung IS NULL AND task > w.task
           ORDER BY task LIMIT 1)
    FROM waiting w WHERE w.task IS NOT NULL),
rung AS (
  SELECT task, count(*) AS n FROM jobs
   WHERE scope = %(scope)s AND state IN ('queued', 'running') AND rung IS NOT NULL
   GROUP BY task),
queued AS (
  SELECT n.id, n.place + coalesce(rung.n, 0) AS turn
    FROM waiting w JOIN tasks t ON t.id = w.task LEFT JOIN rung ON rung.task = w.task
   CROSS JOIN LATERAL (
     SELECT f.id, row_number() OVER (ORDER BY f.id) AS place FROM (
       SELECT j.id FROM jobs j
        WHERE j.scope = %(scope)s AND j.task = t.id AND j.state = 'queued' AND j.rung IS NULL
          AND j.round = t.round AND j.not_before <= clock_timestamp()
          AND NOT EXISTS (SELECT FROM gates g
                           WHERE g.scope = j.host AND g.closed_until > clock_timestamp())
        ORDER BY j.id LIMIT %(window)s) f) n
   WHERE t.finished IS NULL AND t.unblocked IS NOT NULL),
next AS (
  SELECT id FROM queued WHERE turn <= %(window)s
   ORDER BY turn, id LIMIT (SELECT greatest(free, 0) FROM room))
UPDATE jobs j SET rung = clock_timestamp(), rings = rings + 1
  FROM next WHERE j.id = next.id AND j.state = 'queued' AND j.rung IS NULL
RETURNING j.id, j.kind

-- name: take_slots
-- A share of the slots: what is in use is never taken away, a newcomer gets what is free, at most
-- its share. Who waits (granted 0), or is expected, counts as one more to share with.
WITH o AS (
  SELECT greatest(count(*), count(*) FILTER (WHERE granted > 0) + %(expected)s) AS n,
         coalesce(sum(granted), 0) AS used FROM slot_leases
   WHERE scope = %(scope)s AND holder NOT IN (%(holder)s, %(waiter)s)
     AND until > clock_timestamp()),
g AS (
  SELECT greatest(%(in_use)s, 0,
                  least(%(want)s, greatest(1, slots / (o.n + 1)), slots - o.used))::int AS mine,
         least(%(want)s, greatest(1, slots / (o.n + 1)))::int AS share
    FROM o, limits WHERE scope = %(scope)s)
INSERT INTO slot_leases (scope, holder, granted, until)
SELECT %(scope)s, %(holder)s, mine, clock_timestamp() + make_interval(secs => %(lease)s) FROM g
ON CONFLICT (scope, holder) DO UPDATE SET granted = excluded.granted, until = excluded.until
RETURNING granted, (SELECT share FROM g) AS share,
          (SELECT count(*) > 0 FROM slot_leases w
            WHERE w.scope = %(scope)s AND w.granted = 0 AND w.until > clock_timestamp()
              AND w.holder NOT IN (%(holder)s, %(waiter)s)) AS has_waiters

-- name: count_expected
-- Who will come for slots in a moment: as many as are idle, while none of the task's downloads is
-- done. Later the leases tell who works: what serves no downloads, or those of others, is idle too.
SELECT least(
         (SELECT count(*) FROM jobs
           WHERE scope = %(scope)s AND state = 'queued' AND rung IS NOT NULL AND id <> %(job)s),
         (SELECT count(*) FROM processes
           WHERE kind = 'worker' AND ended IS NULL AND id <> %(process)s
             AND last_heartbeat > clock_timestamp() - interval '30 s'
             AND id NOT IN (SELECT worker FROM jobs
                             WHERE state = 'running' AND kind = 'download' AND worker IS NOT NULL))
       ) AS workers
 WHERE NOT EXISTS (SELECT FROM jobs WHERE task = %(task)s AND kind = 'download' AND state = 'done')

-- name: wait_for_slots
-- One row per process and not per job: who tries nine jobs in a row waits for one.
INSERT INTO slot_leases (scope, holder, granted, until)
VALUES (%(scope)s, %(waiter)s, 0, clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (scope, holder) DO UPDATE SET until = excluded.until

-- name: keep_place
-- The process of a download that asks upstream for nothing more comes for the next one in a moment:
-- who asks before it does leaves it its share. None where nothing waits, and no slots in any case.
INSERT INTO slot_leases (scope, holder, granted, until)
SELECT j.scope, %(waiter_prefix)s || j.worker, 0, clock_timestamp() + interval '2 s'
  FROM jobs j
 WHERE j.id = %(job)s AND j.kind = 'download' AND j.state IN ('running', 'done') AND j.worker IS NOT NULL
   AND EXISTS (SELECT FROM jobs o
                WHERE o.task = j.task AND o.kind = 'download' AND o.state = 'queued'
                  AND o.scope = j.scope)
ON CONFLICT (scope, holder) DO UPDATE SET until = greatest(slot_leases.until, excluded.until)

-- name: drop_slots
DELETE FROM slot_leases WHERE scope = %(scope)s AND holder = ANY(%(holders)s)

-- name: set_rate
-- Requests a second, for all that fetch by this remote.
INSERT INTO gates (scope, rate) VALUES (%(scope)s, %(rate)s)
ON CONFLICT (scope) DO UPDATE SET rate = excluded.rate
 WHERE gates.rate IS DISTINCT FROM excluded.rate

-- name: take_turns
-- So many requests are about to be made: seconds until they may be. No row: there is no rate.
UPDATE gates
   SET next_at = greatest(next_at, clock_timestamp()) + make_interval(secs => %(requests)s / rate)
 WHERE scope = %(scope)s AND rate > 0
RETURNING greatest(0, extract(epoch FROM
            next_at - make_interval(secs => %(requests)s / rate) - clock_timestamp()))::float8
          AS seconds

-- name: close_gate
INSERT INTO gates (scope, closed_until)
VALUES (%(host)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (scope) DO UPDATE SET closed_until = greatest(gates.closed_until, excluded.closed_until)
