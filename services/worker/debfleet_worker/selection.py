"""Which indices a sync takes of one dist: the remote's filters against what Release offers.

Pure: a Release and a remote in, wanted indices and tolerances out (sync-semantics 5 and 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from debfleet.config import Settings
from debfleet.db.plans import WantedIndex
from debfleet.deb import paths
from debfleet.deb.release import Release
from debfleet.deb.sums import LARGEST_SUMS, SUMS
from debfleet.errors import MalformedFile, NoPackageIndex
from debfleet.model import Kind, Remote, Tolerance

_MOST_LISTS = 1000  # of the installer's files that one Release may name; Debian's names 18


@dataclass(frozen=True, slots=True)
class Dist:
    """One dist of the remote with its verified Release."""

    name: str  # as the remote says it
    place: paths.DistPlace
    release: Release
    main: str  # path of the verified file below the remote's URL
    files: dict[str, bytes]  # path below the remote's URL: body, of every form that survived
    digest: bytes  # sync-semantics 2


def sync_options(remote: Remote, mirror: bool) -> dict[str, Any]:
    """What a version is made with; a sync with other options looks at everything again."""
    return {
        "mirror": mirror,
        "distributions": remote.distributions,
        "components": remote.components,
        "architectures": remote.architectures,
        "policy": remote.policy,
        "sync_sources": remote.sync_sources,
        "sync_udebs": remote.sync_udebs,
        "sync_installer": remote.sync_installer,
        "gpgkey": remote.gpgkey,
        "ignore_missing_package_indices": remote.ignore_missing_package_indices,
    }


def wanted_indices(
    dist: Dist, remote: Remote, settings: Settings, tolerances: list[Tolerance]
) -> list[WantedIndex]:
    """What to take of one dist, positions all 0; what is asked for and not there is tolerated.

    Raises:
        NoPackageIndex: Nothing that the remote asks for is there.
    """
    if dist.place.is_flat:
        return _flat_indices(dist, remote, settings)
    components = _choose_components(dist, remote, tolerances)
    architectures = _choose_architectures(dist, remote, tolerances)
    wanted = []
    for component in components:
        for architecture in architectures:
            index = _index_of(dist, remote, settings, component, architecture)
            if index is None:
                directory = paths.index_directory(component, architecture)
                tolerances.append(_unlisted(dist, f"{directory}/Packages"))
            else:
                wanted.append(index)
        if remote.sync_udebs:
            wanted += _udeb_indices(dist, remote, settings, component, architectures, tolerances)
        if remote.sync_sources:
            path = paths.sources_path(component)
            source_index = _source_index(dist, component, path)
            if source_index is None:
                tolerances.append(_unlisted(dist, path))
            else:
                wanted.append(source_index)
    if remote.sync_installer:
        wanted += _installer_lists(dist, remote, settings, components, architectures, tolerances)
    if not wanted and (remote.components or remote.architectures):
        raise NoPackageIndex(_nothing_found(dist, remote))
    return wanted


def _choose_components(dist: Dist, remote: Remote, tolerances: list[Tolerance]) -> list[str]:
    offered = list(dist.release.components or ())
    if not remote.components:
        return offered
    asked = dict.fromkeys(remote.components.split())
    # Old security archives say updates/main and lie in main: either form may be asked for.
    taken = [c for c in offered if c in asked or paths.plain_component(c) in asked]
    met = set(taken) | {paths.plain_component(c) for c in taken}
    for component in asked:
        if component not in met:
            detail = f"component '{component}' is not in the Release file"
            tolerances.append(Tolerance("component_unknown", dist.main, None, detail))
    return taken


def _choose_architectures(dist: Dist, remote: Remote, tolerances: list[Tolerance]) -> list[str]:
    offered = list(dist.release.architectures or ())
    if not remote.architectures:
        return sorted(set(offered))
    asked = list(dict.fromkeys(remote.architectures.split()))
    for architecture in asked:
        if architecture not in offered and architecture != "all":
            detail = f"architecture '{architecture}' is not in the Release file"
            tolerances.append(Tolerance("architecture_unknown", dist.main, None, detail))
    taken = [a for a in asked if a in offered]
    if "all" in offered and "all" not in taken:
        taken.append("all")
    return taken


def _udeb_indices(
    dist: Dist,
    remote: Remote,
    settings: Settings,
    component: str,
    architectures: list[str],
    tolerances: list[Tolerance],
) -> list[WantedIndex]:
    """Those of one component's udebs; many components have none, or not for each architecture."""
    found = [_index_of(dist, remote, settings, component, a, udeb=True) for a in architectures]
    wanted = [index for index in found if index is not None]
    if architectures and not wanted:
        path = f"{paths.index_directory(component, architectures[0], udeb=True)}/Packages"
        tolerances.append(_unlisted(dist, path))
    return wanted


