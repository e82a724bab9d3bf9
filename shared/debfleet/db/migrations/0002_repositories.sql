-- Remotes, repositories and their versions.

create table remotes (
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_remote_uuid_is_unique unique,
  name text not null constraint a_remote_name_is_unique unique,
  labels jsonb not null default '{}',
  url text not null, distributions text not null, components text, architectures text,
  policy text not null default 'immediate' constraint a_policy_is_known
    check (policy in ('immediate', 'on_demand', 'streamed')),
  sync_sources boolean not null default false, sync_udebs boolean not null default false,
  sync_installer boolean not null default false,
  gpgkey text, ignore_missing_package_indices boolean not null default false,
  tls_validation boolean not null default true, ca_cert text, client_cert text,
  client_key bytea, username bytea, password bytea,          -- these five are sealed: key id, nonce, ciphertext
  proxy_url text, proxy_username bytea, proxy_password bytea,
  max_retries int, total_timeout float8, connect_timeout float8, sock_connect_timeout float8, sock_read_timeout float8,
  headers jsonb, download_concurrency int, rate_limit int,
  excluded_package_metadata_fields jsonb not null default '[]',
  last_seen timestamptz,                 -- when a sync last read its Release files
  created timestamptz not null default now(), updated timestamptz not null default now());

create table repositories (
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_repository_uuid_is_unique unique,
  name text not null constraint a_repository_name_is_unique unique,
  description text, labels jsonb not null default '{}',
  retain_repo_versions int constraint at_least_one_version_is_kept check (retain_repo_versions >= 1),
  retain_checkpoints int,
  remote int references remotes on delete set null,
  autopublish boolean not null default false, publish_upstream_release_fields boolean not null default true,
  signing_service uuid, signing_service_release_overrides jsonb not null default '{}',
  package_signing_service uuid, package_signing_fingerprint text,
  package_signing_fingerprint_release_overrides jsonb not null default '{}',
  excluded_package_metadata_fields jsonb not null default '[]',
  last_number int not null default 0,    -- gives the numbers out: never reused, even after deletion
  created timestamptz not null default now(), updated timestamptz not null default now());

create table repository_versions (
  repository int not null references repositories on delete cascade, number int not null,
  id uuid not null default gen_random_uuid() constraint a_version_id_is_unique unique,
  made_by bigint references tasks on delete set null,
  options jsonb,                         -- what the sync that made it was asked; null: made by something else
  base_version uuid, created timestamptz not null default now(),
  primary key (repository, number));
create index versions_by_task on repository_versions (made_by) where made_by is not null;  -- a purge of tasks looks here for each

create table version_counts (            -- written with the version; the next version's row is rewritten when one is deleted
  repository int not null, number int not null, kind smallint not null,
  present bigint not null, added bigint not null, removed bigint not null,
  primary key (repository, number, kind),
  foreign key (repository, number) references repository_versions on delete cascade);
