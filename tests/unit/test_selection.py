"""Which indices a sync takes: the remote's filters against what a Release offers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from debfleet.config import Settings
from debfleet.db.plans import WantedIndex
from debfleet.deb import paths
from debfleet.deb.release import parse_release
from debfleet.errors import NoPackageIndex
from debfleet.model import Remote, Tolerance
from debfleet_worker.selection import Dist, index_digest, wanted_indices

SETTINGS = Settings()


def remote(**fields: Any) -> Remote:
    nothing: dict[str, Any] = dict.fromkeys(Remote.__dataclass_fields__)
    nothing |= {"id": 1, "uuid": UUID(int=1), "name": "r", "url": "http://u/", "distributions": "x"}
    nothing |= {"policy": "immediate", "ignore_missing_package_indices": False}
    return Remote(**nothing | fields)


def dist(
    components: str = "main",
    architectures: str = "amd64",
    *,
    name: str = "x",
    listed: list[str] | None = None,
    extra: str = "",
) -> Dist:
    place = paths.dist_place(name)
    if listed is None:
        listed = [
            f"{paths.plain_component(c)}/binary-{a}/Packages{ending}"
            for c in components.split()
            for a in architectures.split()
            for ending in ("", ".gz", ".xz")
        ]
    rows = "".join(f" {n:064x} {n} {path}\n" for n, path in enumerate(listed, 1))
    text = (
        f"Codename: x\nComponents: {components}\nArchitectures: {architectures}\n{extra}SHA256:\n"
    )
    main = paths.in_directory(place.directory, "InRelease")
    return Dist(name, place, parse_release((text + rows).encode()), main, {}, b"")


def chosen(
    dist: Dist, remote: Remote, settings: Settings = SETTINGS
) -> tuple[dict[tuple[str, str], WantedIndex], list[Tolerance]]:
    tolerances: list[Tolerance] = []
    wanted = wanted_indices(dist, remote, settings, tolerances)
    return {(w.component, w.architecture): w for w in wanted}, tolerances


def test_without_filters_all_components_and_architectures_are_taken() -> None:
    wanted, tolerances = chosen(dist("main contrib", "amd64 arm64"), remote())

    assert sorted(wanted) == [
        ("contrib", "amd64"),
        ("contrib", "arm64"),
        ("main", "amd64"),
        ("main", "arm64"),
    ]
    assert tolerances == []
    index = wanted["main", "amd64"]
    assert index.path == "dists/x/main/binary-amd64/Packages"
    assert set(index.files) == {f"main/binary-amd64/Packages{e}" for e in ("", ".gz", ".xz")}


def test_filters_keep_what_is_offered_and_report_what_is_not() -> None:
    wanted, tolerances = chosen(
        dist("main contrib", "amd64 arm64"),
        remote(components="main nonesuch", architectures="arm64 vax"),
    )

    assert list(wanted) == [("main", "arm64")]
    assert {(t.reason, t.detail.split("'")[1]) for t in tolerances} == {
        ("component_unknown", "nonesuch"),
        ("architecture_unknown", "vax"),
    }


def test_all_is_taken_whenever_release_lists_it() -> None:
    wanted, _ = chosen(dist("main", "all amd64 arm64"), remote(architectures="amd64"))

    assert sorted(a for _, a in wanted) == ["all", "amd64"]
    assert wanted["main", "amd64"].accept == ["amd64"]
    assert wanted["main", "all"].accept == ["all"]


def test_packages_for_all_are_taken_from_each_index_when_release_does_not_list_all() -> None:
    wanted, _ = chosen(dist("main", "amd64"), remote())

    assert wanted["main", "amd64"].accept == ["amd64", "all"]


def test_only_a_hybrid_archive_may_go_without_its_binary_all() -> None:
    ignore = remote(ignore_missing_package_indices=True)
    plain, _ = chosen(dist("main", "all amd64"), ignore)
    hybrid, _ = chosen(
        dist("main", "all amd64", extra="No-Support-for-Architecture-all: Packages\n"), remote()
    )

    assert not plain["main", "all"].optional
    assert plain["main", "amd64"].optional
    assert hybrid["main", "all"].optional
    assert not hybrid["main", "amd64"].optional


def test_the_setting_lets_indices_be_missing_for_every_remote() -> None:
    wanted, _ = chosen(dist(), remote(), Settings(force_ignore_missing_package_indices=True))

    assert wanted["main", "amd64"].optional


@pytest.mark.parametrize("asked", ["updates/main", "main"])
def test_a_prefixed_component_may_be_asked_for_by_either_name(asked: str) -> None:
    wanted, tolerances = chosen(dist("updates/main updates/contrib"), remote(components=asked))

    assert list(wanted) == [("updates/main", "amd64")]
    assert wanted["updates/main", "amd64"].path == "dists/x/main/binary-amd64/Packages"
    assert tolerances == []


def test_a_variant_takes_the_packages_of_its_base() -> None:
    wanted, _ = chosen(dist("main", "amd64v3"), remote())

    assert wanted["main", "amd64v3"].accept == ["amd64v3", "amd64", "all"]


def test_an_index_that_release_does_not_name_is_reported() -> None:
    wanted, tolerances = chosen(
        dist("main contrib", "amd64", listed=["main/binary-amd64/Packages"]), remote()
    )

    assert list(wanted) == [("main", "amd64")]
    assert [(t.reason, t.detail) for t in tolerances] == [
        ("index_unlisted", "Release names no contrib/binary-amd64/Packages")
    ]


def test_nothing_of_what_is_asked_for_is_an_error_that_names_both_sides() -> None:
    with pytest.raises(NoPackageIndex) as raised:
        chosen(dist("main", "amd64"), remote(components="universe", architectures="vax"))

    assert raised.value.code == "DEB0003"
    for word in ("No suitable package index files", "universe", "vax", "main", "amd64"):
        assert word in str(raised.value)


def test_an_index_named_in_compressed_forms_only_is_refused() -> None:
    with pytest.raises(NoPackageIndex, match="only compressed forms of main/binary-amd64/Packages"):
        chosen(dist(listed=["main/binary-amd64/Packages.gz"]), remote())


@pytest.mark.parametrize(
    ("name", "path"), [("./", "Packages"), ("/", "Packages"), ("deb/x/", "deb/x/Packages")]
)
def test_a_flat_dist_has_one_index_beside_its_release(name: str, path: str) -> None:
    flat = dist(name=name, listed=["./Packages", "./Packages.gz", "Contents"])

    wanted, _ = chosen(flat, remote(components="main"))

    [index] = wanted.values()
    assert index.path == path
    assert set(index.files) == {"Packages", "Packages.gz"}
    assert (index.distribution, index.component) == ("flat-repo", "flat-repo-component")
    assert (index.architecture, index.accept) == ("", None)


def test_the_architectures_of_a_flat_dist_are_filtered_by_package() -> None:
    flat = dist(name="./", listed=["Packages"])

    wanted, _ = chosen(flat, remote(architectures="arm64 amd64v3"))

    [index] = wanted.values()
    assert index.accept == ["arm64", "amd64v3", "amd64", "all"]


def test_the_digest_of_an_index_follows_every_form_of_it() -> None:
    wanted, _ = chosen(dist(), remote())
    index = wanted["main", "amd64"]
    other = {**index.files, "main/binary-amd64/Packages.gz": {"size": 1, "sha256": "f" * 64}}

    assert index_digest(index) == index_digest(replace(index, optional=True))
    assert index_digest(index) != index_digest(replace(index, files=other))
