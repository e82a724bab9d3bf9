"""What is refused: a 400 that names the field, or a failed task that says what was wrong.

The repository is as it was after each of them, and no traceback is anybody's message.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import servers
from archive.build import write_archive
from archive.faults import Fault, html_200, status, wrong_bytes
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet_cli.client import REMOTES, REPOSITORIES, Api, Body, Refused
from system.fleet import Fleet, add_pair, finished, running, start_sync, synced

GOOD = Dist("good", {"main": [Pkg("one"), Pkg("two"), Pkg("three", architecture="arm64")]})
KEY = SigningKey.generate()
OTHER_KEY = SigningKey.generate()


@dataclass
class Place:
    """A fleet with a repository at version 1, and the upstream it came from."""

    api: Api
    upstream: Upstream
    repository: Body

    def state(self) -> tuple[str, Any]:
        """What must not change: the latest version and its content."""
        href = self.api.get(self.repository["pulp_href"])["latest_version_href"]
        return href, self.api.get(href)["content_summary"]


@pytest.fixture(scope="module")
def place(
    postgres: servers.PostgresForTests, template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One for the whole module: each test leaves it as it was, which is what it proves."""
    folder = tmp_path_factory.mktemp("bad-input")
    (folder / "fleet").mkdir()
    (folder / "store").mkdir()
    write_archive(folder / "archive", [GOOD, *_bad_dists()], key=KEY)
    database_url = postgres.database(template_url)
    fleet = Fleet(database_url, f"file://{folder / 'store'}", folder / "fleet")
    try:
        with (
            running(fleet),
            Upstream(folder / "archive") as upstream,
            fleet.start().client() as api,
        ):
            _, repository = add_pair(api, "good", upstream.url, distributions="good")
            synced(api, repository)
            yield Place(api, upstream, repository)
    finally:
        postgres.drop(database_url)


def _bad_dists() -> list[Dist]:
    def lying(name: str, **stanza: str) -> Dist:
        return Dist(name, {"main": [Pkg(f"{name}-package", stanza=stanza)]})

    return [
        lying("upwards", Filename="../../etc/passwd"),
        lying("absolute", Filename="/etc/passwd"),
        lying("wrong-file", SHA256="0" * 64),
        lying("wrong-size", Size="7"),
        Dist("no-index", {"main": [Pkg("gone")]}, absent=("main/binary-amd64/Packages*",)),
        Dist("no-components", {"main": [Pkg("x")]}, fields={"Components": ""}),
        Dist("flat/", {"": [Pkg("flat-package")]}),
    ]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (REMOTES, {"colour": "red"}, "colour"),
        (REMOTES, {"name": "good"}, "name"),
        (REMOTES, {"name": True}, "name"),
        (REMOTES, {"url": None}, "url"),
        (REMOTES, {"distributions": "  "}, "distributions"),
        (REMOTES, {"tls_validation": "perhaps"}, "tls_validation"),
        (REMOTES, {"download_concurrency": 0}, "download_concurrency"),
        (REMOTES, {"policy": "sometimes"}, "policy"),
        (REMOTES, {"gpgkey": "this is no key"}, "gpgkey"),
        (REMOTES, {"architectures": "amd64 am/d64"}, "architectures"),
        (REMOTES, {"url": "http://user:secret@example.org/"}, "url"),
        (REMOTES, {"url": "file:///etc/"}, "url"),
        (REPOSITORIES, {"name": "good"}, "name"),
        (REPOSITORIES, {"remote": "no href"}, "remote"),
        (REPOSITORIES, {"remote": "/pulp/api/v3/tasks/1/"}, "remote"),
        (REPOSITORIES, {"retain_repo_versions": 0}, "retain_repo_versions"),
        ("sync", {"remote": REMOTES + "00000000-0000-0000-0000-000000000000/"}, "remote"),
        ("sync", {"mirror": "perhaps"}, "mirror"),
        ("sync", {"speed": "high"}, "speed"),
    ],
)
def test_a_bad_field_is_a_400_that_names_it(
    place: Place, path: str, body: Body, field: str
) -> None:
    before = place.state()
    fine: dict[str, Body] = {
        REMOTES: {"name": "another", "url": "http://x.example/", "distributions": "sid"},
        REPOSITORIES: {"name": "another"},
    }
    url = place.repository["pulp_href"] + "sync/" if path == "sync" else path

    with pytest.raises(Refused) as refused:
        place.api.post(url, {**fine.get(path, {}), **body})

    assert refused.value.status == 400
    assert isinstance(refused.value.body, dict)
    assert set(refused.value.body) == {field}
    assert place.state() == before


