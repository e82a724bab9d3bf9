"""What tasks can be found and ordered by."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import sql

from debfleet.db import repositories
from debfleet.db.connect import Tx
from debfleet.model import prn
from debfleet_api.filters import (
    FALSE,
    TRUE,
    Condition,
    Filter,
    Typed,
    choice_filters,
    identity_filters,
    literal,
    read_flag,
    read_ref,
    text_filters,
    time_filters,
    words,
)
from debfleet_api.hrefs import TASK, TASK_GROUP, VERSION, WORKER

_STATES = ("waiting", "skipped", "running", "completed", "failed", "canceled", "canceling")
ORDERINGS: dict[str, Condition] = {
    wire: sql.Identifier("t", column)
    for wire, column in (
        ("pulp_created", "created"), ("pulp_last_updated", "updated"), ("pulp_id", "uuid"),
        ("pk", "uuid"), ("state", "state"), ("name", "name"), ("logging_cid", "logging_cid"),
        ("unblocked_at", "unblocked"), ("started_at", "started"), ("finished_at", "finished"),
    )
}  # fmt: skip


def task_filters(tx: Tx) -> dict[str, Filter]:
    """By parameter; ``t`` is the task, ``p`` its parent and ``g`` its group."""
    column = {c: sql.Identifier("t", c) for c in ("state", "name", "logging_cid", "uuid")}
    name = text_filters("name", column["name"])
    cid = text_filters("logging_cid", column["logging_cid"])
    made: dict[str, Filter] = {
        **choice_filters("state", column["state"], _STATES),
        **{k: name[k] for k in ("name", "name__contains", "name__in")},
        "name__ne": lambda v: sql.SQL("t.name <> {}").format(literal(v)),
        **{k: cid[k] for k in ("logging_cid", "logging_cid__contains")},
        **identity_filters(TASK, column["uuid"]),
        "parent_task": lambda v: sql.SQL("p.uuid = {}").format(literal(read_ref(v, TASK).uuid)),
        "child_tasks": lambda v: sql.SQL(
            "t.id IN (SELECT c.parent FROM tasks c WHERE c.uuid = {})"
        ).format(literal(read_ref(v, TASK).uuid)),
        "task_group": lambda v: sql.SQL("g.uuid = {}").format(
            literal(read_ref(v, TASK_GROUP).uuid)
        ),
        "minimal": Typed(
            lambda v: TRUE if read_flag(v) in (True, False) else FALSE, {"type": "boolean"}
        ),
        "worker": lambda v: sql.SQL("t.worker = {}").format(literal(read_ref(v, WORKER).uuid)),
        "created_resources": lambda v: _overlaps("created_resources", [_resource(tx, v)]),
    }
    for wire, column_name in _TIMES.items():
        made |= time_filters(wire, sql.Identifier("t", column_name))
    for which in ("reserved", "exclusive", "shared"):
        made[f"{which}_resources"] = _reserving(tx, which, one=True)
        made[f"{which}_resources__in"] = _reserving(tx, which, one=False)
    return made


def _is_flag(value: str) -> Condition:
    """No condition: the route reads the value, once it is known to be one."""
    read_flag(value)
    return TRUE


_TIMES = {
    "pulp_created": "created",
    "started_at": "started",
    "finished_at": "finished",
    "unblocked_at": "unblocked",
}


def _reserving(tx: Tx, which: str, *, one: bool) -> Filter:
    def make(value: str) -> Condition:
        names = [_resource(tx, v) for v in ([value] if one else words(value))]
        shared = [f"shared:{n}" for n in names]
        wanted = {"exclusive": names, "shared": shared, "reserved": names + shared}[which]
        return _overlaps("reserved", wanted)

    return make


def _overlaps(column: str, names: Sequence[str]) -> Condition:
    return sql.SQL("{} && {}::text[]").format(sql.Identifier("t", column), literal(list(names)))


def _resource(tx: Tx, value: str) -> str:
    """The PRN of what a filter names; a version's own id is looked up."""
    if value.startswith("pdrn:"):
        return value
    ref = read_ref(value)
    if ref.number is None:
        return prn(ref.model, ref.uuid)
    version = repositories.find_version(tx, ref.uuid, ref.number)
    return prn(VERSION, version.id) if version else prn(VERSION, UUID(int=0))
