"""What the content service answers for what is stored."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from argon2 import PasswordHasher

from archive.build import write_archive
from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from debfleet.config import Settings
from debfleet.db import access, processes
from debfleet.db.access import Holders
from debfleet.db.connect import Database
from debfleet.deb.stanza import stanza_fields
from debfleet.model import Remote
from ground import Ground, copied_ground
from publish_flow import Published, publish
from servers import PostgresForTests
from serving import Site, add_distribution, point, serving
from sync_flow import Flow, add_repository, crew_of
from system.up import until

A = Pkg("a", payload_size=300_000)
LIBB = Pkg("libb", "2:1.0+x~1", fields={"Source": "bee (1.0)"})
C = Pkg("c", architecture="all")
E = Pkg("e")
A_PATH = "pool/main/a/a/a_1.0_amd64.deb"


@dataclass(frozen=True)
class World:
    """A synced repository, published and served at ``debian``."""

    flow: Flow
    settings: Settings
    db: Database
    archive: Archive
    upstream: Upstream
    site: Site
    distribution: int
    made: Published


@dataclass(frozen=True)
class Made:
    """What every world of this module begins with, on a ground that is only copied."""

    ground: Ground
    archive: Archive
    upstream: Upstream
    repository: dict[str, Any]
    remote: Remote
    distribution: int
    published: Published


@pytest.fixture(scope="module")
def made(common_ground: Ground) -> Iterator[Made]:
    ground = common_ground
    folder = ground.folder / "archive"
    folder.mkdir()
    archive = write_archive(folder, [Dist("stable", {"main": [A, LIBB, C], "contrib": [E]})])
    with Upstream(folder) as upstream:
        with crew_of(ground.settings, ground.db, ground.store) as crew:
            flow = Flow(ground.db, crew, add_repository(ground.db))
            remote = flow.set_remote(upstream)
            assert flow.sync().state == "completed"
            published = publish(flow, simple=True, structured=True)
            served = add_distribution(ground.db, "debian", repository=flow.repository["id"])
        ground.db.close()
        yield Made(ground, archive, upstream, flow.repository, remote, served, published)


@pytest.fixture
def world(made: Made, postgres: PostgresForTests, tmp_path: Path) -> Iterator[World]:
    with _world(made, postgres, tmp_path) as copy:
        yield copy


@pytest.fixture(scope="module")
def seen(
    made: Made, postgres: PostgresForTests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A world for the tests that only look at it."""
    with _world(made, postgres, tmp_path_factory.mktemp("seen")) as copy:
        yield copy


@contextmanager
def _world(made: Made, postgres: PostgresForTests, folder: Path) -> Iterator[World]:
    made.upstream.rotate(made.ground.folder / "archive")
    made.upstream.clear()
    with (
        copied_ground(postgres, made.ground, folder) as ground,
        crew_of(ground.settings, ground.db, ground.store) as crew,
        serving(ground.settings) as site,
    ):
        flow = Flow(ground.db, crew, made.repository)
        flow.remote = made.remote
        yield World(
            flow, ground.settings, ground.db, made.archive, made.upstream, site,
            made.distribution, made.published,
        )  # fmt: skip


def publish_again(world: World, *packages: Pkg) -> Published:
    """Another upstream state, synced and published."""
    folder = Path(world.settings.work_directory).with_name(f"archive{world.flow.version()}")
    folder.mkdir()
    write_archive(folder, [Dist("stable", {"main": packages})])
    world.upstream.rotate(folder)
    assert world.flow.sync(mirror=True).state == "completed"
    return publish(world.flow)


# --- files ----------------------------------------------------------------------------------------


def test_every_published_file_answers_with_its_bytes(seen: World) -> None:
    for path, body in seen.made.files.items():
        reply = seen.site.get(f"debian/{path}")

        assert (reply.status, reply.body) == (200, body)
        assert reply.headers["etag"] == f'"{hashlib.sha256(body).hexdigest()}"'
        assert reply.headers["x-pulp-artifact-size"] == str(len(body))
        assert reply.headers["content-length"] == str(len(body))
        assert reply.headers["accept-ranges"] == "bytes"
        assert reply.headers["cache-control"] == "public, max-age=0, must-revalidate"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "content-encoding" not in reply.headers


