"""Every error raised on purpose, grouped by what the caller does next.

A task that fails shows ``[code] message`` to its user, so each message says what happened, to
which file or row, what was expected and what came, and the way out where there is one.
"""

from __future__ import annotations


class DebfleetError(Exception):
    """Something we raise on purpose; its text is for the person who reads the task."""

    code = "PLP0000"  # what Pulp's clients compare

    def __init__(self, text: str = "") -> None:
        super().__init__(storable(text))


def storable(text: str) -> str:
    """A text that quotes what others sent, as Postgres takes it: no NUL, no lone surrogate."""
    return text.replace("\0", "").encode(errors="replace").decode()


# --- the same job may succeed later -------------------------------------------------------


class UpstreamError(DebfleetError):
    """Upstream failed us; the same job may succeed later, so it is tried again."""

    code = "PLP0027"


class HttpStatusError(UpstreamError):
    """Upstream answered with a status that is no success, after all tries."""

    code = "PLP0025"

    def __init__(self, status: int, reason: str, url: str) -> None:
        super().__init__(f"{status}, message='{reason}', url='{url}'")
        self.status = status
        self.url = url


class ConnectionFailed(UpstreamError):
    """No connection, or it broke, after all tries."""


class NameNotResolved(ConnectionFailed):
    """The host's name does not resolve."""

    code = "PLP0008"


class TransferTimeout(UpstreamError):
    """No progress, or no end, within the remote's limits."""

    code = "PLP0005"

    def __init__(self, url: str, seconds: float | None = None) -> None:
        limit = "" if seconds is None else f" (no byte for {seconds:g} s)"
        super().__init__(f"The request for {url} timed out{limit}")
        self.url = url


class DigestMismatch(UpstreamError):
    """The bytes are not the ones the index promised: upstream is being updated, or lies."""

    code = "PLP0003"

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(f"{path}: expected SHA-256 {expected}, got {actual}")
        self.path = path


class SizeMismatch(UpstreamError):
    """More or fewer bytes than promised."""

    code = "PLP0004"

    def __init__(self, path: str, expected: int, actual: int | str) -> None:
        super().__init__(f"{path}: expected {expected} bytes, got {actual}")
        self.path = path


class HostClosed(UpstreamError):
    """The host asked us to stay away for longer than a job can wait: put the job off."""

    code = "PLP0025"

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(f"{url}: no request may be sent to this host for another {seconds:.0f} s")
        self.url = url
        self.seconds = seconds


class UpstreamRotated(UpstreamError):
    """A file that the pinned Release names is gone or changed: plan again from a new Release."""


def may_pass(error: BaseException | None) -> bool:
    """Is the host in trouble that may pass by itself, without a change to its files?"""
    if isinstance(error, HttpStatusError):
        return error.status in (429, 500, 502, 503, 504)
    return isinstance(error, ConnectionFailed | TransferTimeout | HostClosed)


def is_gone(error: BaseException | None) -> bool:
    """Did upstream say that it has no such file?"""
    return isinstance(error, HttpStatusError) and error.status in (404, 410)


class StoreError(DebfleetError):
    """The store refused a read or a write (no space, no permission, not reachable)."""

    code = "PLP0000"


# --- trying again cannot help --------------------------------------------------------------


class FinalError(DebfleetError):
    """The task ends here: what was asked for cannot be had as it was asked for."""


class UntrustedError(FinalError):
    """Upstream contradicts its own signature; trying again cannot help."""


class UnsafePath(UntrustedError):
    """A path from upstream that would leave its tree, or that no server can hold."""

    code = "PLP0001"

    def __init__(self, path: str, reason: str, where: str = "") -> None:
        shown = path if len(path) <= 200 else f"{path[:200]}…"
        super().__init__(f"{where}{': ' if where else ''}the path {shown!r} is refused: {reason}")
        self.path = path
        self.reason = reason


class NotASignature(UntrustedError):
    """No signature by an accepted key was found on this text."""

    code = "DEB0002"


class BadKey(FinalError):
    """The text is no OpenPGP public key."""

    code = "DEB0002"


class NoReleaseFile(FinalError):
    """No Release file where one must be."""

    code = "DEB0001"

    def __init__(self, url: str, hint: str = "") -> None:
        super().__init__(
            f"Could not find a Release file at '{url}'; "
            f"check the remote's url and distributions.{' ' + hint if hint else ''}"
        )


class UnverifiedRelease(UntrustedError):
    """None of the Release files verifies with the remote's gpgkey."""

    code = "DEB0002"

    def __init__(self, url: str, reasons: str) -> None:
        super().__init__(
            f"Unable to verify any Release files from '{url}' using the GPG key provided. {reasons}"
        )


class NoPackageIndex(FinalError):
    """A wanted index cannot be had in any encoding."""

    code = "DEB0003"


class ReleaseFieldMissing(FinalError):
    """The Release file lacks a field that is needed."""

    code = "DEB0004"

    def __init__(self, dist: str, field: str) -> None:
        super().__init__(f"The Release file of distribution '{dist}' has no field '{field}'.")


class GuardRefused(UntrustedError):
    """A guard of the remote, set to refuse, stopped the sync."""

    code = "DBF0001"  # none of Pulp's: it has no guards

    def __init__(self, guard: str, what: str) -> None:
        super().__init__(
            f"{what}. The remote's guard_{guard} refuses this; if it is right, set guard_{guard} "
            "to 'warn' and sync again."
        )
        self.guard = guard


class WeakDigests(UntrustedError):
    """The Release file knows its files by MD5 or SHA1 alone."""

    code = "PLP0019"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The Release file of distribution '{name}' has no list SHA256 or SHA512; MD5 and SHA1 "
            "are too weak to trust, as apt says too. If you must, set the remote's "
            "guard_weak_digests to 'warn'."
        )


