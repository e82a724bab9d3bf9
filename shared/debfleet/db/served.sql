-- What a URL below /pulp/content/ stands for. Asked for each request: every statement finds its rows
-- by an index, and none reads a whole version.
-- Kinds (debfleet.model.Kind): 1 package, 11 link of a package to a component, 2 and 14 the same of the
-- installer, 12 and 13 of source packages.

-- name: find_distributions
-- For each path in order: its distribution, what that serves now, and the published file at the path
-- if there is one. id null: the path lies below no base path. is_fresh: switched so lately that
-- another switch may carry the same second.
select f.* from unnest(%(paths)s::text[], %(depths)s::int[]) with ordinality as w (path, depth, n)
  left join lateral find_served(w.path, array(
    select array_to_string((string_to_array(w.path, '/'))[:d], '/') from generate_series(1, w.depth) d)) f on true
 order by w.n

-- name: find_distribution
-- The same of one path, as most requests come: half the time of the other. No row: it lies below no
-- base path.
select * from find_served(%(path)s, %(bases)s::text[])

-- name: find_by_hash_sha256
-- An index by its digest beside its name, in what is served now or was lately; the newest first.
with g as ({generations})
select f.sha256, f.size, f.path, g.since, a.id is not null as is_stored
  from g join published_files f on f.publication = g.publication and f.sha256 = %(digest)s and f.is_index
  left join artifacts a on a.sha256 = f.sha256
 where left(f.path, length(%(directory)s)) = %(directory)s and strpos(substr(f.path, length(%(directory)s) + 1), '/') = 0
 order by g.until desc nulls first limit 1

-- name: find_by_hash_sha512
with g as ({generations})
select f.sha256, f.size, f.path, g.since, a.id is not null as is_stored
  from g join published_files f on f.publication = g.publication and f.sha512 = %(digest)s and f.is_index
  left join artifacts a on a.sha256 = f.sha256
 where left(f.path, length(%(directory)s)) = %(directory)s and strpos(substr(f.path, length(%(directory)s) + 1), '/') = 0
 order by g.until desc nulls first limit 1

-- name: find_by_hash_weak
-- MD5 and SHA-1: clients ask for the strongest digest that Release names, so hardly ever for these.
with g as ({generations})
select f.sha256, f.size, f.path, g.since, a.id is not null as is_stored
  from g join published_files f on f.publication = g.publication and %(digest)s in (f.md5, f.sha1) and f.is_index
  left join artifacts a on a.sha256 = f.sha256
 where left(f.path, length(%(directory)s)) = %(directory)s and strpos(substr(f.path, length(%(directory)s) + 1), '/') = 0
 order by g.until desc nulls first limit 1

-- name: find_older_file
-- A file that what is served now does not have any more.
with g as ({generations})
select f.sha256, f.size, f.path, g.since, a.id is not null as is_stored
  from g join published_files f on f.publication = g.publication and f.path = %(path)s
  left join artifacts a on a.sha256 = f.sha256
 order by g.until desc nulls first limit 1

-- name: find_generic_file
-- A file that no index of packages names, at its own path, below the dists of what is served now or
-- was lately; anywhere, where upstream's files are passed through. Its size may be a hint.
with g as ({generations}),
sets as (
  select distinct on (p.repository, p.number) p.repository, p.number, g.since, g.until
    from g join publications p on p.id = g.publication
   where p.kind = 'verbatim' or p.structured and left(%(path)s, 6) = 'dists/'
   order by p.repository, p.number, g.until desc nulls first)
select u.relative_path as path, u.sha256, coalesce(a.size, u.size) as size, s.since, a.id is not null as is_stored,
       (select x.repository from unseen_files x where x.repository = s.repository and x.sha256 = u.sha256) as unseen_in,
       clock_timestamp() >= s.since + interval '5 s' as is_settled
  from generic_contents u
 cross join sets s
  join content_lists k on k.kind = 3
  join repository_chunks h on h.repository = s.repository and h.list = k.id and h.chunk = chunk_of(u.id)
   and h.added <= s.number and (h.removed is null or h.removed > s.number)
   and get_bit(h.bits, place_of(u.id)) = 1
  left join artifacts a on a.sha256 = u.sha256
 where u.relative_path = %(path)s and (a.id is not null or u.size is not null)
 order by s.until desc nulls first limit 1

