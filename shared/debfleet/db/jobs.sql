-- Jobs: the claim, the fence, and what is rung when one ends.
--
-- Row locks are taken in one order everywhere: job, task, reports, limits, slot leases. What comes
-- from the side (cancel, sweep, another attempt) never waits for a job's row: it skips a locked one.
-- A right to work is three facts at once: jobs.state = 'running' with our attempt, tasks.state =
-- 'running', and tasks.round = jobs.round. Whoever ends or plans a task anew changes the task's row
-- alone, and all its jobs have lost their right.

-- name: lock_job_to_claim
-- No row: done, held, not yet due, its task blocked or over, or another claim is at it right now.
SELECT j.id, j.task, j.kind, j.args, j.attempt, j.excused, j.round, j.scope, j.host, j.state,
       t.kind AS task_kind, t.args AS task_args, t.uuid AS task_uuid, t.logging_cid,
       t.state = 'waiting' AS is_first,
       coalesce(extract(epoch FROM clock_timestamp() - j.started), 0)::float8 AS age
  FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.id = %(job)s
   AND ((j.state = 'queued' AND j.not_before <= clock_timestamp())
        OR (j.state = 'running' AND j.leased_until < clock_timestamp()))
   AND t.finished IS NULL AND t.unblocked IS NOT NULL AND t.round = j.round
   AND j.attempt - j.excused < %(max_attempts)s
   FOR NO KEY UPDATE OF j SKIP LOCKED

-- name: begin_task
-- The first claim makes the task running. No row: it was canceled meanwhile.
UPDATE tasks
   SET state = 'running', started = coalesce(started, clock_timestamp()),
       worker = coalesce(worker, %(process)s), updated = clock_timestamp()
 WHERE id = %(task)s AND state = 'waiting'
RETURNING id

-- name: lease_job
UPDATE jobs
   SET state = 'running', attempt = attempt + 1, worker = %(process)s,
       leased_until = clock_timestamp() + make_interval(secs => %(lease)s),
       rung = coalesce(rung, clock_timestamp()), started = coalesce(started, clock_timestamp())
 WHERE id = %(job)s
RETURNING attempt

-- name: wait_unrung
-- It may not run now: off the bell, until whoever frees what it needs rings it.
UPDATE jobs
   SET rung = NULL, state = 'queued', leased_until = NULL,
       not_before = greatest(not_before, clock_timestamp() + make_interval(secs => %(seconds)s))
 WHERE id = %(job)s

-- name: hold_job
-- The fence. No row: the lease was lost, the task is over, or it is planned anew.
SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.id = %(job)s AND j.attempt = %(attempt)s AND j.state = 'running'
   AND t.state = 'running' AND t.round = j.round
   FOR NO KEY UPDATE OF j

-- name: hold_job_at_once
-- As hold_job, for the keeper: it must not wait behind an outcome that our own step is writing.
SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.id = %(job)s AND j.attempt = %(attempt)s AND j.state = 'running'
   AND t.state = 'running' AND t.round = j.round
   FOR NO KEY UPDATE OF j SKIP LOCKED

-- name: see_job
-- As hold_job, without a lock.
SELECT j.id FROM jobs j JOIN tasks t ON t.id = j.task
 WHERE j.id = %(job)s AND j.attempt = %(attempt)s AND j.state = 'running'
   AND t.state = 'running' AND t.round = j.round

-- name: renew_lease
UPDATE jobs SET leased_until = clock_timestamp() + make_interval(secs => %(lease)s)
 WHERE id = %(job)s

-- name: count_open_jobs
-- Takes the task's row, so that of all finishers exactly one sees zero. No row: the task is over
-- or planned anew.
UPDATE tasks SET open_jobs = open_jobs + %(change)s, updated = clock_timestamp()
 WHERE id = %(task)s AND state = 'running' AND round = %(round)s
RETURNING open_jobs

-- name: add_jobs
-- In the order given; not rung yet. The host is that of the remote whose slots the job needs.
INSERT INTO jobs (task, kind, round, args, scope, host)
SELECT %(task)s, n.kind, %(round)s, n.args, n.scope,
       'host:' || substring(lower(r.url) FROM '://(?:[^/@]*@)?([^/?#]+)')
  FROM unnest(%(kinds)s::text[], %(args)s::jsonb[], %(scopes)s::text[])
       WITH ORDINALITY AS n (kind, args, scope, place)
  LEFT JOIN remotes r ON n.scope = 'remote:' || r.id
 ORDER BY n.place
RETURNING id

-- name: end_job
UPDATE jobs
   SET state = %(state)s, leased_until = NULL, finished = clock_timestamp(),
       error = coalesce(%(error)s, error)
 WHERE id = %(job)s

-- name: requeue_job
-- Back to the queue by its own worker.
UPDATE jobs
   SET state = 'queued', leased_until = NULL, worker = NULL, rung = NULL,
       excused = excused + %(excused)s, error = %(error)s,
       not_before = CASE WHEN %(seconds)s::float8 > 0
                         THEN clock_timestamp() + make_interval(secs => %(seconds)s)
                         ELSE '-infinity' END
 WHERE id = %(job)s

-- name: ring_window
-- The next jobs of one task, as many of each kind as its window has room for. Exact under the task's
-- row lock; without it a few more may be rung.
WITH room AS (
  SELECT k.kind, %(window)s - (SELECT count(*) FROM jobs j
                                WHERE j.task = %(task)s AND j.kind = k.kind AND j.rung IS NOT NULL
                                  AND j.state IN ('queued', 'running')) AS free
    FROM unnest(%(kinds)s::text[]) AS k (kind)),
next AS (
  SELECT n.id FROM room CROSS JOIN LATERAL (
    SELECT id FROM jobs
     WHERE task = %(task)s AND kind = room.kind AND state = 'queued' AND rung IS NULL
       AND scope IS NULL AND not_before <= clock_timestamp() AND round = %(round)s
     ORDER BY id LIMIT greatest(room.free, 0) FOR NO KEY UPDATE SKIP LOCKED) n)
UPDATE jobs j SET rung = clock_timestamp(), rings = rings + 1
  FROM next WHERE j.id = next.id
RETURNING j.id, j.kind

-- name: begin_round
-- No row: the task is over, or another job planned it anew already.
UPDATE tasks SET round = round + 1, open_jobs = 1, updated = clock_timestamp()
 WHERE id = %(task)s AND state = 'running' AND round = %(round)s
RETURNING round

-- name: find_waiting_scope
-- All jobs of a task that need slots need those of its one remote.
SELECT scope FROM jobs
 WHERE task = %(task)s AND state = 'queued' AND rung IS NULL AND scope IS NOT NULL LIMIT 1
