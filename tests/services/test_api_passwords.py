"""Passwords: hashed two at a time, remembered for a while, never longer than they are right."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Lock, Semaphore

import pytest
from argon2 import PasswordHasher, extract_parameters

from debfleet.db.users import User
from debfleet.passwords import Passwords

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class SlowHasher(PasswordHasher):
    """argon2's, which waits until it is told and counts who waits."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go_on = Event()
        self.entered = Semaphore(0)
        self.most = 0
        self._inside = 0
        self._lock = Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        self.entered.release()
        assert self.go_on.wait(30)
        with self._lock:
            self._inside -= 1
        return super().verify(hash, password)


@pytest.fixture
def user() -> User:
    """Her password is right."""
    return User(1, "ann", CHEAP.hash("right"), 1, False)


def test_a_right_password_is_hashed_once_and_a_wrong_one_each_time(user: User) -> None:
    passwords = Passwords(hasher=CHEAP)

    right = [passwords.is_right(user, "right") for _ in range(3)]
    after_right = passwords.hashed
    wrong = [passwords.is_right(user, "wrong") for _ in range(3)]

    assert (right, after_right) == ([True] * 3, 1)
    assert (wrong, passwords.hashed) == ([False] * 3, 4)


def test_what_is_remembered_ends_with_its_time(user: User) -> None:
    passwords = Passwords(hasher=CHEAP, remembered_seconds=0)

    assert passwords.is_right(user, "right")
    assert passwords.is_right(user, "right")
    assert passwords.hashed == 2


def test_what_is_remembered_ends_with_the_passwords_version(user: User) -> None:
    passwords = Passwords(hasher=CHEAP)
    assert passwords.is_right(user, "right")

    changed = replace(user, password_hash=CHEAP.hash("new"), password_version=2)

    assert not passwords.is_right(changed, "right")
    assert passwords.is_right(changed, "new")


def test_one_users_password_opens_no_other_user(user: User) -> None:
    passwords = Passwords(hasher=CHEAP)
    assert passwords.is_right(user, "right")

    other = replace(user, id=2, username="bob", password_hash=CHEAP.hash("his"))

    assert not passwords.is_right(other, "right")
    assert not passwords.is_right(None, "right")


def test_a_name_that_nobody_has_costs_what_a_wrong_password_costs() -> None:
    checked = []

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:
            checked.append(str(hash))
            return super().verify(hash, password)

    passwords = Passwords(hasher=Watched())

    assert not passwords.is_right(None, "right")
    assert [extract_parameters(one) for one in checked] == [
        extract_parameters(passwords.hash("right"))
    ]
    assert passwords.hashed == 1


def test_two_passwords_are_hashed_at_a_time_and_no_more(user: User) -> None:
    hasher = SlowHasher()
    passwords = Passwords(hasher=hasher)

    with ThreadPoolExecutor(6) as pool:
        tries = [pool.submit(passwords.is_right, user, f"wrong {n}") for n in range(6)]
        for _ in range(2):
            assert hasher.entered.acquire(timeout=30)
        third = hasher.entered.acquire(timeout=0.2)
        hasher.go_on.set()
        results = [t.result(timeout=30) for t in tries]

    assert not third
    assert hasher.most == 2
    assert results == [False] * 6
