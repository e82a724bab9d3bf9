"""Files from alternate content sources, before the remote itself is asked for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from debfleet.db import alternates, repositories
from debfleet.errors import NotFound, UnsupportedUrl
from debfleet.fetch import Wanted, access_of, fetch_files
from debfleet.model import Remote
from debfleet_worker.downloads import Tally
from debfleet_worker.lease import Lease
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_MOST_RETRIES = 1  # there is the remote


def fetch_elsewhere(
    worker: Worker, lease: Lease, remote: Remote, wanted: Sequence[Wanted], tally: Tally
) -> dict[bytes, int]:
    """Those of the files, with their sizes, that a source had; the others are the remote's."""
    by_digest = {w.sha256: w for w in wanted if w.sha256 is not None}
    if not by_digest:
        return {}
    with worker.db.transaction() as tx:
        if not alternates.are_there(tx):
            return {}
        places = alternates.list_places(tx, list(by_digest), remote.id)
    kept: dict[bytes, int] = {}
    for source in dict.fromkeys(place.remote for place in places):
        files = [
            replace(by_digest[place.sha256], path=place.path)
            for place in places
            if place.remote == source and place.sha256 not in kept
        ]
        try:
            with worker.db.transaction() as tx:
                other = repositories.get_remote(tx, source)
            access = access_of(other, worker.sealer, worker.settings)
            access = replace(access, max_retries=min(access.max_retries, _MOST_RETRIES))
            traffic = lease.traffic(other, tally.tell)
            got = fetch_files(access, files, worker.store, traffic, lambda _: tally.add())
        except (NotFound, UnsupportedUrl) as e:
            log.warning("alternate.refused", extra={"remote": source, "reason": str(e)})
            continue
        kept |= {g.sha256: g.size for g in got if g.error is None and g.sha256 is not None}
        failed = [g for g in got if g.error is not None]
        if failed:
            first = {"files": len(failed), "first": str(failed[0].error)}
            log.info("alternate.lacked", extra={"remote": source, **first})
    return kept
