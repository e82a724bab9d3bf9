"""What an archive is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Pkg:
    """One binary package."""

    name: str
    version: str = "1.0"
    architecture: str = "amd64"
    fields: Mapping[str, str] = field(default_factory=dict)  # of its control file
    payload_size: int = 1000  # bytes inside; the .deb is about 2 KB more
    path: str | None = None  # below the archive; none: pool/COMPONENT/PREFIX/SOURCE/…
    is_udeb: bool = False
    deb: bytes | None = None  # its bytes; none: made
    stanza: Mapping[str, str] = field(default_factory=dict)
    # fields replaced or added in the index alone, to lie; '' leaves one out


@dataclass(frozen=True)
class Source:
    """One source package."""

    name: str
    version: str = "1.0"
    binary: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)  # of its .dsc
    directory: str | None = None  # below the archive; none: pool/COMPONENT/PREFIX/NAME
    files: Mapping[str, bytes] = field(default_factory=dict)
    # beside the .dsc, by name; none: an orig and a debian tarball, or one where it has no revision
    stanza: Mapping[str, str] = field(default_factory=dict)
    # fields replaced or added in the index alone, to lie; '' leaves one out


@dataclass(frozen=True)
class Dist:
    """One entry of a remote's distributions."""

    name: str  # bookworm, stable/updates; flat: ./ or binary/
    components: Mapping[str, Sequence[Pkg]]  # as Release says (updates/main); flat: one, any name
    architectures: Sequence[str] | None = None  # none: those of the packages, sorted
    suite: str | None = None
    codename: str | None = None  # none: the name; '' leaves the field out
    version: str | None = None
    origin: str | None = "Archive"
    label: str | None = None
    description: str | None = None
    date: datetime | None = NEW_YEAR
    valid_until: datetime | None = None
    all_packages: str = "each"
    # where packages for `all` are listed: "each" index, their "own" (binary-all), or "both", which
    # says No-Support-for-Architecture-all: Packages
    sources: Mapping[str, Sequence[Source]] | None = None  # by component; flat: one, any name
    installer: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    # files of the installer by directory (main/installer-amd64/current/images), each by its path
    installer_sums: Sequence[str] = ("MD5SUMS", "SHA256SUMS")  # the lists of them in each directory
    extra: Mapping[str, bytes] = field(default_factory=dict)  # more files that Release names
    digests: Sequence[str] = ("MD5Sum", "SHA256")  # MD5Sum, SHA1, SHA256, SHA512
    fields: Mapping[str, str] = field(default_factory=dict)  # of Release; '' leaves one out
    legacy_release: bool = True  # COMPONENT/binary-ARCH/Release beside each index
    forms: Sequence[str] | None = None  # none: all three with a key, else Release
    absent: Sequence[str] = ()  # globs below the Release's directory: listed, and not there

    @property
    def is_flat(self) -> bool:
        return self.name.endswith("/")

    @property
    def directory(self) -> str:
        """Where Release lies below the archive, '' for its root."""
        if not self.is_flat:
            return f"dists/{self.name}"
        return self.name.strip("/").removeprefix(".").strip("/")


@dataclass(frozen=True)
class Listed:
    """One package as an index of the archive lists it."""

    dist: str
    component: str  # as Release says; '' in a flat archive
    index_architecture: str  # '' in a flat archive
    name: str
    version: str
    architecture: str
    path: str  # below the archive
    size: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """What ``write_archive`` wrote."""

    folder: Path
    listed: tuple[Listed, ...]  # in the order of the indices
    indices: tuple[str, ...]  # paths of the plain Packages below the archive, written or not
    source_files: Mapping[str, bytes] = field(default_factory=dict)
    # every file of every source package by its path, written or not

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every package file by its path."""
        return {package.path: package.sha256 for package in self.listed}
