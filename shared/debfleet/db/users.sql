-- Who may use the API.

-- name: find_user
SELECT id, username, password_hash, password_version, is_superuser FROM users
 WHERE username = %(username)s AND is_active

-- name: set_password
UPDATE users SET password_hash = %(hash)s, password_version = password_version + 1
 WHERE username = %(username)s RETURNING id

-- name: add_user
-- An administrator. No row: the name is taken.
INSERT INTO users (username, password_hash, is_superuser, is_staff) VALUES (%(username)s, %(hash)s, true, true)
ON CONFLICT ON CONSTRAINT a_username_is_unique DO NOTHING RETURNING id
