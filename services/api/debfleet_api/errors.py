"""One table: error type to HTTP status and body."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from flask import Flask, Response, g, request
from psycopg_pool import PoolClosed, PoolTimeout
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from debfleet.errors import StoreError, TooManyLogins
from debfleet_api.answers import answer

log = logging.getLogger(__name__)

_AWAY = {"detail": "The database cannot be reached; try again."}
_UNIQUE = {
    "an_alternate_source_name_is_unique": "name",
    "a_remote_name_is_unique": "name",
    "a_repository_name_is_unique": "name",
    "a_distribution_name_is_unique": "name",
    "a_base_path_is_unique": "base_path",
    "a_schedule_name_is_unique": "name",
    "a_username_is_unique": "username",
    "a_group_name_is_unique": "name",
    "a_role_name_is_unique": "name",
    "a_guard_name_is_unique": "name",
}


class Refusal(Exception):
    """What a request gets instead of what it asked for."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


def field_errors(errors: Mapping[str, Sequence[str] | Mapping[str, Any]]) -> Refusal:
    """400 that names fields, query parameters or ``non_field_errors``."""
    return Refusal(400, {k: v if isinstance(v, Mapping) else list(v) for k, v in errors.items()})


def no_such(what: str) -> Refusal:
    """404 for a good path without a row; ``what`` is Pulp's word (AptRepository, Task, …)."""
    return Refusal(404, {"detail": f"No {what} matches the given query."})


def not_found() -> Refusal:
    """404 for what is no path of ours."""
    return Refusal(404, {"detail": "Not found."})


def add_error_table(app: Flask) -> None:
    """Every error leaves as JSON, never as a page or a traceback."""
    app.register_error_handler(Exception, _answer_to)


def _answer_to(error: Exception) -> Response:
    if isinstance(error, Refusal):
        return answer(error.body, error.status, error.headers)
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted({*(error.valid_methods or ()), "OPTIONS"}))
        detail = f'Method "{request.method}" not allowed.'
        return answer({"detail": detail}, 405, {"Allow": allowed})
    if isinstance(error, HTTPException):
        return _answer_to_http(error)
    if isinstance(error, TooManyLogins):
        return answer({"detail": str(error)}, 503, {"Retry-After": "5"})
    if isinstance(error, psycopg.errors.UniqueViolation):
        field = _UNIQUE.get(error.diag.constraint_name or "")
        if field is not None:
            return answer({field: ["This field must be unique."]}, 400)
    if isinstance(error, psycopg.errors.InvalidRegularExpression):
        return answer({"errors": ["A regular expression is malformed."]}, 400)
    if isinstance(error, psycopg.errors.QueryCanceled):
        return answer({"detail": "The query took too long; narrow it."}, 503, {"Retry-After": "5"})
    if isinstance(error, (psycopg.OperationalError, PoolTimeout, PoolClosed)):
        log.warning("database.unreachable", extra={"error": str(error)})
        return answer(_AWAY, 503, {"Retry-After": "5"})
    if isinstance(error, StoreError):
        log.error("store.unusable", extra={"error": str(error)})
        return answer({"detail": f"The store cannot be used: {error}"}, 503, {"Retry-After": "5"})
    log.exception("request.failed", extra={"method": request.method, "path": request.path})
    cid = g.get("correlation_id", "")
    return answer({"detail": f"Internal error; the log tells more under {cid}."}, 500)


def _answer_to_http(error: HTTPException) -> Response:
    if error.code == 404:
        return answer({"detail": "Not found."}, 404)
    return answer({"detail": error.description or error.name}, error.code or 500)
