"""The document: the app's table of routes, and what each view says of itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from pydantic import BaseModel
from werkzeug.routing import Rule

from debfleet_api.hrefs import BASE
from debfleet_api.openapi.operations import Operation, Paged, operations_of
from debfleet_api.openapi.parameters import (
    DIAGNOSTICS,
    field_parameters,
    header_parameter,
    list_parameters,
    path_parameter,
)
from debfleet_api.openapi.paths import pk_path, placeholder_path
from debfleet_api.openapi.schemas import (
    component_schemas,
    name_of,
    paginated,
    patched,
    ref_to,
    takes_file,
)
from debfleet_api.shapes.base import Thinned

_JSON = "application/json"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_REFUSED = "Refused: the body names each bad field, or says in detail what is wrong."
_AWAY = "The database cannot be reached, or the query takes too long; try again."


@dataclass(frozen=True, slots=True)
class Options:
    """What a client may ask of the document."""

    components: frozenset[str] = frozenset()  # core, deb; none: all
    bindings: bool = False  # for generated code: the action alone as operationId
    pk_path: bool = False  # paths with ids instead of whole hrefs


@dataclass(frozen=True, slots=True)
class Route:
    """One verb of one path, and what its view says of it."""

    rule: str  # as the app has it, the path's own values filled in
    verb: str
    operation: Operation
    text: str  # the view's docstring


def list_routes(app: Flask) -> Iterator[Route]:
    """Every route that says what it is."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        fixed = (rule.defaults or {}).items()
        for found in operations_of(view):
            if not fixed <= found.values.items():
                continue  # the view's operation on another of its paths
            for verb in _verbs(rule):
                text = inspect.getdoc(view) or ""
                yield Route(_filled(rule.rule, found.values), verb, found, text)


def list_silent(app: Flask) -> list[str]:
    """The endpoints that say nothing of themselves."""
    views = {rule.endpoint: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}
    return sorted(name for name, view in views.items() if not operations_of(view))


def build_document(app: Flask, versions: Mapping[str, str], options: Options) -> dict[str, Any]:
    """The OpenAPI document of an app.

    Args:
        app: With all of its routes.
        versions: Of the components whose behaviour is matched: clients compare them with those
            of the status page, and turn their options on by them.
        options: What the client asked for.
    """
    routes = [r for r in list_routes(app) if _is_wanted(r.operation, options.components)]
    to_path: Callable[[str], str] = pk_path if options.pk_path else placeholder_path
    paths: dict[str, dict[str, Any]] = {}
    for route in sorted(routes, key=lambda r: (r.operation.of, r.rule, r.verb)):
        path = to_path(route.rule)
        paths.setdefault(path, {})[route.verb] = _rendered(path, route, options)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "debfleet: the API of Pulp 3 for Debian repositories",
            "version": "v3",
            "description": "Copies Debian repositories, publishes and serves them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "x-pulp-app-versions": dict(versions),
            "x-pulp-domain-enabled": False,
        },
        "servers": [{"url": "/"}],  # wherever the document came from
        "paths": paths,
        "components": {
            "schemas": _schemas(r.operation for r in routes),
            "securitySchemes": {
                "basicAuth": {"type": "http", "scheme": "basic"},
                # Never asked for; clients that log in by session look whether it is there.
                "cookieAuth": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
            },
        },
    }


def operation_id(operation: Operation) -> str:
    """The operation's name over the whole document."""
    prefix = re.sub(r"[/-]", "_", operation.of).lower()
    return operation.id or f"{prefix}_{operation.action}"


def _rendered(path: str, route: Route, options: Options) -> dict[str, Any]:
    of = route.operation
    is_short = options.bindings and not of.id
    variables = re.findall(r"\{(\w+)\}", path)
    made: dict[str, Any] = {
        "operationId": of.action if is_short else operation_id(of),
        "summary": route.text.partition("\n")[0],
        "description": route.text,
        "tags": [_tag(of.of)],
        "parameters": [
            DIAGNOSTICS,
            *map(header_parameter, of.headers),
            *map(path_parameter, variables),
            *_query(route),
        ],
        "responses": _answers(of),
    }
    if not of.is_open:
        made["security"] = [{"basicAuth": []}, {"cookieAuth": []}]
    if of.body is not None:
        made["requestBody"] = _body(of)
    return made


def _query(route: Route) -> list[dict[str, Any]]:
    of = route.operation
    listed = [] if of.listing is None else list_parameters(of.listing())
    shape = of.answers.get(200)
    thins = isinstance(shape, Paged) or (shape is not None and issubclass(shape, Thinned))
    return listed + (field_parameters() if thins and route.verb == "get" else [])


def _answers(of: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for status, shape in sorted(of.answers.items()):
        if shape is None:
            made[str(status)] = {"description": "Nothing more to say."}
            continue
        schema = ref_to(_paged_name(shape) if isinstance(shape, Paged) else name_of(shape))
        made[str(status)] = {
            "description": inspect.getdoc(shape.of if isinstance(shape, Paged) else shape),
            "content": {of.type: {"schema": schema}},
        }
    refused = {"content": {_JSON: {"schema": ref_to("Refusal")}}}
    return {
        **{"4XX": {"description": _REFUSED, **refused}, "503": {"description": _AWAY, **refused}},
        **made,
    }


def _body(of: Operation) -> dict[str, Any]:
    assert of.body is not None
    name = name_of(of.body)
    schema = ref_to(f"Patched{name}" if of.action == "partial_update" else name)
    kinds = _FORMS[::-1] if takes_file(of.body) else (_JSON, *_FORMS)
    return {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    bodies: dict[str, type[BaseModel]] = {}
    shapes: dict[str, type[BaseModel]] = {}
    pages: dict[str, str] = {}
    partial = set()
    for of in operations:
        if of.body is not None:
            bodies[name_of(of.body)] = of.body
            partial |= {name_of(of.body)} if of.action == "partial_update" else set()
        for answer in of.answers.values():
            if isinstance(answer, Paged):
                pages[_paged_name(answer)] = name_of(answer.of)
                answer = answer.of
            if answer is not None:
                shapes[name_of(answer)] = answer
    made = component_schemas(bodies.values(), shapes.values())
    made |= {f"Patched{name}": patched(made[name]) for name in partial}
    made |= {name: paginated(of) for name, of in pages.items()}
    made["Refusal"] = {"type": ["object", "array"]}
    return dict(sorted(made.items()))


def _paged_name(page: Paged) -> str:
    return f"Paginated{name_of(page.of)}List"


def _tag(resource: str) -> str:
    """``repositories/deb/apt/versions`` is "Repositories: Apt Versions"."""
    first, *others = (word.title() for word in resource.split("/"))
    if len(others) > 1 and others[0] in ("Deb", "Core"):
        others = others[1:]
    return f"{first}: {' '.join(others)}" if others else first


def _is_wanted(of: Operation, components: frozenset[str]) -> bool:
    own = "deb" if "deb" in of.of.split("/") else "core"
    return not components or own in components


def _verbs(rule: Rule) -> list[str]:
    return sorted(verb.lower() for verb in (rule.methods or set()) - {"HEAD", "OPTIONS"})


def _filled(rule: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        rule = re.sub(rf"<(?:[^<>]*:)?{name}>", value, rule)
    return rule if rule.startswith(BASE) else BASE + rule.lstrip("/")
