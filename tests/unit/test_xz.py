"""An .xz file of several blocks, held against those who read it."""

from __future__ import annotations

import lzma
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from debfleet_worker.xz import BLOCK, xz_compressed

HELPER = Path("/usr/lib/apt/apt-helper")
WORDS = [f"word{n}".encode() for n in range(5000)]


def text(size: int) -> bytes:
    """So many bytes that compress as those of an index do; the same each time."""
    some = b" ".join(random.Random(size).choices(WORDS, k=20_000))
    return (some * (size // len(some) + 1))[:size]


def parts(whole: bytes, size: int) -> Iterator[bytes]:
    return (whole[at : at + size] for at in range(0, len(whole), size))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 12345])
def test_python_reads_what_was_compressed(size: int) -> None:
    whole = text(size)

    made = b"".join(xz_compressed(parts(whole, 1 << 18), preset=0))

    assert lzma.decompress(made, lzma.FORMAT_XZ) == whole


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz here")
@pytest.mark.parametrize(("size", "blocks"), [(0, 0), (100, 1), (2 * BLOCK + 1, 3)])
def test_xz_finds_one_stream_of_sound_blocks(tmp_path: Path, size: int, blocks: int) -> None:
    file = tmp_path / "made.xz"
    file.write_bytes(b"".join(xz_compressed([text(size)], preset=0)))

    subprocess.run(["xz", "--test", file], check=True)
    said = subprocess.run(["xz", "--robot", "--list", file], capture_output=True, check=True)

    columns = next(line for line in said.stdout.decode().split("\n") if line.startswith("file"))
    assert columns.split("\t")[1:3] == ["1", str(blocks)]


@pytest.mark.skipif(not HELPER.exists(), reason="no apt here")
def test_apt_reads_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "made.xz"
    whole = text(2 * BLOCK + 1)
    file.write_bytes(b"".join(xz_compressed([whole], preset=0)))

    said = subprocess.run([HELPER, "cat-file", file], capture_output=True, check=True)

    assert said.stdout == whole


def test_more_blocks_than_a_byte_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debfleet_worker.xz.BLOCK", 1000)
    whole = text(200_500)

    made = b"".join(xz_compressed([whole], preset=0))

    assert lzma.decompress(made, lzma.FORMAT_XZ) == whole


def test_the_bytes_do_not_depend_on_the_parts_that_came() -> None:
    whole = text(BLOCK + 1000)

    made = [b"".join(xz_compressed(parts(whole, size), preset=1)) for size in (999, 1 << 18)]

    assert made[0] == made[1]