def test_every_filename_of_an_index_is_the_package(seen: World) -> None:
    count = 0
    for path in seen.made.files:
        if not path.endswith("/Packages"):
            continue
        for fields in seen.made.stanzas(path).values():
            reply = seen.site.get(f"debian/{fields['Filename']}")
            assert reply.status == 200
            assert hashlib.sha256(reply.body).hexdigest() == fields["SHA256"]
            assert reply.headers["content-type"] == "application/octet-stream"
            count += 1
    assert count == 8  # four packages, structured and simple


def test_every_index_is_there_by_each_digest_of_the_release_file(seen: World) -> None:
    for digest in ("SHA256", "SHA512"):
        for path, (hexdigits, size) in seen.made.listed("stable", digest).items():
            folder = path.rpartition("/")[0]
            if path.endswith("Release"):
                continue
            reply = seen.site.get(f"debian/dists/stable/{folder}/by-hash/{digest}/{hexdigits}")
            assert (reply.status, len(reply.body)) == (200, size)
            algorithm = hashlib.new(digest.lower(), reply.body)
            assert algorithm.hexdigest() == hexdigits


def test_a_digest_in_another_folder_is_not_found(seen: World) -> None:
    path, (digest, _) = next(
        (p, v) for p, v in seen.made.listed("stable").items() if "contrib/binary-amd64" in p
    )

    assert path.startswith("contrib/")
    for folder in ("main/binary-all", "contrib", "", "contrib/binary-amd64/by-hash"):
        reply = seen.site.get(f"debian/dists/stable/{folder}/by-hash/SHA256/{digest}")
        assert (reply.status, reply.text) == (404, "404: Not Found")


def test_a_type_follows_the_ending(seen: World) -> None:
    types = {"gz": "application/gzip", "xz": "application/x-xz", "": "application/octet-stream"}
    for ending, expected in types.items():
        name = f"Packages.{ending}".rstrip(".")
        reply = seen.site.get(f"debian/dists/stable/main/binary-amd64/{name}")

        assert reply.headers["content-type"] == expected


def test_head_has_the_headers_of_get_and_no_body(seen: World) -> None:
    for path in ("dists/stable/Release", A_PATH):
        got = seen.site.get(f"debian/{path}")
        head = seen.site.get(f"debian/{path}", "HEAD")

        ignored = ("date", "correlation-id")
        assert head.status == 200
        assert head.body == b""
        assert {k: v for k, v in head.headers.items() if k not in ignored} == {
            k: v for k, v in got.headers.items() if k not in ignored
        }


def test_a_correlation_id_comes_back(seen: World) -> None:
    given = seen.site.get("debian/dists/stable/Release", Correlation_ID="mine")
    made = seen.site.get("debian/none")

    assert given.headers["correlation-id"] == "mine"
    assert len(made.headers["correlation-id"]) == 32


def test_a_name_is_found_in_any_spelling(seen: World) -> None:
    stanza = seen.made.stanzas("dists/stable/main/binary-amd64/Packages")["libb"]
    folder, _, name = stanza["Filename"].rpartition("/")
    plain = quote(name, safe="+~:")
    spellings = {
        plain,
        quote(name, safe=""),
        quote(name, safe="").lower().replace("~", "%7E"),
        "%6c" + plain[1:],
    }

    assert "+" in name
    assert "~" in name
    for spelled in spellings:
        reply = seen.site.get(f"debian/{folder}/{spelled}")
        assert hashlib.sha256(reply.body).hexdigest() == stanza["SHA256"], spelled


# --- conditions and ranges ------------------------------------------------------------------------


def test_an_etag_that_is_known_answers_304(seen: World) -> None:
    for path in ("dists/stable/Release", A_PATH):
        etag = seen.site.get(f"debian/{path}").headers["etag"]

        for tags in (etag, f'"other", W/{etag}', "*"):
            reply = seen.site.get(f"debian/{path}", If_None_Match=tags)
            assert (reply.status, reply.body) == (304, b"")
            assert reply.headers["etag"] == etag
        assert seen.site.get(f"debian/{path}", If_None_Match='"other"').status == 200


def settle(db: Database, seconds: int = 60) -> None:
    """As if all switches were so much longer ago."""
    with db.transaction() as tx:
        tx.execute("update served set since = since - make_interval(secs => %s)", (seconds,))


