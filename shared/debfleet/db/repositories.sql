-- Remotes, repositories and the read side of versions.

-- name: get_remote
-- No row: it was deleted.
SELECT id, uuid, name, url, distributions, components, architectures, policy, sync_sources,
       sync_udebs, sync_installer, gpgkey, ignore_missing_package_indices, tls_validation, ca_cert,
       client_cert, client_key, username, password, proxy_url, proxy_username, proxy_password,
       max_retries, total_timeout, connect_timeout, sock_connect_timeout, sock_read_timeout,
       headers, download_concurrency, rate_limit, vanishing, guards
  FROM remotes WHERE id = %(id)s

-- name: get_repository
-- No row: it was deleted.
SELECT r.id, r.uuid, r.name, r.remote, r.retain_repo_versions,
       (SELECT max(v.number) FROM repository_versions v WHERE v.repository = r.id) AS latest
  FROM repositories r WHERE r.id = %(id)s

-- name: find_remote_row
-- The whole row, as the API shows it; no row: there is none.
SELECT * FROM remotes WHERE uuid = %(uuid)s

-- name: lock_remote_row
-- As find_remote_row, and nobody else changes it until this transaction ends.
SELECT * FROM remotes WHERE uuid = %(uuid)s FOR NO KEY UPDATE

-- name: find_repository_row
SELECT r.*, m.uuid AS remote_uuid,
       (SELECT max(v.number) FROM repository_versions v WHERE v.repository = r.id) AS latest
  FROM repositories r LEFT JOIN remotes m ON m.id = r.remote
 WHERE r.uuid = %(uuid)s

-- name: find_pair
-- No row: there is no such repository.
SELECT r.id, r.uuid, m.id AS remote, m.uuid AS remote_uuid
  FROM repositories r LEFT JOIN remotes m ON m.id = r.remote
 WHERE r.uuid = %(uuid)s

-- name: lock_repository
SELECT id FROM repositories WHERE uuid = %(uuid)s FOR NO KEY UPDATE

-- name: add_remote
INSERT INTO remotes (
       name, labels, url, distributions, components, architectures, policy, sync_sources,
       sync_udebs, sync_installer, gpgkey, ignore_missing_package_indices, tls_validation, ca_cert,
       client_cert, client_key, username, password, proxy_url, proxy_username, proxy_password,
       max_retries, total_timeout, connect_timeout, sock_connect_timeout, sock_read_timeout,
       headers, download_concurrency, rate_limit, vanishing, guards)
VALUES (
       %(name)s, %(labels)s, %(url)s, %(distributions)s, %(components)s, %(architectures)s,
       %(policy)s, %(sync_sources)s, %(sync_udebs)s, %(sync_installer)s, %(gpgkey)s,
       %(ignore_missing_package_indices)s, %(tls_validation)s, %(ca_cert)s, %(client_cert)s,
       %(client_key)s, %(username)s, %(password)s, %(proxy_url)s, %(proxy_username)s,
       %(proxy_password)s, %(max_retries)s, %(total_timeout)s, %(connect_timeout)s,
       %(sock_connect_timeout)s, %(sock_read_timeout)s, %(headers)s, %(download_concurrency)s,
       %(rate_limit)s, %(vanishing)s, %(guards)s)
RETURNING *

-- name: update_remote
-- Writes every column: the caller holds the row and gives the unchanged ones too.
UPDATE remotes SET
       name = %(name)s, labels = %(labels)s, url = %(url)s, distributions = %(distributions)s,
       components = %(components)s, architectures = %(architectures)s, policy = %(policy)s,
       sync_sources = %(sync_sources)s, sync_udebs = %(sync_udebs)s,
       sync_installer = %(sync_installer)s, gpgkey = %(gpgkey)s,
       ignore_missing_package_indices = %(ignore_missing_package_indices)s,
       tls_validation = %(tls_validation)s, ca_cert = %(ca_cert)s, client_cert = %(client_cert)s,
       client_key = %(client_key)s, username = %(username)s, password = %(password)s,
       proxy_url = %(proxy_url)s, proxy_username = %(proxy_username)s,
       proxy_password = %(proxy_password)s, max_retries = %(max_retries)s,
       total_timeout = %(total_timeout)s, connect_timeout = %(connect_timeout)s,
       sock_connect_timeout = %(sock_connect_timeout)s,
       sock_read_timeout = %(sock_read_timeout)s, headers = %(headers)s,
       download_concurrency = %(download_concurrency)s, rate_limit = %(rate_limit)s,
       vanishing = %(vanishing)s, guards = %(guards)s, updated = clock_timestamp()
 WHERE id = %(id)s
RETURNING *

