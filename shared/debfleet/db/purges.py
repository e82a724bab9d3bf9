"""Forget tasks that are over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.model import FINAL_STATES

_q = sql.load("purges.sql")


def purge_tasks(
    tx: Tx, *, finished_before: datetime, states: Sequence[str], limit: int = 1000
) -> int:
    """Delete some tasks in these final states that ended before that time; how many.

    Call again, in another transaction, until it deletes less than ``limit``.
    """
    wanted = sorted(FINAL_STATES & set(states))
    values = {"finished_before": finished_before, "states": wanted, "limit": limit}
    return tx.execute(_q["purge_tasks"], values).rowcount
