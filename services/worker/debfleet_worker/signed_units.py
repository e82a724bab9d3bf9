"""Packages that a modify adds to a repository which signs: each gives way to its signed self."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from debfleet.db import additions, installation, signings
from debfleet.db.connect import Tx
from debfleet.db.signings import Signing, Stored
from debfleet.deb.debfile import listed_stanza
from debfleet.deb.packages import PackageStanza
from debfleet.deb.stanza import to_bytes
from debfleet.errors import DebfleetError, FinalError
from debfleet.identity import UnitId
from debfleet.model import Job, Kind, prn, unit_model
from debfleet_worker.incoming import Incoming, record
from debfleet_worker.lease import Lease
from debfleet_worker.sign_packages import Signer
from debfleet_worker.signed_files import signed_file
from debfleet_worker.worker import Worker


@dataclass(frozen=True, slots=True)
class Signed:
    """A package that was signed, or had been before, and is another file now."""

    package: Stored
    key: str
    file: Incoming
    stanza: PackageStanza


def sign_units(worker: Worker, job: Job, lease: Lease, add: Sequence[UnitId]) -> list[Signed]:
    """Sign what a modify adds; nothing where its repository does not sign.

    Raises:
        FinalError: A package is not downloaded, or cannot be signed.
    """
    args = job.task_args
    ids = [unit.id for unit in add if unit.kind == Kind.PACKAGE]
    with worker.db.transaction() as tx:
        signing = signings.find_signing(tx, args["repository"]) if ids else None
    if signing is None:
        return []
    with worker.db.transaction() as tx:
        packages = signings.list_packages(tx, ids)
        places = _places(tx, add)
        signings.claim_files(tx, job.task, [p for p in packages if p.stored is not None])
    place = args.get("place")
    made = []
    for package in packages:
        where = {place[0]} if place is not None else places.get(package.id, set())
        try:
            signed = _sign(worker, job, lease, signing, package, where)
        except DebfleetError as e:
            e.add_note(package.relative_path)
            raise
        made += [] if signed is None else [signed]
    return made


def take_signed(
    worker: Worker, tx: Tx, add: Sequence[UnitId], signed: Sequence[Signed]
) -> tuple[list[UnitId], list[str]]:
    """What to add instead, links too; and the PRNs of the packages that are new."""
    instead: dict[int, int] = {}
    made = []
    ids = installation.get_unit_ids(tx)
    for one in signed:
        record(worker, tx, one.file)
        added = additions.add_package(tx, worker.stanza_key, one.stanza, Kind.PACKAGE)
        signings.add_signed(tx, one.package.sha256, one.key, one.file.sha256)
        instead[one.package.id] = added.unit.id
        if added.is_new:
            made.append(prn(unit_model(Kind.PACKAGE), ids.uuid(Kind.PACKAGE, added.unit.id)))
    swapped = (Kind.PACKAGE, Kind.PACKAGE_RELEASE_COMPONENT)
    units = [
        UnitId(u.kind, instead.get(u.id, u.id), u.list) if u.kind in swapped else u for u in add
    ]
    return list(dict.fromkeys(units)), made


def _sign(
    worker: Worker,
    job: Job,
    lease: Lease,
    signing: Signing,
    package: Stored,
    distributions: set[str],
) -> Signed | None:
    """None: it is signed as it is."""
    if package.stored is None:
        raise FinalError(
            "Cannot add on-demand content to a repository that signs packages: it is not downloaded"
        )
    keys = {signing.key_for(where) for where in distributions} or {signing.key_for(None)}
    if len(keys) > 1:
        shown = ", ".join(sorted(distributions))
        raise FinalError(
            f"it is added to {shown}, which are signed by different keys; add it to one at a time"
        )
    [key] = keys
    digest = package.sha256
    file = Incoming(digest, package.stored, lambda: worker.store.open(digest), lambda: None)
    signed = signed_file(worker, job, lease, Signer(signing.service, key), file)
    if signed.sha256 == digest:
        return None
    stanza = listed_stanza(
        to_bytes(package.stanza),
        relative_path=package.relative_path,
        size=signed.size,
        sha256=signed.sha256,
    )
    return Signed(package, key, signed, stanza)


def _places(tx: Tx, add: Sequence[UnitId]) -> dict[int, set[str]]:
    """The distributions that added links put each package into."""
    links = [unit for unit in add if unit.kind == Kind.PACKAGE_RELEASE_COMPONENT]
    distributions = signings.list_distributions(tx, sorted({link.list for link in links}))
    places: dict[int, set[str]] = {}
    for link in links:
        if link.list in distributions:
            places.setdefault(link.id, set()).add(distributions[link.list])
    return places
