"""What directories a publication has below ``dists/``, and which indices lie in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from debfleet.config import Settings
from debfleet.db import publications
from debfleet.db.connect import Tx
from debfleet.db.publications import AtPath, Origin, Publication, Structure
from debfleet.deb.paths import index_directory, plain_component, safe_path, sources_path
from debfleet.deb.publish import ReleaseFields
from debfleet.model import Kind

SIMPLE, SIMPLE_COMPONENT = "default", "all"


@dataclass(frozen=True, slots=True)
class Index:
    """One Packages or Sources file to write."""

    path: str  # below the publication's root
    components: tuple[int, ...] | None  # ids of release components; none: the whole version
    component: str  # its directory's name
    architecture: str  # 'source' of a Sources file
    is_empty: bool
    lists: Kind = Kind.PACKAGE  # the units in it


@dataclass(frozen=True, slots=True)
class Dist:
    """One directory below ``dists/``, with a Release file."""

    name: str  # the distribution
    directory: str  # dists/<name>
    components: tuple[str, ...]  # full names, as Release says them
    architectures: tuple[str, ...]
    indices: tuple[Index, ...]  # of packages, and of the installer's where there are any
    sources: tuple[Index, ...]  # one of each component, even if empty
    installer: tuple[AtPath, ...] = ()  # upstream's lists of the installer's files, as they are
    is_simple: bool = False
    release: dict[str, Any] | None = None  # the columns of its release unit


@dataclass(frozen=True, slots=True)
class Dists:
    """All of them, and what has no place."""

    dists: tuple[Dist, ...]
    foreign: dict[str, int] = field(default_factory=dict)  # packages left out, by distribution
    hidden: str = ""  # the distribution that a simple publication takes the place of


def read_dists(
    tx: Tx, settings: Settings, repository: int, number: int, *, simple: bool, structured: bool
) -> Dists:
    """What a version is to be published as; the same each time, since versions do not change.

    Raises:
        UnsafePath: A distribution is named like a way out of the tree.
    """
    found: list[Dist] = []
    foreign: dict[str, int] = {}
    hidden = ""
    if structured:
        structure = publications.get_structure(tx, repository, number)
        names = dict.fromkeys(c.distribution.strip("/") for c in structure.components)
        found = [_structured(structure, name) for name in names]
        foreign = {d.name: n for d in found if (n := _count_foreign(structure, d))}
        if simple and any(d.name == SIMPLE for d in found):
            hidden = SIMPLE
            found = [d for d in found if d.name != SIMPLE]
            foreign.pop(SIMPLE, None)
        if not found and not simple:
            found = [_placeholder(settings)]
    if simple:
        counts = publications.count_architectures(tx, repository, number)
        has_sources = bool(publications.count_sources(tx, repository, number).get(0))
        found.append(_simple(counts, has_sources))
    return Dists(tuple(found), foreign, hidden)


def release_fields(
    dist: Dist, publication: Publication, origin: Origin, settings: Settings
) -> ReleaseFields:
    """What the Release file of a dist says of itself."""
    digests = tuple(
        name
        for name in ("md5", "sha1", "sha256", "sha512")
        if name in ("sha256", "sha512") or name in settings.allowed_content_checksums
    )
    first = dist.name.partition("/")[0]
    release = dist.release
    says: dict[str, str | None] = {
        "origin": settings.default_origin,
        "codename": first,
        "suite": None if dist.is_simple else first,
        "description": origin.description,
    }
    if release is not None:
        names: tuple[str, ...] = ("codename", "suite")
        if publication.options["publish_upstream_release_fields"]:
            names = (
                *("origin", "label", "suite", "version", "codename", "description"),
                *("not_automatic", "but_automatic_upgrades"),
            )
        says |= {name: release[name] for name in names}
    if not (says["codename"] or says["suite"]):
        says["codename"] = dist.name  # else apt warns of a distribution in conflict with its name
    return ReleaseFields(dist.architectures, dist.components, **says, digests=digests)


def _structured(structure: Structure, name: str) -> Dist:
    directory = safe_path(f"dists/{name}")
    places = [c for c in structure.components if c.distribution.strip("/") == name]
    spelled = dict.fromkeys(c.distribution for c in places)  # "stable" and "/stable" are one
    said = {a for s in spelled for a in structure.architectures.get(s, [])}
    architectures = tuple(sorted({*said, "all"}))
    by_plain: dict[str, list[int]] = {}  # two components of one plain name share their files
    for place in places:
        by_plain.setdefault(plain_component(place.component), []).append(place.id)
    indices = tuple(
        Index(
            path=f"{directory}/{index_directory(plain, architecture)}/Packages",
            components=tuple(ids),
            component=plain,
            architecture=architecture,
            is_empty=not any(structure.counts.get((id, architecture)) for id in ids),
        )
        for plain, ids in by_plain.items()
        for architecture in architectures
    )
    indices += _udeb_indices(structure, directory, by_plain, architectures)
    for plain in by_plain:
        safe_path(f"{directory}/{plain}")
    sources = tuple(
        _sources(directory, plain, tuple(ids), is_empty=not any(map(structure.sources.get, ids)))
        for plain, ids in by_plain.items()
    )
    releases = [structure.releases[s] for s in spelled if s in structure.releases]
    components = tuple(dict.fromkeys(c.component for c in places))
    release = releases[-1] if releases else None
    installer = tuple(structure.installer.get(directory, ()))
    return Dist(
        name, directory, components, architectures, indices, sources, installer, release=release
    )


def _udeb_indices(
    structure: Structure,
    directory: str,
    by_plain: Mapping[str, Sequence[int]],
    architectures: Sequence[str],
) -> tuple[Index, ...]:
    """Of the components that have packages of the installer; for every architecture, as others."""
    having = {component for component, _ in structure.udebs}
    return tuple(
        Index(
            path=f"{directory}/{index_directory(plain, architecture, udeb=True)}/Packages",
            components=tuple(ids),
            component=plain,
            architecture=architecture,
            is_empty=not any(structure.udebs.get((id, architecture)) for id in ids),
            lists=Kind.INSTALLER_PACKAGE,
        )
        for plain, ids in by_plain.items()
        if having & set(ids)
        for architecture in architectures
    )


def _sources(
    directory: str, component: str, ids: tuple[int, ...] | None, *, is_empty: bool
) -> Index:
    return Index(
        path=f"{directory}/{sources_path(component)}",
        components=ids,
        component=component,
        architecture="source",
        is_empty=is_empty,
        lists=Kind.SOURCE_PACKAGE,
    )


def _count_foreign(structure: Structure, dist: Dist) -> int:
    ids = {id for index in dist.indices for id in index.components or ()}
    return sum(
        count
        for counts in (structure.counts, structure.udebs)
        for (component, architecture), count in counts.items()
        if component in ids and architecture not in dist.architectures
    )


def _simple(counts: dict[str, int], has_sources: bool) -> Dist:
    directory = f"dists/{SIMPLE}"
    architectures = tuple(sorted({*counts, "all"}))
    indices = tuple(
        Index(
            path=f"{directory}/{index_directory(SIMPLE_COMPONENT, architecture)}/Packages",
            components=None,
            component=SIMPLE_COMPONENT,
            architecture=architecture,
            is_empty=not counts.get(architecture),
        )
        for architecture in architectures
    )
    sources = (_sources(directory, SIMPLE_COMPONENT, None, is_empty=not has_sources),)
    components = (SIMPLE_COMPONENT,)
    return Dist(SIMPLE, directory, components, architectures, indices, sources, is_simple=True)


def _placeholder(settings: Settings) -> Dist:
    """What a version without any distribution is published as, so that apt finds something."""
    name = settings.structured_empty_repo_distribution.strip("/")
    component = settings.structured_empty_repo_component
    architectures = tuple(sorted({*settings.structured_empty_repo_architectures, "all"}))
    directory = safe_path(f"dists/{name}")
    indices = tuple(
        Index(
            path=f"{directory}/{index_directory(component, architecture)}/Packages",
            components=(),
            component=plain_component(component),
            architecture=architecture,
            is_empty=True,
        )
        for architecture in architectures
    )
    sources = (_sources(directory, plain_component(component), (), is_empty=True),)
    return Dist(name, directory, (component,), architectures, indices, sources)
