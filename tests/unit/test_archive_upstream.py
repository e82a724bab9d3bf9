"""The web server of the tests: it serves, it keeps count, and it fails as told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from archive import faults
from archive.proxy import Proxy
from archive.tls import Authority, server_context
from archive.upstream import Upstream

BODY = bytes(range(256)) * 400  # more than one block


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dists").mkdir()
    (tmp_path / "dists/Release").write_bytes(BODY)
    (tmp_path / "a+b~c%3a é.deb").write_bytes(b"odd")
    return tmp_path


@pytest.fixture
def upstream(folder: Path) -> Iterator[Upstream]:
    with Upstream(folder) as server:
        yield server


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=20) as made:
        yield made


def release(upstream: Upstream) -> str:
    return f"{upstream.url}dists/Release"


def test_files_are_served_and_requests_kept(upstream: Upstream, client: httpx.Client) -> None:
    answer = client.get(release(upstream), headers={"X-Mine": "1"})

    assert (answer.status_code, answer.content) == (200, BODY)
    upstream.wait_for(lambda u: len(u.requests) == 1)
    (request,) = upstream.requests
    assert (request.method, request.path, request.status) == ("GET", "dists/Release", 200)
    assert request.sent == len(BODY)
    assert request.headers["x-mine"] == "1"
    assert request.ended >= request.started


def test_quoted_paths_are_found(upstream: Upstream, client: httpx.Client) -> None:
    assert client.get(f"{upstream.url}a%2Bb~c%253a%20%C3%A9.deb").content == b"odd"


@pytest.mark.parametrize("path", ["nothing", "dists", "", "%2e%2e/x", "dists/../../etc/passwd"])
def test_what_is_no_file_is_not_found(upstream: Upstream, client: httpx.Client, path: str) -> None:
    assert client.get(upstream.url + path).status_code == 404


def test_a_head_has_no_body(upstream: Upstream, client: httpx.Client) -> None:
    answer = client.head(release(upstream))

    assert answer.headers["content-length"] == str(len(BODY))
    assert answer.content == b""


def test_ranges_are_served(upstream: Upstream, client: httpx.Client) -> None:
    answer = client.get(release(upstream), headers={"Range": "bytes=100-"})

    assert (answer.status_code, answer.content) == (206, BODY[100:])
    assert answer.headers["content-range"] == f"bytes 100-{len(BODY) - 1}/{len(BODY)}"
    beyond = client.get(release(upstream), headers={"Range": f"bytes={len(BODY)}-"})
    assert beyond.status_code == 416


def test_a_range_of_an_older_file_gives_the_whole(
    upstream: Upstream, client: httpx.Client, folder: Path
) -> None:
    etag = client.get(release(upstream)).headers["etag"]
    headers = {"Range": "bytes=5-", "If-Range": etag}
    assert client.get(release(upstream), headers=headers).status_code == 206

    (folder / "dists/Release").write_bytes(b"a new file")

    answer = client.get(release(upstream), headers=headers)
    assert (answer.status_code, answer.content) == (200, b"a new file")


def test_another_folder_can_be_served(
    upstream: Upstream, client: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "new").write_bytes(b"new")

    upstream.rotate(other)

    assert client.get(f"{upstream.url}new").content == b"new"
    assert client.get(release(upstream)).status_code == 404


def test_a_password_can_be_wanted(folder: Path, client: httpx.Client) -> None:
    with Upstream(folder, credentials=("me", "secret")) as upstream:
        assert client.get(release(upstream)).status_code == 401
        assert client.get(release(upstream), auth=("me", "wrong")).status_code == 401
        assert client.get(release(upstream), auth=("me", "secret")).status_code == 200


def test_a_status_is_given_as_often_as_told(upstream: Upstream, client: httpx.Client) -> None:
    fault = faults.status("dists/*", 503, {"Retry-After": "7"}, times=2, skip=1)
    upstream.faults.append(fault)

    answers = [client.get(release(upstream)) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 503, 503, 200, 200]
    assert answers[1].headers["retry-after"] == "7"
    assert fault.hits == 2


def test_faults_apply_to_the_paths_they_match(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults.append(faults.status("pool/*", 500))

    assert client.get(release(upstream)).status_code == 200


def test_a_connection_can_be_cut(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults.append(faults.cut("*", 70_000, times=1))

    received: list[bytes] = []
    with client.stream("GET", release(upstream)) as answer, pytest.raises(httpx.TransportError):
        received.extend(answer.iter_bytes())

    assert BODY.startswith(b"".join(received))
    assert len(b"".join(received)) <= 70_000
    upstream.wait_for(lambda u: len(u.requests) == 1)
    assert client.get(release(upstream)).content == BODY
    assert upstream.requests[0].sent == 70_000


def test_a_transfer_can_stall_until_an_event(upstream: Upstream, client: httpx.Client) -> None:
    goes_on = threading.Event()
    upstream.faults.append(faults.stall("*", 10, goes_on))

    with client.stream("GET", release(upstream)) as answer:
        blocks = answer.iter_raw()
        first = next(blocks)
        upstream.wait_for(lambda u: u.open_requests == 1)
        goes_on.set()
        rest = b"".join(blocks)

    assert first == BODY[:10]
    assert first + rest == BODY


def test_a_stalled_server_can_be_closed(folder: Path) -> None:
    results: list[object] = []

    def ask() -> None:
        try:
            results.append(httpx.get(release(upstream), trust_env=False))
        except httpx.TransportError as e:
            results.append(e)

    with Upstream(folder) as upstream:
        upstream.faults.append(faults.stall("*", 10, threading.Event()))
        thread = threading.Thread(target=ask)
        thread.start()
        upstream.wait_for(lambda u: u.open_requests == 1)
    thread.join(timeout=20)

    assert len(results) == 1


def test_a_transfer_can_drip(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults.append(faults.drip("*", 1_000_000))

    assert client.get(release(upstream)).content == BODY

    upstream.wait_for(lambda u: len(u.requests) == 1)
    (request,) = upstream.requests
    assert request.ended - request.started >= 0.08  # 102,400 bytes at a million a second


def test_an_answer_can_be_late(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults.append(faults.delay("*", 0.2))

    client.get(release(upstream))

    upstream.wait_for(lambda u: len(u.requests) == 1)
    assert upstream.requests[0].ended - upstream.requests[0].started >= 0.2


def test_bytes_can_be_wrong(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults += [
        faults.wrong_bytes("*", times=1),
        faults.wrong_bytes("*", b"else", skip=1, times=1),
    ]

    same_size, other = client.get(release(upstream)), client.get(release(upstream))

    assert len(same_size.content) == len(BODY)
    assert same_size.content != BODY
    assert other.content == b"else"


def test_a_page_can_come_in_place_of_a_file(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults.append(faults.html_200("*"))

    answer = client.get(release(upstream))

    assert answer.status_code == 200
    assert answer.text.startswith("<!DOCTYPE html>")


def test_clients_can_be_sent_elsewhere(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults.append(faults.redirect("old", f"{upstream.url}dists/Release"))

    answer = client.get(f"{upstream.url}old", follow_redirects=True)

    assert answer.content == BODY
    assert upstream.paths()[0] == "old"


def test_ranges_can_be_ignored_or_wrong(upstream: Upstream, client: httpx.Client) -> None:
    upstream.faults += [faults.no_range(times=1), faults.wrong_range(skip=1)]
    headers = {"Range": "bytes=100-"}

    ignored = client.get(release(upstream), headers=headers)
    wrong = client.get(release(upstream), headers=headers)

    assert (ignored.status_code, ignored.content) == (200, BODY)
    assert (wrong.status_code, wrong.content) == (206, BODY)


def test_requests_at_once_are_counted(upstream: Upstream) -> None:
    all_there = threading.Event()
    upstream.faults.append(faults.stall("*", 0, all_there))
    clients = [
        threading.Thread(target=httpx.get, args=[release(upstream)], kwargs={"trust_env": False})
        for _ in range(3)
    ]

    for thread in clients:
        thread.start()
    upstream.wait_for(lambda u: u.open_requests == 3)
    all_there.set()
    for thread in clients:
        thread.join()

    assert upstream.most_at_once == 3
    assert upstream.connections == 3


def test_waiting_for_what_does_not_come_ends(upstream: Upstream) -> None:
    with pytest.raises(TimeoutError):
        upstream.wait_for(lambda u: bool(u.requests), seconds=0.05)


def test_tls_is_served_and_client_certificates_checked(folder: Path) -> None:
    authority = Authority()
    context = server_context(authority.issue(), client_ca=authority.cert)
    mine = authority.issue("me")
    pem = folder / "client.pem"
    pem.write_text(mine.cert + mine.key)
    trusting = ssl.create_default_context(cadata=authority.cert)

    with Upstream(folder, tls=context) as upstream:
        assert upstream.url.startswith("https://")
        with pytest.raises(httpx.ConnectError):
            httpx.get(release(upstream), trust_env=False)  # our authority is not known
        with pytest.raises(httpx.HTTPError):
            httpx.get(release(upstream), verify=trusting, trust_env=False)  # no certificate shown
        trusting.load_cert_chain(pem)
        answer = httpx.get(release(upstream), verify=trusting, trust_env=False)

    assert answer.content == BODY


def test_an_expired_certificate_is_one(folder: Path) -> None:
    authority = Authority()
    context = server_context(authority.issue(days=-1))

    with (
        Upstream(folder, tls=context) as upstream,
        pytest.raises(httpx.ConnectError, match="expired"),
    ):
        httpx.get(
            release(upstream),
            verify=ssl.create_default_context(cadata=authority.cert),
            trust_env=False,
        )


def test_a_proxy_forwards_and_may_want_a_password(upstream: Upstream) -> None:
    with Proxy(credentials=("me", "secret")) as proxy:
        refused = httpx.get(release(upstream), proxy=proxy.url, trust_env=False)
        answer = httpx.get(
            release(upstream),
            proxy=httpx.Proxy(proxy.url, auth=("me", "secret")),
            trust_env=False,
        )

    assert refused.status_code == 407
    assert answer.content == BODY
    assert proxy.targets == [release(upstream)] * 2


def test_a_proxy_tunnels(folder: Path) -> None:
    authority = Authority()
    trusting = ssl.create_default_context(cadata=authority.cert)

    with Upstream(folder, tls=server_context(authority.issue())) as upstream, Proxy() as proxy:
        answer = httpx.get(release(upstream), proxy=proxy.url, verify=trusting, trust_env=False)

    assert answer.content == BODY
    assert proxy.targets == [f"127.0.0.1:{upstream.port}"]