def _installer_lists(
    dist: Dist,
    remote: Remote,
    settings: Settings,
    components: list[str],
    architectures: list[str],
    tolerances: list[Tolerance],
) -> list[WantedIndex]:
    """SHA256SUMS, or MD5SUMS alone, in each directory of the installer for what is asked for.

    Archives keep several, ``installer-amd64/current/images`` and that of a date: each is taken.
    """
    by_plain = {paths.plain_component(c): c for c in components}
    found: dict[str, tuple[str, str]] = {}  # by directory: component and architecture
    for path in dist.release.files:
        folder, _, name = path.rpartition("/")
        plain, _, below = folder.partition("/")
        kind, _, architecture = below.partition("/")[0].partition("-")
        if name not in SUMS or kind != "installer":
            continue
        if plain in by_plain and architecture in architectures:
            found[folder] = (by_plain[plain], architecture)
    if not found:
        tolerances.append(_unlisted(dist, "COMPONENT/installer-ARCHITECTURE/…/SHA256SUMS"))
    if len(found) > _MOST_LISTS:
        raise MalformedFile(
            f"{dist.main} names {len(found)} directories of the installer; more than {_MOST_LISTS} "
            "are taken for a mistake."
        )
    return [
        _installer_list(dist, remote, settings, folder, *found[folder]) for folder in sorted(found)
    ]


def _installer_list(
    dist: Dist, remote: Remote, settings: Settings, folder: str, component: str, architecture: str
) -> WantedIndex:
    files = {
        path: {"size": file.size, "sha256": file.sha256}
        for path in (f"{folder}/{name}" for name in SUMS)
        if (file := dist.release.files.get(path)) is not None
    }
    for path, row in files.items():
        if int(str(row["size"])) > LARGEST_SUMS:
            raise MalformedFile(
                f"{dist.main} says that {path} has {row['size']} bytes; a list of more than "
                f"{LARGEST_SUMS} is taken for a mistake."
            )
    best = next(iter(files))
    ignore = remote.ignore_missing_package_indices or settings.force_ignore_missing_package_indices
    return WantedIndex(
        position=0,
        distribution=dist.place.distribution,
        directory=dist.place.directory,
        component=component,
        architecture=architecture,
        path=paths.in_directory(dist.place.directory, best),
        files=files,
        by_hash=dist.release.acquire_by_hash,
        sha256=str(files[best]["sha256"]),
        accept=None,
        optional=ignore,
        lists=Kind.GENERIC,
    )


def _index_of(
    dist: Dist,
    remote: Remote,
    settings: Settings,
    component: str,
    architecture: str,
    udeb: bool = False,
) -> WantedIndex | None:
    """The index of one component and architecture, or nothing where Release names none."""
    release = dist.release
    directory = paths.index_directory(component, architecture, udeb)
    files = _named_files(release, f"{directory}/Packages")
    if not _names_index(files, "Packages"):
        return None
    lists_all = "all" in (release.architectures or ())
    is_hybrid = lists_all and release.no_support_for_architecture_all == "Packages"
    of_all = f"{paths.index_directory(component, 'all', udeb)}/Packages"
    if is_hybrid and not _names_index(_named_files(release, of_all), "Packages"):
        lists_all = False  # what it repeats here is nowhere else
    base = paths.base_architecture(architecture)[0]
    accept = ["all"] if architecture == "all" else list(dict.fromkeys([architecture, base]))
    if architecture != "all" and not lists_all:
        accept.append("all")
    ignore = remote.ignore_missing_package_indices or settings.force_ignore_missing_package_indices
    return WantedIndex(
        position=0,
        distribution=dist.place.distribution,
        directory=dist.place.directory,
        component=component,
        architecture=architecture,
        path=paths.in_directory(dist.place.directory, f"{directory}/Packages"),
        files=files,
        by_hash=release.acquire_by_hash,
        sha256=_plain_digest(dist, f"{directory}/Packages"),
        accept=accept,
        # Without its binary-all a hybrid archive is still whole; any other is not.
        optional=is_hybrid if architecture == "all" else ignore,
        lists=Kind.INSTALLER_PACKAGE if udeb else Kind.PACKAGE,
    )


