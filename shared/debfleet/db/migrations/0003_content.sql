-- Content units, and the sets of them: bitmaps of unit ids in chunks of 4,096 (docs/design/content.md).

create function chunk_size() returns int language sql immutable parallel safe as $$ select 4096 $$;
create function chunk_of(id bigint) returns int language sql immutable parallel safe as $$ select (id >> 12)::int $$;
create function place_of(id bigint) returns int language sql immutable parallel safe as $$ select (id & 4095)::int $$;
create function id_at(chunk int, place int) returns bigint language sql immutable parallel safe as $$ select (chunk::bigint << 12) | place $$;
create function no_bits() returns bit(4096) language sql immutable parallel safe as $$ select 0::bit(4096) $$;
create function one_bit(id bigint) returns bit(4096) language sql immutable parallel safe as $$ select set_bit(0::bit(4096), (id & 4095)::int, 1) $$;

-- One digest for several texts, null and '' told apart: a key where the texts may be too long for a Postgres index.
create function texts_key(variadic texts text[]) returns text language sql immutable parallel safe as $$ select md5(to_jsonb(texts)::text) $$;

create table artifacts (                 -- the bytes of a file, in the store under their SHA-256
  id bigint generated always as identity primary key,
  sha256 bytea not null constraint an_artifact_is_stored_once unique constraint an_artifact_digest_has_32_bytes check (octet_length(sha256) = 32),
  size bigint not null, created timestamptz not null default now(), last_wanted timestamptz not null default now());

create table packages (
  id bigint generated always as identity primary key,
  digest uuid not null,                  -- blake2b-128 of the stanza, keyed by installation.stanza_key
  name text not null, version text not null, architecture text not null, architecture_variant text not null default '',
  source text, section text, priority text, multi_arch text,
  relative_path text not null, size bigint not null,
  sha256 bytea not null constraint a_package_digest_has_32_bytes check (octet_length(sha256) = 32),
  same_key bigint not null,              -- hash of name, version, architecture, variant; equality is checked on the columns
  stanza text not null,                  -- verbatim: the source of every other field and of published indices
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint the_same_stanza_is_the_same_package unique (digest) include (id, architecture));  -- recognising reads no row
create index packages_by_name on packages (name text_pattern_ops, version);
create index packages_by_same_key on packages (same_key);
create index packages_by_sha256 on packages (sha256);
create index packages_by_path on packages using hash (relative_path);

-- One field of a stanza, null where it has none (Debian Policy 5.1: names are not case-sensitive).
create function stanza_field(stanza text, field text) returns text language sql immutable parallel safe as
  $$ select btrim(substring(stanza from '(?in)^' || field || ':[ \t]*((?:[^\n]*)(?:\n[ \t][^\n]*)*)')) $$;

create table releases (
  id bigint generated always as identity primary key,
  codename text not null, suite text not null, distribution text not null,
  version text, origin text, label text, description text,
  created timestamptz not null default now(), last_wanted timestamptz not null default now());
create unique index the_same_release_fields_are_the_same_release on releases
  (texts_key(codename, suite, distribution, version, origin, label, description));

create table release_files (
  id bigint generated always as identity primary key,
  codename text not null, suite text not null, distribution text not null,   -- flat-repo where it is flat
  components text not null, architectures text not null,
  directory text not null,               -- where it lies: dists/bookworm, or the flat directory ('' for the root)
  relative_path text not null, sha256 bytea not null, release_digest bytea not null,
  date timestamptz, valid_until timestamptz,
  created timestamptz not null default now(), last_wanted timestamptz not null default now());
create unique index the_same_release_texts_are_the_same_release_file on release_files
  (relative_path, sha256, release_digest, texts_key(codename, suite, distribution, components, architectures));

create table package_indices (
  id bigint generated always as identity primary key,
  component text not null, architecture text not null,   -- both as Release says; '' where flat
  directory text not null,               -- of the Release that names it, as in release_files
  relative_path text not null, sha256 bytea not null, index_digest bytea not null,
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint the_same_files_are_the_same_package_index unique (relative_path, sha256, index_digest));

create table release_architectures (
  id bigint generated always as identity primary key,
  distribution text not null, architecture text not null, base_architecture text not null, variant_architecture text,
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint a_distribution_has_an_architecture_once unique (distribution, architecture));

create table release_components (
  id bigint generated always as identity primary key,
  distribution text not null, component text not null,
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint a_distribution_has_a_component_once unique (distribution, component));

create table unit_files (                -- the files of units that have several
  kind smallint not null, unit bigint not null, path text not null, sha256 bytea not null,
  primary key (kind, unit, path));
create index unit_files_by_sha256 on unit_files (sha256);

