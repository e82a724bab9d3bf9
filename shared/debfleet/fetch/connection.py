"""One remote over HTTP: its session, its secrets kept to itself, redirects, TLS, proxies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.metadata
import os
import socket
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib import request as environment
from urllib.parse import quote

import aiohttp
from yarl import URL

from debfleet.errors import NetworkRefused, TlsFailed, UnsupportedUrl, UpstreamError
from debfleet.fetch.access import Access
from debfleet.fetch.addresses import GuardedResolver, check_address, literal_address

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECT_SECONDS = 30.0
_STALL_SECONDS = 60.0


def shown_url(url: str | URL) -> str:
    """A URL as it may stand in a message: without its password, and without its query."""
    whole = url if isinstance(url, URL) else URL(url, encoded=True)
    bare = whole.with_user(None) if whole.raw_user or whole.raw_password else whole
    return f"{str(bare).split('?')[0]}?…" if bare.raw_query_string else str(bare)


def stall_seconds(access: Access) -> float | None:
    """How long no byte may come before a try ends; None: for ever."""
    return _limit(access.sock_read_timeout, _STALL_SECONDS)


@dataclass(frozen=True, slots=True)
class _Way:
    """How one server is asked."""

    headers: Mapping[str, str]  # beside what every server is told
    tls: ssl.SSLContext | bool
    proxy: URL | None
    proxy_headers: Mapping[str, str] | None  # for the proxy alone


class Connection:
    """An async context manager; connections are kept and used again within it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        base = _http_url(access.url)
        self._own = _server(base)
        self._headers = _plain_headers(access)
        self._own_headers = _own_headers(access, base)
        self._tls: ssl.SSLContext | None = None
        self._proxies = {} if access.proxy_url else environment.getproxies_environment()
        self._ways: dict[tuple[str, str | None, int | None], _Way] = {}  # by server

    async def __aenter__(self) -> Connection:
        access = self._access
        connector = aiohttp.TCPConnector(
            limit=0,  # the lanes limit it
            resolver=GuardedResolver(access.networks),
            ttl_dns_cache=60,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            auto_decompress=False,  # a digest is of the bytes that a file has
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=_limit(access.total_timeout, None),
                connect=_limit(access.connect_timeout, None),
                sock_connect=_limit(access.sock_connect_timeout, _CONNECT_SECONDS),
                sock_read=stall_seconds(access),
            ),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def get(
        self, url: str, headers: Mapping[str, str], method: str = "GET"
    ) -> aiohttp.ClientResponse:
        """Ask for a URL, following redirects; the caller leaves the response as a context.

        Raises:
            UnsupportedUrl: A scheme or an address that is not allowed, here or in a redirect.
            UpstreamError: Too many redirects, or one that leads nowhere.
            aiohttp.ClientError, TimeoutError, OSError: What ``translated`` makes ours.
        """
        here = URL(url, encoded=True)
        if here.raw_user or here.raw_password:
            here = here.with_user(None)
        for _ in range(_MOST_REDIRECTS + 1):
            way = self._ways.get(_server(here)) or await self._find_way(here)
            response = await self._session.request(
                method,
                here,
                headers={**way.headers, **headers},
                allow_redirects=False,
                ssl=way.tls,
                proxy=way.proxy,
                proxy_headers=way.proxy_headers,
            )
            if response.status not in _REDIRECTS:
                return response
            location = response.headers.get("Location")
            response.release()
            here = _redirected(here, location)
        raise UpstreamError(f"{shown_url(url)}: more than {_MOST_REDIRECTS} redirects")

    async def _find_way(self, url: URL) -> _Way:
        """Looked for once for each server: nothing of it lies in the path.

        Raises:
            UnsupportedUrl: It, or the proxy to it, lies where nothing may be fetched from.
        """
        host = url.host or ""
        proxy, proxy_headers = self._proxy(url)
        self._check_literal(host)
        if proxy is not None:
            self._check_literal(proxy.host or "")
            await self._check_for_proxy(host)
        is_tunnelled = url.scheme == "https"
        way = self._ways[_server(url)] = _Way(
            headers={
                **(self._own_headers if _server(url) == self._own else {}),
                **({} if is_tunnelled else proxy_headers),
            },
            tls=self._tls_context() if "https" in (url.scheme, proxy and proxy.scheme) else True,
            proxy=proxy,
            proxy_headers=proxy_headers if is_tunnelled else None,
        )
        return way

    def _proxy(self, url: URL) -> tuple[URL | None, dict[str, str]]:
        """The proxy for a URL, if there is one, and what it alone is told."""
        access = self._access
        text = access.proxy_url
        if not text:
            text = self._proxies.get(url.scheme)
            if not text or environment.proxy_bypass(url.host or ""):
                return None, {}
        proxy = URL(text if "://" in text else f"http://{text}")
        if proxy.scheme not in ("http", "https") or not proxy.host:
            raise UnsupportedUrl(f"proxy {shown_url(proxy)}: only http and https proxies are known")
        user, password = proxy.user, proxy.password
        if access.proxy_url and access.proxy_username is not None:
            user, password = access.proxy_username, access.proxy_password
        headers = {} if user is None else {"Proxy-Authorization": _basic(user, password)}
        return proxy.with_user(None), headers

    def _check_literal(self, host: str) -> None:
        """A host that is written as an address; the resolver judges names."""
        if literal_address(host) is not None:
            check_address(host, host, self._access.networks)

    async def _check_for_proxy(self, host: str) -> None:
        """The proxy resolves the host; look at what it would find, as far as we can see it."""
        networks = self._access.networks
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, None, type=socket.SOCK_STREAM
            )
        except OSError:
            if networks:
                raise NetworkRefused(
                    host, "", "only the proxy knows its address, and DEBFLEET_UPSTREAM_NETWORKS "
                    "narrows where upstreams may lie",
                ) from None  # fmt: skip
            found = []
        for *_, where in found:
            check_address(host, str(where[0]), networks)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = _tls_context(self._access)
        return self._tls


