"""What publish makes of a version: indices, Release files, who sees them and when."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from archive.build import write_archive
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db import versions
from debfleet.db.connect import Database
from debfleet.deb.stanza import split_stanzas, stanza_fields, to_text
from debfleet.identity import UnitId
from debfleet.model import Kind
from debfleet.store import Store
from debfleet_worker.actors import Crew
from ground import Ground
from publish_flow import Published, publish, unpacked
from sync_flow import Flow, add_repository, crew_of

CUSTOM = {
    "Section": "games",
    "Tag": "role::program,\n x11::application",
    "Description": "short\n long\n .\n more",
    "X-Odd": "kept",
    "Ruby-Versions": "all",
}
A = Pkg("a", fields=CUSTOM)
LIBB = Pkg("libb", "2:1.0", fields={"Source": "bee (1.0)"})
C = Pkg("c", architecture="all")
D = Pkg("d", architecture="arm64")
E = Pkg("e")
PINS = {"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes"}
LATE = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def flow(common_crew: Crew) -> Flow:
    """A repository of this test's own, beside those of others."""
    return new_flow(common_crew)


@pytest.fixture
def only_flow(settings: Settings, db: Database, store: Store) -> Iterator[Flow]:
    """A repository beside which there is nothing."""
    with crew_of(settings, db, store) as crew:
        yield new_flow(crew)


@dataclass(frozen=True)
class Seen:
    """A synced repository that stays as it is, and its publication."""

    flow: Flow
    archive: Archive
    made: Published


@pytest.fixture(scope="module")
def seen(common_crew: Crew, common_ground: Ground) -> Seen:
    folder = common_ground.folder / "archive"
    folder.mkdir()
    flow = new_flow(common_crew)
    with Upstream(folder) as upstream:
        archive = sync(flow, upstream, stable(description="Debian 12.1"))
    return Seen(flow, archive, publish(flow))


def new_flow(crew: Crew) -> Flow:
    db = crew.worker.db
    return Flow(db, crew, add_repository(db, description="Our own\n\ncopy"))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    folder = tmp_path / "archive"
    folder.mkdir()
    with Upstream(folder) as server:
        yield server


def sync(flow: Flow, upstream: Upstream, *dists: Dist, **fields: Any) -> Archive:
    """Write an archive and sync it, without the files of its packages unless they are wanted."""
    archive = write_archive(upstream.folder, dists, plain=True)
    names = {"distributions": " ".join(d.name for d in dists), "policy": "on_demand"}
    flow.set_remote(upstream, **{**names, **fields})
    done = flow.sync()
    assert done.state == "completed", done.error
    return archive


def stable(**fields: Any) -> Dist:
    said = {"suite": "oldstable", "codename": "bookworm", "version": "12.1", "label": "Lab"}
    components = {"main": [A, LIBB, C, D], "contrib": [E]}
    return Dist("stable", components, **{"all_packages": "own", **said, **fields})


def fields_of(index: bytes) -> dict[str, dict[str, str]]:
    found = [stanza_fields(to_text(text)) for _, text in split_stanzas([index])]
    return {fields["Package"]: fields for fields in found}


def with_settings(flow: Flow, **values: Any) -> Flow:
    """The same repository, published by a worker with other settings."""
    worker = replace(flow.crew.worker, settings=replace(flow.crew.worker.settings, **values))
    other = Flow(flow.db, Crew(worker, flow.crew.keeper, flow.crew.steps, {}), flow.repository)
    other.remote = flow.remote
    return other


def without_date(made: Published) -> dict[str, bytes]:
    return {
        path: re.sub(rb"(?m)^Date:.*$", b"", body) if path.endswith("Release") else body
        for path, body in made.files.items()
    }


def test_a_structured_publication_lists_what_upstream_listed(seen: Seen) -> None:
    made = seen.made

    indices = [p for p in made.files if p.endswith("/Packages")]
    assert indices == sorted(indices) == sorted(seen.archive.indices)
    for path in seen.archive.indices:
        theirs = fields_of((seen.archive.folder / path).read_bytes())
        ours = made.stanzas(path)
        assert list(ours) == sorted(theirs)
        for name, fields in theirs.items():
            del fields["MD5sum"]
            assert ours[name] == fields
    assert made.task.created == [f"prn:deb.aptpublication:{made.publication.uuid}"]
    assert made.task.reports == {}


def test_a_stanza_has_the_fields_in_the_reference_s_order(seen: Seen) -> None:
    made = seen.made

    fields = made.stanzas("dists/stable/main/binary-amd64/Packages")["a"]
    assert list(fields) == [
        *("Package", "Version", "Architecture", "Section", "Tag", "Installed-Size", "Maintainer"),
        "Description",
        *("X-Odd", "Ruby-Versions", "SHA256", "Size", "Filename"),
    ]
    body = made.files["dists/stable/main/binary-amd64/Packages"]
    assert body.endswith(b".deb\n\n")


