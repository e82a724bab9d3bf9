"""Publications and distributions."""

from __future__ import annotations

from debfleet_api.shapes.base import Href, Labels, Shown


class BasePublication(Shown, title="PublicationResponse"):
    """A publication of any type."""

    repository_version: Href
    repository: Href


class VerbatimPublication(BasePublication, title="deb.VerbatimPublicationResponse"):
    """A version passed through with upstream's own index files."""


class Publication(BasePublication, title="deb.AptPublicationResponse"):
    """A version made ready for apt."""

    simple: bool
    structured: bool
    checkpoint: bool
    signing_service: Href | None
    publish_legacy_release_files: bool
    excluded_package_metadata_fields: list[str]
    layout: str


class BaseDistribution(Shown, title="DistributionResponse"):
    """A distribution of any type."""

    base_path: str
    base_url: str
    content_guard: Href | None
    content_guard_prn: str | None
    no_content_change_since: str | None
    hidden: bool
    pulp_labels: Labels
    name: str
    repository: Href | None
    repository_version: Href | None


class Distribution(BaseDistribution, title="deb.AptDistributionResponse"):
    """A base path, and what is served there."""

    publication: Href | None
    checkpoint: bool
