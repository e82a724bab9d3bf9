"""Request bodies in, checked values out; the texts of errors are those that clients compare.

A body is a pydantic model made of the field types below. Each takes what JSON and forms send for
it; the wire's own rules (blank, null, trimmed) are in the types, not in the routes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn, TypeVar

from flask import request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError

from debfleet_api.errors import Refusal, field_errors

_INT_MAX = 2**31 - 1
_TRUE = ("t", "y", "yes", "true", "on", "1")
_FALSE = ("f", "n", "no", "false", "off", "0")


class Body(BaseModel):
    """What every request body is made from."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    def given(self) -> dict[str, Any]:
        """The fields that the client sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


B = TypeVar("B", bound=Body)


def read_body(
    model: type[B], *, partial: bool = False, read_only: frozenset[str] = frozenset()
) -> B:
    """Check this request's body.

    Args:
        model: What it should hold.
        partial: Nothing is required (PATCH); what is missing is unset.
        read_only: Fields of an answer that clients send back; ignored.

    Raises:
        Refusal: 400 naming every bad field, or 400/415 for what is no body.
    """
    try:
        raw = _raw_body(model)
    except (ParseException, OSError) as e:  # chunks that are none, a client that went away
        raise Refusal(400, {"detail": f"The request's body cannot be read: {e}"}) from None
    found = {k: v for k, v in raw.items() if k not in read_only}
    required = [n for n, f in model.model_fields.items() if f.is_required() and n not in found]
    unsent = {n: _stand_in(model, n) for n in required} if partial else {}  # never given()
    try:
        checked = model.model_validate(found | unsent)
    except ValidationError as e:
        raise field_errors(_by_field(e)) from None
    checked.__pydantic_fields_set__.difference_update(unsent)
    return checked


def _stand_in(model: type[Body], name: str) -> Any:
    """What passes for a required field that a PATCH leaves out: they are texts and lists."""
    return [] if model.model_fields[name].json_schema_extra == {"type": "array"} else "-"


def _by_field(error: ValidationError) -> dict[str, list[str]]:
    """Messages by field, unknown fields last."""
    found: dict[str, list[str]] = {}
    extra: dict[str, list[str]] = {}
    for e in error.errors(include_url=False, include_input=False):
        name = str(e["loc"][0]) if e["loc"] else "non_field_errors"
        if e["type"] == "missing":
            found[name] = ["This field is required."]
        elif e["type"] == "extra_forbidden":
            extra[name] = ["Unexpected field"]
        else:
            found.setdefault(name, []).append(e["msg"])
    return found | extra


def _raw_body(model: type[Body]) -> dict[str, Any]:
    kind = request.mimetype
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return _form_body(model)
    whole = request.get_data(cache=True)
    if not whole:
        return {}
    if kind != "application/json":
        shown = request.content_type or ""
        raise Refusal(415, {"detail": f'Unsupported media type "{shown}" in request.'})
    try:
        body = json.loads(whole.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise Refusal(400, {"detail": f"JSON parse error - {e}"}) from None
    if not isinstance(body, dict):
        name = type(body).__name__
        text = f"Invalid data. Expected a dictionary, but got {name}."
        raise Refusal(400, {"non_field_errors": [text]})
    return body


def _form_body(model: type[Body]) -> dict[str, Any]:
    """Forms hold texts only: objects come as JSON, lists as JSON or repeated."""
    found: dict[str, Any] = {}
    for name, values in request.form.lists():
        field = model.model_fields.get(name)
        shape = None if field is None else field.json_schema_extra
        made: Any = values[-1]
        if shape:
            try:
                made = json.loads(made)
            except (ValueError, RecursionError):
                made = list(values) if shape == {"type": "array"} else made
        found[name] = made
    for name in request.files:
        found.setdefault(name, "")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"Out of range float values are not JSON compliant: {name!r}")


def refuse(text: str) -> NoReturn:
    """For a field's own check."""
    raise PydanticCustomError("refused", "{text}", {"text": text})


# --- the types of fields ---------------------------------------------------------------------


def _null(value: Any) -> None:
    if value is None:
        refuse("This field may not be null.")


