"""The one row of what this database was set up with."""

from __future__ import annotations

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.errors import NotFound
from debfleet.identity import UnitIds
from debfleet.sealed import Sealer

_q = sql.load("installation.sql")


def check_secret_key(tx: Tx, sealer: Sealer) -> None:
    """Prove at start that the database's secrets were sealed with a key that we have.

    Raises:
        ConfigError: They were sealed with another one.
    """
    row = tx.execute(_q["get_secret_check"]).fetchone()
    if row is None:
        raise NotFound("installation")
    sealed = sealer.check(row["secret_check"])
    if sealed is not None:
        tx.execute(_q["set_secret_check"], {"sealed": sealed})


def get_unit_ids(tx: Tx) -> UnitIds:
    """What makes and reads the ids of content units on the wire."""
    row = tx.execute(_q["get_href_key"]).fetchone()
    if row is None:
        raise NotFound("installation")
    return UnitIds(bytes(row["href_key"]))
