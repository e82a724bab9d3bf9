-- Alternate content sources: remotes that are tried before others for files that they offer too.

-- name: add_source
INSERT INTO alternate_sources (name, remote) SELECT %(name)s, id FROM remotes WHERE uuid = %(remote)s
RETURNING uuid

-- name: find_row
SELECT a.*, r.uuid AS remote_uuid FROM alternate_sources a JOIN remotes r ON r.id = a.remote
 WHERE a.uuid = %(uuid)s

-- name: update_source
UPDATE alternate_sources a
   SET name = %(name)s, remote = r.id, updated = now(),
       last_refreshed = CASE WHEN a.remote = r.id THEN a.last_refreshed END
  FROM remotes r WHERE a.uuid = %(uuid)s AND r.uuid = %(remote_uuid)s
RETURNING a.uuid

-- name: delete_source
DELETE FROM alternate_sources WHERE uuid = %(uuid)s RETURNING id

-- name: note_refreshed
UPDATE alternate_sources SET last_refreshed = now() WHERE id = %(id)s AND remote = %(remote)s

-- name: find_any
SELECT FROM alternate_sources LIMIT 1

-- name: list_places
-- Where alternate sources offer files, at the path that their newest index says; the oldest source
-- first.
SELECT DISTINCT ON (found.source, found.sha256) found.remote, found.sha256, found.path
  FROM (SELECT a.id AS source, a.remote, u.sha256, u.path, o.index
          FROM (SELECT sha256, kind::int AS kind, id, relative_path AS path FROM packages
                 WHERE sha256 = ANY (%(digests)s::bytea[])
                UNION ALL
                SELECT sha256, 3, id, relative_path FROM generic_contents
                 WHERE sha256 = ANY (%(digests)s::bytea[])
                UNION ALL
                SELECT sha256, 12, unit, path FROM unit_files
                 WHERE kind = 12 AND sha256 = ANY (%(digests)s::bytea[])) u
          JOIN index_chunks c ON c.kind = u.kind AND c.chunk = chunk_of(u.id) AND get_bit(c.bits, place_of(u.id)) = 1
          JOIN offers o ON o.index = c.index
          JOIN alternate_sources a ON a.remote = o.remote
         WHERE a.remote <> %(remote)s) found
 ORDER BY found.source, found.sha256, found.index DESC
