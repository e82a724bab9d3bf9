"""Content units that a client makes: packages from files, and what is around them by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from flask import Blueprint, Response, request
from pydantic import BeforeValidator, Field

from debfleet.db import additions, contents, holdings, labels, repositories, uploads
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.db.uploads import UPLOAD
from debfleet.deb.paths import base_architecture, safe_path
from debfleet.errors import NotFound, UnsafePath, storable
from debfleet.identity import UnitId
from debfleet.model import Kind, prn
from debfleet_api import asks
from debfleet_api.answers import created
from debfleet_api.bodies import (
    Body,
    Checked,
    Flag,
    Labels,
    Names,
    OptionalText,
    Text,
    not_built,
    read_body,
    read_text,
    refuse,
)
from debfleet_api.errors import field_errors
from debfleet_api.hrefs import ARTIFACT, REPOSITORY
from debfleet_api.openapi.operations import STARTED, operation
from debfleet_api.package_signing import SERVICE
from debfleet_api.permissions import LABELS, may, require, sees_file
from debfleet_api.receiving import FormFile, is_stored
from debfleet_api.references import find_repository, find_unit, read_reference
from debfleet_api.remote_fields import read_url
from debfleet_api.routes.content.shown import show_unit
from debfleet_api.routes.uploads import find_whole_upload
from debfleet_api.shapes.content import PackageLink
from debfleet_api.state import api

blueprint = Blueprint("creates", __name__)

_CREATE = "pulpcore.app.tasks.base.general_create"
_SIGN_AND_CREATE = "pulp_deb.app.tasks.signing.sign_and_create"
_PATH = "/content/deb/"
_READ_ONLY = frozenset({"pulp_href", "prn", "pulp_created", "pulp_last_updated", "vuln_report"})
_SOURCES = ("file", "file_url", "upload", "artifact")
_NO_OBJECT = "Invalid hyperlink - Object does not exist."
# What the reference puts a package in, of which nothing is said.
_DISTRIBUTION, _COMPONENT = "pulp", "upload"


def _read_artifact(value: Any) -> tuple[str, int]:
    """Digest in hex and size of the artifact that a field names."""
    ref = read_reference(value, ARTIFACT)
    with api().db.transaction() as tx:
        unit = api().unit_ids(tx).read(ref.uuid)
        row = None
        if unit is not None and unit.kind == Kind.ARTIFACT:
            row = contents.find_artifact(tx, unit.id)
        # Who knows a file's name only is not given the file.
        if row is not None and not sees_file(tx, bytes(row["sha256"])):
            row = None
    if row is None:
        refuse(_NO_OBJECT)
    return row["sha256"].hex(), row["size"]


def _read_upload(value: Any) -> UUID:
    """An upload that is whole."""
    ref = read_reference(value, UPLOAD)
    with api().db.transaction() as tx:
        found = find_whole_upload(tx, ref.uuid)
    if isinstance(found, str):
        refuse(found)
    return ref.uuid


def _read_path(value: Any) -> str:
    text = read_text(value)
    try:
        return safe_path(text)
    except UnsafePath as e:
        refuse(f"The path is refused: {e.reason}.")


def _read_word(value: Any) -> str:
    """The name of a distribution or a component: of parts that a directory can have."""
    text = read_text(value, 512)
    if any(c.isspace() for c in text):
        refuse("Blanks are not allowed in it.")
    _read_path(text.strip("/"))
    return text


def _read_file_url(value: Any) -> str:
    text = read_url(value)
    if urlsplit(text).scheme.lower() not in ("http", "https", "file"):
        refuse("The URL must begin with http://, https:// or file://.")
    return text


_REFERENCE = {"type": ["string", "null"], "format": "uri-reference"}
Word = Annotated[str, BeforeValidator(_read_word)]


class UnitBody(Body):
    """What every unit can be made with."""

    repository: Annotated[UUID | None, BeforeValidator(find_repository)] = None
    overwrite: Flag = True
    pulp_labels: Labels = Field(default_factory=dict)


class FileBody(UnitBody):
    """A file, from one of four places."""

    file: FormFile | None = None
    file_url: Annotated[str | None, BeforeValidator(_read_file_url)] = None
    upload: Annotated[UUID | None, BeforeValidator(_read_upload)] = None
    artifact: Annotated[tuple[str, int] | None, Checked(_read_artifact, _REFERENCE)] = None
    downloader_config: Annotated[None, not_built(None)] = None
    relative_path: Annotated[str | None, BeforeValidator(_read_path)] = None


class InstallerPackageBody(FileBody, title="deb.InstallerPackage"):
    """A package of the installer."""


class GenericBody(FileBody, title="deb.GenericContent"):
    """Any file, at a path that must be given."""


class PackageBody(FileBody, title="deb.Package"):
    """A package, and where it is to go."""

    distribution: Word | None = None
    component: Word | None = None


class ReleaseBody(UnitBody, title="deb.Release"):
    """A release, with the architectures and components that are made beside it."""

    codename: Text
    suite: Text
    distribution: Word
    version: OptionalText = None
    origin: OptionalText = None
    label: OptionalText = None
    description: OptionalText = None
    architectures: Names = Field(default_factory=list)
    components: Names = Field(default_factory=list)


class ArchitectureBody(UnitBody, title="deb.ReleaseArchitecture"):
    """An architecture of a distribution; ``all`` is one of every distribution."""

    architecture: Word
    distribution: Word
    base_architecture: OptionalText = None
    variant_architecture: OptionalText = None


class ComponentBody(UnitBody, title="deb.ReleaseComponent"):
    """A component of a distribution."""

    component: Word
    distribution: Word


class LinkBody(UnitBody, title="deb.PackageReleaseComponent"):
    """The place of a package."""

    package: Text
    release_component: Text


@blueprint.post(f"{_PATH}packages/")
@operation("content/deb/packages", "create", STARTED, body=PackageBody)
def create_package() -> Response:
    """202 and a task, which reads the package; its file is stored by then."""
    body = read_body(PackageBody, read_only=_READ_ONLY)
    place = {
        "distribution": body.distribution or _DISTRIBUTION,
        "component": body.component or _COMPONENT,
    }
    return _create_of_file(Kind.PACKAGE, body, place)


@blueprint.post(f"{_PATH}installer_packages/")
@operation("content/deb/installer_packages", "create", STARTED, body=InstallerPackageBody)
def create_installer_package() -> Response:
    """202 and a task, as for packages."""
    body = read_body(InstallerPackageBody, read_only=_READ_ONLY)
    return _create_of_file(Kind.INSTALLER_PACKAGE, body, {})


@blueprint.post(f"{_PATH}generic_contents/")
@operation("content/deb/generic_contents", "create", STARTED, body=GenericBody)
def create_generic() -> Response:
    """202 and a task."""
    body = read_body(GenericBody, read_only=_READ_ONLY)
    if body.relative_path is None:
        raise field_errors({"relative_path": ["This field is required."]})
    return _create_of_file(Kind.GENERIC, body, {})


@blueprint.post(f"{_PATH}releases/")
@operation("content/deb/releases", "create", STARTED, body=ReleaseBody)
def create_release() -> Response:
    """202 and a task."""
    body = read_body(ReleaseBody, read_only=_READ_ONLY)
    names = ("codename", "suite", "distribution", "version", "origin", "label", "description")
    fields = {name: getattr(body, name) for name in (*names, "components")}
    # There is no unit for the architecture that is part of every distribution.
    fields["architectures"] = [a for a in body.architectures if a != "all"]
    for name in ("components", "architectures"):
        fields[name] = [_checked(name, value) for value in fields[name]]
    return _create(Kind.RELEASE, body, fields)


@blueprint.post(f"{_PATH}release_architectures/")
@operation("content/deb/release_architectures", "create", STARTED, body=ArchitectureBody)
def create_architecture() -> Response:
    """202 and a task."""
    body = read_body(ArchitectureBody, read_only=_READ_ONLY)
    if body.architecture == "all":
        text = "The architecture 'all' belongs to every distribution and is no unit of its own."
        raise field_errors({"architecture": [text]})
    base, variant = base_architecture(body.architecture)
    for name, value in (("base_architecture", base), ("variant_architecture", variant)):
        if (given := getattr(body, name)) is not None and given != value:
            raise field_errors({name: [f"That of '{body.architecture}' is {value or 'null'}."]})
    fields = {"architecture": body.architecture, "distribution": body.distribution}
    return _create(Kind.RELEASE_ARCHITECTURE, body, fields)


@blueprint.post(f"{_PATH}release_components/")
@operation("content/deb/release_components", "create", STARTED, body=ComponentBody)
def create_component() -> Response:
    """202 and a task."""
    body = read_body(ComponentBody, read_only=_READ_ONLY | {"plain_component"})
    fields = {"component": body.component, "distribution": body.distribution}
    return _create(Kind.RELEASE_COMPONENT, body, fields)


@blueprint.post(f"{_PATH}package_release_components/")
@operation("content/deb/package_release_components", "create", {201: PackageLink}, body=LinkBody)
def create_link() -> Response:
    """201 with the link, which is in no version until a modify adds it."""
    body = read_body(LinkBody, read_only=_READ_ONLY)
    require(REPOSITORY, "modify_content", body.repository)
    if body.repository is not None:
        text = "A link is added to a repository with modify/, which takes several at once."
        raise field_errors({"repository": [text]})
    try:
        row = api().db.run(lambda tx: _link(tx, body))
    except NotFound as e:
        raise field_errors({"non_field_errors": [f"{e}: it was just deleted."]}) from None
    return created(row)


def _link(tx: Tx, body: LinkBody) -> dict[str, Any]:
    package = _unit(tx, "package", body.package, Kind.PACKAGE)
    component = _unit(tx, "release_component", body.release_component, Kind.RELEASE_COMPONENT)
    before = holdings.list_links_of_package(tx, Kind.PACKAGE_RELEASE_COMPONENT, package.id)
    link = additions.add_link(tx, package.id, component.id)
    if body.pulp_labels and (link not in before or may(LABELS, "manage")):
        labels.replace_labels(tx, link, body.pulp_labels)
    row = contents.find_unit(tx, link)
    if row is None:
        raise NotFound("link", link.id)
    return show_unit(api().unit_ids(tx), link.kind, row)


def _unit(tx: Tx, field: str, value: str, kind: Kind) -> UnitId:
    unit = find_unit(tx, value)
    if unit is None or unit.kind != kind or not contents.list_known(tx, [unit]):
        raise field_errors({field: [_NO_OBJECT]})
    return unit


def _create_of_file(kind: Kind, body: FileBody, place: Mapping[str, str]) -> Response:
    given = body.given()
    if len([name for name in _SOURCES if given.get(name) is not None]) != 1:
        text = "Exactly one of 'file', 'file_url', 'upload' or 'artifact' must be specified."
        raise field_errors({"non_field_errors": [text]})
    require(REPOSITORY, "modify_content", body.repository)
    name, source, exclusive = _source(body)
    args: dict[str, Any] = {"kind": int(kind), "name": name, "source": source}
    args |= {"relative_path": body.relative_path, **place}

    def keep(tx: Tx, task: int) -> None:
        if "artifact" not in source:
            return
        digest, size = bytes.fromhex(source["artifact"]), source["size"]
        uploads.record_file(tx, digest, size, lambda: is_stored(digest))
        uploads.claim_stored(tx, task, digest, size)

    return asks.ask(_task("add_file", body, args, exclusive), keep)


def _source(body: FileBody) -> tuple[str, dict[str, Any], list[str]]:
    """What the file is called in messages, where the task finds it, and what it takes with it."""
    if body.file is not None:
        size = body.file.size
        digest = body.file.keep()
        name = storable(request.files["file"].filename or "file")[:200]
        return name, {"artifact": digest.hex(), "size": size}, []
    if body.artifact is not None:
        digest_hex, size = body.artifact
        return body.relative_path or digest_hex, {"artifact": digest_hex, "size": size}, []
    if body.upload is not None:
        name = body.relative_path or f"upload {body.upload}"
        return name, {"upload": str(body.upload)}, [prn(UPLOAD, body.upload)]
    return body.file_url or "", {"url": body.file_url}, []


def _create(kind: Kind, body: UnitBody, fields: Mapping[str, Any]) -> Response:
    args = {"unit": {"kind": int(kind), "fields": dict(fields)}}
    return asks.ask(_task("add_unit", body, args, []))


def _task(kind: str, body: UnitBody, args: dict[str, Any], exclusive: list[str]) -> NewTask:
    require(REPOSITORY, "modify_content", body.repository)
    repository, name = None, _CREATE
    if body.repository is not None:
        with api().db.transaction() as tx:
            row = repositories.find_repository_row(tx, body.repository)
        if row is None:
            raise field_errors({"repository": [_NO_OBJECT]})
        repository = row["id"]
        if args.get("kind") == Kind.PACKAGE and row[SERVICE] is not None:
            name = _SIGN_AND_CREATE
        exclusive = [*exclusive, prn(REPOSITORY, body.repository)]
    args = args | {"repository": repository, "overwrite": body.overwrite}
    if body.pulp_labels:
        args |= {"labels": body.pulp_labels, "may_label": may(LABELS, "manage")}
    return NewTask(kind=kind, name=name, args=args, exclusive=exclusive)


def _checked(field: str, value: str) -> str:
    try:
        return _read_word(value)
    except ValueError as e:
        raise field_errors({field: [str(e)]}) from None
