"""Where a fetch may go, and what it shows to whom: addresses, redirects, secrets, TLS, proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archive import faults
from archive.tls import Authority, server_context
from archive.upstream import Upstream
from debfleet.config import Network, Settings
from debfleet.errors import (
    ConnectionFailed,
    DebfleetError,
    HttpStatusError,
    NetworkRefused,
    ProxyRefused,
    TlsFailed,
    UnsupportedUrl,
    UpstreamError,
)
from debfleet.fetch import Access, Wanted, access_of, fetch_files, fetch_small
from debfleet.fetch.addresses import check_address
from debfleet.fetch.connection import shown_url
from debfleet.model import Remote
from debfleet.sealed import Sealer
from debfleet.store import Store
from fetching import Allowance, Proxy, access

BODY = b"Suite: stable\n"
ONLY_TEN = (ipaddress.ip_network("10.0.0.0/8"),)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def www(tmp_path: Path) -> Path:
    (tmp_path / "www/sub").mkdir(parents=True)
    (tmp_path / "www/Release").write_bytes(BODY)
    (tmp_path / "www/sub/Release").write_bytes(BODY)
    return tmp_path / "www"


@pytest.fixture
def upstream(www: Path) -> Iterator[Upstream]:
    with Upstream(www) as served:
        yield served


@pytest.fixture
def elsewhere(www: Path) -> Iterator[Upstream]:
    """Another port, so another host as far as secrets go."""
    with Upstream(www) as served:
        yield served


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(("pat", "pr:oxy ü")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxies_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def fetch(url: str | Access, path: str = "Release", **more: Any) -> bytes | None:
    how = url if isinstance(url, Access) else access(url, **more)
    return fetch_small(how, [Wanted(path, None, None)], Allowance())[path]


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fe80::1",
        "fe80::1%2",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ],
)
def test_link_local_and_metadata_addresses_are_refused_always(address: str) -> None:
    everything: tuple[Network, ...] = (
        ipaddress.ip_network("0.0.0.0/0"),
        ipaddress.ip_network("::/0"),
    )
    for networks in ((), everything):
        with pytest.raises(NetworkRefused, match="never fetched from"):
            check_address("some.host", address, networks)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "151.101.2.132", "2a04::644"])
def test_any_other_address_is_allowed_by_default(address: str) -> None:
    check_address("some.host", address, ())


def test_the_operators_networks_narrow_it(upstream: Upstream) -> None:
    check_address("some.host", "10.1.2.3", ONLY_TEN)
    check_address("some.host", "::ffff:10.1.2.3", ONLY_TEN)
    for address in ("127.0.0.1", "11.0.0.1", "::1"):
        with pytest.raises(NetworkRefused, match="DEBFLEET_UPSTREAM_NETWORKS"):
            check_address("some.host", address, ONLY_TEN)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://169.254.43518/",
    ],
)
def test_an_address_is_refused_however_it_is_written(url: str) -> None:
    with pytest.raises(UnsupportedUrl):
        fetch(url)


def test_what_a_name_resolves_to_is_judged(upstream: Upstream) -> None:
    url = f"http://localhost:{upstream.port}/"

    with pytest.raises(NetworkRefused, match=r"Connecting to localhost at .* is refused"):
        fetch(url, networks=ONLY_TEN)

    assert upstream.connections == 0
    assert fetch(url, networks=(ipaddress.ip_network("127.0.0.0/8"),)) == BODY


def test_a_refused_address_ends_a_call_for_many_files(store: Store) -> None:
    wanted = [Wanted(f"{n}", None, None) for n in range(50)]

    with pytest.raises(NetworkRefused):
        fetch_files(access("http://169.254.169.254/"), wanted, store, Allowance())


@pytest.mark.parametrize("url", ["ftp://host/", "gopher://host/", "host/debian", "http:///x", ""])
def test_only_http_https_and_file_are_known(url: str) -> None:
    with pytest.raises(UnsupportedUrl):
        fetch(url)


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(upstream: Upstream, elsewhere: Upstream, code: int) -> None:
    upstream.faults.append(faults.redirect("Release", f"{elsewhere.url}sub/Release", code))

    assert fetch(upstream.url) == BODY
    assert elsewhere.paths() == ["sub/Release"]


def test_a_redirect_may_be_relative(upstream: Upstream) -> None:
    upstream.faults.append(faults.redirect("Release", "sub/Release"))

    assert fetch(upstream.url) == BODY


def test_a_redirect_is_taken_as_it_is_quoted(upstream: Upstream, elsewhere: Upstream) -> None:
    target = f"{elsewhere.url}a%2Bb~%7e%253a+ (é)"
    upstream.faults.append(faults.redirect("*", target.encode().decode("latin-1")))

    assert fetch(upstream.url) is None
    assert elsewhere.requests[0].target == "/a%2Bb~%7e%253a+%20(%C3%A9)"


def test_five_redirects_are_followed_and_six_are_not(upstream: Upstream) -> None:
    upstream.faults.append(faults.redirect("Release", "/Release", times=5))
    assert fetch(upstream.url) == BODY
    upstream.clear()

    upstream.faults.append(faults.redirect("Release", "/Release"))
    with pytest.raises(UpstreamError, match="more than 5 redirects"):
        fetch(upstream.url)

    assert len(upstream.requests) == 6  # and no second try


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://169.254.169.254/latest", "never fetched from"),
        ("file:///etc/passwd", "only http and https"),
        ("ftp://127.0.0.1/", "only http and https"),
    ],
)
def test_a_redirect_to_a_forbidden_place_is_refused(
    upstream: Upstream, target: str, why: str
) -> None:
    upstream.faults.append(faults.redirect("*", target))

    with pytest.raises(UnsupportedUrl, match=why):
        fetch(upstream.url)


def test_a_redirect_without_a_place_fails(upstream: Upstream) -> None:
    upstream.faults.append(faults.status("*", 302))

    with pytest.raises(UpstreamError, match="redirect without a Location"):
        fetch(upstream.url)


def test_a_redirect_from_https_to_http_is_refused(
    www: Path, elsewhere: Upstream, authority: Authority
) -> None:
    with Upstream(www, tls=server_context(authority.issue())) as secure:
        secure.faults.append(faults.redirect("*", f"{elsewhere.url}Release"))
        with pytest.raises(UnsupportedUrl, match="https to http is refused"):
            fetch(secure.url, ca_cert=authority.cert)

    assert elsewhere.requests == []


# --- secrets --------------------------------------------------------------------------------------


def test_a_password_is_sent_without_being_asked_for(www: Path) -> None:
    with Upstream(www, credentials=("pat", "pässword:1")) as upstream:
        assert fetch(upstream.url, username="pat", password="pässword:1") == BODY
        assert [r.status for r in upstream.requests] == [200]


def test_a_wrong_password_is_refused_at_once(www: Path) -> None:
    with Upstream(www, credentials=("pat", "password")) as upstream:
        with pytest.raises(HttpStatusError) as caught:
            fetch(upstream.url, username="pat", password="another")

        assert caught.value.status == 401
        assert len(upstream.requests) == 1


def test_a_password_in_the_url_is_used_and_never_shown(www: Path) -> None:
    with Upstream(www, credentials=("pat", "sesame")) as upstream:
        url = upstream.url.replace("//", "//pat:sesame@")
        assert fetch(url) == BODY
        upstream.faults.append(faults.status("*", 403))
        with pytest.raises(HttpStatusError) as caught:
            fetch(url)

    assert "sesame" not in str(caught.value)


def test_headers_of_the_remote_are_sent_to_its_own_host(upstream: Upstream) -> None:
    headers = (("X-Token", "secret"), ("User-Agent", "mirror of ACME"), ("Range", "bytes=0-1"))
    upstream.faults.append(faults.redirect("Release", "/sub/Release"))

    fetch(upstream.url, headers=headers, username="pat", password="password")

    for request in upstream.requests:
        assert request.headers["x-token"] == "secret"
        assert request.headers["authorization"].startswith("Basic ")
        assert request.headers["user-agent"].startswith("debfleet/")
        assert request.headers["user-agent"].endswith(" mirror of ACME")
        assert "range" not in request.headers


def test_no_secret_follows_a_redirect_to_another_host(
    upstream: Upstream, elsewhere: Upstream
) -> None:
    upstream.faults.append(faults.redirect("*", f"{elsewhere.url}Release"))

    fetch(
        upstream.url, headers=(("X-Token", "secret"),), username="pat", password="password"
    )  # fmt: skip

    [request] = elsewhere.requests
    assert "x-token" not in request.headers
    assert "authorization" not in request.headers
    assert request.headers["user-agent"].startswith("debfleet/")


def test_a_header_cannot_hold_another(upstream: Upstream) -> None:
    with pytest.raises(UnsupportedUrl, match="line break"):
        fetch(upstream.url, headers=(("X-Token", "a\r\nHost: other"),))

    assert upstream.requests == []


def test_cookies_are_not_kept(upstream: Upstream) -> None:
    def apply(reply: faults.Reply) -> None:
        reply.headers["Set-Cookie"] = "who=you"

    upstream.faults.append(faults.Fault("*", apply))
    wanted = [Wanted("Release", None, None), Wanted("sub/Release", None, None)]
    fetch_small(access(upstream.url), wanted, Allowance(slots=1))

    assert len(upstream.requests) == 2
    assert all("cookie" not in r.headers for r in upstream.requests)


def test_a_query_of_the_remotes_url_is_kept_and_not_shown(upstream: Upstream) -> None:
    assert fetch(f"{upstream.url}?token=sesame") == BODY
    assert upstream.requests[0].target == "/Release?token=sesame"
    upstream.faults.append(faults.status("*", 403))

    with pytest.raises(HttpStatusError) as caught:
        fetch(f"{upstream.url}?token=sesame")

    assert str(caught.value) == f"403, message='Forbidden', url='{upstream.url}Release?…'"


def test_shown_urls_hold_no_secrets() -> None:
    assert shown_url("http://u:p@host:81/a%20b?k=v") == "http://host:81/a%20b?…"
    assert shown_url("http://host/a~b%2Bc") == "http://host/a~b%2Bc"


def test_an_access_shows_no_secret() -> None:
    shown = repr(
        access(
            "http://host/",
            username="pat",
            password="sesame1",
            headers=(("X", "sesame2"),),
            client_key="sesame3",
            proxy_password="sesame4",
        )
    )

    assert "sesame" not in shown


# --- TLS ------------------------------------------------------------------------------------------


def test_a_certificate_of_the_remotes_own_authority_is_accepted(
    www: Path, authority: Authority
) -> None:
    with Upstream(www, tls=server_context(authority.issue())) as upstream:
        assert fetch(upstream.url, ca_cert=authority.cert) == BODY


def test_an_unknown_authority_is_refused_at_once(www: Path, authority: Authority) -> None:
    with Upstream(www, tls=server_context(authority.issue())) as upstream:
        with pytest.raises(TlsFailed, match=f"certificate of 127.0.0.1:{upstream.port} is not"):
            fetch(upstream.url)

        assert upstream.connections == 1


@pytest.mark.parametrize(("name", "days"), [("other.example", 1), ("127.0.0.1", -1)])
def test_a_wrong_name_and_an_expired_certificate_are_refused(
    www: Path, authority: Authority, name: str, days: int
) -> None:
    with (
        Upstream(www, tls=server_context(authority.issue(name, days=days))) as upstream,
        pytest.raises(TlsFailed, match="is not accepted"),
    ):
        fetch(upstream.url, ca_cert=authority.cert)


def test_without_validation_any_certificate_will_do(www: Path, authority: Authority) -> None:
    with Upstream(www, tls=server_context(authority.issue("other.example", days=-1))) as upstream:
        assert fetch(upstream.url, tls_validation=False) == BODY


def test_a_client_certificate_is_shown_to_who_asks_for_it(www: Path, authority: Authority) -> None:
    tls = server_context(authority.issue(), client_ca=authority.cert)
    ours = authority.issue("client.example")
    with Upstream(www, tls=tls) as upstream:
        assert (
            fetch(
                upstream.url,
                ca_cert=authority.cert,
                client_cert=ours.cert,
                client_key=ours.key,
            )
            == BODY
        )
        # Its alert comes after our side of the handshake, and a reset may overtake it.
        with pytest.raises((TlsFailed, ConnectionFailed)):
            fetch(upstream.url, ca_cert=authority.cert)


@pytest.mark.parametrize("client_key", ["", "no key", None])
def test_a_client_certificate_without_its_key_says_so(
    www: Path, authority: Authority, client_key: str | None
) -> None:
    ours = authority.issue("client.example")
    with (
        Upstream(www, tls=server_context(authority.issue())) as upstream,
        pytest.raises(TlsFailed, match="client_cert and client_key do not fit"),
    ):
        fetch(upstream.url, client_cert=ours.cert, client_key=client_key)


def test_a_ca_cert_that_is_none_says_so(www: Path, authority: Authority) -> None:
    with (
        Upstream(www, tls=server_context(authority.issue())) as upstream,
        pytest.raises(TlsFailed, match="ca_cert cannot be read"),
    ):
        fetch(upstream.url, ca_cert="no certificate")


def test_https_spoken_to_an_http_server_is_told_as_such(upstream: Upstream) -> None:
    with pytest.raises(TlsFailed, match="no TLS connection"):
        fetch(upstream.url.replace("http:", "https:"))


# --- proxies --------------------------------------------------------------------------------------


def through(proxy: Proxy, **more: Any) -> dict[str, Any]:
    return {
        "proxy_url": proxy.url,
        "proxy_username": "pat",
        "proxy_password": "pr:oxy ü",
        **more,
    }


def test_a_proxy_is_used_with_its_password(upstream: Upstream, proxy: Proxy) -> None:
    assert fetch(upstream.url, **through(proxy), username="u", password="p") == BODY

    assert proxy.targets == [f"{upstream.url}Release"]
    assert "proxy-authorization" not in upstream.requests[0].headers


def test_a_proxy_tunnels_https_and_does_not_see_the_remotes_secrets(
    www: Path, proxy: Proxy, authority: Authority
) -> None:
    with Upstream(www, tls=server_context(authority.issue()), credentials=("u", "p")) as upstream:
        how = through(proxy, ca_cert=authority.cert, username="u", password="p")
        assert fetch(upstream.url, **how) == BODY

        assert proxy.targets == [f"127.0.0.1:{upstream.port}"]
        assert "authorization" not in proxy.headers[0]


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_proxy_that_wants_another_password_is_told_as_such(
    www: Path, proxy: Proxy, authority: Authority, is_secure: bool
) -> None:
    tls = server_context(authority.issue()) if is_secure else None
    with Upstream(www, tls=tls) as upstream:
        with pytest.raises(ProxyRefused, match="407") as caught:
            fetch(upstream.url, **through(proxy, proxy_password="wrong"))

        assert upstream.requests == []
    assert "wrong" not in str(caught.value)
    assert len(proxy.targets) == 1


def test_a_proxy_that_is_not_there_fails(upstream: Upstream) -> None:
    with pytest.raises(UpstreamError, match=r"Cannot connect to host 127\.0\.0\.1:1 "):
        fetch(upstream.url, proxy_url="http://127.0.0.1:1")


def test_a_proxy_is_no_way_around_the_refused_addresses(proxy: Proxy) -> None:
    for url in ("http://169.254.169.254/", "http://2852039166/"):
        with pytest.raises(NetworkRefused):
            fetch(url, **through(proxy))
    with pytest.raises(NetworkRefused):
        fetch("http://127.0.0.1:1/", proxy_url="http://169.254.169.254:80")
    with pytest.raises(NetworkRefused, match="only the proxy knows its address"):
        fetch("http://no-such-host.invalid/", **through(proxy, networks=_LOOPBACK))

    assert proxy.targets == []


_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def test_a_proxy_of_the_environment_is_used(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(("e", "nv")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//e:nv@"))

        assert fetch(upstream.url) == BODY
        assert proxy.targets == [f"{upstream.url}Release"]

        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert fetch(upstream.url) == BODY
        assert len(proxy.targets) == 1


def test_a_remotes_own_proxy_wins_over_that_of_the_environment(
    upstream: Upstream, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    assert fetch(upstream.url, **through(proxy)) == BODY


def test_an_unknown_kind_of_proxy_is_refused(upstream: Upstream) -> None:
    with pytest.raises(UnsupportedUrl, match="only http and https proxies"):
        fetch(upstream.url, proxy_url="socks5://127.0.0.1:1")


# --- from a remote's row --------------------------------------------------------------------------


def test_an_access_is_made_from_a_remote_with_its_secrets_opened(sealer: Sealer) -> None:
    settings = Settings(upstream_networks=ONLY_TEN, allowed_import_paths=("/srv",))
    remote = Remote(
        **dict.fromkeys(Remote.__slots__)
        | {
            "url": "http://host/debian",
            "tls_validation": False,
            "username": sealer.seal("pat"),
            "password": sealer.seal("password"),
            "client_key": sealer.seal("key"),
            "proxy_username": sealer.seal("proxy"),
            "headers": [{"X-One": "1"}, {"X-Two": "2"}],
            "max_retries": 0,
            "rate_limit": 7,
        }
    )

    made = access_of(remote, sealer, settings)

    assert (made.username, made.password) == ("pat", "password")
    assert (made.client_key, made.proxy_username) == ("key", "proxy")
    assert made.headers == (("X-One", "1"), ("X-Two", "2"))
    assert (made.max_retries, made.rate_limit, made.tls_validation) == (0, 7, False)
    assert made.networks == ONLY_TEN
    assert made.allowed_import_paths == ("/srv",)


def test_every_refusal_is_an_error_of_ours() -> None:
    for url in ("http://127.0.0.1:1/", "http://[::1", "http://host:99999/", "http://a b/", "x:"):
        with pytest.raises(DebfleetError):
            fetch(url)
