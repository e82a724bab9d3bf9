"""Remotes over the API: what is made, shown, changed, refused; and what is never shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from api_client import (
    NOWHERE,
    REMOTES,
    TIME,
    ApiClient,
    a_name,
    made,
    refused,
    remote_fields,
)
from archive.keys import SigningKey
from debfleet.guards import GUARDS

HIDDEN = ("client_key", "proxy_username", "proxy_password", "username", "password")
_NAME = "This field may not be blank."


def test_a_new_remote_answers_with_every_field_of_the_contract(shared_api: ApiClient) -> None:
    name = a_name()
    sent = {"name": name, "url": "http://127.0.0.1/debian/", "distributions": "ragnarok nosuite"}

    body = made(shared_api.post(REMOTES, sent))

    href = body["pulp_href"]
    uuid = href.removeprefix(REMOTES).rstrip("/")
    assert TIME.fullmatch(body.pop("pulp_created"))
    assert TIME.fullmatch(body.pop("pulp_last_updated"))
    assert body == {
        "pulp_href": href,
        "prn": f"prn:deb.aptremote:{uuid}",
        "name": name,
        "url": "http://127.0.0.1/debian/",
        "pulp_labels": {},
        "policy": "immediate",
        "hidden_fields": [{"name": n, "is_set": False} for n in HIDDEN],
        "ca_cert": None,
        "client_cert": None,
        "tls_validation": True,
        "proxy_url": None,
        "max_retries": None,
        "total_timeout": None,
        "connect_timeout": None,
        "sock_connect_timeout": None,
        "sock_read_timeout": None,
        "headers": None,
        "download_concurrency": 20,
        "rate_limit": None,
        "distributions": "ragnarok nosuite",
        "components": None,
        "architectures": None,
        "sync_sources": False,
        "sync_udebs": False,
        "sync_installer": False,
        "gpgkey": None,
        "ignore_missing_package_indices": False,
        "excluded_package_metadata_fields": [],
        "vanishing": "leave",
        **{f"guard_{name}": None for name in GUARDS},
    }


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ({"url": None}, {"url": ["This field may not be null."]}),
        ({"url": ""}, {"url": [_NAME]}),
        ({"name": ""}, {"name": [_NAME]}),
        (
            {"url": "file:///etc/"},
            {"url": ["The path '/etc/' does not start with any of the allowed import paths"]},
        ),
        (
            {"url": "http://u:p@127.0.0.1/debian/"},
            {
                "url": [
                    "The remote url contains username or password. "
                    "Please use remote username or password instead."
                ]
            },
        ),
        ({"distributions": ""}, {"distributions": [_NAME]}),
        ({"distributions": None}, {"distributions": ["This field may not be null."]}),
        ({"distributions": ["a", "b"]}, {"distributions": ["Not a valid string."]}),
        ({"components": ""}, {"components": [_NAME]}),
        (
            {"architectures": "amd64,i386"},
            {
                "architectures": [
                    "Invalid architecture token 'amd64,i386'. Use architecture names such as "
                    "'amd64', 'amd64v3', 'arm64', or 'all'."
                ]
            },
        ),
        ({"architectures": "a a"}, {"architectures": ["Duplicate architecture token 'a'."]}),
        ({"vanishing": "never"}, {"vanishing": ['"never" is not a valid choice.']}),
        ({"guard_replay": "never"}, {"guard_replay": ['"never" is not a valid choice.']}),
        ({"guard_shrink": True}, {"guard_shrink": ['"true" is not a valid choice.']}),
        ({"policy": "lazy"}, {"policy": ['"lazy" is not a valid choice.']}),
        ({"policy": None}, {"policy": ["This field may not be null."]}),
        ({"sync_sources": "perhaps"}, {"sync_sources": ["Must be a valid boolean."]}),
        ({"frobnicate": 1}, {"frobnicate": ["Unexpected field"]}),
        (
            {"download_concurrency": 0},
            {"download_concurrency": ["Ensure this value is greater than or equal to 1."]},
        ),
        ({"total_timeout": "soon"}, {"total_timeout": ["A valid number is required."]}),
        (
            {"sock_read_timeout": -1},
            {"sock_read_timeout": ["Ensure this value is greater than or equal to 0."]},
        ),
        (
            {"proxy_url": "http://u:p@127.0.0.1:1/"},
            {"proxy_url": ["proxy_url must not contain credentials"]},
        ),
        ({"headers": {"a": "b"}}, {"headers": ['Expected a list of items but got type "dict".']}),
        (
            {"headers": [{"X-A": "a\r\nHost: b"}]},
            {"headers": ["The value of header 'X-A' must be one line of text."]},
        ),
        ({"ca_cert": "pem"}, {"ca_cert": ["No PEM certificate was found in this text."]}),
    ],
)
def test_a_bad_field_is_named(
    shared_api: ApiClient, sent: dict[str, object], answer: dict[str, list[str]]
) -> None:
    assert refused(shared_api.post(REMOTES, remote_fields(**sent))) == answer


def test_all_bad_fields_are_named_at_once(shared_api: ApiClient) -> None:
    sent = {"url": "ftp://x", "policy": "lazy", "frob": 1, "architectures": "a a"}

    answer = refused(shared_api.post(REMOTES, sent))

    assert answer == {
        "name": ["This field is required."],
        "distributions": ["This field is required."],
        "policy": ['"lazy" is not a valid choice.'],
        "architectures": ["Duplicate architecture token 'a'."],
        "frob": ["Unexpected field"],
    }


@pytest.mark.parametrize("key", ["no key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n"])
def test_a_gpgkey_that_is_no_key_is_refused_when_the_remote_is_made(
    shared_api: ApiClient, key: str
) -> None:
    answer = refused(shared_api.post(REMOTES, remote_fields(gpgkey=key)))

    assert list(answer) == ["gpgkey"]


def test_a_gpgkey_is_shown_as_it_was_given(shared_api: ApiClient) -> None:
    public = SigningKey.generate().public

    assert shared_api.remote(gpgkey=public)["gpgkey"] == public.strip()


@pytest.mark.parametrize("url", ["ftp://example.org/debian", "foo"])
def test_a_url_that_cannot_be_fetched_is_accepted(shared_api: ApiClient, url: str) -> None:
    assert shared_api.remote(url=url)["url"] == url


def test_texts_are_trimmed_at_their_ends_only(shared_api: ApiClient) -> None:
    body = shared_api.remote(url="  http://127.0.0.1/ ", distributions="  a   b\n c ")

    assert body["url"] == "http://127.0.0.1/"
    assert body["distributions"] == "a   b\n c"


def test_secrets_are_never_shown_and_are_sealed_in_their_columns(shared_api: ApiClient) -> None:
    secret = "hunter2-of-this-test"
    given = {
        "username": secret, "password": secret, "client_key": secret,
        "proxy_url": "http://127.0.0.1:1/", "proxy_username": secret, "proxy_password": secret,
    }  # fmt: skip

    body = shared_api.remote(**given)
    task = shared_api.task(shared_api.patch(body["pulp_href"], {"password": f"{secret}2"}))

    assert body["hidden_fields"] == [{"name": n, "is_set": True} for n in HIDDEN]
    shown = json.dumps([body, task, shared_api.get(body["pulp_href"]).json])
    assert secret not in shown
    with shared_api.state.db.transaction() as tx:
        row = tx.execute("SELECT * FROM remotes WHERE name = %s", (body["name"],)).fetchone()
        args = tx.execute("SELECT args::text FROM tasks WHERE kind = 'change'").fetchall()
    assert row is not None
    assert secret not in str(row) + str(args)
    assert shared_api.state.sealer.open(row["password"]) == f"{secret}2"


def test_sending_a_secret_again_changes_nothing(shared_api: ApiClient) -> None:
    href = shared_api.remote(username="u", password="p")["pulp_href"]

    same = shared_api.patch(href, {"password": "p"})
    other = shared_api.patch(href, {"password": "q"})

    assert (same.status_code, other.status_code) == (200, 202)


def test_a_username_without_a_password_is_accepted_but_not_at_a_proxy(
    shared_api: ApiClient,
) -> None:
    body = shared_api.remote(username="u")
    lonely = refused(shared_api.post(REMOTES, remote_fields(proxy_username="u")))
    nowhere = {"proxy_username": "u", "proxy_password": "p"}
    homeless = refused(shared_api.post(REMOTES, remote_fields(**nowhere)))

    assert {"name": "username", "is_set": True} in body["hidden_fields"]
    assert list(lonely) == ["non_field_errors"]
    assert list(homeless) == ["non_field_errors"]


def test_of_a_certificate_only_the_certificate_is_kept(shared_api: ApiClient) -> None:
    pem = _certificate()

    body = shared_api.remote(ca_cert=f"some words\n\n{pem}\n\nand more", client_cert=pem)

    assert body["ca_cert"] == pem
    assert body["client_cert"] == pem
    broken = pem.replace("M", "N")
    assert list(refused(shared_api.post(REMOTES, remote_fields(ca_cert=broken)))) == ["ca_cert"]


def test_the_rest_of_the_fields_comes_back_as_given(shared_api: ApiClient) -> None:
    given: dict[str, Any] = {
        "policy": "on_demand", "sync_sources": True, "components": "main contrib",
        "architectures": "amd64 all", "headers": [{"X-A": "b"}], "rate_limit": 10,
        "total_timeout": 5.5, "max_retries": 0, "download_concurrency": 3,
        "tls_validation": False, "pulp_labels": {"team": "x", "empty": None},
        "ignore_missing_package_indices": True, "proxy_url": "http://127.0.0.1:1/",
    }  # fmt: skip

    body = shared_api.remote(**given)

    assert {k: body[k] for k in given} == given


def test_a_patch_with_a_bad_value_names_it_and_changes_nothing(shared_api: ApiClient) -> None:
    body = shared_api.remote()

    policy = refused(shared_api.patch(body["pulp_href"], {"policy": "x", "components": "c"}))
    dists = refused(shared_api.patch(body["pulp_href"], {"distributions": None}))

    assert policy == {"policy": ['"x" is not a valid choice.']}
    assert dists == {"distributions": ["This field may not be null."]}
    assert shared_api.get(body["pulp_href"]).json == body


def test_a_put_resets_the_policy_and_keeps_the_components(shared_api: ApiClient) -> None:
    body = shared_api.remote(policy="on_demand", components="asgard", pulp_labels={"a": "b"})
    needed = {k: body[k] for k in ("name", "url", "distributions")}

    missing = refused(shared_api.put(body["pulp_href"], {"name": body["name"]}))
    task = shared_api.task(shared_api.put(body["pulp_href"], needed))

    assert missing == {
        "url": ["This field is required."],
        "distributions": ["This field is required."],
    }
    assert task["result"]["policy"] == "immediate"
    assert task["result"]["components"] == "asgard"
    assert task["result"]["pulp_labels"] == {"a": "b"}


def test_a_deleted_remote_is_gone_from_its_repositories(shared_api: ApiClient) -> None:
    remote = shared_api.remote()
    repository = shared_api.repository(remote=remote["pulp_href"])

    task = shared_api.task(shared_api.delete(remote["pulp_href"]))

    assert task["state"] == "completed"
    assert task["result"] == {"core.Remote": 1, "deb.AptRemote": 1}
    after = shared_api.get(f"{repository['pulp_href']}?fields=name,remote").json
    assert after == {"name": repository["name"], "remote": None}
    answer = refused(shared_api.get(remote["pulp_href"]), 404)
    assert answer == {"detail": "No AptRemote matches the given query."}
    refused(shared_api.delete(f"{REMOTES}{NOWHERE}/"), 404)


def test_fields_can_be_chosen_also_those_that_are_hidden(shared_api: ApiClient) -> None:
    body = shared_api.remote()
    without = "?exclude_fields=gpgkey,client_key&exclude_fields=ca_cert"

    some = shared_api.get(f"{body['pulp_href']}?fields=name,url").json
    none = shared_api.get(f"{body['pulp_href']}?fields=frob").json
    rest = shared_api.get(f"{body['pulp_href']}{without}").json

    assert some == {"name": body["name"], "url": body["url"]}
    assert none == {}
    assert rest is not None
    assert rest.keys() == body.keys() - {"gpgkey", "ca_cert"}
    assert [h["name"] for h in rest["hidden_fields"]] == list(HIDDEN[1:])


def _certificate() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "debfleet tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(Encoding.PEM).decode()


def test_a_guard_is_set_and_goes_back_to_its_default_by_itself(shared_api: ApiClient) -> None:
    body = made(shared_api.post(REMOTES, {**remote_fields(), "guard_replay": "off"}))
    href = body["pulp_href"]
    assert (body["guard_replay"], body["guard_shrink"]) == ("off", None)

    same = shared_api.patch(href, {"guard_replay": "off"})
    changed = shared_api.patch(href, {"guard_shrink": "refuse"})
    after = shared_api.get(href).json
    shared_api.patch(href, {"guard_replay": None})

    assert (same.status_code, changed.status_code) == (200, 202)
    assert (after["guard_replay"], after["guard_shrink"]) == ("off", "refuse")
    last = shared_api.get(href).json
    assert (last["guard_replay"], last["guard_shrink"]) == (None, "refuse")
