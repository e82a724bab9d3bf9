"""The queues at which an idle worker's threads sleep."""

from __future__ import annotations

import threading
from queue import Empty

import pytest

from debfleet_worker.waiting import WaitingPriorityQueue, WaitingQueue


@pytest.fixture(params=[WaitingQueue, WaitingPriorityQueue])
def queue(request: pytest.FixtureRequest) -> WaitingQueue:
    """One of each kind, with nothing in it."""
    made: WaitingQueue = request.param()
    return made


def test_who_waits_gets_what_comes_long_after_the_time_it_asked_for(queue: WaitingQueue) -> None:
    got: list[int] = []
    waiting = threading.Thread(target=lambda: got.append(queue.get(timeout=0.001)))
    waiting.start()
    waiting.join(0.05)  # fifty times as long

    queue.put(7)
    waiting.join(30)

    assert got == [7]


def test_at_the_end_nobody_waits_any_more(queue: WaitingQueue) -> None:
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(Empty):
            queue.get()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    queue.end()

    assert ended.wait(30)
    with pytest.raises(Empty):
        queue.get()


def test_what_came_before_the_end_is_still_there(queue: WaitingQueue) -> None:
    queue.put(1)
    queue.end()

    assert queue.get() == 1


def test_who_does_not_wait_is_told_that_there_is_nothing(queue: WaitingQueue) -> None:
    with pytest.raises(Empty):
        queue.get_nowait()


def test_the_smallest_comes_first_of_a_queue_by_priority() -> None:
    queue = WaitingPriorityQueue()
    for number in (3, 1, 2):
        queue.put(number)

    assert [queue.get() for _ in range(3)] == [1, 2, 3]
