"""Publications, versions and signing services as rows, without a worker."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from api_client import V3, ApiClient, a_name
from debfleet.db import publications, repositories, signing_services
from debfleet.db.publications import NewPublication
from debfleet.db.signing_services import NewService

PUBLICATIONS = f"{V3}publications/deb/apt/"
VERBATIM = f"{V3}publications/deb/verbatim/"
DISTRIBUTIONS = f"{V3}distributions/deb/apt/"
SERVICES = f"{V3}signing-services/"


def uuid_of(body: dict[str, Any]) -> UUID:
    """The UUID in an object's PRN."""
    return UUID(body["prn"].rpartition(":")[2])


def add_version(api: ApiClient, repository: dict[str, Any]) -> int:
    """An empty next version; its number."""
    with api.state.db.transaction() as tx:
        row = tx.execute(
            "insert into repository_versions (repository, number)"
            " select r.id, max(v.number) + 1 from repositories r"
            " join repository_versions v on v.repository = r.id where r.uuid = %s group by r.id"
            " returning number",
            (uuid_of(repository),),
        ).fetchone()
        assert row is not None
        tx.execute(
            "update repositories set last_number = %s where uuid = %s",
            (row["number"], uuid_of(repository)),
        )
    return int(row["number"])


def published(
    api: ApiClient,
    repository: dict[str, Any],
    number: int = 0,
    *,
    kind: str = "apt",
    is_complete: bool = True,
    **more: Any,
) -> str:
    """A publication of a version; its href."""
    with api.state.db.transaction() as tx:
        row = repositories.find_repository_row(tx, uuid_of(repository))
        assert row is not None
        made = publications.add_publication(tx, NewPublication(row["id"], number, kind, **more))
        if is_complete:
            publications.complete_publication(tx, made.id)
    return f"{V3}publications/deb/{kind}/{made.uuid}/"


def distribution(api: ApiClient, **fields: Any) -> dict[str, Any]:
    """A new distribution."""
    body = {"name": a_name(), "base_path": a_name(), **fields}
    task = api.task(api.post(DISTRIBUTIONS, body))
    assert task["state"] == "completed"
    found: dict[str, Any] = api.get(task["created_resources"][0]).json or {}
    return found


def served(api: ApiClient, body: dict[str, Any]) -> list[tuple[str, bool]]:
    """What a distribution served, oldest first: a publication's UUID, and whether it is over."""
    with api.state.db.transaction() as tx:
        rows = tx.execute(
            "select p.uuid, s.until from served s join publications p on p.id = s.publication"
            " join distributions d on d.id = s.distribution where d.uuid = %s order by s.since",
            (uuid_of(body),),
        )
        return [(str(r["uuid"]), r["until"] is not None) for r in rows]


def add_service(api: ApiClient, name: str, kind: str = signing_services.RELEASES) -> str:
    """A signing service with a script that nobody calls; its href."""
    with api.state.db.transaction() as tx:
        new = NewService(name, "a public key", "A" * 40, kind, script="/bin/true")
        row = signing_services.add_service(tx, new)
    return f"{SERVICES}{row['uuid']}/"
