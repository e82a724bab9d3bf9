"""`debfleet publish`, `sources` and `rollback` against a whole fleet."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.client import Api
from system.fleet import Fleet, add_pair, running, synced

KEY = SigningKey.generate()
_APP, _OTHER = Pkg("app"), Pkg("other", architecture="all")


@dataclass(frozen=True)
class House:
    """A fleet, and an upstream whose packages a test may change."""

    fleet: Fleet
    api: Api
    upstream: Upstream

    def write(self, *packages: Pkg) -> None:
        """What upstream offers from now."""
        dists = [Dist("stable", {"main": packages, "contrib": []})]
        write_archive(self.upstream.folder, dists, key=KEY)

    def repository(self, name: str) -> dict[str, Any]:
        """A repository that holds what upstream offers now."""
        _, repository = add_pair(
            self.api, name, self.upstream.url, distributions="stable", policy="on_demand",
            gpgkey=KEY.public,
        )  # fmt: skip
        synced(self.api, repository)
        return repository

    def json(self, *argv: str, status: int = 0) -> dict[str, Any]:
        """A command with --json."""
        found: dict[str, Any] = json.loads(self.fleet.command(*argv, "--json", status=status))
        return found


@pytest.fixture(scope="module")
def house(
    postgres: servers.PostgresForTests, template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="publish-"))
    (folder / "store").mkdir()
    url = postgres.database(template_url)
    origin = {"DEBFLEET_CONTENT_ORIGIN": "http://content.example.org"}
    try:
        fleet = Fleet(url, f"file://{folder}/store", folder, environ=origin)
        upstream = Upstream(tmp_path_factory.mktemp("upstream"))
        with upstream, running(fleet), fleet.start().client() as api:
            yield House(fleet, api, upstream)
    finally:
        postgres.drop(url)
        shutil.rmtree(folder)


def _served(house: House, base_path: str) -> dict[str, Any]:
    rows = house.fleet.rows(
        "select p.uuid::text as uuid, p.number, p.kind from served s"
        " join distributions d on d.id = s.distribution join publications p on p.id = s.publication"
        " where d.base_path = %s and s.until is null",
        base_path,
    )
    return dict(rows[0])


def test_a_repository_goes_out_signed_forward_and_back(house: House) -> None:
    house.write(_APP)
    repository = house.repository("walk")

    first = house.json("publish", "walk", "--base-path", "a/walk")
    again = house.json("publish", "walk", "--base-path", "a/walk")
    house.write(_APP, _OTHER)
    synced(house.api, repository)
    text = house.fleet.command("publish", "walk", "--base-path", "a/walk")

    assert (first["outcome"], first["version"]) == ("published", 1)
    assert first["distribution"]["base_url"] == "http://content.example.org/pulp/content/a/walk/"
    assert (again["outcome"], again["publication"]) == ("unchanged", first["publication"])
    assert "published: walk, version 2" in text
    assert "debfleet sources a/walk" in text
    service = house.api.find("/pulp/api/v3/signing-services/", "default")
    assert service is not None
    assert house.api.get(repository["pulp_href"])["signing_service"] == service["pulp_href"]
    assert _served(house, "a/walk")["number"] == 2

    back = house.json("rollback", "a/walk")
    assert (back["outcome"], back["version"], back["before"]) == ("rolled back", 1, 2)
    assert back["publication"] != first["publication"]  # apt passes over what is older
    assert _served(house, "a/walk")["uuid"] in back["publication"]
    nothing = house.fleet.command("rollback", "a/walk", status=2)
    assert nothing == ""
    house.fleet.command("rollback", "a/walk", "--to", "2")
    assert _served(house, "a/walk")["number"] == 2
    house.fleet.command("rollback", "a/walk", "--to", "9", status=2)

    same = house.json("publish", "walk", "--base-path", "a/walk")
    house.fleet.command("rollback", "a/walk", "--to", "1")
    forward = house.json("publish", "walk", "--base-path", "a/walk")
    assert (same["outcome"], same["version"]) == ("unchanged", 2)
    assert (forward["outcome"], forward["version"]) == ("published", 2)
    house.write(_APP, _OTHER, Pkg("third"))
    synced(house.api, repository)
    follows = house.json("publish", "walk", "--base-path", "a/walk")
    assert _served(house, "a/walk")["uuid"] in follows["publication"]


def test_the_sources_of_a_base_path_hold_its_key(house: House) -> None:
    house.write(_APP)
    house.repository("lines")
    house.fleet.command("publish", "lines")
    public = house.fleet.command("keys", "export")

    text = house.fleet.command("sources", "lines")
    elsewhere = house.fleet.command("sources", "lines", "--origin", "https://deb.example.org/")

    head, _, key = text.partition("Signed-By:\n")
    assert head == (
        "Types: deb\nURIs: http://content.example.org/pulp/content/lines/\n"
        "Suites: stable\nComponents: contrib main\n"
    )
    assert [line[1:].replace(".", "", line == " .") for line in key.splitlines()] == (
        public.strip().splitlines()
    )
    assert "URIs: https://deb.example.org/pulp/content/lines/\n" in elsewhere


def test_each_kind_of_publication_has_sources_of_its_own(house: House) -> None:
    house.write(_APP)
    house.repository("kinds")

    house.json("publish", "kinds", "--simple", "--base-path", "kinds-simple")
    house.json("publish", "kinds", "--verbatim", "--base-path", "kinds-verbatim")
    fixed = house.json("publish", "kinds", "--version", "1", "--base-path", "kinds-fixed")
    again = house.json("publish", "kinds", "--verbatim", "--base-path", "kinds-verbatim")

    assert again["outcome"] == "unchanged"
    assert _served(house, "kinds-verbatim")["kind"] == "verbatim"
    assert house.api.get(fixed["distribution"]["href"])["publication"] == fixed["publication"]
    simple = house.fleet.command("sources", "kinds-simple")
    assert "\nSuites: default\nComponents: all\n" in simple
    text = house.fleet.command("sources", "kinds-verbatim")
    assert "\nSuites: stable\nComponents: contrib main\n" in text
    body = re.sub(r"(?m)^ ?\.?", "", text.partition("Signed-By:\n")[2]).strip()
    assert body == re.sub(r"(?m)^ ?\.?", "", KEY.public).strip()


def test_unsigned_is_said(house: House) -> None:
    house.write(_APP)
    house.repository("bare")

    house.fleet.command("publish", "bare", "--unsigned")

    assert "\nTrusted: yes\n" in house.fleet.command("sources", "bare")
    house.fleet.command("publish", "bare", "--signing-service", "nobody", status=2)


def test_a_base_path_does_not_change_hands_by_a_slip(house: House) -> None:
    house.write(_APP)
    house.repository("mine")
    house.repository("yours")
    house.fleet.command("publish", "mine", "--base-path", "shared")

    house.fleet.command("publish", "yours", "--base-path", "shared", status=2)
    house.fleet.command("publish", "yours", "--base-path", "shared/below", status=2)
    taken = house.json("publish", "yours", "--base-path", "shared", "--update")

    assert taken["outcome"] == "published"
    assert _served(house, "shared")["uuid"] in taken["publication"]


def test_a_base_path_follows_a_repository_that_publishes_by_itself(house: House) -> None:
    house.write(_APP)
    repository = house.repository("auto")
    made = house.json("publish", "auto", "--autopublish")
    house.write(_APP, _OTHER)

    task = synced(house.api, repository)

    assert [href for href in task["created_resources"] if "/publications/" in href]
    assert _served(house, "auto")["number"] == 2
    assert house.api.get(made["distribution"]["href"])["repository"] == repository["pulp_href"]
    house.fleet.command("publish", "auto", "--verbatim", "--base-path", "other", status=2)


def test_what_is_not_there_is_named(house: House) -> None:
    for command in ("publish", "rollback"):
        assert "no-such" in house.json(command, "no-such", status=2)["error"]
    assert house.fleet.command("sources", "no-such", status=2) == ""
