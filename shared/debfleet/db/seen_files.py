"""Which files a repository may be given: those that its remote was seen to hold.

The store is one for all, and a file in it is known by its digest. Whoever may not read every
repository could list the digest of a file that another one has, and be given that file by a sync
that finds it stored already. So of such a user's sync the files that no repository which they may
read has are to be seen at the remote: in a chunk of a download job (``task_files.must_see``), or,
of an on-demand sync, when somebody asks for them (``unseen_files``).

A sync of who may read everything vouches for its remote, and costs nothing of this.
"""

from __future__ import annotations

from collections.abc import Sequence

from debfleet.db import sql
from debfleet.db.connect import Tx

_q = sql.load("seen_files.sql")

Reach = list[int] | None
"""The repositories that somebody may read, by id; None: all of them."""


def find_reach(tx: Tx, task: int) -> Reach:
    """What whoever asked for a task may read."""
    row = tx.execute(_q["find_reach"], {"task": task}).fetchone()
    return None if row is None or row["is_unlimited"] else list(row["repositories"])


def list_held(tx: Tx, digests: Sequence[bytes], reach: Sequence[int]) -> set[bytes]:
    """Those of some files that one of the repositories has, and may have."""
    values = {"digests": list(digests), "repositories": list(reach)}
    return {bytes(row["sha256"]) for row in tx.execute(_q["list_held"], values)}


def note_files(
    tx: Tx,
    task: int,
    positions: Sequence[int],
    remote: int,
    reach: Sequence[int],
    *,
    everything: bool,
) -> None:
    """Note the files of some wanted indices that the remote is to show.

    Args:
        everything: Whether the sync fetches what is not stored.
    """
    at = {"task": task, "positions": list(positions), "remote": remote}
    listed = tx.execute(_q["list_to_see"], at).fetchall()
    if not listed:
        return
    held = list_held(tx, [row["sha256"] for row in listed], reach)
    unseen = [row for row in listed if bytes(row["sha256"]) not in held]
    values = {
        "task": task,
        "everything": everything,
        "digests": [row["sha256"] for row in unseen],
        "sizes": [row["size"] for row in unseen],
        "paths": [row["path"] for row in unseen],
    }
    tx.execute(_q["note_to_see"], values)


def see_files(tx: Tx, task: int, digests: Sequence[bytes]) -> None:
    """The task's remote has shown these files."""
    tx.execute(_q["see_files"], {"task": task, "digests": list(digests)})


def settle(tx: Tx, task: int, repository: int, remote: int) -> None:
    """At the end of a sync: what of its files the repository has been given, and what not yet."""
    values = {"task": task, "repository": repository, "remote": remote}
    if _has_unseen(tx, repository):
        tx.execute(_q["forget_listed"], values)
    tx.execute(_q["keep_unseen"], values)


def pass_on(tx: Tx, task: int, repository: int, number: int) -> None:
    """A version was made of what other versions have: what they have not seen, nor has it."""
    if _has_unseen(tx):
        reach = find_reach(tx, task)
        tx.execute(_q["pass_on"], {"repository": repository, "number": number, "reach": reach})


def forget_unseen(tx: Tx, repository: int, digests: Sequence[bytes]) -> None:
    """The repository may have these files from now on."""
    tx.execute(_q["forget_unseen"], {"repository": repository, "digests": list(digests)})


def _has_unseen(tx: Tx, repository: int | None = None) -> bool:
    """Whether there is such a file, of one repository or of any: mostly there is none."""
    row = tx.execute(_q["has_unseen"], {"repository": repository}).fetchone()
    return row is not None and bool(row["has_unseen"])
