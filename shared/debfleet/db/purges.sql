-- Forgetting tasks that are over.

-- name: purge_tasks
-- The next of the old tasks, with their jobs, reports and tolerances.
delete from tasks
 where id in (select id from tasks
               where finished < %(finished_before)s and state = any(%(states)s)
               order by id limit %(limit)s for update skip locked)
