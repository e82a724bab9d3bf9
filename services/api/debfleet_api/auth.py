"""Who is asking, and may they."""

from __future__ import annotations

from flask import g, request

from debfleet.db.users import User, find_user
from debfleet_api.errors import Refusal
from debfleet_api.state import api

OPEN_ENDPOINTS = frozenset({"status.root", "status.status", "status.livez", "status.readyz"})
OPEN_BLUEPRINTS = frozenset({"docs"})
"""What answers without a login."""


def authenticate() -> None:
    """Before each request: HTTP Basic, or 401."""
    if request.endpoint is None or request.endpoint in OPEN_ENDPOINTS:
        return
    if request.blueprint in OPEN_BLUEPRINTS:
        return
    given = request.authorization
    if given is None or given.type != "basic":
        raise _refused("Authentication credentials were not provided.")
    user = _find(given.username or "")
    if not api().passwords.is_right(user, given.password or "") or user is None:
        raise _refused("Invalid username/password.")
    g.user = user


def _find(username: str) -> User | None:
    if "\0" in username:
        return None
    with api().db.single() as tx:
        return find_user(tx, username)


def _refused(detail: str) -> Refusal:
    # A browser's script gets a scheme that makes no browser ask for a password.
    is_script = request.headers.get("X-Requested-With") == "XMLHttpRequest"
    scheme = "xBasic" if is_script else "Basic"
    return Refusal(401, {"detail": detail}, {"WWW-Authenticate": f'{scheme} realm="api"'})
