-- Who signs Release files and packages. What a worker signs with is read in publications.sql.

-- name: add_service
insert into signing_services (uuid, name, kind, public_key, fingerprint, script, gnupghome, secret)
values (%(uuid)s, %(name)s, %(kind)s, %(public_key)s, %(fingerprint)s, %(script)s, %(gnupghome)s, %(secret)s)
returning *

-- name: find_service
select * from signing_services where name = %(name)s

-- name: find_service_row
select * from signing_services where uuid = %(uuid)s

-- name: list_services
select * from signing_services order by name

-- name: delete_service
-- No row: there is none of this name.
delete from signing_services where name = %(name)s returning id

-- name: lock_service
select uuid from signing_services where name = %(name)s for update

-- name: list_users
-- The repositories that name it: for all they publish, for some of their distributions, or for packages.
select name from repositories
 where signing_service = %(uuid)s or package_signing_service = %(uuid)s
    or exists (select from jsonb_each_text(signing_service_release_overrides) o
                where o.value = %(uuid)s::text)
 order by name
