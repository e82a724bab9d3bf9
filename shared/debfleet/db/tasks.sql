-- Tasks: asked, started, ended. Row locks in the order that jobs.sql gives.

-- name: lock_key
-- Of two requests with one idempotency key, the second sees the first's task.
SELECT pg_advisory_xact_lock(hashtextextended('key ' || %(key)s, 0))

-- name: find_by_key
SELECT id, uuid FROM tasks
 WHERE idempotency_key = %(key)s AND created > clock_timestamp() - interval '1 day'

-- name: forget_key
-- Older than a day: it may make another task.
UPDATE tasks SET idempotency_key = NULL WHERE idempotency_key = %(key)s

-- name: get_request
SELECT kind, args, idempotency_request AS request FROM tasks WHERE id = %(task)s

-- name: add_task
-- A task with its claims, its first job and the reports that it shows from the start, in one round
-- trip. at_once: it starts here where nobody claims one of its resources in conflict; started: the job
-- to ring, or null. Only after lock_resources, as a statement of its own: what others asked for
-- while that one waited must be seen.
WITH wanted AS (
  SELECT * FROM unnest(%(resources)s::text[], %(exclusive)s::bool[]) AS r (resource, exclusive)),
free AS (
  SELECT CASE WHEN %(at_once)s AND NOT EXISTS (
           SELECT FROM wanted r JOIN claims c
               ON c.resource = r.resource AND (c.exclusive OR r.exclusive))
         THEN clock_timestamp() END AS since),
t AS (
  INSERT INTO tasks (kind, name, args, reserved, logging_cid, created_by, idempotency_key,
                     idempotency_request, open_jobs, unblocked)
  SELECT %(kind)s, %(name)s, %(args)s, %(reserved)s, %(logging_cid)s, %(created_by)s, %(key)s,
         %(request)s, 1, since FROM free
  RETURNING id, uuid, unblocked),
claimed AS (
  INSERT INTO claims (task, resource, exclusive)
  SELECT t.id, r.resource, r.exclusive FROM t, wanted r ORDER BY r.resource),
remote AS (
  SELECT download_concurrency AS slots,
         'host:' || substring(lower(url) FROM '://(?:[^/@]*@)?([^/?#]+)') AS host
    FROM remotes WHERE id = substring(%(scope)s::text FROM '^remote:([0-9]+)$')::int),
limited AS (  -- as set_limits of slots.sql
  INSERT INTO limits (scope, slots)
  SELECT %(scope)s::text, coalesce((SELECT slots FROM remote), 20) WHERE %(scope)s::text IS NOT NULL
  ON CONFLICT (scope) DO UPDATE SET slots = excluded.slots),
j AS (
  INSERT INTO jobs (task, kind, scope, host, rung, rings)
  SELECT t.id, %(job_kind)s, %(scope)s, (SELECT host FROM remote), t.unblocked,
         CASE WHEN t.unblocked IS NULL THEN 0 ELSE 1 END
    FROM t
  RETURNING id, rung),
shown AS (
  INSERT INTO progress_reports (task, code, message)
  SELECT t.id, r.code, r.message
    FROM t, unnest(%(codes)s::text[], %(messages)s::text[]) WITH ORDINALITY AS r (code, message, place)
   ORDER BY r.place)
SELECT t.id, t.uuid, CASE WHEN j.rung IS NOT NULL THEN j.id END AS started FROM t, j

-- name: add_done_task
-- A change that the API made at once: its task is over from the start.
INSERT INTO tasks (kind, name, state, args, reserved, created_resources, result, logging_cid,
                   created_by, idempotency_key, idempotency_request, unblocked, started, finished)
VALUES (%(kind)s, %(name)s, 'completed', %(args)s, %(reserved)s, %(created)s, %(result)s,
        %(logging_cid)s, %(created_by)s, %(key)s, %(request)s, now(), now(), clock_timestamp())
RETURNING id, uuid

-- name: start_task
-- No row: an older task is in its way, or it was started (or ended) before.
UPDATE tasks t SET unblocked = clock_timestamp(), updated = clock_timestamp()
 WHERE t.id = %(task)s AND t.state = 'waiting' AND t.unblocked IS NULL
   AND NOT EXISTS (
     SELECT FROM claims m
      WHERE m.task = t.id
        AND m.task > CASE WHEN m.exclusive
              THEN (SELECT min(o.task) FROM claims o WHERE o.resource = m.resource)
              ELSE (SELECT min(o.task) FROM claims o WHERE o.resource = m.resource AND o.exclusive)
            END)
