"""Content units as they come in: an index's stanzas become units and a set of them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import LiteralString, TypedDict

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from debfleet.db import sql
from debfleet.db.connect import Tx
from debfleet.db.dealing import Dealing, dealt
from debfleet.deb.packages import StanzaRefused, parse_package
from debfleet.model import Kind

CHUNK = 4096  # ids in one chunk; chunk_size() in the database says the same
BATCH = 4000  # stanzas at a time, or so many that they have
BATCH_BYTES = 8 << 20  # of them: what the memory of an ingestion follows
_UNDEALT = {"opener": None, "most_files": 1, "most_bytes": 1, "slots": 1}
MOST_HELD = 128 << 10  # digests, of 200 bytes each with all that holds them
EXAMPLES = 1000  # of each reason for leaving a stanza out

Staged = tuple[str | int | bytes | None, ...]  # a row of a form's staging table

_Q = sql.load("units.sql")


class Example(TypedDict):
    """One stanza that was left out."""

    line: int  # of the index, from 1
    detail: str


class Tolerated(TypedDict):
    """Stanzas that were left out for one reason; the first of them as examples."""

    reason: str
    count: int
    examples: list[Example]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an index turned out to hold."""

    index: int
    stanzas: int  # all of them, left-out ones too
    parsed: int  # stanzas not seen before, by anyone; 0 for an index that was there
    packages: int  # distinct ones
    tolerated: list[Tolerated]


@dataclass(frozen=True, slots=True)
class Form:
    """How the stanzas of one form of index (Packages, Sources) become units.

    ``queries`` has create_staging, find_known, copy_staged, analyze_staging, merge_staged,
    list_staged and drop_staging; ``read`` makes a staged row of a digest and a stanza.
    """

    kind: Kind  # of the units
    profile: bytes  # tells two readings of the same bytes apart
    queries: Mapping[str, LiteralString]
    read: Callable[[str, bytes], Staged]
    person: bytes = b""  # of the digests: the same stanza in another form is another unit


def ingest_index(
    tx: Tx,
    stanza_key: bytes,
    sha256: bytes,
    stanzas: Iterable[tuple[int, bytes]],
    form: Form | None = None,
    before: int | None = None,
) -> Ingested:
    """Turn an index's stanzas (line, normalised bytes) into units and the set of them.

    Without a ``form`` it is a Packages file. ``before``: another index of packages, of which this
    one repeats most (``find_index_before``).

    All of it in the caller's transaction, which should do nothing else and commit at once: who
    ingests an index with some of the same packages waits for it. An index that is already there
    is returned as it is, and ``stanzas`` is not read.

    Raises:
        UnsafePath: A stanza names a file outside the archive.
    """
    lock_index(tx, sha256)
    lock_content(tx)  # before the look: what is known now is to be relied on
    form = form or PACKAGES
    known = get_ingested(tx, sha256, form.profile)
    if known is not None:
        return known
    tx.execute(form.queries["create_staging"])
    keyed = hashlib.blake2b(digest_size=16, key=stanza_key, person=form.person)
    reading = _Reading(form, keyed)
    _read(tx, reading, stanzas, before)
    if reading.staged:
        _merge(tx, reading)
    _forget_unseen(reading)
    tx.execute(form.queries["drop_staging"])
    index = _add_index(tx, sha256, reading)
    return Ingested(
        index,
        reading.stanzas,
        reading.parsed,
        sum(int.from_bytes(bits, "big").bit_count() for bits in reading.chunks.values()),
        list(reading.tolerated.values()),
    )


def lock_content(tx: Tx, *, exclusive: bool = False) -> None:
    """Keep cleanup from deleting units or indices until the end of this transaction.

    Cleanup itself asks ``exclusive``, for one short batch at a time.
    """
    tx.execute(_Q["lock_content" if exclusive else "lock_content_shared"])


def get_ingested(tx: Tx, sha256: bytes, profile: bytes = b"") -> Ingested | None:
    """An index that was ingested before in a form of this profile, or nothing."""
    row = tx.execute(_Q["get_ingested"], {"sha256": sha256, "profile": profile}).fetchone()
    if row is None:
        return None
    return Ingested(row["id"], row["stanzas"], 0, row["packages"], row["tolerated"])


def find_indices(tx: Tx, sha256s: Sequence[bytes], profile: bytes = b"") -> dict[bytes, int]:
    """Those of the indices that are ingested in a form of this profile, by digest.

    They stay until the end of this transaction; record them as wanted in it to rely on them
    longer.
    """
    lock_content(tx)
    wanted = {"sha256s": list(sha256s), "profile": profile}
    tx.execute(_Q["touch_indices"], wanted)
    rows = tx.execute(_Q["find_indices"], wanted)
    return {row["sha256"]: row["id"] for row in rows}


def find_index_before(tx: Tx, repository: int, path: str, form: Form) -> int | None:
    """The index of packages at this path in the latest version of a repository.

    Nothing where there is none, or where it has so many that to hold their digests in memory would
    be too much.
    """
    if form.queries is not _Q:
        return None
    wanted = {"repository": repository, "path": path, "profile": form.profile, "most": MOST_HELD}
    row = tx.execute(_Q["find_index_before"], wanted).fetchone()
    return None if row is None else row["id"]


