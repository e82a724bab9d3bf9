"""The OpenAPI document and the page that shows it; both answer without a login."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from threading import Lock

from flask import Blueprint, Flask, Response, current_app, request

from debfleet_api.openapi.document import Options, build_document
from debfleet_api.openapi.operations import operation
from debfleet_api.routes.status import VERSIONS
from debfleet_api.shapes.base import Anything

blueprint = Blueprint("docs", __name__)

_TYPE = "application/vnd.oai.openapi+json"
_YAML = "application/vnd.oai.openapi"
_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'"
_lock = Lock()
_built: dict[Options, bytes] = {}  # what routes say never changes while a process runs


@blueprint.get("/docs/api.json")
@operation("docs/api.json", "get", {200: Anything}, is_open=True, type=_TYPE)
def read_document() -> Response:
    """The OpenAPI document of this API."""
    return Response(document(), content_type=_TYPE)


@blueprint.get("/docs/api.yaml")
@operation("docs/api.yaml", "get", {200: Anything}, is_open=True, type=_YAML)
def read_yaml() -> Response:
    """The same document: JSON is YAML."""
    return Response(document(), content_type=_YAML)


@blueprint.get("/docs/")
def read_page() -> Response:
    """The document for people."""
    response = Response(_page_file("index.html"), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.get("/docs/page.js")
def read_script() -> Response:
    """What the page does."""
    return Response(_page_file("page.js"), content_type="text/javascript; charset=utf-8")


@blueprint.get("/docs/page.css")
def read_style() -> Response:
    """What the page looks like."""
    return Response(_page_file("page.css"), content_type="text/css; charset=utf-8")


def document() -> bytes:
    """The document that this request asks for."""
    words = ",".join(request.args.getlist("component")).split(",")
    options = Options(
        components=frozenset(w for w in words if w in VERSIONS),
        bindings="bindings" in request.args,
        pk_path="pk_path" in request.args,
    )
    return _document(current_app, options)


def prepare(app: Flask) -> None:
    """Build what clients ask for first."""
    _document(app, Options())


def _document(app: Flask, options: Options) -> bytes:
    """Built once, then from memory."""
    with _lock:
        if options not in _built:
            whole = build_document(app, VERSIONS, options)
            _built[options] = json.dumps(whole, separators=(",", ":")).encode()
        return _built[options]


@cache
def _page_file(name: str) -> bytes:
    return files("debfleet_api.openapi").joinpath("page", name).read_bytes()
