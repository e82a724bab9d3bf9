"""Messages that come twice, and messages that never come."""

from __future__ import annotations

from pathlib import Path

import pika
import pika.exceptions

from archive.upstream import Upstream
from debfleet.bell import open_bell, queue_name
from debfleet.config import Settings
from debfleet.model import Ring
from system.fleet import Fleet, add_pair, finished, start_sync, wait_for
from system.small import DIST, assert_synced, write_small


def test_doubled_messages_change_nothing(fleet: Fleet, tmp_path: Path) -> None:
    archive = write_small(tmp_path / "archive", packages=10)
    fleet.environ = {"DEBFLEET_CHUNK_FILES": "5"}
    bell = open_bell(Settings(database_url=fleet.database_url, broker_url=fleet.broker_url))
    with Upstream(tmp_path / "archive") as upstream, fleet.start(workers=2).client() as api:
        _, repository = add_pair(api, "doubled", upstream.url, distributions=DIST)
        href = start_sync(api, repository)
        rung: dict[int, int] = {}

        def ring_all_again() -> bool:
            for row in fleet.rows("select id, kind from jobs"):
                if rung.get(row["id"], 0) < 5:
                    rung[row["id"]] = rung.get(row["id"], 0) + 1
                    assert bell.ring_now([Ring(row["id"], row["kind"])])
            return api.get(href)["finished_at"] is not None

        wait_for(ring_all_again, "the sync ends", 60)
        bell.close()
        task = finished(api, href)

        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)
        fetched = [path for path in upstream.paths() if path.startswith("pool/")]
    assert len(fetched) == len(archive.listed)  # nobody fetched what another had
    assert fleet.rows("select distinct state, attempt from jobs") == [
        {"state": "done", "attempt": 1}
    ]
    assert len(rung) > 5


def test_a_lost_message_is_made_good(fleet: Fleet, tmp_path: Path) -> None:
    archive = write_small(tmp_path / "archive")
    fleet.start_api()
    with Upstream(tmp_path / "archive") as upstream, fleet.client() as api:
        _, repository = add_pair(api, "lost", upstream.url, distributions=DIST)
        href = start_sync(api, repository)
        rung = "select count(*) from jobs where rung is not null"
        wait_for(lambda: fleet.count(rung) == 1, "the first job is rung")
        if fleet.broker_url:
            _lose_message(fleet.broker_url)
            fleet.start_worker("worker")
            assert api.get(href)["state"] == "waiting"
            fleet.start_sweep()  # which rings again
        else:  # nobody listened, and a worker that starts asks for what was rung before
            fleet.start_worker("worker")

        task = finished(api, href)

        assert task["state"] == "completed", task["error"]
        assert_synced(fleet, api, task, archive)


def _lose_message(broker_url: str) -> None:
    def purged() -> bool:
        # A connection a try: RabbitMQ may close it while a queue of that name is being made.
        try:
            with pika.BlockingConnection(pika.URLParameters(broker_url)) as connection:
                queue = connection.channel().queue_purge(queue_name("plan"))
                return bool(queue.method.message_count == 1)
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError):
            return False

    wait_for(purged, "the message has come")
