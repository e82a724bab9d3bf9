"""Where a file lies in an archive: dists, by-hash, pool; and which paths we accept from others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit, urlunsplit

from debfleet.errors import UnsafePath

FLAT_DISTRIBUTION = "flat-repo"  # what Pulp's units call the distribution of every flat archive
FLAT_COMPONENT = "flat-repo-component"

_LONGEST_PATH = 4096
_PLAIN_PATH = re.compile(r"(?:[A-Za-z0-9_+~%:=,@^!-][A-Za-z0-9_.+~%:=,@^!-]*(?:/|\Z)(?<!/\Z))+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_VARIANT = re.compile(r"(amd64)(v[234])")


@dataclass(frozen=True, slots=True)
class DistPlace:
    """Where the Release files of one entry of a remote's distributions lie."""

    directory: (
        str  # below the archive's root: dists/bookworm, or that of a flat archive; '' the root
    )
    is_flat: bool
    distribution: str  # as units call it


def safe_path(path: str) -> str:
    """A path from upstream, relative to the archive: ``./`` dropped, ``//`` collapsed.

    Raises:
        UnsafePath: It is empty, absolute, too long, leaves its tree, or holds a control
            character or a backslash (which URL parsers read as a slash).
    """
    if len(path) <= 1024 and _PLAIN_PATH.fullmatch(path):
        return path  # the hot path: nothing to change, nothing to refuse
    if not path:
        raise UnsafePath(path, "it is empty")
    if len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        raise UnsafePath(path, f"it is longer than {_LONGEST_PATH} bytes")
    if path.startswith("/"):
        raise UnsafePath(path, "it is absolute")
    if _CONTROL.search(path):
        raise UnsafePath(path, "it holds a control character")
    if "\\" in path:
        raise UnsafePath(path, "it holds a backslash")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafePath(path, "it holds '..'")
    if not parts or path.endswith(("/", "/.")):
        raise UnsafePath(path, "it names no file")
    return "/".join(parts)


def dist_place(dist: str) -> DistPlace:
    """The place of one distribution: with a slash at its end it is flat, else below ``dists/``."""
    if not dist.endswith("/"):
        return DistPlace(f"dists/{safe_path(dist)}", False, dist)
    inner = dist.strip("/")
    directory = "" if inner in ("", ".") else safe_path(inner)
    return DistPlace(directory, True, FLAT_DISTRIBUTION)


def in_directory(directory: str, path: str) -> str:
    """``path`` below ``directory``, where '' is the archive's root."""
    return f"{directory}/{path}" if directory else path


def plain_component(component: str) -> str:
    """What directories and signed lists call a component: ``updates/main`` lies in ``main``."""
    return component.rpartition("/")[2]


def index_directory(component: str, architecture: str, udeb: bool = False) -> str:
    """The directory of a Packages index below its Release; '' component: that of a flat archive."""
    if not component:
        return ""
    installer = "debian-installer/" if udeb else ""
    return f"{plain_component(component)}/{installer}binary-{architecture}"


def sources_path(component: str) -> str:
    """The plain Sources index of a component, below its Release."""
    return f"{plain_component(component)}/source/Sources"


def by_hash_path(path: str, sha256: str) -> str:
    """The address of an index by its digest (64 hex digits), beside its plain name."""
    directory, slash, _ = path.rpartition("/")
    return f"{directory}{slash}by-hash/SHA256/{sha256}"


def base_architecture(architecture: str) -> tuple[str, str | None]:
    """``amd64v3`` is ``("amd64", "v3")``; any other is its own base, without a variant."""
    match = _VARIANT.fullmatch(architecture)
    return (match[1], match[2]) if match else (architecture, None)


def pool_prefix(source: str) -> str:
    """The directory of a source below ``pool/COMPONENT/``: ``libf`` for libfoo, else one letter."""
    return source[:4] if source.startswith("lib") and len(source) > 3 else source[:1]


def join_url(base: str, path: str) -> str:
    """The URL of a path (not quoted yet) below a base, whose query string is kept.

    As apt does, ``%`` and ``+`` are quoted too (a file named ``a_1%3a2.deb`` is asked for as
    ``a_1%253a2.deb``; object stores read a bare ``+`` as a blank), ``~`` and ``:`` are not.
    """
    before, after = _around(base)
    return f"{before}{quote(path.encode('utf-8', 'surrogateescape'), safe='/:~')}{after}"


@lru_cache
def _around(base: str) -> tuple[str, str]:
    """What stands before and after each path below a base."""
    parts = urlsplit(base)
    before = urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/", "", ""))
    return before, f"?{parts.query}" if parts.query else ""
