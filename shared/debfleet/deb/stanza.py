"""Stanzas: blocks of fields in the control-file syntax of Debian Policy 5.1.

By hand, because an archive has hundreds of thousands of them; a property test holds it against
python-debian.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, repeat
from operator import add, methodcaller

from debfleet.errors import MalformedFile

_BOM = b"\xef\xbb\xbf"
_BLANK_FIRST_LINE = re.compile(rb"[ \t\r\f\v]+(?=\n)")
_BLANK_LINE = re.compile(rb"\n[ \t\r\f\v]+(?=\n)")
_ODD = re.compile(rb"\n(?:\n\n|#)")  # more than one blank line, or a comment
FIELD = re.compile(r"\n([^\s:#-][^\s:]*)[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)")
"""A field of a stanza that was given an LF before it: name and value."""

# Every line is a field or goes on with one: apt gives up a whole index that has another line.
WELL_FORMED = re.compile(r"\n[!-9;-~]+[ \t]*:[^\n]*(?:\n(?:[ \t][^\n]*|[!-9;-~]+[ \t]*:[^\n]*))*")
"""A stanza that was given an LF before it."""

# Bytes that are no UTF-8 become the 128 last private-use characters, U+10FF80 + (byte - 0x80):
# Postgres takes them, and they come back as the bytes they were. These characters themselves are
# treated as bytes that are no UTF-8, so that no two inputs become the same text.
_ESCAPES = re.compile("[\U0010ff80-\U0010ffff]")
_FROM_SURROGATES = {0xDC80 + n: 0x10FF80 + n for n in range(128)}
_TO_SURROGATES = {0x10FF80 + n: 0xDC80 + n for n in range(128)}


def split_stanzas(
    blocks: Iterable[bytes], *, longest: int = 16 << 20
) -> Iterator[tuple[int, bytes]]:
    """The stanzas of a file that comes in blocks of any size, each with its first line's number.

    Lines count from 1, in the file as it came. A stanza comes without comments, with LF as the
    end of its lines and none after the last; no more than one block and one stanza is in memory.

    Raises:
        MalformedFile: A stanza is longer than ``longest`` bytes.
    """
    pending: list[bytes] = []  # whole lines of a stanza whose end was not seen yet
    size = 0
    line = 1  # where pending begins
    for lines in _whole_lines(blocks, longest):
        pending.append(lines)
        size += len(lines)
        if b"\n\n" in lines or lines[0] == 10:  # pending ends with LF, so LF first is a blank line
            text = b"".join(pending)
            cut = text.rfind(b"\n\n")
            # Most blocks need no look at their single stanzas.
            is_simple = len(text) <= longest and text[0] not in b"\n#" and not _ODD.search(text)
            pieces = text[:cut].split(b"\n\n") if cut >= 0 else []
            if is_simple:
                yield from _numbered(pieces, line)
            else:
                for number, piece in _numbered(pieces, line):
                    if found := _stanza_of(piece, number, longest):
                        yield found
            line += text.count(b"\n", 0, cut + 2)  # cut is -1 where LF is the first byte there is
            pending = [text[cut + 2 :]]
            size = len(pending[0])
        if size > longest:
            raise _too_long(line, longest)
    if found := _stanza_of(b"".join(pending), line, longest):
        yield found


def stanza_fields(stanza: str) -> dict[str, str]:
    """The fields of a stanza in their order, names as spelled there; the first of a repeat wins.

    A value has no blanks around it; its continuation lines are kept, each after LF with its blank.
    Lines that belong to no field are not there.
    """
    found = FIELD.findall("\n" + stanza)
    fields = {name: value.rstrip(" \t\n") for name, value in found}
    if len(set(map(str.lower, fields))) == len(found):
        return fields
    fields, seen = {}, set()
    for name, value in found:
        if (folded := name.lower()) not in seen:  # Debian Policy 5.1: names are case-insensitive
            seen.add(folded)
            fields[name] = value.rstrip(" \t\n")
    return fields


def find_field(fields: Mapping[str, str], name: str) -> str | None:
    """The value of a field, however its name is spelled; none where it is absent."""
    if (value := fields.get(name)) is not None:
        return value
    folded = name.lower()
    return next((value for key, value in fields.items() if key.lower() == folded), None)


def render_stanza(fields: Iterable[tuple[str, str]]) -> str:
    """A stanza of these fields, without LF at its end.

    Raises:
        ValueError: A name or value would break the syntax.
    """
    lines = []
    for name, value in fields:
        line = f"{name}:{value}" if value[:1] in ("\n", "") else f"{name}: {value}"
        match = FIELD.fullmatch("\n" + line)
        if match is None or match[1] != name or re.search(r"\n\s*(\n|\Z)", line):
            raise ValueError(f"no field of a stanza: {line[:100]!r}")
        lines.append(line)
    return "\n".join(lines)


def to_text(stanza: bytes) -> str:
    """Bytes as text that Postgres takes, NUL excepted; ``to_bytes`` gives the same bytes back."""
    if stanza.isascii():
        return stanza.decode("ascii")
    if b"\xf4\x8f\xbe" not in stanza and b"\xf4\x8f\xbf" not in stanza:  # U+10FF80 to U+10FFFF
        try:
            return stanza.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return _ESCAPES.sub(_escape_again, stanza.decode("utf-8", "surrogateescape")).translate(
        _FROM_SURROGATES
    )


def to_bytes(text: str) -> bytes:
    """What ``to_text`` made the text from."""
    if text.isascii():
        return text.encode("ascii")
    if _ESCAPES.search(text):
        text = text.translate(_TO_SURROGATES)
    return text.encode("utf-8", "surrogateescape")


def shown_text(text: str) -> str:
    """For readers: bytes that were no UTF-8 appear as the replacement character."""
    return text if text.isascii() else _ESCAPES.sub("\ufffd", text)


def _escape_again(match: re.Match[str]) -> str:
    return "".join(chr(0xDC00 + byte) for byte in match[0].encode("utf-8"))


def _whole_lines(blocks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Normalised text that ends with LF: no BOM, no CRLF, nothing in lines of blanks only."""
    tail: list[bytes] = []  # of a line whose end was not seen yet
    size = 0
    at_start = True
    for block in blocks:
        cut = block.rfind(b"\n") + 1
        if cut:
            tail.append(block[:cut])
            yield _normalised(b"".join(tail), at_start)
            at_start = False
            tail, size = [], 0
        tail.append(block[cut:])
        size += len(block) - cut
        if size > longest:
            raise MalformedFile(f"a line is longer than {longest} bytes")
    if any(tail):
        yield _normalised(b"".join((*tail, b"\n")), at_start)


