"""The others: what they are told to do, and what that took."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from inputs import Input
from lab import Run, Unavailable, put_away, run

_CONNECTIONS = 20


def curl_and_sum(url: str, given: Input, folder: Path, *, is_synced: bool = False) -> Run:
    """The floor: every file by `curl --parallel`, then `sha256sum --check`, then perhaps `sync`."""
    place = Path(tempfile.mkdtemp(prefix="curl-", dir=folder))
    try:
        names = {path: path.rpartition("/")[2] for path, _, _ in given.files}
        (place / "wanted").write_text(
            "".join(f'url = "{url}{path}"\noutput = "{place}/{names[path]}"\n' for path in names)
        )
        (place / "sums").write_text(
            "".join(f"{digest}  {place}/{names[path]}\n" for path, _, digest in given.files)
        )
        parallel = ["--parallel", "--parallel-max", str(_CONNECTIONS), "--parallel-immediate"]
        fetched = run(["curl", "--silent", "--fail", *parallel, "--config", str(place / "wanted")])
        summed = run(["sha256sum", "--check", "--quiet", "--strict", str(place / "sums")])
        seconds = fetched.seconds + summed.seconds
        if is_synced:
            seconds += run(["sync", "--file-system", str(place)]).seconds
        return Run(seconds, max(fetched.peak, summed.peak))
    finally:
        put_away(place)


def bare_fetch(url: str, paths: Sequence[str], folder: Path) -> Run:
    """Fetch indices by curl and decompress them, one after the other."""
    began = time.monotonic()
    peak = 0
    for path in paths:
        target = folder / "bare.xz"
        fetched = run(["curl", "--silent", "--fail", "--output", str(target), url + path])
        unpacked = run(["xz", "--decompress", "--force", str(target)])
        peak = max(peak, fetched.peak, unpacked.peak)
    return Run(time.monotonic() - began, peak)


class Aptly:
    """aptly with a root of its own; gone at the end."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("aptly") is None:
            raise Unavailable("aptly")
        self._place = Path(tempfile.mkdtemp(prefix="aptly-", dir=folder))
        self._config = self._place / "aptly.conf"
        self._config.write_text(
            f'{{"rootDir": "{self._place}/root", "downloadConcurrency": {_CONNECTIONS}, '
            '"skipContentsPublishing": true}'
        )

    def __enter__(self) -> Aptly:
        return self

    def __exit__(self, *exc: object) -> None:
        put_away(self._place)

    def mirror(
        self, url: str, dist: str, components: Sequence[str], architectures: Sequence[str],
        *, keeps_nothing: bool = False,
    ) -> Run:  # fmt: skip
        """Create a mirror, and measure its update."""
        kept = ["-filter", "no-package-has-this-name"] if keeps_nothing else []
        self._run(
            "mirror", "create", "-ignore-signatures", *kept,
            f"-architectures={','.join(architectures)}", "it", url, dist, *components,
        )  # fmt: skip
        return self._run("mirror", "update", "-ignore-signatures", "it")

    def _run(self, *argv: str) -> Run:
        return run(["aptly", f"-config={self._config}", *argv])


def debmirror(url: str, given: Input, folder: Path) -> Run:
    """debmirror of one component and architecture, over HTTP."""
    place = Path(tempfile.mkdtemp(prefix="debmirror-", dir=folder))
    try:
        parts = urlsplit(url)
        return run(
            ["debmirror", "--method=http", f"--host={parts.netloc}", "--root=/",
             f"--dist={given.dist}", "--section=main", "--arch=amd64", "--nosource",
             "--no-check-gpg", "--ignore-release-gpg", "--rsync-extra=none", "--diff=none",
             "--nocleanup", str(place)],
            HOME=str(place),
        )  # fmt: skip
    finally:
        put_away(place)


def ab(
    login: str, url: str, *, connections: int = 16, count: int = 3200, is_post: bool = False
) -> str:
    """Ask by ApacheBench; requests a second, p50 and p99 as cells of a table."""
    if shutil.which("ab") is None:
        raise Unavailable("ab (Debian: apache2-utils)")
    with tempfile.NamedTemporaryFile("w+") as body:
        body.write("{}")
        body.flush()
        post = ["-p", body.name, "-T", "application/json"] if is_post else []
        done = subprocess.run(
            ["ab", "-q", "-k", "-l", "-n", str(count), "-c", str(connections), "-A", login, *post,
             url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    said = done.stdout
    assert "Non-2xx" not in said, said
    [rate] = re.findall(r"Requests per second: +([\d.]+)", said)
    [p50, p99] = re.findall(r"^ +(?:50|99)% +(\d+)", said, re.MULTILINE)
    return f"{float(rate):,.0f} | {p50} ms | {p99} ms"


def version(program: str, *argv: str) -> str:
    """The first line that a program says of itself."""
    try:
        done = subprocess.run(
            [program, *(argv or ("--version",))],
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
    except OSError:
        return "not installed"
    return (done.stdout or done.stderr).splitlines()[0].strip()
