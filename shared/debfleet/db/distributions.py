"""Rows of distributions: a base path each, and what is to be served there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from debfleet.db import publications, sql
from debfleet.db.connect import Tx
from debfleet.errors import DistributionClash, FinalError, NotFound

_Q = sql.load("distributions.sql")

TARGETS = {
    "repository": "repository_uuid",
    "version": "version_uuid",
    "publication": "publication_uuid",
}
"""What a distribution may serve, at most one of them, and the row's key for the UUID it holds."""

DISTRIBUTION_COLUMNS = (
    "name",
    "base_path",
    "labels",
    *TARGETS,
    "content_guard",
    "hidden",
    "checkpoint",
)
"""What a user may set; the targets are UUIDs here (of a version its own)."""


def find_distribution_row(tx: Tx, uuid: UUID) -> dict[str, Any] | None:
    """Every column of a distribution, with the UUIDs of its target, or nothing."""
    return tx.execute(_Q["find_distribution_row"], {"uuid": uuid}).fetchone()


def add_distribution(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """A new distribution, which serves from now; ``values`` holds DISTRIBUTION_COLUMNS.

    Raises:
        DistributionClash: Its name or its base path is taken.
        FinalError: What it is to serve is gone.
    """
    _check(tx, uuid, values)
    added = tx.execute(_Q["add_distribution"], _parameters(uuid, values)).fetchone()
    assert added is not None
    return _written(tx, uuid, values, added["id"])


def update_distribution(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    """Change some columns; what it serves is switched in the same moment.

    Raises:
        NotFound: It was deleted.
        DistributionClash, FinalError: As with ``add_distribution``.
    """
    locked = tx.execute(_Q["lock_distribution"], {"uuid": uuid}).fetchone()
    held = find_distribution_row(tx, uuid)
    if locked is None or held is None:
        raise NotFound("distribution", uuid)
    whole = {**held, **targets(held), **values}
    _check(tx, uuid, whole)
    tx.execute(_Q["update_distribution"], _parameters(uuid, whole))
    return _written(tx, uuid, whole, locked["id"])


def targets(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says it serves, by the names that ``update_distribution`` takes."""
    return {name: row[key] for name, key in TARGETS.items()}


def delete_distribution(tx: Tx, uuid: UUID) -> bool:
    """False: it was gone already. Nothing is served at its base path from now."""
    return tx.execute(_Q["delete_distribution"], {"uuid": uuid}).fetchone() is not None


def set_label(tx: Tx, uuid: UUID, key: str, value: str | None) -> bool:
    """Set one label; False: no such distribution."""
    given = {"uuid": uuid, "key": key, "value": value}
    return tx.execute(_Q["set_label"], given).fetchone() is not None


def unset_label(tx: Tx, uuid: UUID, key: str) -> str | None:
    """Remove one label; the value it had.

    Raises:
        NotFound: The label is not set.
    """
    row = tx.execute(_Q["unset_label"], {"uuid": uuid, "key": key}).fetchone()
    if row is None:
        raise NotFound("label", key)
    value: str | None = row["value"]
    return value


def list_present(tx: Tx, uuids: Sequence[UUID]) -> set[UUID]:
    """Which of these publications and distributions there are."""
    if not uuids:
        return set()
    return {row["uuid"] for row in tx.execute(_Q["list_present"], {"uuids": list(uuids)})}


def list_users(tx: Tx, repository: int, number: int) -> list[str]:
    """Names of the distributions that serve this version, or a publication of it."""
    rows = tx.execute(_Q["find_users"], {"repository": repository, "number": number})
    return [str(row["name"]) for row in rows]


def _check(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> None:
    tx.execute(_Q["lock_base_paths"])
    name, path = values["name"], values["base_path"]
    wanted = {"uuid": uuid, "name": name, "base_path": path}
    rows = tx.execute(_Q["find_clashes"], wanted).fetchall()
    if rows:
        raise DistributionClash(
            name=name if any(r["same_name"] for r in rows) else None,
            base_path=path if any(r["same_path"] or r["overlaps"] for r in rows) else None,
            is_same_path=any(r["same_path"] for r in rows),
        )


def _parameters(uuid: UUID, values: Mapping[str, Any]) -> dict[str, Any]:
    # Without a guard: the version before this one asked for it, and knew none.
    given = {"content_guard": None} | {n: values[n] for n in DISTRIBUTION_COLUMNS if n in values}
    return {**given, "uuid": uuid, "labels": Jsonb(values["labels"])}


def _written(tx: Tx, uuid: UUID, values: Mapping[str, Any], id: int) -> dict[str, Any]:
    """The row as it is now, served from now."""
    publications.switch_served(tx, distribution=id)
    row = find_distribution_row(tx, uuid)
    assert row is not None
    for name, value in targets(row).items():
        if value is None and values[name] is not None:
            raise FinalError(f"The {name} that it is to serve was deleted meanwhile.")
    return row
