"""Content units of every kind, and artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import create_model

from debfleet.model import Kind
from debfleet_api.shapes.base import Href, Labels, Part, Shown

Files = dict[str, Href | None]
Text = str | None


class Artifact(Shown, title="ArtifactResponse"):
    """The bytes of a file, named by their SHA-256."""

    file: str
    size: int
    md5: Text
    sha1: Text
    sha224: Text
    sha256: Text
    sha384: Text
    sha512: Text


class Upload(Shown, title="UploadResponse"):
    """A file that comes in chunks."""

    size: int
    completed: datetime | None


class Chunk(Part, title="UploadChunkResponse"):
    """A part of an upload that is stored."""

    offset: int
    size: int


class WholeUpload(Upload, title="UploadDetailResponse"):
    """An upload with its chunks."""

    chunks: list[Chunk]


class Unit(Shown):
    """A content unit of any kind."""

    pulp_labels: Labels
    vuln_report: Href | None


class AnyUnit(Unit, title="MultipleArtifactContentResponse"):
    """A content unit as the list of all kinds shows it."""

    artifacts: Files


class Single(Unit):
    """A content unit that is one file; its checksums are null while it is not downloaded."""

    artifact: Href | None
    relative_path: str
    md5: Text
    sha1: Text
    sha224: Text
    sha256: Text
    sha384: Text
    sha512: Text


def _with_texts(name: str, title: str, doc: str, base: type[Unit], *fields: str) -> type[Unit]:
    """A shape with more fields, each a text or null."""
    texts: dict[str, Any] = dict.fromkeys(fields, (Text, ...))
    return create_model(name, __base__=base, __doc__=doc, __cls_kwargs__={"title": title}, **texts)


_CONTROL = (
    "package", "source", "version", "architecture", "section", "priority", "origin", "tag", "bugs",
    "essential", "build_essential", "installed_size", "maintainer", "original_maintainer",
    "description", "description_md5", "homepage", "built_using", "auto_built_package",
    "multi_arch", "breaks", "conflicts", "depends", "recommends", "suggests", "enhances",
    "pre_depends", "provides", "replaces", "metadata_sha256",
)  # fmt: skip
_DSC = (
    "relative_path", "sha256", "format", "source", "binary", "architecture", "version",
    "maintainer", "uploaders", "homepage", "vcs_browser", "vcs_arch", "vcs_bzr", "vcs_cvs",
    "vcs_darcs", "vcs_git", "vcs_hg", "vcs_mtn", "vcs_snv", "testsuite", "dgit",
    "standards_version", "build_depends", "build_depends_indep", "build_depends_arch",
    "build_conflicts", "build_conflicts_indep", "build_conflicts_arch", "package_list",
)  # fmt: skip


class _Signed(Single):
    signing_keys: list[str] | None


class _ManyFiles(Unit):
    artifacts: Files


class SourceIndex(_ManyFiles, title="deb.SourceIndexResponse"):
    """A signed Sources file of upstream."""

    release: Href
    component: Text
    relative_path: str


class PackageLink(Unit, title="deb.PackageReleaseComponentResponse"):
    """A package in a component."""

    package: Href
    release_component: Href


class SourceLink(Unit, title="deb.SourcePackageReleaseComponentResponse"):
    """A source package in a component."""

    source_package: Href
    release_component: Href


class Generic(Single, title="deb.GenericContentResponse"):
    """Any other file."""


UNITS: Mapping[Kind, type[Unit]] = {
    Kind.PACKAGE: _with_texts(
        "Package", "deb.PackageResponse", "A binary package.", _Signed, *_CONTROL
    ),
    Kind.INSTALLER_PACKAGE: _with_texts(
        "InstallerPackage", "deb.InstallerPackageResponse", "A package for the installer.",
        _Signed, *_CONTROL,
    ),
    Kind.GENERIC: Generic,
    Kind.RELEASE_FILE: _with_texts(
        "ReleaseFile", "deb.ReleaseFileResponse", "A Release file of upstream.", _ManyFiles,
        "codename", "suite", "distribution", "relative_path",
    ),
    Kind.PACKAGE_INDEX: _with_texts(
        "PackageIndex", "deb.PackageIndexResponse", "A signed Packages file of upstream.",
        _ManyFiles, "component", "architecture", "relative_path",
    ),
    Kind.SOURCE_INDEX: SourceIndex,
    Kind.INSTALLER_FILE_INDEX: _with_texts(
        "InstallerFileIndex", "deb.InstallerFileIndexResponse",
        "The checksums of the installer's files.", _ManyFiles,
        "component", "architecture", "relative_path",
    ),
    Kind.RELEASE: _with_texts(
        "Release", "deb.ReleaseResponse", "The fields that name a release.", Unit,
        "codename", "suite", "distribution", "version", "origin", "label", "description",
    ),
    Kind.RELEASE_ARCHITECTURE: _with_texts(
        "ReleaseArchitecture", "deb.ReleaseArchitectureResponse", "An architecture of a release.",
        Unit, "architecture", "distribution", "base_architecture", "variant_architecture",
    ),
    Kind.RELEASE_COMPONENT: _with_texts(
        "ReleaseComponent", "deb.ReleaseComponentResponse", "A component of a release.", Unit,
        "component", "distribution", "plain_component",
    ),
    Kind.PACKAGE_RELEASE_COMPONENT: PackageLink,
    Kind.SOURCE_PACKAGE: _with_texts(
        "SourcePackage", "deb.SourcePackageResponse", "A source package.", _ManyFiles, *_DSC
    ),
    Kind.SOURCE_PACKAGE_RELEASE_COMPONENT: SourceLink,
}  # fmt: skip
"""By kind, what its endpoint shows."""
