"""The API as a process: gunicorn with threads, heartbeats, a clean end."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import Any

import psycopg
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from psycopg_pool import PoolTimeout

from debfleet.config import Settings
from debfleet.db import users
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.db.processes import end_process
from debfleet.errors import ConfigError
from debfleet.metrics_port import MetricsPort, begin_metrics, listen, store_looks
from debfleet.sealed import sealer_of
from debfleet.vitals import Vitals
from debfleet_api.app import create_app
from debfleet_api.routes.docs import prepare
from debfleet_api.server import ServerLog, ThreadedServer
from debfleet_api.state import Api

log = logging.getLogger(__name__)

ADMIN = "admin"
_ENDING_SECONDS = 20


def run_api(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Raises:
        ConfigError: A setting is missing, the secret key is another than the database's, or the
            database cannot be used.
    """
    settings.need("database_url", "secret_key")
    try:
        with Database(settings.database_url, size=1, name="debfleet-api", patience=5) as db:
            sealer = sealer_of(settings)
            db.run(lambda tx: check_secret_key(tx, sealer))
            made = ensure_admin(db, settings)
    except (psycopg.OperationalError, PoolTimeout) as e:
        raise ConfigError(f"DEBFLEET_DATABASE_URL cannot be reached: {e}") from e
    except psycopg.errors.UndefinedTable:
        text = "the database at DEBFLEET_DATABASE_URL is empty: run `debfleet migrate` first"
        raise ConfigError(text) from None
    if made is not None:
        print(f"made the user {ADMIN} with the password {made}", file=sys.stderr, flush=True)
    # Before the fork: whichever process is free answers.
    listening = listen(settings.metrics_address)
    with _shared_by_all(settings) as settings:
        try:
            Arbiter(_Gunicorn(settings, listening)).run()
        except SystemExit as e:
            return int(e.code or 0)
    return 0


@contextmanager
def _shared_by_all(settings: Settings) -> Iterator[Settings]:
    """Several processes behind one port need a directory for their metrics."""
    if settings.api_processes <= 1 or settings.metrics_directory:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="debfleet-metrics-") as folder:
        yield dataclasses.replace(settings, metrics_directory=folder)


def ensure_admin(db: Database, settings: Settings) -> str | None:
    """Make the user ``admin`` if there is none.

    Returns:
        The password to print, where it was made up here; None where DEBFLEET_ADMIN_PASSWORD gave
        it, or where the user is there already (its password stays).
    """
    with db.transaction() as tx:
        if users.find_user(tx, ADMIN) is not None:
            return None
    password = settings.admin_password or secrets.token_urlsafe(18)
    is_new = db.run(lambda tx: users.add_user(tx, ADMIN, password))
    return password if is_new and not settings.admin_password else None


class _Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn ships no type information
    """gunicorn with our settings and nothing read from files or its command line."""

    def __init__(self, settings: Settings, listening: socket.socket | None) -> None:
        self._settings = settings
        self._listening = listening
        super().__init__()

    def load_config(self) -> None:
        chosen: dict[str, Any] = {
            "bind": [self._settings.api_address],
            "workers": self._settings.api_processes or 1,
            "threads": self._settings.api_threads,
            "worker_class": ThreadedServer,
            "limit_request_line": 8190,  # the most that gunicorn takes: filters may be long
            "graceful_timeout": _ENDING_SECONDS,
            "keepalive": 75,
            "control_socket_disable": True,
            "logger_class": ServerLog,
            "post_fork": self._begin,
            "post_worker_init": self._start_beside,
            "worker_exit": _stop_beside,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        # In each worker process, after the fork: pools and threads do not survive one.
        app = create_app(self._settings)
        # The first client then finds the document in memory.
        Thread(target=prepare, args=(app,), name="document", daemon=True).start()
        return app

    def _begin(self, _arbiter: Arbiter, _worker: Any) -> None:
        begin_metrics(self._settings, "api")

    def _start_beside(self, worker: Any) -> None:
        """The heartbeat, and the answers to Prometheus and probes."""
        state: Api = worker.app.wsgi().extensions["debfleet"]
        vitals = Vitals(
            {"database": 3.0 * self._settings.heartbeat_seconds},
            {"store": partial(store_looks, self._settings.store_url)},
        )
        MetricsPort(self._listening, vitals, self._settings).__enter__()  # ends with the process
        stop = Event()
        thread = Thread(target=_beat, args=(state, stop, vitals), name="heartbeat", daemon=True)
        worker.heartbeat = (state, stop, thread)
        thread.start()


def _beat(state: Api, stop: Event, vitals: Vitals) -> None:
    while True:
        try:
            with state.db.single() as tx:
                state.beat(tx)
            vitals.heard("database")
        except (psycopg.Error, PoolTimeout) as e:
            log.warning("heartbeat.missed", extra={"error": str(e)})
        if stop.wait(state.settings.heartbeat_seconds):
            return


def _stop_beside(_: Arbiter, worker: Any) -> None:
    held = getattr(worker, "heartbeat", None)
    if held is None:
        return
    state, stop, thread = held
    stop.set()
    thread.join(5)
    try:
        with state.db.transaction() as tx:
            end_process(tx, state.process)
    except (psycopg.Error, PoolTimeout) as e:
        log.warning("heartbeat.missed", extra={"error": str(e)})
    state.bell.close()
    state.db.close()
