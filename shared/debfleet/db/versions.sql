-- Repository versions: sets of units as bitmaps by list and chunk.
-- Kinds (debfleet.model.Kind): 1 package, 2 installer package (a package in all that follows), 3 generic
-- content, 4 release file, 5 package index, 6 source index, 7 installer file index, 8 release, 9 release architecture, 10 release component, 11 link of a package to a component,
-- 12 source package, 13 link of one to a component, 14 place of an installer package, which is no unit of
-- the API and not counted. link_kind() gives the kind of a unit's links.
-- A version is put together in temporary tables, then written as the difference to the latest.

-- name: create_tables
-- uses: which part of which index goes to which place; named: units asked for one by one; wanted:
-- all that is asked for; base: what the version starts from; masks: what is taken out of base;
-- fresh: packages that base lacks; rivals: packages of base that may not stand beside a fresh one;
-- result: the new version; changes: its chunks that differ from the latest version's.
create temp table uses (index int, kind smallint, architecture text, component bigint, index_architecture text) on commit drop;
create temp table named (kind smallint, list int, unit bigint) on commit drop;
create temp table wanted on commit drop as select list, chunk, bits from repository_chunks with no data;
create temp table base on commit drop as select list, chunk, bits from repository_chunks with no data;
create temp table masks on commit drop as select list, chunk, bits from repository_chunks with no data;
create temp table fresh on commit drop as
select id, same_key, sha256, relative_path from packages with no data;
create temp table rivals (id bigint, wanted boolean, differs boolean, label text) on commit drop;
create temp table result on commit drop as select list, chunk, bits from repository_chunks with no data;
create temp table changes on commit drop as
select list, chunk, bits as old, bits as new from repository_chunks with no data;

-- name: drop_tables
drop table uses, named, wanted, base, masks, fresh, rivals, result, changes;

-- name: lock_repository
-- No row: it is gone. The caller's task has the right to write; a slip would show as waiting here.
select r.retain_repo_versions,
       (select max(number) from repository_versions v where v.repository = r.id) as latest
  from repositories r where r.id = %(repository)s for no key update;

-- name: get_version_id
select id from repository_versions where repository = %(repository)s and number = %(number)s;

-- name: add_components
-- A link needs its component; the plan names most of them already. In order: others may add the same.
insert into release_components (distribution, component)
select distinct w.distribution, w.component
  from wanted_indices w
 where w.task = %(task)s and w.index is not null and w.state in ('known', 'ingested')
   and not exists (select from release_components c
                    where c.distribution = w.distribution and c.component = w.component)
 order by 1, 2
    on conflict do nothing;

-- name: fill_uses
-- Which part of which index goes to which place. A package for all architectures stands at all;
-- a flat index (architecture '') has no place of its own; a source package has a component's alone.
insert into uses
select distinct w.index, c.kind, c.architecture, r.id,
       case when c.architecture = 'all' or w.architecture = '' or c.kind = 12 then c.architecture
            else w.architecture end
  from wanted_indices w
  join release_components r on r.distribution = w.distribution and r.component = w.component
  join index_chunks c on c.index = w.index and c.kind = w.lists
   and (w.accept is null or c.architecture = any (w.accept))
 where w.task = %(task)s and w.state in ('known', 'ingested');

-- name: add_lists
insert into content_lists (kind, release_component, index_architecture)
select distinct link_kind(u.kind), u.component, u.index_architecture
  from uses u
 where link_kind(u.kind) is not null
   and not exists (select from content_lists l
                    where l.kind = link_kind(u.kind) and l.release_component = u.component
                      and l.index_architecture = u.index_architecture)
 order by 1, 2, 3
    on conflict do nothing;

-- name: name_task_units
insert into named select kind, 0, unit from task_units where task = %(task)s;

-- name: name_units
-- Units of kinds 11 and 13 (links) are named by their own list and the package.
insert into named
select * from unnest(%(kinds)s::smallint[], %(lists)s::int[], %(units)s::bigint[]);

