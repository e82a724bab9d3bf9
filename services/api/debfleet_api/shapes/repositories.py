"""Repositories, their versions, and the remotes that they sync from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from debfleet_api.shapes.base import Href, Labels, Part, Shown


class BaseRepository(Shown, title="RepositoryResponse"):
    """A repository of any type."""

    versions_href: Href
    pulp_labels: Labels
    latest_version_href: Href
    name: str
    description: str | None
    retain_repo_versions: int | None
    retain_checkpoints: int | None
    remote: Href | None


class Repository(BaseRepository, title="deb.AptRepositoryResponse"):
    """A named series of versions."""

    autopublish: bool
    publish_upstream_release_fields: bool
    signing_service: Href | None
    signing_service_release_overrides: dict[str, Href]
    package_signing_fingerprint_release_overrides: dict[str, str]
    package_signing_service: Href | None
    package_signing_fingerprint: str | None
    excluded_package_metadata_fields: list[str]


class Count(Part):
    """How many units of one type, and where they are listed."""

    count: int
    href: Href


class Summary(Part, title="ContentSummaryResponse"):
    """By type of content; a type without any is absent."""

    added: dict[str, Count]
    removed: dict[str, Count]
    present: dict[str, Count]


class Version(Shown, title="RepositoryVersionResponse"):
    """An immutable set of content."""

    number: int
    repository: Href
    base_version: Href | None
    content_summary: Summary
    vuln_report: str
    missing_files: int  # not stored, and no remote has them any more; not of Pulp


class HiddenField(Part):
    """Whether a field that is never shown is set."""

    name: str
    is_set: bool


class AlternateSource(Shown, title="deb.AptAlternateContentSourceResponse"):
    """A remote that is tried before others for the files that it offers."""

    name: str
    last_refreshed: datetime | None
    paths: list[str]
    remote: Href


class BaseRemote(Shown, title="GenericRemoteResponse"):
    """A remote of any type."""

    name: str
    url: str
    pulp_labels: Labels
    policy: str
    hidden_fields: list[HiddenField]
    ca_cert: str | None
    client_cert: str | None
    tls_validation: bool
    proxy_url: str | None
    max_retries: int | None
    total_timeout: float | None
    connect_timeout: float | None
    sock_connect_timeout: float | None
    sock_read_timeout: float | None
    headers: list[dict[str, Any]] | None
    download_concurrency: int | None
    rate_limit: int | None


class Remote(BaseRemote, title="deb.AptRemoteResponse"):
    """Where and what to sync from."""

    distributions: str
    components: str | None
    architectures: str | None
    sync_sources: bool
    sync_udebs: bool
    sync_installer: bool
    gpgkey: str | None
    ignore_missing_package_indices: bool
    excluded_package_metadata_fields: list[str]
    vanishing: str
    guard_replay: str | None
    guard_expired: str | None
    guard_future: str | None
    guard_renamed: str | None
    guard_shrink: str | None
    guard_weak_digests: str | None
    guard_missing_files: str | None


class SigningService(Shown, title="SigningServiceResponse"):
    """What signs Release files or packages."""

    name: str
    public_key: str
    pubkey_fingerprint: str
    script: str
