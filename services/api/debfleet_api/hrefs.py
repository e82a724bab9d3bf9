"""An id to a path or a PRN, and back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

from debfleet.db.access import HEADER_GUARD, RBAC_GUARD
from debfleet.model import DISTRIBUTION, Kind
from debfleet.model import DOMAIN as DOMAIN
from debfleet.model import REMOTE as REMOTE
from debfleet.model import REPOSITORY as REPOSITORY

BASE = "/pulp/api/v3/"

VERSION = "core.repositoryversion"
TASK = "core.task"
WORKER = "core.appstatus"
ARTIFACT = "core.artifact"
PUBLICATION = "deb.aptpublication"
VERBATIM = "deb.verbatimpublication"
SIGNING_SERVICE = "core.signingservice"
SCHEDULE = "debfleet.schedule"
TASK_SCHEDULE = "core.taskschedule"
ROLE = "core.role"
TASK_GROUP = "core.taskgroup"
DOMAIN_MODEL = "core.domain"
ALTERNATE = "deb.aptalternatecontentsource"


@dataclass(frozen=True, slots=True)
class ContentType:
    """How one kind of content unit is called on the wire."""

    name: str  # in content_summary and pulp_type
    model: str  # in PRNs
    endpoint: str  # below content/deb/


CONTENT: dict[Kind, ContentType] = {
    Kind.PACKAGE: ContentType("deb.package", "deb.package", "packages"),
    Kind.INSTALLER_PACKAGE: ContentType(
        "deb.installer_package", "deb.installerpackage", "installer_packages"
    ),
    Kind.GENERIC: ContentType("deb.generic", "deb.genericcontent", "generic_contents"),
    Kind.RELEASE_FILE: ContentType("deb.release_file", "deb.releasefile", "release_files"),
    Kind.PACKAGE_INDEX: ContentType("deb.package_index", "deb.packageindex", "package_indices"),
    Kind.SOURCE_INDEX: ContentType("deb.source_index", "deb.sourceindex", "source_indices"),
    Kind.INSTALLER_FILE_INDEX: ContentType(
        "deb.installer_file_index", "deb.installerfileindex", "installer_file_indices"
    ),
    Kind.RELEASE: ContentType("deb.release", "deb.release", "releases"),
    Kind.RELEASE_ARCHITECTURE: ContentType(
        "deb.release_architecture", "deb.releasearchitecture", "release_architectures"
    ),
    Kind.RELEASE_COMPONENT: ContentType(
        "deb.release_component", "deb.releasecomponent", "release_components"
    ),
    Kind.PACKAGE_RELEASE_COMPONENT: ContentType(
        "deb.package_release_component",
        "deb.packagereleasecomponent",
        "package_release_components",
    ),
    Kind.SOURCE_PACKAGE: ContentType("deb.source_package", "deb.sourcepackage", "source_packages"),
    Kind.SOURCE_PACKAGE_RELEASE_COMPONENT: ContentType(
        "deb.source_package_release_component",
        "deb.sourcepackagereleasecomponent",
        "source_release_components",
    ),
}

# Endpoint below BASE to the model of its objects. Also what is not built: an href to one of these
# is a reference to the wrong thing, not an unreadable one.
_ENDPOINTS: dict[str, str] = {
    "repositories/deb/apt": REPOSITORY,
    "remotes/deb/apt": REMOTE,
    "tasks": TASK,
    "workers": WORKER,
    "artifacts": ARTIFACT,
    "publications/deb/apt": PUBLICATION,
    "publications/deb/verbatim": VERBATIM,
    "distributions/deb/apt": DISTRIBUTION,
    "signing-services": SIGNING_SERVICE,
    "schedules": SCHEDULE,
    "task-schedules": TASK_SCHEDULE,
    "roles": ROLE,
    "contentguards/core/rbac": RBAC_GUARD,
    "contentguards/core/header": HEADER_GUARD,
    "uploads": "core.upload",
    "task-groups": TASK_GROUP,
    "acs/deb/deb": ALTERNATE,
    "domains": DOMAIN_MODEL,
} | {f"content/deb/{t.endpoint}": t.model for t in CONTENT.values()}
_PATHS = {model: endpoint for endpoint, model in _ENDPOINTS.items()}

KIND_OF_MODEL: dict[str, Kind] = {t.model: kind for kind, t in CONTENT.items()}

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Ref:
    """What a reference from outside names; whether it exists is another question."""

    model: str
    uuid: UUID  # for a version named by its path: the repository's
    number: int | None = None  # set for a version named by its path


def href(model: str, uuid: UUID | str) -> str:
    """The path of an object; its slash at the end is part of it."""
    return f"{BASE}{_PATHS[model]}/{uuid}/"


def version_href(repository: UUID, number: int) -> str:
    """The path of a repository version."""
    return f"{href(REPOSITORY, repository)}versions/{number}/"


def user_href(id: int) -> str:
    """The path of a user."""
    return f"{BASE}users/{id}/"


def group_href(id: int) -> str:
    """The path of a group."""
    return f"{BASE}groups/{id}/"


def numbered_prn(model: str, id: int) -> str:
    """The PRN of a user or a group: these have numbers."""
    return f"prn:{model}:{id}"


def read_number(text: str) -> int | None:
    """The number at the end of a user's or group's path, or nothing."""
    return int(text) if _NUMBER.fullmatch(text) else None


def list_href(kind: Kind) -> str:
    """The path of the list of one kind of content."""
    return f"{BASE}content/deb/{CONTENT[kind].endpoint}/"


def find_uuid(text: str) -> UUID | None:
    """A UUID in its form with dashes, or nothing."""
    return UUID(text) if _UUID.fullmatch(text) else None


def find_ref(text: str) -> Ref | None:
    """Read a path, a full URL (only its path counts) or a PRN; None: it is none of them."""
    text = text.strip()
    if text.startswith("prn:"):
        return _from_prn(text)
    if "://" in text:
        try:
            text = urlsplit(text).path
        except ValueError:
            return None
    if not text.startswith(BASE):
        return None
    parts = text.removeprefix(BASE).strip("/").split("/")
    number = None
    if len(parts) > 2 and parts[-2] == "versions":
        if not _NUMBER.fullmatch(parts[-1]):
            return None
        number = int(parts[-1])
        parts = parts[:-2]
    model = _ENDPOINTS.get("/".join(parts[:-1]))
    uuid = find_uuid(parts[-1])
    if model is None or uuid is None or (number is not None and model != REPOSITORY):
        return None
    return Ref(model, uuid) if number is None else Ref(VERSION, uuid, number)


def find_href(name: str) -> str | None:
    """The path of what a PRN names; None for versions, whose path is in the database."""
    ref = _from_prn(name)
    return href(ref.model, ref.uuid) if ref is not None and ref.model in _PATHS else None


@lru_cache(maxsize=1024)  # what one transaction made has one time
def wire_time(time: datetime | None) -> str | None:
    """ISO 8601, UTC, microseconds, ``Z``."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _from_prn(text: str) -> Ref | None:
    parts = text.split(":")
    if len(parts) != 3 or parts[0] != "prn":
        return None
    uuid = find_uuid(parts[2])
    if uuid is None or (parts[1] not in _PATHS and parts[1] != VERSION):
        return None
    return Ref(parts[1], uuid)
