-- Where else files of remotes may be had, and tasks that one call has started together.

create table task_groups (
  id bigint generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_task_group_uuid_is_unique unique,
  description text not null,
  created timestamptz not null default now(), updated timestamptz not null default now());
alter table tasks add column task_group bigint references task_groups on delete set null;
create index tasks_by_group on tasks (task_group) where task_group is not null;

create table alternate_sources (         -- tried before a remote for the files that its indices list too
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint an_alternate_source_uuid_is_unique unique,
  name text not null constraint an_alternate_source_name_is_unique unique,
  remote int not null references remotes on delete cascade,
  last_refreshed timestamptz,            -- when its indices were last read; null: never
  created timestamptz not null default now(), updated timestamptz not null default now());
create index alternate_sources_by_remote on alternate_sources (remote);
