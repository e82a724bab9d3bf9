"""The floor of ingestion: decompress, split, hash and COPY the stanzas of indices, and no more."""

from __future__ import annotations

import hashlib
import lzma
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from lab import Run, postgres

_FIELDS = re.compile(rb"^(Package|Version|Architecture): (.*)$", re.MULTILINE)


def copy(indices: Sequence[Path], folder: Path) -> Run:
    """Every stanza into a table without a key, one index after the other, by one process."""
    with postgres(folder) as url, psycopg.connect(url) as db:
        db.execute(
            "create table stanzas (digest bytea, name text, version text, architecture text, "
            "stanza text)"
        )
        db.commit()
        began = time.monotonic()
        with db.cursor().copy("copy stanzas from stdin") as target:
            for path in indices:
                for stanza in _stanzas(path):
                    found = dict(_FIELDS.findall(stanza))
                    target.write_row(
                        (
                            hashlib.sha256(stanza).digest(),
                            found[b"Package"].decode(),
                            found[b"Version"].decode(),
                            found[b"Architecture"].decode(),
                            stanza.decode(),
                        )
                    )
        db.commit()
        return Run(time.monotonic() - began)


def _stanzas(path: Path) -> Iterator[bytes]:
    return filter(None, lzma.decompress(path.read_bytes()).split(b"\n\n"))
