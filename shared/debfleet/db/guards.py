"""What the guards of a sync compare with, and the files that it goes without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.deb.release import Release
from debfleet.model import Tolerance

_q = sql.load("guards.sql")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a remote last gave for one dist, at the URL that it has."""

    directory: str
    date: datetime | None
    codename: str
    origin: str | None
    label: str | None
    packages: int | None  # None: not counted
    taken: dict[str, Any] | None  # the filters that they were counted with


def get_now(tx: Tx) -> datetime:
    """The time by Postgres's clock."""
    row = tx.execute(_q["get_now"]).fetchone()
    assert row is not None
    now: datetime = row["now"]
    return now


def list_seen(tx: Tx, remote: int, url: str) -> dict[str, Seen]:
    """By directory of the Release file; empty for a remote that nothing was taken from yet."""
    rows = tx.execute(_q["list_seen"], {"remote": remote, "url": url})
    return {row["directory"]: Seen(**row) for row in rows}


def see_releases(tx: Tx, remote: int, url: str, releases: Mapping[str, Release]) -> None:
    """A sync goes on with these, by directory: later ones are compared with them."""
    values = sorted(releases.items())
    tx.execute(
        _q["see_releases"],
        {
            "remote": remote,
            "url": url,
            "directories": [directory for directory, _ in values],
            "dates": [release.date for _, release in values],
            "codenames": [release.codename for _, release in values],
            "origins": [release.origin for _, release in values],
            "labels": [release.label for _, release in values],
        },
    )


def count_listed(tx: Tx, task: int) -> dict[str, int]:
    """Packages that a sync takes, by directory of the Release file; without what is unknown."""
    rows = tx.execute(_q["count_listed"], {"task": task})
    return {row["directory"]: row["packages"] for row in rows}


def see_counts(
    tx: Tx, remote: int, url: str, taken: Mapping[str, Any], counts: Mapping[str, int]
) -> None:
    """Remember how many packages each directory gave for these filters."""
    values = {"remote": remote, "url": url, "taken": Jsonb(dict(taken))}
    tx.execute(
        _q["see_counts"],
        {**values, "directories": list(counts), "packages": list(counts.values())},
    )


def refuse_files(tx: Tx, task: int, reasons: Mapping[bytes, str]) -> None:
    """The sync goes on without these files, by SHA-256."""
    values = {"task": task, "digests": list(reasons), "reasons": list(reasons.values())}
    tx.execute(_q["refuse_files"], values)


def list_refused_files(
    tx: Tx, task: int, reason: str, most: int = 1000
) -> tuple[list[Tolerance], int]:
    """The first of the files that a sync goes without, and how many there are."""
    row = tx.execute(_q["count_refused_files"], {"task": task}).fetchone()
    count = int(row["count"]) if row else 0
    if not count:
        return [], 0
    rows = tx.execute(_q["list_refused_files"], {"task": task, "most": most})
    return [Tolerance(reason, r["file"], None, r["detail"]) for r in rows], count