def test_the_date_we_gave_answers_304_and_no_other_one(world: World) -> None:
    settle(world.db)
    modified = world.site.get("debian/dists/stable/Release").headers["last-modified"]
    old = "Mon, 01 Jan 2024 00:00:00 GMT"

    same = world.site.get("debian/dists/stable/Release", If_Modified_Since=modified)
    older = world.site.get("debian/dists/stable/Release", If_Modified_Since=old)
    both = world.site.get(
        "debian/dists/stable/Release", If_Modified_Since=modified, If_None_Match='"x"'
    )

    assert (same.status, older.status, both.status) == (304, 200, 200)


def test_after_a_rollback_nobody_is_told_that_the_younger_file_is_still_right(
    world: World,
) -> None:
    second = publish_again(world, A, E)
    settle(world.db, 120)
    younger = world.site.get("debian/dists/stable/Release")
    assert younger.body == second.files["dists/stable/Release"]

    point(world.db, world.distribution, publication=world.made.publication.id)
    settle(world.db)
    reply = world.site.get(
        "debian/dists/stable/Release", If_Modified_Since=younger.headers["last-modified"]
    )

    assert (reply.status, reply.body) == (200, world.made.files["dists/stable/Release"])


def test_two_switches_in_one_second_are_told_apart(world: World) -> None:
    first = world.site.get("debian/dists/stable/Release")
    second = publish_again(world, A)
    with world.db.transaction() as tx:
        tx.execute("update served set since = (select max(since) from served)")

    reply = world.site.get(
        "debian/dists/stable/Release", If_Modified_Since=first.headers["last-modified"]
    )

    assert (reply.status, reply.body) == (200, second.files["dists/stable/Release"])
    settle(world.db)
    later = world.site.get("debian/dists/stable/Release")
    assert later.headers["last-modified"] != reply.headers["last-modified"]


def test_a_range_answers_206_with_those_bytes(seen: World) -> None:
    whole = seen.site.get(f"debian/{A_PATH}").body
    size = len(whole)
    ranges = {
        "bytes=0-9": (0, 9),
        "bytes=100000-": (100000, size - 1),
        "bytes=-5": (size - 5, size - 1),
        "bytes=-99999999": (0, size - 1),
        f"bytes=0-{size + 100}": (0, size - 1),
        "bytes=70000-270000": (70000, 270000),
    }
    for text, (first, last) in ranges.items():
        reply = seen.site.get(f"debian/{A_PATH}", Range=text)

        assert reply.status == 206, text
        assert reply.body == whole[first : last + 1]
        assert reply.headers["content-range"] == f"bytes {first}-{last}/{size}"


def test_a_range_without_a_byte_answers_416(seen: World) -> None:
    size = int(seen.site.get(f"debian/{A_PATH}", "HEAD").headers["content-length"])

    for text in ("bytes=999999999-", "bytes=-0", "bytes=5-2", "bytes=x-y"):
        reply = seen.site.get(f"debian/{A_PATH}", Range=text)

        assert reply.status == 416, text
        assert reply.headers["content-range"] == f"bytes */{size}"


def test_what_is_no_single_range_of_bytes_gets_the_whole_file(seen: World) -> None:
    for text in ("bytes=0-1,5-9", "lines=1-2", "nonsense"):
        reply = seen.site.get(f"debian/{A_PATH}", Range=text)

        assert reply.status == 200
        assert "content-range" not in reply.headers


def test_if_range_of_another_file_gets_the_whole_one(world: World) -> None:
    settle(world.db)
    head = world.site.get(f"debian/{A_PATH}", "HEAD").headers
    other = "Mon, 01 Jan 2024 00:00:00 GMT"

    for condition, status in (
        (head["etag"], 206),
        (head["last-modified"], 206),
        ('"other"', 200),
        (f"W/{head['etag']}", 200),
        (other, 200),
    ):
        reply = world.site.get(f"debian/{A_PATH}", Range="bytes=5-", If_Range=condition)
        assert reply.status == status, condition


# --- earlier publications -------------------------------------------------------------------------


