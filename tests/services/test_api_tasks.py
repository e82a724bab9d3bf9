"""Tasks over the API: asked for, waiting, canceled, listed, forgotten."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from api_client import NOWHERE, REMOTES, REPOSITORIES, TASKS, TIME, V3, ApiClient, refused
from debfleet.changes import apply_change, read_change
from debfleet.db import tasks as task_rows
from debfleet.model import Tolerance

CID = "0123456789abcdef0123456789abcdef"
SYNC = "pulp_deb.app.tasks.synchronizing.synchronize"
REPORTS = [
    ("downloading.artifacts", "Downloading Artifacts"),
    ("update.release_file", "Update ReleaseFile units"),
    ("update.packageindex", "Update PackageIndex units"),
    ("associating.content", "Associating Content"),
]


def _sync(api: ApiClient, **more: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A repository, a remote, and a sync that no worker has seen yet."""
    repository, remote = api.repository(), api.remote()
    answer = api.post(f"{repository['pulp_href']}sync/", {"remote": remote["pulp_href"]}, **more)
    return repository, remote, api.task(answer)


def test_a_sync_that_was_asked_for_answers_with_every_field(shared_api: ApiClient) -> None:
    repository, remote, task = _sync(shared_api, headers={"Correlation-ID": CID})

    uuid = task["pulp_href"].removeprefix(TASKS).rstrip("/")
    for name in ("pulp_created", "pulp_last_updated", "unblocked_at"):
        assert TIME.fullmatch(task.pop(name))
    assert task.pop("reserved_resources_record")[:2] == [
        repository["prn"],
        f"shared:{remote['prn']}",
    ]
    assert task == {
        "pulp_href": f"{TASKS}{uuid}/",
        "prn": f"prn:core.task:{uuid}",
        "state": "waiting",
        "name": SYNC,
        "logging_cid": CID,
        "created_by": f"{V3}users/1/",
        "started_at": None,
        "finished_at": None,
        "error": None,
        "worker": None,
        "parent_task": None,
        "child_tasks": [],
        "task_group": None,
        "progress_reports": [
            {
                "message": message,
                "code": code,
                "state": "running",
                "total": None,
                "done": 0,
                "suffix": None,
            }
            for code, message in REPORTS
        ],
        "created_resources": [],
        "created_resource_prns": [],
        "result": None,
        "pulp_api_version": "v3",
    }


def test_the_first_job_of_a_sync_is_a_plan_and_is_rung(shared_api: ApiClient) -> None:
    repository, remote, task = _sync(shared_api)

    with shared_api.state.db.transaction() as tx:
        row = tx.execute(
            "SELECT j.kind, j.rung, t.kind AS task_kind, t.args FROM jobs j JOIN tasks t"
            " ON t.id = j.task WHERE t.uuid = %s",
            (task["prn"].rpartition(":")[2],),
        ).fetchone()
        ids = tx.execute(
            "SELECT r.id AS repository, m.id AS remote FROM repositories r, remotes m"
            " WHERE r.name = %s AND m.name = %s",
            (repository["name"], remote["name"]),
        ).fetchone()
    assert row is not None
    assert ids is not None
    assert (row["kind"], row["task_kind"]) == ("plan", "sync")
    assert row["rung"] is not None
    assert row["args"] == {**ids, "mirror": False, "optimize": True}


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ({}, {"remote": ["This field is required since a remote is not set on the repository."]}),
        (None, {"remote": ["This field is required since a remote is not set on the repository."]}),
        (
            {"remote": f"{REMOTES}{NOWHERE}/"},
            {"remote": ["Invalid hyperlink - Object does not exist."]},
        ),
        ({"remote": "nginx"}, {"remote": ["Invalid hyperlink - No URL match."]}),
        (
            {"remote": f"{TASKS}{NOWHERE}/"},
            {"remote": ["Invalid hyperlink - Incorrect URL match."]},
        ),
        ({"frob": 1}, {"frob": ["Unexpected field"]}),
        ({"mirror": "perhaps"}, {"mirror": ["Must be a valid boolean."]}),
    ],
)
def test_a_sync_that_cannot_be_asked_for_is_refused(
    shared_api: ApiClient, sent: object, answer: object
) -> None:
    path = f"{shared_api.repository()['pulp_href']}sync/"

    assert refused(shared_api.post(path, sent)) == answer


