"""What publish writes into the store: an index in all its forms, and small files.

Memory follows a block, whatever the size of an index: it is written to a file of the store, and
read again to be compressed, while it is being written if it seems to be new.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from debfleet.db import orphans, publications, units
from debfleet.db.connect import Tx
from debfleet.db.publications import Stored
from debfleet.errors import NotFound
from debfleet.model import Job
from debfleet.store import Receiver
from debfleet_worker.growing import Growing
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker
from debfleet_worker.xz import xz_compressed

ENDINGS = {"plain": "", "gz": ".gz", "xz": ".xz"}

_BLOCK = 1 << 18
_GZIP_LEVEL = 6
_GZIP_FORMAT = 31  # zlib's number for gzip with the largest window; it writes no time and no name


@dataclass(frozen=True, slots=True)
class Forms:
    """One index, plain and compressed; all of it is in the store."""

    files: Mapping[str, Stored]  # by plain, gz, xz
    is_new: bool  # some of it was compressed just now


def write_index(
    worker: Worker, job: Job, lease: Lease, blocks: Iterable[bytes], like: bytes | None = None
) -> Forms:
    """Store an index that comes in blocks, and its compressed forms unless they are known.

    To be recorded with ``record`` in the transaction that names the files.

    Args:
        like: The digest of an index that this one may turn out to be: it is compressed from the
            first byte on that differs, and at the end if none does.
    """
    extra = _extra_digests(worker)
    with ExitStack() as stack:
        plain, *rest = (
            _Digesting(stack.enter_context(worker.store.receive()), extra) for _ in ENDINGS
        )
        writers = dict(zip(list(ENDINGS)[1:], rest, strict=True))
        compressing = stack.enter_context(_Compressing(worker, lease, plain.receiver, writers))
        differs = stack.enter_context(_differing(worker, like))
        for block in _gathered(blocks):
            _moved(lease, len(block))
            plain.write(block)
            if differs(block):
                compressing.follow()
        files = {"plain": plain.stored()}
        known = _claim_known(worker, job, files["plain"], extra)
        files |= {form: known[form] for form in writers if form in known}
        made = {form: writer for form, writer in writers.items() if form not in files}
        compressing.finish([*made])
        files |= {form: writer.stored() for form, writer in made.items()}
        kept = [*made.values()] if "plain" in known else [*made.values(), plain]
        _keep(worker, job, lease, kept)
    return Forms(files, is_new=bool(made))


def write_small(
    worker: Worker, job: Job, lease: Lease, files: Mapping[str, bytes]
) -> dict[str, Stored]:
    """Store some small files; by their keys."""
    extra = _extra_digests(worker)
    with ExitStack() as stack:
        made: dict[str, _Digesting] = {}
        for name, body in files.items():
            made[name] = _Digesting(stack.enter_context(worker.store.receive()), extra)
            made[name].write(body)
        _keep(worker, job, lease, list(made.values()))
        return {name: writer.stored() for name, writer in made.items()}


def record(tx: Tx, indices: Sequence[Forms], small: Iterable[Stored] = ()) -> None:
    """Say that files are stored, and how indices are compressed; under the content lock."""
    units.lock_content(tx)
    stored = {(f.sha256, f.size) for forms in indices for f in forms.files.values()}
    stored |= {(f.sha256, f.size) for f in small}
    units.add_artifacts(tx, sorted(stored))
    for forms in sorted(indices, key=lambda forms: forms.files["plain"].sha256):
        if forms.is_new:
            compressed = {form: file for form, file in forms.files.items() if form != "plain"}
            publications.add_compressed_forms(tx, forms.files["plain"].sha256, compressed)


class _Digesting:
    """A file on its way into the store, with more digests than the store itself makes."""

    def __init__(self, receiver: Receiver, extra: Sequence[str]) -> None:
        self.receiver = receiver
        self._sha512 = hashlib.sha512()
        self._others = {name: hashlib.new(name, usedforsecurity=False) for name in extra}

    def write(self, block: bytes) -> None:
        self.receiver.write(block)
        self._sha512.update(block)
        for digest in self._others.values():
            digest.update(block)

    def stored(self) -> Stored:
        return Stored(
            sha256=self.receiver.sha256,
            size=self.receiver.size,
            sha512=self._sha512.digest(),
            **{name: digest.digest() for name, digest in self._others.items()},
        )


def _extra_digests(worker: Worker) -> list[str]:
    allowed = worker.settings.allowed_content_checksums
    return [name for name in ("md5", "sha1") if name in allowed]


def _gathered(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger blocks."""
    pending: list[bytes] = []
    size = 0
    for block in blocks:
        pending.append(block)
        size += len(block)
        if size >= _BLOCK:
            yield b"".join(pending)
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _claim_known(
    worker: Worker, job: Job, plain: Stored, extra: Sequence[str]
) -> dict[str, Stored]:
    """What is stored of an index already; it stays while our task runs.

    The store is asked too: what was lost there is written again, so that to publish again heals.
    """

    def work(tx: Tx) -> dict[str, Stored]:
        units.lock_content(tx)
        known = {
            form: file
            for form, file in publications.list_known_forms(tx, plain.sha256).items()
            if form == "plain" or all(getattr(file, name) for name in extra)
        }
        files = [(f.sha256, f.size, f"published {form}") for form, f in known.items()]
        orphans.claim_files(tx, job, files)
        return known

    known = worker.db.run(work)
    gone = worker.store.missing([file.sha256 for file in known.values()])
    return {form: file for form, file in known.items() if file.sha256 not in gone}


