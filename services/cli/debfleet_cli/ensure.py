"""Make the remote and the repository that `debfleet sync URL` names, or see how they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from debfleet_cli.client import REMOTES, REPOSITORIES, Api, Body, Refused

_WORDS = ("distributions", "components", "architectures")  # compared as sets of words


class Differs(Exception):
    """A remote or a repository of this name exists and says something else."""

    def __init__(self, name: str, differences: Sequence[str]) -> None:
        lines = "".join(f"\n  {line}" for line in differences)
        super().__init__(
            f"{name} exists and differs:{lines}\n"
            "Repeat with --update to change it, with --name to make another, or use "
            f"--repository {name} to sync it as it is."
        )
        self.differences = list(differences)


@dataclass(frozen=True)
class Source:
    """What the command line says of an upstream."""

    url: str
    distributions: tuple[str, ...]
    components: tuple[str, ...]  # empty: all
    architectures: tuple[str, ...]  # empty: all
    policy: str | None = None  # None: as the remote has it, immediate for a new one
    gpgkey: str | None = None  # None: as the remote has it, none for a new one
    guards: tuple[tuple[str, str | None], ...] = ()  # (guard, level); None: its default
    sources: bool | None = None  # None: as the remote has it, not for a new one
    vanishing: str | None = None  # None: as the remote has it, left for a new one
    also: tuple[tuple[str, bool], ...] = ()  # (sync_udebs, true): what is taken beside packages

    def wanted(self) -> Body:
        """The fields of the remote."""
        fields: Body = {
            "url": self.url,
            "distributions": " ".join(self.distributions),
            "components": " ".join(self.components) or None,
            "architectures": " ".join(self.architectures) or None,
        }
        if self.policy is not None:
            fields["policy"] = self.policy
        if self.gpgkey is not None:
            fields["gpgkey"] = self.gpgkey
        fields |= {f"guard_{guard}": level for guard, level in self.guards}
        if self.vanishing is not None:
            fields["vanishing"] = self.vanishing
        if self.sources is not None:
            fields["sync_sources"] = self.sources
        fields |= dict(self.also)
        return fields


@dataclass(frozen=True)
class Ensured:
    """The two objects that a sync needs, and what was changed for it."""

    remote: Body
    repository: Body
    changed: tuple[str, ...]  # the differences that were applied


def default_name(url: str, distributions: Sequence[str]) -> str:
    """``nginx.org-bookworm``: the host, and the first distribution made plain."""
    host = (urlsplit(url).hostname or "local").strip("[]")
    words = [part for part in distributions[0].split("/") if part not in ("", ".")]
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{host}-{'-'.join(words) or 'flat'}")


def ensure(api: Api, name: str, source: Source, *, update: bool) -> Ensured:
    """The remote and the repository of this name, made where they are missing.

    Nothing is changed unless ``update`` is set.

    Raises:
        Differs: One exists with other values, and ``update`` is not set.
    """
    remote = api.find(REMOTES, name)
    repository = api.find(REPOSITORIES, name)
    differences = [] if remote is None else remote_differences(remote, source)
    other_remote = repository is not None and (
        remote is None or repository["remote"] != remote["pulp_href"]
    )
    if repository is not None and other_remote:
        differences.append(f"remote of the repository: {_remote_name(api, repository)} -> {name}")
    if differences and not update:
        raise Differs(name, differences)
    remote = _ensured_remote(api, name, remote, source)
    if repository is None:
        repository = _make(api, REPOSITORIES, {"name": name, "remote": remote["pulp_href"]})
    elif other_remote:
        api.settle(api.patch(repository["pulp_href"], {"remote": remote["pulp_href"]}))
        repository = api.get(repository["pulp_href"])
    return Ensured(remote, repository, tuple(differences))


def remote_differences(remote: Body, source: Source) -> list[str]:
    """One line for each field that the flags want otherwise: ``components: main -> all``."""
    return [
        f"{field}: {_shown(field, remote.get(field))} -> {_shown(field, value)}"
        for field, value in source.wanted().items()
        if _compared(field, remote.get(field)) != _compared(field, value)
    ]


def _ensured_remote(api: Api, name: str, remote: Body | None, source: Source) -> Body:
    if remote is None:
        return _make(api, REMOTES, {"name": name, **source.wanted()})
    if remote_differences(remote, source):
        api.settle(api.patch(remote["pulp_href"], source.wanted()))
        return api.get(remote["pulp_href"])
    return remote


def _make(api: Api, path: str, body: Body) -> Body:
    """Make the object; one that another command made meanwhile is as good."""
    try:
        return api.post(path, body)
    except Refused as e:
        found = api.find(path, body["name"]) if "unique" in str(e.body) else None
        if found is None or any(found[key] != value for key, value in body.items()):
            raise
        return found


def _remote_name(api: Api, repository: Body) -> str:
    href = repository["remote"]
    return "none" if href is None else str(api.get(href)["name"])


def _compared(field: str, value: Any) -> Any:
    if field in _WORDS:
        return set((value or "").split())
    if field == "url":
        return str(value).rstrip("/")
    return str(value).strip() if isinstance(value, str) else value


def _shown(field: str, value: Any) -> str:
    if field == "gpgkey":
        return "none" if not value else f"a key of {len(value.strip())} characters"
    if field.startswith("guard_"):
        return str(value or "default")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not value:
        return "all" if field in _WORDS else "none"
    return str(value)
