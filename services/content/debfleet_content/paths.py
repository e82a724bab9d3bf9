"""The path of a request, decoded; and which names may be in it. Pure."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

PREFIX = "/pulp/content"

_LONGEST = 4096


def read_path(raw: str) -> tuple[list[str], bool] | None:
    """The parts of a raw request target below the prefix, and whether it ends in a slash.

    Parts are decoded after the path was taken apart, so that an encoded slash is a character that
    no file of ours has in its name. ``.`` and empty parts are dropped: apt asks for ``./Release``
    of a flat archive.

    Returns:
        None where no file can be: another prefix, ``..`` in any spelling, control characters.
    """
    path = raw.partition("?")[0].partition("#")[0]
    if not path.startswith("/"):  # the absolute form, as proxies send it
        path = "/" + path.partition("://")[2].partition("/")[2]
    if path != PREFIX and not path.startswith(PREFIX + "/"):
        return None
    parts = []
    pieces = path[len(PREFIX) :].split("/")
    for piece in pieces:
        part = _decoded(piece)
        if part is None:
            return None
        if part not in ("", "."):
            parts.append(part)
    if sum(map(len, parts)) > _LONGEST:
        return None
    return parts, pieces[-1] in ("", ".")


def _decoded(piece: str) -> str | None:
    try:
        # What the HTTP parser could not decode stands there as surrogates.
        part = unquote_to_bytes(piece.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeError:
        return None
    if part == ".." or any(c in "/\\" or c < " " or "\x7f" <= c <= "\x9f" for c in part):
        return None
    return part