def test_after_a_switch_the_old_indices_are_there_by_hash_and_the_old_packages_too(
    world: World,
) -> None:
    listed = {
        path: digest
        for path, (digest, _) in world.made.listed("stable").items()
        if not path.endswith("Release")
    }

    publish_again(world, A)

    for path, digest in listed.items():
        folder = path.rpartition("/")[0]
        reply = world.site.get(f"debian/dists/stable/{folder}/by-hash/SHA256/{digest}")
        assert hashlib.sha256(reply.body).hexdigest() == digest
    stanza = world.made.stanzas("dists/stable/contrib/binary-amd64/Packages")["e"]
    reply = world.site.get(f"debian/{stanza['Filename']}")
    assert hashlib.sha256(reply.body).hexdigest() == stanza["SHA256"]
    assert world.site.get("debian/dists/stable/contrib/binary-amd64/Packages").status == 200


def test_an_earlier_release_file_is_never_served(world: World) -> None:
    assert world.site.get("debian/dists/default/Release").status == 200

    publish_again(world, A)  # not simple any more

    assert world.site.get("debian/dists/default/Release").status == 404


def test_old_generations_go_after_their_time_and_their_switches(world: World) -> None:
    path, (digest, _) = next(iter(world.made.listed("stable").items()))
    url = f"debian/dists/stable/{path.rpartition('/')[0]}/by-hash/SHA256/{digest}"
    publish_again(world, replace(A, version="2"))
    publish_again(world, replace(A, version="3"))

    for seconds, switches, status in ((0, 0, 404), (0, 1, 404), (0, 2, 200), (3600, 0, 200)):
        changed = replace(
            world.settings,
            distributed_publication_retention_period=seconds,
            content_generations=switches,
        )
        with serving(changed) as site:
            assert site.get(url).status == status, (seconds, switches)


# --- folders --------------------------------------------------------------------------------------


def names(text: str) -> list[str]:
    return re.findall(r'<a href="([^"]*)">', text)


def test_folders_are_listed(seen: World) -> None:
    def listed(path: str) -> list[str]:
        reply = seen.site.get(path)
        assert reply.status == 200, path
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        return names(reply.text)

    assert listed("") == ["./debian/"]
    assert listed("debian/") == [
        "../", "./dists/", "./pool/", "./debfleet-archive-keyring.asc",
    ]  # fmt: skip
    assert listed("debian/dists/") == ["../", "./default/", "./stable/"]
    assert "./Release" in listed("debian/dists/stable/")
    assert listed("debian/pool/") == ["../", "./all/", "./contrib/", "./main/"]
    assert listed("debian/pool/main/") == ["../", "./a/", "./b/", "./c/"]
    assert listed("debian/pool/main/b/") == ["../", "./bee/"]
    assert listed("debian/pool/main/a/a/") == ["../", "./a_1.0_amd64.deb"]
    assert "  307710\n" in seen.site.get("debian/pool/main/a/a/").text


def test_a_folder_without_its_slash_is_redirected(seen: World) -> None:
    for path in ("debian", "debian/dists", "debian/dists/stable", "debian/pool/main/b"):
        reply = seen.site.get(path)

        assert reply.status == 301
        assert reply.headers["location"] == f"/pulp/content/{path}/"


def test_base_paths_of_several_parts_have_folders_above_them(world: World) -> None:
    repository = world.flow.repository["id"]
    add_distribution(world.db, "team/one & two", repository=repository)
    add_distribution(world.db, "team/three/deep", repository=repository)
    add_distribution(world.db, "team/unseen", repository=repository, hidden=True)

    assert names(world.site.get("").text) == ["./debian/", "./team/"]
    assert names(world.site.get("team/").text) == ["../", "./one%20%26%20two/", "./three/"]
    assert "one &amp; two" in world.site.get("team/").text
    assert world.site.get("team").status == 301
    assert world.site.get("team/three/deep/dists/stable/Release").status == 200
    assert world.site.get("team/one%20&%20two/dists/stable/Release").status == 200
    assert world.site.get("team/unseen/dists/stable/Release").status == 200


# --- nothing there --------------------------------------------------------------------------------


