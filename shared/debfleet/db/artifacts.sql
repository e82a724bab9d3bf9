-- Artifacts as rows: what the store must hold.

-- name: list_artifacts
SELECT id, sha256, size FROM artifacts WHERE id > %(after)s ORDER BY id LIMIT %(limit)s

-- name: list_present
SELECT sha256 FROM artifacts WHERE sha256 = ANY(%(digests)s::bytea[])
