"""Directories as pages of links."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from datetime import UTC
from html import escape
from urllib.parse import quote

from aiohttp import web

from debfleet.db import served
from debfleet.db.connect import Database
from debfleet.db.served import Entry, Target
from debfleet.deb.publish import ALPHABETICAL, BY_DIGEST
from debfleet_content.database import Reader
from debfleet_content.resolve import checkpoint_name

_NAME_WIDTH = 100
_TREES = 8  # publications whose folders are remembered
_BY_DIGEST = re.compile(r"(.+)/by-digest(?:/([0-9a-f]{12}))?")


class Listings:
    """Looks into folders; what it had to read a whole version for is remembered for a while."""

    def __init__(self, reader: Reader, db: Database) -> None:
        self._reader = reader
        self._db = db
        self._one = asyncio.Lock()  # such a reading at a time
        self._trees: OrderedDict[int, _Tree] = OrderedDict()

    async def list_bases(self, below: str) -> list[Entry]:
        """The next parts of the base paths below a folder."""
        start = len(below) + 1 if below else 0
        found = await self._reader.read(lambda tx: served.list_base_paths(tx, below))
        names = {path[start:].partition("/")[0] + "/" for path in found}
        return [Entry(name) for name in sorted(names)]

    async def list_checkpoints(self, target: Target) -> list[Entry]:
        """The checkpoints of a distribution."""
        found = await self._reader.read(lambda tx: served.list_checkpoints(tx, target.id))
        names = {f"{checkpoint_name(moment)}/": moment for moment in found}
        return [Entry(name, moment) for name, moment in names.items()]

    async def list_folder(self, target: Target, path: str) -> list[Entry]:
        """What lies in a folder of a publication; nothing: there is no such folder."""
        publication = target.publication
        if publication is None:
            return []
        entries = await self._reader.read(lambda tx: served.list_published(tx, publication, path))
        entries += await self._reader.read(lambda tx: served.list_generics(tx, publication, path))
        is_verbatim = target.kind == "verbatim"
        if not is_verbatim and path != "pool" and not path.startswith(served.POOL):
            entries += [] if path else [Entry(served.POOL)]
        else:
            tree = await self._tree(publication, is_verbatim)
            entries += await self._list_pool(target, publication, tree, path)
        # Files of each origin may lie in the same folders; what publish wrote comes first.
        return list({entry.name: entry for entry in reversed(entries)}.values())

    async def _list_pool(
        self, target: Target, publication: int, tree: _Tree, path: str
    ) -> list[Entry]:
        is_verbatim = target.kind == "verbatim"
        folder, by_digest = path, False
        match = _BY_DIGEST.fullmatch(path)
        if not is_verbatim and match is not None and match[2] is not None:
            return await self._list_source(publication, tree, match[1], match[2])
        if not is_verbatim and target.layout != ALPHABETICAL and match is not None:
            folder, by_digest = match[1], True
        entries = [] if by_digest else [Entry(name) for name in sorted(tree.names.get(path, ()))]
        if folder not in tree.packages:
            return entries
        component, place = tree.packages[folder]
        if not is_verbatim and not by_digest and target.layout != ALPHABETICAL:
            entries.append(Entry("by-digest/"))
            if target.layout == BY_DIGEST:
                return entries

        def look() -> list[Entry]:
            with self._db.transaction() as tx:
                return served.list_pool(
                    tx, publication, component, place, is_verbatim=is_verbatim, by_digest=by_digest
                )

        async with self._one:
            return entries + await asyncio.to_thread(look)

    async def _list_source(
        self, publication: int, tree: _Tree, folder: str, digits: str
    ) -> list[Entry]:
        """The folder that one source package has by its digest."""
        if folder not in tree.packages:
            return []
        component, place = tree.packages[folder]

        def look() -> list[Entry]:
            with self._db.transaction() as tx:
                return served.list_source(tx, publication, component, place, digits)

        async with self._one:
            return await asyncio.to_thread(look)

    async def _tree(self, publication: int, is_verbatim: bool) -> _Tree:
        def look() -> _Tree:
            with self._db.transaction() as tx:
                return _Tree(served.list_pool_folders(tx, publication, is_verbatim=is_verbatim))

        async with self._one:
            tree = self._trees.get(publication)
            if tree is None:
                tree = self._trees[publication] = await asyncio.to_thread(look)
            self._trees.move_to_end(publication)
            while len(self._trees) > _TREES:
                self._trees.popitem(last=False)
            return tree


class _Tree:
    """The folders above a publication's packages."""

    def __init__(self, packages: dict[str, tuple[str, str]]) -> None:
        self.packages = packages  # folders with packages directly in them
        self.names: dict[str, set[str]] = {}  # of the folders in each
        for path in packages:
            while path:
                above, _, name = path.rpartition("/")
                known = self.names.setdefault(above, set())
                if f"{name}/" in known:
                    break
                known.add(f"{name}/")
                path = above


def page(title: str, entries: list[Entry], has_parent: bool, also: list[str]) -> web.Response:
    """The page: folders first, every name escaped."""
    lines = ['<a href="../">../</a>'] if has_parent else []
    known = {entry.name for entry in entries}
    entries = entries + [Entry(name) for name in also if name not in known]
    for entry in sorted(entries, key=lambda e: (not e.name.endswith("/"), e.name)):
        lines.append(_line(entry))
    body = "\n".join(lines)
    shown = escape(title)
    return web.Response(
        text=f"""
<html>
<head><title>Index of {shown}</title></head>
<body bgcolor="white">
<h1>Index of {shown}</h1>
<hr><pre>{body}
</pre><hr></body>
</html>
""",
        content_type="text/html",
        charset="utf-8",
        headers={"Content-Security-Policy": "default-src 'none'"},
    )


def _line(entry: Entry) -> str:
    moment = "" if entry.moment is None else entry.moment.astimezone(UTC).strftime("%d-%b-%Y %H:%M")
    size = "" if entry.size is None else str(entry.size)
    pad = " " * max(1, _NAME_WIDTH - len(entry.name))
    # ./ keeps a name with a colon from being read as a scheme.
    link = f'<a href="./{quote(entry.name)}">{escape(entry.name)}</a>'
    return f"{link}{pad}{moment:17}  {size}".rstrip() if moment or size else f"{link}"