-- name: list_unknown_units
-- Normally no row: whoever names a unit has just seen it.
select kind, unit from named n where kind in (1, 2, 11) and not exists (select from packages where id = n.unit)
union all
select kind, unit from named n where kind = 4 and not exists (select from release_files where id = n.unit)
union all
select kind, unit from named n where kind = 5 and not exists (select from package_indices where id = n.unit)
union all
select kind, unit from named n where kind = 8 and not exists (select from releases where id = n.unit)
union all
select kind, unit from named n where kind = 9 and not exists (select from release_architectures where id = n.unit)
union all
select kind, unit from named n where kind = 10 and not exists (select from release_components where id = n.unit)
union all
select kind, unit from named n where kind = 6 and not exists (select from source_indices where id = n.unit)
union all
select kind, unit from named n where kind = 3 and not exists (select from generic_contents where id = n.unit)
union all
select kind, unit from named n where kind = 7 and not exists (select from installer_file_indices where id = n.unit)
union all
select kind, unit from named n where kind in (12, 13) and not exists (select from source_packages where id = n.unit)
union all
select kind, unit from named n
 where not exists (select from content_lists l where l.kind = n.kind and (n.kind not in (11, 13) or l.id = n.list));

-- name: fill_wanted
-- Links, packages, the components that links name, and the units named one by one.
insert into wanted
select list, chunk, bit_or(bits)
  from (select l.id as list, c.chunk, c.bits
          from uses u
          join content_lists l on l.kind = link_kind(u.kind) and l.release_component = u.component
           and l.index_architecture = u.index_architecture
          join index_chunks c on c.index = u.index and c.kind = u.kind and c.architecture = u.architecture
        union all
        select l.id, c.chunk, c.bits
          from (select distinct index, kind, architecture from uses) u
          join index_chunks c on c.index = u.index and c.kind = u.kind and c.architecture = u.architecture
          join content_lists l on l.kind = u.kind
        union all
        select l.id, chunk_of(u.component), one_bit(u.component)
          from (select distinct component from uses) u join content_lists l on l.kind = 10
        union all
        select l.id, chunk_of(n.unit), one_bit(n.unit)
          from named n join content_lists l on l.kind = n.kind and (n.kind not in (11, 13) or l.id = n.list)
       ) units
 group by list, chunk;

-- name: drop_refused
-- Packages, and their places, whose files upstream did not give (task_files.refused).
update wanted w set bits = w.bits & ~ r.bits
  from (select kind, chunk_of(id) as chunk, bit_or(one_bit(id)) as bits
          from (select f.sha256, f.must_see, p.kind::int as kind, p.id from task_files f join packages p on p.sha256 = f.sha256
                 where f.task = %(task)s and f.refused is not null
                union all
                select f.sha256, f.must_see, 12, u.unit from task_files f join unit_files u on u.kind = 12 and u.sha256 = f.sha256
                 where f.task = %(task)s and f.refused is not null) refused
         where must_see or not exists (select from artifacts a where a.sha256 = refused.sha256)
         group by 1, 2) r, content_lists l
 where l.id = w.list and (l.kind = r.kind or l.kind = link_kind(r.kind)) and w.chunk = r.chunk;

-- name: fill_base
-- The latest version is the chunks that are open; those that were closed are read for an earlier one alone.
insert into base
select list, chunk, bits from repository_chunks
 where repository = %(repository)s and added <= %(number)s and removed is null
union all
select list, chunk, bits from repository_chunks
 where repository = %(repository)s and added <= %(number)s and removed > %(number)s
   and %(number)s < (select max(number) from repository_versions where repository = %(repository)s);

-- name: drop_upstream_files
-- Release files and indices belong to one sync: no version inherits them.
delete from base where list in (select id from content_lists where kind in (4, 5, 6, 7));

-- name: mask_units
insert into masks
select l.id, chunk_of(u.unit), bit_or(one_bit(u.unit))
  from unnest(%(kinds)s::smallint[], %(lists)s::int[], %(units)s::bigint[]) as u (kind, list, unit)
  join content_lists l on l.kind = u.kind and (u.kind not in (11, 13) or l.id = u.list)
 group by 1, 2;

