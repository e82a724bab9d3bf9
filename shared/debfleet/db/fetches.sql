-- Files that the content service fetches when they are asked for.

-- name: list_sources
-- Where a file is offered: by each remote, at the path that its newest index says. Those that gave
-- wrong bytes lately are left out; alternate sources come first, then those whose files are kept. The size of generic content
-- is a hint. What a repository has yet to see comes from the remote that listed it there, or not at all.
select found.remote, found.path, r.policy, exists (select from alternate_sources a where a.remote = r.id) as is_alternate
  from (select distinct on (o.remote) o.remote, p.path, o.index
          from (select kind, id, relative_path as path from packages where sha256 = %(sha256)s and size = %(size)s
                union all
                select 3, id, relative_path from generic_contents where sha256 = %(sha256)s
                union all
                select 12, unit, path from unit_files where kind = 12 and sha256 = %(sha256)s and size = %(size)s) p
          join index_chunks c on c.kind = p.kind and c.chunk = chunk_of(p.id) and get_bit(c.bits, place_of(p.id)) = 1
          join offers o on o.index = c.index
         order by o.remote, o.index desc) found
  join remotes r on r.id = found.remote
 where not exists (select from refused_sources x
                    where x.sha256 = %(sha256)s and x.remote = r.id and x.until > clock_timestamp())
   and not exists (select from unseen_files x
                    where x.repository = %(unseen_in)s and x.sha256 = %(sha256)s and x.remote is distinct from r.id)
 order by is_alternate desc, r.policy = 'streamed', found.index desc

-- name: is_stored
select exists (select from artifacts where sha256 = %(sha256)s) as is_stored

-- name: note_size
-- Of generic content: what upstream said before was wrong.
update generic_contents set size = %(size)s where sha256 = %(sha256)s and size is distinct from %(size)s

-- name: doom_file
-- Should we die between the file and its row, cleanup finds it; once the row is there it is forgiven.
insert into doomed_files (sha256) values (%(sha256)s) on conflict do nothing

-- name: claim_fetch
-- No row: another process fetches it.
insert into fetches (sha256, holder, until)
values (%(sha256)s, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s))
    on conflict (sha256) do update set holder = excluded.holder, until = excluded.until
 where fetches.until < clock_timestamp() or fetches.holder = excluded.holder
returning sha256

-- name: end_fetch
delete from fetches where sha256 = %(sha256)s and holder = %(holder)s

-- name: refuse_source
insert into refused_sources (sha256, remote, until)
select %(sha256)s, r.id, clock_timestamp() + make_interval(secs => %(seconds)s) from remotes r where r.id = %(remote)s
    on conflict (sha256, remote) do update set until = excluded.until

-- name: forget_refusals
delete from refused_sources where until < clock_timestamp()
