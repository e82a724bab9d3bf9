"""apt with a root of its own: a client that leaves the machine's apt alone, and needs no rights.

Only apt's programs are the machine's; configuration, sources, lists and cache are the client's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FOLDERS = (
    "etc/apt/apt.conf.d", "etc/apt/auth.conf.d", "etc/apt/keyrings", "etc/apt/preferences.d",
    "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d", "tmp", "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial", "var/lib/dpkg", "var/log/apt",
)  # fmt: skip

# apt reads the file that APT_CONFIG names before it looks for any other, so Dir reaches them all.
_CONFIGURATION = """\
Dir "{root}/";
Dir::State::status "{root}/var/lib/dpkg/status";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "{user}";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Proxy "DIRECT";
Acquire::http::Timeout "30";
"""


@dataclass(frozen=True)
class Ran:
    """What one call of apt came to."""

    status: int
    text: str  # both outputs, as they came

    @property
    def is_clean(self) -> bool:
        """It did all, and without a warning."""
        return self.status == 0 and not re.search(r"^[WE]: ", self.text, re.MULTILINE)


def find_apt() -> str | None:
    """Where apt-get is on this machine."""
    return shutil.which("apt-get")


class AptClient:
    """One root below ``folder``, made where it is missing."""

    def __init__(self, folder: Path, *, architecture: str = "amd64") -> None:
        self.root = folder.resolve()
        self._architecture = architecture
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/dpkg/status").touch()
        self._config = self.root / "etc/apt/client.conf"
        # As root apt would become _apt for the network, who may not read here.
        user = "root" if os.geteuid() == 0 else ""
        self._config.write_text(
            _CONFIGURATION.format(root=self.root, architecture=architecture, user=user)
        )

    def put_sources(self, name: str, text: str) -> None:
        """Write ``sources.list.d/NAME.sources`` (deb822)."""
        (self.root / f"etc/apt/sources.list.d/{name}.sources").write_text(text)

    def add_source(
        self,
        name: str,
        uri: str,
        suites: str,
        components: str = "",
        *,
        key: str | None = None,
        types: str = "deb",
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """One source; ``key`` (armoured) is laid down and named by Signed-By."""
        lines = {"Types": types, "URIs": uri, "Suites": suites, "Components": components}
        if key is not None:
            keyring = self.root / f"etc/apt/keyrings/{name}.asc"
            keyring.write_text(key)
            lines["Signed-By"] = str(keyring)
        lines |= fields or {}
        self.put_sources(name, "".join(f"{k}: {v}\n" for k, v in lines.items() if v))

    def run(
        self,
        program: str,
        *argv: str,
        options: Mapping[str, str] | None = None,
        folder: Path | None = None,
        seconds: float = 120,
    ) -> Ran:
        """Run apt-get, apt-cache or apt-config in this root."""
        done = subprocess.run(
            self.command(program, *argv, options=options), env=self.environ,
            cwd=folder or self.root / "tmp", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds, check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout)

    def command(
        self, program: str, *argv: str, options: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command line, to be run with ``environ``."""
        flags = [part for k, v in (options or {}).items() for part in ("-o", f"{k}={v}")]
        return [program, *flags, *argv]

    @property
    def environ(self) -> dict[str, str]:
        """The environment that makes apt use this root."""
        return {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.root / "tmp"),
            "APT_CONFIG": str(self._config),
        }

    def update(self, options: Mapping[str, str] | None = None) -> Ran:
        """apt-get update. Its status is 0 even where a file failed: see ``is_clean``."""
        return self.run("apt-get", "update", options=options)

    def packages(self) -> dict[tuple[str, str], str]:
        """SHA-256 by name and version of every package of this architecture in the lists."""
        return _packages(self._well("apt-cache", "dumpavail"), {self._architecture, "all"})

    def download(self, *names: str) -> list[Path]:
        """apt-get download: the files, in ``tmp/``, those of earlier calls too."""
        self._well("apt-get", "download", *names)
        return sorted((self.root / "tmp").glob("*.deb"))

    def source_download_only(self, *names: str) -> list[Path]:
        """apt-get source: the .dsc files and what they name, fetched by apt and verified."""
        folder = self.root / "tmp/source"
        folder.mkdir(exist_ok=True)
        self._well("apt-get", "source", "--download-only", *names, folder=folder)
        return sorted(folder.iterdir())

    def install_download_only(self, *names: str) -> list[Path]:
        """What installing these and all they need would unpack, fetched by apt and verified."""
        self._well("apt-get", "install", "--yes", "--download-only", *names)
        return sorted((self.root / "var/cache/apt/archives").glob("*.deb"))

    def forget(self) -> None:
        """Drop all lists and fetched packages, as on a new machine."""
        for folder in ("var/lib/apt/lists", "var/cache/apt", "tmp"):
            shutil.rmtree(self.root / folder)
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def _well(self, program: str, *argv: str, folder: Path | None = None) -> str:
        ran = self.run(program, *argv, folder=folder)
        if ran.status:
            said = " ".join([program, *argv])
            raise AptFailed(f"{said} ended with {ran.status}:\n{ran.text}")
        return ran.text


class AptFailed(Exception):
    """apt did not do what it was asked; the text is apt's."""


def _packages(text: str, architectures: set[str]) -> dict[tuple[str, str], str]:
    found = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(\w+): (.*)$", stanza, re.MULTILINE))
        if fields.get("Architecture") in architectures:
            found[(fields["Package"], fields["Version"])] = fields.get("SHA256", "")
    return found
