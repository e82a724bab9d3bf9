"""Users, groups, roles and grants: who may do what; content guards: who may fetch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("access.sql")

Row = dict[str, Any]

RBAC_GUARD = "core.rbaccontentguard"
HEADER_GUARD = "core.headercontentguard"
GUARD_MODELS = {"rbac": RBAC_GUARD, "header": HEADER_GUARD}
DOWNLOAD = "core.download_rbaccontentguard"


@dataclass(frozen=True, slots=True)
class Holders:
    """Whom a role is granted to."""

    users: list[int]
    groups: list[int]


def list_permissions(tx: Tx, user: int, object: str | None) -> list[str]:
    """What a user, no superuser, may do to an object (a PRN); with None, what to all of them."""
    rows = tx.execute(_q["list_permissions"], {"user": user, "object": object})
    return [row["permission"] for row in rows]


def list_objects(tx: Tx, user: int, permission: str) -> list[str] | None:
    """The PRNs on which a user, no superuser, has a permission; None: on everything."""
    rows = tx.execute(_q["list_objects"], {"user": user, "permission": permission}).fetchall()
    found = [row["object"] for row in rows]
    return None if None in found else found


def grant_owner(tx: Tx, user: int, model: str, object: str) -> None:
    """Whoever made an object owns it; a superuser needs no grant for that."""
    tx.execute(_q["grant_owner"], {"user": user, "role": f"{model}_owner", "object": object})


def grant_task_owner(tx: Tx, task: int, model: str, object: str) -> None:
    """Whoever asked for the task that made an object owns it."""
    tx.execute(_q["grant_task_owner"], {"task": task, "role": f"{model}_owner", "object": object})


def add_grants(tx: Tx, role: int, holders: Holders, object: str | None) -> list[Row]:
    """Give a role to users and groups; the new grants.

    Raises:
        psycopg.errors.UniqueViolation: One of them has it.
    """
    return tx.execute(_q["add_grants"], _granted(role, holders, object)).fetchall()


def remove_grants(tx: Tx, role: int, holders: Holders, object: str | None) -> int:
    """Take a role away; how many had it."""
    return len(tx.execute(_q["remove_grants"], _granted(role, holders, object)).fetchall())


def count_grants(tx: Tx, role: int, holders: Holders, object: str | None) -> int:
    """How many of them have it."""
    row = tx.execute(_q["count_grants"], _granted(role, holders, object)).fetchone()
    return int(row["n"]) if row else 0


def _granted(role: int, holders: Holders, object: str | None) -> dict[str, Any]:
    return {"role": role, "users": holders.users, "groups": holders.groups, "object": object}


def list_roles_on(tx: Tx, object: str) -> list[Row]:
    """``role``, ``users`` and ``groups`` by name, of each role granted on just this object."""
    return tx.execute(_q["list_roles_on"], {"object": object}).fetchall()


def delete_grant(tx: Tx, uuid: UUID) -> bool:
    """Whether there was one."""
    return tx.execute(_q["delete_grant"], {"uuid": uuid}).fetchone() is not None


def find_role(tx: Tx, uuid: UUID) -> Row | None:
    """A role by its id."""
    return tx.execute(_q["find_role"], {"uuid": uuid}).fetchone()


def find_role_named(tx: Tx, name: str) -> Row | None:
    """A role by its name."""
    return tx.execute(_q["find_role_named"], {"name": name}).fetchone()


def add_role(tx: Tx, values: Mapping[str, Any]) -> Row:
    """A new role: name, description, permissions."""
    return _one(tx, "add_role", values)


def update_role(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> Row | None:
    """The role as it is now; None: it is locked, or gone."""
    return tx.execute(_q["update_role"], {**values, "uuid": uuid}).fetchone()


def delete_role(tx: Tx, uuid: UUID) -> bool:
    """Whether there was one that is not locked; its grants end."""
    return tx.execute(_q["delete_role"], {"uuid": uuid}).fetchone() is not None


def list_known_permissions(tx: Tx) -> list[str]:
    """Every permission that means something."""
    return [row["permission"] for row in tx.execute(_q["list_known_permissions"])]


def find_user_row(tx: Tx, id: int) -> Row | None:
    """A user by their number."""
    return tx.execute(_q["find_user_row"], {"id": id}).fetchone()


def list_groups_of(tx: Tx, users: Sequence[int]) -> dict[int, list[Row]]:
    """The groups, ``id`` and ``name``, of each of some users."""
    found: dict[int, list[Row]] = {user: [] for user in users}
    for row in tx.execute(_q["list_groups_of"], {"users": list(users)}):
        found[row["who"]].append(row)
    return found


def add_user_row(tx: Tx, values: Mapping[str, Any]) -> Row:
    """A new user who may do nothing yet."""
    return _one(tx, "add_user_row", values)


def update_user_row(tx: Tx, id: int, values: Mapping[str, Any]) -> Row | None:
    """The user as they are now; a hash of None leaves the password."""
    return tx.execute(_q["update_user_row"], {**values, "id": id}).fetchone()


def delete_user(tx: Tx, id: int) -> bool:
    """Whether there was one."""
    return tx.execute(_q["delete_user"], {"id": id}).fetchone() is not None


def is_last_superuser(tx: Tx, id: int) -> bool:
    """Whether nobody could do everything without this user."""
    row = tx.execute(_q["count_other_superusers"], {"id": id}).fetchone()
    return row is None or row["n"] == 0


def find_group(tx: Tx, id: int) -> Row | None:
    """A group by its number."""
    return tx.execute(_q["find_group"], {"id": id}).fetchone()


def add_group(tx: Tx, name: str) -> Row:
    """A new group."""
    return _one(tx, "add_group", {"name": name})


def update_group(tx: Tx, id: int, name: str) -> Row | None:
    """The group as it is now."""
    return tx.execute(_q["update_group"], {"id": id, "name": name}).fetchone()


def delete_group(tx: Tx, id: int) -> bool:
    """Whether there was one."""
    return tx.execute(_q["delete_group"], {"id": id}).fetchone() is not None


def list_ids(
    tx: Tx, users: Sequence[str], groups: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """The numbers of the users and of the groups that there are, by name."""
    found: dict[str, dict[str, int]] = {"user": {}, "group": {}}
    for row in tx.execute(_q["list_ids"], {"users": list(users), "groups": list(groups)}):
        found[row["what"]][row["name"]] = row["id"]
    return found["user"], found["group"]


def add_member(tx: Tx, group: int, user: int) -> None:
    """Put a user into a group."""
    tx.execute(_q["add_member"], {"group": group, "user": user})


def remove_member(tx: Tx, group: int, user: int) -> bool:
    """Whether the user was in the group."""
    return tx.execute(_q["remove_member"], {"group": group, "user": user}).fetchone() is not None


def find_guard(tx: Tx, uuid: UUID) -> Row | None:
    """A content guard by its id."""
    return tx.execute(_q["find_guard"], {"uuid": uuid}).fetchone()


def add_guard(tx: Tx, values: Mapping[str, Any]) -> Row:
    """A new content guard: kind, name, description, header_name, header_value."""
    return _one(tx, "add_guard", values)


def update_guard(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> Row | None:
    """The guard as it is now; all fields but the kind."""
    return tx.execute(_q["update_guard"], {**values, "uuid": uuid}).fetchone()


def delete_guard(tx: Tx, uuid: UUID) -> bool:
    """Whether there was one.

    Raises:
        psycopg.errors.ForeignKeyViolation: A distribution has it.
    """
    return tx.execute(_q["delete_guard"], {"uuid": uuid}).fetchone() is not None


def list_guarded(tx: Tx, uuid: UUID) -> list[str]:
    """Names of distributions that a guard keeps, ten at most."""
    return [row["name"] for row in tx.execute(_q["list_guarded"], {"uuid": uuid})]


def find_asker(tx: Tx, task: UUID) -> int | None:
    """Who asked for a task."""
    row = tx.execute(_q["find_asker"], {"uuid": task}).fetchone()
    return None if row is None else row["created_by"]


def list_repository_ids(tx: Tx, uuids: Sequence[UUID]) -> set[int]:
    """The ids of the repositories that there are."""
    rows = tx.execute(_q["list_repository_ids"], {"uuids": list(uuids)})
    return {row["id"] for row in rows}


def has_object(tx: Tx, model: str, uuid: UUID) -> bool:
    """Whether there is such an object, of a model that roles are granted on."""
    row = tx.execute(_q["find_object"], {"model": model, "uuid": uuid}).fetchone()
    return bool(row and row["is_there"])


def _one(tx: Tx, name: str, values: Mapping[str, Any]) -> Row:
    row = tx.execute(_q[name], values).fetchone()
    assert row is not None
    return row
