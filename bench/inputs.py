"""The archives that the benchmark syncs: made up, or the indices of a real release."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab import Unavailable

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.synthetic import make_dist, make_packages
from debfleet.deb.release import parse_release
from debfleet.pgp import unwrap_inline

REAL_DIST = "bookworm"
REAL_COMPONENTS = ("main", "contrib", "non-free", "non-free-firmware")
REAL_ARCHITECTURES = ("amd64", "arm64")
_HELPER = "/usr/lib/apt/apt-helper"


@dataclass(frozen=True)
class Input:
    """An archive in a folder."""

    folder: Path
    dist: str
    files: tuple[tuple[str, int, str], ...]  # path, bytes, SHA-256 of each package file


def write_packages(folder: Path, count: int, size: int) -> Input:
    """An archive of real package files, all of one size."""
    packages = [
        Pkg(f"package-{number}", architecture="all", payload_size=size) for number in range(count)
    ]
    dist = Dist("stable", {"main": packages}, architectures=("amd64",))
    made = write_archive(folder, [dist])
    return Input(folder, "stable", tuple((p.path, p.size, p.sha256) for p in made.listed))


def write_suites(folder: Path, count: int) -> tuple[Input, Input]:
    """Two states of a suite of so many packages, metadata only, 1 % of them new in the second."""
    first = make_dist("stable", packages=count)
    made = {"main": make_packages(count // 100, seed="newer")}
    changed = make_dist("stable", packages=count)
    changed.components["main"][: count // 100] = made["main"]
    write_archive(folder / "first", [first], pool=False)
    write_archive(folder / "second", [changed], pool=False)
    return Input(folder / "first", "stable", ()), Input(folder / "second", "stable", ())


def write_signed_suite(folder: Path, count: int) -> tuple[Input, SigningKey]:
    """A suite of so many packages, metadata only, signed."""
    key = SigningKey.generate()
    write_archive(folder, [make_dist("stable", packages=count)], key=key, pool=False)
    return Input(folder, "stable", ()), key


def fetch_real(folder: Path) -> Input:
    """The indices of the Debian release that this machine's apt knows; fetched once per folder.

    Raises:
        Unavailable: This machine's apt does not know it, or cannot fetch it.
    """
    dists = folder / "dists" / REAL_DIST
    if not (dists / "InRelease").exists():
        base = _apt_base()
        dists.mkdir(parents=True, exist_ok=True)
        _download(f"{base}/dists/{REAL_DIST}/InRelease", dists / "InRelease.new")
        signed = unwrap_inline((dists / "InRelease.new").read_bytes())
        listed = parse_release(signed).files
        for component in REAL_COMPONENTS:
            for architecture in (*REAL_ARCHITECTURES, "all"):
                path = f"{component}/binary-{architecture}/Packages.xz"
                (dists / path).parent.mkdir(parents=True, exist_ok=True)
                _download(f"{base}/dists/{REAL_DIST}/{path}", dists / path, listed[path].sha256)
        (dists / "Release").write_bytes(signed)  # for aptly, told to trust it
        (dists / "InRelease.new").rename(dists / "InRelease")
    return Input(folder, REAL_DIST, ())


def _apt_base() -> str:
    if not Path(_HELPER).exists():
        raise Unavailable("apt, which brings a real release's indices")
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    for line in said.splitlines():
        release, _, base = line.partition(" ")
        if release == REAL_DIST and "security" not in base:
            return base.rstrip("/")
    raise Unavailable(f"{REAL_DIST} in this machine's apt sources (and an apt-get update)")


def _download(url: str, target: Path, sha256: str = "") -> None:
    command = [_HELPER, "download-file", url, str(target)]
    if sha256:
        command.append(f"SHA256:{sha256}")
    # apt fetches as a user of its own where it can; the folder is ours.
    command[1:1] = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{url.rpartition('/')[2]}: {done.stdout[-300:]}{done.stderr[-300:]}")
