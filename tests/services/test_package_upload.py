"""Packages and what is around them, made by clients."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api_client import V3, ApiClient, a_name, made, refused
from archive.debs import make_deb
from archive.hostile import broken_debs
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.store import Store
from sync_flow import crew_of
from uploading import ARTIFACTS, PACKAGES, Desk

HELLO = make_deb("hello", "1.0", "amd64", fields={"Depends": "libc6", "Section": "misc"})
COMPONENTS = f"{V3}content/deb/release_components/"
ARCHITECTURES = f"{V3}content/deb/release_architectures/"
RELEASES = f"{V3}content/deb/releases/"
INSTALLER = f"{V3}content/deb/installer_packages/"
GENERIC = f"{V3}content/deb/generic_contents/"
LINKS = f"{V3}content/deb/package_release_components/"
BROKEN = broken_debs()
# The reader of .deb files is tested with all of them.
SOME_BROKEN = (
    "empty", "wrong magic", "cut in control", "cut in data", "gz bomb", "xz bomb", "zst bomb",
    "no control", "no Package", "Package climbs", "Version climbs", "Architecture climbs",
    "Source climbs",
)  # fmt: skip


@pytest.fixture
def desk(api: ApiClient, settings: Settings, db: Database, store: Store) -> Iterator[Desk]:
    settings = replace(settings, allowed_import_paths=("/",), largest_file_bytes=1 << 20)
    with crew_of(settings, db, store) as crew:
        yield Desk(api, db, crew)


def present(desk: Desk, version: str) -> dict[str, int]:
    """Units of a version, by type."""
    summary = (desk.api.get(version).json or {})["content_summary"]["present"]
    return {name: entry["count"] for name, entry in summary.items()}


def latest(desk: Desk, repository: dict[str, Any]) -> str:
    found = desk.api.get(repository["pulp_href"]).json or {}
    return str(found["latest_version_href"])


def listed(desk: Desk, path: str, version: str) -> list[dict[str, Any]]:
    found = desk.api.get(f"{path}?repository_version={version}").json or {}
    return list(found["results"])


def test_a_package_uploaded_to_a_repository_comes_with_its_place(desk: Desk) -> None:
    repository = desk.api.repository()

    task = desk.done(
        desk.form(
            PACKAGES,
            HELLO,
            repository=repository["pulp_href"],
            distribution="bookworm",
            component="main",
        )
    )

    version = latest(desk, repository)
    assert version.endswith("/versions/1/")
    assert task["name"] == "pulpcore.app.tasks.base.general_create"
    assert present(desk, version) == {
        "deb.package": 1,
        "deb.release_component": 1,
        "deb.release_architecture": 1,
        "deb.package_release_component": 1,
    }
    [package] = listed(desk, PACKAGES, version)
    [component] = listed(desk, COMPONENTS, version)
    [architecture] = listed(desk, ARCHITECTURES, version)
    assert task["result"] == package
    assert set(task["created_resources"]) == {
        version,
        package["pulp_href"],
        component["pulp_href"],
        architecture["pulp_href"],
    }
    assert package["relative_path"] == "pool/h/hello/hello_1.0_amd64.deb"
    assert package["sha256"] == hashlib.sha256(HELLO).hexdigest()
    assert (package["depends"], package["section"]) == ("libc6", "misc")
    assert (component["distribution"], component["component"]) == ("bookworm", "main")
    assert architecture["architecture"] == "amd64"
    assert (desk.api.get(version).json or {})["base_version"] is None


def test_nothing_said_of_the_place_is_the_reference_s_place(desk: Desk) -> None:
    repository = desk.api.repository()

    desk.done(desk.form(PACKAGES, HELLO, repository=repository["prn"]))

    [component] = listed(desk, COMPONENTS, latest(desk, repository))
    assert (component["distribution"], component["component"]) == ("pulp", "upload")


def test_a_package_for_all_architectures_makes_none(desk: Desk) -> None:
    repository = desk.api.repository()

    desk.done(desk.form(PACKAGES, make_deb("x", "1", "all"), repository=repository["pulp_href"]))

    assert "deb.release_architecture" not in present(desk, latest(desk, repository))


def test_the_same_package_twice_is_the_same_unit_and_no_new_version(desk: Desk) -> None:
    repository = desk.api.repository()
    first = desk.done(desk.form(PACKAGES, HELLO, repository=repository["pulp_href"]))

    again = desk.done(desk.form(PACKAGES, HELLO, repository=repository["pulp_href"]))

    assert again["created_resources"] == [first["result"]["pulp_href"]]
    assert again["result"] == first["result"]
    assert latest(desk, repository).endswith("/versions/1/")


@pytest.mark.parametrize("way", ["artifact", "upload", "file_url"])
def test_a_package_may_come_in_other_ways(desk: Desk, tmp_path: Path, way: str) -> None:
    if way == "artifact":
        value = made(desk.form(ARTIFACTS, HELLO))["pulp_href"]
    elif way == "upload":
        value = desk.upload(HELLO, 500)
    else:
        (tmp_path / "hello 1.deb").write_bytes(HELLO)
        value = f"file://{tmp_path}/hello%201.deb"
        desk.api.state.settings = replace(
            desk.api.state.settings, allowed_import_paths=("/",)
        )  # as the worker has it

    task = desk.done(desk.api.post(PACKAGES, {way: value}))

    [href] = task["created_resources"]
    package = desk.api.get(href).json or {}
    assert package["sha256"] == hashlib.sha256(HELLO).hexdigest()
    assert package["artifact"] is not None
    if way == "upload":
        assert desk.api.get(value).status_code == 404


def test_a_package_is_fetched_from_a_server_by_a_remote_s_rules(
    desk: Desk, upstream: Upstream, tmp_path: Path
) -> None:
    folder = Path(upstream.folder)
    (folder / "hello.deb").write_bytes(HELLO)
    (folder / "big.deb").write_bytes(bytes(2 << 20))

    task = desk.done(desk.api.post(PACKAGES, {"file_url": f"{upstream.url}/hello.deb"}))
    gone = desk.failure(desk.api.post(PACKAGES, {"file_url": f"{upstream.url}/gone.deb"}))
    big = desk.failure(desk.api.post(PACKAGES, {"file_url": f"{upstream.url}/big.deb"}))
    host = desk.failure(desk.api.post(PACKAGES, {"file_url": "http://169.254.169.254/a.deb"}))

    assert task["result"]["sha256"] == hashlib.sha256(HELLO).hexdigest()
    assert "404" in gone
    assert "big.deb" in gone + big
    assert "expected 1048576 bytes" in big
    assert "is refused" in host


@pytest.mark.parametrize("what", SOME_BROKEN)
def test_a_broken_package_fails_the_task_with_its_name_and_the_reason(
    shared: Desk, what: str
) -> None:
    body, reason = BROKEN[what]
    repository = shared.api.repository()
    answer = shared.api.plain.post(
        PACKAGES,
        auth=("admin", "password"),
        data={"file": (io.BytesIO(body), "bad.deb"), "repository": repository["pulp_href"]},
    )

    description = shared.failure(answer)

    assert description.startswith("[PLP0001] bad.deb: ")
    assert any(part in description for part in reason.split("|"))
    assert latest(shared, repository).endswith("/versions/0/")


def test_an_installer_package_is_no_package_and_the_other_way_round(desk: Desk) -> None:
    udeb = make_deb("x", "1", "amd64", fields={"Section": "debian-installer"})
    repository = desk.api.repository()

    assert "an installer package" in desk.failure(desk.form(PACKAGES, udeb))
    assert "no installer package" in desk.failure(desk.form(INSTALLER, HELLO))
    made = desk.done(desk.form(INSTALLER, udeb, repository=repository["pulp_href"]))

    assert made["result"]["relative_path"] == "pool/x/x/x_1_amd64.udeb"
    assert present(desk, latest(desk, repository)) == {"deb.installer_package": 1}
    assert (desk.api.get(PACKAGES).json or {})["count"] == 0


def test_any_file_may_be_content_at_a_path(desk: Desk) -> None:
    repository = desk.api.repository()
    fields = {"repository": repository["pulp_href"], "relative_path": "extras/notes.txt"}

    made = desk.done(desk.form(GENERIC, b"some notes", **fields))
    again = desk.done(desk.form(GENERIC, b"some notes", **fields))

    assert made["result"]["relative_path"] == "extras/notes.txt"
    assert again["created_resources"] == [made["result"]["pulp_href"]]
    assert present(desk, latest(desk, repository)) == {"deb.generic": 1}
    assert list(refused(desk.form(GENERIC, b"x"))) == ["relative_path"]


def test_what_is_refused_is_cleaned_up(desk: Desk, store: Store) -> None:
    body = b"no package"
    desk.failure(desk.form(PACKAGES, body))
    assert not store.missing([hashlib.sha256(body).digest()])

    desk.clean_up()

    assert store.missing([hashlib.sha256(body).digest()])


def test_cleanup_leaves_the_file_of_a_task_that_waits(desk: Desk) -> None:
    waiting = desk.form(PACKAGES, HELLO)

    desk.clean_up()

    assert desk.done(waiting)["result"]["package"] == "hello"


def test_an_upload_replaces_its_build_unless_that_is_forbidden(desk: Desk) -> None:
    repository = desk.api.repository()
    other = make_deb("hello", "1.0", "amd64", payload_size=50)
    desk.done(desk.form(PACKAGES, HELLO, repository=repository["pulp_href"]))

    forbidden = desk.form(PACKAGES, other, repository=repository["pulp_href"], overwrite="false")
    assert "Content overwrite rejected" in desk.failure(forbidden)
    desk.done(desk.form(PACKAGES, other, repository=repository["pulp_href"]))

    [package] = listed(desk, PACKAGES, latest(desk, repository))
    assert package["sha256"] == hashlib.sha256(other).hexdigest()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "non_field_errors"),
        ({"file_url": "http://127.0.0.1/x.deb", "upload": V3}, "upload"),
        ({"file_url": "ftp://127.0.0.1/x.deb"}, "file_url"),
        ({"file_url": "http://user:secret@127.0.0.1/x.deb"}, "file_url"),
        ({"file_url": "file:///etc/passwd"}, "file_url"),
        ({"file": "text"}, "file"),
        ({"artifact": f"{V3}artifacts/01234567-89ab-7cde-8f01-23456789abcd/"}, "artifact"),
        ({"relative_path": "../x.deb"}, "relative_path"),
        ({"distribution": "../x"}, "distribution"),
        ({"component": "a b"}, "component"),
        ({"downloader_config": {"url": "x"}}, "downloader_config"),
        ({"pulp_labels": {"a": "(b)"}}, "pulp_labels"),
        ({"repository": "nowhere"}, "repository"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_field_is_named(shared: Desk, fields: dict[str, Any], error: str) -> None:
    assert list(refused(shared.api.post(PACKAGES, fields))) == [error]


def test_two_sources_are_one_too_many(desk: Desk) -> None:
    answer = refused(desk.form(PACKAGES, HELLO, file_url="http://127.0.0.1/x.deb"))

    text = "Exactly one of 'file', 'file_url', 'upload' or 'artifact' must be specified."
    assert answer == {"non_field_errors": [text]}


def test_an_upload_that_is_not_whole_is_no_package_yet(desk: Desk) -> None:
    upload = made(desk.api.post(f"{V3}uploads/", {"size": 10}))["pulp_href"]

    answer = refused(desk.api.post(PACKAGES, {"upload": upload}))

    assert answer == {"upload": ["The upload is not finished: bytes 0-9 are missing."]}


def test_a_structure_is_made_by_hand(desk: Desk) -> None:
    repository = desk.api.repository()
    package = desk.done(desk.form(PACKAGES, HELLO))["created_resources"][0]
    fields = {"distribution": "bookworm", "component": "main"}
    component = desk.done(desk.api.post(COMPONENTS, fields))["result"]
    release = desk.done(
        desk.api.post(
            RELEASES,
            {"codename": "bookworm", "suite": "stable", "distribution": "bookworm"}
            | {"architectures": ["amd64", "all"], "components": ["main", "extra"]},
        )
    )
    link = made(
        desk.api.post(LINKS, {"package": package, "release_component": component["pulp_href"]})
    )
    assert desk.api.get(link["pulp_href"]).json == link

    units = [package, link["pulp_href"], *release["created_resources"], component["pulp_href"]]
    desk.done(desk.api.post(f"{repository['pulp_href']}modify/", {"add_content_units": units}))

    assert present(desk, latest(desk, repository)) == {
        "deb.package": 1,
        "deb.package_release_component": 1,
        "deb.release": 1,
        "deb.release_architecture": 1,
        "deb.release_component": 2,
    }


def test_the_same_unit_by_hand_again_is_the_same(desk: Desk) -> None:
    fields = {"distribution": "bookworm", "architecture": "amd64"}
    first = desk.done(desk.api.post(ARCHITECTURES, fields))

    again = desk.done(desk.api.post(ARCHITECTURES, fields))

    assert again["created_resources"] == first["created_resources"]
    assert again["result"]["base_architecture"] == "amd64"


def test_a_unit_by_hand_may_go_into_a_repository_at_once(desk: Desk) -> None:
    repository = desk.api.repository()
    fields = {"distribution": "bookworm", "component": "main"}

    task = desk.done(desk.api.post(COMPONENTS, fields | {"repository": repository["pulp_href"]}))

    assert task["created_resources"][0] == latest(desk, repository)
    assert task["created_resources"][1] == task["result"]["pulp_href"]


def test_a_link_by_hand_stays_until_its_package_goes(desk: Desk) -> None:
    package = desk.done(desk.form(PACKAGES, HELLO))["created_resources"][0]
    fields = {"distribution": "bookworm", "component": "main"}
    component = desk.done(desk.api.post(COMPONENTS, fields))["result"]["pulp_href"]
    link = made(desk.api.post(LINKS, {"package": package, "release_component": component}))
    found = desk.api.get(f"{LINKS}?package={package}").json or {}
    assert [row["pulp_href"] for row in found["results"]] == [link["pulp_href"]]

    desk.clean_up()

    assert desk.api.get(link["pulp_href"]).status_code == 404
    assert (desk.api.get(LINKS).json or {})["count"] == 0


@pytest.mark.parametrize(
    ("path", "fields", "error"),
    [
        (ARCHITECTURES, {"architecture": "all", "distribution": "x"}, "architecture"),
        (ARCHITECTURES, {"architecture": "amd64"}, "distribution"),
        (
            ARCHITECTURES,
            {"architecture": "amd64", "distribution": "x", "base_architecture": "i386"},
            "base_architecture",
        ),
        (COMPONENTS, {"component": "../x", "distribution": "x"}, "component"),
        (RELEASES, {"codename": "x", "distribution": "x"}, "suite"),
        (
            RELEASES,
            {"codename": "x", "suite": "x", "distribution": "x", "components": ["a b"]},
            "components",
        ),
        (LINKS, {"package": "x", "release_component": "y"}, "package"),
    ],
)
def test_a_bad_field_of_a_structure_is_named(
    shared: Desk, path: str, fields: dict[str, Any], error: str
) -> None:
    assert list(refused(shared.api.post(path, fields))) == [error]


def test_a_user_brings_files_into_their_own_repository_alone(shared: Desk) -> None:
    name = a_name()
    made(shared.api.post(f"{V3}users/", {"username": name, "password": "a long password"}))
    user = Desk(ApiClient(shared.api.app, name, "a long password"), shared.db, shared.crew)
    secret = make_deb(a_name(), "1", "amd64")
    others = shared.upload(secret)
    hidden = made(shared.form(ARTIFACTS, secret))["pulp_href"]
    assert user.api.post(f"{V3}uploads/", {"size": 10}).status_code == 403

    own, foreign = shared.api.repository(), shared.api.repository()
    users = shared.api.get(f"{V3}users/?username={name}").json or {}
    grant = {"role": "deb.aptrepository_owner", "content_object": own["pulp_href"]}
    made(shared.api.post(f"{users['results'][0]['pulp_href']}roles/", grant))
    upload = user.upload(make_deb(a_name(), "1", "amd64"))
    mine = {"repository": own["pulp_href"]}

    assert user.api.get(others).status_code == 404
    assert [u["pulp_href"] for u in (user.api.get(f"{V3}uploads/").json or {})["results"]] == [
        upload
    ]
    assert list(refused(user.api.post(PACKAGES, {"upload": others, **mine}))) == ["upload"]
    assert list(refused(user.api.post(PACKAGES, {"artifact": hidden, **mine}))) == ["artifact"]
    assert user.api.post(PACKAGES, {"upload": upload}).status_code == 403
    assert list(
        refused(user.api.post(PACKAGES, {"upload": upload, "repository": foreign["prn"]}))
    ) == ["repository"]
    package = user.done(user.api.post(PACKAGES, {"upload": upload, **mine}))["result"]
    again = user.done(user.api.post(PACKAGES, {"artifact": package["artifact"], **mine}))
    assert again["result"] == package
    unseen = shared.done(shared.form(PACKAGES, secret))["created_resources"]
    modify = f"{own['pulp_href']}modify/"
    assert list(refused(user.api.post(modify, {"add_content_units": unseen}))) == [
        "add_content_units"
    ]
    user.done(user.api.post(modify, {"add_content_units": [package["pulp_href"]]}))


@pytest.fixture(scope="module")
def shared(shared_api: ApiClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """For what leaves nothing behind that another test counts."""
    settings = shared_api.state.settings
    with (
        Database(settings.database_url, name="tests") as db,
        crew_of(settings, db, shared_api.state.store()) as crew,
    ):
        yield Desk(shared_api, db, crew)
