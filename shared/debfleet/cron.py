"""When a schedule runs next: cron expressions as Debian's cron reads them, in a time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from debfleet.errors import BadSchedule

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_SHAPE = re.compile(r"[0-9A-Za-z*/,#-]+( [0-9A-Za-z*/,#-]+){4}")
_LONGEST = 200  # characters


def read_cron(text: str) -> str:
    """A cron expression of five fields, or one of ``@daily`` and its like, in its one form.

    Raises:
        BadSchedule: It is none, or never comes.
    """
    found = " ".join(text.split())
    if found.startswith("@") and found.lower() not in _MACROS:
        raise BadSchedule("cron", f"'{text[:100]}' is none of {', '.join(_MACROS)}.")
    if not found.startswith("@") and (len(found) > _LONGEST or not _SHAPE.fullmatch(found)):
        raise BadSchedule(
            "cron",
            f"'{text[:100]}' is no cron expression: it takes five fields (minute, hour, "
            "day-of-month, month, day-of-week), as in '30 2 * * 1-5'.",
        )
    list_runs(found, "UTC", datetime.now(UTC), 1)
    return found


def read_zone(text: str) -> str:
    """The name of a time zone.

    Raises:
        BadSchedule: There is none of this name.
    """
    if text not in _zones():
        raise BadSchedule("time_zone", f"'{text[:100]}' is no time zone; one is Europe/Berlin.")
    return text


def list_runs(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """The next times after an aware one, in UTC, each later than the one before.

    Raises:
        BadSchedule: The expression is wrong or never comes, or the zone is not known here.
    """
    here = ZoneInfo(read_zone(zone))
    try:
        ticks = CronSim(_MACROS.get(cron.lower(), cron), after.astimezone(here))
        # In the hour that a clock repeats, cronsim may name a time of the first pass in the second.
        later = (utc for tick in ticks if (utc := tick.astimezone(UTC)) > after)
        found = list(islice(later, count))
    except (CronSimError, OverflowError) as e:
        raise BadSchedule("cron", f"'{cron}': {e}.") from None
    if not found:
        raise BadSchedule("cron", f"'{cron}' never comes.")
    return found


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
