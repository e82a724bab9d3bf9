"""The one place where the API is put together."""

from __future__ import annotations

from flask import Flask

from debfleet.bell import open_bell
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.passwords import Passwords
from debfleet.sealed import sealer_of
from debfleet_api.auth import authenticate
from debfleet_api.conventions import add_conventions
from debfleet_api.errors import add_error_table
from debfleet_api.hrefs import BASE
from debfleet_api.permissions import authorise
from debfleet_api.receiving import add_limits
from debfleet_api.routes import (
    alternates,
    copies,
    distributions,
    docs,
    domains,
    maintenance,
    publications,
    remotes,
    repositories,
    schedules,
    signing_services,
    status,
    syncs,
    task_groups,
    tasks,
    uploads,
    versions,
    workers,
)
from debfleet_api.routes.access import grants, groups, guards, roles, users
from debfleet_api.routes.content import artifacts, creates, labels, units
from debfleet_api.state import Api

_BLUEPRINTS = (
    status.blueprint,
    docs.blueprint,
    repositories.blueprint,
    syncs.blueprint,
    schedules.blueprint,
    versions.blueprint,
    remotes.blueprint,
    publications.blueprint,
    distributions.blueprint,
    signing_services.blueprint,
    tasks.blueprint,
    task_groups.blueprint,
    workers.blueprint,
    maintenance.blueprint,
    units.blueprint,
    creates.blueprint,
    labels.blueprint,
    artifacts.blueprint,
    uploads.blueprint,
    copies.blueprint,
    alternates.blueprint,
    domains.blueprint,
    users.blueprint,
    groups.blueprint,
    roles.blueprint,
    grants.blueprint,
    guards.blueprint,
)


def create_app(settings: Settings) -> Flask:
    """The API of one process; nothing is connected before the first request.

    Raises:
        ConfigError: A setting is missing or bad.
    """
    state = open_state(settings, Passwords())
    app = wired_app()
    app.extensions["debfleet"] = state
    return app


def open_state(settings: Settings, passwords: Passwords) -> Api:
    """What the requests of one process work with.

    Raises:
        ConfigError: A setting is missing or bad.
    """
    settings.need("database_url", "secret_key")
    # A request waits less long than a client does: 503 and a hint are better than silence.
    db = Database(settings.database_url, size=settings.api_threads, name="debfleet-api", patience=5)
    db.open()
    return Api(settings, db, sealer_of(settings), open_bell(settings), passwords)


def wired_app() -> Flask:
    """All but the state, which is another in each process."""
    app = routed_app()
    add_conventions(app)
    app.before_request(authenticate)
    add_limits(app)
    app.before_request(authorise)
    add_error_table(app)
    return app


def routed_app() -> Flask:
    """The routes alone: enough to say what there is."""
    app = Flask("debfleet_api", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = True
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint, url_prefix=BASE.rstrip("/"))
    return app
