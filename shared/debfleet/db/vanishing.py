"""Files that upstream has dropped from its indices, and that will soon be gone from its pool."""

from __future__ import annotations

from debfleet.db import sql, versions
from debfleet.db.connect import Tx

_q = sql.load("vanishing.sql")


def list_files(tx: Tx, task: int, repository: int, remote: int, *, mirror: bool) -> int:
    """Name what a sync should fetch before it is gone, as files of its task; how many.

    Files of the units that upstream has dropped since the last sync, that a version holds which
    stays, and that nobody has stored. All indices of the sync are known by now.
    """
    staying = versions.list_staying(tx, repository)
    if not mirror:
        staying.add(versions.get_latest(tx, repository))  # the next one has all that it has
    values = {"task": task, "repository": repository, "remote": remote}
    return tx.execute(_q["list_files"], values | {"versions": sorted(staying)}).rowcount