_NOT_THERE = [
    "none",
    "none/dists/stable/Release",
    "debian/dists/stable/InRelease",
    "debian/dists/stable/main/i18n/Translation-en",
    "debian/dists/stable/Release/",
    "debian/pool/main/a/a/a_9.9_amd64.deb",
    "debian/pool/contrib/a/a/a_1.0_amd64.deb",
    "debian/pool/main/x/a/a_1.0_amd64.deb",
    "debian/pool/main/a/a/by-digest/000000-a_1.0_amd64.deb",
    "debian/pool/main/zzz/",
    "debian/pool/a_1.0_amd64.deb",
    "debian/dists%2fstable/Release",
    "debian/dists/../dists/stable/Release",
    "debian/%2e%2e/debian/dists/stable/Release",
    "../content/debian/dists/stable/Release",
    "debian/dists/stable/Release%00",
    "debian/dists/stable/%ff",
    "debian/" + "a/" * 2500,
    "debian/" + "x" * 7000,
    "debian/%5c..%5cetc/passwd",
    "/etc/passwd",
    "/pulp/contentious",
    "/",
]


def test_what_is_not_there_is_not_found(seen: World) -> None:
    for path in _NOT_THERE:
        reply = seen.site.get(path)

        assert (reply.status, reply.text) == (404, "404: Not Found"), path
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"


def test_dots_and_double_slashes_are_dropped(seen: World) -> None:
    for path in ("debian/./dists/stable/Release", "debian//dists/stable/Release", "/pulp/content//debian/dists/stable/Release"):  # fmt: skip  # noqa: E501
        assert seen.site.get(path).status == 200


def test_a_distribution_without_a_target_says_so(world: World) -> None:
    point(world.db, world.distribution)

    reply = world.site.get("debian/dists/stable/Release")

    assert reply.status == 404
    assert reply.text.startswith("404: Distribution is not pointing to")


def test_a_distribution_whose_publication_is_not_made_yet_serves_nothing(world: World) -> None:
    add_distribution(world.db, "empty", repository=add_repository(world.db)["id"])

    for path in ("empty/", "empty/dists/stable/Release"):
        assert world.site.get(path).status == 404


def test_other_methods_are_refused(seen: World) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        reply = seen.site.get("debian/dists/stable/Release", method)
        assert reply.status == 405
        assert reply.headers["allow"] == "GET,HEAD"


def test_what_is_no_http_gets_400_and_no_traceback(seen: World) -> None:
    for request in (b"nonsense\r\n\r\n", b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n"):
        answer = seen.site.raw(request)
        assert b" 400 " in answer.split(b"\r\n")[0]
        assert b"Traceback" not in answer


def test_clients_that_never_end_their_requests_are_closed_and_keep_nobody_waiting(
    world: World,
) -> None:
    with serving(world.settings, idle_seconds=2) as site, ExitStack() as stack:
        host, _, port = site.address.rpartition(":")
        slow = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(200)
        ]
        for client in slow:
            client.sendall(b"GET /pulp/content/debian/dists/stable/Release HTTP/1.1\r\nHost: ")

        assert site.get("debian/dists/stable/Release").status == 200
        assert [client.recv(1000) for client in slow] == [b""] * 200


def test_the_request_after_a_big_file_is_answered_on_the_same_connection(world: World) -> None:
    get = f"GET /pulp/content/debian/{A_PATH} HTTP/1.1\r\nHost: x\r\n"

    answer = world.site.raw(
        f"{get}\r\n{get}Range: bytes=7-200006\r\n\r\n{get}Connection: close\r\n\r\n".encode()
    )

    bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 20")[1:]]
    whole = world.site.get(f"debian/{A_PATH}").body
    assert len(whole) > 300_000
    assert bodies == [whole, whole[7:200_007], whole]


def test_the_service_stops_while_a_client_does_not_read(world: World) -> None:
    package = Pkg("big", payload_size=24 << 20)  # more than the kernel holds for it
    publish_again(world, package)
    path = "/pulp/content/debian/pool/main/b/big/big_1.0_amd64.deb"
    got = b""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.settimeout(60)
        with serving(replace(world.settings, grace_seconds=0)) as site:
            host, _, port = site.address.rpartition(":")
            client.connect((host, int(port)))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = client.recv(1000)
            assert got.startswith(b"HTTP/1.1 200")
        while block := client.recv(1 << 20):
            got += block
    assert len(got) < 24 << 20


