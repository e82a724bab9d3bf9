"""One sync is one upstream state: has upstream left the one that this task verified?"""

from __future__ import annotations

from hashlib import sha256

from debfleet.db import plans
from debfleet.errors import DebfleetError, UpstreamRotated
from debfleet.fetch import Wanted, access_of, fetch_small
from debfleet.model import Job, Remote
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

_LARGEST_RELEASE = 16 << 20


def raise_if_rotated(
    worker: Worker, job: Job, lease: Lease, remote: Remote, because: DebfleetError
) -> None:
    """After a file was missing or wrong: look whether upstream has another Release by now.

    Raises:
        UpstreamRotated: It has; the sync is to be planned again from that one.
    """
    with worker.db.transaction() as tx:
        pins = plans.list_release_pins(tx, job.task)
    bodies = fetch_small(
        access_of(remote, worker.sealer, worker.settings),
        [Wanted(path=p["path"], sha256=None, size=None, limit=_LARGEST_RELEASE) for p in pins],
        lease.traffic(remote),
    )
    for pin in pins:
        body = bodies.get(pin["path"])
        if body is None or sha256(body).digest() != pin["sha256"]:
            raise UpstreamRotated(f"{pin['path']} changed during the sync ({because})")