@dataclass(frozen=True)
class Bad:
    """An upstream or a remote that cannot be synced, and what the task's error must say."""

    says: Sequence[str]
    distributions: str = "good"
    fields: dict[str, Any] | None = None  # of the remote
    fault: Callable[[], Fault] | None = None


BAD = {
    "no Release": Bad(["[DEB0001]", "Release", "dists/nonesuch"], "nonesuch"),
    "a login page for a Release": Bad(["Release"], fault=lambda: html_200("dists/good/*Release*")),
    "a signature by another key": Bad(
        ["[DEB0002]", "Unable to verify any Release files from"],
        fields={"gpgkey": OTHER_KEY.public},
    ),
    "a wrong package": Bad(["wrong-file", "SHA-256", "0" * 64], "wrong-file"),
    "a package of another size": Bad(["wrong-size", "expected 7 bytes"], "wrong-size"),
    "a missing index": Bad(
        ["[DEB0003]", "no-index", "binary-amd64", "ignore_missing_package_indices"], "no-index"
    ),
    "a Filename that leads upwards": Bad(["../../etc/passwd", "upwards"], "upwards"),
    "an absolute Filename": Bad(["/etc/passwd"], "absolute"),
    "a flat archive without its slash": Bad(["[DEB0001]", "/"], "flat"),
    "no field Components": Bad(["[DEB0004]", "no-components", "Components"], "no-components"),
    "nothing of what was asked for": Bad(
        ["[DEB0003]", "No suitable package index files", "sparc"],
        fields={"architectures": "sparc"},
    ),
    "a host that does not exist": Bad(
        ["Cannot connect"], fields={"url": "http://none.invalid/", "max_retries": 0}
    ),
    "an address that is never allowed": Bad(
        ["169.254.169.254"], fields={"url": "http://169.254.169.254/"}
    ),
    "an error of the server": Bad(
        ["403", "Forbidden", "dists/good/"], fault=lambda: status("dists/good/*Release*", 403)
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_sync_that_cannot_be_fails_and_says_why(place: Place, case: str) -> None:
    bad = BAD[case]
    before = place.state()
    fields = {"url": place.upstream.url, "max_retries": 0, **(bad.fields or {})}
    body = {"name": case, "distributions": bad.distributions, **fields}
    remote = place.api.post(REMOTES, body)["pulp_href"]
    if bad.fault:
        place.upstream.faults.append(bad.fault())

    try:
        task = finished(
            place.api,
            start_sync(place.api, place.repository, remote=remote, optimize=False),
        )
    finally:
        place.upstream.faults.clear()

    assert task["state"] == "failed", task
    said = task["error"]["description"]
    for words in bad.says:
        assert words in said
    assert "Traceback" not in said
    assert task["error"]["traceback"] in ("", None)
    assert task["created_resources"] == []
    assert {r["state"] for r in task["progress_reports"]} <= {"failed", "canceled", "completed"}
    assert place.state() == before


def test_an_index_with_other_bytes_than_the_release_says_is_refused_before_it_is_read(
    place: Place, tmp_path: Path
) -> None:
    before = place.state()
    dist = Dist("flipped", {"main": [Pkg("flipped")]})
    write_archive(tmp_path / "flipped", [dist], key=KEY)
    shutil.copytree(tmp_path / "flipped" / "dists", place.upstream.folder / "dists",
                    dirs_exist_ok=True)  # fmt: skip
    place.upstream.faults.append(wrong_bytes("dists/flipped/main/*"))
    remote = place.api.post(
        REMOTES,
        {"name": "flipped", "url": place.upstream.url, "distributions": "flipped",
         "max_retries": 0},
    )  # fmt: skip

    try:
        href = start_sync(place.api, place.repository, remote=remote["pulp_href"])
        task = finished(place.api, href)
    finally:
        place.upstream.faults.clear()

    assert task["state"] == "failed"
    assert "expected SHA-256" in task["error"]["description"]
    assert "Packages" in task["error"]["description"]
    assert place.state() == before
