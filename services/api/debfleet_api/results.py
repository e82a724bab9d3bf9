"""Results of tasks: kept in our words, shown in the wire's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from debfleet.db import contents
from debfleet.db.connect import Tx
from debfleet.identity import UnitId
from debfleet.model import Kind
from debfleet_api.hrefs import VERSION, find_uuid
from debfleet_api.routes.alternates import render_source
from debfleet_api.routes.content.shown import show_unit
from debfleet_api.routes.distributions import render_distribution
from debfleet_api.routes.remotes import render_remote
from debfleet_api.routes.repositories import render_repository
from debfleet_api.routes.versions import render_versions
from debfleet_api.state import api

# What Pulp counts when a row of ours is deleted.
_DELETED = {
    "remotes": ("core.Remote", "deb.AptRemote"),
    "repositories": ("core.Repository", "deb.AptRepository"),
    "repository_versions": ("core.RepositoryVersion",),
    "apt_publications": ("core.Publication", "deb.AptPublication"),
    "verbatim_publications": ("core.Publication", "deb.VerbatimPublication"),
    "distributions": ("core.Distribution", "deb.AptDistribution"),
    "alternate_sources": ("core.AlternateContentSource", "deb.AptAlternateContentSource"),
}
_TIMES = ("created", "updated", "last_seen", "last_refreshed")
_UUIDS = ("uuid", "remote_uuid", "signing_service", "package_signing_service", "repository_uuid",
          "publication_uuid", "version_repository_uuid")  # fmt: skip
_RENDERERS = {
    "remotes": render_remote,
    "repositories": render_repository,
    "distributions": render_distribution,
    "alternate_sources": render_source,
}


def render_result(tx: Tx, task: Mapping[str, Any]) -> Any:
    """The ``result`` of a task's row: the changed object, what was deleted, the new version."""
    result = task["result"]
    if task["kind"] == "change" and isinstance(result, dict):
        return _render_change(result)
    if isinstance(result, dict) and "unit" in result:
        return _render_unit(tx, result["unit"])
    if task["kind"] == "modify" and task["created_resources"]:
        uuid = find_uuid(task["created_resources"][0].removeprefix(f"prn:{VERSION}:"))
        return None if uuid is None else render_versions(tx, [uuid]).get(uuid)
    return result


def _render_unit(tx: Tx, packed: Sequence[int]) -> Any:
    """A content unit that a task added; null once it is gone."""
    kind, id, list_id = packed
    row = contents.find_unit(tx, UnitId(Kind(kind), id, list_id))
    return None if row is None else show_unit(api().unit_ids(tx), Kind(kind), row)


def _render_change(result: Mapping[str, Any]) -> Any:
    if "deleted" in result:
        counts: Counter[str] = Counter()
        for table, n in result["deleted"].items():
            counts.update({name: n for name in _DELETED[table] if n})
        return dict(counts)
    row = dict(result["row"])
    row |= {k: datetime.fromisoformat(row[k]) for k in _TIMES if row.get(k)}
    row |= {k: UUID(row[k]) for k in _UUIDS if row.get(k)}
    return _RENDERERS[result["snapshot"]](row)