# --- other layouts, verbatim, keys ----------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nested_by_digest", "nested_by_both"])
def test_layouts_by_digest_are_served(world: World, layout: str) -> None:
    made = publish(world.flow, layout=layout)
    add_distribution(world.db, "new", publication=made.publication.id)

    stanza = made.stanzas("dists/stable/main/binary-amd64/Packages")["a"]
    assert "/by-digest/" in stanza["Filename"]
    assert world.site.get(f"new/{stanza['Filename']}").status == 200
    plain = world.site.get(f"new/{A_PATH}").status
    assert plain == (200 if layout == "nested_by_both" else 404)
    listed = names(world.site.get("new/pool/main/a/a/").text)
    assert "./by-digest/" in listed
    folder = names(world.site.get("new/pool/main/a/a/by-digest/").text)
    assert folder == ["../", f"./{stanza['Filename'].rpartition('/')[2]}"]


def test_a_verbatim_publication_serves_upstream_s_tree(world: World) -> None:
    made = publish(world.flow, kind="verbatim")
    add_distribution(world.db, "new", publication=made.publication.id)

    for path, digest in world.archive.files.items():
        if "by-hash" in path or "i18n" in path:
            continue
        reply = world.site.get(f"new/{path}")
        assert hashlib.sha256(reply.body).hexdigest() == digest, path
    assert world.site.get("new/pool/all/a/a/a_1.0_amd64.deb").status == 404
    assert "./main/" in names(world.site.get("new/pool/").text)
    assert names(world.site.get("new/pool/main/a/a/").text) == ["../", "./a_1.0_amd64.deb"]


def test_the_public_key_of_who_signs_is_served(world: World) -> None:
    url = "debian/debfleet-archive-keyring.asc"
    assert world.site.get(url).status == 404
    with world.db.transaction() as tx:
        row = tx.execute(
            "insert into signing_services (name, public_key, fingerprint, script)"
            " values ('s', 'KEY', 'F', '/bin/true') returning uuid"
        ).fetchone()
        assert row is not None
        tx.execute("update repositories set signing_service = %s", (row["uuid"],))

    assert world.site.get(url).text == "KEY\n"


def test_last_modified_is_when_the_publication_was_switched_to(world: World) -> None:
    before = world.site.get("debian/dists/stable/Release").headers["last-modified"]
    settle(world.db)
    after = world.site.get("debian/dists/stable/Release").headers["last-modified"]

    difference = parsedate_to_datetime(before) - parsedate_to_datetime(after)
    assert 58 <= difference.total_seconds() <= 60


# --- at any moment --------------------------------------------------------------------------------


def test_while_publications_are_switched_every_file_that_release_names_is_there_by_hash(
    world: World,
) -> None:
    second = publish_again(world, replace(A, version="2"), E)
    publications = [world.made.publication.id, second.publication.id]
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            release = stanza_fields(world.site.get("debian/dists/stable/Release").text)
            for line in release["SHA256"].strip().split("\n"):
                digest, size, path = line.split()
                if path.endswith("Release"):
                    continue
                folder = path.rpartition("/")[0]
                url = f"debian/dists/stable/{folder}/by-hash/SHA256/{digest}"
                reply = world.site.get(url)
                if (reply.status, len(reply.body)) != (200, int(size)):
                    failures.append(f"{path} {reply.status}")

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for n in range(40):
            point(world.db, world.distribution, publication=publications[n % 2])
        done.set()
    for reader in readers:
        reader.result()

    assert failures == []


def test_requests_that_wait_for_the_database_go_together_and_get_each_its_own_answer(
    world: World,
) -> None:
    paths = [f"dists/stable/{name}" for name in ("Release", *world.made.listed("stable"))]
    paths += ["pool/main/b/bee/libb_1.0+x~1_amd64.deb", A_PATH, "none", "dists"]
    wanted = paths * 4
    alone = {path: world.site.get(f"debian/{path}") for path in paths}
    waiting = (
        "select count(*) as n from pg_stat_activity where datname = current_database()"
        " and application_name = 'debfleet content' and wait_event_type = 'Lock'"
    )

    def waits() -> int:
        with world.db.transaction() as look:
            row = look.execute(waiting).fetchone()
            assert row is not None
            return int(row["n"])

    with ThreadPoolExecutor(len(wanted)) as pool:
        with world.db.transaction() as tx:
            tx.execute("lock table distributions in access exclusive mode")
            asked = [pool.submit(world.site.get, f"debian/{path}") for path in wanted]
            until(lambda: waits() == 2, "two statements wait")
            gone = socket.create_connection(world.site.address.rsplit(":", 1))  # leaves meanwhile
            gone.sendall(b"GET /pulp/content/debian/dists/ HTTP/1.1\r\nHost: x\r\n\r\n")
            gone.close()
            assert waits() == 2
        replies = [reply.result() for reply in asked]

    for path, reply in zip(wanted, replies, strict=True):
        assert (reply.status, reply.body) == (alone[path].status, alone[path].body), path