def test_a_sync_takes_the_repositorys_own_remote_or_one_by_url_or_by_prn(
    shared_api: ApiClient,
) -> None:
    remote = shared_api.remote()
    path = f"{shared_api.repository(remote=remote['prn'])['pulp_href']}sync/"

    bodies: list[object] = [None, {}, {"remote": f"http://elsewhere:1{remote['pulp_href']}"}]
    for body in [*bodies, {"remote": remote["prn"]}]:
        task = shared_api.task(shared_api.post(path, body))
        assert f"shared:{remote['prn']}" in task["reserved_resources_record"]


def test_a_sync_of_no_repository_is_404_and_a_get_is_405(shared_api: ApiClient) -> None:
    path = f"{REPOSITORIES}{NOWHERE}/sync/"

    refused(shared_api.post(path, {}), 404)
    answer = refused(shared_api.get(path), 405)
    assert answer == {"detail": 'Method "GET" not allowed.'}


def test_the_same_key_makes_the_same_task(shared_api: ApiClient) -> None:
    repository, remote, first = _sync(shared_api, headers={"Idempotency-Key": "k-1"})
    path, body = f"{repository['pulp_href']}sync/", {"remote": remote["pulp_href"]}

    again = shared_api.task(shared_api.post(path, body, headers={"Idempotency-Key": "k-1"}))
    other = shared_api.task(shared_api.post(path, body, headers={"Idempotency-Key": "k-2"}))
    wrong = shared_api.post(path, {**body, "mirror": True}, headers={"Idempotency-Key": "k-1"})

    assert again["pulp_href"] == first["pulp_href"]
    assert other["pulp_href"] != first["pulp_href"]
    assert "Idempotency-Key" in refused(wrong, 409)["detail"]


def test_a_request_that_comes_again_is_the_same_whatever_changed_meanwhile(
    shared_api: ApiClient,
) -> None:
    one, two = shared_api.remote(), shared_api.remote()
    repository = shared_api.repository(remote=one["pulp_href"])
    path, headers = f"{repository['pulp_href']}sync/", {"Idempotency-Key": "k-changed"}
    sent = '{"mirror": true, "optimize": false}'
    typed = {"content_type": "application/json", "headers": headers}

    first = shared_api.post(path, data=sent, **typed)
    shared_api.patch(repository["pulp_href"], {"remote": two["pulp_href"]})
    again = shared_api.post(path, data=sent, **typed)
    turned = shared_api.post(path, data='{"optimize":false,"mirror":true}', **typed)
    elsewhere = shared_api.post(f"{repository['pulp_href']}modify/", {}, headers=headers)

    assert first.json == again.json == turned.json
    refused(elsewhere, 409)


def test_keys_of_forms_are_told_apart_by_what_they_ask_for(shared_api: ApiClient) -> None:
    remote = shared_api.remote()
    repository = shared_api.repository(remote=remote["pulp_href"])
    path, headers = f"{repository['pulp_href']}sync/", {"Idempotency-Key": "k-form"}

    first = shared_api.post(path, data={"mirror": "true"}, headers=headers)
    again = shared_api.post(path, data={"mirror": "true"}, headers=headers)
    other = shared_api.post(path, data={"mirror": "false"}, headers=headers)

    assert (first.status_code, first.json) == (202, again.json)
    refused(other, 409)


def test_one_key_sent_at_once_by_many_makes_one_task(shared_api: ApiClient) -> None:
    repository, remote = shared_api.repository(), shared_api.remote()
    path, body = f"{repository['pulp_href']}sync/", {"remote": remote["pulp_href"]}
    headers = {"Idempotency-Key": "k" * 6000}

    with ThreadPoolExecutor(6) as pool:
        sent = [
            pool.submit(ApiClient(shared_api.app).post, path, body, headers=headers)
            for _ in range(6)
        ]
        answers = [s.result(timeout=60) for s in sent]

    assert {a.status_code for a in answers} == {202}
    assert len({(a.json or {})["task"] for a in answers}) == 1


