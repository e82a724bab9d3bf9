"""What a hostile or broken upstream may send: a clear end of the task, never a loop or a crash."""

from __future__ import annotations

import random
import socket
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from archive.model import Archive, Dist, Pkg
from archive.upstream import Upstream
from sync_flow import Flow

Write = Callable[..., Archive]
A, B = Pkg("a"), Pkg("b")


def stable(packages: Sequence[Pkg] = (A, B), **fields: Any) -> Dist:
    return Dist("stable", {"main": packages}, **fields)


def noise(length: int) -> str:
    """Letters that do not compress."""
    return "".join(random.Random(length).choices(string.ascii_letters, k=length))


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server that says this to everybody; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join()


def test_a_status_in_another_encoding_is_an_ordinary_failure(
    flow: Flow, upstream: Upstream
) -> None:
    with answering(b"HTTP/1.1 403 D\xe9fendu\r\nContent-Length: 0\r\n\r\n") as url:
        flow.set_remote(upstream, url=url)

        done = flow.sync()

    assert done.state == "failed"
    assert done.error.startswith("[PLP0025] 403, message='D")


@pytest.mark.parametrize(
    "field", ["Codename", "Suite", "Version", "Origin", "Label", "Description"]
)
def test_a_long_field_of_release_is_stored(
    flow: Flow, write: Write, upstream: Upstream, field: str
) -> None:
    upstream.rotate(write(stable(fields={field: noise(20_000)})).folder)
    flow.set_remote(upstream, policy="on_demand")

    done = flow.sync()

    assert (done.state, done.error) == ("completed", "")


@pytest.mark.parametrize(
    "stanza",
    [
        {"Package": noise(20_000)},
        {"Version": noise(20_000)},
        {"Section": noise(20_000)},
        {"Source": noise(20_000)},
        {"Filename": f"{noise(4_000)}.deb"},
        {"Filename": f"{noise(9_000)}.deb"},
        {"Architecture": noise(20_000)},
        {"Architecture-Variant": noise(20_000)},
        {"Size": "0"},
    ],
    ids=lambda stanza: "".join(f"{k}-{len(v)}" for k, v in stanza.items()),
)
def test_long_fields_of_a_package_end_the_sync_clearly(
    flow: Flow, write: Write, upstream: Upstream, stanza: dict[str, str]
) -> None:
    upstream.rotate(write(stable([A, Pkg("b", stanza=stanza)])).folder)
    flow.set_remote(upstream, policy="on_demand")

    done = flow.sync()

    assert done.state in ("completed", "failed")
    assert "[PLP0000]" not in done.error
    if done.state == "completed":
        assert ("a", "1.0", "amd64") in flow.packages()
        assert len(flow.packages()) == 2 or [c for c in done.reports if "sync.skipped" in c]


def test_a_release_that_offers_everything_is_refused(
    flow: Flow, write: Write, upstream: Upstream
) -> None:
    words = " ".join(str(n) for n in range(1000))
    upstream.rotate(write(stable(fields={"Components": words, "Architectures": words})).folder)
    flow.set_remote(upstream)

    done = flow.sync()

    assert done.state == "failed"
    assert "1000 components for 1000 architectures" in done.error


@pytest.mark.parametrize("length", [300, 20_000])
@pytest.mark.parametrize("what", ["component", "architecture"])
def test_long_names_in_release_end_the_sync_clearly(
    flow: Flow, write: Write, upstream: Upstream, what: str, length: int
) -> None:
    archive = write(stable())
    release = archive.folder / "dists/stable/Release"
    old = {"component": "Components: main", "architecture": "Architectures: amd64"}[what]
    release.write_text(release.read_text().replace(old, f"{old} {noise(length)}"))
    upstream.rotate(archive.folder)
    flow.set_remote(upstream, policy="on_demand")

    done = flow.sync()

    assert done.state in ("completed", "failed")
    assert "[PLP0000]" not in done.error
