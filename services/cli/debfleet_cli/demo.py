"""Start debfleet, make a small signed upstream, sync and publish it, and let apt use it.

Everything lies below one folder (.demo) and is found again by the next demo. With --url the
upstream is the user's own.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from debfleet_cli.client import REPOSITORIES, V3, Access, Api, ApiError, Body
from debfleet_cli.demo_apt import CommandFailed, publish_and_show
from debfleet_cli.ensure import Source, default_name, ensure
from debfleet_cli.flags import UsageError, read_key
from debfleet_cli.outcome import Outcome, count_lines, outcome_lines
from debfleet_cli.place import Place, read_secret
from debfleet_cli.ports import free_address
from debfleet_cli.progress import open_display
from debfleet_cli.sync import FAILED, GOOD, INTERRUPTED, start_sync, watch_sync
from debfleet_cli.unprivileged import die_with_parent

_PROJECT = Path(__file__).resolve().parents[3]
_START_SECONDS = 120  # the first start makes a database cluster
_STOP_SECONDS = 60


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True)
class Running:
    """A `debfleet up` that answers."""

    api: Api
    place: Place
    address: str  # of the API
    content: str  # of what apt sees


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the demo; `make demo` gives them from URL, DIST, COMPONENTS, ARCHITECTURES."""
    parser.add_argument("--url", default="", help="an upstream of your own, http://…")
    parser.add_argument("--dist", default="", help="its distributions, blank-separated")
    parser.add_argument("--components", default="", help="blank-separated; absent: all")
    parser.add_argument("--architectures", default="", help="blank-separated; absent: all")
    parser.add_argument("--policy", default="", help="of an upstream of your own: on_demand")
    parser.add_argument("--gpgkey", default="", help="a file of keys to verify its Release with")
    parser.add_argument("--folder", type=Path, default=_PROJECT / ".demo", help="where all lies")


def run(args: argparse.Namespace) -> int:
    """Show it; returns the exit status."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    # The terminal's Ctrl-C and a plain kill end the same way: everything is stopped.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if args.url and not args.dist:
            raise DemoError("which distribution? make demo URL=… DIST=bookworm …")
        args.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _running(args.folder.resolve(), console) as demo:
            return _own(args, demo, console) if args.url else _made(args.folder, demo, console)
    except (DemoError, UsageError, ApiError, CommandFailed) as e:
        console.print(f"demo: {e}")
        return FAILED
    except KeyboardInterrupt:
        console.print("demo: interrupted; everything was stopped")
        return INTERRUPTED


def _own(args: argparse.Namespace, demo: Running, console: Console) -> int:
    """Sync the user's upstream."""
    distributions = tuple(args.dist.replace(",", " ").split())
    source = Source(
        args.url,
        distributions,
        tuple(args.components.replace(",", " ").split()),
        tuple(args.architectures.replace(",", " ").split()),
        args.policy or "on_demand",
        read_key(args.gpgkey or None),
    )
    if not args.policy:
        console.print("policy on_demand: the lists only; POLICY=immediate brings the packages too")
    name = default_name(args.url, distributions)
    return _published(args.folder, demo, _sync(demo, name, source, console), console)


def _made(folder: Path, demo: Running, console: Console) -> int:
    """Sync a small archive of our own making, and once more to show what that costs."""
    with _upstream(folder.resolve(), console) as (url, key, traffic):
        source = Source(url, ("bookworm",), (), (), "immediate", key)
        outcome = _sync(demo, "demo", source, console)
        if not outcome.is_good:
            return FAILED
        console.print(f"  upstream answered {traffic()}")
        if outcome.version is not None:
            console.print("\nOnce more, with nothing new upstream:")
            traffic()
            outcome = _sync(demo, "demo", source, console)
            console.print(f"  upstream answered {traffic()}")
    return _published(folder, demo, outcome, console)


def _published(folder: Path, demo: Running, outcome: Outcome, console: Console) -> int:
    """Publish what was synced, let apt use it, and say where all is; the exit status."""
    if not outcome.is_good or outcome.repository is None:
        return FAILED
    is_used = publish_and_show(
        demo.api, demo.place, folder.resolve(), outcome.repository, console.print
    )
    _tell_where(demo, outcome, console)
    return GOOD if is_used else FAILED


def _sync(demo: Running, name: str, source: Source, console: Console) -> Outcome:
    ensured = ensure(demo.api, name, source, update=True)
    console.print(f"\nsyncing {source.url} ({' '.join(source.distributions)}) into {name}")
    task = start_sync(demo.api, ensured, mirror=False)
    outcome = watch_sync(demo.api, task, ensured.repository, open_display(console))
    for line in outcome_lines(outcome, demo.api.access.url):
        console.print(line)
    if outcome.word == "unchanged":
        version = _latest(demo.api, name)
        console.print(f"  version {version['number']} holds:")
        for line in count_lines(version, is_change=False):
            console.print(line)
    return outcome


def _latest(api: Api, name: str) -> Body:
    repository = api.find(REPOSITORIES, name)
    if repository is None:
        raise DemoError(f"repository {name} is gone")
    return api.get(repository["latest_version_href"])


