-- What the sweeper looks for, set-based. Every statement may run twice or beside itself.

-- name: end_abandoned
-- What a worker's machine had locked when it lost its power or its network stays locked until Postgres
-- notices, which may take hours; no transaction of a worker is idle for so long. Which it was is
-- found by the name that its connections bear.
WITH abandoned AS MATERIALIZED (  -- in full before any is ended
  SELECT pid FROM pg_stat_activity
   WHERE datname = current_database() AND usename = current_user AND application_name = %(name)s
     AND state LIKE 'idle in transaction%%'
     AND state_change < clock_timestamp() - make_interval(secs => %(seconds)s))
SELECT pid FROM abandoned WHERE pg_terminate_backend(pid)

-- name: list_lost
-- Leases that ran out; a row that is locked has someone writing its outcome. Also attempts that
-- are used up without an end (the worker could not even say so).
SELECT j.id, j.task, j.kind, j.round, j.args, j.attempt, j.excused, j.scope, j.error,
       coalesce(m.files, 0) AS files,
       CASE WHEN m.files > 1 THEN m.files || ' files from ' || m.path || ' on'
            WHEN m.files = 1 THEN m.path
            WHEN j.kind = 'index' THEN (SELECT w.path FROM wanted_indices w
                                         WHERE w.task = j.task
                                           AND w.position = (j.args ->> 'position')::int)
       END AS place
  FROM jobs j
  LEFT JOIN LATERAL (
       SELECT count(*) AS files, min(f.path) AS path FROM task_files f
        WHERE f.task = j.task AND f.opener = (j.args ->> 'opener')::bigint
          AND f.chunk = (j.args ->> 'chunk')::int
          AND NOT EXISTS (SELECT FROM artifacts a
                      WHERE a.sha256 = f.sha256 AND a.size = coalesce(f.size, a.size))) m
    ON j.kind = 'download'
 WHERE (j.state = 'running' AND j.leased_until < clock_timestamp())
    OR (j.state = 'queued' AND j.rung IS NOT NULL AND j.attempt - j.excused >= %(max_attempts)s)
 ORDER BY j.id LIMIT 500 FOR NO KEY UPDATE OF j SKIP LOCKED

-- name: split_chunk
-- Of the files that a chunk still lacks the later half becomes a chunk of its own; the task's row is
-- held, so that no two get one number. No row: there is nothing to halve any more.
WITH missing AS (
  SELECT f.sha256, row_number() OVER w AS place, count(*) OVER () AS files
    FROM task_files f
   WHERE f.task = %(task)s AND f.opener = %(opener)s AND f.chunk = %(chunk)s
     AND NOT EXISTS (SELECT FROM artifacts a
                      WHERE a.sha256 = f.sha256 AND a.size = coalesce(f.size, a.size))
  WINDOW w AS (ORDER BY f.path, f.sha256)),
next AS (
  SELECT max(chunk) + 1 AS chunk FROM task_files WHERE task = %(task)s AND opener = %(opener)s),
moved AS (
  UPDATE task_files t SET chunk = next.chunk
    FROM missing m, next
   WHERE t.task = %(task)s AND t.sha256 = m.sha256 AND m.place > (m.files + 1) / 2
  RETURNING t.chunk)
SELECT chunk, count(*)::int AS files,
       (SELECT count(*)::int FROM task_files
         WHERE task = %(task)s AND opener = %(opener)s AND chunk = %(chunk)s) AS files_before
  FROM moved GROUP BY chunk

-- name: add_halves
-- In the place of a job, of which all is taken over but its args and its attempts.
INSERT INTO jobs (task, kind, round, scope, host, args, attempt)
SELECT j.task, j.kind, j.round, j.scope, j.host, n.args, %(attempt)s
  FROM jobs j CROSS JOIN unnest(%(args)s::jsonb[]) WITH ORDINALITY AS n (args, place)
 WHERE j.id = %(job)s
 ORDER BY n.place

-- name: end_split
UPDATE jobs
   SET state = 'canceled', leased_until = NULL, finished = clock_timestamp(),
       error = jsonb_build_object('reason', 'split in two: its worker was lost again and again')
 WHERE id = %(job)s

-- name: requeue_lost
UPDATE jobs
   SET state = 'queued', leased_until = NULL, rung = NULL, worker = NULL,
       error = jsonb_build_object('reason', 'the lease of attempt ' || attempt || ' ran out')
 WHERE id = ANY(%(jobs)s)

