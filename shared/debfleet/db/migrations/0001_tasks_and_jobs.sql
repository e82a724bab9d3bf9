-- What a user asked for (tasks), its pieces (jobs), who may run now (claims), and who is alive.

create table installation (             -- one row: what is random and must never change
  id boolean primary key default true constraint there_is_one_installation check (id),
  stanza_key bytea not null,            -- keys the digests of stanzas, so that nobody can prepare a collision
  href_key bytea not null,              -- keys the check in computed ids, so that a forged id is a 404
  secret_check bytea,                   -- a known text sealed with DEBFLEET_SECRET_KEY: a wrong key is seen at start
  created timestamptz not null default now());
insert into installation (stanza_key, href_key) values (
  uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

create table users (
  id int generated always as identity primary key,
  username text not null constraint a_username_is_unique unique,
  password_hash text not null,          -- argon2id
  password_version int not null default 1,  -- goes up with each change: what a process remembered of the old one is void
  created timestamptz not null default now());

create table processes (                -- heartbeats: the status page and lost leases' stories, never a right to work
  id uuid primary key,                  -- made at each start: a name that comes again is another process
  kind text not null constraint a_process_is_of_a_known_kind check (kind in ('api', 'worker', 'sweep', 'content')),
  name text not null, versions jsonb not null default '{}',
  started timestamptz not null default now(), last_heartbeat timestamptz not null default now(), ended timestamptz);
create index processes_by_kind on processes (kind, last_heartbeat);

create table tasks (
  id bigint generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_task_uuid_is_unique unique,
  kind text not null,                   -- sync, change, modify, …: what the worker runs
  name text not null,                   -- Pulp's dotted name, for clients
  state text not null default 'waiting' constraint a_task_has_a_known_state
    check (state in ('waiting', 'skipped', 'running', 'completed', 'failed', 'canceled', 'canceling')),
  args jsonb not null default '{}',
  reserved text[] not null default '{}',   -- PRNs, shared ones as shared:<PRN>; kept when the claims are gone
  created_resources text[] not null default '{}',  -- PRNs
  error jsonb, result jsonb,
  worker uuid references processes on delete set null,  -- who claimed its first job
  parent bigint references tasks on delete set null,
  logging_cid text not null default '', created_by int references users on delete set null,
  idempotency_key text constraint an_idempotency_key_makes_one_task unique,
  open_jobs int not null default 0 constraint open_jobs_are_counted_right check (open_jobs >= 0),
  round int not null default 1,         -- how often the sync was planned: upstream rotated under the earlier ones
  created timestamptz not null default now(), updated timestamptz not null default now(),
  unblocked timestamptz, started timestamptz, finished timestamptz,
  constraint a_final_task_has_its_end check ((finished is not null) = (state in ('skipped', 'completed', 'failed', 'canceled'))));
create index tasks_by_state on tasks (state) where finished is null;
create index tasks_by_reserved on tasks using gin (reserved);
create index tasks_by_created_resource on tasks using gin (created_resources);
create index tasks_by_parent on tasks (parent) where parent is not null;

create table claims (                   -- a resource that a task holds or waits for, from asking to the end
  task bigint not null references tasks on delete cascade, resource text not null, exclusive boolean not null,
  primary key (resource, task));
create index claims_by_task on claims (task);
create index exclusive_claims on claims (resource, task) where exclusive;

create table jobs (
  id bigint generated always as identity primary key,
  task bigint not null references tasks on delete cascade,
  kind text not null constraint a_job_is_of_a_known_kind
    check (kind in ('plan', 'index', 'download', 'assemble', 'publish', 'chore')),
  round int not null default 1,
  args jsonb not null default '{}',
  state text not null default 'queued' constraint a_job_has_a_known_state
    check (state in ('queued', 'running', 'done', 'failed', 'canceled')),
  attempt int not null default 0,       -- counted before the work; also the fence of every outcome
  excused int not null default 0,       -- attempts that ended in peace (handed back, upstream busy): they do not lead to quarantine
  leased_until timestamptz, worker uuid references processes on delete set null,
  scope text,                           -- whose slots it needs to run (limits.scope), if any
  host text,                            -- whose gate must be open (gates.scope), if any
  rung timestamptz,                     -- when its message was last sent; null: outside the window
  rings int not null default 0,
  not_before timestamptz not null default '-infinity',
  error jsonb,                          -- of the last attempt
  created timestamptz not null default now(), started timestamptz, finished timestamptz,
  constraint running_jobs_have_a_lease check ((state = 'running') = (leased_until is not null)));
create index jobs_by_task on jobs (task, kind, state);
create index rung_jobs on jobs (task, kind) where state in ('queued', 'running') and rung is not null;
create index unrung_jobs on jobs (task, kind, id) where state = 'queued' and rung is null and scope is null;
create index unrung_jobs_by_scope on jobs (scope, task, id) where state = 'queued' and rung is null and scope is not null;
create index jobs_by_scope on jobs (scope) where state in ('queued', 'running') and scope is not null;
create index leased_jobs on jobs (leased_until) where state = 'running';
create unique index a_task_assembles_once_a_round on jobs (task, kind, round) where kind = 'assemble';

create table progress_reports (
  id bigint generated always as identity primary key,
  task bigint not null references tasks on delete cascade,
  code text not null, subject text not null default '',  -- tells apart the reports of one code
  message text not null, state text not null default 'running',
  total bigint, done bigint not null default 0, suffix text,
  constraint a_task_has_one_report_per_code_and_subject unique (task, code, subject));

create table tolerances (               -- what was listed and left out: the first 1,000 of each reason; the count is the report's
  id bigint generated always as identity primary key,
  task bigint not null references tasks on delete cascade,
  reason text not null, file text not null, line int, detail text not null default '');
create index tolerances_by_task on tolerances (task, reason);

create table limits (scope text primary key, slots int not null);
create table gates (scope text primary key, rate float8,
  next_at timestamptz not null default now(), closed_until timestamptz not null default '-infinity');
create table slot_leases (
  scope text not null references limits on delete cascade, holder text not null, granted int not null,
  since timestamptz not null default now(), until timestamptz not null, primary key (scope, holder));

create table leaders (                  -- one sweeper works, the other waits
  role text primary key, holder uuid not null, until timestamptz not null);
