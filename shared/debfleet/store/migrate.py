"""Copy artifacts from one store to another, each verified on its way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from debfleet.db.artifacts import Artifact
from debfleet.errors import DigestMismatch, NotFound
from debfleet.store import Store

_BLOCK = 1 << 20


@dataclass
class Copied:
    """What has become of the artifacts so far."""

    present: int = 0  # in the target already
    copied: int = 0
    copied_bytes: int = 0
    missing: list[bytes] = field(default_factory=list)  # not in the source
    damaged: list[bytes] = field(default_factory=list)  # other bytes in the source

    @property
    def seen(self) -> int:
        return self.present + self.copied + len(self.missing) + len(self.damaged)


def copy_artifacts(
    source: Store,
    target: Store,
    batches: Iterable[Sequence[Artifact]],
    *,
    parallel: int,
    verify: bool = False,
) -> Iterator[Copied]:
    """Bring the target to hold these artifacts; yields the same counts after each batch.

    What a batch brought is durable when its counts are seen. An artifact is in the target whole or
    not at all, so that a copy which was stopped goes on where it was.

    Args:
        parallel: Artifacts on their way at once.
        verify: Read what the target holds already too; else its size is enough.

    Raises:
        StoreError: One of the two refused.
    """
    counts = Copied()

    def bring(artifact: Artifact) -> str:
        if _is_there(target, artifact, verify=verify):
            return "present"
        try:
            _copy(source, target, artifact)
        except NotFound:
            return "missing"
        except DigestMismatch:
            return "damaged"
        return "copied"

    with ThreadPoolExecutor(parallel) as pool:
        for batch in batches:
            for artifact, outcome in zip(batch, pool.map(bring, batch), strict=True):
                _count(counts, artifact, outcome)
            target.flush()
            yield counts


def _is_there(target: Store, artifact: Artifact, *, verify: bool) -> bool:
    if target.size(artifact.sha256) != artifact.size:
        return False
    if not verify:
        return True
    digest = hashlib.sha256()
    with target.open(artifact.sha256) as stored:
        while block := stored.read(_BLOCK):
            digest.update(block)
    return digest.digest() == artifact.sha256


def _copy(source: Store, target: Store, artifact: Artifact) -> None:
    with source.open(artifact.sha256) as stored, target.receive() as receiver:
        while block := stored.read(_BLOCK):
            receiver.write(block)
        receiver.keep(artifact.sha256)


def _count(counts: Copied, artifact: Artifact, outcome: str) -> None:
    match outcome:
        case "present":
            counts.present += 1
        case "missing":
            counts.missing.append(artifact.sha256)
        case "damaged":
            counts.damaged.append(artifact.sha256)
        case _:
            counts.copied += 1
            counts.copied_bytes += artifact.size
