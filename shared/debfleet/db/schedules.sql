-- Schedules. A row's lock comes before those of the task that its run makes.

-- name: now
-- The only clock that says what is due.
SELECT clock_timestamp() AS now

-- name: lock_schedule
-- No row: it was deleted.
SELECT * FROM schedules WHERE uuid = %(uuid)s FOR NO KEY UPDATE

-- name: add_schedule
-- No row: the repository was deleted.
INSERT INTO schedules (name, repository, cron, time_zone, options, is_enabled, next_run, created_by)
SELECT %(name)s, r.id, %(cron)s, %(time_zone)s, %(options)s, %(is_enabled)s, %(next_run)s,
       %(created_by)s
  FROM repositories r WHERE r.uuid = %(repository)s
RETURNING uuid

-- name: update_schedule
UPDATE schedules
   SET name = %(name)s, cron = %(cron)s, time_zone = %(time_zone)s, options = %(options)s,
       is_enabled = %(is_enabled)s, next_run = %(next_run)s, updated = clock_timestamp()
 WHERE uuid = %(uuid)s

-- name: delete_schedule
DELETE FROM schedules WHERE uuid = %(uuid)s RETURNING id

-- name: list_due
SELECT id FROM schedules WHERE is_enabled AND next_run <= clock_timestamp()
 ORDER BY next_run, id LIMIT 1000

-- name: hold_due
-- No row: another sweeper is at it, or has moved next_run.
SELECT s.*, clock_timestamp() AS now, r.uuid AS repository_uuid, m.id AS remote,
       m.uuid AS remote_uuid,
       EXISTS (SELECT FROM tasks t WHERE t.id = s.last_task AND t.finished IS NULL) AS is_busy
  FROM schedules s JOIN repositories r ON r.id = s.repository LEFT JOIN remotes m ON m.id = r.remote
 WHERE s.id = %(id)s AND s.is_enabled AND s.next_run <= clock_timestamp()
   FOR NO KEY UPDATE OF s SKIP LOCKED

-- name: record_run
UPDATE schedules
   SET next_run = %(next_run)s, last_run = %(now)s, last_task = %(task)s, last_error = NULL
 WHERE id = %(id)s

-- name: record_skip
UPDATE schedules SET next_run = %(next_run)s, skipped = skipped + 1 WHERE id = %(id)s

-- name: record_error
UPDATE schedules SET next_run = %(next_run)s, last_error = %(error)s WHERE id = %(id)s