def test_changes_sent_at_once_are_made_one_after_the_other(shared_api: ApiClient) -> None:
    path = shared_api.repository()["pulp_href"]

    with ThreadPoolExecutor(6) as pool:
        sent = [
            pool.submit(ApiClient(shared_api.app).patch, path, {"description": f"d{n}"})
            for n in range(12)
        ]
        tasks = [shared_api.task(s.result(timeout=60)) for s in sent]

    assert {t["state"] for t in tasks} == {"completed"}
    last = max(tasks, key=lambda t: str(t["result"]["pulp_last_updated"]))
    assert shared_api.get(path).json == last["result"]


def test_a_change_of_a_repository_that_syncs_waits_for_the_worker(shared_api: ApiClient) -> None:
    repository, _, sync = _sync(shared_api)
    path = repository["pulp_href"]

    task = shared_api.task(shared_api.patch(path, {"description": "while syncing"}))

    assert (task["state"], task["unblocked_at"]) == ("waiting", None)
    assert shared_api.get(path).json == repository
    shared_api.patch(sync["pulp_href"], {"state": "canceled"})
    unblocked = shared_api.get(task["pulp_href"]).json
    assert unblocked is not None
    assert unblocked["unblocked_at"] is not None
    with shared_api.state.db.transaction() as tx:
        uuid = task["prn"].rpartition(":")[2]
        row = tx.execute("SELECT args FROM tasks WHERE uuid = %s", (uuid,)).fetchone()
        assert row is not None
        apply_change(tx, read_change(row["args"]))
    after = shared_api.get(path).json
    assert after is not None
    assert after["description"] == "while syncing"


def test_a_sync_of_another_repository_does_not_wait(shared_api: ApiClient) -> None:
    _, remote, _ = _sync(shared_api)
    other = shared_api.repository(remote=remote["pulp_href"])

    task = shared_api.task(shared_api.post(f"{other['pulp_href']}sync/"))

    assert task["unblocked_at"] is not None


def test_a_canceled_task_ends_at_once_and_lets_the_next_one_start(shared_api: ApiClient) -> None:
    repository, remote, first = _sync(shared_api)
    body = {"remote": remote["pulp_href"]}
    second = shared_api.task(shared_api.post(f"{repository['pulp_href']}sync/", body))
    assert second["unblocked_at"] is None

    answer = shared_api.patch(first["pulp_href"], {"state": "canceled"})

    assert answer.status_code == 200
    ended = answer.json
    assert ended is not None
    assert (ended["state"], ended["error"]) == ("canceled", None)
    assert {r["state"] for r in ended["progress_reports"]} == {"canceled"}
    assert ended["finished_at"] is not None
    after = shared_api.get(second["pulp_href"]).json
    assert after is not None
    assert after["unblocked_at"] is not None
    assert shared_api.patch(first["pulp_href"], {"state": "canceled"}).status_code == 200


def test_a_completed_task_cannot_be_canceled(shared_api: ApiClient) -> None:
    href = shared_api.repository()["pulp_href"]
    task = shared_api.task(shared_api.patch(href, {"description": "d"}))

    assert refused(shared_api.patch(task["pulp_href"], {"state": "canceled"}), 409) == task


def test_nothing_but_canceled_can_be_asked_of_a_task(shared_api: ApiClient) -> None:
    _, _, task = _sync(shared_api)

    wrong = refused(shared_api.patch(task["pulp_href"], {"state": "completed"}))
    none = refused(shared_api.patch(task["pulp_href"], {}))
    missing = refused(shared_api.patch(f"{TASKS}{NOWHERE}/", {"state": "canceled"}), 404)

    assert wrong == {"state": ["The only acceptable value for 'state' is 'canceled'."]}
    assert none == {"state": ["This field is required."]}
    assert missing == {"detail": "No Task matches the given query."}


def test_a_task_can_be_forgotten_only_when_it_is_over(shared_api: ApiClient) -> None:
    _, _, task = _sync(shared_api)

    refused(shared_api.delete(task["pulp_href"]), 409)
    shared_api.patch(task["pulp_href"], {"state": "canceled"})
    gone = shared_api.delete(task["pulp_href"])

    assert (gone.status_code, gone.get_data()) == (204, b"")
    assert "Content-Type" not in gone.headers
    refused(shared_api.delete(task["pulp_href"]), 404)


