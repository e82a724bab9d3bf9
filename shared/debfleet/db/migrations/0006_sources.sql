-- Source packages: units of several files, the indices that list them, and their places.

-- The kind of list that holds the places of a kind of unit; a set bit there is a link.
create function link_kind(kind int) returns int language sql immutable parallel safe as
  $$ select case kind when 1 then 11 when 12 then 13 end $$;

-- What a wanted index lists where that is not packages (1). No column: the version of debfleet before
-- this one reads `select *` of wanted_indices. The function is written as if it were one, w.lists.
create table listed_kinds (
  task bigint not null, position int not null, lists smallint not null,
  primary key (task, position),
  foreign key (task, position) references wanted_indices on delete cascade);
create function lists(w wanted_indices) returns smallint language sql stable parallel safe as
  $$ select coalesce((select k.lists from listed_kinds k where k.task = w.task and k.position = w.position), 1::smallint) $$;

create table source_packages (
  id bigint generated always as identity primary key,
  digest uuid not null,                  -- of the stanza, as in packages
  name text not null, version text not null,
  relative_path text not null,           -- of the .dsc; all its files are in unit_files
  sha256 bytea not null constraint a_dsc_digest_has_32_bytes check (octet_length(sha256) = 32),
  same_key bigint not null,              -- hash of name and version; equality is checked on the columns
  stanza text not null,
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint the_same_stanza_is_the_same_source_package unique (digest) include (id));
create index source_packages_by_name on source_packages (name text_pattern_ops, version);
create index source_packages_by_same_key on source_packages (same_key);
create index source_packages_by_path on source_packages using hash (relative_path);

-- Of files that may not be stored (a source package's); null: the artifact says it.
alter table unit_files add size bigint constraint a_source_file_has_a_size check (kind <> 12 or size is not null);
create index unit_files_by_name on unit_files using hash (file_name(path)) where kind = 12;

create table source_indices (
  id bigint generated always as identity primary key,
  component text not null,               -- as Release says
  directory text not null,               -- of the Release that names it, as in release_files
  relative_path text not null, sha256 bytea not null, index_digest bytea not null,
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint the_same_files_are_the_same_source_index unique (relative_path, sha256, index_digest));

insert into content_lists (kind) values (6), (12) on conflict do nothing;

create table digest_sources (            -- source packages with a directory of their own: another wants one of their files' paths
  publication int not null references publications on delete cascade, source_package bigint not null,
  primary key (publication, source_package));

create or replace function refuse_to_delete_a_used_unit() returns trigger language plpgsql as $$
begin
  if exists (select from gone join repository_chunks c on c.chunk = chunk_of(gone.id) and get_bit(c.bits, place_of(gone.id)) = 1
             join content_lists l on l.id = c.list and (l.kind = tg_argv[0]::int or l.kind = link_kind(tg_argv[0]::int)))
     or exists (select from gone join index_chunks c on c.kind = tg_argv[0]::int and c.chunk = chunk_of(gone.id) and get_bit(c.bits, place_of(gone.id)) = 1)
  then raise exception 'a unit of kind % is still in a version or an index', tg_argv[0];
  end if;
  return null;
end $$;
create trigger a_used_unit_stays after delete on source_packages referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('12');
create trigger a_used_unit_stays after delete on source_indices referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('6');
