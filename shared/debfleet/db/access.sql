-- Who may do what. A grant gives the permissions of a role to a user, or to all of a group, on one
-- object or on every one. Superusers are not looked up here: they may do everything.

-- name: list_permissions
-- What a user may do to an object; with none, what to every object.
SELECT DISTINCT unnest(r.permissions) AS permission
  FROM grants g JOIN roles r ON r.id = g.role
 WHERE (g.who = %(user)s OR g.in_group IN (SELECT in_group FROM members WHERE who = %(user)s))
   AND (g.object IS NULL OR g.object = %(object)s)
 ORDER BY 1

-- name: list_objects
-- On which objects a user has a permission; a row of null: on every one.
SELECT DISTINCT g.object
  FROM grants g JOIN roles r ON r.id = g.role
 WHERE (g.who = %(user)s OR g.in_group IN (SELECT in_group FROM members WHERE who = %(user)s))
   AND %(permission)s = ANY (r.permissions)

-- name: grant_owner
-- Who made an object owns it. No row: they may do everything anyway.
INSERT INTO grants (role, who, object)
SELECT r.id, u.id, %(object)s FROM roles r, users u
 WHERE r.name = %(role)s AND u.id = %(user)s AND NOT u.is_superuser
ON CONFLICT DO NOTHING

-- name: grant_task_owner
-- As grant_owner, to whoever asked for the task.
INSERT INTO grants (role, who, object)
SELECT r.id, u.id, %(object)s FROM roles r, tasks t JOIN users u ON u.id = t.created_by
 WHERE r.name = %(role)s AND t.id = %(task)s AND NOT u.is_superuser
ON CONFLICT DO NOTHING

-- name: add_grants
-- To each of the users and groups named.
INSERT INTO grants (role, who, in_group, object)
SELECT %(role)s, u.id, NULL, %(object)s FROM users u WHERE u.id = ANY (%(users)s)
UNION ALL
SELECT %(role)s, NULL, g.id, %(object)s FROM groups g WHERE g.id = ANY (%(groups)s)
RETURNING id, uuid

-- name: remove_grants
DELETE FROM grants
 WHERE role = %(role)s AND object IS NOT DISTINCT FROM %(object)s
   AND (who = ANY (%(users)s) OR in_group = ANY (%(groups)s))
RETURNING id

-- name: count_grants
-- How many of these have the role on the object already.
SELECT count(*) AS n FROM grants
 WHERE role = %(role)s AND object IS NOT DISTINCT FROM %(object)s
   AND (who = ANY (%(users)s) OR in_group = ANY (%(groups)s))

-- name: list_roles_on
-- Each role on an object with whom it was given to.
SELECT r.name AS role, array_remove(array_agg(u.username ORDER BY u.username), NULL) AS users,
       array_remove(array_agg(n.name ORDER BY n.name), NULL) AS groups
  FROM grants g JOIN roles r ON r.id = g.role
  LEFT JOIN users u ON u.id = g.who LEFT JOIN groups n ON n.id = g.in_group
 WHERE g.object = %(object)s
 GROUP BY r.name ORDER BY r.name

-- name: delete_grant
DELETE FROM grants WHERE uuid = %(uuid)s RETURNING id

-- name: find_role
SELECT * FROM roles WHERE uuid = %(uuid)s

-- name: find_role_named
SELECT * FROM roles WHERE name = %(name)s

-- name: add_role
INSERT INTO roles (name, description, permissions) VALUES (%(name)s, %(description)s, %(permissions)s)
RETURNING *

-- name: update_role
UPDATE roles SET name = %(name)s, description = %(description)s, permissions = %(permissions)s, updated = now()
 WHERE uuid = %(uuid)s AND NOT is_locked RETURNING *

-- name: delete_role
DELETE FROM roles WHERE uuid = %(uuid)s AND NOT is_locked RETURNING id

-- name: list_known_permissions
-- Every permission that means something: those of our own roles.
SELECT DISTINCT unnest(permissions) AS permission FROM roles WHERE is_locked ORDER BY 1

-- name: find_user_row
SELECT * FROM users WHERE id = %(id)s

-- name: list_groups_of
-- The groups of some users.
SELECT m.who, g.id, g.name FROM members m JOIN groups g ON g.id = m.in_group
 WHERE m.who = ANY (%(users)s) ORDER BY g.name

