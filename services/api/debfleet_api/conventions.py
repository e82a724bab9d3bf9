"""What holds for every request and every answer."""

from __future__ import annotations

import re
import time
import uuid

from flask import Flask, Response, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from debfleet import metrics
from debfleet.log import bound
from debfleet.measure import OTHER, method_label, status_label
from debfleet_api.errors import Refusal

_GUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def add_conventions(app: Flask) -> None:
    """Correlation id, slash at the end, accepted types; before any login is looked at."""
    app.before_request(_start)
    app.after_request(_finish)
    app.teardown_request(_unbind)


def _start() -> AnyResponse | None:
    given = request.headers.get("Correlation-ID", "")
    g.correlation_id = given if _GUID.fullmatch(given) else uuid.uuid4().hex
    g.bound = bound(cid=g.correlation_id)
    g.bound.__enter__()
    g.began = time.monotonic()
    metrics.HTTP_IN_FLIGHT.add(1, service="api")
    if request.endpoint is None:
        return None  # no such path or verb: the error table answers
    if request.method == "OPTIONS":
        detail = "You do not have permission to perform this action."
        raise Refusal(403, {"detail": detail})
    has_slash = request.url_rule is None or request.url_rule.rule.endswith("/")
    if has_slash and not request.path.endswith("/") and request.method in ("GET", "HEAD"):
        query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
        # A path that starts with two slashes would be another host.
        found = redirect(f"/{request.path.lstrip('/')}/{query}", 301)
        found.set_data(b"")  # no page of HTML for a client of an API
        del found.headers["Content-Type"]
        return found
    if request.blueprint == "docs":
        return None  # for browsers too
    accepted = request.accept_mimetypes
    if request.headers.get("Accept") and not accepted["application/json"]:
        raise Refusal(406, {"detail": "Could not satisfy the request Accept header."})
    return None


def _finish(response: Response) -> Response:
    route = OTHER if request.url_rule is None else request.url_rule.rule
    method, status = method_label(request.method), status_label(response.status_code)
    metrics.HTTP_REQUESTS.add(service="api", method=method, route=route, status=status)
    metrics.HTTP_SECONDS.observe(time.monotonic() - g.began, service="api", route=route)
    response.headers["Correlation-ID"] = g.get("correlation_id", "")
    response.headers["Access-Control-Expose-Headers"] = "Correlation-ID"
    response.headers["Vary"] = "Accept, Authorization"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _unbind(_: BaseException | None) -> None:
    held = g.pop("bound", None)
    if held is not None:
        metrics.HTTP_IN_FLIGHT.add(-1, service="api")
        held.__exit__(None, None, None)
