"""What a worker says to Postgres while there is nothing to do."""

from __future__ import annotations

from faults.wire import Wire, postgres_at, through
from system.fleet import Fleet, wait_for

_BEAT = b"-- beat"
_LISTENS = b"-- list_ringing"  # the last thing that a worker without a broker asks at its start
_STATEMENTS = (b"Q", b"P")  # first letters of messages: without parameters, and with them


def test_an_idle_worker_sends_postgres_one_statement_a_heartbeat_and_nothing_else(
    fleet: Fleet,
) -> None:
    said: list[bytes] = []  # each a round trip: a client waits for the answer before it goes on
    with Wire(postgres_at(fleet.database_url), said.append) as wire:
        url = through(fleet.database_url, wire.port)
        fleet.start_workers(["worker"], DEBFLEET_DATABASE_URL=url)
        if not fleet.broker_url:
            wait_for(lambda: any(_LISTENS in one for one in said), "the worker listens")
        start = len(said)

        wait_for(lambda: sum(_BEAT in one for one in said[start:]) >= 5, "five heartbeats")
        fleet.kill("worker")

    asked = [one for one in said[start:] if one.startswith(_STATEMENTS)]
    first = next(n for n, one in enumerate(asked) if _BEAT in one)
    assert [one for one in asked[first:] if _BEAT not in one] == []