def test_a_release_file_names_every_index_in_every_form_by_its_digests(seen: Seen) -> None:
    made = seen.made

    names = [
        f"{component}/{folder}/{file}{ending}"
        for component in ("main", "contrib")
        for folder, file in [
            *((f"binary-{a}", "Packages") for a in ("all", "amd64", "arm64")),
            ("source", "Sources"),
        ]
        for ending in ("", ".gz", ".xz")
    ]
    assert sorted(made.files) == sorted(
        ["dists/stable/Release", *(f"dists/stable/{n}" for n in names)]
    )
    for digest in ("sha256", "sha512"):
        listed = made.listed("stable", digest.upper())
        assert list(listed) == sorted(names)
        for name, (hexdigits, size) in listed.items():
            body = made.files[f"dists/stable/{name}"]
            assert (hashlib.new(digest, body).hexdigest(), len(body)) == (hexdigits, size)
    for name in names:
        plain = name.removesuffix(".gz").removesuffix(".xz")
        assert (
            unpacked(name, made.files[f"dists/stable/{name}"])
            == made.files[f"dists/stable/{plain}"]
        )


def test_a_release_file_says_what_upstream_s_said(seen: Seen) -> None:
    release = seen.made.release("stable")

    assert list(release) == [
        *("Origin", "Label", "Suite", "Version", "Codename", "Date", "Architectures"),
        *("Components", "Description", "Acquire-By-Hash", "SHA256", "SHA512"),
    ]
    date = release.pop("Date")
    assert date == parsedate_to_datetime(date).strftime("%a, %d %b %Y %H:%M:%S +0000")
    del release["SHA256"], release["SHA512"]
    assert release == {
        "Origin": "Archive",
        "Label": "Lab",
        "Suite": "oldstable",
        "Version": "12.1",
        "Codename": "bookworm",
        "Architectures": "all amd64 arm64",
        "Components": "contrib main",
        "Description": "Debian 12.1",
        "Acquire-By-Hash": "yes",
    }


def test_without_upstream_s_fields_a_release_file_is_the_repository_s(seen: Seen) -> None:
    release = publish(seen.flow, publish_upstream_release_fields=False).release("stable")

    assert (release["Origin"], release["Codename"], release["Suite"]) == (
        *("debfleet", "bookworm", "oldstable"),
    )
    assert release["Description"] == "Our own\n .\n copy"
    assert not release.keys() & {"Label", "Version"}


def test_what_holds_apt_back_from_a_suite_is_upstream_s(flow: Flow, upstream: Upstream) -> None:
    sync(flow, upstream, stable(fields=PINS, all_packages="both", valid_until=LATE))

    release = publish(flow).release("stable")
    without = publish(flow, publish_upstream_release_fields=False).release("stable")

    assert {name: release.get(name) for name in PINS} == PINS
    assert not without.keys() & PINS.keys()
    # It is our own that is signed: packages for `all` are listed once, and it does not expire.
    assert not release.keys() & {"No-Support-for-Architecture-all", "Valid-Until"}


def test_a_release_that_begins_to_hold_apt_back_replaces_the_one_that_did_not(
    flow: Flow, upstream: Upstream
) -> None:
    sync(flow, upstream, stable())
    assert not publish(flow).release("stable").keys() & PINS.keys()

    sync(flow, upstream, stable(fields=PINS))
    assert publish(flow).release("stable").keys() >= PINS.keys()

    sync(flow, upstream, stable())
    assert not publish(flow).release("stable").keys() & PINS.keys()


def test_a_simple_publication_holds_every_package_in_one_component(seen: Seen) -> None:
    made = publish(seen.flow, simple=True, structured=False)

    assert {p.split("/")[1] for p in made.files} == {"default"}
    amd64 = made.stanzas("dists/default/all/binary-amd64/Packages")
    assert list(amd64) == ["a", "e", "libb"]
    assert amd64["libb"]["Filename"] == "pool/all/b/bee/libb_1.0_amd64.deb"
    assert list(made.stanzas("dists/default/all/binary-all/Packages")) == ["c"]
    release = made.release("default")
    assert release["Architectures"] == "all amd64 arm64"
    assert (release["Components"], release["Codename"], release["Origin"]) == (
        *("all", "default", "debfleet"),
    )
    assert "Suite" not in release


