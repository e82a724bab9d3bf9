"""The task that a sync is, whoever asks for it: a user, or a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from debfleet.db.slots import scope_of
from debfleet.db.tasks import NewTask
from debfleet.model import REMOTE, REPOSITORY, prn
from debfleet.reports import FROM_THE_START


@dataclass(frozen=True, slots=True)
class Pair:
    """What is synced, and from where."""

    repository: int
    repository_uuid: UUID
    remote: int
    remote_uuid: UUID


def new_sync(
    pair: Pair, *, mirror: bool, optimize: bool, publish: dict[str, Any] | None = None
) -> NewTask:
    """A sync's task, without who asks.

    Args:
        publish: What of a publication differs from the defaults ({} for nothing); None: what the
            sync brings is published only where the repository does so by itself.
    """
    args = {
        "repository": pair.repository,
        "remote": pair.remote,
        "mirror": mirror,
        "optimize": optimize,
    }
    return NewTask(
        kind="sync",
        name="pulp_deb.app.tasks.synchronizing.synchronize",
        args=args | ({} if publish is None else {"publish": publish}),
        exclusive=[prn(REPOSITORY, pair.repository_uuid)],
        shared=[prn(REMOTE, pair.remote_uuid)],
        scope=scope_of(pair.remote),
        reports=FROM_THE_START,
    )
