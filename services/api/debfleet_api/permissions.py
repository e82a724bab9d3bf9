"""May they? One table says what each endpoint asks of a user; superusers may do everything.

A user's permissions come from the roles granted to them or to their groups, on one object or on
all (``debfleet.db.access``). What a user may not even read does not exist for them: 404, and no
line in any list. An endpoint that the table does not name is for superusers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import g, request
from psycopg import sql

from debfleet.db import access, holdings, uploads
from debfleet.db.access import HEADER_GUARD, RBAC_GUARD
from debfleet.db.connect import Tx
from debfleet.identity import UnitId
from debfleet.model import DISTRIBUTION, prn
from debfleet_api.errors import Refusal, no_such
from debfleet_api.filters import TRUE, Condition, literal
from debfleet_api.hrefs import (
    PUBLICATION,
    REMOTE,
    REPOSITORY,
    TASK,
    VERBATIM,
    find_uuid,
)
from debfleet_api.state import api, current_user

_FORBIDDEN = {"detail": "You do not have permission to perform this action."}


@dataclass(frozen=True, slots=True)
class Needs:
    """A permission that an endpoint asks for."""

    model: str
    action: str  # view, add, change, delete, sync, …
    key: str | None = "key"  # the part of the path that names the object; None: there is none


LABELS = "core.content_labels"
"""Of content: they are no object, and one permission is for all of them."""

ANYBODY = ()
"""Every user; what they see is narrowed down by the route with ``visible``."""

ADMINISTRATORS = frozenset(
    {
        "alternates",
        "artifacts",
        "uploads",
        "maintenance",
        "users",
        "groups",
        "roles",
        "grants",
        "schedules",
        "task_groups",
        "tasks",
    }
)
"""Blueprints whose other endpoints are for superusers alone; a test sees that none is forgotten."""

_OBJECT = "object"  # of the model that the route itself names


def _resource(blueprint: str, name: str, model: str) -> dict[str, tuple[Needs, ...]]:
    """The endpoints that remotes, repositories and distributions have alike."""
    return {
        f"{blueprint}.list_{blueprint}": ANYBODY,
        f"{blueprint}.list_all_{blueprint}": ANYBODY,
        f"{blueprint}.add_{name}": (Needs(model, "add", None),),
        f"{blueprint}.read_{name}": (Needs(model, "view"),),
        f"{blueprint}.replace_{name}": (Needs(model, "change"),),
        f"{blueprint}.update_{name}": (Needs(model, "change"),),
        f"{blueprint}.delete": (Needs(model, "delete"),),
        f"{blueprint}.set_label": (Needs(model, "change"),),
        f"{blueprint}.unset_label": (Needs(model, "change"),),
    }


POLICY: dict[str, tuple[Needs, ...]] = {
    **_resource("repositories", "repository", REPOSITORY),
    **_resource("remotes", "remote", REMOTE),
    **_resource("distributions", "distribution", DISTRIBUTION),
    "syncs.sync": (Needs(REPOSITORY, "sync"),),
    "syncs.modify": (Needs(REPOSITORY, "modify_content"),),
    "versions.list_versions": (Needs(REPOSITORY, "view"),),
    "versions.list_all_versions": ANYBODY,
    "versions.read_version": (Needs(REPOSITORY, "view"),),
    "versions.delete_version": (Needs(REPOSITORY, "delete_version"),),
    "versions.repair_version": (Needs(REPOSITORY, "repair"),),
    "publications.list_publications": ANYBODY,
    "publications.list_publications_of_kind": ANYBODY,
    "publications.publish": (Needs(PUBLICATION, "add", None),),
    "publications.publish_verbatim": (Needs(VERBATIM, "add", None),),
    "publications.read_publication": (Needs(PUBLICATION, "view"),),
    "publications.delete_publication": (Needs(PUBLICATION, "delete"),),
    "signing_services.list_services": ANYBODY,
    "signing_services.read_service": ANYBODY,
    "tasks.list_tasks": ANYBODY,
    "tasks.read_task": (Needs(TASK, "view"),),
    "tasks.read_report": (Needs(TASK, "view"),),
    "tasks.cancel_task": (Needs(TASK, "change"),),
    "tasks.delete_task": (Needs(TASK, "delete"),),
    "domains.list_domains": ANYBODY,
    "domains.read_domain": ANYBODY,
    "workers.list_workers": ANYBODY,
    "workers.read_worker": ANYBODY,
    "content.list_content": ANYBODY,
    "content.list_kind": ANYBODY,
    "content.read_content": ANYBODY,
    "labels.set_label": (Needs(LABELS, "manage", None),),
    "labels.unset_label": (Needs(LABELS, "manage", None),),
    # These ask by themselves, once they know into which repository.
    "creates.create_package": ANYBODY,
    "creates.create_release": ANYBODY,
    "creates.create_architecture": ANYBODY,
    "creates.create_component": ANYBODY,
    "creates.create_link": ANYBODY,
    "creates.create_installer_package": ANYBODY,
    "creates.create_generic": ANYBODY,
    "copies.copy_content": ANYBODY,
    # Everybody sees their own; commit, which makes an artifact, is for administrators.
    "uploads.list_uploads": ANYBODY,
    "uploads.add_upload": ANYBODY,
    "uploads.read_upload": ANYBODY,
    "uploads.put_chunk": ANYBODY,
    "uploads.delete_upload": ANYBODY,
    "grants.my_permissions": (Needs(_OBJECT, "view"),),
    "grants.list_roles": (Needs(_OBJECT, "manage_roles"),),
    "grants.add_role": (Needs(_OBJECT, "manage_roles"),),
    "grants.remove_role": (Needs(_OBJECT, "manage_roles"),),
    "guards.list_all_guards": ANYBODY,
    "guards.list_guards": ANYBODY,
    "guards.add_guard": (Needs(RBAC_GUARD, "add", None),),
    "guards.read_guard": (Needs(RBAC_GUARD, "view"),),
    "guards.replace_guard": (Needs(RBAC_GUARD, "change"),),
    "guards.update_guard": (Needs(RBAC_GUARD, "change"),),
    "guards.delete_guard": (Needs(RBAC_GUARD, "delete"),),
}

_WORDS = {
    REPOSITORY: "AptRepository",
    REMOTE: "AptRemote",
    DISTRIBUTION: "AptDistribution",
    PUBLICATION: "AptPublication",
    VERBATIM: "VerbatimPublication",
    TASK: "Task",
    RBAC_GUARD: "RBACContentGuard",
    HEADER_GUARD: "HeaderContentGuard",
}


def authorise() -> None:
    """Before each request, after the login: 403, or 404 for what the user may not read."""
    user = g.get("user")
    if user is None or user.is_superuser or request.endpoint is None:
        return
    needed = POLICY.get(request.endpoint)
    if needed is None:
        raise Refusal(403, _FORBIDDEN)
    for needs in needed:
        require(needs.model, needs.action, _object(needs))


def require(model: str, action: str, uuid: UUID | None) -> None:
    """Refuse unless the user may do this to the object; with no object, to all of them.

    Raises:
        Refusal: 404 where they may not even read it, else 403.
    """
    user = current_user()
    if user.is_superuser:
        return
    model = _actual(model)
    with api().db.transaction() as tx:
        held = list_held(tx, model, uuid)
    if uuid is not None and codename(model, "view") not in held:
        raise no_such(_WORDS[model])
    if codename(model, action) not in held:
        raise Refusal(403, _FORBIDDEN)


def may(model: str, action: str) -> bool:
    """Whether the user may do this to all objects of a model."""
    if current_user().is_superuser:
        return True
    with api().db.transaction() as tx:
        return codename(model, action) in list_held(tx, model, None)


def sees(tx: Tx, model: str, uuid: UUID) -> bool:
    """Whether the user may read the object."""
    if current_user().is_superuser:
        return True
    return codename(model, "view") in list_held(tx, model, uuid)


def owned(tx: Tx, model: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row of a new object, which its maker owns from now on."""
    user = current_user()
    if not user.is_superuser:
        access.grant_owner(tx, user.id, model, prn(model, row["uuid"]))
    return row


