"""Make a repository ready for apt and serve it at a base path.

The newest version is published, signed, and served at the base path until the next publish; with
--autopublish later syncs publish what they bring, and the base path follows. A repository that
names no signing service gets `default`, a key that debfleet holds; it is made when it is missing
and this is the server's machine. When nothing would change, nothing is published.

exit status: 0 published or unchanged, 1 the task failed, 2 wrong usage or refused by the API,
3 the API cannot be reached, 130 interrupted.

examples:
  debfleet publish nginx.org-bookworm --base-path nginx
  debfleet sources nginx
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from debfleet_cli.client import DISTRIBUTIONS, REPOSITORIES, SIGNING_SERVICES, Api, Body
from debfleet_cli.keys import DEFAULT, make_default
from debfleet_cli.outcome import Outcome, Speaker
from debfleet_cli.place import add_data_argument
from debfleet_cli.published import (
    GOOD,
    UsageError,
    base_url,
    call_api,
    find_distribution,
    find_served,
    kind_of,
    publish,
    version_number,
)

_LAYOUTS = ("nested_alphabetically", "nested_by_digest", "nested_by_both")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet publish``."""
    parser.add_argument("repository", metavar="REPOSITORY", help="its name")
    parser.add_argument(
        "--base-path", metavar="PATH", help="where it is served (default: the repository's name)"
    )
    parser.add_argument(
        "--version", metavar="N", type=int, help="serve this version, and no newer one by itself"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--verbatim", action="store_true", help="upstream's own files, signed by upstream"
    )
    kind.add_argument(
        "--simple", action="store_true",
        help="all packages in one distribution `default`, component `all`",
    )  # fmt: skip
    parser.add_argument("--layout", choices=_LAYOUTS, help="of the pool")
    signing = parser.add_mutually_exclusive_group()
    signing.add_argument(
        "--signing-service", metavar="NAME", help="signs this repository from now on"
    )
    signing.add_argument("--unsigned", action="store_true", help="without signatures")
    parser.add_argument(
        "--autopublish", action="store_true",
        help="let later syncs publish what they bring, and the base path follow",
    )  # fmt: skip
    parser.add_argument(
        "--update", action="store_true", help="take the base path from another repository"
    )
    parser.add_argument("--force", action="store_true", help="publish also if nothing changed")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of prose")
    add_data_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Publish and serve; returns the exit status."""
    speaker = Speaker(is_json=args.json, command="publish")
    return call_api(speaker, lambda api: _published(api, args, speaker))


def _published(api: Api, args: argparse.Namespace, speaker: Speaker) -> int:
    repository = api.find(REPOSITORIES, args.repository)
    if repository is None:
        there = ", ".join(api.list_names(REPOSITORIES)) or "none"
        raise UsageError(f"there is no repository {args.repository}; there are: {there}")
    path = (args.base_path or default_path(repository["name"])).strip("/")
    distribution = find_distribution(api, path)
    _check_owner(api, repository, distribution, is_update=args.update)
    changes = _changes(api, args, repository, speaker)
    if changes:
        api.settle(api.patch(repository["pulp_href"], changes))
        repository = api.get(repository["pulp_href"])
    body = _wanted(api, args, repository)
    kind = "verbatim" if args.verbatim else "apt"
    target = _target(api, args, repository, distribution)
    held = _unchanged(api, repository, distribution, kind, body) if not args.force else None
    follows = distribution is not None and distribution["repository"] is not None
    if held is not None and distribution is not None and follows == (target == "repository"):
        speaker.put(_json("unchanged", held, distribution))
        speaker.say(f"unchanged: {base_url(api, distribution)} serves {_shown(repository, held)}")
        return GOOD
    publication, task = publish(api, kind, body, speaker)
    wanted: Body = {"repository": None, "repository_version": None, "publication": None}
    wanted[target] = (repository if target == "repository" else publication)["pulp_href"]
    distribution = _serve(api, repository, distribution, path, wanted)
    speaker.put(_json("published", publication, distribution) | {"task": task["pulp_href"]})
    seconds = Outcome(task, repository, None).seconds
    speaker.say(f"published: {_shown(repository, publication)}, in {seconds:.1f} s")
    speaker.say(f"  {base_url(api, distribution)}\n  for its clients: debfleet sources {path}")
    return GOOD


def default_path(name: str) -> str:
    """A repository's name as a base path."""
    return re.sub(r"[^\w.+~/-]+", "-", name).strip("/-") or "repository"


