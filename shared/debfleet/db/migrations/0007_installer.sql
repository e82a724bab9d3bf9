-- The Debian installer's packages (udebs) and files.

-- Packages and the installer's packages are rows of one table: the same stanzas, files and questions.
alter table packages add kind smallint not null default 1 constraint a_package_is_for_systems_or_the_installer check (kind in (1, 2));

-- Lists of kind 14 hold the places of the installer's packages: for publish alone, no units of the API.
create or replace function link_kind(kind int) returns int language sql immutable parallel safe as
  $$ select case kind when 1 then 11 when 2 then 14 when 12 then 13 end $$;

create table generic_contents (          -- files that no index of packages names: the installer's
  id bigint generated always as identity primary key,
  relative_path text not null,
  sha256 bytea not null constraint a_generic_digest_has_32_bytes check (octet_length(sha256) = 32),
  size bigint,                           -- as upstream said, which no signature covers; null: not known, the artifact says it
  created timestamptz not null default now(), last_wanted timestamptz not null default now());
create unique index the_same_path_and_file_are_the_same_generic on generic_contents (sha256, texts_key(relative_path));
create index generic_contents_by_path on generic_contents using hash (relative_path);

create table installer_file_indices (    -- SHA256SUMS, or MD5SUMS alone
  id bigint generated always as identity primary key,
  component text not null, architecture text not null,   -- both as Release says
  directory text not null,               -- of the Release that names it, as in release_files
  relative_path text not null, sha256 bytea not null, index_digest bytea not null,
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint the_same_files_are_the_same_installer_file_index unique (relative_path, sha256, index_digest));

insert into content_lists (kind) values (2), (3), (7) on conflict do nothing;

alter table task_files alter size drop not null;   -- null: nobody says how large the file is

create trigger a_used_installer_package_stays after delete on packages referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('2');
create trigger a_used_unit_stays after delete on generic_contents referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('3');
create trigger a_used_unit_stays after delete on installer_file_indices referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('7');