-- name: mask_rivals
-- What a fresh package replaces.
insert into masks
select l.id, chunk_of(r.id), bit_or(one_bit(r.id))
  from (select distinct id from rivals where not wanted) r
  join packages p using (id) join content_lists l on l.kind = p.kind
 group by 1, 2;

-- name: mask_releases
-- A release in base of the same distribution as a fresh one: the new replaces the old.
insert into masks
select b.list, chunk_of(o.id), bit_or(one_bit(o.id))
  from base b
  join content_lists l on l.id = b.list and l.kind = 8
  join releases o on o.id between id_at(b.chunk, 0) and id_at(b.chunk, chunk_size() - 1)
   and get_bit(b.bits, place_of(o.id)) = 1
  left join wanted w on w.list = b.list and w.chunk = b.chunk
 where coalesce(get_bit(w.bits, place_of(o.id)), 0) = 0
   and exists (select from wanted f
                 join releases n on n.id between id_at(f.chunk, 0) and id_at(f.chunk, chunk_size() - 1)
                  and get_bit(f.bits, place_of(n.id)) = 1
                 left join base h on h.list = f.list and h.chunk = f.chunk
                where f.list = b.list and n.distribution = o.distribution
                  and coalesce(get_bit(h.bits, place_of(n.id)), 0) = 0)
 group by 1, 2;

-- name: apply_masks
-- A package goes with its links, a source package too.
update base b set bits = b.bits & ~ m.bits
  from (select x.list, m.chunk, bit_or(m.bits) as bits
          from masks m join content_lists l on l.id = m.list
          join (select id as list, kind from content_lists) x
            on x.list = m.list or x.kind = link_kind(l.kind)
         where x.list in (select list from base)
         group by 1, 2) m
 where m.list = b.list and m.chunk = b.chunk;

-- name: clear_masks
delete from masks;

-- name: clear_base
delete from base;

-- name: fill_fresh
-- Read once, with all that is compared.
insert into fresh
with news as materialized (
  select w.chunk, w.bits & ~ coalesce(b.bits, no_bits()) as bits
    from wanted w join content_lists l on l.id = w.list and l.kind in (1, 2)
    left join base b on b.list = w.list and b.chunk = w.chunk
   where w.bits is distinct from b.bits),
ids as materialized (
  select id_at(chunk, place) as id from news, generate_series(0, chunk_size() - 1) place
   where get_bit(bits, place) = 1)
select id, same_key, sha256, relative_path from ids join packages using (id);

-- name: analyze_fresh
analyze fresh (id), wanted (list, chunk), base (list, chunk);

-- name: find_duplicates
-- Among the fresh: one name, version, architecture and variant, several files. No LIMIT: it would
-- buy a quick first row, which never comes, with a plan of minutes.
with suspects as materialized (
  select same_key from (select distinct same_key, sha256 from fresh) keys
   group by same_key having count(*) > 1),
pairs as (
  select concat_ws(' ', p.name, p.version, p.architecture, nullif(p.architecture_variant, '')) as label
    from fresh f join packages p using (id)
   where f.same_key in (select same_key from suspects)
   group by p.kind, p.name, p.version, p.architecture, p.architecture_variant
  having count(distinct p.sha256) > 1)
select count(*) as count, (array_agg(label order by label))[1:10] as examples from pairs;

-- name: fill_rivals
-- The offset is a fence, as in find_path_clashes.
insert into rivals
with others as materialized (
  select f.id as fresh, p.id
    from fresh f
   cross join lateral (select id from packages where same_key = f.same_key offset 0) p
   where p.id <> f.id and exists (select from base where list in (select id from content_lists where kind in (1, 2))))
