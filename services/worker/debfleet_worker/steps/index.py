"""Index: fetch one index that nobody ingested before, and leave its packages as rows.

Reads one wanted index; leaves its stanzas as packages, the set of them, its files as artifacts,
and (policy immediate) download jobs for the files that nobody has stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

from debfleet.db import generics, jobs, plans, repositories, seen_files, tasks, units
from debfleet.db.connect import Tx
from debfleet.db.index_forms import INDEX_FORMS
from debfleet.db.plans import WantedIndex
from debfleet.deb import paths
from debfleet.deb.stanza import split_stanzas
from debfleet.errors import (
    DebfleetError,
    DigestMismatch,
    HttpStatusError,
    MalformedFile,
    NoPackageIndex,
    SizeMismatch,
    UpstreamError,
    is_gone,
    may_pass,
)
from debfleet.fetch import Access, Wanted, access_of, fetch_files, fetch_one, shown_url
from debfleet.model import Job, Kind, Remote, Ring, Tolerance
from debfleet.reports import INSTALLER_LISTS, PACKAGE_INDICES
from debfleet_worker import vanishing
from debfleet_worker.downloads import count_downloads, open_missing
from debfleet_worker.installer import InstallerList, read_list
from debfleet_worker.lease import Lease
from debfleet_worker.pins import raise_if_rotated
from debfleet_worker.plain import Plain, unpack
from debfleet_worker.selection import index_digest
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_BEST_FIRST = (".xz", ".gz", "")


@dataclass(frozen=True, slots=True)
class _Stored:
    """The files of one index that are in the store now."""

    plain: Plain
    parsed: int  # stanzas not seen before
    files: dict[str, tuple[bytes, int]]  # path below the remote's URL: SHA-256 and size
    attempts: int  # downloads tried, for the report
    dropped: Sequence[str] = ()  # forms that Release names and that were absent or wrong


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """Ingest one index, or say that it is missing; at the end, see what they list no more."""
    with worker.db.transaction() as tx:
        remote = repositories.get_remote(tx, job.task_args["remote"])
    if vanishing.is_about_them(job):
        vanishing.run(worker, job, remote, lease)
        return
    with worker.db.transaction() as tx:
        wanted = plans.get_wanted_index(tx, job.task, job.args["position"])
    stored = _fetch(worker, job, lease, remote, wanted)
    if stored is None:
        worker.commit(lambda tx: _finish_missing(tx, worker, job, remote, wanted))
        return
    with stored.plain:
        listed = None
        if wanted.lists == Kind.GENERIC:
            listed = read_list(worker, job, lease, remote, wanted, stored.plain)
        with lease.busy():
            worker.store.flush()
            worker.commit(lambda tx: _finish(tx, worker, job, remote, wanted, stored, listed))


# --- fetch ----------------------------------------------------------------------------------------


def _fetch(
    worker: Worker, job: Job, lease: Lease, remote: Remote, wanted: WantedIndex
) -> _Stored | None:
    """The index in the best form that can be had; nothing where it may be missing and is.

    Raises:
        DigestMismatch, SizeMismatch: It is there and wrong, in every form.
        NoPackageIndex: It is in no form there, and must be.
        UpstreamRotated: Upstream has another Release by now.
    """
    access = access_of(remote, worker.sealer, worker.settings)
    traffic = lease.traffic(remote)
    attempts = 0
    wrong: UpstreamError | None = None
    gone: UpstreamError | None = None
    for form, url_path, file in _candidates(wanted):
        attempts += 1
        early = _EarlyReading(worker, lease, wanted)
        try:
            with (
                fetch_one(access, file, worker.store, traffic) as receiver,
                ThreadPoolExecutor(1, "forms") as beside,
            ):
                others = beside.submit(
                    _fetch_other_forms, worker, access, lease, remote, wanted, form
                )
                receiver.write_ahead()
                reader = None if wanted.lists == Kind.GENERIC else early.read
                plain = unpack(receiver.path(), form, wanted, worker.store, lease.check, reader)
                size = receiver.size
                receiver.keep(file.sha256)
        except HttpStatusError as e:
            if not is_gone(e):
                raise
            gone = e
            continue
        except (DigestMismatch, SizeMismatch, MalformedFile) as e:
            log.warning("index.refused", extra={"path": url_path, "reason": str(e)})
            wrong = e if isinstance(e, UpstreamError) else DigestMismatch(url_path, "", str(e))
            continue
        assert file.sha256 is not None
        files = {form: (file.sha256, size), wanted.path: (plain.sha256, plain.size)}
        try:
            found, more, dropped = others.result()
        except BaseException:
            plain.close()
            raise
        return _Stored(plain, early.parsed, files | found, attempts + more, dropped)
    because = wrong or gone or NoPackageIndex(f"{wanted.path} is named in no known form")
    raise_if_rotated(worker, job, lease, remote, because)
    if wrong is not None:
        raise wrong
    if wanted.optional:
        return None
    raise NoPackageIndex(_missing_text(wanted, remote))


def _candidates(wanted: WantedIndex) -> list[tuple[str, str, Wanted]]:
    """(path of the form, path to ask for, what to expect), best first, by hash before by name."""
    candidates = []
    for ending in _BEST_FIRST:
        name = wanted.path.rpartition("/")[2] + ending
        for below, file in wanted.files.items():
            if below.rpartition("/")[2] != name:
                continue
            form = paths.in_directory(wanted.directory, below)
            for by_hash in _addresses(wanted):
                path = paths.by_hash_path(form, file["sha256"]) if by_hash else form
                expected = Wanted(
                    path=path, sha256=bytes.fromhex(file["sha256"]), size=file["size"]
                )
                candidates.append((form, path, expected))
    return candidates


def _addresses(wanted: WantedIndex) -> tuple[bool, ...]:
    """By hash (true) or by name, in the order in which they are tried."""
    if not wanted.by_hash:
        return (False,)
    # Not all archives offer the installer's lists by hash, whatever their Release says.
    return (False, True) if wanted.lists == Kind.GENERIC else (True, False)


def _fetch_other_forms(
    worker: Worker, access: Access, lease: Lease, remote: Remote, wanted: WantedIndex, read: str
) -> tuple[dict[str, tuple[bytes, int]], int, list[str]]:
    """Fetch the forms beside the one that is read and the plain one, which comes of it.

    Returns:
        Those that are stored now, how many downloads were tried, and what cannot be had, with why.
    """
    files: dict[str, tuple[bytes, int]] = {}
    errors: dict[str, DebfleetError | None] = {}
    attempts = 0
    patience = worker.settings.upstream_patience_seconds
    for by_hash in _addresses(wanted):
        others = {}
        for below, file in wanted.files.items():
            form = paths.in_directory(wanted.directory, below)
            path = paths.by_hash_path(form, file["sha256"]) if by_hash else form
            if form not in (*files, read, wanted.path):
                digest = bytes.fromhex(file["sha256"])
                others[form] = Wanted(path=path, sha256=digest, size=file["size"])
        found = fetch_files(access, list(others.values()), worker.store, lease.traffic(remote))
        attempts += len(found)
        for form, got in zip(others, found, strict=True):
            errors[form] = error = got.error
            if error is None and got.sha256 is not None:
                files[form] = (got.sha256, got.size)
            elif error is not None and may_pass(error) and lease.job.age < patience:
                raise error
    dropped = [f"{form}: {error}" for form, error in errors.items() if form not in files]
    return files, attempts, dropped


class _EarlyReading:
    """Ingest an index while it is unpacked, so that ``_finish`` finds it known.

    A transaction of its own, which no network is waited for in. It says nothing of the task: what
    an index holds is the same whoever asks, and no version has it before ``_finish``.
    """

    def __init__(self, worker: Worker, lease: Lease, wanted: WantedIndex) -> None:
        self._worker = worker
        self._lease = lease
        self._wanted = wanted
        self.parsed = 0  # stanzas not seen before

    def read(self, blocks: Callable[[], Iterator[bytes]]) -> None:
        """See ``unpack``; it is committed only where all of them are what was promised."""
        worker, wanted = self._worker, self._wanted
        # What is wrong with its stanzas is met again, and said, by ``_finish``.
        with suppress(DebfleetError), self._lease.busy():
            repository = self._lease.job.task_args["repository"]
            ingested = worker.db.run(lambda tx: _ingest(tx, worker, wanted, blocks(), repository))
            self.parsed = ingested.parsed


def _missing_text(wanted: WantedIndex, remote: Remote) -> str:
    directory = wanted.path.rpartition("/")[0]
    if wanted.lists == Kind.GENERIC:
        return (
            f"The installer's list {wanted.path} cannot be had, though the Release file names it. "
            f"If {shown_url(remote.url)} is a partial mirror, set sync_installer of the remote to "
            "false, or ignore_missing_package_indices to true."
        )
    return (
        f"No suitable package index files found in '{directory}' for architecture "
        f"'{wanted.architecture or 'any'}', though the Release file names them. If "
        f"{shown_url(remote.url)} is a partial mirror, set ignore_missing_package_indices on the "
        "remote, or FORCE_IGNORE_MISSING_PACKAGE_INDICES for all remotes."
    )


# --- write down ---------------------------------------------------------------------------------


def _finish(
    tx: Tx,
    worker: Worker,
    job: Job,
    remote: Remote,
    wanted: WantedIndex,
    stored: _Stored,
    listed: InstallerList | None,
) -> list[Ring]:
    plain = stored.plain
    if listed is None:
        ingested = _ingest(tx, worker, wanted, plain.blocks())
    else:
        ingested = generics.ingest_list(tx, plain.sha256, wanted.path, listed.files)
    jobs.hold(tx, job)
    files_stored = {*stored.files.values(), *(listed.stored if listed else ())}
    units.add_artifacts(tx, sorted(files_stored))
    unit = plans.add_index(tx, wanted, index_digest(wanted))
    files = {path: digest for path, (digest, _) in stored.files.items()}
    plans.add_unit_files(tx, wanted.unit_kind, unit, files)
    plans.want_units(tx, job.task, wanted.unit_kind, [unit])
    plans.lock_siblings(tx, job.task, wanted)
    plans.finish_wanted_index(
        tx, job.task, wanted.position, index=ingested.index, unit=unit, state="ingested"
    )
    count_downloads(tx, job.task, stored.attempts)
    tasks.add_progress(tx, job.task, *(INSTALLER_LISTS if listed else PACKAGE_INDICES))
    if listed:
        count_downloads(tx, job.task, len(listed.stored))
        tasks.add_findings(tx, job.task, listed.findings)
    _tolerate(tx, job, "index_form_missing", wanted.path, stored.dropped)
    log.info(
        "index.ingested",
        extra={
            "path": wanted.path,
            "stanzas": ingested.stanzas,
            "parsed": stored.parsed + ingested.parsed,
            "bytes": plain.size,
        },
    )
    reach = seen_files.find_reach(tx, job.task)
    opens = open_missing(tx, worker.settings, job, remote, [wanted], reach)
    return jobs.finish(tx, job, opens, then=vanishing.last_job(job, remote))


def _ingest(
    tx: Tx,
    worker: Worker,
    wanted: WantedIndex,
    blocks: Iterator[bytes],
    repository: int | None = None,
) -> units.Ingested:
    """Make an index's stanzas units; most of them those that the repository has at its path."""
    sha256, form = bytes.fromhex(wanted.sha256), INDEX_FORMS[wanted.lists]
    before = None
    if repository is not None:
        before = units.find_index_before(tx, repository, wanted.path, form)
    stanzas = split_stanzas(blocks)
    try:
        return units.ingest_index(tx, worker.stanza_key, sha256, stanzas, form, before)
    except DebfleetError as e:
        e.add_note(wanted.path)
        raise


def _finish_missing(
    tx: Tx, worker: Worker, job: Job, remote: Remote, wanted: WantedIndex
) -> list[Ring]:
    """A declared tolerance: the version goes without this index, and the report says so."""
    jobs.hold(tx, job)
    plans.lock_siblings(tx, job.task, wanted)
    plans.finish_wanted_index(tx, job.task, wanted.position, index=None, unit=None, state="missing")
    _tolerate(tx, job, "index_missing", wanted.path, ["no form of it can be had"])
    count_downloads(tx, job.task, len(_candidates(wanted)))
    again = []
    if wanted.architecture == "all":
        again = plans.accept_all_as_well(tx, job.task, wanted)
    log.warning("index.missing", extra={"path": wanted.path})
    siblings = [replace(wanted, position=position) for position in again]
    reach = seen_files.find_reach(tx, job.task)
    opens = open_missing(tx, worker.settings, job, remote, siblings, reach)
    return jobs.finish(tx, job, opens, then=vanishing.last_job(job, remote))


def _tolerate(tx: Tx, job: Job, reason: str, file: str, details: Sequence[str]) -> None:
    items = [Tolerance(reason, file, None, detail) for detail in details]
    if items:
        tasks.add_tolerances(tx, job.task, items, {reason: len(items)})