def visible(tx: Tx, model: str, column: sql.Composable) -> Condition:
    """True for the rows that the user may read.

    Args:
        column: The objects' uuids.
    """
    uuids = list_visible(tx, model)
    if uuids is None:
        return TRUE
    return sql.SQL("{} = ANY({}::uuid[])").format(column, literal([str(u) for u in uuids]))


def list_visible(tx: Tx, model: str) -> list[UUID] | None:
    """What of a model the user may read; None: all of it."""
    user = current_user()
    if user.is_superuser:
        return None
    objects = access.list_objects(tx, user.id, codename(model, "view"))
    if objects is None:
        return None
    start = f"prn:{model}:"
    found = (find_uuid(o.removeprefix(start)) for o in objects if o.startswith(start))
    return [uuid for uuid in found if uuid is not None]


def visible_tasks(tx: Tx) -> Condition:
    """The tasks that the user asked for or was given a role on, or all."""
    granted = list_visible(tx, TASK)
    if granted is None:
        return TRUE
    own = sql.SQL("t.created_by = {}").format(literal(current_user().id))
    if not granted:
        return own
    return sql.SQL("({} OR t.uuid = ANY({}::uuid[]))").format(
        own, literal([str(u) for u in granted])
    )


def require_narrowed(tx: Tx, is_narrowed: bool) -> None:
    """Refuse a list of content that names no version: all content is for who may read all."""
    if not is_narrowed and list_visible(tx, REPOSITORY) is not None:
        raise Refusal(403, {"detail": "Name a repository_version that you may read."})


