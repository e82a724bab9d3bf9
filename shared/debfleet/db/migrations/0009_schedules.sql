-- Syncs at set times, and what a request with an Idempotency-Key asked for.

alter table tasks add column idempotency_request text;  -- digest of the request that the key came with; null: made by the version before

create table schedules (
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_schedule_uuid_is_unique unique,
  name text not null constraint a_schedule_name_is_unique unique,
  repository int not null references repositories on delete cascade,
  cron text not null, time_zone text not null default 'UTC',
  options jsonb not null default '{}',   -- of a sync: mirror, optimize
  is_enabled boolean not null default true,
  next_run timestamptz,                  -- by Postgres's clock; null: it never comes, or is disabled
  last_run timestamptz,                  -- when the last task was made
  last_task bigint references tasks on delete set null,
  skipped int not null default 0,        -- runs left out because the one before was not over
  last_error text,                       -- why the last run made no task; null: it made one
  created_by int references users on delete set null,
  created timestamptz not null default now(), updated timestamptz not null default now());
create index due_schedules on schedules (next_run) where is_enabled and next_run is not null;
create index schedules_by_repository on schedules (repository);
create index schedules_by_last_task on schedules (last_task) where last_task is not null;
