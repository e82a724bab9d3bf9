"""Fetch the Release files of a remote's dists, verify them, and read them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from debfleet import pgp
from debfleet.config import Settings
from debfleet.deb import paths
from debfleet.deb.release import Release, parse_release, release_digest
from debfleet.errors import (
    MalformedFile,
    NoReleaseFile,
    ReleaseFieldMissing,
    UnknownNoSupport,
    UnsafePath,
    UntrustedError,
    UnverifiedRelease,
)
from debfleet.fetch import Wanted, access_of, fetch_small, shown_url
from debfleet.model import Remote
from debfleet_worker.lease import Lease
from debfleet_worker.selection import Dist
from debfleet_worker.weak import with_sha256
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

FORMS = ("Release", "InRelease", "Release.gpg")
_LARGEST_RELEASE = 16 << 20  # bytes; Debian's is 150 KB
_MOST_INDICES = 20_000  # that one Release may offer; Debian's offers 50


def fetch_dists(worker: Worker, lease: Lease, remote: Remote) -> list[Dist]:
    """All Release files of all dists of the remote, verified and read.

    Raises:
        NoReleaseFile, UnverifiedRelease, MalformedFile, …: Naming the file and the way out.
    """
    keyring = pgp.Keyring(remote.gpgkey) if remote.gpgkey else None
    places = _places(remote.distributions)
    wanted = {
        paths.in_directory(place.directory, form): None
        for place in places.values()
        for form in FORMS
    }
    bodies = fetch_small(
        access_of(remote, worker.sealer, worker.settings),
        [Wanted(path=path, sha256=None, size=None, limit=_LARGEST_RELEASE) for path in wanted],
        lease.traffic(remote),
    )
    dists = [
        _read_dist(name, place, remote, keyring, bodies, worker.settings)
        for name, place in places.items()
    ]
    return [with_sha256(worker, lease, remote, dist) for dist in dists]


def _places(distributions: str) -> dict[str, paths.DistPlace]:
    """Where each dist lies; one that is named twice (``./ /``) is there once."""
    places: dict[str, paths.DistPlace] = {}
    for name in dict.fromkeys(distributions.split()):
        place = paths.dist_place(name)
        if place.directory not in {p.directory for p in places.values()}:
            places[name] = place
    return places


def _read_dist(
    name: str,
    place: paths.DistPlace,
    remote: Remote,
    keyring: pgp.Keyring | None,
    bodies: Mapping[str, bytes | None],
    settings: Settings,
) -> Dist:
    found = {}
    for form in FORMS:
        body = bodies.get(paths.in_directory(place.directory, form))
        if body is not None:
            found[form] = body
    url = shown_url(paths.join_url(remote.url, place.directory))
    if "Release" not in found and "InRelease" not in found:
        raise NoReleaseFile(url, _slash_hint(name, place))
    try:
        if keyring is None:
            main, text, found = _unverified(found)
        else:
            release_url = shown_url(paths.join_url(remote.url, "Release"))
            main, text, found = _verified(keyring, found, release_url)
        release = parse_release(text, permissive=settings.permissive_sync)
    except (MalformedFile, UnsafePath) as e:
        e.add_note(f"the Release files at '{url}'")
        raise
    _check_release(name, place, release)
    digests = {form: sha256(body).hexdigest() for form, body in found.items()}
    return Dist(
        name=name,
        place=place,
        release=release,
        main=paths.in_directory(place.directory, main),
        files={paths.in_directory(place.directory, form): body for form, body in found.items()},
        digest=release_digest(digests),
    )


def _slash_hint(name: str, place: paths.DistPlace) -> str:
    if place.is_flat:
        return f"'{name}' ends with '/', so it was looked for as a flat repository."
    return (
        f"'{name}' was looked for below dists/; a flat repository's distribution must end "
        f"with '/', as in '{name}/'."
    )


def _unverified(found: dict[str, bytes]) -> tuple[str, bytes, dict[str, bytes]]:
    texts = {}
    if "InRelease" in found:
        texts["InRelease"] = pgp.unwrap_inline(found["InRelease"])
    if "Release" in found:
        texts["Release"] = found["Release"]
    return _newest(texts, found)


def _verified(
    keyring: pgp.Keyring, found: dict[str, bytes], url: str
) -> tuple[str, bytes, dict[str, bytes]]:
    """The main file, its signed text, and the files worth keeping.

    A good InRelease suffices; else Release with a good Release.gpg.
    """
    reasons, texts = [], {}
    if "InRelease" in found:
        try:
            texts["InRelease"] = pgp.verify_inline(keyring, found["InRelease"])
        except UntrustedError as e:
            reasons.append(f"InRelease: {e}")
            log.warning("release.refused", extra={"file": "InRelease", "reason": str(e)})
    if "Release" in found and "Release.gpg" in found:
        try:
            pgp.verify_detached(keyring, found["Release"], found["Release.gpg"])
        except UntrustedError as e:
            reasons.append(f"Release.gpg: {e}")
            log.warning("release.refused", extra={"file": "Release.gpg", "reason": str(e)})
        else:
            texts["Release"] = found["Release"]
    elif "Release" in found:
        reasons.append("Release: there is no Release.gpg beside it")
    if not texts:
        raise UnverifiedRelease(url, " ".join(reasons))
    if "InRelease" not in texts:
        found = _only("Release", found)
    return _newest(texts, found)


def _newest(
    texts: Mapping[str, bytes], found: dict[str, bytes]
) -> tuple[str, bytes, dict[str, bytes]]:
    """InRelease where it is there, unless it was left over from before Release, or the reverse.

    Who turns from one form to the other may leave the first where it is. Of two days only the later
    one is taken and kept, so that the older is never served beside it.
    """
    main = next(iter(texts))
    days = {form: _date_of(text) for form, text in texts.items()}
    inline, apart = days.get("InRelease"), days.get("Release")
    if inline is not None and apart is not None and inline != apart:
        main = "InRelease" if inline > apart else "Release"
        log.warning("release.left_over", extra={"newer": main, "dates": [str(inline), str(apart)]})
        found = _only(main, found)
    return main, texts[main], found


def _only(main: str, found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Of the forms of Release those of one day."""
    forms = ("InRelease",) if main == "InRelease" else ("Release", "Release.gpg")
    return {form: found[form] for form in forms if form in found}


def _date_of(text: bytes) -> datetime | None:
    try:
        return parse_release(text, permissive=True).date
    except (MalformedFile, UnsafePath):
        return None  # whoever reads it for good says what is wrong


def _check_release(name: str, place: paths.DistPlace, release: Release) -> None:
    if release.no_support_for_architecture_all not in (None, "", "Packages"):
        raise UnknownNoSupport(name, str(release.no_support_for_architecture_all))
    if not place.is_flat:
        if release.components is None:
            raise ReleaseFieldMissing(name, "Components")
        if release.architectures is None:
            raise ReleaseFieldMissing(name, "Architectures")
        if len(release.components) * len(release.architectures) > _MOST_INDICES:
            raise MalformedFile(
                f"The Release file of distribution '{name}' offers {len(release.components)} "
                f"components for {len(release.architectures)} architectures; more than "
                f"{_MOST_INDICES} indices are taken for a mistake."
            )
