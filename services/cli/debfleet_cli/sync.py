"""`debfleet sync`: bring a repository to what its upstream offers, and watch it."""

from __future__ import annotations

import argparse
import os

from debfleet.config import read_settings
from debfleet.errors import ConfigError
from debfleet_cli.client import (
    REPOSITORIES,
    V3,
    Access,
    Api,
    Body,
    Refused,
    Unreachable,
    read_access,
)
from debfleet_cli.ensure import Differs, Ensured, ensure
from debfleet_cli.flags import Request, UsageError, add_arguments, read_request
from debfleet_cli.outcome import Outcome, Speaker, outcome_json, outcome_lines
from debfleet_cli.progress import Display

__all__ = ["add_arguments", "run", "start_sync", "watch_sync"]

# What a shell sees; `debfleet sync --help` explains them.
GOOD, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

_LOOKS_STUCK = 8  # answers; the pauses between them add up to some two seconds


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit status."""
    speaker = Speaker(is_json=args.json)
    try:
        settings = read_settings(os.environ)
        request = read_request(args, settings.idempotency_key)
        with Api(read_access(settings)) as api:
            if request.task:
                return _watched(api, request.task, None, speaker)
            return _synced(api, request, speaker)
    except (UsageError, ConfigError, Differs) as e:
        return speaker.fail(USAGE, "usage", str(e))
    except Unreachable as e:
        return speaker.fail(UNREACHABLE, "unreachable", str(e))
    except Refused as e:
        return speaker.fail(UNREACHABLE if e.status >= 500 else USAGE, "refused", str(e))
    except KeyboardInterrupt:
        return speaker.fail(INTERRUPTED, "interrupted", "interrupted before a sync was started")


def start_sync(api: Api, ensured: Ensured, *, mirror: bool, key: str = "") -> str:
    """Ask for a sync, or find the one that this key asked for; returns the task's href."""
    body = {"remote": ensured.remote["pulp_href"], "mirror": mirror}
    return api.ask(ensured.repository["pulp_href"] + "sync/", body, key)


def watch_sync(api: Api, task: str, repository: Body | None, display: Display) -> Outcome:
    """Show a task until its end."""
    last: Body = {}
    with display:
        for count, state in enumerate(api.watch(task)):
            if isinstance(state, Unreachable):
                display.note(f"{state}; asking again")
                continue
            last = state
            display.show(state)
            if state["state"] == "waiting" and count == _LOOKS_STUCK:
                display.note(_why_waiting(api, state))
    version = None
    if last["state"] == "completed":
        hrefs = [href for href in last["created_resources"] if "/versions/" in href]
        version = api.get(hrefs[0]) if hrefs else None
    return Outcome(last, repository, version)


def _synced(api: Api, request: Request, speaker: Speaker) -> int:
    ensured = _find(api, request)
    for difference in ensured.changed:
        speaker.say(f"changed {difference}")
    task = start_sync(api, ensured, mirror=request.mirror, key=request.key)
    remote, repository = ensured.remote, ensured.repository
    speaker.say(
        f"syncing {remote['url']} ({remote['distributions']}) into repository {repository['name']}"
    )
    if request.is_waiting:
        return _watched(api, task, repository, speaker)
    href = repository["pulp_href"]
    speaker.put(
        {
            "outcome": "started",
            "task": task,
            "repository": {"name": repository["name"], "href": href},
        }
    )
    speaker.say(_how_to_go_on(api.access, task))
    return GOOD


def _find(api: Api, request: Request) -> Ensured:
    if request.source is not None:
        return ensure(api, request.name, request.source, update=request.is_update)
    repository = api.find(REPOSITORIES, request.name)
    if repository is None:
        there = ", ".join(api.list_names(REPOSITORIES)) or "none"
        raise UsageError(f"there is no repository {request.name}; there are: {there}")
    if repository["remote"] is None:
        raise UsageError(f"repository {request.name} has no remote to sync from; name it by URL")
    return Ensured(api.get(repository["remote"]), repository, ())


def _watched(api: Api, task: str, repository: Body | None, speaker: Speaker) -> int:
    go_on = _how_to_go_on(api.access, task)
    try:
        outcome = watch_sync(api, task, repository, speaker.display())
    except KeyboardInterrupt:
        text = f"interrupted; the sync goes on without us\n{go_on}"
        return speaker.fail(INTERRUPTED, "interrupted", text, task=task)
    except Unreachable as e:
        raise Unreachable(f"{e}\nThe sync goes on without us.\n{go_on}") from None
    speaker.put(outcome_json(outcome))
    for line in outcome_lines(outcome, api.access.url):
        speaker.say(line)
    return GOOD if outcome.is_good else FAILED


def _how_to_go_on(access: Access, task: str) -> str:
    patch = "-X PATCH -H 'Content-Type: application/json' -d '{\"state\": \"canceled\"}'"
    return (
        f"  watch it:  debfleet sync --watch {task}\n"
        f"  cancel it: curl -u {access.username} {patch} {access.url}{task}"
    )


def _why_waiting(api: Api, task: Body) -> str:
    if task["unblocked_at"] is None:
        return "waiting for an earlier task of the same repository"
    if not api.get(V3 + "status/")["online_workers"]:
        return "waiting: no worker is running; start one with `debfleet up` or `debfleet worker`"
    return "waiting for a worker to become free"
