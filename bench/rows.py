"""The rows of the benchmark that sync: debfleet and its peers by turns, so many rounds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import api
import bare
import idle
import peers
from inputs import (
    REAL_ARCHITECTURES,
    REAL_COMPONENTS,
    REAL_DIST,
    fetch_real,
    write_packages,
    write_signed_suite,
    write_suites,
)
from lab import Mirror, Run, mirror, put_away, task_seconds
from nginx import web
from table import Place, Row, by_turns

_REMOTE = {"policy": "immediate", "download_concurrency": 20}
_SUITE = 65_000


def real_release(place: Place) -> list[Row]:
    """on_demand sync of a real release, unchanged again, and by a second repository."""
    given = fetch_real(place.real)
    first = Row("A real release, on_demand, first sync", goal="at most 1.6 times aptly's time")
    again = Row("The same, unchanged", goal="under 0.3 s, at most 3 requests")
    second = Row("A second repository of it", goal="under 1 s, only Release files fetched")
    publish = Row("Publish it, structured and signed")
    remote = {
        "policy": "on_demand",
        "components": " ".join(REAL_COMPONENTS),
        "architectures": " ".join((*REAL_ARCHITECTURES, "all")),
    }

    def ours(url: str, log: Callable[[], list[str]]) -> Run:
        with mirror(place.folder) as up:
            _, repository = up.pair("real", url, REAL_DIST, **remote)
            seconds = up.sync(repository)
            done = Run(seconds, up.peak())
            log()
            again.add("debfleet", Run(up.sync(repository)))
            asked = log()
            again.notes[:] = [f"requests to upstream: {len(asked)}"]
            _, other = up.pair("other", url, REAL_DIST, **remote)
            second.add("debfleet", Run(up.sync(other)))
            asked = [line.rpartition("/")[2] for line in log()]
            second.notes[:] = [f"requests to upstream: {', '.join(sorted(set(asked)))}"]
            seconds = _publish(up, repository)
            publish.add("debfleet", Run(seconds, up.peak()))
            return done

    def aptly(url: str) -> Run:
        with peers.Aptly(place.folder) as contender:
            return contender.mirror(
                url, REAL_DIST, REAL_COMPONENTS, REAL_ARCHITECTURES, keeps_nothing=True
            )

    indices = [
        f"dists/{REAL_DIST}/{component}/binary-{architecture}/Packages.xz"
        for component in REAL_COMPONENTS
        for architecture in (*REAL_ARCHITECTURES, "all")
    ]
    with web(given.folder) as server:
        by_turns(
            first,
            place,
            [
                ("debfleet", lambda: ours(server.url, server.asked)),
                ("aptly, filter that keeps nothing", lambda: aptly(server.url)),
                ("curl and xz", lambda: peers.bare_fetch(server.url, indices, place.folder)),
                (
                    "xz, split and COPY into a bare table",
                    lambda: bare.copy([given.folder / path for path in indices], place.folder),
                ),
            ],
        )
    return [first, again, second, publish]


def changed_suite(place: Place) -> list[Row]:
    """65,000 packages of which 1 % change, and what a publication of them takes."""
    folder = place.folder / "suites"
    first, second = write_suites(folder, _SUITE)
    delta = Row(
        "1 % of 65,000 packages changed, on_demand",
        goal="under 2 s, at most 1.5 times curl and xz plus 0.5 s",
    )
    signed, key = write_signed_suite(folder / "signed", _SUITE)
    publish = Row("Publish 65,000 packages, structured and signed", goal="under 6 s, under 300 MB")

    def ours(old: str, new: str) -> Run:
        with mirror(place.folder) as up:
            href, repository = up.pair("delta", old, "stable", policy="on_demand")
            up.sync(repository)
            up.change(href, url=new)
            return Run(up.sync(repository), up.peak())

    def published(url: str) -> Run:
        with mirror(place.folder) as up:
            _, repository = up.pair("p", url, "stable", policy="on_demand", gpgkey=key.public)
            up.sync(repository)
            return Run(_publish(up, repository), up.peak())

    with web(first.folder) as old, web(second.folder) as new, web(signed.folder) as server:
        index = ["dists/stable/main/binary-amd64/Packages.xz"]
        by_turns(
            delta,
            place,
            [
                ("debfleet", lambda: ours(old.url, new.url)),
                ("curl and xz", lambda: peers.bare_fetch(new.url, index, place.folder)),
            ],
        )
        by_turns(publish, place, [("debfleet", lambda: published(server.url))])
    return [delta, publish]


def small_files(place: Place) -> list[Row]:
    """2,000 files of 100 KB."""
    goal = "one worker: at most 1.25 times curl and sha256sum; two: ahead of aptly"
    return [_downloads(place, "2,000 packages of 100 KB, immediate", 2000, 100_000, goal)]


def large_files(place: Place) -> list[Row]:
    """200 files of 5 MB."""
    goal = "at most 1.15 times curl and sha256sum"
    return [_downloads(place, "200 packages of 5 MB, immediate", 200, 5_000_000, goal)]


def _downloads(place: Place, title: str, count: int, size: int, goal: str) -> Row:
    given = write_packages(place.folder / f"packages-{size}", count, size)
    row = Row(title, goal=goal)
    row.notes.append("apt-mirror is not among them: it loses the port of an upstream's address.")

    def ours(url: str, workers: int) -> Run:
        with mirror(place.folder, workers) as up:
            _, repository = up.pair("files", url, given.dist, **_REMOTE)
            return Run(up.sync(repository), up.peak())

    def aptly(url: str) -> Run:
        with peers.Aptly(place.folder) as contender:
            return contender.mirror(url, given.dist, ["main"], ["amd64"])

    with web(given.folder) as server:
        url, folder = server.url, place.folder
        by_turns(
            row,
            place,
            [
                ("debfleet, 1 worker", lambda: ours(url, 1)),
                ("curl and sha256sum", lambda: peers.curl_and_sum(url, given, folder)),
                ("debfleet, 2 workers", lambda: ours(url, 2)),
                ("curl, sha256sum and sync",
                 lambda: peers.curl_and_sum(url, given, folder, is_synced=True)),
                ("aptly", lambda: aptly(url)),
                ("debmirror", lambda: peers.debmirror(url, given, folder)),
            ],
        )  # fmt: skip
    put_away(given.folder)
    return row


def far_away(place: Place) -> list[Row]:
    """An upstream 50 ms away, as if at 1 MB/s a connection; 1, 2 and 4 workers."""
    given = write_packages(place.folder / "far", 2000, 100_000)
    row = Row(
        "2,000 packages of 100 KB from far away (50 ms a request, 1 MB/s a connection)",
        goal="4 workers with 4 times the concurrency: at least 3.5 times as fast as 1",
    )

    def ours(url: str, workers: int) -> Run:
        with mirror(place.folder, workers) as up:
            remote = _REMOTE | {"download_concurrency": 10 * workers}
            _, repository = up.pair("far", url, given.dist, **remote)
            return Run(up.sync(repository), up.peak())

    with web(given.folder, slow=True) as server:
        by_turns(
            row,
            place,
            [
                (
                    f"debfleet, {n} worker{'s' if n > 1 else ''}, {10 * n} connections",
                    partial(ours, server.url, n),
                )
                for n in (1, 2, 4)
            ],
        )
    put_away(given.folder)
    return [row]


def ten_at_once(place: Place) -> list[Row]:
    """Ten repositories of one upstream, asked for at the same moment."""
    given = write_packages(place.folder / "ten", 500, 100_000)
    row = Row("Ten repositories of one upstream at once, 500 packages of 100 KB, immediate")

    def ours(url: str, log: Callable[[], list[str]], count: int) -> Run:
        with mirror(place.folder) as up, ExitStack() as stack:
            made = [up.pair(f"r{n}", url, given.dist, **_REMOTE)[1] for n in range(count)]
            log()
            pool = stack.enter_context(ThreadPoolExecutor(count))
            tasks = list(pool.map(lambda href: up.start(f"{href}sync/"), made))
            done = [up.wait(task) for task in tasks]
            fetched = sum(1 for line in log() if "/pool/" in line)
            row.notes[:] = [f"package files fetched by {count} syncs: {fetched}"]
            began = min(task["pulp_created"] for task in done)
            last = max(done, key=lambda task: str(task["finished_at"]))
            return Run(task_seconds(last | {"pulp_created": began}), up.peak())

    with web(given.folder) as server:
        by_turns(
            row,
            place,
            [
                ("debfleet, one", partial(ours, server.url, server.asked, 1)),
                ("debfleet, ten at once", partial(ours, server.url, server.asked, 10)),
            ],
        )
    put_away(given.folder)
    return [row]


def _publish(up: Mirror, repository: str) -> float:
    services = up.up.ask("GET", "/pulp/api/v3/signing-services/?name=bench")[1]["results"]
    if not services:
        up.make_key("bench")
        services = up.up.ask("GET", "/pulp/api/v3/signing-services/?name=bench")[1]["results"]
    body = {
        "repository": repository,
        "structured": True,
        "signing_service": services[0]["pulp_href"],
    }
    return task_seconds(up.wait(up.start("/pulp/api/v3/publications/deb/apt/", **body)))


ROWS: dict[str, Callable[[Place], list[Row]]] = {
    "real": real_release,
    "changed": changed_suite,
    "small": small_files,
    "large": large_files,
    "far": far_away,
    "ten": ten_at_once,
    "api": api.requests,
    "thousand": api.thousand_repositories,
    "idle": idle.idle_workers,
}
