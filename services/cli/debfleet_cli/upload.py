"""Add packages of your own to a repository.

Every file is sent in pieces and read by a worker; then all of them come into the repository in one
new version. If one file is no package, none of them does. (A user who may change just that
repository gets a version for each file.) The repository is made if there is none of that name.
`debfleet publish` shows the new version to apt.

exit status: 0 all are in the repository, 1 a file was refused or the task failed, 2 wrong usage or
refused by the API, 3 the API cannot be reached, 130 interrupted.

examples:
  debfleet upload hello_1.0_amd64.deb --repository ours
  debfleet upload *.deb --repository ours --distribution bookworm --component main
"""

from __future__ import annotations

import argparse
from pathlib import Path

from debfleet_cli.client import REPOSITORIES, V3, Api, Body, Refused, Unreachable, failure_text
from debfleet_cli.outcome import Outcome, Speaker, count_lines
from debfleet_cli.published import FAILED, GOOD, UsageError, call_api

_UPLOADS = V3 + "uploads/"
_PACKAGES = V3 + "content/deb/packages/"
_CHUNK = 32 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``debfleet upload``."""
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a .deb")
    parser.add_argument("--repository", metavar="NAME", required=True, help="where it goes")
    parser.add_argument(
        "--distribution", metavar="NAME", default="pulp",
        help="what apt's lines call it: bookworm (default: pulp)",
    )  # fmt: skip
    parser.add_argument(
        "--component", metavar="NAME", default="upload", help="main (default: upload)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of prose")


def run(args: argparse.Namespace) -> int:
    """Upload, then add; returns the exit status."""
    speaker = Speaker(is_json=args.json, command="upload")
    return call_api(speaker, lambda api: _uploaded(api, args, speaker))


def _uploaded(api: Api, args: argparse.Namespace, speaker: Speaker) -> int:
    for file in args.files:
        if not file.is_file():
            raise UsageError(f"{file} is no file")
    try:
        return _all_at_once(api, args, speaker)
    except Refused as e:
        if e.status != 403:
            raise
    return _one_by_one(api, args, speaker)


def _all_at_once(api: Api, args: argparse.Namespace, speaker: Speaker) -> int:
    """Units first, then one version with all of them."""
    tasks = {file: _watched(api, _sent(api, file, {})) for file in args.files}
    refused = _report(tasks, speaker)
    if refused:
        text = f"{refused}\nnothing came into {args.repository}"
        return speaker.fail(FAILED, "failed", text)
    packages = [task["result"] for task in tasks.values()]
    return _added(api, args, _repository(api, args.repository, speaker), packages, speaker)


def _one_by_one(api: Api, args: argparse.Namespace, speaker: Speaker) -> int:
    """For a user whose right is to this repository alone: each file makes a version."""
    repository = _repository(api, args.repository, speaker)
    where = {
        "repository": repository["pulp_href"],
        "distribution": args.distribution,
        "component": args.component,
    }
    tasks = {file: _watched(api, _sent(api, file, where)) for file in args.files}
    refused = _report(tasks, speaker)
    if refused:
        return speaker.fail(FAILED, "failed", refused)
    packages = [task["result"] for task in tasks.values()]
    version = api.get(api.get(repository["pulp_href"])["latest_version_href"])
    last = list(tasks.values())[-1]
    speaker.put(_json("uploaded", repository, version, packages, last))
    speaker.say(f"uploaded: {repository['name']} is at version {version['number']} now")
    return GOOD


def _report(tasks: dict[Path, Body], speaker: Speaker) -> str:
    """Say what became of each file; the text of those that were refused."""
    refused = []
    for file, task in tasks.items():
        if task["state"] == "completed":
            speaker.say(f"{file}: {_shown(task['result'])}")
        else:
            refused.append(f"{file}: {failure_text(task)}")
    return "\n".join(refused)


def _repository(api: Api, name: str, speaker: Speaker) -> Body:
    repository = api.find(REPOSITORIES, name)
    if repository is None:
        repository = api.post(REPOSITORIES, {"name": name})
        speaker.say(f"made the repository {name}")
    return repository


def _added(
    api: Api, args: argparse.Namespace, repository: Body, packages: list[Body], speaker: Speaker
) -> int:
    body = {
        "add_content_units": [package["pulp_href"] for package in packages],
        "distribution": args.distribution,
        "component": args.component,
    }
    task = _watched(api, api.ask(repository["pulp_href"] + "modify/", body))
    if task["state"] != "completed":
        return speaker.fail(FAILED, "failed", failure_text(task), task=task["pulp_href"])
    hrefs = [href for href in task["created_resources"] if "/versions/" in href]
    version = api.get(hrefs[0]) if hrefs else None
    outcome = "uploaded" if version else "unchanged"
    speaker.put(_json(outcome, repository, version, packages, task))
    name = repository["name"]
    if version is None:
        speaker.say(f"unchanged: {name} holds them already")
        return GOOD
    seconds = Outcome(task, repository, version).seconds
    speaker.say(f"uploaded: {name} is at version {version['number']} now, in {seconds:.1f} s")
    for line in count_lines(version):
        speaker.say(line)
    return GOOD


def _json(
    outcome: str, repository: Body, version: Body | None, packages: list[Body], task: Body
) -> Body:
    return {
        "outcome": outcome,
        "repository": {"name": repository["name"], "href": repository["pulp_href"]},
        "version": version and {"number": version["number"], "href": version["pulp_href"]},
        "packages": [package["pulp_href"] for package in packages],
        "task": task["pulp_href"],
    }


def _sent(api: Api, file: Path, where: Body) -> str:
    """Send a file; the href of the task that reads it."""
    size = file.stat().st_size
    upload = str(api.post(_UPLOADS, {"size": size})["pulp_href"])
    with file.open("rb") as opened:
        start = 0
        while chunk := opened.read(_CHUNK):
            api.put_chunk(upload, start, chunk, size)
            start += len(chunk)
    return api.ask(_PACKAGES, {"upload": upload, **where})


def _watched(api: Api, task: str) -> Body:
    """The task in its final state."""
    last: Body = {}
    for state in api.watch(task):
        if not isinstance(state, Unreachable):
            last = state
    return last


def _shown(package: Body) -> str:
    return f"{package['package']} {package['version']} {package['architecture']}"