-- name: generations
-- What a distribution serves now, served lately, and served the last few times before.
select publication, since, until from served
 where distribution = %(distribution)s
   and (until is null or until > clock_timestamp() - make_interval(secs => %(seconds)s))
 union
select publication, since, until
  from (select publication, since, until from served
         where distribution = %(distribution)s and until is not null
         order by until desc limit %(switches)s) last

-- name: this_publication
-- In the place of generations: a checkpoint is served by itself.
select id as publication, created as since, null::timestamptz as until
  from publications where id = %(publication)s

-- name: find_checkpoint
-- The newest checkpoint that a distribution had at a moment, which is over; to the second.
select p.id, p.kind, p.simple, p.structured, p.layout, p.created
  from distributions d
  join publications p on p.repository = d.repository and p.checkpoint and p.is_complete
 where d.id = %(distribution)s and p.created < %(moment)s::timestamptz + interval '1 s'
   and %(moment)s <= clock_timestamp()
 order by p.created desc, p.id desc limit 1

-- name: list_checkpoints
select p.created
  from distributions d
  join publications p on p.repository = d.repository and p.checkpoint and p.is_complete
 where d.id = %(distribution)s order by p.created

-- name: list_pool_files
-- Packages of a file name in what is served now or was lately, and whether they lie in the component.
with g as ({generations}),
sets as (
  select distinct on (p.repository, p.number, p.kind, p.simple, p.structured, p.layout)
         p.repository, p.number, p.kind, p.simple, p.structured, p.layout, g.until
    from g join publications p on p.id = g.publication
   order by p.repository, p.number, p.kind, p.simple, p.structured, p.layout, g.until desc nulls first)
select p.name, p.source, p.relative_path, p.sha256, p.size, p.created, a.id is not null as is_stored,
       (select x.repository from unseen_files x where x.repository = s.repository and x.sha256 = p.sha256) as unseen_in,
       s.kind, s.simple and p.kind = 1 as simple, s.structured, s.layout,
       s.structured and exists (
         select from release_components rc
           join content_lists l on l.kind = link_kind(p.kind) and l.release_component = rc.id
           join repository_chunks c on c.repository = s.repository and c.list = l.id and c.chunk = chunk_of(p.id)
            and c.added <= s.number and (c.removed is null or c.removed > s.number)
            and get_bit(c.bits, place_of(p.id)) = 1
          where rc.component = %(component)s) as is_linked
  from packages p
 cross join sets s
  join content_lists k on k.kind = p.kind
  join repository_chunks h on h.repository = s.repository and h.list = k.id and h.chunk = chunk_of(p.id)
   and h.added <= s.number and (h.removed is null or h.removed > s.number)
   and get_bit(h.bits, place_of(p.id)) = 1
  left join artifacts a on a.sha256 = p.sha256
 where file_name(p.relative_path) = %(file)s
 order by s.until desc nulls first, p.id

-- name: list_pool_sources
-- Files of source packages, of a file name, in the same way; dsc: the digest of their package's .dsc.
with g as ({generations}),
sets as (
  select distinct on (p.repository, p.number, p.kind, p.simple, p.structured, p.layout)
         p.repository, p.number, p.kind, p.simple, p.structured, p.layout, g.until
    from g join publications p on p.id = g.publication
   order by p.repository, p.number, p.kind, p.simple, p.structured, p.layout, g.until desc nulls first)
