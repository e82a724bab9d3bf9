"""A package that came in, as the signed file that a repository takes instead."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from debfleet.db import orphans, signings
from debfleet.model import Job
from debfleet_worker.incoming import Incoming
from debfleet_worker.lease import Lease
from debfleet_worker.sign_packages import Signer, is_signed, sign_package
from debfleet_worker.worker import Worker

_BLOCK = 1 << 20


def signed_file(worker: Worker, job: Job, lease: Lease, signer: Signer, file: Incoming) -> Incoming:
    """The file of a package, signed: itself if it is, else another, which is stored by then.

    Raises:
        SigningFailed: The script failed, or made no signed package of it.
        MalformedFile: It is no package.
    """
    folder = worker.settings.work_directory or None
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debfleet-sign-", dir=folder) as scratch:
        with file.open() as opened:
            if is_signed(signer, opened, file.size, Path(scratch)):
                return file
        known = worker.db.run(
            lambda tx: signings.claim_signed(tx, job.task, file.sha256, signer.key)
        )
        if known is not None:
            return _stored(worker, *known)
        path = Path(scratch) / "package.deb"
        with file.open() as opened, path.open("wb") as copy:
            shutil.copyfileobj(opened, copy, _BLOCK)
        lease.check()
        with lease.busy(signer.seconds + 600):
            made = sign_package(signer, path, job.logging_cid)
        with worker.store.receive() as receiver:
            with made.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    lease.check()
                    lease.progress(len(block))
                    receiver.write(block)
            digest, size = receiver.sha256, receiver.size
            claim = [(digest, size, f"signed/{digest.hex()}")]
            worker.commit(lambda tx: orphans.claim_files(tx, job, claim))
            with lease.busy():
                receiver.keep()
                worker.store.flush()
    return _stored(worker, digest, size)


def _stored(worker: Worker, sha256: bytes, size: int) -> Incoming:
    return Incoming(sha256, size, lambda: worker.store.open(sha256), lambda: None)