def sees_unit(tx: Tx, unit: UnitId) -> bool:
    """Whether a version of some repository that the user may read holds the unit."""
    seen = list_visible(tx, REPOSITORY)
    if seen is None:
        return True
    ids = access.list_repository_ids(tx, seen)
    return any(repository in ids for repository, _ in holdings.find_versions(tx, [unit]))


def list_unseen(tx: Tx, units: Sequence[UnitId]) -> set[UnitId]:
    """Those of the units that no repository which the user may read holds."""
    seen = list_visible(tx, REPOSITORY)
    if seen is None or not units:
        return set()
    repositories = sorted(access.list_repository_ids(tx, seen))
    return set(units) - holdings.list_held(tx, units, repositories)


def sees_file(tx: Tx, sha256: bytes) -> bool:
    """Whether a repository that the user may read has the file in some version."""
    seen = list_visible(tx, REPOSITORY)
    if seen is None:
        return True
    return not access.list_repository_ids(tx, seen).isdisjoint(uploads.list_holders(tx, sha256))


def require_somewhere(tx: Tx, model: str, action: str) -> None:
    """Refuse who may not do this to any object at all.

    Raises:
        Refusal: 403.
    """
    user = current_user()
    if not user.is_superuser and access.list_objects(tx, user.id, codename(model, action)) == []:
        raise Refusal(403, _FORBIDDEN)


def is_own(user: int | None) -> bool:
    """Whether what belongs to this user may be used by the one who asks."""
    return current_user().is_superuser or user == current_user().id


def codename(model: str, action: str) -> str:
    """deb.aptrepository, view → deb.view_aptrepository."""
    app, _, name = model.partition(".")
    if action == "delete_version":  # the one that is called otherwise
        return f"{app}.delete_{name}_version"
    return f"{app}.{action}_{name}"


def list_held(tx: Tx, model: str, uuid: UUID | None) -> set[str]:
    """What the user, no superuser, may do to an object; with None, to all of a model."""
    user = current_user()
    held = set(access.list_permissions(tx, user.id, None if uuid is None else prn(model, uuid)))
    if model == TASK and uuid is not None and access.find_asker(tx, uuid) == user.id:
        held |= {codename(TASK, action) for action in ("view", "change", "delete")}
    return held


def _object(needs: Needs) -> UUID | None:
    if needs.key is None:
        return None
    uuid = find_uuid(_view_args()[needs.key])
    if uuid is None:
        raise no_such(_WORDS[_actual(needs.model)])
    return uuid


def _actual(model: str) -> str:
    """Publications and guards of two kinds share their routes, roles all of theirs."""
    kind = _view_args().get("kind")
    if model == _OBJECT:
        return str(_view_args()["model"])
    if model == PUBLICATION and kind == "verbatim":
        return VERBATIM
    if model == RBAC_GUARD and kind == "header":
        return HEADER_GUARD
    return model


def _view_args() -> dict[str, Any]:
    return request.view_args or {}
