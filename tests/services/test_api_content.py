"""Content over the API: fields, filters, paging, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

import pytest

import content_rows as rows
from api_client import ApiClient, running_api
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.identity import UnitIds
from debfleet.model import Kind
from debfleet.sealed import new_key
from servers import PostgresForTests

CONTENT = "/pulp/api/v3/content/deb/"
STANZA = """\
Package: thor
Version: 1.0
Architecture: ppc64
Maintainer: Some One <one@example.org>
Installed-Size: 9
Multi-Arch: foreign
Essential: no
Section: misc
Priority: optional
Bugs: https://example.org/bugs
Filename: pool/asgard/t/thor/thor_1.0_ppc64.deb
Size: 4
SHA256: {sha256}
Odd-Field: kept
Description: Thor
 A god with a hammer."""
COMMON = {"pulp_href", "prn", "pulp_created", "pulp_last_updated", "pulp_labels", "vuln_report"}
EMPTY = {"count": 0, "next": None, "previous": None, "results": []}


@dataclass(frozen=True)
class World:
    """What is in the database, by href."""

    ids: UnitIds
    repository: str
    packages: list[int]
    thor: int
    components: list[int]
    release: int
    release_file: int
    lists: dict[str, int]
    links: dict[int, set[int]]

    def version(self, number: int) -> str:
        return f"{self.repository}versions/{number}/"

    def href(self, kind: Kind, endpoint: str, id: int, list_id: int = 0) -> str:
        return f"{CONTENT}{endpoint}/{self.ids.uuid(kind, id, list_id)}/"

    def package(self, id: int) -> str:
        return self.href(Kind.PACKAGE, "packages", id)


@pytest.fixture(scope="module")
def db(postgres: PostgresForTests, template_url: str) -> Iterator[Database]:
    """One database for the whole module: few tests here write, and they tidy up."""
    url = postgres.database(template_url)
    with Database(url, name="tests") as opened:
        yield opened
    postgres.drop(url)


@pytest.fixture(scope="module")
def api(db: Database) -> Iterator[ApiClient]:
    """The API on that database."""
    with running_api(Settings(database_url=db.url, secret_key=new_key())) as client:
        yield client


@pytest.fixture(scope="module")
def world(db: Database) -> World:
    """50 packages and thor; version 1 has them, version 2 half of them and the links."""
    with db.transaction() as tx:
        key = tx.execute("select href_key from installation").fetchone()
        assert key is not None
        packages = rows.add_packages(tx, 50)
        digest = sha256(b"thor").digest()
        thor = tx.execute(
            """insert into packages (digest, name, version, architecture, section, priority,
                                     multi_arch, relative_path, size, sha256, same_key, stanza)
               values (md5('thor')::uuid, 'thor', '1.0', 'ppc64', 'misc', 'optional', 'foreign',
                       'pool/asgard/t/thor/thor_1.0_ppc64.deb', 4, %s, 0, %s) returning id""",
            (digest, STANZA.format(sha256=digest.hex())),
        ).fetchone()
        assert thor is not None
        rows.add_artifact(tx, b"r" * 32, 7)
        components = [
            rows.add_component(tx, "bookworm", "main"),
            rows.add_component(tx, "bookworm", "updates/main"),
            rows.add_component(tx, "trixie", "main"),
        ]
        lists = {
            name: rows.link_list(tx, component, "amd64")
            for name, component in zip(("main", "updates", "trixie"), components, strict=True)
        }
        release = rows.add_release(tx, "bookworm")
        rows.add_release(tx, "trixie")
        files = {"dists/bookworm/InRelease": b"r" * 32, "dists/bookworm/Release": b"s" * 32}
        release_file = rows.add_release_file(tx, "bookworm", files)
        links = {
            lists["main"]: set(packages[30:]),
            lists["updates"]: set(packages[40:]),
            lists["trixie"]: set(packages[25:28]),
        }
        second = {
            rows.unit_list(tx, Kind.PACKAGE): packages[25:],
            rows.unit_list(tx, Kind.RELEASE_COMPONENT): components,
            rows.unit_list(tx, Kind.RELEASE): [release, release + 1],
            rows.unit_list(tx, Kind.RELEASE_FILE): [release_file],
            **links,
        }
        repository = rows.add_repository(tx, "one")
        first = {rows.unit_list(tx, Kind.PACKAGE): [*packages, thor["id"]]}
        rows.write_versions(tx, repository, [{}, first, second])
        row = tx.execute("select uuid from repositories").fetchone()
        assert row is not None
    return World(
        ids=UnitIds(bytes(key["href_key"])),
        repository=f"/pulp/api/v3/repositories/deb/apt/{row['uuid']}/",
        packages=packages,
        thor=thor["id"],
        components=components,
        release=release,
        release_file=release_file,
        lists=lists,
        links=links,
    )


def listed(api: ApiClient, endpoint: str, **query: object) -> list[str]:
    """The hrefs of a whole list."""
    body = api.get(f"{CONTENT}{endpoint}/", query_string=query).json
    assert body["next"] is None, body
    assert body["count"] == len(body["results"])
    return [unit["pulp_href"] for unit in body["results"]]


def test_a_package_shows_every_field_and_no_checksum_before_it_is_stored(
    api: ApiClient, world: World
) -> None:
    body = api.get(world.package(world.thor)).json

    assert list(body) == [
        "pulp_href", "prn", "pulp_created", "pulp_last_updated", "pulp_labels", "vuln_report",
        "artifact", "relative_path", "md5", "sha1", "sha224", "sha256", "sha384", "sha512",
        "package", "source", "version", "architecture", "section", "priority", "origin", "tag",
        "bugs", "essential", "build_essential", "installed_size", "maintainer",
        "original_maintainer", "description", "description_md5", "homepage", "built_using",
        "auto_built_package", "multi_arch", "breaks", "conflicts", "depends", "recommends",
        "suggests", "enhances", "pre_depends", "provides", "replaces", "signing_keys",
        "metadata_sha256",
    ]  # fmt: skip
    assert body["prn"] == f"prn:deb.package:{body['pulp_href'].rstrip('/').rpartition('/')[2]}"
    assert (body["artifact"], body["sha256"]) == (None, None)
    assert body["installed_size"] == "9"
    assert body["essential"] == "no"
    assert body["description"] == "Thor\n A god with a hammer."
    assert body["pulp_labels"] == {}
    assert len(body["metadata_sha256"]) == 64


def test_a_stored_package_shows_its_artifact(api: ApiClient, db: Database, world: World) -> None:
    digest = sha256(b"thor").digest()
    with db.transaction() as tx:
        rows.add_artifact(tx, digest, 4)

    body = api.get(world.package(world.thor)).json
    artifact = api.get(body["artifact"]).json

    assert body["sha256"] == digest.hex()
    assert artifact["size"] == 4
    assert artifact["sha256"] == digest.hex()
    assert artifact["file"] == f"artifact/{digest.hex()[:2]}/{digest.hex()[2:]}"
    with db.transaction() as tx:
        tx.execute("delete from artifacts where sha256 = %s", (digest,))


def test_packages_are_paged_newest_first(api: ApiClient, world: World) -> None:
    query = {"repository_version": world.version(2), "limit": 10, "fields": "package"}

    first = api.get(f"{CONTENT}packages/", query_string=query).json
    after = api.get(f"{CONTENT}packages/", query_string={**query, "offset": 20}).json

    assert first["count"] == 25
    assert first["results"][0] == {"package": "name-50"}
    assert len(first["results"]) == 10
    parts = urlsplit(first["next"])
    assert "offset=10" in parts.query
    assert "limit=10" in parts.query
    assert first["previous"] is None
    assert [p["package"] for p in after["results"]] == [f"name-{n}" for n in range(30, 25, -1)]
    assert after["next"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"package": "thor"}, ["thor"]),
        ({"package__in": "thor,name-3"}, ["thor", "name-3"]),
        ({"package__startswith": "name-4"}, [f"name-{n}" for n in (*range(49, 39, -1), 4)]),
        ({"package__startswith": "name_4"}, []),
        ({"package__iexact": "THOR"}, ["thor"]),
        ({"package__contains": "ho"}, ["thor"]),
        ({"package__icontains": "HO"}, ["thor"]),
        ({"package__istartswith": "TH"}, ["thor"]),
        ({"package__regex": "^t.*r$"}, ["thor"]),
        ({"package__iregex": "^T"}, ["thor"]),
        ({"architecture": "ppc64"}, ["thor"]),
        ({"section": "misc", "architecture": "ppc64"}, ["thor"]),
        ({"multi_arch": "foreign"}, ["thor"]),
        ({"installed_size": "9"}, ["thor", "name-9"]),
        ({"essential": "no"}, ["thor"]),
        ({"maintainer": "Some One <one@example.org>"}, ["thor"]),
        ({"maintainer": "Some One"}, []),
        ({"sha256": sha256(b"thor").hexdigest()}, ["thor"]),
        ({"sha256": sha256(b"thor").hexdigest().upper()}, ["thor"]),
        ({"sha256": "zz"}, []),
        ({"relative_path": "pool/p17.deb"}, ["name-17"]),
        ({"source": "source-17"}, ["name-17"]),
        ({"version": "1.0", "package": "name-5"}, ["name-5"]),
        ({"package": "100%"}, []),
        ({"q": 'package="thor" OR package="name-2"'}, ["thor", "name-2"]),
        ({"q": "package=thor AND NOT architecture=ppc64"}, []),
        ({"pulp_label_select": "a"}, []),
        ({"pulp_label_select": "!a", "package": "thor"}, ["thor"]),
    ],
)
def test_a_package_filter_finds_what_it_says(
    api: ApiClient, world: World, query: dict[str, str], expected: list[str]
) -> None:
    body = api.get(f"{CONTENT}packages/", query_string=query).json

    assert [p["package"] for p in body["results"]] == expected
    assert body["count"] == len(expected)


def test_a_package_is_shown_alike_alone_in_a_list_and_by_chosen_fields(
    api: ApiClient, world: World
) -> None:
    names = "package,version,pulp_labels,metadata_sha256,installed_size"

    whole = api.get(f"{CONTENT}packages/", query_string={"package": "thor"}).json["results"][0]
    few = api.get(f"{CONTENT}packages/", query_string={"package": "thor", "fields": names}).json

    alone = api.get(whole["pulp_href"])
    assert list(alone.json.items()) == list(whole.items())
    assert few["results"] == [{name: whole[name] for name in names.split(",")}]


def test_version_filters_give_what_is_held_added_and_removed(api: ApiClient, world: World) -> None:
    two, one = world.version(2), world.version(1)
    newest = [world.package(n) for n in reversed(world.packages)]
    gone = [world.package(n) for n in [world.thor, *reversed(world.packages[:25])]]

    assert listed(api, "packages", repository_version=two) == newest[:25]
    assert listed(api, "packages", repository_version_added=one) == [
        world.package(world.thor), *newest,
    ]  # fmt: skip
    assert listed(api, "packages", repository_version_added=two) == []
    assert listed(api, "packages", repository_version_removed=two) == gone
    assert listed(api, "packages", removed_between=f"{one},{two}") == gone
    assert listed(api, "packages", added_between=f"{world.version(0)},{two}") == newest[:25]
    assert listed(api, "packages", repository_version_removed=world.version(0)) == []
    assert (
        listed(api, "packages", repository_version=two, repository_version_added=one)
        == (newest[:25])
    )


def test_a_filter_and_a_version_together(api: ApiClient, world: World) -> None:
    query = {"repository_version": world.version(2), "architecture": "amd64"}

    found = listed(api, "packages", **query)

    assert found == [world.package(n) for n in reversed(world.packages[25:]) if n % 3 == 0]


def test_a_version_can_be_named_by_url_and_by_prn(api: ApiClient, world: World) -> None:
    name = api.get(world.version(2)).json["prn"]

    for reference in (name, f"https://elsewhere:1{world.version(2)}"):
        assert len(listed(api, "packages", repository_version=reference)) == 25


def test_ordering_sorts_and_unknown_orderings_are_refused(api: ApiClient, world: World) -> None:
    query = {"repository_version": world.version(1), "fields": "package", "limit": 2}
    path = f"{CONTENT}packages/"

    by_name = api.get(path, query_string={**query, "ordering": "-package"}).json["results"]
    oldest = api.get(path, query_string={**query, "ordering": "pulp_created"}).json["results"]
    newest = api.get(path, query_string={**query, "ordering": "-pulp_created"}).json["results"]
    by_field = api.get(path, query_string={**query, "ordering": "-bugs,package"}).json["results"]
    refused = api.get(path, query_string={"ordering": "custom"})

    assert [p["package"] for p in by_name] == ["thor", "name-9"]
    assert [p["package"] for p in oldest] == ["name-1", "name-2"]
    assert [p["package"] for p in newest] == ["thor", "name-50"]
    assert len(by_field) == 2
    assert refused.status_code == 400
    assert "ordering" in refused.json


@pytest.mark.parametrize(
    "ordering",
    [
        "content/deb/release_files/?ordering=distribution,components,-architectures",
        "content/deb/releases/?ordering=-description",
        "content/deb/packages/?ordering=pulp_type",
        "signing-services/?ordering=-pubkey_fingerprint,public_key",
        "contentguards/core/rbac/?ordering=description,pulp_type",
        "users/1/roles/?ordering=description,pk",
    ],
)
def test_lists_are_ordered_by_what_pulp_orders_them_by(api: ApiClient, ordering: str) -> None:
    assert api.get(f"/pulp/api/v3/{ordering}").status_code == 200


def test_units_by_their_hrefs_prns_and_ids(api: ApiClient, world: World) -> None:
    hrefs = [world.package(n) for n in (world.packages[3], world.thor)]
    uuids = [h.rstrip("/").rpartition("/")[2] for h in hrefs]
    prns = [f"prn:deb.package:{u}" for u in uuids]
    stranger = world.href(Kind.RELEASE, "releases", world.release)

    for name, values in (("pulp_href__in", hrefs), ("prn__in", prns), ("pulp_id__in", uuids)):
        assert listed(api, "packages", **{name: ",".join(values)}) == hrefs[::-1]
    assert listed(api, "packages", pulp_href__in=stranger) == []
    assert api.get(f"{CONTENT}packages/", query_string={"pulp_id__in": "x"}).status_code == 400


def test_packages_of_a_release_and_of_a_release_component(api: ApiClient, world: World) -> None:
    release = world.href(Kind.RELEASE, "releases", world.release)
    component = world.href(Kind.RELEASE_COMPONENT, "release_components", world.components[1])
    two = world.version(2)

    of_release = listed(api, "packages", release=f"{release},{two}")
    of_latest = listed(api, "packages", release=f"{release},{world.repository}")
    of_component = listed(api, "packages", release_component=f"{component},{two}")
    not_there = listed(api, "packages", release=f"{release},{world.version(1)}")
    no_component = listed(api, "packages", release_component=f"{component},{world.version(1)}")
    filtered = listed(api, "packages", release=f"{release},{two}", architecture="all")

    assert of_release == [world.package(n) for n in reversed(world.packages[30:])]
    assert of_latest == of_release
    assert of_component == [world.package(n) for n in reversed(world.packages[40:])]
    assert not_there == []
    assert no_component == []
    assert filtered == [world.package(n) for n in reversed(world.packages[30:]) if n % 3 == 2]


def test_releases_and_components_of_a_package(api: ApiClient, world: World) -> None:
    package = world.package(world.packages[45])
    two = world.version(2)

    releases = listed(api, "releases", package=f"{package},{two}")
    components = listed(api, "release_components", package=f"{package},{two}")
    elsewhere = listed(api, "releases", package=f"{package},{world.version(1)}")

    assert releases == [world.href(Kind.RELEASE, "releases", world.release)]
    assert components == [
        world.href(Kind.RELEASE_COMPONENT, "release_components", n)
        for n in reversed(world.components[:2])
    ]
    assert elsewhere == []


def test_links_name_their_package_and_component(api: ApiClient, world: World) -> None:
    path = f"{CONTENT}package_release_components/"
    component = world.href(Kind.RELEASE_COMPONENT, "release_components", world.components[0])
    package = world.package(world.packages[45])
    two = {"repository_version": world.version(2), "limit": 100}

    every = api.get(path, query_string=two).json
    of_component = api.get(path, query_string={**two, "release_component": component}).json
    of_package = api.get(path, query_string={"package": package}).json
    of_both = api.get(path, query_string={"package": package, "release_component": component}).json
    none = api.get(path, query_string={"repository_version": world.version(1)}).json
    one = api.get(every["results"][0]["pulp_href"]).json
    given = api.get(path, query_string={"pulp_href__in": one["pulp_href"]}).json

    assert every["count"] == sum(len(units) for units in world.links.values())
    assert set(every["results"][0]) == COMMON | {"package", "release_component"}
    assert of_component["count"] == 20
    assert {u["release_component"] for u in of_component["results"]} == {component}
    assert (of_package["count"], of_both["count"]) == (2, 1)
    assert of_both["results"][0]["package"] == package
    assert none == EMPTY
    assert one == every["results"][0]
    assert given["results"] == [one]
    assert (
        api.get(path, query_string={"ordering": "index_architecture", "limit": 3}).status_code
        == 200
    )


def test_a_link_that_no_version_holds_is_not_found(api: ApiClient, world: World) -> None:
    href = world.href(
        Kind.PACKAGE_RELEASE_COMPONENT,
        "package_release_components", world.packages[0], world.lists["main"],
    )  # fmt: skip

    answer = api.get(href)

    assert answer.status_code == 404
    assert answer.json == {"detail": "No PackageReleaseComponent matches the given query."}


def test_a_release_component_shows_its_plain_name(api: ApiClient, world: World) -> None:
    href = world.href(Kind.RELEASE_COMPONENT, "release_components", world.components[1])

    body = api.get(href).json

    assert set(body) == COMMON | {"component", "distribution", "plain_component"}
    assert (body["component"], body["plain_component"]) == ("updates/main", "main")
    assert listed(api, "release_components", component="main", distribution="bookworm") == [
        world.href(Kind.RELEASE_COMPONENT, "release_components", world.components[0])
    ]


def test_a_release_file_shows_its_files_and_which_are_stored(api: ApiClient, world: World) -> None:
    body = api.get(world.href(Kind.RELEASE_FILE, "release_files", world.release_file)).json

    fields = {"codename", "suite", "distribution", "relative_path", "artifacts"}
    assert set(body) == COMMON | fields
    assert set(body["artifacts"]) == {"dists/bookworm/InRelease", "dists/bookworm/Release"}
    assert body["artifacts"]["dists/bookworm/Release"] is None
    assert api.get(body["artifacts"]["dists/bookworm/InRelease"]).json["size"] == 7
    assert len(listed(api, "release_files", codename="bookworm", suite="stable")) == 1
    assert listed(api, "release_files", sha256="00") == []


def test_a_release_shows_its_fields(api: ApiClient, world: World) -> None:
    body = api.get(world.href(Kind.RELEASE, "releases", world.release)).json

    assert {k: v for k, v in body.items() if k not in COMMON} == {
        "codename": "bookworm", "suite": "stable", "distribution": "bookworm", "version": None,
        "origin": None, "label": None, "description": None,
    }  # fmt: skip


def test_all_kinds_are_one_list(api: ApiClient, world: World) -> None:
    query = {"repository_version": world.version(2), "limit": 1000}
    path = "/pulp/api/v3/content/"

    body = api.get(path, query_string=query).json
    packages = api.get(path, query_string={**query, "pulp_type": "deb.package"}).json
    two_kinds = api.get(
        path, query_string={**query, "pulp_type__in": "deb.release,deb.package"}
    ).json
    oldest = api.get(path, query_string={**query, "ordering": "pulp_created", "limit": 1}).json
    one = api.get(path, query_string={"pulp_href__in": world.package(world.thor)}).json

    links = sum(len(units) for units in world.links.values())
    assert body["count"] == links + 25 + 3 + 2 + 1
    assert len(body["results"]) == body["count"]
    assert set(body["results"][0]) == COMMON | {"artifacts"}
    assert packages["count"] == 25
    assert packages["results"][0]["artifacts"] == {"pool/p50.deb": None}
    assert two_kinds["count"] == 27
    assert oldest["results"][0]["prn"].startswith("prn:deb.releasefile:")
    assert one["count"] == 1
    assert api.get(path, query_string={"pulp_type": "deb.nothing"}).status_code == 400


def test_kinds_that_are_not_synced_yet_have_empty_lists(api: ApiClient, world: World) -> None:
    for endpoint in (
        "generic_contents", "installer_packages", "installer_file_indices", "source_packages",
        "source_indices", "source_release_components", "release_architectures", "package_indices",
    ):  # fmt: skip
        query = {"repository_version": world.version(2), "limit": 2}
        assert api.get(f"{CONTENT}{endpoint}/", query_string=query).json == EMPTY


def test_orphans_are_those_in_no_version(api: ApiClient, db: Database, world: World) -> None:
    with db.transaction() as tx:
        extra = rows.add_packages(tx, 1)
        tx.execute("update packages set last_wanted = now() - interval '1 hour'")
        tx.execute("update artifacts set last_wanted = now() - interval '1 hour'")

    assert listed(api, "packages", orphaned_for="30") == [world.package(extra[0])]
    assert listed(api, "packages", orphaned_for="90") == []
    assert api.get(f"{CONTENT}packages/", query_string={"orphaned_for": "x"}).status_code == 400
    with db.transaction() as tx:
        tx.execute("delete from packages where id = any(%s)", (extra,))


def test_artifacts_are_listed_and_filtered(api: ApiClient, world: World) -> None:
    path = "/pulp/api/v3/artifacts/"

    body = api.get(path).json
    held = api.get(path, query_string={"repository_version": world.version(2)}).json
    none = api.get(path, query_string={"repository_version": world.version(1)}).json

    assert body["count"] == 1
    artifact = body["results"][0]
    assert set(artifact) == {
        "pulp_href", "prn", "pulp_created", "pulp_last_updated", "file", "size", "md5", "sha1",
        "sha224", "sha256", "sha384", "sha512",
    }  # fmt: skip
    assert held["results"] == [artifact]
    assert api.delete(artifact["pulp_href"]).status_code == 403
    assert none == EMPTY
    assert api.get(path, query_string={"sha256": artifact["sha256"]}).json["count"] == 1
    assert api.get(path, query_string={"sha256": "00"}).json["count"] == 0
    assert api.get(path, query_string={"md5": "00"}).json["count"] == 0
    assert api.get(path, query_string={"pulp_href__in": artifact["pulp_href"]}).json["count"] == 1
    assert api.get(path, query_string={"ordering": "-size"}).json["count"] == 1
    assert api.get(artifact["pulp_href"]).json == artifact


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"repository_version": "x"}, ["URI not valid: x"]),
        ({"foo": "1"}, {"errors": ["Invalid Filter: 'foo'"]}),
        ({"package__foo": "1"}, {"errors": ["Invalid Filter: 'package__foo'"]}),
        ({"release": "x"}, None),
        ({"release_component": "a,"}, None),
        ({"release": "x,y"}, ["URI not valid: x"]),
        ({"package__regex": "("}, None),
        ({"added_between": "x"}, None),
    ],
)
def test_a_bad_filter_is_refused(
    api: ApiClient, world: World, query: dict[str, str], answer: object
) -> None:
    got = api.get(f"{CONTENT}packages/", query_string=query)

    assert got.status_code == 400
    if answer is not None:
        assert got.json == answer


def test_a_version_that_does_not_exist_is_refused_by_name(api: ApiClient, world: World) -> None:
    path = world.version(99)

    got = api.get(f"{CONTENT}packages/", query_string={"repository_version": path})

    assert got.status_code == 400
    assert got.json == [f"URI {path} not found for repositoryversion."]


def test_forged_and_unknown_ids_are_not_found(api: ApiClient, world: World) -> None:
    href = world.package(world.thor)
    forged = href[:-3] + ("0" if href[-3] != "0" else "1") + href[-2:]
    unknown = world.package(10_000_000)

    for path in (forged, unknown):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer.json == {"detail": "No Package matches the given query."}
    assert api.get(f"{CONTENT}packages/x/").json == {"detail": "Not found."}
    assert api.get(f"{CONTENT}nothing/").status_code == 404
    wrong_kind = href.replace("/packages/", "/releases/")
    assert api.get(wrong_kind).status_code == 404


def test_content_cannot_be_deleted(api: ApiClient, world: World) -> None:
    answer = api.delete(world.package(world.thor))

    assert answer.status_code == 405
    assert answer.json == {"detail": 'Method "DELETE" not allowed.'}
