"""A store in an S3 bucket."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, S3Store

from debfleet.errors import ConfigError, NotFound, StoreError
from debfleet.store.directory import sweep_folder
from debfleet.store.receiver import Receiver

T = TypeVar("T")

_PART = 8 << 20  # bytes of one part of a big upload
_PARTS_AT_ONCE = 4
_QUESTIONS_AT_ONCE = 16
_LONGEST = 600  # characters of a server's answer that are told
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]+)</Message>")
# What may stand behind the ? of the URL. Secrets do not: they come from AWS_ACCESS_KEY_ID,
# AWS_SECRET_ACCESS_KEY and the other variables and places that S3 clients know.
_OPTIONS = (
    "endpoint",
    "region",
    "virtual_hosted_style_request",
    "server_side_encryption",
    "sse_kms_key_id",
    "checksum_algorithm",
    "skip_signature",
    "unsigned_payload",
)


def open_bucket(url: str, work_directory: str = "") -> BucketStore:
    """The bucket of ``s3://bucket/prefix?endpoint=…&region=…``; nothing is connected yet.

    Raises:
        ConfigError: An option is not known, or its value is wrong.
    """
    parts = urlsplit(url)
    # One object at a time is deleted: the request that every S3 server knows.
    options: dict[str, Any] = {"disable_bulk_delete": True}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise ConfigError(
                f"DEBFLEET_STORE_URL: no option {name!r}; there are {', '.join(_OPTIONS)}"
            )
        options[name] = value
    allow_http = str(options.get("endpoint", "")).startswith("http://")
    try:
        objects = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=options,  # type: ignore[arg-type]  # names are checked above, values by S3Store
            client_options={"allow_http": allow_http, "timeout": "10m", "connect_timeout": "10s"},
            # Not the 10 times and 3 minutes of the library: a job is tried again too.
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
        )
    except (BaseError, ValueError) as e:
        raise ConfigError(f"DEBFLEET_STORE_URL: {e}") from e
    return BucketStore(objects, f"bucket {parts.netloc}{parts.path}", work_directory)


class BucketStore:
    """Objects named by their 64 digits; each is whole from the moment it can be seen.

    A file is first received into the work directory, since it may not be seen before its digest is
    known, and then sent in one request, or in parts if it is big.
    """

    is_local = False

    def __init__(self, objects: ObjectStore, name: str, work_directory: str = "") -> None:
        self._objects = objects
        self._name = name
        # Of this user alone: in a directory that all may write to, nobody else can take the name.
        base = work_directory or tempfile.gettempdir()
        self._temporary = f"{base}/debfleet-store-{os.geteuid()}"
        try:
            os.makedirs(self._temporary, mode=0o700, exist_ok=True)
            if os.lstat(self._temporary).st_uid != os.geteuid():
                raise StoreError(f"{self._temporary} belongs to another user")
        except OSError as e:
            raise StoreError(f"{self._temporary} cannot be made: {e.strerror}") from e

    def receive(self) -> Receiver:
        """See ``Store``."""
        return Receiver(self._temporary, self._place, stays=False)

    def open(self, sha256: bytes) -> BinaryIO:
        """See ``Store``; read in blocks, and it can seek."""
        try:
            reader = self._asked(lambda: obstore.open_reader(self._objects, _key(sha256)))
        except FileNotFoundError:
            raise NotFound("artifact", sha256.hex()) from None
        return io.BufferedReader(_RawObject(reader, self._asked), 1 << 20)

    def open_at_once(self, sha256: bytes) -> BinaryIO | None:
        """See ``Store``."""
        return None

    def size(self, sha256: bytes) -> int | None:
        """See ``Store``."""
        try:
            return self._asked(lambda: obstore.head(self._objects, _key(sha256)))["size"]
        except FileNotFoundError:
            return None

    def missing(self, digests: Sequence[bytes]) -> set[bytes]:
        """See ``Store``; one request each, some at a time."""
        with ThreadPoolExecutor(_QUESTIONS_AT_ONCE) as pool:
            sizes = pool.map(self.size, digests)
            return {d for d, size in zip(digests, sizes, strict=True) if size is None}

    def delete(self, sha256: bytes) -> None:
        """See ``Store``."""
        try:
            self._asked(lambda: obstore.delete(self._objects, _key(sha256)))
        except FileNotFoundError:
            return  # S3 itself does not say so

    def link(self, sha256: bytes, seconds: int) -> str | None:
        """See ``Store``; signed here, without asking the server."""
        objects = cast("S3Store", self._objects)  # open_bucket makes no other
        expires = timedelta(seconds=seconds)
        return self._asked(lambda: obstore.sign(objects, "GET", _key(sha256), expires))

    def flush(self, found: Sequence[bytes] = ()) -> None:
        """See ``Store``; an upload that was answered is durable already."""

    def check(self) -> str:
        """See ``Store``."""
        self._asked(lambda: obstore.put(self._objects, "check", b"debfleet"))
        self._asked(lambda: obstore.delete(self._objects, "check"))
        return self._name

    def sweep_temporary(self, older_seconds: float) -> int:
        """See ``Store``; uploads that ended in the middle are the bucket's lifecycle rule's."""
        return sweep_folder(self._temporary, older_seconds)

    def _place(self, path: str, sha256: bytes, size: int) -> None:
        self._asked(
            lambda: obstore.put(
                self._objects,
                _key(sha256),
                Path(path),
                use_multipart=size > _PART,
                chunk_size=_PART,
                max_concurrency=_PARTS_AT_ONCE,
            )
        )
        os.unlink(path)

    def _asked(self, request: Callable[[], T]) -> T:
        """Do one request; FileNotFoundError stays what it is.

        Raises:
            StoreError: With the server's answer.
        """
        try:
            return request()
        except FileNotFoundError:
            raise
        except (BaseError, OSError, ValueError) as e:
            raise StoreError(f"{self._name}: {_told(e)}") from e


class _RawObject(io.RawIOBase):
    def __init__(self, reader: Any, asked: Callable[[Callable[[], Any]], Any]) -> None:
        self._reader = reader
        self._asked = asked

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._asked(lambda: self._reader.read(len(buffer)))
        buffer[: len(block)] = memoryview(block)
        return len(block)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._asked(lambda: self._reader.seek(offset, whence)))

    def tell(self) -> int:
        return int(self._reader.tell())


def _key(sha256: bytes) -> str:
    return sha256.hex()


def _told(error: BaseException) -> str:
    """The server's answer in one line, without the library's own inner state."""
    said = " ".join(str(error).partition("Debug source")[0].split())
    code, text = _CODE.search(said), _MESSAGE.search(said)
    if code is None:
        return said[:_LONGEST]
    before = said.partition("<?xml")[0].partition("<Error>")[0].rstrip(" :")
    return f"{before[:_LONGEST]}: {code[1]}{f' ({text[1][:_LONGEST]})' if text else ''}"