RETURNING t.id

-- name: ring_first
-- Two starters of one task: the second finds its job rung.
UPDATE jobs SET rung = clock_timestamp(), rings = rings + 1
 WHERE task = %(task)s AND state = 'queued' AND rung IS NULL AND not_before <= clock_timestamp()
RETURNING id, kind

-- name: list_next
-- Tasks at the head of the resources that an ended task had: up to and with the first exclusive one.
SELECT DISTINCT m.task
  FROM unnest(%(resources)s::text[]) AS r (resource)
  JOIN claims m ON m.resource = r.resource
   AND m.task <= coalesce((SELECT min(o.task) FROM claims o
                            WHERE o.resource = r.resource AND o.exclusive), m.task)
  JOIN tasks t ON t.id = m.task
 WHERE t.state = 'waiting' AND t.unblocked IS NULL
 ORDER BY 1

-- name: list_startable
-- All waiting tasks that nothing older is in the way of.
SELECT t.id FROM tasks t
 WHERE t.state = 'waiting' AND t.unblocked IS NULL
   AND NOT EXISTS (
     SELECT FROM claims m
      WHERE m.task = t.id
        AND m.task > CASE WHEN m.exclusive
              THEN (SELECT min(o.task) FROM claims o WHERE o.resource = m.resource)
              ELSE (SELECT min(o.task) FROM claims o WHERE o.resource = m.resource AND o.exclusive)
            END)
 ORDER BY 1 LIMIT 1000

-- name: find_ended
-- What an ended task had reserved. No row: it goes on.
SELECT reserved FROM tasks WHERE id = %(task)s AND finished IS NOT NULL

-- name: note_made
-- Of a task that goes on: its end adds to this, and a failure takes it back.
UPDATE tasks SET created_resources = created_resources || %(created)s::text[], result = %(result)s
 WHERE id = %(task)s

-- name: find_by_uuid
SELECT id, finished IS NOT NULL AS is_final FROM tasks WHERE uuid = %(uuid)s

-- name: add_progress
-- The task's row first: whoever ends the task has that and wants the reports.
WITH t AS (SELECT id FROM tasks WHERE id = %(task)s FOR NO KEY UPDATE)
INSERT INTO progress_reports (task, code, subject, message, done, total, state)
SELECT t.id, %(code)s, %(subject)s, %(message)s, %(done)s, %(total)s,
       coalesce(%(state)s, 'running') FROM t
ON CONFLICT (task, code, subject) DO UPDATE
   SET done = progress_reports.done + excluded.done,
       total = coalesce(excluded.total, progress_reports.total),
       message = excluded.message,
       state = coalesce(%(state)s, progress_reports.state)

-- name: hold_to_count
-- The fence, as in jobs.sql, and the task's row, where both are free at this moment.
SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.id = %(job)s AND j.attempt = %(attempt)s AND j.state = 'running'
   AND t.state = 'running' AND t.round = j.round
   FOR NO KEY UPDATE SKIP LOCKED

-- name: count_files
-- The job's row is held; what it counted before is not counted again.
WITH j AS (SELECT id, coalesce((args ->> 'counted')::int, 0) AS counted FROM jobs WHERE id = %(job)s)
UPDATE jobs SET args = args || jsonb_build_object('counted', greatest(j.counted, %(done)s))
  FROM j WHERE jobs.id = j.id
RETURNING greatest(0, %(done)s - j.counted) AS more

-- name: add_tolerances
-- The first 1,000 of each reason; the report's row, counted just before, keeps two writers apart.
INSERT INTO tolerances (task, reason, file, line, detail)
SELECT %(task)s, n.reason, n.file, n.line, n.detail
  FROM (SELECT u.*, row_number() OVER (PARTITION BY reason ORDER BY place) AS nth
          FROM unnest(%(reasons)s::text[], %(files)s::text[], %(lines)s::int[], %(details)s::text[])
               WITH ORDINALITY AS u (reason, file, line, detail, place)) n
 WHERE n.nth + (SELECT count(*) FROM tolerances t
                 WHERE t.task = %(task)s AND t.reason = n.reason) <= 1000
 ORDER BY n.place
