"""Checkpoints: what was published at earlier moments, each served below its own folder.

These tests only look, at one service.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from archive.build import write_archive
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from ground import Ground
from publish_flow import Published, publish
from serving import Site, add_distribution, serving
from sync_flow import Flow, add_repository, crew_of

FIRST, SECOND = "20260102T030405Z", "20260203T040506Z"
RELEASE = "dists/stable/Release"


@pytest.fixture(scope="module")
def made(common_ground: Ground) -> list[Published]:
    """Two checkpoints, and a later publication that is none; followed by ``past`` and ``now``."""
    db, folder = common_ground.db, common_ground.folder
    found = []
    with (
        crew_of(replace(common_ground.settings, plan_rounds=3), db, common_ground.store) as crew,
        Upstream(folder) as upstream,
    ):
        flow = Flow(db, crew, add_repository(db))
        for name, moment in (("a", FIRST), ("b", SECOND), ("c", None)):
            archive = folder / f"archive-{name}"
            archive.mkdir()
            write_archive(archive, [Dist("stable", {"main": [Pkg(name)]})])
            upstream.rotate(archive)
            flow.set_remote(upstream)
            assert flow.sync(mirror=True).state == "completed"
            published = publish(flow, checkpoint=moment is not None)
            found.append(published)
            if moment is not None:
                with db.transaction() as tx:
                    tx.execute(
                        "update publications set created = %s::timestamptz + interval '0.7 s'"
                        " where id = %s",
                        (moment, published.publication.id),
                    )
    add_distribution(db, "past", repository=flow.repository["id"], checkpoint=True)
    add_distribution(db, "now", repository=flow.repository["id"])
    return found


@pytest.fixture(scope="module")
def site(made: list[Published], common_ground: Ground) -> Iterator[Site]:
    with serving(replace(common_ground.settings, content_generations=0)) as running:
        yield running


def deb(name: str) -> str:
    return f"pool/main/{name}/{name}/{name}_1.0_amd64.deb"


def test_a_checkpoint_serves_what_was_published_then_and_nothing_later(
    site: Site, made: list[Published]
) -> None:
    for moment, published, name, others in (
        (FIRST, made[0], "a", "bc"),
        (SECOND, made[1], "b", "ac"),
    ):
        for path, body in published.files.items():
            assert site.get(f"past/{moment}/{path}").body == body
        assert site.get(f"past/{moment}/{deb(name)}").status == 200
        assert {site.get(f"past/{moment}/{deb(other)}").status for other in others} == {404}


def test_files_of_a_checkpoint_are_found_by_hash_in_it_alone(
    site: Site, made: list[Published]
) -> None:
    index = "main/binary-amd64/Packages"
    digest, _ = made[0].listed("stable")[index]
    path = f"dists/stable/main/binary-amd64/by-hash/SHA256/{digest}"

    assert site.get(f"past/{FIRST}/{path}").body == made[0].files[f"dists/stable/{index}"]
    assert site.get(f"past/{SECOND}/{path}").status == 404


def test_the_base_path_lists_the_checkpoints(site: Site) -> None:
    page = site.get("past/")

    assert page.status == 200
    assert f'href="./{FIRST}/"' in page.text
    assert f'href="./{SECOND}/"' in page.text
    assert page.text.count("./2026") == 2
    bare = site.get("past")
    assert (bare.status, bare.headers["location"]) == (301, "/pulp/content/past/")


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        ("20260102T030406Z/", f"{FIRST}/"),
        ("20260203T040505Z/", f"{FIRST}/"),
        ("20260203T040505Z", FIRST),
        (f"20260301T000000Z/{RELEASE}", f"{SECOND}/{RELEASE}"),
        (FIRST, f"{FIRST}/"),
    ],
)
def test_a_moment_between_checkpoints_leads_to_the_one_before(
    site: Site, asked: str, there: str
) -> None:
    reply = site.get(f"past/{asked}")

    assert (reply.status, reply.headers["location"]) == (301, f"/pulp/content/past/{there}")


@pytest.mark.parametrize(
    "asked",
    [
        "20260102T030404Z/", "29991231T235959Z/", "20260231T000000Z/", "20260102T0304Z/", "now/",
        RELEASE, f"{FIRST}/no-such-file", f"{FIRST}/{FIRST}/{RELEASE}", "20260102t030405z/",
        "%EF%BC%92%EF%BC%90260102T030405Z/",
    ],
)  # fmt: skip
def test_what_is_no_moment_with_a_checkpoint_is_404(site: Site, asked: str) -> None:
    reply = site.get(f"past/{asked}")

    assert (reply.status, reply.text) == (404, "404: Not Found")


def test_a_checkpoint_is_a_folder_like_any_other(site: Site) -> None:
    assert 'href="./dists/"' in site.get(f"past/{FIRST}/").text
    assert 'href="./a_1.0_amd64.deb"' in site.get(f"past/{FIRST}/pool/main/a/a/").text
    assert site.get(f"past/{FIRST}/pool/main/b/b/").status == 404


def test_a_distribution_that_serves_no_checkpoints_serves_the_newest(
    site: Site, made: list[Published]
) -> None:
    assert site.get(f"now/{RELEASE}").body == made[2].files[RELEASE]
    assert site.get(f"now/{FIRST}/").status == 404
