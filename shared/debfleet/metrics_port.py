"""The port of a process for Prometheus and for probes: ``/metrics``, ``/livez``, ``/readyz``.

A thread of its own answers, so that a process that is busy or waits for Postgres still does.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from debfleet.config import Settings
from debfleet.errors import ConfigError
from debfleet.measure import REGISTRY, share
from debfleet.metrics import DISK, start
from debfleet.vitals import Vitals

log = logging.getLogger(__name__)

OFF = "off"
_REQUEST_SECONDS = 10.0  # that a client may take to ask and to read


def begin_metrics(settings: Settings, process: str) -> None:
    """Once in each process, before the first value is written."""
    if settings.metrics_directory:
        share(Path(settings.metrics_directory), process)
    start(process, version("debfleet"))


def listen(address: str) -> socket.socket | None:
    """A socket at HOST:PORT; nothing for ``off`` or an empty address.

    Forked processes may all serve it: each connection goes to one of them.

    Raises:
        ConfigError: Nothing can listen there.
    """
    if address in ("", OFF):
        return None
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    host = "" if host == "*" else host.strip("[]")
    try:
        found = socket.create_server((host, int(port)), family=family, backlog=64)
    except OSError as e:
        raise ConfigError(f"--metrics {address} cannot be used: {e.strerror or e}") from None
    found.setblocking(False)
    return found


class MetricsPort:
    """A context in which a thread answers; with no socket nothing happens."""

    def __init__(
        self,
        listening: socket.socket | None,
        vitals: Vitals,
        settings: Settings,
        collectors: Sequence[Collector] = (),
    ) -> None:
        """``collectors``: what is looked up at each scrape, beside what processes write."""
        self._server: _Server | None = None
        if listening is None:
            return
        registry = CollectorRegistry()
        if settings.metrics_directory:
            MultiProcessCollector(registry, settings.metrics_directory)
        else:
            registry.register(REGISTRY)
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)
        for collector in (DiskCollector(settings.store_url), *collectors):
            registry.register(collector)
        self._server = _Server(listening, registry, vitals)

    def __enter__(self) -> MetricsPort:
        if self._server is not None:
            threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
            log.info("metrics.started", extra={"address": self._server.shown})
        return self

    def __exit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class DiskCollector(Collector):
    """The disk that a directory store is on."""

    def __init__(self, store_url: str) -> None:
        self._folder = store_folder(store_url)

    def collect(self) -> Iterable[Metric]:
        """Nothing for a bucket, and while the disk is away."""
        if self._folder is None:
            return
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return
        family = GaugeMetricFamily(DISK.name, DISK.meaning, labels=list(DISK.labels))
        family.add_metric(["free"], usage.free)
        family.add_metric(["total"], usage.total)
        yield family

    def describe(self) -> Iterable[Metric]:
        """Registering looks at nothing."""
        return []


def store_folder(store_url: str) -> Path | None:
    """The directory of a store; none for a bucket."""
    parts = urlsplit(store_url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def store_looks(store_url: str) -> bool:
    """Whether a directory store is there; a bucket is not asked, for each probe would cost."""
    folder = store_folder(store_url)
    return folder is None or os.access(folder, os.R_OK | os.X_OK)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, listening: socket.socket, registry: CollectorRegistry, vitals: Vitals
    ) -> None:
        super().__init__(("", 0), _Answers, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.registry = registry
        self.vitals = vitals
        host, port = listening.getsockname()[:2]
        self.shown = f"{host}:{port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""
        log.debug("metrics.abandoned", exc_info=True)


class _Answers(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_SECONDS

    def do_GET(self) -> None:
        """Three paths; anything else is 404."""
        path = self.path.partition("?")[0].rstrip("/")
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.server.registry))
        elif path == "/livez":
            self._answer(200, "text/plain; charset=utf-8", b"live\n")
        elif path == "/readyz":
            state = self.server.vitals.state()
            body = json.dumps({"ready": all(state.values()), **state}).encode() + b"\n"
            self._answer(200 if all(state.values()) else 503, "application/json", body)
        else:
            self._answer(404, "text/plain; charset=utf-8", b"/metrics, /livez or /readyz\n")

    do_HEAD = do_GET

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each scrape would drown the log."""