-- name: delete_remote
-- No row: it was deleted before.
DELETE FROM remotes WHERE uuid = %(uuid)s RETURNING id

-- name: add_repository
-- Its version 0, empty and complete, comes with it.
WITH r AS (
  INSERT INTO repositories (name, description, labels, retain_repo_versions, retain_checkpoints,
                            remote, autopublish, publish_upstream_release_fields, signing_service,
                            signing_service_release_overrides, package_signing_service,
                            package_signing_fingerprint, package_signing_fingerprint_release_overrides,
                            excluded_package_metadata_fields)
  VALUES (%(name)s, %(description)s, %(labels)s, %(retain_repo_versions)s,
          %(retain_checkpoints)s, (SELECT id FROM remotes WHERE uuid = %(remote)s), %(autopublish)s,
          %(publish_upstream_release_fields)s, %(signing_service)s,
          %(signing_service_release_overrides)s, %(package_signing_service)s,
          %(package_signing_fingerprint)s, %(package_signing_fingerprint_release_overrides)s,
          %(excluded_package_metadata_fields)s)
  RETURNING id, uuid)
INSERT INTO repository_versions (repository, number) SELECT id, 0 FROM r
RETURNING (SELECT uuid FROM r) AS uuid

-- name: update_repository
-- Writes every column: the caller holds the row and gives the unchanged ones too.
UPDATE repositories SET
       name = %(name)s, description = %(description)s, labels = %(labels)s,
       retain_repo_versions = %(retain_repo_versions)s,
       retain_checkpoints = %(retain_checkpoints)s,
       remote = (SELECT id FROM remotes WHERE uuid = %(remote)s), autopublish = %(autopublish)s,
       publish_upstream_release_fields = %(publish_upstream_release_fields)s,
       signing_service = %(signing_service)s,
       signing_service_release_overrides = %(signing_service_release_overrides)s,
       package_signing_service = %(package_signing_service)s,
       package_signing_fingerprint = %(package_signing_fingerprint)s,
       package_signing_fingerprint_release_overrides = %(package_signing_fingerprint_release_overrides)s,
       excluded_package_metadata_fields = %(excluded_package_metadata_fields)s,
       updated = clock_timestamp()
 WHERE uuid = %(uuid)s

-- name: count_parts
-- What goes with a repository; no row: there is none.
SELECT (SELECT count(*) FROM repository_versions v WHERE v.repository = r.id) AS repository_versions,
       (SELECT count(*) FROM publications p
         WHERE p.repository = r.id AND p.is_complete AND p.kind = 'apt') AS apt_publications,
       (SELECT count(*) FROM publications p
         WHERE p.repository = r.id AND p.is_complete AND p.kind = 'verbatim') AS verbatim_publications
  FROM repositories r WHERE r.uuid = %(uuid)s

-- name: delete_repository
-- No row: it was deleted before.
DELETE FROM repositories WHERE uuid = %(uuid)s RETURNING id

-- name: set_remote_label
UPDATE remotes SET labels = labels || jsonb_build_object(%(key)s::text, %(value)s::text),
       updated = clock_timestamp() WHERE uuid = %(uuid)s RETURNING id

-- name: set_repository_label
UPDATE repositories SET labels = labels || jsonb_build_object(%(key)s::text, %(value)s::text),
       updated = clock_timestamp() WHERE uuid = %(uuid)s RETURNING id

-- name: unset_remote_label
-- No row: the label is not set.
UPDATE remotes m SET labels = m.labels - %(key)s::text, updated = clock_timestamp()
  FROM (SELECT id, labels ->> %(key)s::text AS value FROM remotes WHERE uuid = %(uuid)s) o
 WHERE m.id = o.id AND jsonb_exists(m.labels, %(key)s::text) RETURNING o.value

-- name: unset_repository_label
-- No row: the label is not set.
UPDATE repositories r SET labels = r.labels - %(key)s::text, updated = clock_timestamp()
  FROM (SELECT id, labels ->> %(key)s::text AS value FROM repositories WHERE uuid = %(uuid)s) o
 WHERE r.id = o.id AND jsonb_exists(r.labels, %(key)s::text) RETURNING o.value

-- name: find_version
-- No row: there is no such repository or number.
SELECT v.id, v.repository, v.number, r.uuid AS repository_uuid
  FROM repository_versions v JOIN repositories r ON r.id = v.repository
 WHERE r.uuid = %(repository)s AND v.number = %(number)s

-- name: list_version_places
-- Where versions lie, by their own ids; those that are gone are not in the answer.
SELECT v.id, v.number, r.uuid AS repository_uuid
  FROM repository_versions v JOIN repositories r ON r.id = v.repository
 WHERE v.id = ANY(%(ids)s)

-- name: list_ids
select id, uuid from repositories order by id;
