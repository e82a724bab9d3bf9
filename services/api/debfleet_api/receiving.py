"""Files in requests: streamed into the store as they come, digested before anything is answered."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from typing import IO, Annotated, Any, TypeVar

from flask import Flask, Request, Response, g, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from debfleet.db import fetches
from debfleet.db.connect import Tx
from debfleet.errors import NotFound
from debfleet.store import Receiver
from debfleet_api.answers import answer
from debfleet_api.bodies import Checked, refuse
from debfleet_api.errors import Refusal
from debfleet_api.state import api

T = TypeVar("T")

# A modify call names its units one by one: of what is no file, this much is read.
MOST_BYTES = 64 << 20
FILE_ENDPOINTS = frozenset(
    {
        "artifacts.create_artifact",
        "uploads.put_chunk",
        "creates.create_package",
        "creates.create_installer_package",
        "creates.create_generic",
    }
)
"""What takes a file in a form; elsewhere a file is a field that nobody expects."""

_AGAIN = {"detail": "The file was cleaned up while it was stored; send it again."}
_BLOCK = 1 << 20


class ReceivedFile(io.RawIOBase):
    """A file of a form, in the store's own temporary file until it is kept."""

    def __init__(self, receiver: Receiver, limit: int) -> None:
        self._receiver = receiver
        self._limit = limit
        self.sha256 = b""  # once it is kept

    @property
    def size(self) -> int:
        """Bytes that came."""
        return self._receiver.size

    def writable(self) -> bool:
        """It is written by the parser of the form, and by nobody else."""
        return True

    def seekable(self) -> bool:
        """The parser goes back to the start; that is all."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Nothing reads here."""
        return offset

    def write(self, block: Any, /) -> int:
        """Add bytes.

        Raises:
            RequestEntityTooLarge: It is longer than any file may be.
        """
        if self._receiver.size + len(block) > self._limit:
            raise RequestEntityTooLarge
        self._receiver.write(block)
        return len(block)

    def digest(self, algorithm: str) -> str:
        """Another digest than the one that files are known by, in hex."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with self._receiver.path().open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def peek_sha256(self) -> bytes:
        """Of what came."""
        return self._receiver.sha256

    def keep(self) -> bytes:
        """Put it into the store, durably; its SHA-256. Then say so: ``recorded``."""
        sha256 = self._receiver.sha256
        api().db.run(lambda tx: fetches.announce(tx, sha256))
        self._receiver.keep()
        api().store().flush()
        self.sha256 = sha256
        return sha256

    def close(self) -> None:
        """Gone, unless it was kept."""
        self._receiver.abort()
        super().close()


class FileRequest(Request):
    """A request whose files go where they are to stay."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.endpoint not in FILE_ENDPOINTS:
            return super()._get_file_stream(
                total_content_length, content_type, filename, content_length
            )
        received = ReceivedFile(api().store().receive(), api().settings.largest_file_bytes)
        g.setdefault("received_files", []).append(received)
        return received  # type: ignore[return-value]  # of IO, werkzeug needs write, seek and close


def add_limits(app: Flask) -> None:
    """How much of a request is read, by what it brings; after the login, before the body."""
    app.request_class = FileRequest
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = MOST_BYTES
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.before_request(_widen)
    app.teardown_request(_drop_files)


def _widen() -> None:
    if request.endpoint in FILE_ENDPOINTS and request.mimetype == "multipart/form-data":
        request.max_content_length = api().settings.largest_body_bytes


def _drop_files(_: BaseException | None) -> None:
    for received in g.pop("received_files", []):
        with contextlib.suppress(OSError):
            received.close()


def _too_large(_: Exception) -> Response:
    """413 with the way out."""
    if request.endpoint in FILE_ENDPOINTS:
        settings = api().settings
        detail = (
            f"The request body is too large: a request may have {settings.largest_body_bytes} "
            f"bytes and a file {settings.largest_file_bytes} (DEBFLEET_LARGEST_BODY_BYTES, "
            "DEBFLEET_LARGEST_FILE_BYTES); send a bigger file in chunks, through uploads/."
        )
    else:
        detail = f"The request body is too large: at most {MOST_BYTES} bytes are read."
    return answer({"detail": detail}, 413)


def recorded(work: Callable[[Tx], T]) -> T:
    """Run the transaction that says a file is stored.

    Raises:
        Refusal: 503; cleanup was faster.
    """
    try:
        return api().db.run(work)
    except NotFound as e:
        if e.what == "file":
            raise Refusal(503, _AGAIN, {"Retry-After": "1"}) from None
        raise


def is_stored(sha256: bytes) -> bool:
    """A look into the store."""
    return not api().store().missing([sha256])


def _read_file(_: Any) -> ReceivedFile:
    """A form's file; its field holds nothing else."""
    found: FileStorage | None = request.files.get("file")
    if found is None:
        refuse("The submitted data was not a file. Check the encoding type on the form.")
    stream = found.stream
    if not isinstance(stream, ReceivedFile):
        refuse("No file is taken here.")
    return stream


FormFile = Annotated[ReceivedFile, Checked(_read_file, {"type": "string", "format": "binary"})]
"""A field ``file`` of a body."""
