-- What clients bring: files in pieces, and links of packages made by hand.

create table uploads (                   -- a file on its way, in chunks; gone when it has become an artifact
  id bigint generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint an_upload_uuid_is_unique unique,
  size bigint not null constraint an_upload_has_bytes check (size >= 0),   -- of the whole file
  owner int references users on delete cascade,
  created timestamptz not null default now(), updated timestamptz not null default now());
create index uploads_by_age on uploads (updated);

create table upload_chunks (             -- each is an object of the store under its digest
  upload bigint not null references uploads on delete cascade,
  start bigint not null constraint a_chunk_starts_in_its_file check (start >= 0),
  size bigint not null constraint a_chunk_has_bytes check (size > 0),
  sha256 bytea not null constraint a_chunk_digest_has_32_bytes check (octet_length(sha256) = 32),
  primary key (upload, start));
create index upload_chunks_by_sha256 on upload_chunks (sha256);

-- A chunk's row keeps its file; once it is gone, cleanup looks whether anybody else needs the file.
create trigger a_file_never_recorded_is_doomed after delete on upload_chunks referencing old table as gone
  for each statement execute function doom_unrecorded_files();

create table loose_links (               -- links of packages that were made by hand, whether a version holds them or not
  list int not null references content_lists on delete cascade,
  package bigint not null references packages on delete cascade,
  created timestamptz not null default now(),
  primary key (list, package));
create index loose_links_by_package on loose_links (package);
