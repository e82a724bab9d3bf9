"""What a repository signs its packages with, and what came of packages that were signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from debfleet.db import publications, sql, uploads
from debfleet.db.connect import Tx
from debfleet.db.publications import SigningService
from debfleet.db.units import lock_content

_q = sql.load("signings.sql")


@dataclass(frozen=True, slots=True)
class Signing:
    """How a repository signs: who, and with which key in which distribution."""

    service: SigningService
    key: str | None  # v4:FINGERPRINT or keyid:ID; None: the service's own
    overrides: Mapping[str, str]  # by distribution

    def key_for(self, distribution: str | None) -> str:
        """The key for a package that is to lie in a distribution; None: in none that is named."""
        own = self.key or key_of(self.service.fingerprint)
        return own if distribution is None else self.overrides.get(distribution, own)


@dataclass(frozen=True, slots=True)
class Stored:
    """A package, and the size of its file; None: it was not downloaded."""

    id: int
    sha256: bytes
    size: int
    stanza: str
    relative_path: str
    stored: int | None


def key_of(fingerprint: str) -> str:
    """A key as a repository names it."""
    return f"v{4 if len(fingerprint) == 40 else 6}:{fingerprint}"


def find_signing(tx: Tx, repository: int) -> Signing | None:
    """How a repository signs its packages; None: it does not.

    Raises:
        NotFound: The service that it names is gone.
    """
    row = tx.execute(_q["find_signing"], {"repository": repository}).fetchone()
    if row is None:
        return None
    service = publications.get_signing_service(tx, row["service"])
    return Signing(service, row["key"], row["overrides"])


def list_packages(tx: Tx, ids: Sequence[int]) -> list[Stored]:
    """Those of the packages that exist."""
    rows = tx.execute(_q["list_packages"], {"ids": list(ids)})
    return [Stored(**{**row, "sha256": bytes(row["sha256"])}) for row in rows]


def list_distributions(tx: Tx, lists: Sequence[int]) -> dict[int, str]:
    """The distribution of each list of links."""
    rows = tx.execute(_q["list_distributions"], {"lists": list(lists)})
    return {row["list"]: row["distribution"] for row in rows}


def claim_files(tx: Tx, task: int, packages: Sequence[Stored]) -> None:
    """Keep the files of packages from cleanup as long as a task is not over."""
    lock_content(tx)
    values = {"digests": [p.sha256 for p in packages], "sizes": [p.size for p in packages]}
    tx.execute(_q["claim_files"], {"task": task, **values})


def claim_signed(tx: Tx, task: int, sha256: bytes, key: str) -> tuple[bytes, int] | None:
    """What a file became when it was signed with this key: digest and size.

    Cleanup leaves it as long as the task is not over.
    """
    lock_content(tx)
    row = tx.execute(_q["find_signed"], {"sha256": sha256, "key": key}).fetchone()
    if row is None:
        return None
    digest, size = bytes(row["sha256"]), int(row["size"])
    uploads.claim_stored(tx, task, digest, size)
    return digest, size


def add_signed(tx: Tx, sha256: bytes, key: str, signed: bytes) -> None:
    """Remember what a file became; its artifact has a row."""
    tx.execute(_q["add_signed"], {"sha256": sha256, "key": key, "signed": signed})
