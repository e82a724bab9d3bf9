"""One-row changes that the API does at once and a worker does later.

A change is what Pulp answers 202 but does at once: the API runs it in the request's transaction
when its locks are free, and a worker runs the same function when they become so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from debfleet.db import alternates, distributions, publications, repositories, versions
from debfleet.db.connect import Tx
from debfleet.errors import FinalError, NameTaken, NotFound
from debfleet.model import DISTRIBUTION, prn

# What a user calls a row of the table.
_WORDS = {
    "remotes": "remote",
    "repositories": "repository",
    "distributions": "distribution",
    "alternate_sources": "alternate content source",
}


@dataclass(frozen=True, slots=True)
class Change:
    """The making, an update or the deletion of one row."""

    table: str  # remotes, repositories, distributions or alternate_sources
    action: str  # update or delete; create: a distribution
    uuid: UUID  # what is created has its own already
    values: dict[str, Any] = field(default_factory=dict)  # by column; sealed ones as bytes


def change_args(change: Change) -> dict[str, Any]:
    """A change as a task keeps it; ``read_change`` reads it."""
    values = {
        name: value.hex() if isinstance(value, bytes) else _plain(value)
        for name, value in change.values.items()
    }
    return {
        "table": change.table,
        "action": change.action,
        "uuid": str(change.uuid),
        "values": values,
    }


def read_change(args: Mapping[str, Any]) -> Change:
    """The change that a task was asked for."""
    values = dict(args["values"])
    for name in repositories.SEALED:
        if values.get(name) is not None:
            values[name] = bytes.fromhex(values[name])
    return Change(args["table"], args["action"], UUID(args["uuid"]), values)


def apply_change(tx: Tx, change: Change) -> dict[str, Any]:
    """Do it.

    Returns:
        The task's result: ``{"snapshot": table, "row": …}`` after an update or a creation, and
        ``{"deleted": {table: rows}}`` after a deletion. The API gives them their wire names.

    Raises:
        NameTaken, DistributionClash: The new name belongs to another row.
        FinalError: The row to update is gone.
    """
    if change.action == "delete":
        return {"deleted": _delete(tx, change)}
    if change.action == "create":
        row = distributions.add_distribution(tx, change.uuid, change.values)
        return snapshot(change.table, row)
    try:
        row = _update(tx, change)
    except psycopg.errors.UniqueViolation:
        raise NameTaken(_WORDS[change.table], str(change.values.get("name"))) from None
    except NotFound:
        word = _WORDS[change.table]
        raise FinalError(f"The {word} was deleted before this change could be made.") from None
    return snapshot(change.table, row)


def list_created(change: Change) -> list[str]:
    """The PRN of what a change has made."""
    return [prn(DISTRIBUTION, change.uuid)] if change.action == "create" else []


def snapshot(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it; of a sealed column only whether it is set."""
    kept = {k: v is not None if k in repositories.SEALED else _plain(v) for k, v in row.items()}
    return {"snapshot": table, "row": kept}


def _update(tx: Tx, change: Change) -> dict[str, Any]:
    if change.table == "remotes":
        return repositories.update_remote(tx, change.uuid, change.values)
    if change.table == "distributions":
        return distributions.update_distribution(tx, change.uuid, change.values)
    if change.table == "alternate_sources":
        return alternates.update_source(tx, change.uuid, change.values)
    row = repositories.update_repository(tx, change.uuid, change.values)
    if change.values.get("retain_checkpoints") is not None:
        publications.retain_checkpoints(tx, row["id"])
    if change.values.get("retain_repo_versions") is not None:
        versions.retain_versions(tx, row["id"])
    return row


def _delete(tx: Tx, change: Change) -> dict[str, int]:
    if change.table == "remotes":
        return {"remotes": int(repositories.delete_remote(tx, change.uuid))}
    if change.table == "distributions":
        return {"distributions": int(distributions.delete_distribution(tx, change.uuid))}
    if change.table == "alternate_sources":
        return {"alternate_sources": int(alternates.delete_source(tx, change.uuid))}
    return repositories.delete_repository(tx, change.uuid)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
