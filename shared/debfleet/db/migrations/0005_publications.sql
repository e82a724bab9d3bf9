-- What is published, what signs it, and where it is served.

create table signing_services (
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_signing_service_uuid_is_unique unique,
  name text not null constraint a_signing_service_name_is_unique unique,
  kind text not null default 'deb:AptReleaseSigningService',
  public_key text not null,              -- armoured
  fingerprint text not null,             -- 40 or 64 hex digits in capitals
  script text,                           -- called to sign; null: the key is held here
  gnupghome text,                        -- given to the script
  secret bytea,                          -- the armoured secret key, sealed
  created timestamptz not null default now(), updated timestamptz not null default now(),
  constraint a_service_signs_by_a_script_or_a_held_key check ((script is null) <> (secret is null)));

create table publications (              -- a version made ready for apt; seen by nobody until complete
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_publication_uuid_is_unique unique,
  repository int not null, number int not null,
  kind text not null default 'apt' constraint a_publication_is_apt_or_verbatim check (kind in ('apt', 'verbatim')),
  simple boolean not null default false, structured boolean not null default true,
  checkpoint boolean not null default false,
  layout text not null default 'nested_alphabetically' constraint a_layout_is_known
    check (layout in ('nested_alphabetically', 'nested_by_digest', 'nested_by_both')),
  options jsonb not null default '{}',   -- signing_service, publish_upstream_release_fields, publish_legacy_release_files, excluded_package_metadata_fields
  made_by bigint references tasks on delete set null,
  is_complete boolean not null default false, created timestamptz not null default now(),
  foreign key (repository, number) references repository_versions on delete cascade);
create index publications_by_version on publications (repository, number, id);
create index publications_by_task on publications (made_by) where made_by is not null;

create table published_files (           -- what publish wrote (pool files are found through the version's sets)
  publication int not null references publications on delete cascade, path text not null,
  sha256 bytea not null, sha512 bytea, md5 bytea, sha1 bytea,   -- the last three as far as they were made
  size bigint not null,
  is_index boolean not null,             -- reachable by hash too
  primary key (publication, path));
create index published_files_by_sha256 on published_files (sha256, publication);
create index published_files_by_sha512 on published_files (sha512, publication) where is_index;

create table digest_paths (              -- packages that give up their plain pool path: another file of their publication wants it
  publication int not null references publications on delete cascade, package bigint not null,
  primary key (publication, package));

create table compressed_forms (          -- a plain index that was compressed before is not compressed again
  plain bytea not null, form text not null,   -- form: gz, xz
  sha256 bytea not null references artifacts (sha256) on delete cascade,
  sha512 bytea not null, md5 bytea, sha1 bytea, size bigint not null,
  primary key (plain, form));
create index compressed_forms_by_sha256 on compressed_forms (sha256);

create table distributions (             -- a base path, and what is served there
  id int generated always as identity primary key,
  uuid uuid not null default gen_random_uuid() constraint a_distribution_uuid_is_unique unique,
  name text not null constraint a_distribution_name_is_unique unique,
  base_path text not null constraint a_base_path_is_unique unique,
  labels jsonb not null default '{}',
  repository int references repositories on delete set null,
  version_repository int, version_number int,
  publication int references publications on delete set null,
  content_guard uuid, hidden boolean not null default false, checkpoint boolean not null default false,
  created timestamptz not null default now(), updated timestamptz not null default now(),
  constraint a_distribution_has_at_most_one_target check (num_nonnulls(repository, version_repository, publication) <= 1),
  constraint a_version_target_is_whole check ((version_repository is null) = (version_number is null)),
  foreign key (version_repository, version_number) references repository_versions on delete set null);
create index distributions_by_repository on distributions (repository) where repository is not null;
create index distributions_by_version on distributions (version_repository, version_number) where version_repository is not null;
create index distributions_by_publication on distributions (publication) where publication is not null;

create table served (                    -- which publication a distribution served when: old index files stay reachable for a while
  distribution int not null references distributions on delete cascade,
  publication int not null references publications on delete cascade,
  since timestamptz not null default clock_timestamp(), until timestamptz,   -- null: now
  primary key (distribution, publication, since));
create unique index a_distribution_serves_one_publication on served (distribution) where until is null;
create index served_by_publication on served (publication);
create index served_by_end on served (distribution, until);

-- What each distribution is to serve now; no publication: nothing. publications.switch_served writes
-- it into served, which is what the content service reads.
create view serving as
select d.id as distribution,
       case when d.publication is not null
            then (select p.id from publications p where p.id = d.publication and p.is_complete)
            else (select p.id from publications p
                   where p.is_complete and p.repository = coalesce(d.repository, d.version_repository)
                     and (d.version_number is null or p.number = d.version_number)
                     and (p.checkpoint or not d.checkpoint)
                   order by p.number desc, p.id desc limit 1) end as publication
  from distributions d;

-- Pool files are found by their last path part. Hashed: a path may be longer than a Postgres index takes.
create function file_name(path text) returns text language sql immutable parallel safe as $$ select substring(path from '[^/]*$') $$;
create index packages_by_file on packages using hash (file_name(relative_path));

-- Files that the content service fetches from upstream when they are asked for.
create table fetches (                   -- one process fetches a file, the others wait a little for it
  sha256 bytea primary key, holder uuid not null, until timestamptz not null);
create table refused_sources (           -- a remote that gave other bytes than it had declared is not asked for them for a while
  sha256 bytea not null, remote int not null references remotes on delete cascade, until timestamptz not null,
  primary key (sha256, remote));

-- What a path below /pulp/content/ stands for, asked for each request. A function, since Postgres
-- keeps the plan of its statement in the session: a quarter of the time, and behind a pooler too.
create function find_served(path_ text, bases_ text[]) returns table (
  id int, base_path text, content_guard uuid, checkpoint boolean, has_target boolean,
  publication int, kind text, simple boolean, structured boolean, layout text, since timestamptz,
  is_fresh boolean, sha256 bytea, size bigint, is_index boolean, is_stored boolean)
language plpgsql stable as $$
#variable_conflict use_column
begin
  return query
  select d.id, d.base_path, d.content_guard, d.checkpoint,
         num_nonnulls(d.repository, d.version_number, d.publication) > 0,
         p.id, p.kind, p.simple, p.structured, p.layout, s.since,
         clock_timestamp() < s.since + interval '5 s',
         f.sha256, f.size, f.is_index, a.id is not null
    from distributions d
    left join served s on s.distribution = d.id and s.until is null
    left join publications p on p.id = s.publication
    left join published_files f on f.publication = p.id and f.path = substr(path_, length(d.base_path) + 2)
    left join artifacts a on a.sha256 = f.sha256
   where d.base_path = any(bases_)
   order by length(d.base_path) desc limit 1;
end $$;