select p.id, coalesce(get_bit(w.bits, place_of(p.id)) = 1, false), p.sha256 <> n.sha256,
       concat_ws(' ', p.name, p.version, p.architecture, nullif(p.architecture_variant, ''))
  from others o
  join packages p on p.id = o.id
  join content_lists l on l.kind = p.kind
  join base b on b.list = l.id and b.chunk = chunk_of(o.id) and get_bit(b.bits, place_of(o.id)) = 1
  left join wanted w on w.list = l.id and w.chunk = chunk_of(o.id)
  join packages n on n.id = o.fresh
   and (p.kind, p.name, p.version, p.architecture, p.architecture_variant)
     = (n.kind, n.name, n.version, n.architecture, n.architecture_variant);

-- name: find_clashes
-- Upstream wants both builds, one of which we hold.
select count(distinct label) as count, (array_agg(distinct label))[1:10] as examples
  from rivals where wanted and differs;

-- name: get_replaced
select count(distinct id) as count, (array_agg(distinct label))[1:10] as examples
  from rivals where not wanted;

-- name: fill_result
insert into result
select list, chunk, bit_or(bits) from (select * from wanted union all select * from base) units
 group by list, chunk having bit_count(bit_or(bits)) > 0;

-- name: find_path_clashes
-- Fresh packages at the path of another file of the new version: among themselves, or of one that
-- was there. One probe per fresh package (the offset is a fence: without statistics of paths the
-- planner would rather read the whole table), and none where all packages are fresh.
with others as materialized (
  select f.relative_path, p.id
    from fresh f
   cross join lateral (select id, sha256 from packages where relative_path = f.relative_path offset 0) p
   where p.sha256 <> f.sha256
     and (select count(*) from fresh)
       < (select sum(bit_count(bits)) from result where list in (select id from content_lists where kind in (1, 2))))
select count(*) as count, (array_agg(path order by path))[1:10] as examples
  from (select relative_path as path from (select distinct relative_path, sha256 from fresh) files
         group by relative_path having count(*) > 1
        union
        select o.relative_path
          from others o
          join content_lists l on l.kind in (1, 2)
          join result r on r.list = l.id and r.chunk = chunk_of(o.id) and get_bit(r.bits, place_of(o.id)) = 1
       ) clashes;

-- name: fill_changes
insert into changes
select list, chunk, o.bits, r.bits
  from (select list, chunk, bits from repository_chunks
         where repository = %(repository)s and removed is null) o
  full join result r using (list, chunk)
 where o.bits is distinct from r.bits;

-- name: take_number
update repositories set last_number = last_number + 1 where id = %(repository)s returning last_number;

-- name: close_chunks
update repository_chunks c set removed = %(number)s
  from changes d
 where c.repository = %(repository)s and c.removed is null and c.list = d.list and c.chunk = d.chunk;

-- name: open_chunks
insert into repository_chunks (repository, list, chunk, added, bits)
select %(repository)s, list, chunk, %(number)s, new from changes where new is not null;

-- name: add_version
insert into repository_versions (repository, number, made_by, options, base_version)
values (%(repository)s, %(number)s, %(task)s, %(options)s, %(base_version)s)
returning id;

-- name: add_counts
-- Added and removed are against the latest version before this one.
insert into version_counts (repository, number, kind, present, added, removed)
select %(repository)s, %(number)s, kind, coalesce(p.present, 0), coalesce(d.added, 0), coalesce(d.removed, 0)
  from (select l.kind, sum(bit_count(r.bits)) as present
          from result r join content_lists l on l.id = r.list and l.kind <> 14 group by l.kind) p
  full join (select l.kind, sum(bit_count(coalesce(c.new, no_bits()) & ~ coalesce(c.old, no_bits()))) as added,
                    sum(bit_count(coalesce(c.old, no_bits()) & ~ coalesce(c.new, no_bits()))) as removed
               from changes c join content_lists l on l.id = c.list and l.kind <> 14 group by l.kind) d using (kind)
returning kind, present, added, removed;

-- name: list_surplus_versions
-- All but the newest that are kept, and but those that clients read: what a distribution serves, or
-- served lately (what is not lately any more, the sweeper takes out of served), and checkpoints.
with beyond as (
  select number from repository_versions where repository = %(repository)s
   order by number desc offset %(keep)s)
