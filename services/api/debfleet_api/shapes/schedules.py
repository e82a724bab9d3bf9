"""Schedules, as ours and as Pulp's."""

from __future__ import annotations

from datetime import datetime

from debfleet_api.shapes.base import Href, Shown


class Schedule(Shown, title="debfleet.ScheduleResponse"):
    """Syncs of one repository at set times."""

    name: str
    repository: Href
    cron: str
    time_zone: str
    options: dict[str, bool]
    enabled: bool
    next_run: datetime | None
    last_run: datetime | None
    last_task: Href | None
    skipped_runs: int
    last_error: str | None


class TaskSchedule(Shown, title="TaskScheduleResponse"):
    """The same, as Pulp shows what it starts by itself."""

    name: str
    task_name: str
    dispatch_interval: str | None
    next_dispatch: datetime | None
    last_task: Href | None
