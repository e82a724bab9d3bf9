-- A stored file is given to a repository only when its remote was seen to hold it, or when whoever
-- asked for the sync may read a repository that has it.

alter table task_files add column must_see boolean not null default false;  -- stored or not: the remote is to show that it holds it

create index task_files_to_see on task_files (task) where must_see;

-- Of what the version before this one noted nobody knows how it came about.
alter table offers add column is_seen boolean not null default false;  -- it holds them, or an administrator's sync vouches for it

create table unseen_files (              -- listed for a repository by a remote that has not shown that it holds them
  repository int not null references repositories on delete cascade, sha256 bytea not null,
  remote int references remotes on delete set null,   -- null: nobody can show it any more
  primary key (repository, sha256));
create index unseen_files_by_remote on unseen_files (remote) where remote is not null;

-- A file that was only listed (in no chunk, to be seen) was never about to be stored.
create function doom_unrecorded_task_files() returns trigger language plpgsql as $$
begin
  insert into doomed_files (sha256)
  select distinct g.sha256 from gone g
   where not (g.must_see and coalesce(g.chunk, 0) = -1)
     and not exists (select from artifacts a where a.sha256 = g.sha256)
   order by 1 on conflict do nothing;
  return null;
end $$;
create or replace trigger a_file_never_recorded_is_doomed after delete on task_files referencing old table as gone
  for each statement execute function doom_unrecorded_task_files();