-- name: add_user_row
INSERT INTO users (username, password_hash, first_name, last_name, email, is_staff, is_active, is_superuser)
VALUES (%(username)s, %(password_hash)s, %(first_name)s, %(last_name)s, %(email)s, %(is_staff)s, %(is_active)s, false)
RETURNING *

-- name: update_user_row
-- A hash that is null stays as it was.
UPDATE users
   SET username = %(username)s, first_name = %(first_name)s, last_name = %(last_name)s, email = %(email)s,
       is_staff = %(is_staff)s, is_active = %(is_active)s,
       password_hash = coalesce(%(password_hash)s, password_hash),
       password_version = password_version + (%(password_hash)s::text IS NOT NULL)::int
 WHERE id = %(id)s RETURNING *

-- name: delete_user
DELETE FROM users WHERE id = %(id)s RETURNING id

-- name: count_other_superusers
-- Who could still do everything without this one.
SELECT count(*) AS n FROM users WHERE is_superuser AND is_active AND id <> %(id)s

-- name: find_group
SELECT * FROM groups WHERE id = %(id)s

-- name: add_group
INSERT INTO groups (name) VALUES (%(name)s) RETURNING *

-- name: update_group
UPDATE groups SET name = %(name)s WHERE id = %(id)s RETURNING *

-- name: delete_group
DELETE FROM groups WHERE id = %(id)s RETURNING id

-- name: list_ids
-- The ids of users and groups by their names.
SELECT 'user' AS what, username AS name, id FROM users WHERE username = ANY (%(users)s)
UNION ALL
SELECT 'group', name, id FROM groups WHERE name = ANY (%(groups)s)

-- name: add_member
INSERT INTO members (in_group, who) VALUES (%(group)s, %(user)s) ON CONFLICT DO NOTHING

-- name: remove_member
DELETE FROM members WHERE in_group = %(group)s AND who = %(user)s RETURNING who

-- name: find_guard
SELECT * FROM content_guards WHERE uuid = %(uuid)s

-- name: add_guard
INSERT INTO content_guards (kind, name, description, header_name, header_value)
VALUES (%(kind)s, %(name)s, %(description)s, %(header_name)s, %(header_value)s) RETURNING *

-- name: update_guard
UPDATE content_guards
   SET name = %(name)s, description = %(description)s, header_name = %(header_name)s,
       header_value = %(header_value)s, updated = now()
 WHERE uuid = %(uuid)s RETURNING *

-- name: delete_guard
DELETE FROM content_guards WHERE uuid = %(uuid)s RETURNING id

-- name: list_guarded
-- The distributions that a guard keeps.
SELECT name FROM distributions WHERE content_guard = %(uuid)s ORDER BY name LIMIT 10

-- name: find_asker
-- Who asked for a task.
SELECT created_by FROM tasks WHERE uuid = %(uuid)s

-- name: list_repository_ids
SELECT id FROM repositories WHERE uuid = ANY (%(uuids)s)

-- name: find_object
-- Whether there is such an object.
SELECT CASE %(model)s
         WHEN 'deb.aptrepository' THEN EXISTS (SELECT FROM repositories WHERE uuid = %(uuid)s)
         WHEN 'core.task' THEN EXISTS (SELECT FROM tasks WHERE uuid = %(uuid)s)
         WHEN 'deb.aptremote' THEN EXISTS (SELECT FROM remotes WHERE uuid = %(uuid)s)
         WHEN 'deb.aptdistribution' THEN EXISTS (SELECT FROM distributions WHERE uuid = %(uuid)s)
         WHEN 'deb.aptpublication'
         THEN EXISTS (SELECT FROM publications WHERE uuid = %(uuid)s AND kind = 'apt' AND is_complete)
         WHEN 'deb.verbatimpublication'
         THEN EXISTS (SELECT FROM publications WHERE uuid = %(uuid)s AND kind = 'verbatim' AND is_complete)
         WHEN 'core.rbaccontentguard'
         THEN EXISTS (SELECT FROM content_guards WHERE uuid = %(uuid)s AND kind = 'rbac')
         WHEN 'core.headercontentguard'
         THEN EXISTS (SELECT FROM content_guards WHERE uuid = %(uuid)s AND kind = 'header')
       END AS is_there
