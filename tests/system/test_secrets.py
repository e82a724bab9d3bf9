"""No secret that was put in comes out: not in logs, tasks, errors, answers, metrics, or a dump."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import httpx
import psycopg

import servers
from archive.proxy import Proxy
from archive.upstream import Upstream
from debfleet_cli.client import REMOTES, V3, Api
from debfleet_cli.ports import free_port
from system.fleet import PASSWORD, Fleet, add_pair, finished, running, start_sync
from system.publishing import changed
from system.small import DIST, write_small

_PAGES = (
    "tasks",
    "remotes/deb/apt",
    "repositories/deb/apt",
    "signing-services",
    "workers",
    "status",
)


def test_no_secret_comes_out_anywhere(
    postgres: servers.PostgresForTests, template_url: str, tmp_path: Path
) -> None:
    write_small(tmp_path / "archive", packages=1)
    (tmp_path / "store").mkdir()
    url = postgres.database(template_url)
    metrics = free_port()
    environ = {
        "DEBFLEET_LOG_LEVEL": "DEBUG",
        "DEBFLEET_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
    }
    names = ("username", "password", "proxy_username", "proxy_password")
    wrong = {name: f"{name}-{secrets.token_hex(8)}" for name in names}
    right = {name: f"{name}-{secrets.token_hex(8)}" for name in names}
    later = f"later-{secrets.token_hex(8)}"
    login = (right["username"], right["password"])
    proxy_login = (right["proxy_username"], right["proxy_password"])
    fleet = Fleet(url, f"file://{tmp_path}/store", tmp_path, environ={})
    with (
        Upstream(tmp_path / "archive", credentials=login) as upstream,
        Proxy(credentials=proxy_login) as proxy,
        running(fleet),
    ):
        fleet.start_api()
        fleet.start_sweep()
        fleet.environ = environ
        fleet.start_worker()
        with fleet.client() as api:
            fleet.command("keys", "create", "k")
            remotes = {"distributions": DIST, "proxy_url": proxy.url, "max_retries": 0}
            states = []
            for number, given in enumerate((right, wrong, right | {"password": "x" + later})):
                _, repository = add_pair(api, f"r{number}", upstream.url, **remotes, **given)
                states.append(finished(api, start_sync(api, repository))["state"])
            found = api.find(REMOTES, "r0")
            assert found is not None
            changed(api, found["pulp_href"], {"password": later})
            api.post(f"{found['pulp_href']}set_label/", {"key": "a", "value": "b"})
            everything = {
                "answers": "\n".join(_answers(fleet, api)),
                "metrics": httpx.get(f"http://127.0.0.1:{metrics}/metrics", trust_env=False).text,
            }
        fleet.stop()
    everything["dump"] = _dump(url)
    everything["logs"] = "\n".join(p.read_text() for p in tmp_path.glob("*.log"))
    postgres.drop(url)

    assert states == ["completed", "failed", "failed"]
    assert all(len(text) > 500 for text in everything.values())
    known = {*wrong.values(), *right.values(), later, fleet.secret_key, PASSWORD}
    known |= {_basic(*login), _basic(*proxy_login), "PRIVATE KEY"}
    out = [
        (where, secret)
        for where, text in everything.items()
        for secret in known
        for form in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode())
        if form in text
    ]
    assert out == []


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _answers(fleet: Fleet, api: Api) -> list[str]:
    """Every list, and each task by itself."""
    answers = []
    with httpx.Client(base_url=fleet.url, auth=("admin", PASSWORD), trust_env=False) as client:
        for page in _PAGES:
            answer = client.get(f"{V3}{page}/", params={"limit": 100})
            assert answer.status_code == 200, answer.text
            answers.append(answer.text)
        for task in api.get(f"{V3}tasks/", limit=100)["results"]:
            answers += [client.get(task["pulp_href"] + more).text for more in ("", "report/")]
    return answers


def _dump(url: str) -> str:
    """Every row of every table, as text."""
    with psycopg.connect(url) as db:
        rows = db.execute(
            "select quote_ident(table_name) from information_schema.tables "
            "where table_schema = 'public' and table_type = 'BASE TABLE' order by 1"
        ).fetchall()
        text = ""
        for (table,) in rows:
            with db.cursor().copy(f"copy {table} to stdout") as copy:  # type: ignore[arg-type]
                text += b"".join(bytes(block) for block in copy).decode()
    return text
