"""Tasks that nobody needs to ask for: cleaning up, and looking whether what is stored is whole.

The key of each names its turn, so that two sweepers that both think they lead ask for one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from debfleet.config import Settings
from debfleet.db import sql, tasks
from debfleet.db.connect import Tx
from debfleet.db.tasks import NewTask
from debfleet.model import ORPHANS, prn
from debfleet.reports import CLEANED_ARTIFACTS, CLEANED_CONTENT, RECLAIMED

_q = sql.load("upkeep.sql")


def new_cleanup(minutes: int, units: list[list[int]] | None = None) -> NewTask:
    """A cleanup of what no version holds and nobody wanted for so long; none: of everything."""
    return NewTask(
        kind="orphans",
        name="pulpcore.app.tasks.orphan.orphan_cleanup",
        args={"protection_minutes": minutes, "units": units},
        exclusive=[ORPHANS],
        reports=(CLEANED_CONTENT, CLEANED_ARTIFACTS),
    )


def new_repair(repository: int, uuid: UUID, number: int, *, verify_checksums: bool) -> NewTask:
    """A look at the files of one version; what is lost is fetched again."""
    return NewTask(
        kind="repair",
        name="pulpcore.app.tasks.repository.repair_version",
        args={"repository": repository, "number": number, "verify_checksums": verify_checksums},
        shared=[prn("deb.aptrepository", uuid)],
    )


def new_repair_of_all(*, verify_checksums: bool) -> NewTask:
    """A look at every stored file; no cleanup runs beside it, which would look like a loss."""
    return NewTask(
        kind="repair",
        name="pulpcore.app.tasks.repository.repair_all_artifacts",
        args={"repository": None, "number": None, "verify_checksums": verify_checksums},
        shared=[ORPHANS],
    )


def new_reclaim(repositories: Mapping[int, UUID], kept: Sequence[tuple[int, int]]) -> NewTask:
    """A deletion of what these repositories (id and uuid) hold and can be fetched again.

    Args:
        kept: Versions (repository, number) whose files stay.
    """
    return NewTask(
        kind="reclaim",
        name="pulpcore.app.tasks.reclaim_space.reclaim_space",
        args={"repositories": sorted(repositories), "kept": [list(place) for place in kept]},
        exclusive=[ORPHANS],
        shared=[prn("deb.aptrepository", uuid) for uuid in repositories.values()],
        reports=(RECLAIMED,),
    )


def ask_due(tx: Tx, settings: Settings) -> list[int]:
    """Ask for what is due; the tasks, to be started after the commit."""
    asked = []
    if hours := settings.cleanup_hours:
        row = tx.execute(_q["find_cleanup_due"], {"hours": hours}).fetchone()
        if row is not None:
            new = new_cleanup(settings.orphan_protection_time)
            asked.append(_ask(tx, new, f"cleanup {hours} {row['turn']}"))
    if hours := settings.verify_hours:
        row = tx.execute(_q["find_verification_due"], {"hours": hours}).fetchone()
        if row is not None:
            at = (row["repository"], row["uuid"], row["number"])
            new = new_repair(*at, verify_checksums=True)
            key = f"verification {hours} {row['turn']} {row['uuid']}"
            asked.append(_ask(tx, new, key))
    return [id for id in asked if id is not None]


def _ask(tx: Tx, new: NewTask, key: str) -> int | None:
    asked = tasks.ask(tx, replace(new, idempotency_key=f"debfleet {key}"))
    return asked.id if asked.is_new else None
