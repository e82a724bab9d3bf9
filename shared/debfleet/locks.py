"""Which tasks may run now: one writer, many readers of each resource, in order of creation.

A resource is a PRN. A task claims its resources when it is asked for and keeps the claims until its
end, also while it waits, so nobody can overtake it and nobody holds one thing while waiting for
another: there is no deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("locks.sql")

# Every task shares the domain, for Pulp's clients to see; nothing ever claims it alone, so a row
# for each task would only be in the way.
_SHARED_BY_ALL = "prn:core.domain:"


def take_turn(tx: Tx, exclusive: Sequence[str], shared: Sequence[str]) -> None:
    """Wait until nobody else is asking for one of these; ends with the transaction.

    Take it before the task's row is made: ids then follow the order of asking, and a task's claims
    are there before any younger one's.
    """
    resources, _ = claimable(exclusive, shared)
    tx.execute(_q["lock_resources"], {"resources": resources})


def are_free(tx: Tx, exclusive: Sequence[str], shared: Sequence[str]) -> bool:
    """Whether a task on these could start at once, until the transaction ends (``take_turn``)."""
    resources, flags = claimable(exclusive, shared)
    found = tx.execute(_q["find_conflict"], {"resources": resources, "exclusive": flags}).fetchone()
    return found is None


def claimable(exclusive: Sequence[str], shared: Sequence[str]) -> tuple[list[str], list[bool]]:
    """Each resource once, and whether it is claimed exclusively: that wins over shared."""
    wanted = {r: False for r in shared if not r.startswith(_SHARED_BY_ALL)}
    wanted |= dict.fromkeys(exclusive, True)
    return list(wanted), list(wanted.values())


def reserved(exclusive: Sequence[str], shared: Sequence[str]) -> list[str]:
    """As ``tasks.reserved`` and Pulp's API write it."""
    return [*dict.fromkeys(exclusive), *(f"shared:{r}" for r in dict.fromkeys(shared))]


def resources_of(reserved: Sequence[str]) -> list[str]:
    """The PRNs in ``tasks.reserved``."""
    return [r.removeprefix("shared:") for r in reserved]
