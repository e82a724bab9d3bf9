-- Distributions: base paths, and what is served there. Who serves what when: publications.sql.

-- name: lock_base_paths
-- One at a time: two base paths that overlap may be asked for at once.
select pg_advisory_xact_lock(hashtextextended('debfleet.base_paths', 0))

-- name: find_clashes
-- The other distributions that have this name or this base path, or one inside or around it.
select d.name = %(name)s as same_name, d.base_path = %(base_path)s as same_path,
       starts_with(d.base_path, %(base_path)s || '/') or starts_with(%(base_path)s, d.base_path || '/') as overlaps
  from distributions d
 where d.uuid <> %(uuid)s
   and (d.name = %(name)s or d.base_path = %(base_path)s
        or starts_with(d.base_path, %(base_path)s || '/') or starts_with(%(base_path)s, d.base_path || '/'))

-- name: add_distribution
insert into distributions (uuid, name, base_path, labels, repository, version_repository, version_number,
                           publication, content_guard, hidden, checkpoint)
select %(uuid)s, %(name)s, %(base_path)s, %(labels)s, (select id from repositories where uuid = %(repository)s),
       v.repository, v.number, (select id from publications where uuid = %(publication)s and is_complete),
       %(content_guard)s::uuid, %(hidden)s, %(checkpoint)s
  from (select) one left join repository_versions v on v.id = %(version)s
returning id

-- name: lock_distribution
-- No row: it was deleted.
select id from distributions where uuid = %(uuid)s for no key update

-- name: update_distribution
-- Writes every column: the caller holds the row and gives the unchanged ones too.
update distributions d set
       name = %(name)s, base_path = %(base_path)s, labels = %(labels)s,
       repository = (select id from repositories where uuid = %(repository)s),
       version_repository = v.repository, version_number = v.number,
       publication = (select id from publications where uuid = %(publication)s and is_complete),
       content_guard = %(content_guard)s::uuid, hidden = %(hidden)s, checkpoint = %(checkpoint)s, updated = clock_timestamp()
  from (select) one left join repository_versions v on v.id = %(version)s
 where d.uuid = %(uuid)s

-- name: find_distribution_row
select d.id, d.uuid, d.name, d.base_path, d.labels, d.content_guard, d.hidden, d.checkpoint, d.created,
       d.updated, r.uuid as repository_uuid, v.id as version_uuid, vr.uuid as version_repository_uuid,
       d.version_number, p.uuid as publication_uuid, p.kind as publication_kind, g.kind as guard_kind
  from distributions d
  left join repositories r on r.id = d.repository
  left join repository_versions v on v.repository = d.version_repository and v.number = d.version_number
  left join repositories vr on vr.id = d.version_repository
  left join publications p on p.id = d.publication
  left join content_guards g on g.uuid = d.content_guard
 where d.uuid = %(uuid)s

-- name: delete_distribution
-- No row: it was deleted before.
delete from distributions where uuid = %(uuid)s returning id

-- name: set_label
update distributions set labels = labels || jsonb_build_object(%(key)s::text, %(value)s::text),
       updated = clock_timestamp() where uuid = %(uuid)s returning id

-- name: unset_label
-- No row: the label is not set.
update distributions d set labels = d.labels - %(key)s::text, updated = clock_timestamp()
  from (select id, labels ->> %(key)s::text as value from distributions where uuid = %(uuid)s) o
 where d.id = o.id and jsonb_exists(d.labels, %(key)s::text) returning o.value

-- name: list_present
-- Of these publications and distributions those that are there.
select uuid from publications where uuid = any (%(uuids)s) and is_complete
union all
select uuid from distributions where uuid = any (%(uuids)s)

-- name: find_users
-- A distribution that serves this version or a publication of it, or would if it had one.
select d.name
  from distributions d
 where (d.version_repository, d.version_number) = (%(repository)s, %(number)s)
    or d.publication in (select id from publications
                          where repository = %(repository)s and number = %(number)s)
    or d.id in (select s.distribution from served s join publications p on p.id = s.publication
                 where s.until is null and p.repository = %(repository)s and p.number = %(number)s)
 order by d.name