class WeakList(UntrustedError):
    """The installer's files are known by MD5 alone."""

    code = "PLP0019"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is all that the Release file names of these files of the installer. It knows "
            "them by MD5, which is too weak to trust; to take them all the same, set the remote's "
            "guard weak_digests to warn."
        )


class UnknownNoSupport(FinalError):
    """The Release file says something unknown in No-Support-for-Architecture-all."""

    code = "DEB0005"

    def __init__(self, dist: str, value: str) -> None:
        super().__init__(
            f"The Release file of distribution '{dist}' has the unknown value '{value}' "
            "in No-Support-for-Architecture-all; only 'Packages' is known."
        )


class MalformedFile(FinalError):
    """A file from upstream is not what its name says."""

    code = "PLP0001"


class DuplicatePackages(FinalError):
    """One version would hold two different packages of one name, version and architecture."""

    code = "DEB0009"

    def __init__(self, examples: list[str], count: int) -> None:
        more = "" if count <= len(examples) else f" and {count - len(examples)} more"
        super().__init__(
            "Cannot create repository version since there are newly added packages with the same "
            "name, version and architecture, but a different checksum: "
            f"{', '.join(examples)}{more}. Narrow the remote's distributions or components, or "
            "sync them into repositories of their own."
        )


class DuplicateSources(FinalError):
    """One version would hold two different source packages of one name and version."""

    code = "PLP0022"

    def __init__(self, examples: list[str], count: int) -> None:
        more = "" if count <= len(examples) else f" and {count - len(examples)} more"
        super().__init__(
            "Cannot create repository version since there are newly added source packages with "
            "the same name and version, but another .dsc: "
            f"{', '.join(examples)}{more}. Narrow the remote's distributions or components, or "
            "sync them into repositories of their own."
        )


class PathClash(FinalError):
    """One version would hold two different files at one path."""

    code = "PLP0022"

    def __init__(self, examples: list[str], count: int) -> None:
        more = "" if count <= len(examples) else f" and {count - len(examples)} more"
        super().__init__(
            "Cannot create repository version. Path is duplicated: "
            f"{', '.join(examples)}{more}. Two different files want to lie there: "
            "remove the older one first, or sync with mirror."
        )


class NoUrl(FinalError):
    """The remote has no URL to sync from."""

    code = "PLP0013"


class UnsupportedUrl(FinalError):
    """A URL whose scheme or address is not allowed."""

    code = "PLP0009"


class NetworkRefused(UnsupportedUrl):
    """An address that no remote may lie at, or none of those that the operator allows."""

    def __init__(self, host: str, address: str, reason: str) -> None:
        at = "" if address in ("", host) else f" at {address}"
        super().__init__(f"Connecting to {host}{at} is refused: {reason}")
        self.host = host
        self.address = address


class ProxyRefused(FinalError):
    """The proxy wants other credentials (407)."""

    code = "PLP0010"


class TlsFailed(FinalError):
    """The certificate of the other side, or ours, is not accepted."""

    code = "PLP0026"


class NotBuilt(FinalError):
    """An option that is accepted and that this version of debfleet cannot carry out."""

    code = "PLP0028"


class BadSchedule(FinalError):
    """A schedule's cron expression or time zone is none."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field  # cron or time_zone
        self.text = text


class NameTaken(FinalError):
    """Another row has the name."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"There is another {what} named '{name}'.")


class DistributionClash(FinalError):
    """Another distribution has the name or the base path, or one inside or around it."""

    def __init__(
        self, *, name: str | None, base_path: str | None, is_same_path: bool = False
    ) -> None:
        parts = [] if name is None else [f"There is another distribution named '{name}'."]
        if base_path is not None:
            is_what = "is that of" if is_same_path else "overlaps with that of"
            parts.append(f"The base path '{base_path}' {is_what} another distribution.")
        super().__init__(" ".join(parts))
        self.has_name = name is not None
        self.has_path = is_same_path
        self.has_overlap = base_path is not None and not is_same_path


class VersionServed(FinalError):
    """A version that clients are being served cannot be deleted."""

    def __init__(self, number: int, users: list[str]) -> None:
        shown = ", ".join(users[:10]) + (f" and {len(users) - 10} more" if users[10:] else "")
        super().__init__(
            f"Version {number} cannot be deleted: it, or a publication of it, is served by the "
            f"distribution {shown}. Let that serve something else first."
        )


class LastVersion(FinalError):
    """The only version of a repository cannot be deleted."""

    code = "PLP0011"


class ContentOverwrite(FinalError):
    """Adding would replace a unit, and the caller forbade that."""

    code = "PLP0023"


class SigningFailed(FinalError):
    """A signing service made no good signature."""

    code = "PLP0029"

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"The signing service '{service}' failed: {reason}")


class Quarantined(FinalError):
    """A job took its worker down again and again; it is not tried any more."""


# --- the right to work is gone: say nothing, change nothing -----------------------------------


class LeaseLost(DebfleetError):
    """The job was canceled, ended, or taken over by another worker: drop our result."""


# --- how we are set up or called -----------------------------------------------------------------


class ConfigError(DebfleetError):
    """A setting is missing or bad; the process does not start."""


class NotFound(DebfleetError):
    """No such row."""

    def __init__(self, what: str, key: object = None) -> None:
        super().__init__(f"no {what}" if key is None else f"no {what} {key}")
        self.what = what


class TooManyLogins(DebfleetError):
    """So many passwords are being checked that this one cannot be; later it can."""

    def __init__(self) -> None:
        super().__init__("Too many logins at once; try again.")
