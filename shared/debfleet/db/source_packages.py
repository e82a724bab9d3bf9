"""Source packages as they come in, by Sources indices."""

from __future__ import annotations

import json

from debfleet.db import sql
from debfleet.db.units import Form, Staged, same_key
from debfleet.deb.sources import parse_source
from debfleet.model import Kind

_Q = sql.load("source_packages.sql")


def _read_source(digest: str, stanza: bytes) -> Staged:
    s = parse_source(stanza)
    key = same_key(s.name, s.version, "source", "")
    files = json.dumps(
        [{"path": f.path, "size": f.size, "sha256": f.sha256.hex()} for f in s.files]
    )
    return (digest, s.name, s.version, s.dsc.path, s.dsc.sha256, key, s.stanza, files)


SOURCES = Form(Kind.SOURCE_PACKAGE, b"sources", _Q, _read_source)
