"""The data directory of ``debfleet up``: what lies in it, and the settings that follow from it."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from debfleet.config import Settings
from debfleet.errors import ConfigError
from debfleet.sealed import new_key
from debfleet_cli.embedded import database_url


@dataclass(frozen=True)
class Place:
    """One data directory; ``up`` makes it, other commands read it."""

    folder: Path

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def metrics(self) -> Path:
        """Where the processes of ``up`` keep their metrics; not there when it answers none."""
        return self.folder / "metrics"

    @property
    def secret_key(self) -> Path:
        return self.folder / "secret-key"

    @property
    def admin_password(self) -> Path:
        return self.folder / "admin-password"

    def make(self) -> None:
        """Make the directory and what stands in it from the start.

        Raises:
            ConfigError: It cannot be made, or is not ours to write to.
        """
        # Root's Postgres runs as another user, who must get through to its own folder; everything
        # else in here is closed by its own mode.
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            for name in ("log", "store", "work"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as e:
            raise ConfigError(
                f"the data directory {self.folder} cannot be used: {e.strerror or e}; "
                "--data chooses another"
            ) from None

    def lock(self) -> int:
        """Take the directory for this process, until it ends; returns the descriptor.

        Raises:
            ConfigError: Another ``debfleet up`` has it.
        """
        held = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(held, 20, 0).decode().strip()
            os.close(held)
            raise ConfigError(
                f"debfleet up already runs with {self.folder} (process {owner}); "
                "--data chooses another directory"
            ) from None
        os.ftruncate(held, 0)
        os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
        return held

    def complete(self, settings: Settings) -> Settings:
        """Settings with what is not set taken from this directory."""
        return dataclasses.replace(
            settings,
            database_url=settings.database_url or database_url(self.postgres),
            store_url=settings.store_url or f"file://{self.folder / 'store'}",
            secret_key=settings.secret_key or read_secret(self.secret_key),
            secret_key_file=settings.secret_key_file or self._secret_key_file(settings),
            metrics_directory=settings.metrics_directory or self._shared_metrics(settings),
            work_directory=settings.work_directory or str(self.folder / "work"),
        )

    def _secret_key_file(self, settings: Settings) -> str:
        """Not where the key is set: then this directory's is another one, or none."""
        is_ours = not settings.secret_key and self.secret_key.exists()
        return str(self.secret_key) if is_ours else ""

    def clear_metrics(self, *, is_shared: bool) -> None:
        """At the start of ``up``: what earlier processes counted is over."""
        shutil.rmtree(self.metrics, ignore_errors=True)
        if is_shared:
            self.metrics.mkdir(mode=0o700)

    def _shared_metrics(self, settings: Settings) -> str:
        """A process with a port of its own shares nothing."""
        is_alone = settings.metrics_address not in ("", "off")
        return str(self.metrics) if self.metrics.is_dir() and not is_alone else ""

    def make_secret_key(self) -> bool:
        """Make the key that seals secrets at rest, unless there is one; whether it was made."""
        if self.secret_key.exists():
            return False
        write_secret(self.secret_key, new_key())
        return True


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """``--data DIR``, the same in every command that has it."""
    parser.add_argument(
        "--data", metavar="DIR", type=Path, default=None,
        help="the data directory of `debfleet up` (default: $XDG_DATA_HOME/debfleet)",
    )  # fmt: skip


def find_place(data: Path | None) -> Place:
    """The given directory, or the default one."""
    if data is None:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        data = Path(base) / "debfleet"
    return Place(Path(os.path.abspath(data.expanduser())))


def read_secret(path: Path) -> str:
    """What a secret's file says, or nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner reads; whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
