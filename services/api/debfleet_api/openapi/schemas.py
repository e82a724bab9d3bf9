"""Pydantic models as component schemas, in the dialect that Pulp's clients read.

pulp-glue parses strictly: a list of types for what may be null, words alone in an enum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from debfleet_api.shapes.base import Thinned

_REF = "#/components/schemas/"


def name_of(model: type[BaseModel]) -> str:
    """A model's name in the document."""
    return str(model.model_config.get("title") or model.__name__)


def ref_to(name: str) -> dict[str, Any]:
    """A reference to a component schema."""
    return {"$ref": f"{_REF}{name}"}


def component_schemas(
    bodies: Iterable[type[BaseModel]], shapes: Iterable[type[BaseModel]]
) -> dict[str, Any]:
    """The schemas of bodies and shapes, and of what they refer to, by name."""
    thinned = {name_of(s) for s in shapes if issubclass(s, Thinned)}
    inputs = [(model, "validation") for model in dict.fromkeys(bodies)]
    outputs = [(model, "serialization") for model in dict.fromkeys(shapes)]
    _, whole = models_json_schema(
        [*inputs, *outputs],  # type: ignore[list-item]  # the modes are literals
        ref_template=f"{_REF}{{model}}",
        schema_generator=_Dialect,
    )
    defs: dict[str, Any] = whole.get("$defs", {})
    names = {key: str(schema["title"]) for key, schema in defs.items()}
    found = {}
    for key, schema in sorted(defs.items(), key=lambda item: names[item[0]]):
        made = _renamed(schema, names)
        made.pop("title")
        made.pop("additionalProperties", None) if "properties" in made else None
        if names[key] in thinned:
            made.pop("required", None)
        found[names[key]] = made
    return found


@cache
def takes_file(body: type[BaseModel]) -> bool:
    """Whether a field is a file, so that JSON cannot hold the body."""
    made = body.model_json_schema(schema_generator=_Dialect)
    return any(of.get("format") == "binary" for of in made.get("properties", {}).values())


def patched(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A body of which nothing is required and nothing has a default: what is left out stays."""
    properties = {
        name: {k: v for k, v in of.items() if k != "default"}
        for name, of in schema.get("properties", {}).items()
    }
    return {k: v for k, v in schema.items() if k != "required"} | {"properties": properties}


def paginated(name: str) -> dict[str, Any]:
    """The envelope around one page."""
    url = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        "required": ["count", "results"],
        "properties": {
            "count": {"type": "integer"},
            "next": url,
            "previous": url,
            "results": {"type": "array", "items": ref_to(name)},
        },
    }


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """References by pydantic's keys become references by titles."""
    if isinstance(value, dict):
        return {
            k: f"{_REF}{names[v.removeprefix(_REF)]}" if k == "$ref" else _renamed(v, names)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_renamed(v, names) for v in value]
    return value


class _Dialect(GenerateJsonSchema):
    """Without titles of fields, without defaults of null, with lists of types."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if not isinstance(inner.get("type"), str) or "enum" in inner:
            return {"anyOf": [inner, {"type": "null"}]} if inner else inner
        return {**inner, "type": [inner["type"], "null"]}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def uuid_schema(self, schema: core_schema.UuidSchema) -> JsonSchemaValue:
        # On the wire an id is never bare: it is a reference, by path, URL or PRN.
        return {"type": "string", "format": "uri-reference"}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
