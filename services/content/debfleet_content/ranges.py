"""What a request says of the copy it has: conditions and ranges (RFC 9110 13 and 14). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

_ONE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE | re.ASCII)
_SEVERAL = re.compile(r"\s*bytes\s*=[\d\s,-]*,[\d\s,-]*", re.IGNORECASE | re.ASCII)
_BYTES = re.compile(r"\s*bytes\s*=", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Validators:
    """By what a client may know a file again."""

    etag: str  # with its quotes
    modified: str  # as in Last-Modified
    is_settled: bool  # other bytes cannot have the same ``modified``


class Unsatisfiable(ValueError):
    """The range begins behind the end, or is none."""


@lru_cache(1024)
def http_date(moment: datetime) -> str:
    """A moment as headers say it, to the second before it."""
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0), usegmt=True)


def is_unchanged(headers: Mapping[str, str], file: Validators) -> bool:
    """Does the client have just these bytes (304)?

    A date counts only if it is the one we gave: after a rollback an older file is served, and
    whoever has the younger one must get it.
    """
    tags = headers.get("If-None-Match")
    if tags is not None:
        known = [tag.removeprefix("W/") for tag in _TAG.findall(tags)]
        return tags.strip() == "*" or file.etag in known
    since = headers.get("If-Modified-Since")
    return since is not None and file.is_settled and _is_date(since, file.modified)


def wanted_range(headers: Mapping[str, str], file: Validators, size: int) -> tuple[int, int] | None:
    """Where to start and how many bytes to send; None: the whole file.

    Several ranges get the whole file, as does a range of another file than this (If-Range).

    Raises:
        Unsatisfiable: There is no byte in the range.
    """
    text = headers.get("Range")
    if text is None or _BYTES.match(text) is None or _SEVERAL.fullmatch(text) is not None:
        return None
    condition = headers.get("If-Range")
    if condition is not None and not _is_same(condition.strip(), file):
        return None
    match = _ONE.fullmatch(text)
    if match is None or len(text) > 100:
        raise Unsatisfiable
    first, last = match[1], match[2]
    if not first:
        if not last or int(last) == 0 or size == 0:
            raise Unsatisfiable
        count = min(int(last), size)
        return size - count, count
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if start >= size or (last and int(last) < start):
        raise Unsatisfiable
    return start, end - start + 1


def _is_same(condition: str, file: Validators) -> bool:
    if condition.startswith(('"', "W/")):
        return condition == file.etag  # weak ones do not count here (RFC 9110 13.1.5)
    return file.is_settled and _is_date(condition, file.modified)


def _is_date(text: str, modified: str) -> bool:
    if text == modified:
        return True
    try:
        return http_date(parsedate_to_datetime(text)) == modified
    except (ValueError, OverflowError):
        return False
