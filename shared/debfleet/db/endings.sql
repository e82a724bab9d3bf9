-- How a task ends, and what its ending leaves behind.

-- name: end_task
-- No row: it is over already, or planned anew (round; null where any will do).
UPDATE tasks
   SET state = %(state)s, finished = clock_timestamp(), updated = clock_timestamp(), open_jobs = 0,
       error = %(error)s,
       result = CASE WHEN %(state)s = 'completed' THEN coalesce(%(result)s, result) ELSE %(result)s END,
       created_resources = CASE WHEN %(state)s = 'completed' THEN created_resources || %(created)s::text[]
                                ELSE '{}' END
 WHERE id = %(task)s AND finished IS NULL
   AND (%(round)s::int IS NULL OR (round = %(round)s AND state = 'running'))
RETURNING id

-- name: end_reports
-- The one that failed, and all others that had not ended.
UPDATE progress_reports SET state = CASE WHEN code = %(failed)s THEN 'failed' ELSE %(state)s END
 WHERE task = %(task)s AND state IN ('waiting', 'running')

-- name: drop_claims
DELETE FROM claims WHERE task = %(task)s

-- name: cancel_jobs
-- The other jobs of a task. One that is locked just now is skipped: it has lost its right all the
-- same, by the task's row, and the sweep tidies it up.
WITH others AS (
  SELECT id FROM jobs
   WHERE task = %(task)s AND state IN ('queued', 'running') AND id <> %(except)s
   ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
UPDATE jobs j SET state = 'canceled', leased_until = NULL, finished = clock_timestamp()
  FROM others WHERE j.id = others.id
RETURNING j.id, j.scope

-- name: forget_indices
-- Rows that an outcome is writing just now are left to the sweep: it would want the task's row next,
-- which we hold. It fails there, so nothing of it stays.
DELETE FROM wanted_indices WHERE (task, position) IN (
  SELECT task, position FROM wanted_indices WHERE task = %(task)s FOR UPDATE SKIP LOCKED)

-- name: forget_units
DELETE FROM task_units WHERE (task, kind, unit) IN (
  SELECT task, kind, unit FROM task_units WHERE task = %(task)s FOR UPDATE SKIP LOCKED)

-- name: forget_files
DELETE FROM task_files WHERE (task, sha256) IN (
  SELECT task, sha256 FROM task_files WHERE task = %(task)s FOR UPDATE SKIP LOCKED)

-- name: forget_all_indices
-- For a new round of the same task nothing may be left. Where an outcome is writing them just now,
-- Postgres ends one of the two, and it runs again; rare, and never for an ending.
DELETE FROM wanted_indices WHERE task = %(task)s

-- name: forget_all_units
DELETE FROM task_units WHERE task = %(task)s

-- name: forget_all_files
DELETE FROM task_files WHERE task = %(task)s

-- name: forget_tolerances
DELETE FROM tolerances WHERE task = %(task)s

-- name: forget_counts
-- The reports that were there from the start stay in their place, and so does what is kept.
WITH reset AS (
  UPDATE progress_reports SET done = 0
   WHERE task = %(task)s AND code <> ALL (%(kept)s::text[]) AND code NOT LIKE 'sync.%%')
DELETE FROM progress_reports
 WHERE task = %(task)s AND code <> ALL (%(kept)s::text[]) AND code LIKE 'sync.%%'

-- name: forget_publications
-- A publication that was being made; a complete one stays.
DELETE FROM publications WHERE made_by = %(task)s AND NOT is_complete

-- name: list_scopes
-- Whose slots a task's jobs need.
SELECT DISTINCT scope FROM jobs WHERE task = %(task)s AND scope IS NOT NULL ORDER BY 1
