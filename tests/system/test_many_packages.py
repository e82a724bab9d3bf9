"""An immediate sync of a few thousand packages, each file verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from system.fleet import (
    Fleet,
    add_pair,
    list_packages,
    present,
    stored_digests,
    synced,
    version_of,
)


@pytest.mark.parametrize("fleet", ["rabbitmq"], indirect=True)
def test_two_thousand_packages_are_synced_and_each_file_is_what_its_index_says(
    fleet: Fleet, tmp_path: Path
) -> None:
    components = {
        component: [
            Pkg(f"{component}-{number}", architecture=architecture, payload_size=3000)
            for architecture in ("amd64", "arm64")
            for number in range(500)
        ]
        for component in ("main", "contrib")
    }
    key = SigningKey.generate()
    archive = write_archive(tmp_path / "archive", [Dist("trixie", components)], key=key)
    assert len(archive.listed) == 2000

    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        _, repository = add_pair(
            api, "many", upstream.url, distributions="trixie", gpgkey=key.public
        )
        task = synced(api, repository, 180)
        version = version_of(api, task)

        assert present(version) == {
            "package": 2000,
            "package_index": 4,
            "package_release_component": 2000,
            "release": 1,
            "release_architecture": 2,
            "release_component": 2,
            "release_file": 1,
        }
        listed = {entry.sha256 for entry in archive.listed}
        assert {package["sha256"] for package in list_packages(api, version)} == listed
    stored = stored_digests(fleet.store_url)
    assert all(stored.get(entry.sha256) == entry.size for entry in archive.listed)