def _source_index(dist: Dist, component: str, path: str) -> WantedIndex | None:
    """A Sources file at this path below Release, or nothing where Release names none."""
    files = _named_files(dist.release, path)
    if dist.place.is_flat:
        files.pop("Release", None)
    if not _names_index(files, "Sources"):
        return None
    return WantedIndex(
        position=0,
        distribution=dist.place.distribution,
        directory=dist.place.directory,
        component=component,
        architecture="source",
        path=paths.in_directory(dist.place.directory, path),
        files=files,
        by_hash=dist.release.acquire_by_hash,
        sha256=_plain_digest(dist, path),
        accept=None,
        optional=True,  # as in Pulp: what is not there is reported, and no failure
        lists=Kind.SOURCE_PACKAGE,
    )


def _unlisted(dist: Dist, path: str) -> Tolerance:
    return Tolerance("index_unlisted", dist.main, None, f"Release names no {path}")


def _flat_indices(dist: Dist, remote: Remote, settings: Settings) -> list[WantedIndex]:
    """The Packages of a flat archive, and its Sources beside it; one of them may lack."""
    files = _named_files(dist.release, "Packages")
    files.pop("Release", None)
    sources = None
    if remote.sync_sources:
        sources = _source_index(dist, paths.FLAT_COMPONENT, "Sources")
    if not files and sources is not None:
        return [sources]
    if not files:
        raise NoPackageIndex(
            f"No suitable package index files for the flat distribution '{dist.name}': "
            f"its Release file {dist.main} names no Packages."
        )
    accept = None
    if remote.architectures:
        asked = remote.architectures.split()
        bases = [paths.base_architecture(a)[0] for a in asked]
        accept = list(dict.fromkeys([*asked, *bases, "all"]))
    ignore = remote.ignore_missing_package_indices or settings.force_ignore_missing_package_indices
    packages = WantedIndex(
        position=0,
        distribution=dist.place.distribution,
        directory=dist.place.directory,
        component=paths.FLAT_COMPONENT,
        architecture="",
        path=paths.in_directory(dist.place.directory, "Packages"),
        files=files,
        by_hash=dist.release.acquire_by_hash,
        sha256=_plain_digest(dist, "Packages"),
        accept=accept,
        optional=ignore,
    )
    return [packages] if sources is None else [packages, sources]


def _named_files(release: Release, index: str) -> dict[str, dict[str, Any]]:
    """The forms of one index, and the Release beside it, that Release names, by their paths."""
    named = {}
    beside = f"{index.rpartition('/')[0]}/Release".lstrip("/")
    for path in (index, f"{index}.gz", f"{index}.xz", beside):
        file = release.files.get(path) or release.files.get(f"./{path}")
        if file is not None:
            named[path] = {"size": file.size, "sha256": file.sha256}
    return named


def _names_index(files: Mapping[str, Any], name: str) -> bool:
    return any(path.rpartition("/")[2].startswith(name) for path in files)


def _plain_digest(dist: Dist, path: str) -> str:
    file = dist.release.files.get(path)
    if file is None:
        # apt ignores such an index without a word; we say it.
        raise NoPackageIndex(
            f"No suitable package index files: {dist.main} names only compressed forms of {path}; "
            "the digest of the plain file is needed."
        )
    return file.sha256


def _nothing_found(dist: Dist, remote: Remote) -> str:
    return (
        f"No suitable package index files in distribution '{dist.name}' for components "
        f"'{remote.components or 'all'}' and architectures '{remote.architectures or 'all'}'. "
        f"Its Release file offers components '{' '.join(dist.release.components or ())}' and "
        f"architectures '{' '.join(dist.release.architectures or ())}'."
    )


def index_digest(index: WantedIndex) -> bytes:
    """Digest over what Release says of the plain form, .gz, .xz and Release of one index."""
    lines = ""
    for name in index.names:
        for path, file in index.files.items():
            if path.rpartition("/")[2] == name:
                lines += f"{name},{file['sha256']}\n"
    return sha256(lines.encode()).digest()