def read_text(value: Any, most: int = 1 << 20) -> str:
    """Trimmed, neither null nor blank, and such that Postgres can hold it."""
    _null(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        refuse("Not a valid string.")
    text = str(value).strip()
    if not text:
        refuse("This field may not be blank.")
    if "\0" in text:
        refuse("Null characters are not allowed.")
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse("Not a valid string.")
    if len(text) > most:
        refuse(f"Ensure this field has no more than {most} characters.")
    return text


def read_flag(value: Any, name: str = "") -> bool:
    """A boolean; ``name`` begins the text of an error, where the field is part of an object."""
    if value is None:
        refuse(f"{name}This field may not be null.")
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    refuse(f"{name}Must be a valid boolean.")


def _integer(value: Any, lowest: int, highest: int = _INT_MAX) -> int:
    _null(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        refuse("A valid integer is required.")
    try:
        text = str(value)
        number = int(re.sub(r"\.0*\s*$", "", text)) if len(text) < 100 else highest + 1
    except ValueError:
        refuse("A valid integer is required.")
    if number < lowest:
        refuse(f"Ensure this value is greater than or equal to {lowest}.")
    if number > highest:
        refuse(f"Ensure this value is less than or equal to {highest}.")
    return number


def _seconds(value: Any) -> float:
    _null(value)
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        refuse("A valid number is required.")
    if not math.isfinite(number):
        refuse("A valid number is required.")
    if number < 0:
        refuse("Ensure this value is greater than or equal to 0.")
    return number


def _labels(value: Any) -> dict[str, str | None]:
    _null(value)
    if not isinstance(value, dict):
        refuse(f'Expected a dictionary of items but got type "{type(value).__name__}".')
    return {read_label_key(k): read_label_value(v) for k, v in value.items()}


def read_label_key(key: Any) -> str:
    """The key of a label."""
    if not isinstance(key, str) or not re.fullmatch(r"[\w .\-]+", key) or not _is_storable(key):
        refuse(f"Key '{key!s}' contains non-alphanumerics.")
    return key


def read_label_value(value: Any) -> str | None:
    """The value of a label."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        refuse("Not a valid string.")
    text = str(value)
    if re.search(r"[()]", text):
        refuse("A label's value contains disallowed characters: ( or ).")
    if not _is_storable(text):
        refuse("Not a valid string.")
    return text


def _is_storable(text: str) -> bool:
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def _list(value: Any) -> list[Any]:
    _null(value)
    if not isinstance(value, list):
        refuse(f'Expected a list of items but got type "{type(value).__name__}".')
    return value


def _digest(value: Any) -> str:
    text = read_text(value).lower()
    if not re.fullmatch("[0-9a-f]{32,128}", text):
        refuse("A checksum is written in hex digits.")
    return text


def _or_null(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotates a field: how its value is checked, and what the OpenAPI document says of that."""

    func: Callable[[Any], Any]
    schema: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return BeforeValidator(self.func).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        whole = {} if "type" in self.schema else handler(schema)
        return {**whole, **self.schema}


_FILLED = {"minLength": 1}
_WHOLE = {"maximum": _INT_MAX}

Text = Annotated[str, Checked(read_text, _FILLED)]
OptionalText = Annotated[str | None, Checked(_or_null(read_text), _FILLED)]
# A Postgres index cannot hold much more than this.
Name = Annotated[str, Checked(lambda v: read_text(v, 512), {**_FILLED, "maxLength": 512})]
Flag = Annotated[bool, BeforeValidator(lambda v: read_flag(v))]
Natural = Annotated[
    int | None, Checked(_or_null(lambda v: _integer(v, 0)), {"minimum": 0, **_WHOLE})
]
Positive = Annotated[
    int | None, Checked(_or_null(lambda v: _integer(v, 1)), {"minimum": 1, **_WHOLE})
]
Minutes = Annotated[
    int | None,
    Checked(_or_null(lambda v: _integer(v, 0, 2**32 - 1)), {"minimum": 0, "maximum": 2**32 - 1}),
]
Seconds = Annotated[float | None, Checked(_or_null(_seconds), {"minimum": 0})]
Labels = Annotated[
    dict[str, str | None], BeforeValidator(_labels), Field(json_schema_extra={"type": "object"})
]
Items = Annotated[list[Any], BeforeValidator(_list), Field(json_schema_extra={"type": "array"})]
Size = Annotated[int, BeforeValidator(lambda v: _integer(v, 0, 2**63 - 1))]
Digest = Annotated[str | None, BeforeValidator(_or_null(_digest))]
LabelKey = Annotated[str, BeforeValidator(lambda v: read_label_key(read_text(v)))]
LabelValue = Annotated[str | None, BeforeValidator(read_label_value)]


def choice(*choices: str) -> Checked:
    """A word out of a few."""

    def check(value: Any) -> str:
        _null(value)
        if value not in choices:
            shown = value if isinstance(value, str) else json.dumps(value)
            refuse(f'"{shown}" is not a valid choice.')
        return str(value)

    return Checked(check, {"enum": list(choices)})


def not_built(default: Any) -> BeforeValidator:
    """A field that clients send and that can hold nothing but its default yet."""

    def check(value: Any) -> Any:
        same = value == default or (default is True and value in ("true", "True"))
        if not same and not (default is False and value in ("false", "False")):
            refuse("This version of debfleet cannot do this yet; leave the field at its default.")
        return default

    return BeforeValidator(check)


def _names(value: Any) -> list[str]:
    return [read_text(item) for item in _list(value)]


Names = Annotated[list[str], BeforeValidator(_names), Field(json_schema_extra={"type": "array"})]
NoNames = Annotated[list[str], not_built([]), Field(json_schema_extra={"type": "array"})]
