"""When a schedule runs next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debfleet.cron import list_runs, read_cron, read_zone
from debfleet.errors import BadSchedule

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def runs(cron: str, zone: str, after: str, count: int = 1) -> list[str]:
    return [t.strftime("%m-%dT%H:%M") for t in list_runs(cron, zone, at(after), count)]


def test_times_are_those_of_the_zone() -> None:
    assert runs("30 2 * * *", BERLIN, "2026-01-10T12:00Z") == ["01-11T01:30"]
    assert runs("30 2 * * *", BERLIN, "2026-07-10T12:00Z") == ["07-11T00:30"]
    assert runs("30 2 * * *", "UTC", "2026-07-10T12:00Z") == ["07-11T02:30"]


def test_the_next_run_is_later_than_the_moment_asked_about() -> None:
    assert runs("*/5 * * * *", "UTC", "2026-01-10T12:05:00Z") == ["01-10T12:10"]
    assert runs("*/5 * * * *", "UTC", "2026-01-10T12:04:59.999Z") == ["01-10T12:05"]


def test_a_time_that_the_clock_skips_comes_right_after_the_gap() -> None:
    # 2026-03-29: 02:00 becomes 03:00 in Berlin.
    assert runs("30 2 * * *", BERLIN, "2026-03-28T12:00Z", 2) == ["03-29T01:00", "03-30T00:30"]


def test_a_time_that_the_clock_repeats_comes_once() -> None:
    # 2026-10-25: 03:00 becomes 02:00 in Berlin, at 01:00 UTC.
    assert runs("30 2 * * *", BERLIN, "2026-10-24T12:00Z", 2) == ["10-25T00:30", "10-26T01:30"]


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_in_the_repeated_hour_no_run_lies_in_the_past(minute: int) -> None:
    after = at(f"2026-10-25T01:{minute:02}Z")

    found = list_runs("45 2 * * *", BERLIN, after, 3)

    assert all(a < b for a, b in zip([after, *found], found, strict=False))


def test_words_for_usual_times_are_known() -> None:
    assert runs("@daily", BERLIN, "2026-01-10T12:00Z") == ["01-10T23:00"]
    assert read_cron("@Weekly") == "@Weekly"


def test_blanks_are_brought_into_one_form() -> None:
    assert read_cron("  0\t3 *  * mon ") == "0 3 * * mon"


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "0 0 31 2 *", "0 0 * * MOON", "@reboot",
     "a b c d e", "*/0 * * * *", "5-1 * * * *", "0 0 ²L * *", "0 0 * * 5L/2",
     "9" * 5000 + " * * * *", "0 0 29 2 1#1 x"],
)  # fmt: skip
def test_what_is_no_cron_expression_is_refused(text: str) -> None:
    with pytest.raises(BadSchedule) as refused:
        read_cron(text)

    assert refused.value.field == "cron"


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../../etc/passwd", "Europe", "/etc/localtime"]
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(BadSchedule) as refused:
        read_zone(name)

    assert refused.value.field == "time_zone"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("0123456789*/,-#LWMON", min_size=1, max_size=6), min_size=5, max_size=5))
def test_any_five_fields_are_read_or_refused(fields: list[str]) -> None:
    try:
        found = read_cron(" ".join(fields))
    except BadSchedule:
        return
    assert list_runs(found, BERLIN, at("2026-10-25T00:10Z"), 1)[0] > at("2026-10-25T00:10Z")