def _check_owner(api: Api, repository: Body, distribution: Body | None, *, is_update: bool) -> None:
    """A base path that clients know does not change its repository by a slip."""
    if distribution is None or is_update:
        return
    owner = distribution["repository"]
    if distribution["repository_version"]:
        owner = str(distribution["repository_version"]).partition("versions/")[0]
    if distribution["publication"]:
        owner = api.get(distribution["publication"])["repository"]
    if owner and owner != repository["pulp_href"]:
        name = api.get(owner)["name"]
        raise UsageError(
            f"{distribution['base_path']} serves the repository {name}; give another --base-path, "
            "or --update to serve this one there"
        )


def _changes(api: Api, args: argparse.Namespace, repository: Body, speaker: Speaker) -> Body:
    """What the repository is to say from now on."""
    found: Body = {}
    if args.autopublish and not repository["autopublish"]:
        found["autopublish"] = True
        speaker.say(f"{repository['name']} publishes what later syncs bring")
    if args.unsigned and _is_signed(repository):
        raise UsageError(
            f"{repository['name']} names a signing service; without --unsigned it is used"
        )
    if args.verbatim or args.unsigned:
        return found
    if args.signing_service is None and _is_signed(repository):
        return found
    service = _service(api, args.signing_service, repository, args.data)
    if service["pulp_href"] != repository["signing_service"]:
        found["signing_service"] = service["pulp_href"]
        speaker.say(
            f"{repository['name']} is signed with {service['name']} from now on: key "
            f"{service['pubkey_fingerprint']}"
        )
    return found


def _is_signed(repository: Body) -> bool:
    return bool(repository["signing_service"] or repository["signing_service_release_overrides"])


def _service(api: Api, name: str | None, repository: Body, data: Path | None) -> Body:
    found = api.find(SIGNING_SERVICES, name or DEFAULT)
    if found is None and name is None:
        make_default(api.access.url, repository, data)
        found = api.find(SIGNING_SERVICES, DEFAULT)
    if found is None:
        there = ", ".join(api.list_names(SIGNING_SERVICES)) or "none"
        raise UsageError(f"there is no signing service {name or DEFAULT}; there are: {there}")
    return found


def _wanted(api: Api, args: argparse.Namespace, repository: Body) -> Body:
    body: Body = {"repository": repository["pulp_href"]}
    if args.version is not None:
        version = f"{repository['versions_href']}{args.version}/"
        api.get(version)
        body = {"repository_version": version}
    if args.verbatim:
        return body
    body |= {"simple": args.simple, "structured": not args.simple}
    return body | ({"layout": args.layout} if args.layout else {})


def _target(api: Api, args: argparse.Namespace, repository: Body, distribution: Body | None) -> str:
    """Whether the base path follows the repository, or serves just what is published now.

    Whoever follows serves whatever is published of the repository: clients would see it turn from
    one form into another.
    """
    href = repository["pulp_href"]
    if not (args.verbatim or args.simple or args.version is not None):
        is_following = distribution is not None and distribution["repository"] == href
        return "repository" if repository["autopublish"] or is_following else "publication"
    others = [
        str(row["base_path"])
        for row in api.walk(DISTRIBUTIONS, repository=href)
        if distribution is None or row["base_path"] != distribution["base_path"]
    ]
    if others and not args.update:
        raise UsageError(
            f"{', '.join(others)} follows {repository['name']} and would serve this too; "
            "--update allows it"
        )
    return "publication"


def _unchanged(
    api: Api, repository: Body, distribution: Body | None, kind: str, body: Body
) -> Body | None:
    """What is served, if that is what would be published: then clients are left in peace."""
    served = None if distribution is None else find_served(api, distribution)
    if served is None or "repository_version" in body or kind_of(served) != kind:
        return None
    is_same = (
        served["repository_version"] == repository["latest_version_href"]
        and served["pulp_created"] > repository["pulp_last_updated"]
        and all(served[name] == body[name] for name in body if name in served)
    )
    return served if is_same else None


def _serve(api: Api, repository: Body, distribution: Body | None, path: str, target: Body) -> Body:
    """Let the base path serve it."""
    if distribution is not None:
        api.settle(api.patch(distribution["pulp_href"], target))
        return api.get(distribution["pulp_href"])
    name = path if api.find(DISTRIBUTIONS, path) is None else f"{path} ({repository['name']})"
    api.settle({"task": api.ask(DISTRIBUTIONS, {"name": name, "base_path": path, **target})})
    made = find_distribution(api, path)
    assert made is not None
    return made


def _shown(repository: Body, publication: Body) -> str:
    return f"{repository['name']}, version {version_number(publication['repository_version'])}"


def _json(word: str, publication: Body, distribution: Body) -> Body:
    return {
        "outcome": word,
        "publication": publication["pulp_href"],
        "version": version_number(publication["repository_version"]),
        "distribution": {
            "name": distribution["name"],
            "href": distribution["pulp_href"],
            "base_path": distribution["base_path"],
            "base_url": distribution["base_url"],
        },
    }
