"""Rows of remotes and repositories, and the read side of versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.errors import NotFound
from debfleet.model import Remote, Repository, Version

_q = sql.load("repositories.sql")

SEALED = ("client_key", "username", "password", "proxy_username", "proxy_password")
"""The columns of a remote that hold sealed text."""

REMOTE_COLUMNS = (
    "name", "labels", "url", "distributions", "components", "architectures", "policy",
    "sync_sources", "sync_udebs", "sync_installer", "gpgkey", "ignore_missing_package_indices",
    "tls_validation", "ca_cert", "client_cert", *SEALED, "proxy_url", "max_retries",
    "total_timeout", "connect_timeout", "sock_connect_timeout", "sock_read_timeout", "headers",
    "download_concurrency", "rate_limit", "vanishing", "guards",
)  # fmt: skip
"""What a user may set of a remote."""

REPOSITORY_COLUMNS = (
    "name", "description", "labels", "retain_repo_versions", "retain_checkpoints", "remote",
    "autopublish", "publish_upstream_release_fields", "signing_service",
    "signing_service_release_overrides", "package_signing_service", "package_signing_fingerprint",
    "package_signing_fingerprint_release_overrides", "excluded_package_metadata_fields",
)  # fmt: skip
"""What a user may set of a repository; ``remote`` is the remote's UUID here."""


_JSON = (
    "labels", "headers", "guards", "signing_service_release_overrides",
    "package_signing_fingerprint_release_overrides", "excluded_package_metadata_fields",
)  # fmt: skip


def get_remote(tx: Tx, id: int) -> Remote:
    """One remote, its secrets still sealed.

    Raises:
        NotFound: It was deleted.
    """
    row = tx.execute(_q["get_remote"], {"id": id}).fetchone()
    if row is None:
        raise NotFound("remote", id)
    return Remote(**row)


def get_repository(tx: Tx, id: int) -> Repository:
    """One repository and the number of its latest version.

    Raises:
        NotFound: It was deleted.
    """
    row = tx.execute(_q["get_repository"], {"id": id}).fetchone()
    if row is None:
        raise NotFound("repository", id)
    return Repository(**row)


def find_remote_row(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """Every column of a remote, or nothing."""
    return tx.execute(_q["find_remote_row"], {"uuid": uuid}).fetchone()


def find_pair(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """The ids that a sync of a repository names: of itself, and of its remote, if it has one."""
    return tx.execute(_q["find_pair"], {"uuid": uuid}).fetchone()


def find_repository_row(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """Every column of a repository, with ``remote_uuid`` and ``latest``, or nothing."""
    return tx.execute(_q["find_repository_row"], {"uuid": uuid}).fetchone()


def add_remote(tx: Tx, values: Mapping[str, Any]) -> dict[str, Any]:
    """A new remote; ``values`` holds every one of REMOTE_COLUMNS, secrets sealed."""
    given = {**values, "guards": _set_guards({}, values)}
    row = tx.execute(_q["add_remote"], _with_json(given)).fetchone()
    assert row is not None
    return row


def update_remote(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change some columns of a remote, of ``guards`` those that are named; the row as it is then.

    Raises:
        NotFound: It was deleted.
    """
    held = tx.execute(_q["lock_remote_row"], {"uuid": uuid}).fetchone()
    if held is None:
        raise NotFound("remote", uuid)
    changed = {**held, **values, "guards": _set_guards(held["guards"], values)}
    row = tx.execute(_q["update_remote"], _with_json(changed)).fetchone()
    assert row is not None
    return row


def delete_remote(tx: Tx, uuid: UUID) -> bool:
    """False: it was gone already. Repositories that used it have none then."""
    return tx.execute(_q["delete_remote"], {"uuid": uuid}).fetchone() is not None


def add_repository(tx: Tx, values: Mapping[str, Any]) -> dict[str, Any]:
    """A new repository with its empty version 0; ``values`` holds REPOSITORY_COLUMNS."""
    added = tx.execute(_q["add_repository"], _with_json(values)).fetchone()
    assert added is not None
    row = find_repository_row(tx, added["uuid"])
    assert row is not None
    return row


def update_repository(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change some columns of a repository; the row as it is then.

    Raises:
        NotFound: It was deleted.
    """
    tx.execute(_q["lock_repository"], {"uuid": uuid})
    held = find_repository_row(tx, uuid)
    if held is None:
        raise NotFound("repository", uuid)
    whole = {**held, "remote": held["remote_uuid"], **values}
    tx.execute(_q["update_repository"], _with_json(whole))
    row = find_repository_row(tx, uuid)
    assert row is not None
    return row


def delete_repository(tx: Tx, uuid: UUID) -> dict[str, int]:
    """Delete a repository with its versions and publications; how many of each went, by table.

    Empty: it was gone already.
    """
    parts = tx.execute(_q["count_parts"], {"uuid": uuid}).fetchone()
    if tx.execute(_q["delete_repository"], {"uuid": uuid}).fetchone() is None:
        return {}
    return {"repositories": 1} | {table: n for table, n in (parts or {}).items() if n}


def list_ids(tx: Tx) -> dict[int, UUID]:
    """Id and uuid of every repository."""
    return {row["id"]: row["uuid"] for row in tx.execute(_q["list_ids"])}


def set_label(tx: Tx, table: str, uuid: UUID, key: str, value: str | None) -> bool:
    """Set one label of a row of ``remotes`` or ``repositories``; False: no such row."""
    query = _q["set_remote_label" if table == "remotes" else "set_repository_label"]
    return tx.execute(query, {"uuid": uuid, "key": key, "value": value}).fetchone() is not None


def unset_label(tx: Tx, table: str, uuid: UUID, key: str) -> str | None:
    """Remove one label; the value it had.

    Raises:
        NotFound: The label is not set.
    """
    query = _q["unset_remote_label" if table == "remotes" else "unset_repository_label"]
    row = tx.execute(query, {"uuid": uuid, "key": key}).fetchone()
    if row is None:
        raise NotFound("label", key)
    value: str | None = row["value"]
    return value


def find_version(tx: Tx, repository: UUID, number: int) -> Version | None:
    """One version of a repository, or nothing."""
    row = tx.execute(_q["find_version"], {"repository": repository, "number": number}).fetchone()
    return None if row is None else Version(**row)


def list_version_places(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, int]]:
    """By a version's own id: its repository and number; without those that are gone."""
    if not ids:
        return {}
    rows = tx.execute(_q["list_version_places"], {"ids": list(ids)})
    return {r["id"]: (r["repository_uuid"], r["number"]) for r in rows}


def _set_guards(held: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """Levels set by themselves, so that two changes of different guards both count."""
    changed = {**held, **(values.get("guards") or {})}
    return {name: level for name, level in changed.items() if level is not None}


def _with_json(values: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(values)
    for name in _JSON:
        if made.get(name) is not None:
            made[name] = Jsonb(made[name])
    return made
