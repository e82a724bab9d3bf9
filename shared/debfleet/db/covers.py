"""Whether a version that is being put together is part of one that is there already.

A version holds no two files for one package and no two at one path, so no part of it does: what is
part of one needs no check of that, and a second repository of one upstream none at all. That the
version was there is enough: its units never change, and should it be deleted meanwhile, those that
are wanted stay (``units.lock_content``).
"""

from __future__ import annotations

from debfleet.db import sql
from debfleet.db.connect import Tx

_Q = sql.load("covers.sql")


def is_covered(tx: Tx, *, mirror: bool) -> bool:
    """Whether the packages of the new version are its wanted ones, and one version holds them all.

    Then no two of them clash, and none replaces one of the base: the base holds no others (in
    mirror mode, none that stay). False where no such version was found, though there may be one.
    """
    return tx.execute(_Q["find_cover"], {"mirror": mirror}).fetchone() is not None
