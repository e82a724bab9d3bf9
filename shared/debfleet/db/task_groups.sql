-- Tasks that one call has started together.

-- name: add_group
INSERT INTO task_groups (description) VALUES (%(description)s) RETURNING id

-- name: put_into
UPDATE tasks SET task_group = %(group)s WHERE id = ANY (%(tasks)s)

-- name: find_group_of
-- No row: the task belongs to none.
SELECT g.uuid FROM tasks t JOIN task_groups g ON g.id = t.task_group WHERE t.id = %(task)s

-- name: list_tasks
-- The tasks of some groups, in the order of asking.
SELECT * FROM tasks WHERE task_group = ANY (%(groups)s) ORDER BY id

-- name: drop_empty
-- Their tasks were purged.
DELETE FROM task_groups g
 WHERE created < now() - interval '1 day' AND NOT EXISTS (SELECT FROM tasks t WHERE t.task_group = g.id)
