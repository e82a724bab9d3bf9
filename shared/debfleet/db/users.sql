-- Who may use the API.

-- name: find_user
SELECT id, username, password_hash, password_version FROM users WHERE username = %(username)s

-- name: set_password
UPDATE users SET password_hash = %(hash)s, password_version = password_version + 1
 WHERE username = %(username)s RETURNING id

-- name: add_user
-- No row: the name is taken.
INSERT INTO users (username, password_hash) VALUES (%(username)s, %(hash)s)
ON CONFLICT ON CONSTRAINT a_username_is_unique DO NOTHING RETURNING id
