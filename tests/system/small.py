"""A small archive, the sync of it, and the proof that the sync brought all of it and only that."""

from __future__ import annotations

from pathlib import Path

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg
from debfleet_cli.client import Api, Body
from system.fleet import Fleet, list_packages, present, stored_digests, version_of

DIST = "trixie"


def write_small(folder: Path, *, packages: int = 6, payload_size: int = 4000) -> Archive:
    """Two components, two architectures, some packages in each, signed."""
    components = {
        component: [
            Pkg(f"{component}-{number}", architecture=architecture, payload_size=payload_size)
            for architecture in ("amd64", "arm64")
            for number in range(packages)
        ]
        for component in ("main", "contrib")
    }
    return write_archive(folder, [Dist(DIST, components)], key=SigningKey.generate())


def assert_synced(fleet: Fleet, api: Api, task: Body, archive: Archive) -> Body:
    """The task made a version that holds the archive, and the store holds its files."""
    version = version_of(api, task)
    assert version["number"] == 1
    assert present(version) == {
        "package": len(archive.listed),
        "package_index": len(archive.indices),
        "package_release_component": len(archive.listed),
        "release": 1,
        "release_architecture": 2,
        "release_component": 2,
        "release_file": 1,
    }
    assert sorted(p["sha256"] for p in list_packages(api, version)) == sorted(
        entry.sha256 for entry in archive.listed
    )
    stored = stored_digests(fleet.store_url)
    missing = [entry.path for entry in archive.listed if stored.get(entry.sha256) != entry.size]
    assert not missing
    return version
