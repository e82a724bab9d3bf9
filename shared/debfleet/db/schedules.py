"""Schedules: syncs at set times, each run exactly once by whichever sweeper leads.

``next_run`` is moved in the transaction that makes the task, judged by Postgres's clock, so that
two sweepers at once make one task. Runs that were missed are caught up by one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from debfleet import cron
from debfleet.db import sql, tasks
from debfleet.db.connect import Tx
from debfleet.errors import BadSchedule, NotFound
from debfleet.model import DOMAIN
from debfleet.syncs import Pair, new_sync

log = logging.getLogger(__name__)

_q = sql.load("schedules.sql")

SCHEDULE_COLUMNS = ("name", "cron", "time_zone", "options", "is_enabled")
"""What a user may set later; ``repository`` and ``created_by`` only when it is made."""

_TIMED_BY = ("cron", "time_zone", "is_enabled")


def add_schedule(tx: Tx, values: Mapping[str, Any]) -> UUID:
    """A new schedule; ``values`` holds SCHEDULE_COLUMNS, the repository's UUID and who asks.

    Raises:
        BadSchedule: Its expression or its zone is wrong.
        NotFound: The repository was deleted.
    """
    row = tx.execute(_q["add_schedule"], _parameters(tx, values)).fetchone()
    if row is None:
        raise NotFound("repository", values["repository"])
    uuid: UUID = row["uuid"]
    return uuid


def update_schedule(tx: Tx, uuid: UUID, values: Mapping[str, Any]) -> None:
    """Change some columns; what changes its times lets it run next after this moment.

    Raises:
        BadSchedule: Its expression or its zone is wrong.
        NotFound: It was deleted.
    """
    held = tx.execute(_q["lock_schedule"], {"uuid": uuid}).fetchone()
    if held is None:
        raise NotFound("schedule", uuid)
    whole = {**held, **values}
    parameters = _parameters(tx, whole)
    if all(held[name] == whole[name] for name in _TIMED_BY):
        parameters["next_run"] = held["next_run"]  # a run that is due stays due
    tx.execute(_q["update_schedule"], parameters)


def delete_schedule(tx: Tx, uuid: UUID) -> bool:
    """False: it was gone already. The task of its last run goes on."""
    return tx.execute(_q["delete_schedule"], {"uuid": uuid}).fetchone() is not None


def list_due(tx: Tx) -> list[int]:
    """Schedules whose time has come, the longest due first."""
    return [row["id"] for row in tx.execute(_q["list_due"])]


def run_due(tx: Tx, id: int) -> int | None:
    """Make the task of a run that is due, and move the next run, in one transaction.

    Returns:
        The task, to be started after the commit. None: another sweeper was first, the run before
        is not over, or nothing can be made of it; the row tells.
    """
    row = tx.execute(_q["hold_due"], {"id": id}).fetchone()
    if row is None:
        return None
    moved: dict[str, Any] = {"id": id, "now": row["now"]}
    try:
        moved["next_run"] = _next_run(row, row["now"])
    except BadSchedule as e:  # a zone that this machine does not know, say
        _refuse(tx, row, moved | {"next_run": None, "error": str(e)})
        return None
    if row["is_busy"]:
        log.warning("schedule.skipped", extra={"schedule": row["name"]})
        tx.execute(_q["record_skip"], moved)
        return None
    if row["remote"] is None:
        _refuse(tx, row, moved | {"error": "The repository has no remote to sync from."})
        return None
    asked = tasks.ask(tx, _task(row))
    tx.execute(_q["record_run"], moved | {"task": asked.id})
    log.info("schedule.run", extra={"schedule": row["name"], "task": str(asked.uuid)})
    return asked.id


def _refuse(tx: Tx, row: Mapping[str, Any], moved: Mapping[str, Any]) -> None:
    log.error("schedule.failed", extra={"schedule": row["name"], "error": moved["error"]})
    tx.execute(_q["record_error"], moved)


def _task(row: Mapping[str, Any]) -> tasks.NewTask:
    options = row["options"]
    publish = {"checkpoint": bool(options.get("checkpoint"))} if options.get("publish") else None
    pair = Pair(row["repository"], row["repository_uuid"], row["remote"], row["remote_uuid"])
    new = new_sync(
        pair,
        mirror=bool(options.get("mirror")),
        optimize=bool(options.get("optimize", True)),
        publish=publish,
    )
    return replace(
        new,
        shared=[*new.shared, DOMAIN],
        logging_cid=uuid4().hex,
        created_by=row["created_by"],
    )


def _parameters(tx: Tx, values: Mapping[str, Any]) -> dict[str, Any]:
    now = tx.execute(_q["now"]).fetchone()
    assert now is not None
    next_run = _next_run(values, now["now"])
    return {
        **values,
        "options": Jsonb(values["options"]),
        "next_run": next_run if values["is_enabled"] else None,
    }


def _next_run(row: Mapping[str, Any], after: datetime) -> datetime:
    return cron.list_runs(row["cron"], row["time_zone"], after, 1)[0]