def test_simple_and_structured_stand_side_by_side(seen: Seen) -> None:
    made = publish(seen.flow, simple=True, structured=True)

    assert {p.split("/")[1] for p in made.files} == {"default", "stable"}
    assert list(made.stanzas("dists/stable/contrib/binary-amd64/Packages")) == ["e"]
    assert len(made.stanzas("dists/default/all/binary-amd64/Packages")) == 3


def test_the_simple_dist_takes_the_place_of_one_of_its_name(flow: Flow, upstream: Upstream) -> None:
    sync(flow, upstream, Dist("default", {"main": [A]}))

    made = publish(flow, simple=True, structured=True)

    assert made.release("default")["Components"] == "all"
    assert not any("/main/" in path for path in made.files)
    assert made.task.reports == {"publish.skipped.distribution": 1}


def test_an_empty_version_is_published_so_that_apt_finds_something(flow: Flow) -> None:
    made = publish(flow)

    assert made.release("default")["Components"] == "empty"
    assert made.files["dists/default/empty/binary-all/Packages"] == b""
    assert unpacked("x.xz", made.files["dists/default/empty/source/Sources.xz"]) == b""


def test_a_flat_archive_appears_as_a_dist(flow: Flow, upstream: Upstream) -> None:
    sync(flow, upstream, Dist("./", {"main": [A, C]}))

    made = publish(flow)

    assert made.release("flat-repo")["Components"] == "flat-repo-component"
    folder = "dists/flat-repo/flat-repo-component"
    assert list(made.stanzas(f"{folder}/binary-amd64/Packages")) == ["a"]
    assert list(made.stanzas(f"{folder}/binary-all/Packages")) == ["c"]


def test_a_component_with_a_prefix_lies_in_its_plain_directory(
    flow: Flow, upstream: Upstream
) -> None:
    sync(flow, upstream, Dist("stable/updates", {"updates/main": [A]}))

    made = publish(flow)

    path = "dists/stable/updates/main/binary-amd64/Packages"
    assert made.stanzas(path)["a"]["Filename"].startswith("pool/updates/main/a/a/")
    assert made.release("stable/updates")["Components"] == "updates/main"
    assert "main/binary-amd64/Packages" in made.listed("stable/updates")


def test_a_dist_below_another_has_its_own_release_file(flow: Flow, upstream: Upstream) -> None:
    sync(flow, upstream, Dist("stable", {"main": [A]}), Dist("stable/updates", {"main": [E]}))

    made = publish(flow)

    assert set(made.listed("stable")) == set(made.listed("stable/updates"))
    assert list(made.stanzas("dists/stable/main/binary-amd64/Packages")) == ["a"]


@pytest.mark.parametrize("layout", ["nested_by_digest", "nested_by_both"])
def test_a_layout_by_digest_names_each_file_by_its_digest(seen: Seen, layout: str) -> None:
    made = publish(seen.flow, layout=layout)

    fields = made.stanzas("dists/stable/main/binary-amd64/Packages")["libb"]
    start = fields["SHA256"][:6]
    assert fields["Filename"] == f"pool/main/b/bee/by-digest/{start}-libb_1.0_amd64.deb"


def test_two_files_that_want_one_pool_path_are_both_reachable(
    flow: Flow, upstream: Upstream
) -> None:
    one = Pkg("tool", "1", path="v1/tool.deb")
    two = Pkg("tool", "2", path="v2/tool.deb")
    sync(flow, upstream, Dist("stable", {"main": [one, two, A]}))

    made = publish(flow)

    text = made.files["dists/stable/main/binary-amd64/Packages"]
    found = [stanza_fields(to_text(stanza)) for _, stanza in split_stanzas([text])]
    tools = [fields for fields in found if fields["Package"] == "tool"]
    assert [f["Filename"] for f in tools] == [
        f"pool/main/t/tool/by-digest/{f['SHA256'][:6]}-tool.deb" for f in tools
    ]
    assert fields_of(text)["a"]["Filename"] == "pool/main/a/a/a_1.0_amd64.deb"


def test_packages_of_an_architecture_that_their_dist_lacks_are_counted(
    only_flow: Flow, upstream: Upstream
) -> None:
    sync(only_flow, upstream, stable())
    modify(only_flow, remove=[UnitId(Kind.RELEASE_ARCHITECTURE, the(only_flow, "arm64"))])

    made = publish(only_flow)

    assert made.release("stable")["Architectures"] == "all amd64"
    assert not any("arm64" in path for path in made.files)
    assert made.task.reports == {"publish.skipped.architecture_foreign": 1}


