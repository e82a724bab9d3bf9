"""Source packages over the API: fields, filters, hrefs, and what modify takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from api_client import V3, ApiClient
from archive.model import Archive, Dist, Pkg, Source
from archive.upstream import Upstream
from debfleet.db import versions
from debfleet_worker.chores import CHORES
from sync_flow import Flow

Write = Callable[..., Archive]
CONTENT = f"{V3}content/deb/"
COMMON = {"pulp_href", "prn", "pulp_created", "pulp_last_updated", "pulp_labels", "vuln_report"}
FOO = Source(
    "foo",
    "1:2.0-1",
    binary="foo, libfoo",
    fields={
        "Vcs-Svn": "svn://h/foo",
        "Build-Depends": "debhelper (>= 13)",
        "Homepage": "http://h/",
    },
)


@pytest.fixture
def archive(write: Write) -> Archive:
    dists = [
        Dist("stable", {"main": [Pkg("a")]}, sources={"main": [FOO, Source("bar", "3.0")]}),
        Dist("testing", {"main": [Pkg("a")]}, sources={"main": [FOO]}),
    ]
    return write(*dists)


@pytest.fixture
def version(flow: Flow, upstream: Upstream, archive: Archive) -> str:
    """The version's href after a sync on demand."""
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, distributions="stable testing", sync_sources=True, policy="on_demand")
    done = flow.sync()
    assert done.state == "completed", done.error
    return f"{V3}repositories/deb/apt/{flow.repository['uuid']}/versions/1/"


def listed(api: ApiClient, endpoint: str, **query: str) -> list[dict[str, Any]]:
    body = api.get(f"{CONTENT}{endpoint}/", query_string=query).json
    assert body is not None
    assert body["count"] == len(body["results"])
    found: list[dict[str, Any]] = body["results"]
    return found


def test_the_fields_of_a_source_package(api: ApiClient, version: str, archive: Archive) -> None:
    [foo] = listed(api, "source_packages", source="foo", repository_version=version)

    dsc = "pool/main/f/foo/foo_2.0-1.dsc"
    assert foo["relative_path"] == dsc
    assert foo["sha256"] == sha256(archive.source_files[dsc]).hexdigest()
    assert foo["artifacts"] == {
        path: None for path in archive.source_files if path.startswith("pool/main/f/")
    }
    assert (foo["source"], foo["version"], foo["binary"]) == ("foo", "1:2.0-1", "foo, libfoo")
    assert (foo["format"], foo["vcs_snv"]) == ("3.0 (quilt)", "svn://h/foo")
    assert foo["build_depends"] == "debhelper (>= 13)"
    assert foo["build_depends_indep"] is None
    assert foo["prn"].startswith("prn:deb.sourcepackage:")
    assert foo["pulp_href"].startswith(f"{CONTENT}source_packages/")
    assert api.get(foo["pulp_href"]).json == foo


def test_the_artifacts_of_a_source_package_are_named_once_they_are_stored(
    api: ApiClient, flow: Flow, upstream: Upstream, version: str
) -> None:
    flow.set_remote(upstream, policy="immediate")
    assert flow.sync().state == "completed"

    [foo] = listed(api, "source_packages", source="foo")

    assert len(foo["artifacts"]) == 3
    assert all(href.startswith(f"{V3}artifacts/") for href in foo["artifacts"].values())
    artifact = api.get(foo["artifacts"][foo["relative_path"]]).json
    assert artifact is not None
    assert artifact["sha256"] == foo["sha256"]
    of_version = api.get(
        f"{V3}artifacts/", query_string={"repository_version": version, "sha256": foo["sha256"]}
    ).json
    assert of_version is not None
    assert of_version["count"] == 1


_FILTERS: list[tuple[dict[str, str], list[str]]] = [
    ({"version": "3.0"}, ["bar"]),
    ({"binary": "foo, libfoo"}, ["foo"]),
    ({"vcs_snv": "svn://h/foo"}, ["foo"]),
    ({"relative_path": "pool/main/b/bar/bar_3.0.dsc"}, ["bar"]),
    ({"format": "3.0 (native)"}, ["bar"]),
    ({"homepage": "http://none/"}, []),
    ({"ordering": "source"}, ["bar", "foo"]),
    ({"ordering": "-format"}, ["foo", "bar"]),
    ({"q": 'source="foo" OR version="3.0"', "ordering": "source"}, ["bar", "foo"]),
]


def test_source_packages_are_filtered_by_their_fields(api: ApiClient, version: str) -> None:
    for query, names in _FILTERS:
        found = listed(api, "source_packages", repository_version=version, **query)

        assert [unit["source"] for unit in found] == names, query