create table indices (                   -- an ingested index: what its bytes say, and nothing of who asked
  id int generated always as identity primary key,
  sha256 bytea not null, profile bytea not null default '',  -- profile: the parsing options, '' for none
  stanzas int not null,                  -- how many it holds, left-out ones too
  tolerated jsonb not null default '[]', -- [{reason, count, examples: [{line, detail}]}] for what its own bytes made us leave out
  created timestamptz not null default now(), last_wanted timestamptz not null default now(),
  constraint an_index_is_ingested_once_per_profile unique (sha256, profile));

create table index_chunks (              -- the units an index lists, by the architecture the stanza says
  index int not null references indices on delete cascade, kind smallint not null, architecture text not null,
  chunk int not null, bits bit(4096) not null,
  constraint an_empty_index_chunk_is_not_kept check (bit_count(bits) > 0),
  primary key (index, kind, architecture, chunk));
alter table index_chunks alter bits set storage plain;

create table content_lists (             -- one per kind of unit; for package links one per (release component, index architecture)
  id int generated always as identity primary key, kind smallint not null,
  release_component bigint not null default 0, index_architecture text not null default '',
  created timestamptz not null default now(),
  constraint one_list_per_kind_or_place unique (kind, release_component, index_architecture));
insert into content_lists (kind) values (1), (4), (5), (8), (9), (10);

create table repository_chunks (         -- a set of units from version `added` until before version `removed`
  repository int not null references repositories on delete cascade, list int not null references content_lists,
  chunk int not null, added int not null, removed int, bits bit(4096) not null,
  constraint a_chunk_ends_after_it_began check (removed > added),
  constraint an_empty_chunk_is_not_kept check (bit_count(bits) > 0),
  primary key (repository, list, chunk, added));
create unique index a_place_has_one_open_chunk on repository_chunks (repository, list, chunk) where removed is null;
create index chunks_by_place on repository_chunks (list, chunk);
alter table repository_chunks alter bits set storage plain;

create table wanted_indices (            -- what one sync decided to take, and its pin against cleanup
  task bigint not null references tasks on delete cascade, position int not null,
  distribution text not null,            -- as units call it: flat-repo where it is flat
  directory text not null, component text not null, architecture text not null,
  path text not null,                    -- of the plain index, below the remote's URL
  files jsonb not null,                  -- {path below directory: {size, sha256}}: every form that Release names
  by_hash boolean not null, sha256 bytea not null,           -- of the plain index
  accept text[],                         -- architectures of stanzas to take; null: all of them
  optional boolean not null,             -- may be missing
  index int references indices,          -- null: not ingested (yet), or missing
  unit bigint,                           -- its package_indices row
  state text not null default 'wanted' constraint a_wanted_index_has_a_known_state
    check (state in ('wanted', 'known', 'ingested', 'missing', 'unchanged')),
  primary key (task, position));
create index wanted_indices_by_index on wanted_indices (index);

create table task_units (                -- units other than packages that a task found for its version
  task bigint not null references tasks on delete cascade, kind smallint not null, unit bigint not null,
  primary key (task, kind, unit));

create table task_files (                -- files that one sync must fetch, each once, by the job that fetches them
  task bigint not null references tasks on delete cascade, sha256 bytea not null,
  size bigint not null, path text not null,
  opener bigint, chunk int,              -- which job listed it, and in which of its chunks; null: not dealt out yet
  primary key (task, sha256));
create index task_files_by_chunk on task_files (opener, chunk);

create table offers (                    -- a remote offers the files of the units that an index lists
  remote int not null references remotes on delete cascade, index int not null references indices on delete cascade,
  primary key (remote, index));

-- A unit whose bit is set anywhere must not go. No foreign key runs from a bit to a unit; this stands in.
create function refuse_to_delete_a_used_unit() returns trigger language plpgsql as $$
begin
  if exists (select from gone join repository_chunks c on c.chunk = chunk_of(gone.id) and get_bit(c.bits, place_of(gone.id)) = 1
             join content_lists l on l.id = c.list and (l.kind = tg_argv[0]::int or (tg_argv[0]::int = 1 and l.kind = 11)))
     or exists (select from gone join index_chunks c on c.kind = tg_argv[0]::int and c.chunk = chunk_of(gone.id) and get_bit(c.bits, place_of(gone.id)) = 1)
  then raise exception 'a unit of kind % is still in a version or an index', tg_argv[0];
  end if;
  return null;
end $$;
create trigger a_used_unit_stays after delete on packages referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('1');
create trigger a_used_unit_stays after delete on release_files referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('4');
create trigger a_used_unit_stays after delete on package_indices referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('5');
create trigger a_used_unit_stays after delete on releases referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('8');
create trigger a_used_unit_stays after delete on release_architectures referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('9');
create trigger a_used_unit_stays after delete on release_components referencing old table as gone for each statement execute function refuse_to_delete_a_used_unit('10');
