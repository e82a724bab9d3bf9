"""Publications over HTTP, to apt: put together here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote
from uuid import UUID, uuid4

import psycopg
from aiohttp import hdrs, web

from debfleet import metrics
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.db.served import Entry, File, Grace, list_public_keys
from debfleet.errors import StoreError, TooManyLogins
from debfleet.measure import OTHER, method_label, status_label
from debfleet.metrics_port import store_looks
from debfleet.passwords import Passwords
from debfleet.store import Store
from debfleet_content import listing
from debfleet_content.answers import Body, Part, checked, open_stored, send_file, text_answer
from debfleet_content.arriving import Broken
from debfleet_content.content import CONTENT, Content
from debfleet_content.database import Reader
from debfleet_content.guards import Denied, Guards
from debfleet_content.lookups import Lookups
from debfleet_content.paths import PREFIX, read_path
from debfleet_content.resolve import (
    KEYRING,
    BaseFolder,
    CheckpointFolder,
    Folder,
    Found,
    Guarded,
    Keyring,
    Known,
    Missing,
    Moved,
    resolve,
)
from debfleet_content.sending import Senders
from debfleet_content.through import Through

log = logging.getLogger(__name__)

_RETRY_SECONDS = 5
_LINK_SECONDS = 3600  # that a link into the bucket holds
_METHODS = "GET,HEAD"
_PREPARED: web.RequestKey[bool] = web.RequestKey("prepared")  # the headers are on their way
_GUARDED: web.RequestKey[bool] = web.RequestKey("guarded")  # not for everybody
_CID: web.RequestKey[str] = web.RequestKey("cid")
_ROUTE: web.RequestKey[str] = web.RequestKey("route")  # as metrics call it


def create_app(
    settings: Settings, reader: Reader, db: Database, store: Store, through: Through
) -> web.Application:
    """The application; who calls it opens the database and closes it again."""
    app = web.Application(middlewares=[_middleware], client_max_size=0)
    grace = Grace(
        seconds=settings.distributed_publication_retention_period,
        switches=settings.content_generations,
    )
    app[CONTENT] = Content(
        settings,
        reader,
        Lookups(reader),
        store,
        through,
        listing.Listings(reader, db),
        grace,
        Known(),
        Guards(db, Passwords()),
        Senders(),
    )
    app.on_cleanup.append(_end_senders)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_route("*", "/{path:.*}", answer)
    app.on_response_prepare.append(_finish_headers)
    return app


async def _end_senders(app: web.Application) -> None:
    await asyncio.to_thread(app[CONTENT].senders.close)


async def _livez(_: web.Request) -> web.StreamResponse:
    return text_answer(200, "live")


async def _readyz(request: web.Request) -> web.StreamResponse:
    """503 where the database (by the middleware) or the store is away."""
    content = request.app[CONTENT]
    await content.reader.read(lambda tx: tx.execute("SELECT 1"))
    if not store_looks(content.settings.store_url):
        return text_answer(503, "the store is away")
    return text_answer(200, "ready")


async def answer(request: web.Request) -> web.StreamResponse:
    """Any request."""
    if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
        return text_answer(405, "Method Not Allowed", Allow=_METHODS)
    read = read_path(request.raw_path)
    if read is None:
        return text_answer(404, "Not Found")
    parts, is_folder = read
    content = request.app[CONTENT]
    found = await _resolve(content, parts)
    passed = None
    if isinstance(found, Guarded):
        passed = found.guard
        denied = await asyncio.to_thread(content.guards.check, passed, request.headers)
        if denied is not None:
            return _denied(denied)
        request[_GUARDED] = True
        found = await _resolve(content, parts, passed)
    if isinstance(found, File):
        request[_ROUTE] = _route_of(found)
        if is_folder:
            return text_answer(404, "Not Found")
        return await _answer_file(request, content, found)
    if isinstance(found, Folder) and is_folder:
        page = await _resolve(content, [*parts, "index.html"], passed)
        if isinstance(page, File):
            return await _answer_file(request, content, page)
    return await _answer_other(request, content, found, parts, is_folder)


async def _resolve(content: Content, parts: list[str], passed: UUID | None = None) -> Found:
    return await resolve(
        content.lookups, content.reader, parts, content.grace, content.known, passed
    )


def _denied(denied: Denied) -> web.Response:
    if denied.status == 401:
        challenge = {hdrs.WWW_AUTHENTICATE: 'Basic realm="content"'}
        return text_answer(401, "Unauthorized", **challenge)
    return text_answer(403, "Forbidden")


async def _answer_other(
    request: web.Request,
    content: Content,
    found: Folder | BaseFolder | CheckpointFolder | Moved | Keyring | Guarded | Missing,
    parts: list[str],
    is_folder: bool,
) -> web.StreamResponse:
    if isinstance(found, Keyring):
        request[_ROUTE] = "key"
        return await _answer_keyring(request, content, found)
    if isinstance(found, Guarded):
        return text_answer(403, "Forbidden")  # it got another guard this very moment
    request[_ROUTE] = "listing"
    if isinstance(found, Missing):
        request[_ROUTE] = OTHER
        return text_answer(404, found.reason)
    if isinstance(found, Moved):
        there = f"{PREFIX}/{found.path}" + "/" * is_folder
        return text_answer(301, "Moved Permanently", Location=quote(there))
    entries = await _list(content, found)
    if not entries and not isinstance(found, CheckpointFolder) and found.path:
        return text_answer(404, "Not Found")
    here = "/".join([PREFIX, *parts]) + "/"
    if not is_folder:
        return text_answer(301, "Moved Permanently", Location=quote(here))
    also = [KEYRING] if isinstance(found, Folder) and not found.path else []
    return listing.page(here, entries, bool(parts), also)


def _route_of(file: File) -> str:
    """What kind of file apt asks for; a flat repository has none of dists and pool."""
    if file.is_pool:
        return "pool"
    return "dists" if file.path.startswith("dists/") else "file"


async def _list(content: Content, found: Folder | BaseFolder | CheckpointFolder) -> list[Entry]:
    if isinstance(found, CheckpointFolder):
        return await content.listings.list_checkpoints(found.target)
    if isinstance(found, BaseFolder):
        return await content.listings.list_bases(found.path)
    return await content.listings.list_folder(found.target, found.path)


async def _answer_file(request: web.Request, content: Content, file: File) -> web.StreamResponse:
    part = checked(request, file)
    if not isinstance(part, Part):
        return part
    body: Body | None = None
    if (
        file.is_stored
        and file.is_pool
        and not content.store.is_local
        and content.settings.redirect_to_object_storage
    ):
        # Never an index: the bucket does not know of rollbacks, and its dates would lie.
        link = await asyncio.to_thread(content.store.link, file.sha256, _LINK_SECONDS)
        if link is not None:
            return text_answer(302, "Found", Location=link)
    if file.is_stored:
        body = await open_stored(content.store, file, part)
        if body is None:
            log.error("artifact.lost", extra={"sha256": file.sha256.hex(), "path": file.path})
    is_from_store = body is not None
    if body is None:
        body = await content.through.open(file, part, is_lost=file.is_stored)
    if body is None:
        return text_answer(404, "Not Found")
    try:
        response = await send_file(request, file, part, body)
        source = "store" if is_from_store else "upstream"
        metrics.SENT_BYTES.add(part.count, source=source)
        return response
    except Broken:
        if _PREPARED in request:
            raise
        return text_answer(404, "Not Found")
    finally:
        await body.close()


async def _answer_keyring(
    request: web.Request, content: Content, found: Keyring
) -> web.StreamResponse:
    keys = await content.reader.read(lambda tx: list_public_keys(tx, found.publication))
    if not keys:
        return text_answer(404, "Not Found")
    text = "\n".join(key.strip() + "\n" for key in keys)
    return web.Response(body=text.encode(), content_type="application/pgp-keys")


@web.middleware
async def _middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """One line a request; our errors as answers; a transfer that cannot go on is cut."""
    started = time.monotonic()
    request[_CID] = _correlation_id(request)
    request[_ROUTE] = OTHER
    metrics.HTTP_IN_FLIGHT.add(1, service="content")
    status = 0
    try:
        response = await handler(request)
        status = response.status
        return response
    except TooManyLogins:
        response = _refused(request, 503)
        status = response.status
        return response
    except psycopg.OperationalError as e:
        log.warning("database.away", extra={"reason": str(e)})
        response = _refused(request, 503)
        status = response.status
        return response
    except StoreError as e:
        log.error("store.failed", extra={"reason": str(e)})
        response = _refused(request, 503)
        status = response.status
        return response
    except (ConnectionError, TimeoutError) as e:
        log.info("transfer.broken", extra={"path": request.path, "reason": str(e)})
        return _cut(request)
    finally:
        _measure(request, status, time.monotonic() - started)
        log.info(
            "request.answered",
            extra={
                "method": request.method,
                "path": request.path,
                "status": status,
                "seconds": round(time.monotonic() - started, 4),
                "cid": request[_CID],
            },
        )


def _measure(request: web.Request, status: int, seconds: float) -> None:
    """A transfer that was cut has no status."""
    method, route = method_label(request.method), request[_ROUTE]
    metrics.HTTP_IN_FLIGHT.add(-1, service="content")
    metrics.HTTP_REQUESTS.add(
        service="content", method=method, route=route, status=status_label(status)
    )
    metrics.HTTP_SECONDS.observe(seconds, service="content", route=route)


def _refused(request: web.Request, status: int) -> web.StreamResponse:
    if _PREPARED in request:
        return _cut(request)
    return text_answer(status, "Service Unavailable", **{hdrs.RETRY_AFTER: str(_RETRY_SECONDS)})


def _cut(request: web.Request) -> web.Response:
    """The client must see that this is not the whole file; the answer goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _correlation_id(request: web.Request) -> str:
    given = request.headers.get("Correlation-ID", "")
    return (
        given if given.isascii() and given.isprintable() and 0 < len(given) <= 100 else uuid4().hex
    )


async def _finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    request[_PREPARED] = True
    response.headers["X-Content-Type-Options"] = "nosniff"
    if _GUARDED in request:  # no cache may give it to the next who asks
        response.headers["Cache-Control"] = "private, no-cache"
    cid = request.get(_CID)
    if cid:
        response.headers["Correlation-ID"] = cid
