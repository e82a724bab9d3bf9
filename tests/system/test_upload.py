"""Packages of one's own: uploaded, published, and installed by apt, on whole processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import servers
from archive.debs import make_deb
from debfleet_cli.apt_client import AptClient
from debfleet_cli.client import REPOSITORIES, V3
from debfleet_cli.main import main
from system.fleet import Fleet
from system.publishing import (
    clean_update,
    distribute,
    need_apt,
    new_key,
    publish,
    serving_fleet,
)


@pytest.fixture(scope="module")
def fleet(postgres: servers.PostgresForTests, template_url: str) -> Iterator[Fleet]:
    limit = {"DEBFLEET_LARGEST_BODY_BYTES": "1000000"}
    with serving_fleet(postgres, template_url, **limit) as running:
        yield running


def test_apt_gets_what_was_uploaded_byte_by_byte(fleet: Fleet, tmp_path: Path) -> None:
    need_apt()
    debs = {
        "hello_1.0_amd64.deb": make_deb("hello", "1.0", "amd64", fields={"Depends": "lib"}),
        "lib_2.0_all.deb": make_deb("lib", "2.0", "all", encoding="zst", payload_size=200_000),
    }
    for name, body in debs.items():
        (tmp_path / name).write_bytes(body)
    broken = tmp_path / "broken.deb"
    broken.write_bytes(debs["hello_1.0_amd64.deb"][:300])
    flags = ("--repository", "ours", "--distribution", "bookworm", "--component", "main")
    files = [str(tmp_path / name) for name in debs]

    refused = fleet.command("upload", *files, str(broken), *flags, "--json", status=1)
    said = json.loads(fleet.command("upload", *files, *flags, "--json"))
    again = fleet.command("upload", *files, *flags)

    assert "broken.deb: [PLP0001]" in json.loads(refused)["error"]
    assert said["version"]["number"] == 1
    assert "unchanged: ours holds them already" in again
    with fleet.client() as api:
        repository = api.find(REPOSITORIES, "ours")
        assert repository is not None
        service = new_key(fleet, api, "uploads")
        publication = publish(api, repository, signing_service=service["pulp_href"])
        served = distribute(api, "ours", publication=publication["pulp_href"])
    client = AptClient(tmp_path / "apt")
    client.add_source("ours", served["base_url"], "bookworm", "main", key=service["public_key"])
    clean_update(client)
    installed = {file.read_bytes() for file in client.install_download_only("hello")}
    assert installed == set(debs.values())


def test_a_user_of_one_repository_uploads_into_just_that(
    fleet: Fleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = []
    for name in ("one", "two"):
        files.append(str(tmp_path / f"{name}.deb"))
        (tmp_path / f"{name}.deb").write_bytes(make_deb(name, "1.0", "all"))
    with fleet.client() as api:
        repository = api.post(REPOSITORIES, {"name": "theirs"})
        user = api.post(V3 + "users/", {"username": "ada", "password": "a long password"})
        grant = {"role": "deb.aptrepository_owner", "content_object": repository["pulp_href"]}
        api.post(user["pulp_href"] + "roles/", grant)
    monkeypatch.setenv("DEBFLEET_API_URL", fleet.url)
    monkeypatch.setenv("DEBFLEET_USERNAME", "ada")
    monkeypatch.setenv("DEBFLEET_PASSWORD", "a long password")

    status = main(["upload", *files, "--repository", "theirs", "--component", "main", "--json"])

    assert status == 0
    said = json.loads(capsys.readouterr().out)
    assert said["version"]["number"] == 2
    assert len(said["packages"]) == 2


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_beyond_the_limit_is_answered_in_json_on_a_real_connection(
    fleet: Fleet, is_chunked: bool
) -> None:
    body = bytes(4_000_000)
    with fleet.client() as api:
        auth = (api.access.username, str(api.access.password))
    asked = httpx.Request("POST", fleet.url + V3 + "artifacts/", files={"file": ("big", body)})
    content = asked.read()
    headers = {"Content-Type": asked.headers["Content-Type"]}

    answer = httpx.post(
        asked.url,
        content=iter([content]) if is_chunked else content,
        headers=headers,
        auth=auth,
        trust_env=False,
        timeout=60,
    )

    assert answer.status_code == 413
    assert "1000000 bytes" in answer.json()["detail"]
