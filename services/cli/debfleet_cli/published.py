"""What the commands around publications share: what is served where, and making it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from debfleet.config import read_settings
from debfleet.errors import ConfigError
from debfleet_cli.client import (
    DISTRIBUTIONS,
    PUBLICATIONS,
    Api,
    Body,
    Refused,
    Unreachable,
    failure_text,
    read_access,
)
from debfleet_cli.outcome import Speaker

GOOD, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


class UsageError(Exception):
    """The command line asks for something that is not there, or makes no sense."""


class TaskFailed(Exception):
    """A task of ours did not complete."""

    def __init__(self, task: Body) -> None:
        super().__init__(failure_text(task))
        self.task = task


def call_api(speaker: Speaker, work: Callable[[Api], int]) -> int:
    """Do something with the API that the environment names; the exit status, also of failures."""
    try:
        with Api(read_access(read_settings(os.environ))) as api:
            return work(api)
    except (UsageError, ConfigError) as e:
        return speaker.fail(USAGE, "usage", str(e))
    except TaskFailed as e:
        return speaker.fail(FAILED, "failed", str(e), task=e.task["pulp_href"])
    except Unreachable as e:
        return speaker.fail(UNREACHABLE, "unreachable", str(e))
    except Refused as e:
        return speaker.fail(UNREACHABLE if e.status >= 500 else USAGE, "refused", str(e))
    except KeyboardInterrupt:
        return speaker.fail(INTERRUPTED, "interrupted", "interrupted; what was asked for goes on")


def find_distribution(api: Api, base_path: str) -> Body | None:
    """What is served at a base path, or nothing."""
    results = api.get(DISTRIBUTIONS, base_path=base_path, limit=1)["results"]
    return results[0] if results else None


def get_distribution(api: Api, base_path: str) -> Body:
    """The same.

    Raises:
        UsageError: Nothing is served there.
    """
    found = find_distribution(api, base_path.strip("/"))
    if found is None:
        page = api.get(DISTRIBUTIONS, ordering="base_path", limit=10)
        there = ", ".join(str(row["base_path"]) for row in page["results"]) or "none"
        raise UsageError(f"there is no base path {base_path}; there are: {there}")
    return found


def version_number(href: str) -> int:
    """The number in a version's href."""
    return int(href.rstrip("/").rpartition("/")[2])


def kind_of(publication: Mapping[str, Any]) -> str:
    """``apt`` or ``verbatim``."""
    return "verbatim" if "/verbatim/" in publication["pulp_href"] else "apt"


def list_publications(api: Api, **of: str) -> Iterator[Body]:
    """Complete publications as a server ranks them: highest version first, then youngest."""
    rows = list(api.walk(PUBLICATIONS, **of))
    yield from sorted(rows, key=lambda row: -version_number(row["repository_version"]))


def find_served(api: Api, distribution: Body) -> Body | None:
    """The publication that a distribution serves now, or nothing."""
    if distribution["publication"]:
        return api.get(distribution["publication"])
    for target in ("repository_version", "repository"):
        if distribution[target]:
            return next(list_publications(api, **{target: distribution[target]}), None)
    return None


def publish(api: Api, kind: str, body: Body, speaker: Speaker) -> tuple[Body, Body]:
    """Make a publication, and show how it goes; it, and the task when it was over.

    Raises:
        TaskFailed: Nothing came of it.
    """
    task = api.ask(f"{PUBLICATIONS}deb/{kind}/", body)
    last: Body = {}
    with speaker.display() as display:
        for state in api.watch(task):
            if isinstance(state, Unreachable):
                display.note(f"{state}; asking again")
                continue
            last = state
            display.show(state)
    if last["state"] != "completed":
        raise TaskFailed(last)
    made = [href for href in last["created_resources"] if "/publications/" in href]
    return api.get(made[0]), last


def base_url(api: Api, distribution: Body) -> str:
    """The address of a base path, whole.

    Where the server was told no DEBFLEET_CONTENT_ORIGIN, content is taken to be on the API's host.
    """
    url = str(distribution["base_url"])
    if "://" in url:
        return url
    port = (os.environ.get("DEBFLEET_CONTENT_ADDRESS") or ":24816").rpartition(":")[2]
    scheme, _, rest = api.access.url.partition("://")
    host = rest.partition("/")[0]
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return f"{scheme}://{name}:{port}{url}"
