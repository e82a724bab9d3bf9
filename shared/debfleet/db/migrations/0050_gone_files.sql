-- Files that nobody has any more.

create table gone_files (                -- each remote that offers such a file was asked, and said that it does not have it
  sha256 bytea primary key, since timestamptz not null default now());

create function forget_stored_files() returns trigger language plpgsql as $$
begin
  delete from gone_files g
   where g.sha256 in (select x.sha256 from gone_files x join fresh using (sha256) order by 1 for update of x);
  return null;
end $$;
create trigger a_stored_file_is_not_gone after insert on artifacts referencing new table as fresh
  for each statement execute function forget_stored_files();
