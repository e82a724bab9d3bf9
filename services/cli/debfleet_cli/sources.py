"""Print what a machine needs to use a base path: a deb822 .sources file with the key in it.

debfleet sources nginx | sudo tee /etc/apt/sources.list.d/nginx.sources
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from debfleet_cli.client import SIGNING_SERVICES, V3, Api, Body
from debfleet_cli.outcome import Speaker
from debfleet_cli.published import (
    GOOD,
    UsageError,
    base_url,
    call_api,
    find_served,
    get_distribution,
    kind_of,
)

_CONTENT = V3 + "content/deb/"


@dataclass(frozen=True)
class Source:
    """One stanza of a .sources file."""

    uri: str
    suite: str
    components: tuple[str, ...]  # none for a flat archive
    has_sources: bool
    key: str | None  # armoured; none: we know of none
    is_signed: bool = True  # by whomever


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet sources``."""
    parser.add_argument("base_path", metavar="BASE_PATH")
    parser.add_argument(
        "--origin", metavar="URL", help="where clients reach content: http://host[:port]"
    )
    parser.add_argument("--suite", metavar="SUITE", help="this one alone; default: all")
    parser.add_argument("--components", metavar="C", nargs="+", help="these alone; default: all")


def run(args: argparse.Namespace) -> int:
    """Print them; returns the exit status."""
    speaker = Speaker(is_json=False, command="sources")
    return call_api(speaker, lambda api: _print(api, args))


def _print(api: Api, args: argparse.Namespace) -> int:
    distribution = get_distribution(api, args.base_path)
    publication = find_served(api, distribution)
    if publication is None:
        raise UsageError(f"{args.base_path} serves nothing yet: debfleet publish REPOSITORY")
    uri = base_url(api, distribution)
    if args.origin:
        uri = f"{args.origin.rstrip('/')}/pulp/content/{distribution['base_path']}/"
    sources = _list_sources(api, publication, uri)
    suites = [source.suite for source in sources]
    if args.suite is not None and args.suite not in suites:
        raise UsageError(f"there is no suite {args.suite}; there are: {', '.join(suites)}")
    chosen = [s for s in sources if args.suite in (None, s.suite)]
    print("\n".join(render_source(s, args.components) for s in chosen), end="")
    _warn(chosen)
    return GOOD


def _warn(sources: Sequence[Source]) -> None:
    text = ""
    if any(not source.is_signed for source in sources):
        text = (
            "it is not signed, so apt is told to trust whatever answers at this address; "
            "debfleet publish signs"
        )
    elif any(source.key is None for source in sources):
        text = (
            "upstream's signature is passed through, and the remote has no gpgkey to name here: "
            "apt looks among the keys that the machine trusts for everything"
        )
    if text:
        print(f"debfleet sources: {text}", file=sys.stderr)


def render_source(source: Source, components: Sequence[str] | None = None) -> str:
    """A stanza of a .sources file, with the key in it."""
    types = "deb deb-src" if source.has_sources else "deb"
    lines = [f"Types: {types}", f"URIs: {source.uri}", f"Suites: {source.suite}"]
    names = [c for c in source.components if components is None or c in components]
    if source.components:
        lines.append(f"Components: {' '.join(names)}")
    if not source.is_signed:
        lines.append("Trusted: yes")
    if source.key is not None:
        lines.append("Signed-By:")
        # A line of a field begins with a blank, and an empty one is a dot.
        lines += [f" {line.strip() or '.'}" for line in source.key.strip().splitlines()]
    return "\n".join(lines) + "\n"


def _list_sources(api: Api, publication: Body, uri: str) -> list[Source]:
    version = publication["repository_version"]
    present = api.get(version)["content_summary"]["present"]
    has_sources = "deb.source_package" in present
    components: dict[str, list[str]] = {}
    for row in api.walk(_CONTENT + "release_components/", repository_version=version):
        # "stable" and "/stable" are published as one.
        suite = str(row["distribution"]).strip("/")
        components.setdefault(suite, []).append(str(row["component"]))
    if kind_of(publication) == "verbatim":
        return _verbatim(api, publication, uri, components)
    keys = _Keys(api, publication)
    found = []
    if publication["structured"]:
        for suite, names in sorted(components.items()):
            plain = sorted({name.rpartition("/")[2] for name in names})
            found.append(Source(uri, suite, tuple(plain), has_sources, keys.of(suite)))
    if publication["simple"]:
        found.append(Source(uri, "default", ("all",), has_sources, keys.of(None)))
    found = found or [Source(uri, "default", ("empty",), False, keys.of("default"))]
    return [replace(source, is_signed=source.key is not None) for source in found]


class _Keys:
    """Who signed what of a publication, as publish chooses."""

    def __init__(self, api: Api, publication: Body) -> None:
        repository = api.get(publication["repository"])
        self._own = publication["signing_service"]
        self._default = repository["signing_service"]
        self._overrides = repository["signing_service_release_overrides"]
        self._keys = {s["pulp_href"]: str(s["public_key"]) for s in api.walk(SIGNING_SERVICES)}

    def of(self, distribution: str | None) -> str | None:
        """The public key of a distribution; None: of the simple one, which has no override."""
        override = None
        if distribution is not None:
            names = (distribution, distribution.strip("/"))
            override = next((self._overrides[n] for n in names if n in self._overrides), None)
        return self._keys.get(self._own or override or self._default)


def _verbatim(
    api: Api, publication: Body, uri: str, components: dict[str, list[str]]
) -> list[Source]:
    """Upstream's distributions, where its Release files lie, under upstream's key."""
    repository = api.get(publication["repository"])
    key = api.get(repository["remote"])["gpgkey"] if repository["remote"] else None
    found = []
    version = publication["repository_version"]
    indices = [
        str(row["relative_path"])
        for row in api.walk(_CONTENT + "source_indices/", repository_version=version)
    ]
    for row in api.walk(_CONTENT + "release_files/", repository_version=version):
        folder = str(row["relative_path"]).rpartition("/")[0]
        if folder.startswith("dists/"):
            names = {
                c.rpartition("/")[2]
                for c in components.get(str(row["distribution"]).strip("/"), [])
            }
            suite = folder.removeprefix("dists/")
            # dists/SUITE/COMPONENT/source/Sources; a suite may lie below another.
            has_sources = any(path.split("/")[:-3] == folder.split("/") for path in indices)
            found.append(Source(uri, suite, tuple(sorted(names)), has_sources, key))
        else:
            has_sources = f"{folder}/Sources".lstrip("/") in indices
            found.append(Source(uri, f"{folder or '.'}/", (), has_sources, key))
    if not found:
        raise UsageError(
            "this verbatim publication has no Release file: its version was not synced"
        )
    return sorted(found, key=lambda source: source.suite)