select number from beyond b
 where not exists (select from distributions d left join publications p on p.id = d.publication
                    where (d.version_repository, d.version_number) = (%(repository)s, b.number)
                       or (p.repository, p.number) = (%(repository)s, b.number))
   and not exists (select from publications p join served s on s.publication = p.id
                    where p.repository = %(repository)s and p.number = b.number)
   and not exists (select from publications p
                    where p.repository = %(repository)s and p.number = b.number
                      and p.checkpoint and p.is_complete);

-- name: list_versions
select number from repository_versions where repository = %(repository)s order by number;

-- name: delete_versions
delete from repository_versions where repository = %(repository)s and number = any (%(numbers)s);

-- name: delete_dead_chunks
-- Chunks that no version holds any more.
delete from repository_chunks k
 where k.repository = %(repository)s
   and not exists (select from repository_versions v
                    where v.repository = k.repository and v.number >= k.added
                      and (k.removed is null or v.number < k.removed));

-- name: reopen_chunks
-- What a deleted latest version had ended lives on.
update repository_chunks set removed = null
 where repository = %(repository)s
   and removed > (select max(number) from repository_versions where repository = %(repository)s);

-- name: list_followers
-- The versions that follow a deleted one; asked after the deletion.
select distinct number from (
  select (select min(v.number) from repository_versions v
           where v.repository = %(repository)s and v.number > gone.number) as number
    from unnest(%(numbers)s::int[]) as gone (number)) x
 where number is not null order by number;

-- name: delete_counts
delete from version_counts where repository = %(repository)s and number = any (%(followers)s);

-- name: recount_followers
-- They are now counted against what comes before the deleted ones.
with pairs as materialized (
  select f.number, (select max(v.number) from repository_versions v
                     where v.repository = %(repository)s and v.number < f.number) as previous
    from unnest(%(followers)s::int[]) as f (number)),
sets as materialized (
  select p.number, d.list, d.new, d.old
    from pairs p, lateral (
      select list, n.bits as new, o.bits as old
        from (select list, chunk, bits from repository_chunks
               where repository = %(repository)s and added <= p.number
                 and (removed is null or removed > p.number)) n
        full join (select list, chunk, bits from repository_chunks
                    where repository = %(repository)s and added <= p.previous
                      and (removed is null or removed > p.previous)) o using (list, chunk)) d)
insert into version_counts (repository, number, kind, present, added, removed)
select %(repository)s, s.number, l.kind, coalesce(sum(bit_count(s.new)), 0),
       sum(bit_count(coalesce(s.new, no_bits()) & ~ coalesce(s.old, no_bits()))),
       sum(bit_count(coalesce(s.old, no_bits()) & ~ coalesce(s.new, no_bits())))
  from sets s join content_lists l on l.id = s.list and l.kind <> 14
 group by s.number, l.kind;

-- name: list_foreign
-- Packages that a wanted index lists, whose architecture has no place in it, and that come in by
-- no other index of the task (a hybrid archive repeats its packages for all architectures). A
-- flat index has no architecture of its own: there only the user's choice leaves packages out.
with taken as materialized (
  select c.kind, c.chunk, bit_or(c.bits) as bits
    from wanted_indices w
    join index_chunks c on c.index = w.index and c.kind = w.lists
     and (w.accept is null or c.architecture = any (w.accept))
   where w.task = %(task)s and w.state in ('known', 'ingested', 'unchanged')
   group by c.kind, c.chunk)
select w.position, w.path, c.architecture,
       sum(bit_count(c.bits & ~ coalesce(t.bits, no_bits())))::bigint as count
  from wanted_indices w
  join index_chunks c on c.index = w.index and c.kind = w.lists and w.lists in (1, 2) and c.architecture <> all (w.accept)
  left join taken t on t.kind = c.kind and t.chunk = c.chunk
 where w.task = %(task)s and w.state in ('known', 'ingested') and w.architecture <> ''
 group by w.position, w.path, c.architecture
having sum(bit_count(c.bits & ~ coalesce(t.bits, no_bits()))) > 0
 order by w.position, c.architecture;
