-- The files of a task still go with it, and none is noted for a task that is gone; but this is looked at
-- once for each statement. A foreign key looks once for each file, and again when it is dealt out, which
-- took a third of both.
alter table task_files drop constraint task_files_task_fkey;

create function refuse_files_of_a_task_that_is_gone() returns trigger language plpgsql as $$
declare
  missing bigint;
begin
  -- The lock is that of a foreign key: whoever deletes the task waits for us.
  perform from tasks where id in (select task from noted) order by id for key share;
  select n.task into missing from noted n where not exists (select from tasks t where t.id = n.task) limit 1;
  if found then
    raise exception 'no task % for a file', missing using errcode = 'foreign_key_violation';
  end if;
  return null;
end $$;
create trigger a_file_is_noted_for_a_task after insert on task_files referencing new table as noted
  for each statement execute function refuse_files_of_a_task_that_is_gone();

create function delete_files_of_tasks() returns trigger language plpgsql as $$
begin
  delete from task_files where task in (select id from gone);
  return null;
end $$;
create trigger a_task_takes_its_files_along after delete on tasks referencing old table as gone
  for each statement execute function delete_files_of_tasks();
