"""Run everything on this machine: an embedded Postgres, the API, content, sweeper and workers.

With DEBFLEET_DATABASE_URL or DEBFLEET_BROKER_URL set, those servers are used instead. A process
that dies is started again. Ctrl-C or SIGTERM ends all, Postgres last; the next start finds all
data.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

from debfleet.config import Settings, read_settings
from debfleet.db.connect import Database
from debfleet.db.installation import check_secret_key
from debfleet.db.migrate import migrate
from debfleet.errors import ConfigError, DebfleetError
from debfleet.sealed import sealer_of
from debfleet_api.main import ensure_admin
from debfleet_cli.children import Child, end_all
from debfleet_cli.embedded import EmbeddedPostgres
from debfleet_cli.place import Place, add_data_argument, find_place, write_secret
from debfleet_cli.ports import free_port

_GRACE = 30.0  # seconds that the children have to finish or hand back what they do
_READY = 90.0  # seconds in which the API and content must answer
_STATUS = "/pulp/api/v3/status/"
_CONTENT = "/pulp/content/"
_METRICS = "127.0.0.1:24818"
_MOST_API_PROCESSES = 4  # unless more are asked for: each has memory and connections of its own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet up``."""
    add_data_argument(parser)
    parser.add_argument(
        "--api", metavar="HOST:PORT",
        help="where the REST API listens (default: DEBFLEET_API_ADDRESS or 127.0.0.1:24817; "
        "port 0: any free one)",
    )  # fmt: skip
    parser.add_argument(
        "--content", metavar="HOST:PORT",
        help="where apt is served (default: DEBFLEET_CONTENT_ADDRESS or 127.0.0.1:24816; "
        "port 0: any free one)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", metavar="N", type=int, default=len(os.sched_getaffinity(0)),
        help="worker processes (default: one a core; 0: only workers started elsewhere)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", metavar="HOST:PORT",
        help="where Prometheus finds all processes at once (default: DEBFLEET_METRICS_ADDRESS or "
        f"{_METRICS}; port 0: any free one; off: nowhere)",
    )  # fmt: skip
    parser.add_argument(
        "--log-format", choices=("json", "text"),
        help="of the processes' logs (default: DEBFLEET_LOG_FORMAT or json)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or Ctrl-C; returns the exit status."""
    if args.workers < 0:
        raise ConfigError(f"--workers: must be 0 or more, not {args.workers}")
    settings = read_settings(os.environ)
    place = find_place(args.data)
    place.make()
    place.lock()  # before the ports: an `up` that runs here already has them
    content = _free(args.content or settings.content_address, "--content")
    settings = dataclasses.replace(
        settings,
        api_address=_free(args.api or settings.api_address, "--api"),
        content_address=content,
        content_origin=settings.content_origin or _origin(content),
        log_format=args.log_format or settings.log_format,
        api_processes=settings.api_processes
        or min(len(os.sched_getaffinity(0)), _MOST_API_PROCESSES),
    )
    settings = _with_metrics(settings, args.metrics or settings.metrics_address or _METRICS, place)
    return Supervisor(settings, place, args.workers, _say).run()


def _with_metrics(settings: Settings, address: str, place: Place) -> Settings:
    """One process answers for all of them, which leave their values in a directory."""
    is_on, given = address != "off", settings.metrics_directory
    place.clear_metrics(is_shared=is_on and not given)
    return dataclasses.replace(
        settings,
        metrics_address=_free(address, "--metrics") if is_on else address,
        metrics_directory=(given or str(place.metrics)) if is_on else "",
    )


def _origin(address: str) -> str:
    """What clients are told; nothing where we listen everywhere and cannot know our name."""
    host = address.rpartition(":")[0].strip("[]")
    return "" if host in ("0.0.0.0", "::", "*") else f"http://{address}"


class Supervisor:
    """Starts the fleet of one machine, keeps it running, and ends it."""

    def __init__(
        self, settings: Settings, place: Place, workers: int, say: Callable[[str], None]
    ) -> None:
        self._given = settings
        self._place = place
        self._workers = workers
        self._say = say
        self._postgres: EmbeddedPostgres | None = None
        self._children: list[Child] = []
        self._signals = 0  # how many told us to stop

    def run(self) -> int:
        """From nothing to ready to ended; returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            settings = self._prepare()
            self._children = list(_fleet(settings, self._place, self._workers))
            for child in self._children:
                child.start()
            if self._await_ready(settings):
                self._greet(settings)
            while not self._signals:
                self._watch()
                time.sleep(0.2)
            return 0
        finally:
            self._end()

    def _prepare(self) -> Settings:
        """Postgres, its tables, the secrets: all that must be there before the first child."""
        made_key = not self._given.secret_key and self._place.make_secret_key()
        try:
            if not self._given.database_url:
                self._postgres = EmbeddedPostgres(self._place.postgres)
                self._postgres.start()
            settings = self._place.complete(self._given)
            if migrate(settings.database_url) and self._postgres:
                self._postgres.write_out()
            with Database(settings.database_url, size=1, name="debfleet up") as db:
                db.run(lambda tx: check_secret_key(tx, sealer_of(settings)))
                password = ensure_admin(db, settings)
        except DebfleetError:
            if made_key:  # it is not the key of what is there
                self._place.secret_key.unlink()
            raise
        if made_key:
            self._say(f"made the key that seals secrets, {self._place.secret_key}: keep a copy")
        if password is not None:
            write_secret(self._place.admin_password, password)
            self._say(f"made the user admin with the password {password}")
        return settings

    def _await_ready(self, settings: Settings) -> bool:
        """Whether the API and content answer; not when we were told to stop before.

        Raises:
            ConfigError: It does not in time.
        """
        deadline = time.monotonic() + _READY
        while not self._signals:
            if _answers(settings.api_address, _STATUS) and _answers(
                settings.content_address, _CONTENT
            ):
                return True
            self._watch()
            if time.monotonic() > deadline:
                api, content = self._children[:2]
                late = content if _answers(settings.api_address, _STATUS) else api
                raise ConfigError(f"{late.name} does not start; its log ends:\n{late.last_lines()}")
            time.sleep(0.1)
        return False

    def _greet(self, settings: Settings) -> None:
        say, place = self._say, self._place
        say(f"debfleet is ready: http://{settings.api_address}/pulp/api/v3/")
        say(f"  content   http://{settings.content_address}{_CONTENT}")
        say(f"  data      {place.folder}")
        if self._postgres is not None and place.postgres.is_symlink():
            say(f"  postgres  {self._postgres.folder}: its user cannot reach the data directory")
        if settings.metrics_address != "off":
            say(f"  metrics   http://{settings.metrics_address}/metrics")
        if place.admin_password.exists() and not self._given.admin_password:
            say(f"  password  of admin: {place.admin_password}")
            say(f"            export DEBFLEET_PASSWORD_FILE={place.admin_password}")
        if self._workers == 0:
            say(f"  workers   none; to start one: debfleet worker --data {place.folder}")
        say(f"  logs      {place.log}")
        say("  stop      Ctrl-C, or SIGTERM to process " + str(os.getpid()))

    def _watch(self) -> None:
        if self._postgres is not None and self._postgres.pid is None:
            self._say("Postgres has died; it starts again")
            self._postgres.start()
            self._say(f"Postgres runs again (process {self._postgres.pid})")
        for child in self._children:
            child.watch(self._say)

    def _end(self) -> None:
        if self._children:
            self._say("stopping (once more to hurry)")
            before = self._signals
            killed = end_all(self._children, _GRACE, lambda: self._signals > before)
            if killed:
                self._say(f"killed {', '.join(killed)}: what they did is done by others later")
        if self._postgres is not None:
            self._postgres.stop()
        if self._children:
            self._say("stopped")

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _fleet(settings: Settings, place: Place, workers: int) -> list[Child]:
    """The API and content first: ``_await_ready`` shows their logs."""
    environ = {
        **os.environ,
        "DEBFLEET_DATABASE_URL": settings.database_url,
        "DEBFLEET_STORE_URL": settings.store_url,
        "DEBFLEET_SECRET_KEY": settings.secret_key,
        "DEBFLEET_SECRET_KEY_FILE": settings.secret_key_file,
        "DEBFLEET_WORK_DIRECTORY": settings.work_directory,
        "DEBFLEET_API_ADDRESS": settings.api_address,
        "DEBFLEET_API_PROCESSES": str(settings.api_processes),
        "DEBFLEET_CONTENT_ADDRESS": settings.content_address,
        "DEBFLEET_CONTENT_ORIGIN": settings.content_origin,
        "DEBFLEET_METRICS_DIRECTORY": settings.metrics_directory,
        "DEBFLEET_METRICS_ADDRESS": "off",
        "DEBFLEET_LOG_FORMAT": settings.log_format,
    }
    # The one that there is exactly once answers for all.
    sweep = {**environ, "DEBFLEET_METRICS_ADDRESS": settings.metrics_address}
    names = ["api", "content", "sweep", *(f"worker-{number}" for number in range(1, workers + 1))]
    return [
        Child(
            name,
            [sys.executable, "-m", "debfleet_cli.main", name.partition("-")[0]],
            sweep if name == "sweep" else environ,
            place.log / f"{name}.log",
        )
        for name in names
    ]


def _answers(address: str, path: str) -> bool:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free(address: str, flag: str) -> str:
    """The address, with a free port in place of 0.

    Raises:
        ConfigError: It is no address, or something listens there.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 65536):
        raise ConfigError(f"{flag}: must be HOST:PORT, not {address}")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that lingers from the last run is no one listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            chosen = int(port) or free_port(host.strip("[]"))
            probe.bind((host.strip("[]"), chosen))
        except OSError as e:
            raise ConfigError(f"{flag} {address} cannot be used: {e.strerror or e}") from None
        return f"{host}:{chosen}"


def _say(text: str) -> None:
    print(text, flush=True)