select p.name, p.sha256 as dsc, f.path as relative_path, f.sha256, f.size, p.created, a.id is not null as is_stored,
       (select x.repository from unseen_files x where x.repository = s.repository and x.sha256 = f.sha256) as unseen_in,
       s.kind, s.simple, s.structured, s.layout,
       s.structured and exists (
         select from release_components rc
           join content_lists l on l.kind = 13 and l.release_component = rc.id
           join repository_chunks c on c.repository = s.repository and c.list = l.id and c.chunk = chunk_of(p.id)
            and c.added <= s.number and (c.removed is null or c.removed > s.number)
            and get_bit(c.bits, place_of(p.id)) = 1
          where rc.component = %(component)s) as is_linked
  from unit_files f join source_packages p on p.id = f.unit
 cross join sets s
  join content_lists k on k.kind = 12
  join repository_chunks h on h.repository = s.repository and h.list = k.id and h.chunk = chunk_of(p.id)
   and h.added <= s.number and (h.removed is null or h.removed > s.number)
   and get_bit(h.bits, place_of(p.id)) = 1
  left join artifacts a on a.sha256 = f.sha256
 where f.kind = 12 and file_name(f.path) = %(file)s
 order by s.until desc nulls first, p.id

-- name: list_base_paths
-- Base paths below a folder, hidden ones left out.
select base_path from distributions
 where not hidden and (%(below)s = '' or left(base_path, length(%(below)s) + 1) = %(below)s || '/')
 order by base_path

-- name: list_public_keys
-- Of the services that sign for a publication: the one it names, else its repository's.
select s.public_key
  from publications p join repositories r on r.id = p.repository
  join signing_services s
    on s.uuid::text = p.options ->> 'signing_service'
    or p.options ->> 'signing_service' is null
       and (s.uuid = r.signing_service
            or s.uuid::text in (select value from jsonb_each_text(r.signing_service_release_overrides)))
 where p.id = %(publication)s
 order by s.id

-- name: list_published
-- What publish wrote in a folder: names of files and of folders.
select name, bool_or(is_folder) as is_folder, max(size) as size, max(since) as moment
  from (select split_part(rest, '/', 1) as name, strpos(rest, '/') > 0 as is_folder, size, p.created as since
          from (select substr(f.path, length(%(below)s) + 1) as rest, f.size, f.publication
                  from published_files f
                 where f.publication = %(publication)s and left(f.path, length(%(below)s)) = %(below)s) f
          join publications p on p.id = f.publication) entries
 group by name order by name

-- name: list_generic_folder
-- The same of files that no index of packages names. Reads all of them that the version has.
with ids as materialized (
  select id_at(c.chunk, place) as id, p.kind
    from publications p
    join content_lists l on l.kind = 3
    join repository_chunks c on c.repository = p.repository and c.list = l.id
     and c.added <= p.number and (c.removed is null or c.removed > p.number)
   cross join generate_series(0, chunk_size() - 1) place
   where p.id = %(publication)s and (p.kind = 'verbatim' or p.structured) and get_bit(c.bits, place) = 1),
files as (
  select substr(u.relative_path, length(%(below)s) + 1) as rest, coalesce(a.size, u.size) as size, u.created
    from ids join generic_contents u using (id) left join artifacts a on a.sha256 = u.sha256
   where left(u.relative_path, length(%(below)s)) = %(below)s
     and (ids.kind = 'verbatim' or left(u.relative_path, 6) = 'dists/'))
select split_part(rest, '/', 1) as name, bool_or(strpos(rest, '/') > 0) as is_folder, max(size) as size,
       max(created) as moment
  from files group by 1 order by 1

-- name: list_pool_folders
-- The folders that a publication's packages lie in: a component and a source, or upstream's folder.
-- Reads every package of the version: once for a publication.
with p as (select * from publications where id = %(publication)s),
held as materialized (
  select l.kind, l.release_component, c.chunk, c.bits
    from p join repository_chunks c on c.repository = p.repository and c.added <= p.number
     and (c.removed is null or c.removed > p.number)
    join content_lists l on l.id = c.list
     and (l.kind in (1, 2) and p.kind = 'verbatim' or l.kind = 1 and p.simple
          or l.kind in (11, 14) and p.kind = 'apt' and p.structured)),
