"""Splitting and reading stanzas, held against python-debian and against hostile input."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator

import pytest
from debian.deb822 import Deb822
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debfleet.deb.stanza import (
    find_field,
    render_stanza,
    shown_text,
    split_stanzas,
    stanza_fields,
    to_bytes,
    to_text,
)
from debfleet.errors import MalformedFile

calm = settings(  # a slow machine is no fault of the code
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
WORDS = st.text(
    st.characters(
        codec="utf-8",
        # The last two are no characters, and lie among those that stand for broken bytes.
        exclude_characters="\r\n\U0010fffe\U0010ffff",
        exclude_categories=("Cc", "Z", "Co"),
    ),
    min_size=1,
    max_size=12,
)
LINES = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
VALUES = st.tuples(LINES, st.lists(LINES, max_size=3)).map(
    lambda value: "\n ".join((value[0], *value[1]))
)
FIELDS = st.lists(
    st.tuples(NAMES, VALUES), min_size=1, max_size=6, unique_by=lambda f: f[0].lower()
)


def split(data: bytes, size: int | None = None, **limits: int) -> list[tuple[int, bytes]]:
    """Split data that comes in blocks of this many bytes."""
    step = size or len(data) or 1
    return list(split_stanzas((data[i : i + step] for i in range(0, len(data), step)), **limits))


def stanzas(data: bytes) -> list[bytes]:
    return [stanza for _, stanza in split(data)]


@calm
@given(st.lists(FIELDS, max_size=5))
def test_fields_come_back_as_python_debian_reads_them(
    contents: list[list[tuple[str, str]]],
) -> None:
    data = "\n\n".join(render_stanza(fields) for fields in contents).encode()

    ours = [stanza_fields(to_text(stanza)) for stanza in stanzas(data)]

    theirs = [dict(p) for p in Deb822.iter_paragraphs(data.split(b"\n"), use_apt_pkg=False)]
    assert ours == theirs
    assert ours == [dict(fields) for fields in contents]


@calm
@given(
    st.lists(
        st.sampled_from(
            b"Package: a|B:  two words | more|\tmore|#note|# x: y|| |\t|C:|D:\xc3\xa9|package: b"
            b"|E:\xff|X-\xc3: y|no colon".split(b"|")
        ),
        max_size=14,
    ),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
)
def test_any_lines_split_by_the_rule_into_the_fields_that_python_debian_reads(
    lines: list[bytes], line_end: bytes, ends: bool
) -> None:
    data = line_end.join(lines) + (line_end if ends else b"")

    found = split(data)

    expected = list(paragraphs(data))
    assert found == expected
    for _, stanza in found:
        text = to_text(stanza)
        ours, theirs = list(stanza_fields(text)), list(Deb822(text.split("\n")))
        assert [name.lower() for name in ours] == [name.lower() for name in theirs]


def paragraphs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The rule, told line by line."""
    block: list[bytes] = []
    start = 0
    for number, line in enumerate((*data.replace(b"\r\n", b"\n").split(b"\n"), b""), 1):
        if line.startswith(b"#"):
            continue
        if line.strip():
            start = start if block else number
            block.append(line)
        elif block:
            yield start, b"\n".join(block)
            block = []


HOSTILE = (
    b"\xef\xbb\xbf# a comment first\r\n\r\nPackage: a\r\nDescription: x\r\n more\r\n# within\r\n"
    b" .\r\n\r\n \t \r\nPackage: b\n\n\n\n\nPackage: c\r\nX: \xff\xfe\0\n\t\n#c\n\n#d\nPackage: d\n"
    b"no colon\n  \n continued from nowhere\n\nPackage: e\n#last"
)


@pytest.mark.parametrize("size", range(1, len(HOSTILE) + 1))
def test_block_borders_at_any_byte_change_nothing(size: int) -> None:
    expected = [
        (3, b"Package: a\nDescription: x\n more\n ."),
        (10, b"Package: b"),
        (15, b"Package: c\nX: \xff\xfe\0"),
        (21, b"Package: d\nno colon"),
        (24, b" continued from nowhere"),
        (26, b"Package: e"),
    ]

    assert split(HOSTILE, size) == expected


@calm
@given(st.binary(max_size=60), st.integers(1, 7))
def test_any_bytes_in_any_blocks_give_the_same_stanzas(data: bytes, size: int) -> None:
    assert split(data, size) == split(data)


@calm
@given(st.text("ab:# \t\r\n\ufeff", max_size=60), st.integers(1, 7))
def test_any_structure_in_any_blocks_gives_the_same_stanzas(text: str, size: int) -> None:
    data = text.encode()

    assert split(data, size) == split(data)
    assert all(
        stanza and not stanza.endswith(b"\n") and not re.search(rb"(?m)^\s*$|^#", stanza)
        for stanza in stanzas(data)
    )


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", b" \n\t\n", b"#\n#", b"\xef\xbb\xbf"])
def test_a_file_without_stanzas_gives_none(data: bytes) -> None:
    assert split(data) == split(data, 1) == []


