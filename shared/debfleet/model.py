"""The records kept in Postgres, as frozen dataclasses, and the numbers that stand for kinds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple
from uuid import UUID


class Kind(IntEnum):
    """Kinds of content units: a number in ids, lists and chunks."""

    PACKAGE = 1
    INSTALLER_PACKAGE = 2
    GENERIC = 3
    RELEASE_FILE = 4
    PACKAGE_INDEX = 5
    SOURCE_INDEX = 6
    INSTALLER_FILE_INDEX = 7
    RELEASE = 8
    RELEASE_ARCHITECTURE = 9
    RELEASE_COMPONENT = 10
    PACKAGE_RELEASE_COMPONENT = 11
    SOURCE_PACKAGE = 12
    SOURCE_PACKAGE_RELEASE_COMPONENT = 13
    ARTIFACT = 63  # no unit, but its id on the wire is made the same way


FINAL_STATES = frozenset({"skipped", "completed", "failed", "canceled"})


# Of jobs; each has a queue of its own.
KINDS = ("plan", "index", "download", "assemble", "publish", "chore")


class Ring(NamedTuple):
    """A job to be rung: its kind is the queue, its id all that a message holds."""

    job: int
    kind: str


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job: the right to work on it, as long as its lease holds."""

    id: int
    task: int
    kind: str  # plan, index, download, assemble, publish, chore
    args: dict[str, Any]
    attempt: int  # from 1; the fence of every outcome
    round: int  # of its task's planning
    task_kind: str  # sync, modify, …
    task_args: dict[str, Any]  # sync: {"repository": id, "remote": id, "mirror": …, "optimize": …}
    task_uuid: UUID
    logging_cid: str
    slots: int  # of its scope, granted at the claim; 0 where it has no scope
    scope: str | None = None  # whose slots it holds
    host: str | None = None  # whose gate it watches
    excused: int = 0  # attempts that ended in peace
    age: float = 0.0  # seconds since its first claim
    window: int = 16  # jobs of one kind of its task that are rung at a time
    plan_rounds: int = 4  # how often its task may be planned

    @property
    def log_ids(self) -> dict[str, Any]:
        """What every line of the log about this job carries."""
        return {"task": str(self.task_uuid), "job": self.id, "cid": self.logging_cid}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where and what to sync from; secrets still sealed."""

    id: int
    uuid: UUID
    name: str
    url: str
    distributions: str
    components: str | None
    architectures: str | None
    policy: str
    sync_sources: bool
    sync_udebs: bool
    sync_installer: bool
    gpgkey: str | None
    ignore_missing_package_indices: bool
    tls_validation: bool
    ca_cert: str | None
    client_cert: str | None
    client_key: bytes | None
    username: bytes | None
    password: bytes | None
    proxy_url: str | None
    proxy_username: bytes | None
    proxy_password: bytes | None
    max_retries: int | None
    total_timeout: float | None
    connect_timeout: float | None
    sock_connect_timeout: float | None
    sock_read_timeout: float | None
    headers: list[dict[str, str]] | None
    download_concurrency: int | None
    rate_limit: int | None
    vanishing: str  # what becomes of files that upstream drops: leave, fetch
    guards: dict[str, str]  # levels by guard, as far as the user set any (debfleet.guards)


@dataclass(frozen=True, slots=True)
class Repository:
    """A named series of versions."""

    id: int
    uuid: UUID
    name: str
    remote: int | None
    retain_repo_versions: int | None
    latest: int  # the number of its latest version


@dataclass(frozen=True, slots=True)
class Version:
    """Where a repository version stands; what it holds is in chunks."""

    id: UUID
    repository: int
    number: int
    repository_uuid: UUID


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Something that was listed and left out, by a declared rule."""

    reason: str  # the end of the report's code: sync.skipped.<reason>
    file: str
    line: int | None  # of the file, from 1
    detail: str


# As Pulp calls them in its resource names.
REPOSITORY = "deb.aptrepository"
REMOTE = "deb.aptremote"
DISTRIBUTION = "deb.aptdistribution"


def prn(model: str, uuid: UUID | str) -> str:
    """Pulp's resource name: ``prn("deb.aptrepository", …)``."""
    return f"prn:{model}:{uuid}"


DOMAIN_UUID = UUID("cdd9bd24-4c50-4edb-a50e-8cc713222e14")
DOMAIN = prn("core.domain", DOMAIN_UUID)
ORPHANS = f"pdrn:{DOMAIN_UUID}:orphans"  # what a cleanup claims
"""There is one domain. Clients see it in what a task reserves."""


def unit_model(kind: Kind) -> str:
    """What a kind of content unit is called in a PRN: ``deb.packageindex``."""
    name = "generic_content" if kind == Kind.GENERIC else kind.name.lower()
    return f"deb.{name.replace('_', '')}"
