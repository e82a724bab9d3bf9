"""Judges a run by what anybody can see: the API, what is served, the store, upstream's log.

It knows nothing of how debfleet works: no table, no module of it, no log line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

_ROW = re.compile(r"^ ([0-9a-f]{64}) +(\d+) (\S+)$", re.MULTILINE)


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


def need(invariant: str, holds: bool, what: object) -> None:
    """Raise ``Broken`` unless it holds."""
    if not holds:
        raise Broken(invariant, str(what))


@dataclass(frozen=True)
class Served:
    """What a base path serves: digests by path, walked down from its Release file."""

    release: str  # its SHA-256
    files: Mapping[str, str]

    @property
    def packages(self) -> set[str]:
        """SHA-256 of every package."""
        return {digest for path, digest in self.files.items() if path.startswith("pool/")}


def walk(client: httpx.Client, base: str, dist: str) -> Served:
    """V1: everything that the Release names is there, with that size and digest, by hash too."""
    for _ in range(4):
        text = _get(client, f"{base}dists/{dist}/Release")
        files: dict[str, str] = {}
        try:
            for digest, size, path in _ROW.findall(text.decode()):
                _look(client, f"{base}dists/{dist}/{path}", digest, int(size))
                if path.endswith("Packages"):
                    folder = path.rpartition("/")[0]
                    by_hash = f"{base}dists/{dist}/{folder}/by-hash/SHA256/{digest}"
                    body = _look(client, by_hash, digest, int(size))
                    for name, size_of, sha256 in _packages(body.decode()):
                        _look(client, base + name, sha256, size_of)
                        files[name] = sha256
                files[path] = digest
        except Broken:
            # A switch in the middle of our walk: what is asked by name is the new one's by then.
            if _get(client, f"{base}dists/{dist}/Release") != text:
                continue
            raise
        return Served(hashlib.sha256(text).hexdigest(), files)
    raise Broken("V1", f"{base} changed under four walks")


def _packages(text: str) -> Iterator[tuple[str, int, str]]:
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if fields:
            yield fields["Filename"], int(fields["Size"]), fields["SHA256"]


def _get(client: httpx.Client, url: str) -> bytes:
    answer = client.get(url, follow_redirects=True)
    need("V1", answer.status_code == 200, f"{url} answers {answer.status_code}")
    return answer.content


def _look(client: httpx.Client, url: str, sha256: str, size: int) -> bytes:
    body = _get(client, url)
    found = hashlib.sha256(body).hexdigest()
    need("V1", (len(body), found) == (size, sha256), f"{url} is not what Release says")
    return body


@dataclass
class Store:
    """V7: a directory store, each file digested once."""

    root: Path
    known: set[Path] = field(default_factory=set)

    def check(self) -> set[str]:
        """SHA-256 of all files; the new ones are read."""
        for path in self.root.rglob("*"):
            if len(path.name) != 64 or path in self.known:
                continue
            try:
                body = path.read_bytes()
            except (FileNotFoundError, IsADirectoryError):
                continue
            digest = hashlib.sha256(body).hexdigest()
            need("V7", digest == path.name, f"{path} holds other bytes than its name says")
            self.known.add(path)
        return {path.name for path in self.known}


def check_task(task: Mapping[str, Any], is_expected: bool) -> None:
    """V3 and V9: a final state, and an error that says something."""
    need("V3", task["finished_at"] is not None, f"the task is {task['state']}")
    if task["state"] == "completed":
        need("V9", task["error"] is None, task["error"])
        running = [r["code"] for r in task["progress_reports"] if r["state"] == "running"]
        need("V9", not running, f"reports go on after the end: {running}")
        return
    text = (task["error"] or {}).get("description", "")
    need("V3", is_expected, f"the sync {task['state']}: {text}")
    need("V9", bool(re.match(r"\[[A-Z]{3}\d{4}\] .{10,}", text)), f"the error says {text!r}")
    need("V9", "internal error" not in text, text)


def check_version(
    before: int, version: Mapping[str, Any], packages: Sequence[str], expected: set[str]
) -> None:
    """V3 and V4: one more version, which holds what upstream offers, each once."""
    number = version["number"]
    need("V4", number == before + 1, f"version {before} was followed by {number}")
    need("V4", len(packages) == len(set(packages)), "a package is in it twice")
    need("V3", set(packages) == expected, f"{len(packages)} packages instead of {len(expected)}")


def check_switch(seen: Sequence[str], before: str, after: str) -> None:
    """V2: what was served was the old state, then the new one, and no third."""
    order = [state for n, state in enumerate(seen) if n == 0 or state != seen[n - 1]]
    good = ([before], [after], [before, after], [])
    need("V2", order in good, f"served {order}, not {before} and then {after}")


def check_repair(sent: Mapping[str, int], sizes: Mapping[str, int], allowed: int) -> int:
    """V10: bytes of packages that upstream sent again; at most ``allowed``. Returns them."""
    again = sum(max(0, count - sizes[path]) for path, count in sent.items() if path in sizes)
    need("V10", again <= allowed, f"{again} bytes were sent again, {allowed} are allowed")
    return again


def check_bounds(pids: Sequence[int], *, files: int, bytes: int) -> None:
    """V8: no process has more open files or memory than this."""
    for pid in pids:
        try:
            count = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue  # it was killed just now
        found = re.search(r"VmRSS:\s+(\d+)", status)
        memory = int(found[1]) * 1024 if found else 0
        need("V8", count <= files, f"process {pid} has {count} open files")
        need("V8", memory <= bytes, f"process {pid} has {memory >> 20} MiB")
