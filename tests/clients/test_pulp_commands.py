"""Every resource by the commands of pulp-cli and pulp-cli-deb: made, shown, changed, taken away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archive.debs import make_deb
from archive.faults import stall
from archive.upstream import Upstream
from clients.pulp import Pulp
from system.up import until


@pytest.fixture(scope="module")
def synced(pulp: Pulp, upstream: Upstream) -> str:
    """The name of a repository and its remote that hold all of upstream."""
    a_remote(pulp, upstream, "shared", "--policy", "on_demand")
    pulp("deb", "repository", "create", "--name", "shared", "--remote", "shared")
    pulp("deb", "repository", "sync", "--name", "shared")
    return "shared"


def a_remote(pulp: Pulp, upstream: Upstream, name: str, *more: str) -> dict[str, Any]:
    made: dict[str, Any] = pulp(
        "deb", "remote", "create", "--name", name, "--url", upstream.url,
        "--distribution", "stable", *more,
    )  # fmt: skip
    return made


def latest(pulp: Pulp, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = pulp("deb", "repository", "version", "show", "--repository", name)
    return shown


def test_a_remote_is_made_shown_listed_changed_labelled_and_destroyed(
    pulp: Pulp, upstream: Upstream
) -> None:
    made = a_remote(
        pulp, upstream, "r", "--policy", "streamed", "--component", "main", "--component",
        "contrib", "--architecture", "amd64", "--max-retries", "2", "--total-timeout", "30.5",
        "--rate-limit", "9", "--download-concurrency", "3", "--tls-validation", "false",
        "--username", "u", "--password", "p", "--labels", '{"env": "test"}',
    )  # fmt: skip
    of = ("--name", "r")

    assert (made["components"], made["architectures"]) == ("main contrib", "amd64")
    assert (made["max_retries"], made["total_timeout"], made["rate_limit"]) == (2, 30.5, 9)
    assert {h["name"]: h["is_set"] for h in made["hidden_fields"]}["password"] is True
    assert pulp("deb", "remote", "show", *of) == made
    assert pulp("deb", "remote", "list", "--label-select", "env=test", "--limit", "9") == [made]
    pulp("deb", "remote", "update", *of, "--policy", "on_demand", "--component", "")
    changed = pulp("deb", "remote", "show", "--href", made["pulp_href"])
    assert (changed["policy"], changed["components"]) == ("on_demand", None)
    pulp("deb", "remote", "update", *of, "--policy", "on_demand")
    assert pulp("deb", "remote", "show", *of) == changed
    pulp("deb", "remote", "label", "set", *of, "--key", "tier", "--value", "1")
    pulp("deb", "remote", "label", "unset", *of, "--key", "env")
    assert pulp("deb", "remote", "show", *of)["pulp_labels"] == {"tier": "1"}
    assert "unique" in pulp.refused(
        "deb", "remote", "create", *of, "--url", upstream.url, "--distribution", "stable"
    )
    assert "url" in pulp.refused("deb", "remote", "update", *of, "--url", "")
    pulp("deb", "remote", "destroy", *of)
    assert "Could not find" in pulp.refused("deb", "remote", "show", *of)


def test_a_repository_is_made_shown_listed_changed_labelled_and_destroyed(
    pulp: Pulp, upstream: Upstream
) -> None:
    remote = a_remote(pulp, upstream, "of-r")
    made = pulp(
        "deb", "repository", "create", "--name", "r", "--description", "d",
        "--retain-repo-versions", "3",
    )  # fmt: skip
    of = ("--name", "r")

    assert (made["description"], made["retain_repo_versions"]) == ("d", 3)
    assert pulp("deb", "repository", "show", *of) == made
    pulp("deb", "repository", "update", *of, "--description", "e", "--remote", "of-r")
    changed = pulp("deb", "repository", "show", *of)
    assert (changed["description"], changed["remote"]) == ("e", remote["pulp_href"])
    pulp("deb", "repository", "update", *of, "--description", "", "--remote", "")
    emptied = pulp("deb", "repository", "show", *of)
    assert (emptied["description"], emptied["remote"]) == (None, None)
    named = ("--repository", "r")
    pulp("deb", "repository", "label", "set", *named, "--key", "a", "--value", "b")
    assert pulp("deb", "repository", "list", "--label-select", "a=b")[0]["name"] == "r"
    assert pulp("deb", "repository", "label", "show", *named, "--key", "a") == "b"
    pulp("deb", "repository", "label", "unset", *named, "--key", "a")
    assert len(pulp("deb", "repository", "task", "list", *named)) >= 2
    pulp("deb", "repository", "destroy", *of)
    assert "Could not find" in pulp.refused("deb", "repository", "show", *of)


def test_a_publication_is_made_shown_listed_and_destroyed(pulp: Pulp, synced: str) -> None:
    made = pulp(
        "deb", "publication", "create", "--repository", synced, "--version", "1", "--simple"
    )
    verbatim = pulp("deb", "publication", "-t", "verbatim", "create", "--repository", synced)

    assert (made["simple"], made["structured"]) == (True, True)
    assert pulp("deb", "publication", "show", "--href", made["pulp_href"]) == made
    version = made["repository_version"]
    assert pulp("deb", "publication", "list", "--repository-version", version) == [made]
    assert pulp("deb", "publication", "-t", "verbatim", "list")[0] == verbatim
    for href, kind in ((made["pulp_href"], "apt"), (verbatim["pulp_href"], "verbatim")):
        pulp("deb", "publication", "-t", kind, "destroy", "--href", href)
        pulp.refused("deb", "publication", "-t", kind, "show", "--href", href)


def test_a_distribution_is_made_shown_listed_changed_labelled_and_destroyed(
    pulp: Pulp, synced: str
) -> None:
    made = pulp(
        "deb", "distribution", "create", "--name", "d", "--base-path", "some/where",
        "--repository", synced,
    )  # fmt: skip
    of = ("--name", "d")

    assert made["base_url"].endswith("/pulp/content/some/where/")
    assert pulp("deb", "distribution", "show", *of) == made
    assert pulp("deb", "distribution", "list", "--base-path", "some/where") == [made]
    publication = pulp("deb", "publication", "create", "--repository", synced)["pulp_href"]
    pulp(
        "deb", "distribution", "update", *of, "--base-path", "else", "--repository", "",
        "--publication", publication,
    )  # fmt: skip
    changed = pulp("deb", "distribution", "show", *of)
    assert (changed["base_path"], changed["publication"]) == ("else", publication)
    pulp("deb", "distribution", "label", "set", *of, "--key", "a", "--value", "b")
    listed = pulp("deb", "distribution", "list", "--label-select", "a", "--base-path-contains", "l")
    assert [one["name"] for one in listed] == ["d"]
    pulp("deb", "distribution", "label", "unset", *of, "--key", "a")
    refusal = pulp.refused(
        "deb", "distribution", "create", "--name", "e", "--base-path", "else/below"
    )
    assert "base_path" in refusal
    pulp("deb", "distribution", "destroy", *of)
    pulp.refused("deb", "distribution", "show", *of)


@pytest.mark.parametrize(
    ("kind", "count", "more"),
    [
        ("package", 4, []),
        ("package", 2, ["--package", "app"]),
        ("package", 1, ["--architecture", "all"]),
        ("package", 1, ["--essential", "yes"]),
        ("package_release_component", 4, []),
        ("release", 1, []),
        ("release", 1, ["--distribution", "stable"]),
        ("release_architecture", 2, []),
        ("release_component", 1, ["--component", "contrib"]),
        ("release_file", 1, []),
        ("generic_content", 0, []),
        ("installer_package", 0, []),
        ("installer_file_index", 0, []),
    ],
)
def test_content_of_every_type_is_listed_and_shown(
    pulp: Pulp, synced: str, kind: str, count: int, more: list[str]
) -> None:
    version = latest(pulp, synced)["pulp_href"]

    found = pulp("deb", "content", "-t", kind, "list", "--repository-version", version, *more)

    assert len(found) == count
    if found and not more:
        assert pulp("deb", "content", "-t", kind, "show", "--href", found[0]["pulp_href"])


def test_a_package_is_uploaded_into_a_repository_and_found_by_its_digest(
    pulp: Pulp, tmp_path: Path
) -> None:
    deb = tmp_path / "mine_1.0_amd64.deb"
    deb.write_bytes(make_deb("mine", "1.0", "amd64"))
    pulp("deb", "repository", "create", "--name", "uploads")

    made = pulp(
        "deb", "content", "upload", "--file", str(deb), "--repository", "uploads",
        "--distribution", "stable", "--component", "main",
    )  # fmt: skip

    assert (made["package"], made["version"]) == ("mine", "1.0")
    held = pulp("deb", "repository", "content", "list", "--repository", "uploads")
    assert [unit["pulp_href"] for unit in held] == [made["pulp_href"]]
    assert pulp("deb", "content", "show", "--sha256", made["sha256"]) == made
    chunked = tmp_path / "other_1.0_amd64.deb"
    chunked.write_bytes(make_deb("other", "1.0", "amd64", payload_size=4000))
    sent = pulp("deb", "content", "upload", "--file", str(chunked), "--chunk-size", "2000")
    assert sent["package"] == "other"


def test_units_are_added_to_and_removed_from_a_repository(pulp: Pulp, synced: str) -> None:
    pulp("deb", "repository", "create", "--name", "picked")
    of = ("--repository", "picked")
    units = pulp("deb", "repository", "content", "list", "--repository", synced)
    one, other = (json.dumps([{"pulp_href": unit["pulp_href"]}]) for unit in units[:2])

    pulp("deb", "repository", "content", "add", *of, "--package-href", units[0]["pulp_href"])
    pulp(
        "deb", "repository", "content", "modify", *of, "--add-content", other,
        "--remove-content", one,
    )  # fmt: skip

    held = pulp("deb", "repository", "content", "list", *of)
    assert [unit["pulp_href"] for unit in held] == [units[1]["pulp_href"]]
    pulp("deb", "repository", "content", "remove", *of, "--package-href", units[1]["pulp_href"])
    versions = pulp("deb", "repository", "version", "list", *of)
    assert [version["number"] for version in versions] == [3, 2, 1, 0]
    pulp("deb", "repository", "version", "repair", *of, "--version", "2")
    pulp("deb", "repository", "version", "destroy", *of, "--version", "2")
    numbers = [v["number"] for v in pulp("deb", "repository", "version", "list", *of)]
    assert numbers == [3, 1, 0]


def test_a_sync_takes_each_option(pulp: Pulp, upstream: Upstream, synced: str) -> None:
    pulp("deb", "repository", "create", "--name", "options")
    of = ("--name", "options")
    sync = ("deb", "repository", "sync", *of)
    a_remote(pulp, upstream, "only-contrib", "--component", "contrib", "--policy", "on_demand")

    said = pulp.refused(*sync)
    pulp(*sync, "--remote", synced)
    whole = latest(pulp, "options")
    pulp(*sync, "--remote", synced, "--optimize")
    again = latest(pulp, "options")
    pulp(*sync, "--remote", synced, "--no-optimize", "--no-mirror")
    pulp(*sync, "--remote", "only-contrib", "--mirror")
    mirrored = latest(pulp, "options")

    assert "does not have a default remote" in said
    assert whole["content_summary"]["present"]["deb.package"]["count"] == 4
    assert again["number"] == whole["number"]
    assert mirrored["content_summary"]["present"]["deb.package"]["count"] == 1


@pytest.fixture
def stalled(upstream: Upstream) -> Iterator[Upstream]:
    """Upstream, silent in the middle of its Release file until the test ends."""
    go = threading.Event()
    upstream.faults.append(stall("dists/stable/*Release*", 10, go))
    yield upstream
    go.set()
    upstream.faults.clear()


def test_a_task_is_listed_shown_and_cancelled(pulp: Pulp, stalled: Upstream) -> None:
    a_remote(pulp, stalled, "slow")
    pulp("deb", "repository", "create", "--name", "slow", "--remote", "slow")
    task = pulp.started("deb", "repository", "sync", "--name", "slow")
    until(lambda: pulp("task", "show", "--href", task)["state"] == "running", "it runs")

    running = pulp("task", "list", "--state", "running", "--name-contains", "synchronize")
    cancelled = pulp("task", "cancel", "--href", task)

    assert task in [one["pulp_href"] for one in running]
    assert cancelled is None or cancelled["state"] in ("canceling", "canceled")
    until(lambda: pulp("task", "show", "--href", task)["state"] == "canceled", "it is over")
    assert pulp("task", "show", "--uuid", task.rstrip("/").rpartition("/")[2])["pulp_href"] == task
    assert latest(pulp, "slow")["number"] == 0


def test_a_failed_sync_says_why(pulp: Pulp, upstream: Upstream) -> None:
    pulp(
        "deb", "remote", "create", "--name", "wrong", "--url", upstream.url,
        "--distribution", "nonsense",
    )  # fmt: skip
    pulp("deb", "repository", "create", "--name", "wrong", "--remote", "wrong")

    said = pulp.refused("deb", "repository", "sync", "--name", "wrong")

    assert "Could not find a Release file at" in said


def test_the_lists_of_the_whole_server_answer(pulp: Pulp, synced: str) -> None:
    assert pulp("status")["database_connection"] == {"connected": True}
    assert [w["name"] for w in pulp("worker", "list", "--online")]
    for command in ("repository", "content", "task", "artifact", "task-group", "signing-service",
                    "distribution", "publication", "remote"):  # fmt: skip
        assert isinstance(pulp(command, "list", "--limit", "2"), list), command
    assert pulp("task", "summary")
    repository = pulp("deb", "repository", "show", "--name", synced)
    assert pulp("show", "--href", repository["pulp_href"])["name"] == synced
    assert pulp("show", "--prn", repository["prn"])["name"] == synced
    assert pulp("repository", "version", "list", "--limit", "1")


def test_orphans_and_old_tasks_are_cleaned_up(pulp: Pulp) -> None:
    cleaned = pulp("orphan", "cleanup", "--protection-time", "0")
    purged = pulp("task", "purge", "--finished-before", "2020-01-01", "--state", "failed")

    for task in (cleaned, purged):
        assert task is None or task["state"] == "completed"


def test_space_is_reclaimed_and_a_task_is_shared(pulp: Pulp, synced: str) -> None:
    repository = pulp("deb", "repository", "show", "--name", synced)
    reclaimed = pulp("repository", "reclaim", "--repository", repository["pulp_href"])
    task = pulp("task", "list", "--name-contains", "reclaim_space", "--limit", "1")[0]
    roles = pulp("task", "role", "list", "--href", task["pulp_href"])

    assert reclaimed is None or reclaimed["state"] == "completed"
    assert task["state"] == "completed"
    assert roles == {"roles": []}
    assert [one["name"] for one in pulp("domain", "list")] == ["default"]
