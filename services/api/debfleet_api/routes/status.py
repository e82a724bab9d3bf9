"""The root, the status page, liveness and readiness: what answers without a login."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from flask import Blueprint, Response, request
from psycopg_pool import PoolTimeout

from debfleet.db import processes
from debfleet.metrics_port import store_looks
from debfleet_api.answers import answer, no_content
from debfleet_api.hrefs import BASE, CONTENT, wire_time
from debfleet_api.openapi.operations import operation
from debfleet_api.shapes.base import Anything
from debfleet_api.shapes.tasks import Readiness, Status
from debfleet_api.state import api

blueprint = Blueprint("status", __name__)

# Whose API this is: clients turn their options on by these numbers.
VERSIONS = {"core": "3.123.1", "deb": "3.11.1"}

_ENDPOINTS = (
    "acs/deb/deb",
    "artifacts",
    "content",
    "contentguards",
    "contentguards/core/header",
    "contentguards/core/rbac",
    "distributions",
    "distributions/deb/apt",
    "domains",
    "groups",
    "orphans/cleanup",
    "publications",
    "publications/deb/apt",
    "publications/deb/verbatim",
    "remotes",
    "remotes/deb/apt",
    "repositories",
    "repositories/deb/apt",
    "repository_versions",
    "roles",
    "signing-services",
    "status",
    "task-groups",
    "task-schedules",
    "tasks",
    "uploads",
    "users",
    "workers",
    *(f"content/deb/{kind.endpoint}" for kind in CONTENT.values()),
)


@blueprint.get("/")
@operation("root", "get", {200: Anything}, id="root_get", is_open=True)
def root() -> Response:
    """Names of endpoints and where they are."""
    origin = request.host_url.rstrip("/")
    return answer({name: f"{origin}{BASE}{name}/" for name in _ENDPOINTS})


@blueprint.get("/status/")
@operation("status", "read", {200: Status}, is_open=True)
def status() -> Response:
    """Who is alive and what is reached; 200 also when the database is away."""
    try:
        with api().db.transaction() as tx:
            online: list[dict[str, Any]] | None = processes.list_online(tx)
    except (psycopg.OperationalError, PoolTimeout):
        online = None
    return answer(
        {
            "versions": _versions(),
            "online_workers": _shown(online, "worker"),
            "online_api_apps": _shown(online, "api"),
            "online_content_apps": _shown(online, "content"),
            "database_connection": {"connected": online is not None},
            # No part of debfleet uses Redis; clients expect the key.
            "redis_connection": {"connected": False},
            "storage": _storage(),
            "content_settings": {
                "content_origin": api().settings.content_origin or None,
                "content_path_prefix": "/pulp/content/",
            },
            "domain_enabled": False,
        }
    )


@blueprint.get("/livez/")
@operation("livez", "read", {200: None}, is_open=True)
def livez() -> Response:
    """200 and nothing else: this process answers."""
    response = no_content()
    response.status_code = 200
    return response


@blueprint.get("/readyz/")
@operation("readyz", "read", {200: Readiness, 503: Readiness}, is_open=True)
def readyz() -> Response:
    """200 where requests can be answered; 503 where the database or the store is away."""
    try:
        with api().db.transaction() as tx:
            tx.execute("SELECT 1")
        is_connected = True
    except (psycopg.OperationalError, PoolTimeout):
        is_connected = False
    state = {"database": is_connected, "store": store_looks(api().settings.store_url)}
    return answer({"ready": all(state.values()), **state}, 200 if all(state.values()) else 503)


def _versions() -> list[dict[str, Any]]:
    known = (
        ("core", VERSIONS["core"], "pulpcore", "pulpcore.app"),
        ("deb", VERSIONS["deb"], "pulp_deb", "pulp_deb.app"),
        ("debfleet", version("debfleet"), "debfleet", "debfleet"),
    )
    return [
        {
            "component": component,
            "version": number,
            "package": package,
            "module": module,
            "domain_compatible": True,
        }
        for component, number, package, module in known
    ]


def _shown(online: list[dict[str, Any]] | None, kind: str) -> list[dict[str, Any]]:
    return [
        {
            "name": p["name"],
            "last_heartbeat": wire_time(p["last_heartbeat"]),
            "versions": wire_versions(p["versions"]),
        }
        for p in online or ()
        if p["kind"] == kind
    ]


def wire_versions(own: Mapping[str, str]) -> dict[str, str]:
    """The components that clients look for, and our own."""
    return {**VERSIONS, **own}


def _storage() -> dict[str, int] | None:
    """Bytes of the disk that the store is on; None where it is no local directory."""
    parts = urlsplit(api().settings.store_url)
    if parts.scheme != "file":
        return None
    try:
        usage = shutil.disk_usage(unquote(parts.path))
    except OSError:
        return None
    return {"total": usage.total, "used": usage.used, "free": usage.free}
