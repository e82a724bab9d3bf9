"""limit and offset in, one page out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Response, request

from debfleet_api.answers import Shown, answer, chosen_fields_of_all

PARAMETERS = ("limit", "offset", "fields", "exclude_fields")
"""What every list takes, whatever it lists."""

DEFAULT_LIMIT = 100
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    offset: int


def read_page() -> Page:
    """From the query: a limit of 0 or junk is the default, an offset below 0 is 0."""
    return Page(_number("limit") or DEFAULT_LIMIT, _number("offset"))


def page_answer(page: Page, count: int, results: Sequence[Shown]) -> Response:
    """The envelope around one page; ``fields`` and ``exclude_fields`` are applied here."""
    return answer(
        {
            "count": count,
            "next": _next(page, count),
            "previous": _previous(page),
            "results": chosen_fields_of_all(results),
        }
    )


def _number(name: str) -> int:
    text = request.args.get(name, "")
    if not (text.isascii() and text.isdigit()):
        return 0
    return min(int(text), _MOST) if len(text) < 12 else _MOST


def _next(page: Page, count: int) -> str | None:
    if page.offset + page.limit >= count:
        return None
    return _url({"limit": str(page.limit), "offset": str(page.offset + page.limit)})


def _previous(page: Page) -> str | None:
    if page.offset == 0:
        return None
    before = page.offset - page.limit
    changed = {"limit": str(page.limit)}
    return _url(changed | ({"offset": str(before)} if before > 0 else {}))


def _url(changed: dict[str, str]) -> str:
    """This request's URL with other paging, its parameters in the order of their names."""
    kept = [
        (name, value)
        for name, values in request.args.lists()
        if name not in ("limit", "offset")
        for value in values
    ]
    return f"{request.base_url}?{urlencode(sorted([*kept, *changed.items()]))}"