def test_empty_blocks_are_harmless() -> None:
    assert list(split_stanzas([b"", b"A: 1", b"", b"\n", b"", b"\nB: 2"])) == [
        (1, b"A: 1"),
        (3, b"B: 2"),
    ]


def test_no_line_end_at_the_end_is_harmless() -> None:
    assert stanzas(b"A: 1\n\nB: 2\n more") == [b"A: 1", b"B: 2\n more"]


def test_a_huge_field_comes_whole() -> None:
    value = b"x" * (10 << 20)

    assert split(b"A: " + value + b"\n\nB: 2\n", 1 << 16) == [(1, b"A: " + value), (3, b"B: 2")]


@pytest.mark.parametrize("size", [1, 10, 64, 4096])
@pytest.mark.parametrize("filler", [b"x", b"x\n ", b"x\r\n "])
def test_a_stanza_over_the_limit_is_refused(size: int, filler: bytes) -> None:
    data = b"A: 1\n\nB: " + filler * 600 + b"\n"

    with pytest.raises(MalformedFile, match="longer than 500 bytes"):
        split(data, size, longest=500)


def test_memory_follows_the_block_and_not_the_file() -> None:
    block = b"Package: a\nDescription: some text\n\n" * 2000
    tracemalloc.start()

    count = sum(1 for _ in split_stanzas(block for _ in range(30)))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 60_000
    assert peak < 20 * len(block)


def test_a_long_stanza_in_small_blocks_takes_linear_time() -> None:
    blocks = [b"A: 1\n"] + [b" some line\n"] * 200_000

    ((_, stanza),) = split_stanzas(blocks)

    assert len(stanza) == sum(map(len, blocks)) - 1


def test_the_first_of_a_repeated_field_wins_however_it_is_spelled() -> None:
    fields = stanza_fields("Package: a\nPACKAGE: b\nversion: 1\nVersion: 2")

    assert fields == {"Package": "a", "version": "1"}


def test_a_field_is_found_however_it_is_spelled() -> None:
    fields = stanza_fields("package: a\nInstalled-SIZE:12")

    assert find_field(fields, "Package") == "a"
    assert find_field(fields, "installed-size") == "12"
    assert find_field(fields, "Size") is None


def test_lines_that_are_no_field_are_left_out() -> None:
    fields = stanza_fields(" nowhere\nPackage: a\nno colon\n continued\n: no name\nB: 2\n b\n\tc ")

    assert fields == {"Package": "a", "B": "2\n b\n\tc"}


def test_only_line_feeds_end_a_line() -> None:
    assert stanza_fields("A: 1\x0b\x0c\x1c\x85\u2028 2\nB: 3") == {
        "A": "1\x0b\x0c\x1c\x85\u2028 2",
        "B": "3",
    }


@calm
@given(FIELDS)
def test_what_is_rendered_is_read_again(fields: list[tuple[str, str]]) -> None:
    stanza = render_stanza(fields)

    assert list(stanza_fields(stanza).items()) == fields
    assert split(stanza.encode()) == [(1, stanza.encode())]


@pytest.mark.parametrize(
    "field",
    [
        *(("", "x"), ("A B", "x"), ("A:", "x"), ("-A", "x"), ("A\n", "x"), ("#A", "x")),
        *(("A", "x\n"), ("A", "x\ny"), ("A", "x\n\n y"), ("A", "x\n \n y"), ("A", "x\n ")),
        ("A", "x\nB: y"),
    ],
)
def test_what_would_break_a_stanza_is_not_rendered(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="no field"):
        render_stanza([field])


@calm
@given(st.binary(max_size=30))
def test_any_bytes_become_text_and_come_back(data: bytes) -> None:
    text = to_text(data)

    assert to_bytes(text) == data
    assert not any(0xD800 <= ord(char) < 0xE000 for char in text)


@calm
@given(st.text(max_size=20), st.integers(0x10FF7E, 0x10FFFF), st.binary(max_size=3))
def test_private_characters_are_not_mistaken_for_escapes(text: str, code: int, tail: bytes) -> None:
    data = f"{text}{chr(code)}".encode("utf-8", "ignore") + tail

    assert to_bytes(to_text(data)) == data


def test_utf8_stays_what_it_is() -> None:
    assert to_text("Zoë \U0001f600 \ue000".encode()) == "Zoë \U0001f600 \ue000"


def test_broken_bytes_are_shown_as_replaced() -> None:
    assert shown_text(to_text(b"Zo\xeb B\xc3\xa9")) == "Zo\ufffd Bé"
