"""apt itself judges what is published: update, download and install, from every kind of archive."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg, Source
from archive.upstream import Upstream
from debfleet.deb.release import parse_release
from debfleet_cli.apt_client import AptClient, AptFailed
from debfleet_cli.client import Api, Body
from system.fleet import Fleet, add_pair, list_packages, stored_digests, synced
from system.publishing import (
    VERBATIM,
    changed,
    clean_update,
    distribute,
    get,
    need_apt,
    new_key,
    publish,
    serving_fleet,
)

KEY = SigningKey.generate()
PACKAGES = [
    Pkg("app", "1:2.0+really1~rc1-1", fields={"Depends": "libapp++ (>= 3), app-data"}),
    Pkg("libapp++", "3.1", fields={"Source": "libapp (3.1-2)"}),
    Pkg("app-data", "2.0", architecture="all", payload_size=300_000),
    Pkg("app", "1:2.0+really1~rc1-1", architecture="arm64"),
]
SOURCES = [Source("app", "1:2.0+really1~rc1-1"), Source("libapp", "3.1-2", "libapp++")]
WAYS: list[dict[str, str]] = [{}, {"Acquire::By-Hash": "force"}, {"Acquire::By-Hash": "no"}]


@dataclass(frozen=True)
class House:
    """A fleet that serves, an API client, a held key, and where to put things."""

    fleet: Fleet
    api: Api
    service: Body  # the signing service

    @property
    def key(self) -> str:
        return str(self.service["public_key"])

    def synced(self, name: str, upstream: Upstream, dists: str, **remote: object) -> Body:
        """A repository that holds what this upstream offers."""
        _, repository = add_pair(
            self.api, name, upstream.url, distributions=dists, **({"gpgkey": KEY.public} | remote)
        )
        synced(self.api, repository)
        return repository

    def published(self, name: str, repository: Body, **options: object) -> str:
        """Publish, signed, and serve it; returns the base URL."""
        body = {"signing_service": self.service["pulp_href"], **options}
        publication = publish(self.api, repository, **body)
        return str(distribute(self.api, name, publication=publication["pulp_href"])["base_url"])

    def offered(self, name: str, repository: Body, options: Body) -> tuple[str, str]:
        """Publish, verbatim where the options say so, and serve it: the base URL and the key."""
        if not options.get("verbatim"):
            return self.published(name, repository, **options), self.key
        publication = publish(self.api, repository, VERBATIM)
        made = distribute(self.api, name, publication=publication["pulp_href"])
        return str(made["base_url"]), KEY.public

    def upstream_requests(self, upstream: Upstream) -> list[str]:
        return [path for path in upstream.paths() if path.endswith("deb")]


@pytest.fixture(scope="module")
def house(postgres: servers.PostgresForTests, template_url: str) -> Iterator[House]:
    need_apt()
    with serving_fleet(postgres, template_url) as fleet, fleet.client() as api:
        yield House(fleet, api, new_key(fleet, api, "held"))


@pytest.fixture
def client(tmp_path: Path) -> AptClient:
    return AptClient(tmp_path / "client")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path / "archive") as started:
        yield started


def write(tmp_path: Path, *dists: Dist, **options: object) -> Archive:
    return write_archive(tmp_path / "archive", dists, key=KEY, **options)  # type: ignore[arg-type]


def offered(archive: Archive, architectures: Sequence[str] = ("amd64", "all")) -> set[str]:
    """SHA-256 of what a client of these architectures must see."""
    return {one.sha256 for one in archive.listed if one.architecture in architectures}


def assert_installs(client: AptClient, archive: Archive) -> None:
    """apt has read every package, and fetches what `app` needs with the right bytes."""
    assert set(client.packages().values()) == offered(archive)
    files = client.install_download_only("app")
    assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in files} == offered(archive)


def assert_brings_sources(client: AptClient, archive: Archive) -> None:
    """apt fetches the sources of `app` and its library, with the right bytes."""
    files = client.source_download_only("app", "libapp")
    assert {file.name: file.read_bytes() for file in files} == {
        path.rpartition("/")[2]: body for path, body in archive.source_files.items()
    }


@pytest.mark.parametrize(
    ("options", "suite", "components"),
    [
        ({}, "bookworm", "main contrib"),
        ({"simple": True, "structured": False}, "default", "all"),
        ({"layout": "nested_by_digest"}, "bookworm", "main contrib"),
        ({"layout": "nested_by_both", "simple": True}, "bookworm", "main contrib"),
        ({"publish_legacy_release_files": True}, "bookworm", "main contrib"),
        ({"publish_upstream_release_fields": False}, "bookworm", "main contrib"),
    ],
)
def test_apt_installs_from_a_publication_that_we_signed(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path,
    options: dict[str, object], suite: str, components: str,
) -> None:  # fmt: skip
    parts = {"main": PACKAGES[:2] + PACKAGES[3:], "contrib": PACKAGES[2:3]}
    archive = write(tmp_path, Dist("bookworm", parts, suite="stable"))
    name = "signed-" + "-".join([*options, str(options.get("layout", ""))]).replace("_", "-")
    base = house.published(name, house.synced(name, upstream, "bookworm"), **options)
    client.add_source("ours", base, suite, components, key=house.key, types="deb deb-src")

    for way in WAYS:
        client.forget()
        clean_update(client, way)
        assert_installs(client, archive)


def test_apt_installs_what_came_from_a_flat_archive(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("./", {"": PACKAGES}))
    base = house.published("flat", house.synced("flat", upstream, "./"))
    client.add_source("ours", base, "flat-repo", "flat-repo-component", key=house.key)

    for way in WAYS:
        client.forget()
        clean_update(client, way)
        assert_installs(client, archive)


def test_apt_installs_from_dists_and_components_with_slashes(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("stable/updates", {"updates/main": PACKAGES}))
    base = house.published("slashes", house.synced("slashes", upstream, "stable/updates"))
    client.add_source("ours", base, "stable/updates", "main", key=house.key)

    clean_update(client)

    assert_installs(client, archive)


def test_apt_is_held_back_from_experimental_and_backports_as_upstream_says(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    pins = {"NotAutomatic": "yes", "ButAutomaticUpgrades": "yes"}
    write(
        tmp_path,
        Dist("sid", {"main": [Pkg("app", "1")]}),
        Dist("backports", {"main": [Pkg("app", "2")]}, fields=pins),
        Dist("experimental", {"main": [Pkg("app", "3")]}, fields={"NotAutomatic": "yes"}),
    )
    dists = "sid backports experimental"
    base = house.published("pins", house.synced("pins", upstream, dists))
    client.add_source("ours", base, dists, "main", key=house.key)

    clean_update(client)

    policy = client.run("apt-cache", "policy", "app").text
    offers = re.findall(r"^ +(?:\*\*\* )?(\d+) (\d+)\n", policy, re.MULTILINE)
    assert offers == [("3", "1"), ("2", "100"), ("1", "500")], policy
    assert "Candidate: 1\n" in policy


@pytest.mark.parametrize(
    ("dist", "components"), [("bookworm", "main"), ("./", ""), ("stable/", "")]
)
def test_apt_installs_from_a_verbatim_publication_by_the_upstreams_key(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path, dist: str, components: str
) -> None:
    archive = write(tmp_path, Dist(dist, {components: PACKAGES}))
    name = f"verbatim-{dist.strip('./')}"
    repository = house.synced(name, upstream, dist)
    publication = publish(house.api, repository, VERBATIM)
    made = distribute(house.api, name, publication=publication["pulp_href"])
    client.add_source("ours", made["base_url"], dist, components, key=KEY.public)

    for way in WAYS:
        client.forget()
        clean_update(client, way)
        assert_installs(client, archive)


def test_apt_refuses_what_is_not_signed_by_the_key_it_was_given(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    write(tmp_path, Dist("bookworm", {"main": PACKAGES}))
    repository = house.synced("wrong-key", upstream, "bookworm")
    signed = house.published("signed-by-ours", repository)
    unsigned = house.published("not-signed", repository, signing_service=None)

    client.add_source("ours", signed, "bookworm", "main", key=SigningKey.generate().public)
    wrong = client.update()
    client.add_source("ours", unsigned, "bookworm", "main", key=house.key)
    without = client.update()
    client.add_source("ours", unsigned, "bookworm", "main", fields={"Trusted": "yes"})
    trusted = client.update()

    assert (wrong.status, "NO_PUBKEY" in wrong.text) == (100, True), wrong.text
    assert (without.status, "is not signed" in without.text) == (100, True), without.text
    assert trusted.status == 0, trusted.text
    assert client.packages()


@pytest.mark.parametrize("what", ["index", "InRelease", "package"])
def test_apt_refuses_what_was_tampered_with_between_us_and_it(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path, what: str
) -> None:
    write(tmp_path, Dist("bookworm", {"main": PACKAGES}))
    name = f"tampered-{what.lower()}"
    base = house.published(name, house.synced(name, upstream, "bookworm"))
    _mirror(base, "bookworm", tmp_path / "mirror")
    pattern = {"index": "Packages*", "InRelease": "InRelease", "package": "app_*.deb"}[what]
    for file in (tmp_path / "mirror").rglob(pattern):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)

    with Upstream(tmp_path / "mirror") as middle:
        client.add_source("ours", middle.url, "bookworm", "main", key=house.key)
        ran = client.update({"Acquire::By-Hash": "no"})
        if what == "package":
            assert ran.is_clean, ran.text
            with pytest.raises(AptFailed, match="Hash Sum mismatch"):
                client.install_download_only("app")
        else:
            assert not ran.is_clean
            assert re.search("Hash Sum mismatch|BADSIG|[Bb]ad signature", ran.text), ran.text
            assert not client.packages()


def test_a_package_that_nobody_asked_for_is_fetched_when_apt_does(
    house: House, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("bookworm", {"main": _others("lazy")}))
    repository = house.synced("lazy", upstream, "bookworm", policy="on_demand")
    base = house.published("lazy", repository)
    assert not offered(archive) & set(stored_digests(house.fleet.store_url))

    for number in (1, 2):
        client = AptClient(tmp_path / f"client-{number}")
        client.add_source("ours", base, "bookworm", "main", key=house.key)
        clean_update(client)
        assert_installs(client, archive)

    assert len(house.upstream_requests(upstream)) == 3  # each of the three files once
    assert offered(archive) <= set(stored_digests(house.fleet.store_url))


def test_a_streamed_package_reaches_apt_and_is_not_kept(
    house: House, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("bookworm", {"main": _others("streamed")}))
    repository = house.synced("streamed", upstream, "bookworm", policy="streamed")
    base = house.published("streamed", repository)

    for number in (1, 2):
        client = AptClient(tmp_path / f"client-{number}")
        client.add_source("ours", base, "bookworm", "main", key=house.key)
        clean_update(client)
        assert_installs(client, archive)

    assert 3 <= len(house.upstream_requests(upstream)) <= 6  # two that come together share one
    assert not offered(archive) & set(stored_digests(house.fleet.store_url))


def test_wrong_bytes_of_the_upstream_never_reach_apt(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("bookworm", {"main": _others("rotten")}))
    base = house.published(
        "rotten", house.synced("rotten", upstream, "bookworm", policy="on_demand")
    )
    for path in archive.files:
        file = tmp_path / "archive" / path
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    client.add_source("ours", base, "bookworm", "main", key=house.key)
    clean_update(client)

    with pytest.raises(AptFailed):
        client.install_download_only("app")

    assert not offered(archive) & set(stored_digests(house.fleet.store_url))
    assert not list((client.root / "var/cache/apt/archives").glob("*.deb"))


@pytest.mark.parametrize("is_same", [True, False])
def test_apt_goes_on_with_a_download_that_broke_off(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path, is_same: bool
) -> None:
    archive = write(tmp_path, Dist("bookworm", {"main": PACKAGES}))
    name = f"broken-off-{is_same}"
    base = house.published(name, house.synced(name, upstream, "bookworm"))
    client.add_source("ours", base, "bookworm", "main", key=house.key)
    clean_update(client)
    url = f"{base}pool/main/a/app-data/app-data_2.0_all.deb"
    whole, modified = get(url), _last_modified(url)
    part = client.root / "var/cache/apt/archives/partial/app-data_2.0_all.deb"
    part.write_bytes(whole[:200_000] if is_same else b"?" * 200_000)
    # apt asks for the rest with If-Range: what it has is of this moment.
    moment = modified if is_same else modified - 3600
    os.utime(part, (moment, moment))

    assert_installs(client, archive)


def test_autopublish_brings_a_sync_to_apt_without_another_call(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    write(tmp_path, Dist("bookworm", {"main": PACKAGES}))
    _, repository = add_pair(house.api, "auto", upstream.url, distributions="bookworm")
    settings = {"autopublish": True, "signing_service": house.service["pulp_href"]}
    changed(house.api, repository["pulp_href"], settings)
    task = synced(house.api, repository)
    made = distribute(house.api, "auto", repository=repository["pulp_href"])
    client.add_source("ours", made["base_url"], "bookworm", "main", key=house.key)
    clean_update(client)
    assert len(task["created_resources"]) == 2, task["created_resources"]

    write(tmp_path, Dist("bookworm", {"main": [*PACKAGES, Pkg("later")]}))
    synced(house.api, repository)
    clean_update(client)

    assert ("later", "1.0") in client.packages()
    assert client.install_download_only("later")


def test_the_commands_publish_say_what_to_paste_and_roll_back(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    write(tmp_path, Dist("bookworm", {"main": PACKAGES}))
    repository = house.synced("told", upstream, "bookworm")
    house.fleet.command("publish", "told", "--base-path", "told")
    _paste(client, house.fleet.command("sources", "told"))
    clean_update(client)
    before = client.packages()
    assert len(before) == 3

    write(tmp_path, Dist("bookworm", {"main": [*PACKAGES, Pkg("worse")]}))
    synced(house.api, repository)
    house.fleet.command("publish", "told", "--base-path", "told")
    clean_update(client)
    assert ("worse", "1.0") in client.packages()

    house.fleet.command("rollback", "told")
    clean_update(client)

    # apt keeps the lists it has where a Release is older than them, so a rollback is a new Release.
    assert client.packages() == before
    assert client.install_download_only("app")


@pytest.mark.parametrize(
    ("dist", "options", "suite", "components"),
    [
        ("bookworm", {}, "bookworm", "main"),
        ("bookworm", {"simple": True, "structured": False}, "default", "all"),
        ("bookworm", {"layout": "nested_by_digest"}, "bookworm", "main"),
        ("bookworm", {"verbatim": True}, "bookworm", "main"),
        ("./", {}, "flat-repo", "flat-repo-component"),
        ("./", {"verbatim": True}, "./", ""),
    ],
)
def test_apt_fetches_source_packages(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path,
    dist: str, options: dict[str, object], suite: str, components: str,
) -> None:  # fmt: skip
    archive = write(tmp_path, Dist(dist, {"main": PACKAGES}, sources={"main": SOURCES}))
    words = [dist.strip("./") or "flat", *map(str, options), str(options.get("layout", ""))]
    name = "source-" + "-".join(words).replace("_", "-").strip("-")
    repository = house.synced(name, upstream, dist, sync_sources=True)
    base, key = house.offered(name, repository, options)
    client.add_source("ours", base, suite, components, key=key, types="deb deb-src")

    for way in WAYS:
        client.forget()
        clean_update(client, way)
        assert_installs(client, archive)
        assert_brings_sources(client, archive)


def test_a_source_that_nobody_asked_for_is_fetched_when_apt_does(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    sources = [Source(s.name, s.version, fields={"Homepage": "http://lazy/"}) for s in SOURCES]
    archive = write(tmp_path, Dist("bookworm", {"main": PACKAGES}, sources={"main": sources}))
    remote = {"sync_sources": True, "policy": "on_demand"}
    base = house.published(
        "lazy-source", house.synced("lazy-source", upstream, "bookworm", **remote)
    )
    client.add_source("ours", base, "bookworm", "main", key=house.key, types="deb-src")
    clean_update(client)

    assert_brings_sources(client, archive)


def test_apt_refuses_a_dsc_that_is_not_the_one_that_was_signed(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    sources = [Source(s.name, s.version, fields={"Homepage": "http://lies/"}) for s in SOURCES]
    archive = write(tmp_path, Dist("bookworm", {"main": PACKAGES}, sources={"main": sources}))
    remote = {"sync_sources": True, "policy": "on_demand"}
    base = house.published(
        "lying-source", house.synced("lying-source", upstream, "bookworm", **remote)
    )
    for path in archive.source_files:
        if path.endswith(".dsc"):
            file = tmp_path / "archive" / path
            file.write_bytes(file.read_bytes()[:-1] + b"!")
    client.add_source("ours", base, "bookworm", "main", key=house.key, types="deb-src")
    clean_update(client)

    with pytest.raises(AptFailed):
        client.source_download_only("app", "libapp")


def test_the_command_sources_names_deb_src_where_there_are_sources(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("bookworm", {"main": PACKAGES}, sources={"main": SOURCES}))
    house.synced("no-source", upstream, "bookworm")
    house.fleet.command("publish", "no-source", "--base-path", "no-source")
    (tmp_path / "key.asc").write_text(KEY.public)
    argv = ("--distributions", "bookworm", "--gpgkey", str(tmp_path / "key.asc"), "--sources")

    house.fleet.command("sync", upstream.url, *argv, "--name", "with-source")
    house.fleet.command("publish", "with-source", "--base-path", "with-source")

    assert "Types: deb\n" in house.fleet.command("sources", "no-source")
    said = house.fleet.command("sources", "with-source")
    assert "Types: deb deb-src\n" in said
    _paste(client, said)
    clean_update(client)
    assert_brings_sources(client, archive)


@pytest.mark.parametrize(
    ("upwards", "options", "dists", "policy"),
    [
        ("bookworm", {}, "bookworm", "immediate"),
        ("bookworm", {"simple": True, "structured": False}, "default", "immediate"),
        ("bookworm", {}, "bookworm", "on_demand"),
        ("bookworm", {"verbatim": True}, "bookworm", "immediate"),
        ("./", {}, "flat-repo", "immediate"),
        ("./", {"verbatim": True}, "./", "streamed"),
    ],
)
def test_debfleet_syncs_from_debfleet_and_holds_the_same_packages(
    house: House, upstream: Upstream, tmp_path: Path,
    upwards: str, options: dict[str, object], dists: str, policy: str,
) -> None:  # fmt: skip
    parts = {"main": PACKAGES[:2] + PACKAGES[3:], "contrib": PACKAGES[2:3]}
    write(tmp_path, Dist(upwards, parts))
    name = f"origin-{upwards}-{dists}-{policy}-{'-'.join(options)}".replace("./", "flat")
    first = house.synced(name, upstream, upwards, policy=policy)
    if "verbatim" in options:
        publication = publish(house.api, first, VERBATIM)
        base = distribute(house.api, name, publication=publication["pulp_href"])["base_url"]
        key = KEY.public
    else:
        base, key = house.published(name, first, **options), house.key

    _, second = add_pair(
        house.api, f"{name}-copy", base, distributions=dists, gpgkey=key, policy=policy
    )
    synced(house.api, second)

    ours, copied = (_packages(house.api, one) for one in (first, second))
    assert copied == ours
    assert len(ours) == 4


def test_a_package_reaches_apt_through_two_of_us(
    house: House, client: AptClient, upstream: Upstream, tmp_path: Path
) -> None:
    archive = write(tmp_path, Dist("bookworm", {"main": _others("chain")}))
    first = house.synced("near", upstream, "bookworm", policy="on_demand")
    base = house.published("near", first)
    _, second = add_pair(
        house.api, "far", base, distributions="bookworm", gpgkey=house.key, policy="streamed"
    )
    synced(house.api, second)
    client.add_source("ours", house.published("far", second), "bookworm", "main", key=house.key)
    clean_update(client)

    assert_installs(client, archive)

    assert len(house.upstream_requests(upstream)) == 3


def _packages(api: Api, repository: Body) -> set[tuple[str, str, str, str]]:
    latest = api.get(api.get(repository["pulp_href"])["latest_version_href"])
    return {
        (p["package"], p["version"], p["architecture"], p["sha256"])
        for p in list_packages(api, latest)
    }


def _others(word: str) -> list[Pkg]:
    """The same packages with other bytes, that no other test has stored."""
    return [
        Pkg(p.name, p.version, p.architecture, dict(p.fields) | {"Homepage": f"http://{word}/"})
        for p in PACKAGES
    ]


def _mirror(base: str, dist: str, folder: Path) -> None:
    """Copy a publication as any mirror would, by what its Release and its indices name."""
    place = folder / "dists" / dist
    place.mkdir(parents=True)
    for name in ("Release", "InRelease", "Release.gpg"):
        (place / name).write_bytes(get(f"{base}dists/{dist}/{name}"))
    for path in parse_release((place / "Release").read_bytes()).files:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(get(f"{base}dists/{dist}/{path}"))
    for index in place.rglob("Packages"):
        for path in re.findall(r"^Filename: (.+)$", index.read_text(), re.MULTILINE):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(get(base + path.replace("+", "%2B")))


def _last_modified(url: str) -> float:
    answer = httpx.head(url, trust_env=False)
    assert answer.status_code == 200
    return parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()


def _paste(client: AptClient, said: str) -> None:
    """Do what `debfleet sources` says, in the client's root instead of the machine's."""
    for url, path in re.findall(r"(http\S+\.asc)['\"]?\s+.*?(/etc/apt/\S+\.asc)", said):
        file = client.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(get(url))
        said = said.replace(path, str(file))
    stanza = re.search(r"^Types:.*?(?=\n\n|\Z)", said, re.MULTILINE | re.DOTALL)
    assert stanza, said
    assert "Signed-By:" in stanza[0]
    assert urlsplit(re.findall(r"^URIs: (\S+)", stanza[0], re.MULTILINE)[0]).scheme == "http"
    client.put_sources("pasted", stanza[0] + "\n")
