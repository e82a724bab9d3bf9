-- What the API shows of tasks beside their own rows.

-- name: list_progress
-- While a sync downloads, its total is what is done and what its open chunks still hold; no total
-- where no chunk is open.
SELECT p.task, p.message, p.code, p.state,
       CASE WHEN p.code = 'downloading.artifacts' AND p.state = 'running'
            THEN p.done + (SELECT sum((j.args ->> 'files')::bigint
                                      - coalesce((j.args ->> 'counted')::bigint, 0)) FROM jobs j
                            WHERE j.task = p.task AND j.kind = 'download'
                              AND j.state IN ('queued', 'running'))
            ELSE p.total END::bigint AS total,
       p.done, p.suffix
  FROM progress_reports p WHERE p.task = ANY(%(tasks)s) ORDER BY p.task, p.id

-- name: list_children
SELECT parent, uuid FROM tasks WHERE parent = ANY(%(tasks)s) ORDER BY id

-- name: count_tolerances
SELECT count(*) AS n FROM tolerances o JOIN tasks t ON t.id = o.task WHERE t.uuid = %(uuid)s

-- name: list_tolerances
SELECT o.reason, o.file, o.line, o.detail
  FROM tolerances o JOIN tasks t ON t.id = o.task
 WHERE t.uuid = %(uuid)s ORDER BY o.id LIMIT %(limit)s OFFSET %(offset)s

-- name: delete_task
-- No row: it is not over.
DELETE FROM tasks WHERE uuid = %(uuid)s AND finished IS NOT NULL RETURNING id