def test_source_packages_are_found_by_release_and_component(api: ApiClient, version: str) -> None:
    testing = listed(api, "releases", distribution="testing")[0]["pulp_href"]
    stable = listed(api, "release_components", distribution="stable")[0]["pulp_href"]

    of_release = listed(api, "source_packages", release=f"{testing},{version}")
    of_component = listed(api, "source_packages", release_component=f"{stable},{version}")

    assert [unit["source"] for unit in of_release] == ["foo"]
    assert {unit["source"] for unit in of_component} == {"foo", "bar"}


def test_the_places_of_source_packages(api: ApiClient, version: str) -> None:
    [foo] = listed(api, "source_packages", source="foo")

    links = listed(api, "source_release_components", repository_version=version)
    of_foo = listed(api, "source_release_components", source_package=foo["pulp_href"])
    stable = listed(api, "release_components", distribution="stable")[0]["pulp_href"]
    of_stable = listed(api, "source_release_components", release_component=stable)

    assert len(links) == 3
    assert set(links[0]) == COMMON | {"source_package", "release_component"}
    assert {link["source_package"] for link in of_foo} == {foo["pulp_href"]}
    assert len(of_foo) == len(of_stable) == 2
    assert links[0]["prn"].startswith("prn:deb.sourcepackagereleasecomponent:")
    assert api.get(links[0]["pulp_href"]).json == links[0]
    assert listed(api, "package_release_components", repository_version=version)


def test_the_index_of_sources_names_its_release_file_and_its_files(
    api: ApiClient, version: str
) -> None:
    path = "dists/stable/main/source/Sources"

    [index] = listed(api, "source_indices", relative_path=path)

    assert set(index) == COMMON | {"artifacts", "component", "relative_path", "release"}
    assert (index["component"], index["relative_path"]) == ("main", path)
    assert set(index["artifacts"]) == {path, f"{path}.gz", f"{path}.xz"}
    release_file = api.get(index["release"]).json
    assert release_file is not None
    assert release_file["distribution"] == "stable"
    assert listed(api, "source_indices", sha256="00") == []
    assert len(listed(api, "source_indices", component="main")) == 2


def test_an_index_that_no_version_holds_still_names_a_release_file(
    api: ApiClient, flow: Flow, version: str
) -> None:
    remove_foo(api, flow, version)
    flow.db.run(lambda tx: versions.delete_version(tx, flow.repository["id"], 1))

    [index] = listed(api, "source_indices", relative_path="dists/stable/main/source/Sources")

    assert api.get(index["release"]).status_code == 200
    assert listed(api, "source_indices", orphaned_for="0")


def test_a_version_counts_sources_and_links_to_their_lists(api: ApiClient, version: str) -> None:
    body = api.get(version).json
    assert body is not None

    present = body["content_summary"]["present"]

    assert present["deb.source_package"]["count"] == 2
    assert present["deb.source_package_release_component"]["count"] == 3
    assert present["deb.source_index"]["count"] == 2
    for kind in ("source_package", "source_package_release_component", "source_index"):
        got = api.get(present[f"deb.{kind}"]["href"]).json
        assert got is not None
        assert got["count"] == present[f"deb.{kind}"]["count"]


def test_the_list_of_all_content_has_sources(api: ApiClient, version: str) -> None:
    body = api.get(
        f"{V3}content/",
        query_string={"repository_version": version, "pulp_type": "deb.source_package"},
    ).json

    assert body is not None
    assert body["count"] == 2
    assert len(body["results"][0]["artifacts"]) in (2, 3)


def remove_foo(api: ApiClient, flow: Flow, version: str) -> None:
    """Make version 2 by naming the source package's href."""
    [foo] = listed(api, "source_packages", source="foo")
    repository = version.removesuffix("versions/1/")
    api.task(api.post(f"{repository}modify/", {"remove_content_units": [foo["pulp_href"]]}))
    with flow.db.transaction() as tx:
        row = tx.execute("select id from tasks order by id desc limit 1").fetchone()
    assert row is not None
    crew = replace(flow.crew, chores=CHORES)
    done = Flow(flow.db, crew, flow.repository).go_on(row["id"])
    assert done.state == "completed", done.error


def test_modify_takes_hrefs_of_source_packages(api: ApiClient, flow: Flow, version: str) -> None:
    repository = version.removesuffix("versions/1/")

    remove_foo(api, flow, version)

    assert flow.sources() == {("main", "bar", "3.0")}
    gone = listed(api, "source_packages", repository_version_removed=f"{repository}versions/2/")
    assert [unit["source"] for unit in gone] == ["foo"]


def test_a_forged_href_of_a_source_package_is_refused(
    api: ApiClient, flow: Flow, version: str
) -> None:
    link = listed(api, "source_release_components")[0]
    forged = link["pulp_href"].replace("source_release_components", "source_packages")
    repository = version.removesuffix("versions/1/")

    assert api.get(forged).status_code == 404
    asked = api.post(f"{repository}modify/", {"add_content_units": [forged]})
    assert asked.status_code == 400
