"""Our REST API, as the commands of the command line use it: small, and speaking to a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from debfleet.config import Settings
from debfleet.errors import ConfigError
from debfleet.model import FINAL_STATES
from debfleet_cli.place import find_place, read_secret

V3 = "/pulp/api/v3/"
REMOTES = V3 + "remotes/deb/apt/"
REPOSITORIES = V3 + "repositories/deb/apt/"
TASKS = V3 + "tasks/"
PUBLICATIONS = V3 + "publications/"
DISTRIBUTIONS = V3 + "distributions/deb/apt/"
SIGNING_SERVICES = V3 + "signing-services/"

Body = dict[str, Any]

_ASKING_TRIES = 4  # of one POST that carries an Idempotency-Key


class ApiError(Exception):
    """The API did not do what was asked; the text is for the person at the keyboard."""


class Unreachable(ApiError):
    """No answer, or none from debfleet itself: later may be better."""


class Refused(ApiError):
    """An answer that says no."""

    def __init__(self, message: str, status: int, body: object = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Access:
    """Where the API is and who asks."""

    url: str  # without a slash at the end
    username: str
    password: str | None


def read_access(settings: Settings) -> Access:
    """Where the API is and who asks.

    Without a password, the one that `debfleet up` made in its default data directory is taken,
    for an API on this machine only.

    Raises:
        ConfigError: The address is none, or the file cannot be read.
    """
    url = settings.api_url
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise ConfigError(f"DEBFLEET_API_URL must be like http://host:port, not {url!r}")
    password = settings.password or None
    if password is None and settings.password_file:
        try:
            text = Path(settings.password_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(
                f"DEBFLEET_PASSWORD_FILE: {settings.password_file} cannot be read: {e}"
            ) from None
        password = text.rstrip("\r\n")
    if password is None and settings.username == "admin" and is_loopback(url):
        password = read_secret(find_place(None).admin_password) or None
    return Access(url.rstrip("/"), settings.username, password)


class Api:
    """One client of the REST API; use it as a context manager.

    Every method raises ``Unreachable`` or ``Refused``.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        auth = (access.username, access.password) if access.password is not None else None
        self._http = httpx.Client(
            auth=auth,
            timeout=httpx.Timeout(30, connect=5),
            # A proxy of the environment is for the world outside, not for our own machine.
            trust_env=not is_loopback(access.url),
            headers={"Accept": "application/json"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int) -> Body:
        """Read one object or one page of a list."""
        return self._send("GET", path, params=params)

    def post(self, path: str, body: Body) -> Body:
        """Make an object."""
        return self._send("POST", path, json=body)

    def put_chunk(self, upload: str, start: int, chunk: bytes, size: int) -> None:
        """Send a part of a file; again if the connection breaks, which does no harm."""
        headers = {"Content-Range": f"bytes {start}-{start + len(chunk) - 1}/{size}"}
        for attempt in range(1, _ASKING_TRIES + 1):
            try:
                self._send("PUT", upload, headers=headers, files={"file": ("chunk", chunk)})
                return
            except Unreachable:
                if attempt == _ASKING_TRIES:
                    raise
                time.sleep(0.5 * attempt)

    def patch(self, path: str, body: Body) -> Body:
        """Change an object; the answer may be ``{"task": …}``."""
        return self._send("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        """Delete an object that goes at once."""
        self._send("DELETE", path)

    def ask(self, path: str, body: Body, key: str = "") -> str:
        """Start a task, once even if the connection breaks; returns the task's href.

        Args:
            key: Whoever asked before with this key gets that task; empty: one made for this call.
        """
        headers = {"Idempotency-Key": key or str(uuid4())}
        for attempt in range(1, _ASKING_TRIES + 1):
            try:
                return str(self._send("POST", path, json=body, headers=headers)["task"])
            except Unreachable:
                if attempt == _ASKING_TRIES:
                    raise
                time.sleep(0.5 * attempt)
        raise AssertionError("not reached")

    def find(self, path: str, name: str) -> Body | None:
        """The one object of a list with this name."""
        results = self.get(path, name=name, limit=1)["results"]
        return results[0] if results else None

    def walk(self, path: str, **params: str | int) -> Iterator[Body]:
        """All of a list, page by page."""
        offset = 0
        while True:
            page = self.get(path, **params, offset=offset, limit=100)
            yield from page["results"]
            offset += len(page["results"])
            if not page["results"] or offset >= page["count"]:
                return

    def list_names(self, path: str, limit: int = 10) -> list[str]:
        """Some names of a list, to show what there is."""
        return sorted(str(row["name"]) for row in self.get(path, limit=limit)["results"])

    def watch(self, task: str, *, patience: float = 60) -> Iterator[Body | Unreachable]:
        """A task as it goes on, until it is final; the last value is the final one.

        An API that cannot be reached is yielded as its error and asked again, until ``patience``
        seconds have passed without an answer.
        """
        pause, silent_since = 0.1, time.monotonic()
        while True:
            try:
                body = self.get(task)
            except Unreachable as e:
                if time.monotonic() - silent_since > patience:
                    raise
                yield e
            else:
                silent_since = time.monotonic()
                yield body
                if body["state"] in FINAL_STATES:
                    return
            time.sleep(pause)
            pause = min(pause * 1.3, 1.0)

    def settle(self, answer: Body) -> None:
        """Wait for the task of an answer, if it has one; a task that fails is ``Refused``."""
        if set(answer) != {"task"}:
            return
        for body in self.watch(answer["task"]):
            last = body
        if isinstance(last, dict) and last["state"] != "completed":
            raise Refused(f"the change did not happen: {failure_text(last)}", 200, last)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Body | None = None,
        headers: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Body:
        url = self.access.url + path
        try:
            answer = self._http.request(
                method, url, params=params, json=json, headers=headers, files=files
            )
        except httpx.TransportError as e:
            raise Unreachable(
                f"the API at {self.access.url} cannot be reached: {e or type(e).__name__}"
                " (is `debfleet up` running? DEBFLEET_API_URL says where to look)"
            ) from None
        return self._judged(method, path, answer)

    def _judged(self, method: str, path: str, answer: httpx.Response) -> Body:
        try:
            body = answer.json() if answer.content else {}
        except ValueError:
            body = None
        if answer.status_code in (502, 503, 504):
            raise Unreachable(
                f"the API at {self.access.url} is not ready ({answer.status_code}): "
                f"{_spoken(body) or answer.reason_phrase}"
            )
        if answer.status_code in (401, 403):
            raise Refused(self._who(body), answer.status_code, body)
        where = f"{method} {self.access.url}{path}"
        if body is None or answer.is_redirect:
            raise Unreachable(
                f"{where}: {answer.status_code}, and this is no answer of debfleet; does "
                "DEBFLEET_API_URL name another server?"
            )
        if not answer.is_success or not isinstance(body, dict):
            text = _spoken(body) or f"{answer.status_code} {answer.reason_phrase}"
            # A 400 names the field, and who reads it knows what was asked.
            said = text if answer.status_code == 400 else f"{where}: {text}"
            raise Refused(said, answer.status_code, body)
        return body

    def _who(self, body: object) -> str:
        if self.access.password is None:
            return (
                "the API wants a password: set DEBFLEET_PASSWORD, or DEBFLEET_PASSWORD_FILE to a "
                f"file that holds it (the user is {self.access.username}; DEBFLEET_USERNAME)"
            )
        return f"the API refused {self.access.username}: {_spoken(body) or 'no reason given'}"


def failure_text(task: Body) -> str:
    """Why a task did not complete."""
    if task["state"] == "canceled":
        return "the task was canceled"
    error = task.get("error") or {}
    return str(error.get("description") or error.get("reason") or "no reason was given")


def _spoken(body: object) -> str:
    """An error's body as one line: ``name: This field must be unique.; url: …``."""
    if isinstance(body, dict):
        if set(body) == {"detail"}:
            return str(body["detail"])
        parts = [
            _spoken(value) if key == "non_field_errors" else f"{key}: {_spoken(value)}"
            for key, value in body.items()
        ]
        return "; ".join(parts)
    if isinstance(body, list):
        return " ".join(_spoken(item) for item in body)
    return "" if body is None else str(body)


def is_loopback(url: str) -> bool:
    """Whether it is this machine's own, by its name or address."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