def _keep(worker: Worker, job: Job, lease: Lease, made: Sequence[_Digesting]) -> None:
    """Claim first: cleanup must not delete under our hands what we are about to store."""
    if not made:
        return
    files = [(one.receiver.sha256, one.receiver.size, "published") for one in made]
    worker.db.run(lambda tx: orphans.claim_files(tx, job, files))
    for one in made:
        with lease.busy():
            one.receiver.keep()
    with lease.busy():
        worker.store.flush()


class _Compressing:
    """The compressed forms of a file that is still being written, each by a thread.

    They read what is in the file already, so that nothing waits in memory for the slower ones.
    """

    def __init__(
        self, worker: Worker, lease: Lease, plain: Receiver, writers: Mapping[str, _Digesting]
    ) -> None:
        self._preset = worker.settings.xz_preset
        self._lease = lease
        self._plain = plain
        self._growing = Growing(plain.path())
        self._writers = writers
        self._pool = ThreadPoolExecutor(len(writers), "forms")
        self._running: dict[str, Future[None]] = {}

    def __enter__(self) -> _Compressing:
        return self

    def __exit__(self, *_: object) -> None:
        self._growing.end(_GivenUp())
        self._pool.shutdown()

    def follow(self) -> None:
        """Compress all that is written by now, and go on waiting for more."""
        self._growing.grew(self._plain.size)
        self._start(self._writers)

    def finish(self, forms: Collection[str]) -> None:
        """The file is whole: wait for these forms of it. Others are given up."""
        if not forms:
            return
        self._growing.grew(self._plain.size)
        self._growing.end()
        self._start(forms)
        for form in forms:
            self._running[form].result()  # here an error of a thread is raised

    def _start(self, forms: Iterable[str]) -> None:
        for form in forms:
            if form not in self._running:
                self._running[form] = self._pool.submit(self._write, form)

    def _write(self, form: str) -> None:
        compress = _gzipped if form == "gz" else partial(xz_compressed, preset=self._preset)
        for piece in compress(self._blocks()):
            self._writers[form].write(piece)

    def _blocks(self) -> Iterator[bytes]:
        # Of one size: what zlib makes may depend on it.
        for block in self._growing.blocks(_BLOCK, are_full=True):
            _moved(self._lease, len(block))
            yield block


class _GivenUp(Exception):
    """Nobody wants this form any more."""


@contextmanager
def _differing(worker: Worker, like: bytes | None) -> Iterator[Callable[[bytes], bool]]:
    """Whether what was given so far, block by block, is other than the beginning of a file."""
    with ExitStack() as stack:
        file = None
        if like is not None:
            with suppress(NotFound):
                file = stack.enter_context(worker.store.open(like))

        def differs(block: bytes) -> bool:
            nonlocal file
            if file is not None and file.read(len(block)) != block:
                file = None
            return file is None

        yield differs


def _gzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
    for block in blocks:
        if piece := compressor.compress(block):
            yield piece
    yield compressor.flush()


def _moved(lease: Lease, count: int) -> None:
    lease.check()
    lease.progress(count)
