-- Files that clients send in chunks.

-- name: add_upload
insert into uploads (size, owner) values (%(size)s, %(owner)s) returning *

-- name: find_upload
-- No row: it never was, it became an artifact, or it expired.
select * from uploads where uuid = %(uuid)s

-- name: lock_upload
-- One chunk at a time is written down.
select * from uploads where uuid = %(uuid)s for update

-- name: list_chunks
select start, size, sha256 from upload_chunks where upload = %(upload)s order by start

-- name: drop_same_chunk
-- The same place again: the client did not hear our answer.
delete from upload_chunks where upload = %(upload)s and start = %(start)s and size = %(size)s

-- name: find_overlap
select start, size from upload_chunks
 where upload = %(upload)s and start < %(start)s + %(size)s and start + size > %(start)s
 order by start limit 1

-- name: add_chunk
insert into upload_chunks (upload, start, size, sha256)
values (%(upload)s, %(start)s, %(size)s, %(sha256)s)

-- name: touch_upload
update uploads set updated = now() where id = %(upload)s returning *

-- name: forgive_file
-- Its row claims it from now on.
delete from doomed_files where sha256 = %(sha256)s

-- name: delete_upload
delete from uploads where uuid = %(uuid)s

-- name: expire_uploads
-- Nobody sent a chunk for so long, and no task is about to use it.
delete from uploads u
 where u.updated < now() - make_interval(mins => %(minutes)s)
   and not exists (select from claims c where c.resource = 'prn:core.upload:' || u.uuid)
returning u.uuid

-- name: claim_stored
-- A task relies on a stored file: cleanup leaves it until the task ends.
insert into task_files (task, sha256, size, path, opener, chunk)
values (%(task)s, %(sha256)s, %(size)s, '', 0, -1)
    on conflict (task, sha256) do nothing

-- name: find_artifact
update artifacts set last_wanted = now() where sha256 = %(sha256)s returning id, sha256, size, created

-- name: list_holders
-- The repositories that have a unit with this file in some version, and have seen it.
with units as materialized (
  select kind, id from packages where sha256 = %(sha256)s
  union all
  select 3, id from generic_contents where sha256 = %(sha256)s
  union all
  select kind, unit from unit_files where sha256 = %(sha256)s)
select distinct c.repository
  from units u
  join content_lists l on l.kind = u.kind and l.release_component = 0
  join repository_chunks c on c.list = l.id and c.chunk = chunk_of(u.id)
 where get_bit(c.bits, place_of(u.id)) = 1
   and not exists (select from unseen_files x where x.repository = c.repository and x.sha256 = %(sha256)s)
 order by 1