def lock_index(tx: Tx, sha256: bytes) -> None:
    """One worker at a time ingests an index; to the end of this transaction."""
    tx.execute(_Q["lock_index"], {"sha256": sha256})


def add_index(
    tx: Tx, sha256: bytes, profile: bytes, stanzas: int, tolerated: Sequence[Tolerated] = ()
) -> int:
    """Say that an index is ingested; its sets are added apart. Returns its id."""
    row = tx.execute(
        _Q["add_index"],
        {
            "sha256": sha256,
            "profile": profile,
            "stanzas": stanzas,
            "tolerated": Jsonb(list(tolerated)),
        },
    ).fetchone()
    assert row is not None
    return int(row["id"])


def list_missing_files(
    tx: Tx, task: int, positions: Sequence[int], dealing: Dealing | None = None
) -> dict[int, int]:
    """Note the files of some wanted indices that are not stored, for the task to fetch.

    Args:
        dealing: Deal them out too, into the first chunks of its opener.

    Returns:
        Chunk to files in it; 0: in no chunk yet. Files noted before do not count again.
    """
    how = _UNDEALT if dealing is None else asdict(dealing)
    values = {"task": task, "positions": list(positions), **how}
    rows = tx.execute(dealt(_Q["list_missing_files"]), values)
    return {row["chunk"]: row["files"] for row in rows}


def add_artifacts(tx: Tx, rows: Sequence[tuple[bytes, int]]) -> None:
    """Record files (SHA-256, size) that the store now has, durably."""
    lock_content(tx)  # the units that name them come in this transaction, or are there
    tx.execute(
        _Q["add_artifacts"],
        {"sha256s": [sha256 for sha256, _ in rows], "sizes": [size for _, size in rows]},
    )