def test_a_link_without_an_architecture_goes_by_that_of_its_package(
    only_flow: Flow, upstream: Upstream
) -> None:
    sync(only_flow, upstream, stable())
    by_hand = "insert into content_lists (kind, release_component) select 11, id from "
    by_hand += "release_components where component = 'contrib' returning id"
    with only_flow.db.transaction() as tx:
        row = tx.execute(by_hand).fetchone()  # type: ignore[arg-type]  # our own text
        packages = tx.execute("select id from packages where name <> 'e'").fetchall()
    assert row is not None
    links = [UnitId(Kind.PACKAGE_RELEASE_COMPONENT, p["id"], row["id"]) for p in packages]
    modify(only_flow, add=links)

    made = publish(only_flow)

    listed = {a: made.stanzas(f"dists/stable/contrib/binary-{a}/Packages") for a in ARCHITECTURES}
    assert {a: list(found) for a, found in listed.items()} == {
        "all": ["c"],
        "amd64": ["a", "e", "libb"],
        "arm64": ["d"],
    }
    assert listed["all"]["c"]["Filename"] == "pool/contrib/c/c/c_1.0_all.deb"
    assert list(made.stanzas("dists/stable/main/binary-arm64/Packages")) == ["d"]


ARCHITECTURES = ("all", "amd64", "arm64")


def the(flow: Flow, architecture: str) -> int:
    """The id of an architecture."""
    query = "select id from release_architectures where architecture = %s"
    with flow.db.transaction() as tx:
        row = tx.execute(query, (architecture,)).fetchone()
    assert row is not None
    id: int = row["id"]
    return id


def modify(flow: Flow, add: Sequence[UnitId] = (), remove: Sequence[UnitId] = ()) -> None:
    """Make a version by hand."""
    with flow.db.transaction() as tx:
        row = tx.execute("select max(id) as id from tasks").fetchone()
        assert row is not None
        repository = flow.repository["id"]
        assert versions.modify(tx, repository=repository, task=row["id"], add=add, remove=remove)


def test_legacy_release_files_are_written_when_asked_for(seen: Seen) -> None:
    made = publish(seen.flow, publish_legacy_release_files=True)

    body = made.files["dists/stable/main/binary-amd64/Release"]
    assert stanza_fields(body.decode()) == {
        "Archive": "oldstable",
        "Origin": "Archive",
        "Label": "Lab",
        "Component": "main",
        "Architecture": "amd64",
        "Acquire-By-Hash": "yes",
    }
    digest, size = made.listed("stable")["main/binary-amd64/Release"]
    assert (hashlib.sha256(body).hexdigest(), len(body)) == (digest, size)


def test_weak_digests_are_published_where_they_are_allowed(seen: Seen) -> None:
    # The compressed forms are known by now, without these digests.
    made = publish(with_settings(seen.flow, allowed_content_checksums=("md5", "sha1", "sha256")))

    for name in ("MD5Sum", "SHA1", "SHA256", "SHA512"):
        algorithm = name.removesuffix("Sum").lower()
        for path, (digest, _) in made.listed("stable", name).items():
            body = made.files[f"dists/stable/{path}"]
            assert hashlib.new(algorithm, body).hexdigest() == digest
    assert "MD5sum" in made.stanzas("dists/stable/main/binary-amd64/Packages")["a"]


def test_excluded_fields_are_left_out(seen: Seen) -> None:
    made = publish(seen.flow, excluded_package_metadata_fields=["x-odd"])

    fields = made.stanzas("dists/stable/main/binary-amd64/Packages")["a"]
    assert "X-Odd" not in fields
    assert "Ruby-Versions" in fields


def test_two_publications_of_a_version_differ_in_their_date_alone(seen: Seen) -> None:
    first, second = publish(seen.flow, simple=True), publish(seen.flow, simple=True)

    assert first.publication.uuid != second.publication.uuid
    assert without_date(first) == without_date(second)


def test_an_index_that_was_compressed_before_is_not_compressed_again(seen: Seen) -> None:
    again = publish(with_settings(seen.flow, xz_preset=9))

    assert without_date(seen.made) == without_date(again)


def test_an_older_version_can_be_published(flow: Flow, upstream: Upstream) -> None:
    sync(flow, upstream, stable())
    sync(flow, upstream, Dist("stable", {"main": [A]}))

    made = publish(flow, 1)

    assert made.publication.number == 1
    assert list(made.stanzas("dists/stable/contrib/binary-amd64/Packages")) == ["e"]


def test_a_verbatim_publication_is_upstream_s_own_files(seen: Seen) -> None:
    made = publish(seen.flow, kind="verbatim")

    assert made.task.created == [f"prn:deb.verbatimpublication:{made.publication.uuid}"]
    assert {*seen.archive.indices, "dists/stable/Release"} <= made.files.keys()
    for path, body in made.files.items():
        assert (seen.archive.folder / path).read_bytes() == body
