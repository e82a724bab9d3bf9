-- Cleanup: files on their way out of the store, and what finds free units quickly.

-- Who holds a unit of this chunk? Asked for each batch of deletions.
create index index_chunks_by_place on index_chunks (kind, chunk);

-- What Postgres itself looks up when a task or an index is deleted.
create index offers_by_index on offers (index);

create table doomed_files (              -- files that may lie in the store without a row of artifacts
  sha256 bytea primary key, since timestamptz not null default now());

-- What a task meant to store and never said it did may lie in the store all the same: a worker that
-- died between the file and the row, a canceled sync. Cleanup looks at these files and deletes them.
create function doom_unrecorded_files() returns trigger language plpgsql as $$
begin
  insert into doomed_files (sha256)
  select distinct g.sha256 from gone g
   where not exists (select from artifacts a where a.sha256 = g.sha256)
   order by 1 on conflict do nothing;
  return null;
end $$;
create trigger a_file_never_recorded_is_doomed after delete on task_files referencing old table as gone
  for each statement execute function doom_unrecorded_files();

create function doom_unrecorded_index_files() returns trigger language plpgsql as $$
begin
  insert into doomed_files (sha256)
  select distinct f.sha256
    from (select decode(e.value ->> 'sha256', 'hex') as sha256 from gone g, jsonb_each(g.files) e
          union select g.sha256 from gone g) f
   where not exists (select from artifacts a where a.sha256 = f.sha256)
   order by 1 on conflict do nothing;
  return null;
end $$;
create trigger an_index_file_never_recorded_is_doomed after delete on wanted_indices referencing old table as gone
  for each statement execute function doom_unrecorded_index_files();
