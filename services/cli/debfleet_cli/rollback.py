"""Serve an earlier version at a base path again.

apt passes over a Release that is older than the one it has. So the earlier version is published
anew, with the date of now, and the base path serves this publication until `debfleet publish` (or
a change of the distribution) lets it follow its repository again.

exit status: as of `debfleet publish`.
"""

from __future__ import annotations

import argparse

from debfleet_cli.client import Api, Body, Refused
from debfleet_cli.outcome import Speaker
from debfleet_cli.published import (
    GOOD,
    UsageError,
    base_url,
    call_api,
    find_served,
    get_distribution,
    kind_of,
    list_publications,
    publish,
    version_number,
)

# What of a publication its successor has too.
_KEPT = ("simple", "structured", "layout", "publish_legacy_release_files")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet rollback``."""
    parser.add_argument("base_path", metavar="BASE_PATH")
    parser.add_argument(
        "--to", metavar="N", type=int, help="this version (default: the one published before)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of prose")


def run(args: argparse.Namespace) -> int:
    """Roll back; returns the exit status."""
    speaker = Speaker(is_json=args.json, command="rollback")
    return call_api(speaker, lambda api: _rolled_back(api, args.base_path, args.to, speaker))


def _rolled_back(api: Api, base_path: str, to: int | None, speaker: Speaker) -> int:
    distribution = get_distribution(api, base_path)
    served = find_served(api, distribution)
    if served is None:
        raise UsageError(f"{base_path} serves nothing yet: there is nothing to go back from")
    now = version_number(served["repository_version"])
    wanted = _earlier(api, served, now) if to is None else to
    if wanted == now:
        raise UsageError(f"{base_path} serves version {now} already")
    publication = _publication(api, served, wanted, speaker)
    target = {"publication": publication["pulp_href"], "repository": None}
    api.settle(api.patch(distribution["pulp_href"], {**target, "repository_version": None}))
    repository = api.get(served["repository"])["name"]
    speaker.put(
        {
            "outcome": "rolled back",
            "publication": publication["pulp_href"],
            "version": wanted,
            "before": now,
            "distribution": distribution["pulp_href"],
        }
    )
    speaker.say(
        f"rolled back: {base_url(api, distribution)} serves version {wanted}; it was {now}\n"
        f"  and stays there until: debfleet publish {repository} "
        f"--base-path {distribution['base_path']}"
    )
    return GOOD


def _earlier(api: Api, served: Body, now: int) -> int:
    rows = list_publications(api, repository=served["repository"])
    numbers = [version_number(row["repository_version"]) for row in rows]
    found = max((number for number in numbers if number < now), default=None)
    if found is None:
        raise UsageError(
            f"no version before {now} was published; --to names one of "
            f"{api.get(served['repository'])['versions_href']}"
        )
    return found


def _publication(api: Api, served: Body, number: int, speaker: Speaker) -> Body:
    """The version as it is to be served: as what is served now, but younger."""
    version = f"{served['repository']}versions/{number}/"
    kind = kind_of(served)
    if kind == "verbatim":
        for row in list_publications(api, repository_version=version):
            if kind_of(row) == kind:
                speaker.say("clients that saw the newer one keep its lists until upstream's next")
                return row
    body: Body = {"repository_version": version}
    body |= {name: served[name] for name in _KEPT if name in served}
    if served.get("signing_service"):
        body["signing_service"] = served["signing_service"]
    try:
        publication, _ = publish(api, kind, body, speaker)
    except Refused as e:
        if e.status == 400 and "repository_version" in str(e.body):
            raise UsageError(f"there is no version {number} (any more)") from None
        raise
    return publication
