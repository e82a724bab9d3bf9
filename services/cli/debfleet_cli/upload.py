"""Add packages of your own to a repository.

Every file is sent in pieces and read by a worker; then all of them come into the repository in one
new version. If one file is no package, none of them does. The repository is made if there is none
of that name. `debfleet publish` shows the new version to apt.

exit status: 0 all are in the repository, 1 a file was refused or the task failed, 2 wrong usage or
refused by the API, 3 the API cannot be reached, 130 interrupted.

examples:
  debfleet upload hello_1.0_amd64.deb --repository ours
  debfleet upload *.deb --repository ours --distribution bookworm --component main
"""

from __future__ import annotations

import argparse
from pathlib import Path

from debfleet_cli.client import REPOSITORIES, V3, Api, Body, Unreachable, failure_text
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
    packages: list[Body] = []
    refused: list[str] = []
    for file in args.files:
        task = _watched(api, _sent(api, file))
        if task["state"] == "completed":
            packages.append(task["result"])
            speaker.say(f"{file}: {_shown(task['result'])}")
        else:
            refused.append(f"{file}: {failure_text(task)}")
    if refused:
        lines = "\n".join(refused)
        return speaker.fail(FAILED, "failed", f"{lines}\nnothing came into {args.repository}")
    repository = api.find(REPOSITORIES, args.repository)
    if repository is None:
        repository = api.post(REPOSITORIES, {"name": args.repository})
        speaker.say(f"made the repository {args.repository}")
    return _added(api, args, repository, packages, speaker)


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
    speaker.put(
        {
            "outcome": "uploaded" if version else "unchanged",
            "repository": {"name": repository["name"], "href": repository["pulp_href"]},
            "version": version and {"number": version["number"], "href": version["pulp_href"]},
            "packages": [package["pulp_href"] for package in packages],
            "task": task["pulp_href"],
        }
    )
    name = repository["name"]
    if version is None:
        speaker.say(f"unchanged: {name} holds them already")
        return GOOD
    seconds = Outcome(task, repository, version).seconds
    speaker.say(f"uploaded: {name} is at version {version['number']} now, in {seconds:.1f} s")
    for line in count_lines(version):
        speaker.say(line)
    return GOOD


def _sent(api: Api, file: Path) -> str:
    """Send a file; the href of the task that reads it."""
    size = file.stat().st_size
    upload = str(api.post(_UPLOADS, {"size": size})["pulp_href"])
    with file.open("rb") as opened:
        start = 0
        while chunk := opened.read(_CHUNK):
            api.put_chunk(upload, start, chunk, size)
            start += len(chunk)
    return api.ask(_PACKAGES, {"upload": upload})


def _watched(api: Api, task: str) -> Body:
    """The task in its final state."""
    last: Body = {}
    for state in api.watch(task):
        if not isinstance(state, Unreachable):
            last = state
    return last


def _shown(package: Body) -> str:
    return f"{package['package']} {package['version']} {package['architecture']}"