def test_a_version_that_is_gone_is_unavailable_in_the_task_that_made_it(
    shared_api: ApiClient,
) -> None:
    repository, _, task = _sync(shared_api)
    version = shared_api.get(f"{repository['versions_href']}0/").json
    assert version is not None
    uuid = task["prn"].rpartition(":")[2]
    with shared_api.state.db.transaction() as tx:
        tx.execute(
            "UPDATE tasks SET created_resources = %s WHERE uuid = %s", ([version["prn"]], uuid)
        )

    before = shared_api.get(f"{task['pulp_href']}?fields=created_resources").json
    found = _names(shared_api, f"created_resources={version['pulp_href']}")
    shared_api.patch(task["pulp_href"], {"state": "canceled"})
    with shared_api.state.db.transaction() as tx:
        tx.execute(
            "UPDATE tasks SET created_resources = %s WHERE uuid = %s", ([version["prn"]], uuid)
        )
    shared_api.delete(repository["pulp_href"])
    fields = "?fields=created_resources,created_resource_prns"
    after = shared_api.get(f"{task['pulp_href']}{fields}").json

    assert before == {"created_resources": [version["pulp_href"]]}
    assert found == [SYNC]
    assert after == {
        "created_resources": ["<unavailable>"],
        "created_resource_prns": [version["prn"]],
    }


def _names(api: ApiClient, query: str) -> list[str]:
    body = api.get(f"{TASKS}?{query}").json
    assert body is not None, query
    return [t["name"] for t in body["results"]]


def test_tasks_are_found_by_what_they_reserve(shared_api: ApiClient) -> None:
    repository, remote, task = _sync(shared_api)

    for query in (
        f"reserved_resources={repository['pulp_href']}",
        f"reserved_resources={remote['prn']}",
        f"exclusive_resources={repository['prn']}",
        f"shared_resources={remote['pulp_href']}",
        f"shared_resources__in={remote['prn']},{REMOTES}{NOWHERE}/",
        f"pulp_href__in={task['pulp_href']}",
        f"prn__in={task['prn']}&state=waiting&name__contains=synchronize",
        f"reserved_resources={repository['prn']}&q=state=waiting AND NOT name=x",
        f"logging_cid={task['logging_cid']}",
        f"reserved_resources={repository['prn']}&state__in=waiting,running&name__ne=x",
        f"reserved_resources={repository['prn']}&started_at__isnull=true",
    ):
        assert _names(shared_api, query) == [SYNC], query
    for query in (
        f"exclusive_resources={remote['prn']}",
        f"shared_resources={repository['prn']}",
        f"reserved_resources={repository['prn']}&state=failed",
        f"reserved_resources={repository['prn']}&pulp_created__lt=2020-01-01",
        f"parent_task={task['pulp_href']}",
        f"worker={V3}workers/{NOWHERE}/",
    ):
        assert _names(shared_api, query) == [], query


def test_a_bad_filter_of_tasks_is_named(shared_api: ApiClient) -> None:
    state = refused(shared_api.get(f"{TASKS}?state=x"))
    time = refused(shared_api.get(f"{TASKS}?started_at__gt=yesterday"))
    resource = refused(shared_api.get(f"{TASKS}?reserved_resources=x"))
    group = refused(shared_api.get(f"{TASKS}?task_group=x"))
    frob = refused(shared_api.get(f"{TASKS}?frob=1"))
    minimal = refused(shared_api.get(f"{TASKS}?minimal=x"))

    text = "Select a valid choice. x is not one of the available choices."
    assert state == {"state": [text]}
    assert time == {"started_at__gt": ["Enter a valid date/time."]}
    assert resource == group == ["URI not valid: x"]
    assert frob == {"errors": ["Invalid Filter: 'frob'"]}
    assert minimal == {"minimal": ["Must be a valid boolean."]}


def test_a_minimal_list_has_few_fields(shared_api: ApiClient) -> None:
    _, _, task = _sync(shared_api)

    body = shared_api.get(f"{TASKS}?minimal=true&prn__in={task['prn']}").json

    assert body is not None
    assert body["results"][0].keys() == {
        "pulp_href", "prn", "pulp_created", "pulp_last_updated", "name", "state",
        "unblocked_at", "started_at", "finished_at", "worker", "pulp_api_version",
    }  # fmt: skip