sets as materialized (
  select case when h.kind in (11, 14) then rc.component else 'all' end as component, h.chunk, bit_or(h.bits) as bits
    from held h left join release_components rc on rc.id = h.release_component and h.kind in (11, 14)
   group by 1, 2),
ids as materialized (
  select component, id_at(chunk, place) as id from sets, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1)
select distinct i.component,
       case when p.kind = 'verbatim' then left(u.relative_path, -length(file_name(u.relative_path)))
            else split_part(coalesce(u.source, u.name), ' ', 1) end as place
  from ids i join packages u using (id) cross join p

-- name: list_pool_folder
-- The packages in one of these folders.
with p as (select * from publications where id = %(publication)s),
sets as materialized (
  select c.chunk, bit_or(c.bits) as bits
    from p join repository_chunks c on c.repository = p.repository and c.added <= p.number
     and (c.removed is null or c.removed > p.number)
    join content_lists l on l.id = c.list
    left join release_components rc on rc.id = l.release_component and l.kind in (11, 14)
   where l.kind in (1, 2) and p.kind = 'verbatim' or l.kind = 1 and p.simple and %(component)s = 'all'
      or l.kind in (11, 14) and p.kind = 'apt' and p.structured and rc.component = %(component)s
   group by 1),
ids as materialized (
  select id_at(chunk, place) as id from sets, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1)
select u.name, u.source, u.relative_path, u.sha256, u.size, u.created
  from ids join packages u using (id) cross join p
 where case when p.kind = 'verbatim' then left(u.relative_path, -length(file_name(u.relative_path)))
            else split_part(coalesce(u.source, u.name), ' ', 1) end = %(place)s
 order by u.id

-- name: list_source_folders
-- The folders of the source packages' files: a component and a source, or upstream's folder.
with p as (select * from publications where id = %(publication)s),
sets as materialized (
  select case when l.kind = 13 then rc.component else 'all' end as component, c.chunk, bit_or(c.bits) as bits
    from p join repository_chunks c on c.repository = p.repository and c.added <= p.number
     and (c.removed is null or c.removed > p.number)
    join content_lists l on l.id = c.list
     and (l.kind = 12 and (p.kind = 'verbatim' or p.simple) or l.kind = 13 and p.kind = 'apt' and p.structured)
    left join release_components rc on rc.id = l.release_component and l.kind = 13
   group by 1, 2),
ids as materialized (
  select component, id_at(chunk, place) as id from sets, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1)
select distinct i.component, u.name as place
  from ids i join source_packages u using (id) cross join p where p.kind = 'apt'
union
select distinct i.component, left(f.path, -length(file_name(f.path)))
  from ids i join unit_files f on f.kind = 12 and f.unit = i.id cross join p where p.kind = 'verbatim'

-- name: list_source_folder
-- The files of source packages in one of these folders; dsc: the digest of their package's .dsc.
with p as (select * from publications where id = %(publication)s),
sets as materialized (
  select c.chunk, bit_or(c.bits) as bits
    from p join repository_chunks c on c.repository = p.repository and c.added <= p.number
     and (c.removed is null or c.removed > p.number)
    join content_lists l on l.id = c.list
    left join release_components rc on rc.id = l.release_component and l.kind = 13
   where l.kind = 12 and (p.kind = 'verbatim' or p.simple and %(component)s = 'all')
      or l.kind = 13 and p.kind = 'apt' and p.structured and rc.component = %(component)s
   group by 1),
ids as materialized (
  select id_at(chunk, place) as id from sets, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1)
select u.sha256 as dsc, f.path, f.size, u.created
  from ids join source_packages u using (id) cross join p
  join unit_files f on f.kind = 12 and f.unit = u.id
 where case when p.kind = 'verbatim' then left(f.path, -length(file_name(f.path))) else u.name end = %(place)s
 order by u.id
