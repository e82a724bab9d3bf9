-- Who may do what: users, groups, roles and their grants; and who may fetch: content guards.

alter table users
  -- The version before this one knew administrators only, and may add one while it still runs.
  add column is_superuser boolean not null default true,
  add column is_staff boolean not null default false,
  add column is_active boolean not null default true,
  add column first_name text not null default '', add column last_name text not null default '',
  add column email text not null default '';

create table groups (
  id int generated always as identity primary key,
  name text not null constraint a_group_name_is_unique unique);

create table members (
  in_group int not null references groups on delete cascade, who int not null references users on delete cascade,
  primary key (in_group, who));
create index members_by_user on members (who);

create table roles (
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_role_uuid_is_unique unique,
  name text not null constraint a_role_name_is_unique unique,
  description text, permissions text[] not null,   -- deb.view_aptrepository, …
  is_locked boolean not null default false,        -- made by us, never changed by a client
  created timestamptz not null default now(), updated timestamptz not null default now());

create table grants (
  id bigint generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_grant_uuid_is_unique unique,
  role int not null references roles on delete cascade,
  who int references users on delete cascade, in_group int references groups on delete cascade,
  object text,                                     -- a PRN; null: every object
  created timestamptz not null default now(),
  constraint a_grant_is_given_to_a_user_or_to_a_group check (num_nonnulls(who, in_group) = 1));
create unique index a_role_is_granted_once
  on grants (role, coalesce(who, 0), coalesce(in_group, 0), coalesce(object, ''));
create index grants_by_user on grants (who);
create index grants_by_group on grants (in_group);
create index grants_by_object on grants (object);

create table content_guards (
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_guard_uuid_is_unique unique,
  kind text not null constraint a_guard_is_of_a_known_kind check (kind in ('rbac', 'header')),
  name text not null constraint a_guard_name_is_unique unique, description text,
  header_name text, header_value text,
  created timestamptz not null default now(), updated timestamptz not null default now(),
  constraint a_header_guard_has_a_header check ((kind = 'header') = (num_nonnulls(header_name, header_value) = 2)));
-- A guard that is deleted under a distribution would open it to everybody: it stays while one has it.
alter table distributions add constraint a_guard_in_use_stays foreign key (content_guard) references content_guards (uuid);

-- The grants on an object go with it.
create function drop_grants() returns trigger language plpgsql as $$
begin
  delete from grants g using gone, unnest(tg_argv) model
   where g.object = 'prn:' || model || ':' || gone.uuid;
  return null;
end $$;
create trigger grants_of_repositories_end after delete on repositories referencing old table as gone
  for each statement execute function drop_grants('deb.aptrepository');
create trigger grants_of_remotes_end after delete on remotes referencing old table as gone
  for each statement execute function drop_grants('deb.aptremote');
create trigger grants_of_distributions_end after delete on distributions referencing old table as gone
  for each statement execute function drop_grants('deb.aptdistribution');
create trigger grants_of_publications_end after delete on publications referencing old table as gone
  for each statement execute function drop_grants('deb.aptpublication', 'deb.verbatimpublication');
create trigger grants_of_guards_end after delete on content_guards referencing old table as gone
  for each statement execute function drop_grants('core.rbaccontentguard', 'core.headercontentguard');

-- The roles that Pulp's scripts name.
create temp table of_model (model text, more text[]) on commit drop;
insert into of_model values
  ('deb.aptrepository', '{delete_aptrepository_version,modify_content_aptrepository,repair_aptrepository,sync_aptrepository}'),
  ('deb.aptremote', '{}'), ('deb.aptdistribution', '{}'), ('deb.aptpublication', '{}'), ('deb.verbatimpublication', '{}'),
  ('core.rbaccontentguard', '{}'), ('core.headercontentguard', '{}');
create temp table of_owner on commit drop as
  select model, split_part(model, '.', 1) as app,
         array(select split_part(model, '.', 1) || '.' || w
                 from unnest(array(select a || '_' || split_part(model, '.', 2)
                                     from unnest('{view,change,delete,manage_roles}'::text[]) a) || more) w order by w) as permissions
    from of_model;
insert into roles (name, description, permissions, is_locked)
select model || '_owner', 'Everything that can be done to it', permissions, true from of_owner
union all
select model || '_creator', 'May make one, and owns it then', array[app || '.add_' || split_part(model, '.', 2)], true from of_owner
union all
select model || '_viewer', 'May read it', array[app || '.view_' || split_part(model, '.', 2)], true from of_owner
union all
select 'core.rbaccontentguard_downloader', 'May fetch what it guards', '{core.download_rbaccontentguard}', true
union all
select 'core.task_viewer', 'May read tasks', '{core.view_task}', true
union all
select 'core.task_owner', 'May read, cancel and delete tasks', '{core.change_task,core.delete_task,core.view_task}', true
union all
select 'deb.admin', 'Everything that can be done to Debian repositories and what belongs to them',
       (select array_agg(p order by p) from of_owner o, unnest(o.permissions || array[o.app || '.add_' || split_part(o.model, '.', 2)]) p
         where o.app = 'deb'), true
union all
select 'deb.viewer', 'May read Debian repositories and what belongs to them',
       (select array_agg(o.app || '.view_' || split_part(o.model, '.', 2) order by 1) from of_owner o where o.app = 'deb'), true;