# --- when the database fails ----------------------------------------------------------------------


def test_connections_that_postgres_closed_cost_no_request(world: World) -> None:
    for path in ("debian/dists/stable/Release", f"debian/{A_PATH}"):
        world.site.get(path)
        with world.db.transaction() as tx:
            tx.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )

        assert world.site.get(path).status == 200


def test_a_database_that_is_away_answers_503_and_soon_again(settings: Settings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{closed.getsockname()[1]}/none"
        with serving(replace(settings, database_url=url)) as site:
            reply = site.get("debian/dists/stable/Release")

    assert (reply.status, reply.text) == (503, "503: Service Unavailable")
    assert int(reply.headers["retry-after"]) > 0


def test_a_store_that_cannot_be_read_answers_503(world: World) -> None:
    name = world.made.listed("stable")["main/binary-amd64/Packages"][0]
    stored = Path(world.settings.store_url.removeprefix("file://")) / name[:2] / name
    stored.unlink()
    stored.symlink_to(stored.name)  # a loop: what even root cannot open

    assert world.site.get("debian/dists/stable/main/binary-amd64/Packages").status == 503


def test_a_running_service_is_seen(world: World) -> None:
    def online() -> list[str]:
        with world.db.transaction() as tx:
            return [row["kind"] for row in processes.list_online(tx)]

    until(lambda: "content" in online(), "no heartbeat")


# --- guards ---------------------------------------------------------------------------------------


def _guard(world: World, **values: str | None) -> None:
    """Give the distribution a guard of its own."""
    none = dict.fromkeys(("description", "header_name", "header_value"))
    with world.db.transaction() as tx:
        row = access.add_guard(tx, {**none, "name": "g", **values})
        tx.execute("update distributions set content_guard = %s", (row["uuid"],))


def test_a_header_guard_asks_for_just_its_value(world: World) -> None:
    _guard(world, kind="header", header_name="X-Key", header_value="open sesame")

    assert world.site.get(f"debian/{A_PATH}").status == 403
    assert world.site.get(f"debian/{A_PATH}", X_Key="open").status == 403
    passed = world.site.get(f"debian/{A_PATH}", X_Key="open sesame")
    assert passed.status == 200
    assert passed.headers["cache-control"] == "private, no-cache"
    assert world.site.get("debian/dists/", X_Key="open sesame").status == 200


def test_an_rbac_guard_asks_for_a_login_and_the_downloader_role(world: World) -> None:
    _guard(world, kind="rbac")
    password = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("sesame")
    with world.db.transaction() as tx:
        user = access.add_user_row(
            tx,
            {
                "username": "ada", "password_hash": password, "first_name": "", "last_name": "",
                "email": "", "is_staff": False, "is_active": True,
            },
        )  # fmt: skip
    login = {"Authorization": "Basic " + b64encode(b"ada:sesame").decode()}
    wrong = {"Authorization": "Basic " + b64encode(b"ada:wrong").decode()}

    anonymous = world.site.get(f"debian/{A_PATH}")
    assert (anonymous.status, anonymous.headers["www-authenticate"]) == (
        401,
        'Basic realm="content"',
    )
    assert world.site.get(f"debian/{A_PATH}", **wrong).status == 401
    assert world.site.get(f"debian/{A_PATH}", Authorization="Basic %%%").status == 401
    assert world.site.get(f"debian/{A_PATH}", **login).status == 403
    with world.db.transaction() as tx:
        role = access.find_role_named(tx, "core.rbaccontentguard_downloader")
        assert role is not None
        access.add_grants(tx, role["id"], Holders([user["id"]], []), None)
    assert world.site.get(f"debian/{A_PATH}", **login).status == 200
    assert world.site.get("debian/dists/stable/Release", **login).status == 200
