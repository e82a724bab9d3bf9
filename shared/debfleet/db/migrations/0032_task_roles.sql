-- Roles are granted on tasks too; the grants on a task go with it.

create trigger grants_of_tasks_end after delete on tasks referencing old table as gone
  for each statement execute function drop_grants('core.task');
