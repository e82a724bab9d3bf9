-- What is watched: when each repository was last synced, and what is open now.

create table sync_states (               -- kept when the tasks are purged
  repository int primary key references repositories on delete cascade,
  succeeded timestamptz,                 -- when a sync last completed, also one that changed nothing
  failed timestamptz,
  failures int not null default 0);      -- since the last that completed

create function remember_sync() returns trigger language plpgsql as $$
begin
  insert into sync_states (repository, succeeded, failed, failures)
  select r.id, case when new.state = 'completed' then new.finished end,
         case when new.state = 'failed' then new.finished end, (new.state = 'failed')::int
    from repositories r where r.id = (new.args ->> 'repository')::int
  on conflict (repository) do update
     set succeeded = coalesce(excluded.succeeded, sync_states.succeeded),
         failed = coalesce(excluded.failed, sync_states.failed),
         failures = case when excluded.succeeded is null then sync_states.failures + excluded.failures else 0 end;
  return null;
end $$;
create trigger an_ended_sync_is_remembered after update of state on tasks for each row
  when (new.kind = 'sync' and old.finished is null and new.state in ('completed', 'failed'))
  execute function remember_sync();

insert into sync_states (repository, succeeded, failed, failures)
select r.id, max(t.finished) filter (where t.state = 'completed'), max(t.finished) filter (where t.state = 'failed'),
       count(*) filter (where t.state = 'failed' and t.finished > coalesce(
         (select max(o.finished) from tasks o where o.kind = 'sync' and o.state = 'completed' and o.args = t.args), '-infinity'))
  from tasks t join repositories r on r.id = (t.args ->> 'repository')::int
 where t.kind = 'sync' and t.state in ('completed', 'failed')
 group by r.id;

-- Of a long table of done jobs, those that are not.
create index open_jobs on jobs (kind) where state in ('queued', 'running');