def _normalised(lines: bytes, at_start: bool) -> bytes:
    if at_start and lines.startswith(_BOM):
        lines = lines[3:]
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n")
    if first := _BLANK_FIRST_LINE.match(lines):
        lines = lines[first.end() :]
    return _BLANK_LINE.sub(b"\n", lines)


def _numbered(pieces: list[bytes], line: int) -> Iterator[tuple[int, bytes]]:
    """Pieces that lie between two LF each, with the numbers of their first lines."""
    lines = map(add, map(methodcaller("count", b"\n"), pieces), repeat(2))
    return zip(accumulate(lines, initial=line), pieces, strict=False)


def _stanza_of(piece: bytes, line: int, longest: int) -> tuple[int, bytes] | None:
    """The stanza of what lies between two blank lines, if any; its first line has this number."""
    stanza = piece.strip(b"\n")
    if not stanza:
        return None
    if piece[0] == 10:
        line += len(piece) - len(piece.lstrip(b"\n"))
    if len(stanza) > longest:
        raise _too_long(line, longest)
    if b"#" in stanza and (stanza[0] == 35 or b"\n#" in stanza):
        line, stanza = _without_comments(line, stanza)
    return (line, stanza) if stanza else None


def _without_comments(start: int, stanza: bytes) -> tuple[int, bytes]:
    lines = stanza.split(b"\n")
    kept = [n for n, line in enumerate(lines) if not line.startswith(b"#")]
    return (start + kept[0] if kept else start), b"\n".join(lines[n] for n in kept)


def _too_long(line: int, longest: int) -> MalformedFile:
    return MalformedFile(f"the stanza at line {line} is longer than {longest} bytes")