def _tell_where(demo: Running, outcome: Outcome, console: Console) -> None:
    place, access = demo.place, demo.api.access
    files = [p.stat().st_size for p in (place.folder / "store").rglob("*") if p.is_file()]
    repository = outcome.repository or {}
    latest = _latest(demo.api, str(repository.get("name")))
    auth = f'-u "{access.username}:$(cat {place.admin_password})"'
    packages = f"{V3}content/deb/packages/?repository_version={latest['pulp_href']}&limit=3"
    console.print(
        f"\nIts data is in {place.folder}: {len(files):,} files, {sum(files):,} bytes in store/.\n"
        "Look at it:\n"
        f"  .venv/bin/debfleet up --data {place.folder} --api {demo.address} "
        f"--content {demo.content}\n"
        f"  curl -s {auth} '{access.url}{packages}'\n"
        "With an upstream of your own:\n"
        "  make demo URL=http://nginx.org/packages/debian DIST=bookworm COMPONENTS=nginx "
        "ARCHITECTURES=amd64"
    )


@contextmanager
def _upstream(folder: Path, console: Console) -> Iterator[tuple[str, str, Callable[[], str]]]:
    """The made archive on a web server: its URL, its key, and what it was asked since last time.

    It is made once: the next demo serves the same bytes, so that nothing is new.
    """
    tests = _PROJECT / "tests"
    if not (tests / "archive").is_dir():
        raise DemoError("the generator of the demo's upstream is not here: give --url and --dist")
    sys.path.insert(0, str(tests))
    place, key = folder / "upstream", folder / "upstream-key.asc"
    if not place.exists():
        _write_upstream(place, key)
    server = importlib.import_module("archive.upstream").Upstream(place)
    with server:
        files = sum(1 for p in (place / "pool").rglob("*.deb"))
        console.print(f"  a signed archive of {files:,} packages at {server.url}")
        told = 0

        def traffic() -> str:
            nonlocal told
            new, told = server.requests[told:], len(server.requests)
            return f"{len(new):,} requests with {sum(r.sent for r in new):,} bytes"

        yield server.url, key.read_text(encoding="utf-8"), traffic


def _write_upstream(place: Path, key: Path) -> None:
    build = importlib.import_module("archive.build")
    model = importlib.import_module("archive.model")
    signer = importlib.import_module("archive.keys").SigningKey.generate()
    components = {
        component: [
            model.Pkg(f"{component}-{number:03}", architecture=architecture, payload_size=20_000)
            for architecture in ("amd64", "arm64", "all")
            for number in range(count)
        ]
        for component, count in (("main", 150), ("contrib", 50))
    }
    new = place.with_name(f"{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of a demo that was cut off
    dist = model.Dist("bookworm", components, suite="stable", version="12.0")
    build.write_archive(new, [dist], key=signer)
    key.write_text(signer.public, encoding="utf-8")
    new.rename(place)


@contextmanager
def _running(folder: Path, console: Console) -> Iterator[Running]:
    """A `debfleet up` on free ports, stopped at the end."""
    place = Place(folder / "data")
    api, content = free_address(), free_address()
    console.print(f"starting debfleet (its log: {folder / 'up.log'})")
    began = time.monotonic()
    process = _start(folder, place, api, content)
    try:
        _wait_until_it_answers(process, f"http://{api}", folder)
        password = read_secret(place.admin_password)
        with Api(Access(f"http://{api}", "admin", password)) as client:
            console.print(f"  http://{api} answers after {time.monotonic() - began:.1f} s")
            yield Running(client, place, api, content)
    finally:
        _stop(process, folder)
    console.print("\ndebfleet was stopped; `make demo` starts it again with all it has.")


def _start(folder: Path, place: Place, api: str, content: str) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("debfleet")), "up"]
    command += ["--data", str(place.folder), "--api", api, "--content", content, "--metrics", "off"]
    # The demo shows the embedded default, whatever the user's shell has set for another debfleet.
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
    # No proxy reaches the small upstream, which is on this machine.
    outside = environ.get("no_proxy") or environ.get("NO_PROXY")
    environ["no_proxy"] = ",".join(filter(None, [outside, "127.0.0.1"]))
    environ["DEBFLEET_CONTENT_ORIGIN"] = f"http://{content}"
    with open(folder / "up.log", "wb") as log:
        # A group of its own: Ctrl-C reaches us alone, and we stop it in order.
        return subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            process_group=0, preexec_fn=die_with_parent(signal.SIGTERM),
        )  # fmt: skip


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with Api(Access(url, "admin", None)) as api:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise DemoError(
                    f"debfleet up ended with {process.returncode}:\n{_tail(folder)}\n"
                    f"To begin with nothing: rm -r {folder}"
                )
            try:
                if api.get(V3 + "status/")["online_workers"]:
                    return
            except ApiError:
                pass  # not yet
            time.sleep(0.1)
    raise DemoError(f"debfleet up does not answer in {_START_SECONDS} s:\n{_tail(folder)}")


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise DemoError(f"debfleet up did not stop in time:\n{_tail(folder)}") from None


def _tail(folder: Path) -> str:
    return "\n".join((folder / "up.log").read_text(errors="replace").splitlines()[-20:])


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    add_arguments(_parser)
    sys.exit(run(_parser.parse_args()))