def _server(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port


def _limit(seconds: float | None, default: float | None) -> float | None:
    return default if seconds is None else seconds or None


def _http_url(text: str) -> URL:
    try:
        url = URL(text, encoded=True)
        port = url.port
    except ValueError as e:
        bare = text.split("@")[-1].split("?")[0]
        raise UnsupportedUrl(f"{bare!r} is no URL: {e}") from None
    if url.scheme not in ("http", "https") or not url.host or port is None:
        raise UnsupportedUrl(f"{shown_url(url)}: only http and https URLs with a host are fetched")
    return url


def _redirected(here: URL, location: str | None) -> URL:
    if not location:
        raise UpstreamError(f"{shown_url(here)}: a redirect without a Location")
    try:
        # Quoted already, but for what some servers forget; to quote it anew would change it.
        quoted = quote(location.encode("utf-8", "surrogateescape"), safe="!#$%&'()*+,/:;=?@[]~")
        there = here.join(URL(quoted, encoded=True)).with_fragment(None)
        there = _http_url(str(there)).with_user(None)
    except ValueError as e:
        raise UpstreamError(f"{shown_url(here)}: a redirect to no URL: {e}") from None
    if here.scheme == "https" and there.scheme == "http":
        raise UnsupportedUrl(
            f"{shown_url(here)} redirects to {shown_url(there)}: https to http is refused"
        )
    return there


def _plain_headers(access: Access) -> dict[str, str]:
    """What every host is told."""
    agents = [_own_agent()]
    agents += [value for name, value in access.headers if name.lower() == "user-agent"]
    return {"User-Agent": " ".join(agents), "Accept-Encoding": "identity"}


@cache
def _own_agent() -> str:
    # Looked up in files, which takes milliseconds.
    return f"debfleet/{importlib.metadata.version('debfleet')}"


def _own_headers(access: Access, base: URL) -> dict[str, str]:
    """What the remote's own host alone is told."""
    headers: dict[str, str] = {}
    for name, value in access.headers:
        if any(c in name + value for c in "\r\n\0"):
            raise UnsupportedUrl(f"the remote's header {name!r} holds a line break")
        if name.lower() not in ("user-agent", "range", "if-range", "accept-encoding"):
            headers[name] = value
    user, password = access.username, access.password
    if user is None:
        user, password = base.user, base.password
    if user is not None:
        headers["Authorization"] = _basic(user, password)
    return headers


def _basic(user: str, password: str | None) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password or str()}'.encode()).decode()}"


def _tls_context(access: Access) -> ssl.SSLContext:
    """Raises ``TlsFailed`` for a certificate or key that cannot be read."""
    context = ssl.create_default_context()
    if not access.tls_validation:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if access.ca_cert:
            context.load_verify_locations(cadata=access.ca_cert)
    except ssl.SSLError as e:
        raise TlsFailed(f"the remote's ca_cert cannot be read: {e.reason or e}") from None
    if access.client_cert:
        _load_client_cert(context, access.client_cert, access.client_key or "")
    return context


def _load_client_cert(context: ssl.SSLContext, cert: str, key: str) -> None:
    # Python's ssl reads these from a file only; this one is readable by us alone, for a moment.
    fd, path = tempfile.mkstemp(prefix="debfleet-")
    try:
        with os.fdopen(fd, "w") as file:
            file.write(f"{cert}\n{key}\n")
        # An empty password: for an encrypted key OpenSSL would ask at the terminal.
        context.load_cert_chain(path, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as e:
        raise TlsFailed(f"the remote's client_cert and client_key do not fit: {e}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
