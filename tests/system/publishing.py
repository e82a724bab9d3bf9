"""What tests of publishing ask of a fleet: sync, publish, serve, and apt in front of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import servers
from debfleet_cli.apt_client import AptClient, find_apt
from debfleet_cli.client import V3, Api, Body, failure_text
from system.fleet import Fleet, finished, running

PUBLICATIONS = V3 + "publications/deb/apt/"
VERBATIM = V3 + "publications/deb/verbatim/"
DISTRIBUTIONS = V3 + "distributions/deb/apt/"
SIGNING_SERVICES = V3 + "signing-services/"


@contextmanager
def serving_fleet(
    postgres: servers.PostgresForTests, template_url: str, **environ: str
) -> Iterator[Fleet]:
    """An API, a sweeper, a worker and a content service on a database of their own."""
    folder = Path(tempfile.mkdtemp(prefix="serve-"))
    (folder / "store").mkdir()
    url = postgres.database(template_url)
    try:
        fleet = Fleet(url, f"file://{folder}/store", folder, environ=environ)
        with running(fleet):
            fleet.start_content()
            yield fleet.start()
    finally:
        postgres.drop(url)
        shutil.rmtree(folder)


def need_apt() -> None:
    """Without apt: skipped at home, failed in CI."""
    if find_apt() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no apt-get here")


def asked(api: Api, path: str, body: Body) -> Body:
    """Ask for a task, which must end well; returns what it made, if anything."""
    task = api.post(path, body)["task"]
    return _made(api, task)


def changed(api: Api, path: str, body: Body) -> None:
    """Change an object, at once or by a task."""
    api.settle(api.patch(path, body))


def publish(api: Api, repository: Body, path: str = PUBLICATIONS, **body: Any) -> Body:
    """Publish the repository's latest version; returns the publication."""
    if "repository_version" not in body:
        body["repository"] = repository["pulp_href"]
    return asked(api, path, body)


def distribute(api: Api, base_path: str, **target: Any) -> Body:
    """A distribution named as its base path."""
    return asked(api, DISTRIBUTIONS, {"name": base_path, "base_path": base_path, **target})


def new_key(fleet: Fleet, api: Api, name: str) -> Body:
    """A signing service whose key debfleet made and holds."""
    fleet.command("keys", "create", name)
    service = api.find(SIGNING_SERVICES, name)
    assert service is not None
    return service


def get(url: str, status: int = 200) -> bytes:
    """The body of a file that is served."""
    answer = httpx.get(url, timeout=30, trust_env=False)
    assert answer.status_code == status, (url, answer.status_code, answer.text[:200])
    return answer.content


def clean_update(client: AptClient, options: dict[str, str] | None = None) -> str:
    """apt-get update, which must be well; returns what it said."""
    ran = client.update(options)
    assert ran.is_clean, ran.text
    return ran.text


def _made(api: Api, task: str) -> Body:
    state = finished(api, task)
    assert state["state"] == "completed", failure_text(state)
    return api.get(state["created_resources"][0]) if state["created_resources"] else {}