def test_what_was_left_out_is_listed_in_the_report(shared_api: ApiClient) -> None:
    _, _, task = _sync(shared_api)
    left_out = [Tolerance("stanza_incomplete", "a/Packages", n, "no Filename") for n in (3, 9)]
    with shared_api.state.db.transaction() as tx:
        uuid = task["prn"].rpartition(":")[2]
        row = tx.execute("SELECT id FROM tasks WHERE uuid = %s", (uuid,)).fetchone()
        assert row is not None
        task_rows.add_tolerances(tx, row["id"], left_out, {"stanza_incomplete": 2})

    body = shared_api.get(f"{task['pulp_href']}report/?limit=1&offset=1").json
    shown = shared_api.get(task["pulp_href"]).json

    assert body is not None
    assert shown is not None
    assert body["count"] == 2
    assert body["previous"].endswith("report/?limit=1")
    assert body["results"] == [
        {"reason": "stanza_incomplete", "file": "a/Packages", "line": 9, "detail": "no Filename"}
    ]
    report = shown["progress_reports"][-1]
    assert (report["code"], report["done"]) == ("sync.skipped.stanza_incomplete", 2)
    refused(shared_api.get(f"{TASKS}{NOWHERE}/report/"), 404)


def test_a_failed_task_shows_its_error(shared_api: ApiClient) -> None:
    _, _, task = _sync(shared_api)
    error = {"description": "[DEB0001] Could not find a Release file", "traceback": ""}
    with shared_api.state.db.transaction() as tx:
        tx.execute(
            "UPDATE tasks SET state = 'failed', finished = now(), error = %s WHERE uuid = %s",
            (Jsonb(error), task["prn"].rpartition(":")[2]),
        )

    shown = shared_api.get(task["pulp_href"]).json

    assert shown is not None
    assert (shown["state"], shown["error"]) == ("failed", error)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ({"states": ["waiting"]}, {"states": ['"waiting" is not a valid choice.']}),
        ({"states": "completed"}, {"states": ['Expected a list of items but got type "str".']}),
        (
            {"finished_before": "soon"},
            {
                "finished_before": [
                    "Datetime has wrong format. Use one of these formats instead: "
                    "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
                ]
            },
        ),
    ],
)
def test_a_purge_that_cannot_be_is_refused(
    shared_api: ApiClient, sent: object, answer: object
) -> None:
    assert refused(shared_api.post(f"{TASKS}purge/", sent)) == answer


def test_a_purge_is_asked_for_with_a_date_and_states(shared_api: ApiClient) -> None:
    sent = {"finished_before": "2020-01-01", "states": ["failed", "completed"]}
    task = shared_api.task(shared_api.post(f"{TASKS}purge/", sent))
    plain = shared_api.task(shared_api.post(f"{TASKS}purge/"))

    assert task["name"] == "pulpcore.app.tasks.purge.purge"
    args = [_args(shared_api, t) for t in (task, plain)]
    assert args[0] == {
        "finished_before": "2020-01-01T00:00:00+00:00",
        "states": ["completed", "failed"],
    }
    assert args[1]["states"] == ["completed"]
    assert datetime.fromisoformat(args[1]["finished_before"]) < datetime.now(UTC)


def _args(api: ApiClient, task: dict[str, Any]) -> dict[str, Any]:
    with api.state.db.transaction() as tx:
        row = tx.execute(
            "SELECT args FROM tasks WHERE uuid = %s", (task["prn"].rpartition(":")[2],)
        ).fetchone()
    assert row is not None
    found: dict[str, Any] = row["args"]
    return found


def test_an_orphan_cleanup_holds_the_orphans_alone(shared_api: ApiClient) -> None:
    path = f"{V3}orphans/cleanup/"

    task = shared_api.task(shared_api.post(path, {"orphan_protection_time": 0}))
    old = shared_api.task(shared_api.delete(f"{V3}orphans/"))
    empty = refused(shared_api.post(path, {"content_hrefs": []}))
    unknown = refused(shared_api.post(path, {"content_hrefs": ["x"]}))

    assert task["name"] == "pulpcore.app.tasks.orphan.orphan_cleanup"
    assert task["reserved_resources_record"][0].endswith(":orphans")
    assert _args(shared_api, task) == {"protection_minutes": 0, "units": None}
    assert _args(shared_api, old) == {"protection_minutes": 1440, "units": None}
    assert empty == {"content_hrefs": ["Must not be []."]}
    assert list(unknown) == ["content_hrefs"]
