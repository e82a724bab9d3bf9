"""Sync repositories at set times: the fleet's sweeper starts each run exactly once.

CRON is five fields (minute, hour, day-of-month, month, day-of-week) as Debian's cron reads them, in
the time zone given, or one of @hourly, @daily, @weekly, @monthly. A run whose time was missed is
caught up once; one that comes while the sync before is not over is left out, and counted.

examples:
  debfleet schedule add nginx '30 2 * * *' --time-zone Europe/Berlin --publish
  debfleet schedule list
  debfleet schedule remove nginx
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from debfleet_cli.client import REPOSITORIES, V3, Api, Body
from debfleet_cli.outcome import Speaker
from debfleet_cli.published import GOOD, UsageError, call_api

SCHEDULES = V3 + "schedules/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet schedule``."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add = commands.add_parser("add", help="sync a repository at set times, from its own remote")
    add.add_argument("repository", metavar="REPOSITORY", help="its name")
    add.add_argument("cron", metavar="CRON", help="as in '30 2 * * *', or @daily")
    add.add_argument("--name", metavar="NAME", help="of the schedule (default: the repository's)")
    add.add_argument("--time-zone", metavar="ZONE", default="UTC", help="Europe/Berlin …")
    add.add_argument("--mirror", action="store_true", help="drop what upstream has no more")
    add.add_argument(
        "--no-optimize", action="store_true", help="look at everything, changed or not"
    )
    add.add_argument("--publish", action="store_true", help="publish what a run brings")
    add.add_argument(
        "--checkpoint", action="store_true", help="publish it as a checkpoint; implies --publish"
    )
    add.add_argument("--disabled", action="store_true", help="run nothing until it is enabled")
    add.set_defaults(act=_add)
    show = commands.add_parser("list", help="what runs when, and what ran last")
    show.set_defaults(act=_list)
    for word, act, text in (
        ("enable", _enable, "let it run from now"),
        ("disable", _disable, "let it rest"),
        ("remove", _remove, "forget it; what it has synced stays"),
    ):
        command = commands.add_parser(word, help=text)
        command.add_argument("name", metavar="NAME", help="of the schedule")
        command.set_defaults(act=act)
        command.add_argument("--json", action="store_true", help="one JSON object, not prose")
    for command in (add, show):
        command.add_argument("--json", action="store_true", help="one JSON object, not prose")


def run(args: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    speaker = Speaker(is_json=args.json, command="schedule")
    act: Callable[[Api, argparse.Namespace, Speaker], None] = args.act

    def work(api: Api) -> int:
        act(api, args, speaker)
        return GOOD

    return call_api(speaker, work)


def _add(api: Api, args: argparse.Namespace, speaker: Speaker) -> None:
    repository = api.find(REPOSITORIES, args.repository)
    if repository is None:
        there = ", ".join(api.list_names(REPOSITORIES)) or "none"
        raise UsageError(f"there is no repository {args.repository}; there are: {there}")
    made = api.post(
        SCHEDULES,
        {
            "name": args.name or repository["name"],
            "repository": repository["pulp_href"],
            "cron": args.cron,
            "time_zone": args.time_zone,
            "options": {
                "mirror": args.mirror,
                "optimize": not args.no_optimize,
                "publish": args.publish or args.checkpoint,
                "checkpoint": args.checkpoint,
            },
            "enabled": not args.disabled,
        },
    )
    speaker.put({"outcome": "added", "schedule": made})
    speaker.say(f"added {made['name']}: {_when(made)}")


def _list(api: Api, args: argparse.Namespace, speaker: Speaker) -> None:
    rows = list(api.walk(SCHEDULES, ordering="name"))
    speaker.put({"outcome": "listed", "schedules": rows})
    for row in rows:
        repository = api.get(row["repository"])["name"]
        speaker.say(f"{row['name']}  {row['cron']} {row['time_zone']}  repository {repository}")
        speaker.say(f"  {_when(row)}")
        speaker.say(f"  {_last(api, row)}")
    if not rows:
        speaker.say("there is no schedule; make one with `debfleet schedule add`")


def _enable(api: Api, args: argparse.Namespace, speaker: Speaker) -> None:
    _set(api, args, speaker, is_enabled=True)


def _disable(api: Api, args: argparse.Namespace, speaker: Speaker) -> None:
    _set(api, args, speaker, is_enabled=False)


def _set(api: Api, args: argparse.Namespace, speaker: Speaker, *, is_enabled: bool) -> None:
    changed = api.patch(_get(api, args.name)["pulp_href"], {"enabled": is_enabled})
    speaker.put({"outcome": "changed", "schedule": changed})
    speaker.say(f"{changed['name']}: {_when(changed)}")


def _remove(api: Api, args: argparse.Namespace, speaker: Speaker) -> None:
    api.delete(_get(api, args.name)["pulp_href"])
    speaker.put({"outcome": "removed"})
    speaker.say(f"removed {args.name}")


def _get(api: Api, name: str) -> Body:
    found = api.find(SCHEDULES, name)
    if found is None:
        there = ", ".join(api.list_names(SCHEDULES)) or "none"
        raise UsageError(f"there is no schedule {name}; there are: {there}")
    return found


def _when(row: Body) -> str:
    if not row["enabled"]:
        return "disabled"
    return f"next run {row['next_run'] or 'never'}"


def _last(api: Api, row: Body) -> str:
    if row["last_error"]:
        return f"the last run failed: {row['last_error']}"
    if row["last_run"] is None:
        return "never ran"
    task = api.get(row["last_task"])["state"] if row["last_task"] else "forgotten"
    skipped = f"; left out, as one ran still: {row['skipped_runs']}" if row["skipped_runs"] else ""
    return f"last run {row['last_run']}: {task} {row['last_task'] or ''}{skipped}".rstrip()
