"""Plan: fetch and verify each dist's Release, and decide which indices this sync takes.

Reads the remote, upstream's Release files and the version we hold; leaves wanted indices, one job
for each that is new, and download jobs for what known indices list and nobody stored.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from debfleet import reports
from debfleet.config import Settings
from debfleet.db import (
    generics,
    guards,
    jobs,
    orphans,
    plans,
    repositories,
    seen_files,
    tasks,
    units,
)
from debfleet.db.connect import Tx
from debfleet.db.index_forms import INDEX_FORMS
from debfleet.db.jobs import NewJob
from debfleet.db.plans import WantedIndex
from debfleet.db.seen_files import Reach
from debfleet.deb import paths
from debfleet.errors import NoUrl
from debfleet.model import Job, Kind, Remote, Ring, Tolerance
from debfleet_worker import vanishing
from debfleet_worker.autopublish import end_with_version
from debfleet_worker.downloads import count_downloads, open_missing
from debfleet_worker.guards import Watch, check_dists
from debfleet_worker.lease import Lease
from debfleet_worker.releases import FORMS, fetch_dists
from debfleet_worker.selection import Dist, index_digest, sync_options, wanted_indices
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the transaction writes down."""

    dists: list[Dist]
    skipped: list[Dist]  # unchanged since the latest version: what it has of them stays
    wanted: list[WantedIndex]
    kept_indices: list[tuple[Kind, int]]  # units that stay as they are
    tolerances: list[Tolerance]
    findings: list[Tolerance]  # what the guards let through
    mirror: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """What the latest version holds of upstream's own files."""

    options: dict[str, Any] | None  # that it was made with; None: not made by a sync
    release_files: dict[str, tuple[int, bytes]]  # by directory: unit and release digest
    indices: list[dict[str, Any]]  # PackageIndex and SourceIndex units
    seen: dict[str, guards.Seen]  # what the remote last gave, by directory
    now: datetime  # by the database's clock


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Plan one sync; every outcome is one transaction."""
    with worker.db.transaction() as tx:
        remote = repositories.get_remote(tx, job.task_args["remote"])
        held = _get_held(tx, job.task_args["repository"], remote)
    _refuse_without_url(remote)
    dists = fetch_dists(worker, lease, remote)
    plan = _decide(worker.settings, job, remote, dists, held)
    _store_release_files(worker, job, [d for d in dists if d not in plan.skipped])
    lease.check()
    if dists == plan.skipped:
        worker.commit(lambda tx: _finish_unchanged(tx, job, remote, plan))
    else:
        worker.commit(lambda tx: _finish(tx, worker, job, remote, plan, held))


def _get_held(tx: Tx, repository: int | None, remote: Remote) -> _Held:
    seen, now = guards.list_seen(tx, remote.id, remote.url), guards.get_now(tx)
    if repository is None:  # a refresh of an alternate content source
        return _Held(None, {}, [], seen, now)
    state = plans.get_repository_state(tx, repository)
    return _Held(
        state.options,
        plans.list_held_release_files(tx, state.id),
        plans.list_held_indices(tx, state.id),
        seen,
        now,
    )


def _decide(settings: Settings, job: Job, remote: Remote, dists: list[Dist], held: _Held) -> _Plan:
    """What is looked at, given what the latest version holds (sync-semantics 2)."""
    mirror = bool(job.task_args["mirror"])
    findings = check_dists(Watch(remote, mirror), dists, held.seen, held.now)
    options = sync_options(remote, mirror)
    optimize = bool(job.task_args["optimize"]) and held.options == options
    skipped = [d for d in dists if _is_held(d, held)] if optimize else []
    if mirror and not len(skipped) == len(dists) == len(held.release_files):
        # A mirror that changed is looked at in full: what one dist lost another may still have.
        optimize, skipped = False, []
    tolerances: list[Tolerance] = []
    wanted: list[WantedIndex] = []
    for dist in dists:
        if dist not in skipped:
            wanted += wanted_indices(dist, remote, settings, tolerances)
    kept: list[tuple[Kind, int]] = []
    if optimize:
        wanted, kept = _leave_out_unchanged(wanted, held.indices)
        directories = {d.place.directory for d in skipped}
        kept += [_unit(u) for u in held.indices if u["directory"] in directories]
    wanted = [replace(w, position=n) for n, w in enumerate(wanted)]
    return _Plan(dists, skipped, wanted, kept, tolerances, findings, mirror)


def _refuse_without_url(remote: Remote) -> None:
    if not remote.url.strip():
        raise NoUrl(f"sync failed: the remote '{remote.name}' needs a url to sync from")


# --- what is known already -----------------------------------------------------------------------


def _is_held(dist: Dist, held: _Held) -> bool:
    return held.release_files.get(dist.place.directory, (0, b""))[1] == dist.digest


def _leave_out_unchanged(
    wanted: Sequence[WantedIndex], held: Sequence[Mapping[str, Any]]
) -> tuple[list[WantedIndex], list[tuple[Kind, int]]]:
    """Indices that the latest version already took stay as units and are not looked into."""
    units_by_place = {(u["relative_path"], bytes(u["index_digest"])): _unit(u) for u in held}
    kept, rest = [], []
    for index in wanted:
        unit = units_by_place.get((index.path, index_digest(index)))
        if unit is None:
            rest.append(index)
        else:
            kept.append(unit)
            rest.append(replace(index, unit=unit[1], state="unchanged"))
    return rest, kept


def _unit(row: Mapping[str, Any]) -> tuple[Kind, int]:
    return Kind(row["kind"]), row["id"]


# --- what is written down ------------------------------------------------------------------------


def _store_release_files(worker: Worker, job: Job, dists: Sequence[Dist]) -> None:
    files = [
        (sha256(body).digest(), len(body), path)
        for dist in dists
        for path, body in dist.files.items()
    ]
    # Before the first is stored: cleanup leaves alone what a task has claimed.
    worker.db.run(lambda tx: orphans.claim_files(tx, job, files))
    for dist in dists:
        for body in dist.files.values():
            with worker.store.receive() as receiver:
                receiver.write(body)
                receiver.keep()
    if dists:
        worker.store.flush()


def _finish_unchanged(tx: Tx, job: Job, remote: Remote, plan: _Plan) -> list[Ring]:
    """Every dist is as the latest version has it: the task ends here."""
    jobs.hold(tx, job)
    _count(tx, job, plan)
    if not plan.mirror:
        # They are put into each version anew, and come to the same one.
        tasks.add_progress(tx, job.task, *reports.ASSOCIATED, done=len(plan.dists))
    _remember(tx, job, remote, plan)
    log.info("sync.unchanged", extra={"dists": len(plan.dists)})
    return end_with_version(tx, job, job.task_args["repository"], None)


def _finish(
    tx: Tx,
    worker: Worker,
    job: Job,
    remote: Remote,
    plan: _Plan,
    held: _Held,
) -> list[Ring]:
    jobs.hold(tx, job)
    units.lock_content(tx)
    fresh = [d for d in plan.dists if d not in plan.skipped]
    _add_release_units(tx, job, fresh)
    plans.want_units(
        tx,
        job.task,
        Kind.RELEASE_FILE,
        [held.release_files[d.place.directory][0] for d in plan.skipped],
    )
    for dist in plan.dists:
        _add_structure(tx, job, dist, plan)
    reach = seen_files.find_reach(tx, job.task)
    wanted = _resolve_known(tx, plan.wanted, reach)
    plans.add_wanted_indices(tx, job.task, wanted)
    kept = plan.kept_indices + [(w.unit_kind, w.unit) for w in wanted if w.unit is not None]
    for kind in sorted({kind for kind, _ in kept}):
        plans.want_units(tx, job.task, kind, [unit for of, unit in kept if of == kind])
    known = [w for w in wanted if w.state == "known"]
    _count(tx, job, plan)
    _count_indices(tx, job, wanted)
    counts: dict[str, int] = {}
    for tolerance in plan.tolerances:
        counts[tolerance.reason] = counts.get(tolerance.reason, 0) + 1
    tasks.add_tolerances(tx, job.task, plan.tolerances, counts)
    _remember(tx, job, remote, plan)
    opens = [
        NewJob("index", {"position": w.position}, scope=f"remote:{remote.id}")
        for w in wanted
        if w.state == "wanted"
    ]
    opens += open_missing(tx, worker.settings, job, remote, known, reach)
    log.info(
        "sync.planned",
        extra={"indices": len(wanted), "known": len(known), "round": job.round},
    )
    return jobs.finish(tx, job, opens, then=vanishing.last_job(job, remote))


def _add_release_units(tx: Tx, job: Job, dists: Sequence[Dist]) -> None:
    files = {d.name: {path: sha256(body).digest() for path, body in d.files.items()} for d in dists}
    units.add_artifacts(
        tx,
        sorted({(files[d.name][path], len(body)) for d in dists for path, body in d.files.items()}),
    )
    for dist in dists:
        plans.add_release_units(
            tx,
            job.task,
            dist.release,
            distribution=dist.place.distribution,
            directory=dist.place.directory,
            relative_path=dist.main,
            files=files[dist.name],
            release_digest=dist.digest,
        )


def _add_structure(tx: Tx, job: Job, dist: Dist, plan: _Plan) -> None:
    """Components and architectures that this sync takes of a dist.

    A flat one's architectures are those of its packages: assemble sees to them.
    """
    mine = [w for w in plan.wanted if w.directory == dist.place.directory]
    if dist in plan.skipped:
        return
    components = dict.fromkeys(w.component for w in mine)
    binary = [w for w in mine if w.lists != Kind.SOURCE_PACKAGE]  # source is no architecture
    names = [] if dist.place.is_flat else dict.fromkeys(w.architecture for w in binary)
    plans.add_structure(
        tx,
        job.task,
        distribution=dist.place.distribution,
        components=list(components),
        architectures=[(name, *paths.base_architecture(name)) for name in names],
    )


def _resolve_known(tx: Tx, wanted: Sequence[WantedIndex], reach: Reach) -> list[WantedIndex]:
    """Mark the indices that somebody ingested before and whose files are stored.

    What whoever asked may not read is not taken as known: the remote is to show it.
    """
    to_look_up = [bytes.fromhex(w.sha256) for w in wanted]
    by_profile: dict[bytes, list[bytes]] = {}
    for index in wanted:
        by_profile.setdefault(_profile(index), []).append(bytes.fromhex(index.sha256))
    known = {
        profile: units.find_indices(tx, digests, profile) for profile, digests in by_profile.items()
    }
    stored = plans.list_stored(tx, to_look_up)
    held = None
    if reach is not None:
        forms = [bytes.fromhex(file["sha256"]) for w in wanted for file in w.files.values()]
        held = seen_files.list_held(tx, [*to_look_up, *forms], reach)
        stored &= held
    resolved = []
    for index in wanted:
        digest, found = bytes.fromhex(index.sha256), known[_profile(index)]
        if index.state == "unchanged":
            resolved.append(replace(index, index=found.get(digest)))
            continue
        if digest not in found or digest not in stored:
            resolved.append(index)
            continue
        unit = plans.add_index(tx, index, index_digest(index))
        files = {
            paths.in_directory(index.directory, path): bytes.fromhex(file["sha256"])
            for path, file in index.files.items()
        }
        if held is not None:
            files = {path: form for path, form in files.items() if form in held}
        plans.add_unit_files(tx, index.unit_kind, unit, files)
        resolved.append(replace(index, index=found[digest], unit=unit, state="known"))
    return resolved


def _profile(index: WantedIndex) -> bytes:
    if index.lists == Kind.GENERIC:
        return generics.profile(index.path)
    return INDEX_FORMS[index.lists].profile


def _remember(tx: Tx, job: Job, remote: Remote, plan: _Plan) -> None:
    """What the remote gave, for the guards of its next sync; what they let through now."""
    plans.touch_remote(tx, remote.id)
    releases = {dist.place.directory: dist.release for dist in plan.dists}
    guards.see_releases(tx, remote.id, remote.url, releases)
    tasks.add_findings(tx, job.task, plan.findings)


def _count_indices(tx: Tx, job: Job, wanted: Sequence[WantedIndex]) -> None:
    """Those that need no look: known to somebody, or as the latest version has them."""
    for index in wanted:
        is_list = index.lists == Kind.GENERIC
        if index.state == "known":
            report = reports.INSTALLER_LISTS if is_list else reports.PACKAGE_INDICES
            tasks.add_progress(tx, job.task, *report)
        elif index.state == "unchanged":
            report = reports.INSTALLER_SKIPPED if is_list else reports.INDEX_SKIPPED
            tasks.add_progress(tx, job.task, *report, subject=index.path)


def _count(tx: Tx, job: Job, plan: _Plan) -> None:
    """What fetching the Release files came to."""
    count_downloads(tx, job.task, len(FORMS) * len(plan.dists))
    if plan.mirror and plan.dists == plan.skipped:
        tasks.add_progress(tx, job.task, *reports.ALL_SKIPPED)
        return
    tasks.add_progress(tx, job.task, *reports.RELEASE_FILES, done=len(plan.dists))
    for dist in plan.skipped:
        tasks.add_progress(tx, job.task, *reports.RELEASE_SKIPPED, subject=dist.name)