def same_key(name: str, version: str, architecture: str, variant: str) -> int:
    """What two packages share that may not both be in a version: a hash, to look them up by.

    Made here and not by Postgres, whose hash functions may change with its version.
    """
    text = "\n".join((name, version, architecture, variant)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


# --- one index -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Reading:
    """What is known of an index so far. Grows with the spread of its ids, not its stanzas."""

    form: Form
    keyed: hashlib.blake2b  # the digest of no bytes at all, to begin with
    stanzas: int = 0
    parsed: int = 0
    staged: int = 0
    chunks: dict[tuple[str, int], bytearray] = field(default_factory=dict)
    tolerated: dict[str, Tolerated] = field(default_factory=dict)
    # Of the index before: what did not come yet, a digest with its number in ``held`` times CHUNK
    # plus its place; all of it is in ``chunks`` until the end.
    unseen: dict[bytes, int] = field(default_factory=dict)
    held: list[tuple[str, int]] = field(default_factory=list)


def _batches(stanzas: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    size = 0
    for item in stanzas:
        batch.append(item)
        size += len(item[1])
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read(
    tx: Tx, reading: _Reading, stanzas: Iterable[tuple[int, bytes]], before: int | None
) -> None:
    """Recognise the stanzas seen before; parse and stage the others.

    Those of the index before by what is held of it, others by Postgres, which looks up one batch
    while the next is split and digested.
    """
    with ThreadPoolExecutor(1, "lookup") as thread:
        holding = None if before is None else thread.submit(_hold, tx, reading, before)
        take_before: Callable[[], None] | None = None
        for batch in _batches(stanzas):
            digests = _digests(reading, batch)
            if holding is not None:
                holding.result()
            reading.stanzas += len(batch)
            if before is not None:
                others = _unheld(reading, digests)
                batch, digests = [batch[n] for n in others], [digests[n] for n in others]
            if take_before is not None:
                take_before()
            found = thread.submit(_find_known, tx, reading, digests)
            take_before = partial(_take, tx, reading, batch, digests, found)
        if take_before is not None:
            take_before()


def _digests(reading: _Reading, batch: Sequence[tuple[int, bytes]]) -> list[bytes]:
    digests = []
    for _, stanza in batch:
        digest = reading.keyed.copy()  # quicker than a new one with the same key
        digest.update(stanza)
        digests.append(digest.digest())
    return digests


def _hold(tx: Tx, reading: _Reading, index: int) -> None:
    """Take all of another index for ours, until its stanzas turn out not to come."""
    wanted = {"index": index, "kind": reading.form.kind}
    for row in tx.execute(_Q["list_digests"], wanted, binary=True):
        digests, places = row["digests"], struct.iter_unpack("!i", row["places"])
        first = len(reading.held) * CHUNK
        reading.unseen |= {
            digests[n : n + 16]: first + place
            for n, (place,) in zip(range(0, len(digests), 16), places, strict=True)
        }
        reading.held.append((row["architecture"], row["chunk"]))
        reading.chunks[reading.held[-1]] = bytearray(row["bits"][4:])  # the length comes first


def _unheld(reading: _Reading, digests: Sequence[bytes]) -> list[int]:
    """The numbers of those that the index before does not have, or that came already."""
    take = reading.unseen.pop
    return [n for n, digest in enumerate(digests) if take(digest, None) is None]


def _forget_unseen(reading: _Reading) -> None:
    for at in reading.unseen.values():
        number, place = divmod(at, CHUNK)
        reading.chunks[reading.held[number]][place >> 3] &= ~(128 >> (place & 7))
    for key in reading.held:
        if not any(reading.chunks[key]):
            del reading.chunks[key]


def _find_known(tx: Tx, reading: _Reading, digests: Sequence[bytes]) -> list[DictRow]:
    if not digests:
        return []
    # One text literal: thousands of UUID objects would cost more than the lookup itself.
    literal = "{" + ",".join(digest.hex() for digest in digests) + "}"
    return tx.execute(reading.form.queries["find_known"], {"digests": literal}).fetchall()


def _take(
    tx: Tx,
    reading: _Reading,
    batch: Sequence[tuple[int, bytes]],
    digests: Sequence[bytes],
    found: Future[list[DictRow]],
) -> None:
    unknown: list[int] = []
    for row in found.result():
        if row["chunk"] is None:
            unknown = row["unknown"]
        else:
            _set_bits(reading, row)
    if unknown:
        fresh = [(digests[n - 1].hex(), *batch[n - 1]) for n in sorted(unknown)]
        with tx.cursor().copy(reading.form.queries["copy_staged"]) as copy:
            for staged in _parse(reading, fresh):
                copy.write_row(staged)


def _parse(reading: _Reading, fresh: list[tuple[str, int, bytes]]) -> Iterator[Staged]:
    """Rows to stage; an index may repeat a stanza, which the merge sorts out."""
    read = reading.form.read
    for digest, line, stanza in fresh:
        reading.parsed += 1
        try:
            row = read(digest, stanza)
        except StanzaRefused as refused:
            _tolerate(reading, refused, line)
        else:
            reading.staged += 1
            yield row


def _read_package(digest: str, stanza: bytes, kind: Kind = Kind.PACKAGE) -> Staged:
    p = parse_package(stanza)
    key = same_key(p.name, p.version, p.architecture, p.architecture_variant)
    return (
        *(digest, int(kind), p.name, p.version, p.architecture, p.architecture_variant),
        *(p.source, p.section, p.priority, p.multi_arch),
        *(p.relative_path, p.size, p.sha256, key, p.stanza),
    )


def _tolerate(reading: _Reading, refused: StanzaRefused, line: int) -> None:
    empty = Tolerated(reason=refused.reason, count=0, examples=[])
    entry = reading.tolerated.setdefault(refused.reason, empty)
    entry["count"] += 1
    if len(entry["examples"]) < EXAMPLES:
        # Upstream's text: not more of it than a reader wants, and nothing that jsonb refuses.
        detail = refused.detail[:300].replace("\0", "").encode(errors="replace").decode()
        entry["examples"].append(Example(line=line, detail=detail))


def _read_udeb(digest: str, stanza: bytes) -> Staged:
    return _read_package(digest, stanza, Kind.INSTALLER_PACKAGE)


PACKAGES = Form(Kind.PACKAGE, b"", _Q, _read_package)
UDEBS = Form(Kind.INSTALLER_PACKAGE, b"udeb", _Q, _read_udeb, person=b"udeb")


def _merge(tx: Tx, reading: _Reading) -> None:
    queries = reading.form.queries
    tx.execute(queries["analyze_staging"])
    tx.execute(queries["merge_staged"])
    for row in tx.execute(queries["list_staged"]):
        _set_bits(reading, row)


def _set_bits(reading: _Reading, row: DictRow) -> None:
    place_of_set = (row["architecture"], row["chunk"])
    bits = reading.chunks.get(place_of_set)
    if bits is None:
        bits = reading.chunks[place_of_set] = bytearray(CHUNK // 8)
    for place in row["places"]:
        bits[place >> 3] |= 128 >> (place & 7)  # Postgres counts bits from the left


def _add_index(tx: Tx, sha256: bytes, reading: _Reading) -> int:
    tolerated = list(reading.tolerated.values())
    index = add_index(tx, sha256, reading.form.profile, reading.stanzas, tolerated)
    with tx.cursor().copy(_Q["copy_index_chunks"]) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for (architecture, chunk), bits in sorted(reading.chunks.items()):
            copy.write(_chunk_row(index, reading.form.kind, architecture, chunk, bits))
        copy.write(struct.pack("!h", -1))
    return index


def _chunk_row(index: int, kind: Kind, architecture: str, chunk: int, bits: bytearray) -> bytes:
    """A row of index_chunks in Postgres' binary COPY format; a bit string is its length first."""
    name = architecture.encode()
    head = struct.pack("!hiiihi", 5, 4, index, 2, kind, len(name))
    return head + name + struct.pack("!iiii", 4, chunk, 4 + len(bits), CHUNK) + bytes(bits)
