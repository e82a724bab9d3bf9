"""Ask for tasks: the row and its first job in one transaction, then ring.

What a task's args hold, by its kind (the worker reads them as ``Job.task_args``):

=============== ====================================================================
sync            repository, remote (ids), mirror, optimize; publish (of a schedule: what of the
                publication differs from the defaults)
refresh         as a sync, of no repository (null); alternate (id of an alternate content source)
change          table, action, uuid, values (``debfleet.changes``)
modify          repository (id), base_version (number or null), add and remove (lists of
                [kind, id, list]; remove may be "*"), overwrite; place ([distribution, component])
                where packages are added to, or leave, just that
delete_version  repository (id), number
publish         repository (id), number, kind (apt or verbatim), simple, structured, checkpoint,
                layout, signing_service (uuid or null), publish_upstream_release_fields
                and excluded_package_metadata_fields (null: as the repository),
                publish_legacy_release_files
repair          repository (id), number, verify_checksums; null of all files
reclaim         repositories (ids), kept (versions: [repository id, number])
orphans         protection_minutes, units (list of [kind, id, list] or null)
purge           finished_before (ISO time), states
commit          upload (uuid), sha256 (hex)
add_file        kind, name (for messages), source ({artifact (hex), size}, {upload (uuid)} or
                {url}), relative_path (or null), repository (id or null), overwrite; of packages
                distribution and component
copy            entries ([{source (repository id), number, target (repository id), base_number (or
                null), units (list of [kind, id, list] or null)}]), structured
add_unit        unit ({kind, fields}), repository (id or null), overwrite
=============== ====================================================================
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from flask import Response, g, request

from debfleet import locks
from debfleet.changes import Change, apply_change, change_args, list_created
from debfleet.db import access, task_groups, tasks
from debfleet.db.connect import Tx
from debfleet.db.tasks import Asked, NewTask
from debfleet.errors import DistributionClash, NameTaken
from debfleet.model import DISTRIBUTION, DOMAIN, REMOTE, REPOSITORY, Ring, prn
from debfleet_api.answers import answer
from debfleet_api.errors import Refusal, field_errors, no_such
from debfleet_api.hrefs import ALTERNATE, TASK, TASK_GROUP, href
from debfleet_api.receiving import recorded
from debfleet_api.state import api, current_user

log = logging.getLogger(__name__)

_MODELS = {
    "remotes": REMOTE,
    "repositories": REPOSITORY,
    "distributions": DISTRIBUTION,
    "alternate_sources": ALTERNATE,
}
_NAMES = {
    "create": "pulpcore.app.tasks.base.general_create",
    "update": "pulpcore.app.tasks.base.ageneral_update",
    "delete": "pulpcore.app.tasks.base.ageneral_delete",
}
_UNIQUE = "This field must be unique."


def ask(new: NewTask, also: Callable[[Tx, int], None] | None = None) -> Response:
    """202 and the task's href; it starts as soon as nothing older stands in its way.

    Args:
        also: Run in the same transaction with the new task's id.
    """
    new = _signed(new)
    if also is None and new.idempotency_key is None:
        asked = api().db.run(lambda tx: tasks.ask(tx, new, at_once=True), single=True)
    else:
        asked = recorded(lambda tx: _ask(tx, new, also))
    _start(asked)
    log.info("task.asked", extra={"task": str(asked.uuid), "kind": new.kind})
    return accepted(asked.uuid)


def ask_group(new: NewTask, description: str) -> Response:
    """202 and the href of a group that this one task is in."""
    new = _signed(new)

    def grouped(tx: Tx, task: int) -> None:
        task_groups.add_group(tx, description, [task])

    asked = recorded(lambda tx: _ask(tx, new, grouped))
    _start(asked)
    with api().db.transaction() as tx:
        group = task_groups.find_group_of(tx, asked.id)
    if group is None:
        raise no_such("TaskGroup")  # it was forgotten this very moment
    return answer({"task_group": href(TASK_GROUP, group)}, 202)


def change(wanted: Change) -> Response:
    """202 and a task that is over already, where its locks were free."""
    new = _signed(
        NewTask(
            kind="change",
            name=_NAMES[wanted.action],
            args=change_args(wanted),
            exclusive=[prn(_MODELS[wanted.table], wanted.uuid)] * (wanted.action != "create"),
        )
    )
    try:
        asked, is_over = api().db.run(lambda tx: _change(tx, new, wanted))
    except NameTaken:
        raise field_errors({"name": [_UNIQUE]}) from None
    except DistributionClash as e:
        raise field_errors(_clash(e)) from None
    if not is_over:
        _start(asked)
    log.info("task.asked", extra={"task": str(asked.uuid), "kind": new.kind})
    return accepted(asked.uuid)


def accepted(task: UUID) -> Response:
    """202 with that key alone: pulp-glue waits for the task only then."""
    return answer({"task": href(TASK, task)}, 202)


def ring(rings: Sequence[Ring]) -> None:
    """After the commit; a broker that is away costs time, never the request."""
    if rings:
        api().bell.ring(rings)


def _signed(new: NewTask) -> NewTask:
    """The task as this request asks for it: who, under which id, and with which key."""
    key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
    user = current_user()
    # Of any length, and never seen by another user.
    hashed = hashlib.sha256(f"{user.id}:{key}".encode()).hexdigest() if key else None
    return replace(
        new,
        shared=[*new.shared, DOMAIN],
        logging_cid=g.correlation_id,
        created_by=user.id,
        idempotency_key=hashed,
        idempotency_request=_fingerprint() if key else None,
    )


def _fingerprint() -> str | None:
    """What the client asked for, however its JSON was laid out; none for a form.

    Not what we made of it: "the latest version" is another number when a request comes again.
    """
    body = request.get_json(silent=True) if request.mimetype == "application/json" else None
    if body is None and request.content_length:
        return None
    text = json.dumps([request.path.rstrip("/"), body or {}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _ask(tx: Tx, new: NewTask, also: Callable[[Tx, int], None] | None) -> Asked:
    asked = tasks.ask(tx, new, at_once=True)
    if not asked.is_new:
        _check_same(tx, asked, new)
    elif also is not None:
        also(tx, asked.id)
    return asked


def _check_same(tx: Tx, asked: Asked, new: NewTask) -> None:
    """One key, one request."""
    if not tasks.is_same_request(tx, asked, new):
        detail = "This Idempotency-Key was used for another request less than a day ago."
        raise Refusal(409, {"detail": detail})


def _start(asked: Asked) -> None:
    # In a transaction of its own: whoever ends meanwhile sees our claims, or we see its end.
    ring(asked.rings or api().db.run(lambda tx: tasks.start(tx, asked.id)))


def _change(tx: Tx, new: NewTask, wanted: Change) -> tuple[Asked, bool]:
    """Do it here if nothing stands in the way; then nobody ever sees it wait."""
    if new.idempotency_key is not None:
        found = tasks.find_asked(tx, new.idempotency_key)
        if found is not None:
            _check_same(tx, found, new)
            return found, True
    locks.take_turn(tx, new.exclusive, new.shared)
    if locks.are_free(tx, new.exclusive, new.shared):
        result = apply_change(tx, wanted)
        if wanted.action == "create":
            access.grant_owner(tx, current_user().id, DISTRIBUTION, prn(DISTRIBUTION, wanted.uuid))
        return tasks.add_done(tx, new, list_created(wanted), result), True
    return tasks.ask(tx, new), False


def _clash(error: DistributionClash) -> dict[str, list[str] | dict[str, str]]:
    found: dict[str, list[str] | dict[str, str]] = {}
    if error.has_name:
        found["name"] = [_UNIQUE]
    if error.has_path:
        found["base_path"] = [_UNIQUE]
    elif error.has_overlap:
        found["base_path"] = {"base_path": "Overlaps with an existing distribution."}
    return found