-- name: tidy_jobs
-- Jobs that lost their right while their row was locked.
WITH gone AS (
  SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task
   WHERE j.state IN ('queued', 'running') AND (t.finished IS NOT NULL OR t.round <> j.round)
   ORDER BY j.id LIMIT 5000 FOR NO KEY UPDATE OF j SKIP LOCKED)
UPDATE jobs j SET state = 'canceled', leased_until = NULL, finished = clock_timestamp()
  FROM gone WHERE j.id = gone.id
RETURNING j.id, j.scope

-- name: ring_again
-- Rung, not claimed, able to run, and the last ring longer ago than a pause that doubles.
WITH due AS (
  SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task
   WHERE j.state = 'queued' AND j.rung IS NOT NULL AND j.not_before <= clock_timestamp()
     AND (%(anew)s OR j.rung < clock_timestamp() - make_interval(
            secs => least(%(pause)s::float8 * power(2, least(greatest(j.rings, 1), 30) - 1), 600)))
     AND t.finished IS NULL AND t.unblocked IS NOT NULL AND t.round = j.round
     AND NOT EXISTS (SELECT FROM gates g
                      WHERE g.scope = j.host AND g.closed_until > clock_timestamp())
     AND NOT EXISTS (SELECT FROM limits l
                      WHERE l.scope = j.scope
                        AND l.slots <= (SELECT coalesce(sum(granted), 0) FROM slot_leases s
                                         WHERE s.scope = l.scope AND s.until > clock_timestamp()))
   ORDER BY j.rung LIMIT 2000 FOR NO KEY UPDATE OF j SKIP LOCKED)
UPDATE jobs j SET rung = clock_timestamp(), rings = CASE WHEN %(anew)s THEN 1 ELSE rings + 1 END
  FROM due WHERE j.id = due.id
RETURNING j.id, j.kind

-- name: list_unrung_tasks
-- Tasks that have a job which could be in the window and is not: put off until now, or its ringer
-- died. The window's room is looked at under the task's lock.
SELECT DISTINCT t.id AS task, t.round
  FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.state = 'queued' AND j.rung IS NULL AND j.scope IS NULL
   AND j.not_before <= clock_timestamp()
   AND t.finished IS NULL AND t.unblocked IS NOT NULL AND t.round = j.round
   AND (SELECT count(*) FROM jobs o
         WHERE o.task = j.task AND o.kind = j.kind AND o.rung IS NOT NULL
           AND o.state IN ('queued', 'running')) < %(window)s
 ORDER BY 1 LIMIT 500

-- name: lock_task
SELECT id FROM tasks WHERE id = %(task)s AND round = %(round)s AND finished IS NULL
   FOR NO KEY UPDATE SKIP LOCKED

-- name: list_unrung_scopes
SELECT DISTINCT j.scope FROM jobs j
 WHERE j.state = 'queued' AND j.rung IS NULL AND j.scope IS NOT NULL
   AND j.not_before <= clock_timestamp()
 ORDER BY 1

-- name: prune_slots
DELETE FROM slot_leases WHERE until < clock_timestamp() - interval '1 minute'

-- name: prune_processes
DELETE FROM processes WHERE last_heartbeat < clock_timestamp() - interval '1 day'

-- name: lead
-- One sweeper works. No row: another one leads.
INSERT INTO leaders (role, holder, until)
VALUES (%(role)s, %(holder)s, clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, until = excluded.until
 WHERE leaders.holder = excluded.holder OR leaders.until < clock_timestamp()
RETURNING holder

-- name: step_down
DELETE FROM leaders WHERE role = %(role)s AND holder = %(holder)s

-- name: list_ringing
-- Who listens anew asks once for what it may have missed.
SELECT j.id, j.kind FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.state = 'queued' AND j.rung IS NOT NULL AND j.kind = ANY(%(kinds)s)
   AND j.not_before <= clock_timestamp()
   AND t.finished IS NULL AND t.unblocked IS NOT NULL AND t.round = j.round
 ORDER BY j.rung LIMIT 1000

-- name: forget_indices
-- What endings could not delete because an outcome was writing it (endings.sql). Only rows of tasks
-- that go on are left otherwise, so there is little to look at.
DELETE FROM wanted_indices w USING tasks t WHERE t.id = w.task AND t.finished IS NOT NULL

-- name: forget_units
DELETE FROM task_units w USING tasks t WHERE t.id = w.task AND t.finished IS NOT NULL

-- name: forget_files
DELETE FROM task_files w USING tasks t WHERE t.id = w.task AND t.finished IS NOT NULL
