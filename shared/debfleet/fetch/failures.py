"""What aiohttp raises, as our errors: may the same request succeed later, or not."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import NoReturn

import aiohttp

from debfleet.errors import (
    ConnectionFailed,
    HttpStatusError,
    NameNotResolved,
    ProxyRefused,
    TlsFailed,
    TransferTimeout,
    UnsupportedUrl,
)
from debfleet.fetch.connection import shown_url


@contextlib.contextmanager
def translated(raw_url: str, stall: float | None) -> Iterator[None]:
    """Within the block, errors of the network become ours.

    Args:
        raw_url: Shown without its secrets.
        stall: The limit of seconds without a byte, for the message.
    """
    try:
        yield
    except (aiohttp.ClientError, OSError) as e:  # TimeoutError is an OSError
        _raise_ours(e, shown_url(raw_url), stall)


def _raise_ours(error: BaseException, url: str, stall: float | None) -> NoReturn:
    try:
        raise error
    except aiohttp.SocketTimeoutError as e:
        raise TransferTimeout(url, stall) from e
    except TimeoutError as e:
        raise TransferTimeout(url) from e
    except aiohttp.ClientHttpProxyError as e:
        if e.status == 407:
            raise ProxyRefused(f"the proxy wants other credentials (407) for {url}") from e
        raise HttpStatusError(e.status, e.message, url) from e
    except aiohttp.ClientConnectorDNSError as e:
        raise NameNotResolved(_no_connection(e)) from e
    except aiohttp.ClientConnectorCertificateError as e:
        reason = getattr(e.certificate_error, "verify_message", "") or str(e.certificate_error)
        raise TlsFailed(f"the certificate of {e.host}:{e.port} is not accepted: {reason}") from e
    except aiohttp.ClientConnectorError as e:
        _raise_if_tls(e.os_error, f"{e.host}:{e.port}")
        raise ConnectionFailed(_no_connection(e)) from e
    except aiohttp.InvalidURL as e:
        raise UnsupportedUrl(f"{url} is no URL: {e}") from e
    except (aiohttp.ClientError, OSError) as e:
        _raise_if_tls(e, url)
        raise ConnectionFailed(f"{url}: the connection broke: {_words(e)}") from e


def _no_connection(error: aiohttp.ClientConnectorError) -> str:
    # The words of Pulp, which clients and people know.
    reason = error.os_error.strerror or str(error.os_error)
    return f"Cannot connect to host {error.host}:{error.port} ssl:default [{reason}]"


def _raise_if_tls(error: BaseException, where: str) -> None:
    """A refused certificate, ours or theirs, or no TLS at all; a mere cut is none of these."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    if cause is None or isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return
    raise TlsFailed(f"no TLS connection to {where}: {cause.reason or cause}") from error


def _words(error: BaseException) -> str:
    return str(error).split("\n")[0] or type(error).__name__
