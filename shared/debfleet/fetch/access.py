"""What a fetch is told: how to reach upstream, what is wanted, and what the fleet allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from debfleet.config import Network, Settings
from debfleet.errors import DebfleetError
from debfleet.model import Remote
from debfleet.sealed import Sealer


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach one remote. Limits are seconds: None is our default, 0 is none."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls_validation: bool = True
    ca_cert: str | None = None  # PEM, beside the system's own
    client_cert: str | None = None
    client_key: str | None = field(default=None, repr=False)
    proxy_url: str | None = None
    proxy_username: str | None = None
    proxy_password: str | None = field(default=None, repr=False)
    max_retries: int = 3
    total_timeout: float | None = None  # default: none
    connect_timeout: float | None = None  # default: none
    sock_connect_timeout: float | None = None  # default: 30
    sock_read_timeout: float | None = None  # default: 60; the stall guard
    rate_limit: int | None = None  # requests a second, over the fleet
    networks: tuple[Network, ...] = ()  # empty: any
    allowed_import_paths: tuple[str, ...] = ()
    pause_seconds: float = 0.5  # before the first retry; doubles


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file below the remote's URL."""

    path: str  # not quoted
    sha256: bytes | None
    size: int | None
    limit: int = 1 << 30  # bytes at most, where the size is not known


@dataclass(frozen=True, slots=True)
class Sample:
    """Some bytes of a file below the remote's URL that we have."""

    path: str  # not quoted
    start: int
    body: bytes  # the bytes from there
    size: int  # of the whole file


@dataclass(slots=True)
class Got:
    """What came of one wanted file: it is in the store, or there is an error."""

    wanted: Wanted
    sha256: bytes | None
    size: int
    error: DebfleetError | None


class Traffic(Protocol):
    """What the fleet allows this job; called from several threads.

    ``slots`` and ``running`` are to be quick; the others may ask a database.
    """

    def slots(self) -> int:
        """How many requests may run now; may grow and shrink at any time."""

    def running(self, requests: int) -> None:
        """So many of the slots are in use now; the others may be given away."""

    def wait_seconds(self, requests: int) -> float:
        """Reserve requests of the remote's rate; how long to wait before the first."""

    def close_host(self, seconds: float) -> None:
        """The host answered 429 or 503: nobody asks it for so long."""

    def progress(self, bytes: int) -> None:
        """So many bytes came since the last call; called a few times a second, also with 0."""

    def check(self) -> None:
        """Raises ``LeaseLost`` when the job is no longer ours: all ends at once."""


def access_of(remote: Remote, sealer: Sealer, settings: Settings) -> Access:
    """How to reach a remote, its secrets opened."""

    def opened(value: bytes | None) -> str | None:
        return None if value is None else sealer.open(value)

    return Access(
        url=remote.url,
        username=opened(remote.username),
        password=opened(remote.password),
        headers=_pairs(remote.headers or []),
        tls_validation=remote.tls_validation,
        ca_cert=remote.ca_cert,
        client_cert=remote.client_cert,
        client_key=opened(remote.client_key),
        proxy_url=remote.proxy_url,
        proxy_username=opened(remote.proxy_username),
        proxy_password=opened(remote.proxy_password),
        max_retries=3 if remote.max_retries is None else remote.max_retries,
        total_timeout=remote.total_timeout,
        connect_timeout=remote.connect_timeout,
        sock_connect_timeout=remote.sock_connect_timeout,
        sock_read_timeout=remote.sock_read_timeout,
        rate_limit=remote.rate_limit or None,
        networks=settings.upstream_networks,
        allowed_import_paths=settings.allowed_import_paths,
    )


def _pairs(headers: list[Mapping[str, str]] | list[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for entry in headers for name, value in entry.items())
