"""Settings from the environment, read once at the start of a process.

A setting comes from, first hit wins: the variable ``DEBFLEET_<NAME>``; a line
``DEBFLEET_<NAME>=value`` of the file that ``DEBFLEET_SETTINGS_FILE`` names; for the settings that
Pulp has too, ``PULP_<NAME>`` in either place; the default.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debfleet.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _text(value: str) -> str:
    return value


def _integer(value: str, lowest: int) -> int:
    try:
        number = int(value)
    except ValueError:
        raise ValueError("must be a whole number") from None
    if number < lowest:
        raise ValueError(f"must be {lowest} or more")
    return number


def _positive(value: str) -> int:
    return _integer(value, 1)


def _natural(value: str) -> int:
    return _integer(value, 0)


def _flag(value: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True}
    known |= {"0": False, "false": False, "no": False, "off": False}
    try:
        return known[value.strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _words(value: str) -> tuple[str, ...]:
    """A JSON list, or words separated by commas or blanks."""
    if value.lstrip().startswith("["):
        try:
            items = json.loads(value)
        except json.JSONDecodeError:
            raise ValueError("is not a JSON list") from None
        if not all(isinstance(i, str) for i in items):
            raise ValueError("must hold text only")
        return tuple(items)
    return tuple(value.replace(",", " ").split())


def _networks(value: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word) for word in _words(value))
    except ValueError as e:
        raise ValueError(f"must be networks like 10.0.0.0/8: {e}") from None


def _folders(value: str) -> tuple[str, ...]:
    for word in _words(value):
        if not word.startswith("/"):
            raise ValueError(f"must be absolute paths, not {word}")
    return tuple(str(Path(word)) for word in _words(value))


def _scheme(*schemes: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value and value.partition("://")[0] not in schemes:
            raise ValueError(f"must start with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    return read


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 65536):
        raise ValueError("must be HOST:PORT")
    return value


def _address_or_off(value: str) -> str:
    return value if value in ("", "off") else _address(value)


def _folder(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("must be an absolute path")
    return value


def _log_format(value: str) -> str:
    if value not in ("json", "text"):
        raise ValueError("must be json or text")
    return value


def _preset(value: str) -> int:
    number = _natural(value)
    if number > 9:
        raise ValueError("must be 0 to 9")
    return number


def _checksums(value: str) -> tuple[str, ...]:
    words = tuple(word.lower() for word in _words(value))
    known = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
    if unknown := [word for word in words if word not in known]:
        raise ValueError(f"{unknown[0]} is none of {', '.join(known)}")
    if "sha256" not in words:
        raise ValueError("must hold sha256")
    return words


def _level(value: str) -> str:
    if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return value.upper()


def _setting(
    default: Any,
    meaning: str,
    read: Callable[[str], Any] = _text,
    *,
    secret: bool = False,
    pulp: bool = False,
) -> Any:
    return field(
        default=default,
        metadata={"meaning": meaning, "read": read, "secret": secret, "pulp": pulp},
    )


@dataclass(frozen=True)
class Settings:
    """Every setting; the name in the environment is DEBFLEET_ and the field's name in capitals."""

    database_url: str = _setting(
        "", "Postgres, as postgresql://user:password@host/name; `up` makes one when absent",
        _scheme("postgresql", "postgres"), secret=True,
    )  # fmt: skip
    broker_url: str = _setting(
        "", "RabbitMQ, as amqp://user:password@host/vhost; absent: Postgres NOTIFY wakes workers",
        _scheme("amqp", "amqps"), secret=True,
    )  # fmt: skip
    store_url: str = _setting(
        "", "where artifacts lie: file:///directory or s3://bucket/prefix?endpoint=…&region=…",
        _scheme("file", "s3"),
    )  # fmt: skip
    secret_key: str = _setting(
        "",
        "seals secrets at rest: base64 of 32 random bytes; several with commas, the first seals",
        secret=True,
    )
    secret_key_file: str = _setting(
        "", "a file that holds `secret_key`, where that is not set; read again when it changes"
    )
    admin_password: str = _setting(
        "", "the password of `admin` when it is first made; absent: made and printed once",
        secret=True,
    )  # fmt: skip
    api_address: str = _setting("127.0.0.1:24817", "where `debfleet api` listens", _address)
    content_address: str = _setting("127.0.0.1:24816", "where `debfleet content` listens", _address)
    api_processes: int = _setting(
        0, "API processes of one `debfleet api`; 0: one, or under `up` one a core up to 4", _natural
    )
    content_processes: int = _setting(1, "content processes of one `debfleet content`", _positive)
    api_threads: int = _setting(8, "requests an API process answers at once", _positive)
    work_directory: str = _setting(
        "", "for files that live as long as one job; absent: the system's temporary directory"
    )
    lease_seconds: int = _setting(20, "how long a job is a worker's without renewal", _positive)
    sweep_seconds: int = _setting(5, "the pause between two sweeps", _positive)
    heartbeat_seconds: int = _setting(5, "the pause between two heartbeats", _positive)
    max_attempts: int = _setting(
        5, "claims of one job before it is quarantined and its task fails", _positive
    )
    window: int = _setting(16, "jobs of one kind of one task that are rung at a time", _positive)
    ring_seconds: int = _setting(
        30, "the pause before a job is rung again, doubling each time up to 600", _positive
    )
    grace_seconds: int = _setting(
        20, "how long running jobs may go on at SIGTERM before they are handed back", _natural
    )
    chunk_files: int = _setting(1024, "files in one download job", _positive)
    chunk_bytes: int = _setting(256 << 20, "bytes in one download job", _positive)
    plan_rounds: int = _setting(
        4, "how often a sync is planned when upstream changes under it", _positive
    )
    upstream_networks: tuple[Network, ...] = _setting(
        (), "networks that a remote may lie in (10.0.0.0/8, …); empty: any", _networks
    )
    upstream_patience_seconds: int = _setting(
        600, "how long a sync that has stored files waits for a host in trouble", _natural
    )
    allowed_import_paths: tuple[str, ...] = _setting(
        (), "directories that file:// URLs may point into", _folders, pulp=True
    )
    force_ignore_missing_package_indices: bool = _setting(
        False, "as ignore_missing_package_indices, for every remote", _flag, pulp=True
    )
    permissive_sync: bool = _setting(
        False, "accept the singular fields Component and Architecture", _flag, pulp=True
    )
    orphan_protection_time: int = _setting(
        1440, "minutes that a unit in no version is kept at least", _natural, pulp=True
    )
    largest_body_bytes: int = _setting(
        1 << 30, "bytes of one request that brings a file; bigger files come in chunks", _positive
    )
    largest_file_bytes: int = _setting(
        16 << 30, "bytes of one file that a client brings, in whatever way", _positive
    )
    upload_minutes: int = _setting(
        1440, "an upload in chunks expires when none came for so many minutes", _positive
    )
    cleanup_hours: int = _setting(
        24, "the pause between two cleanups that nobody asked for; 0: none", _natural
    )
    verify_hours: int = _setting(
        720, "the pause between two looks, that nobody asked for, into every file of a "
        "repository's latest version; 0: none", _natural,
    )  # fmt: skip
    default_origin: str = _setting("debfleet", "Origin of a Release file that has no other")
    xz_preset: int = _setting(1, "how hard published indices are compressed, 0 to 9", _preset)
    allowed_content_checksums: tuple[str, ...] = _setting(
        ("sha256", "sha512"), "md5 and sha1 here are published as well", _checksums, pulp=True
    )
    structured_empty_repo_distribution: str = _setting(
        "default", "the distribution that an empty repository is published with", pulp=True
    )
    structured_empty_repo_component: str = _setting("empty", "its component", pulp=True)
    structured_empty_repo_architectures: tuple[str, ...] = _setting(
        ("all",), "its architectures", _words, pulp=True
    )
    content_origin: str = _setting(
        "", "scheme and host that clients reach content at", pulp=True
    )  # fmt: skip
    content_generations: int = _setting(
        3, "earlier publications of a distribution that are served at least, by hash", _natural
    )
    distributed_publication_retention_period: int = _setting(
        259200, "seconds that an earlier publication's files are served", _natural, pulp=True
    )
    retain_publications: int = _setting(
        10, "publications of one version that are kept, beside served ones and checkpoints; 0: all",
        _natural,
    )  # fmt: skip
    remote_content_fetch_failure_cooldown: int = _setting(
        300, "seconds that a remote which gave wrong bytes is not asked for them", _natural,
        pulp=True,
    )  # fmt: skip
    redirect_to_object_storage: bool = _setting(
        True, "send clients to the bucket for packages, rather than through us", _flag, pulp=True
    )
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", _level)
    log_format: str = _setting(
        "json", "json: an object a line, for machines; text: for people", _log_format
    )
    metrics_address: str = _setting(
        "", "where a process answers /metrics, /livez and /readyz; absent or off: nowhere "
        "(`up`: 127.0.0.1:24818)",
        _address_or_off,
    )  # fmt: skip
    metrics_seconds: int = _setting(
        15, "the pause between two looks of the sweeper at what Postgres holds, for metrics",
        _positive,
    )  # fmt: skip
    metrics_directory: str = _setting(
        "", "processes of one machine that share one /metrics keep their values here", _folder
    )
    api_url: str = _setting(
        "http://127.0.0.1:24817", "where `debfleet sync` finds the API", _scheme("http", "https")
    )
    idempotency_key: str = _setting(
        "", "`debfleet sync` with the same one within a day joins that sync, and starts no second"
    )
    username: str = _setting("admin", "as whom `debfleet sync` asks")
    password: str = _setting("", "that user's password", secret=True)
    password_file: str = _setting("", "a file that holds it, where `password` is not set")

    def need(self, *names: str) -> None:
        """Refuse to start without these.

        Raises:
            ConfigError: Naming all that are missing, with what each means.
        """
        missing = [
            f for f in dataclasses.fields(self) if f.name in names and not getattr(self, f.name)
        ]
        if missing:
            lines = [f"DEBFLEET_{f.name.upper()} ({f.metadata['meaning']})" for f in missing]
            raise ConfigError("settings are missing: " + "; ".join(lines))


@dataclass(frozen=True)
class Origin:
    """One setting and where its value came from, for ``debfleet config``."""

    name: str  # DEBFLEET_…
    value: str  # as text; *** for a secret
    source: str  # a variable, a file with its line, or "default"
    meaning: str


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read all settings.

    Raises:
        ConfigError: Naming every bad value and every unknown DEBFLEET_ name at once, and what Pulp
            has and we do not.
    """
    return _read(environ)[0]


def explain_settings(environ: Mapping[str, str]) -> list[Origin]:
    """Every setting with its value and source; raises as ``read_settings`` does."""
    return _read(environ)[1]


def _read(environ: Mapping[str, str]) -> tuple[Settings, list[Origin]]:
    lines, problems = _settings_file(environ.get("DEBFLEET_SETTINGS_FILE", ""))
    values: dict[str, Any] = {}
    origins: list[Origin] = []
    known = {"DEBFLEET_SETTINGS_FILE", *_NOT_SETTINGS}
    for f in dataclasses.fields(Settings):
        name = f"DEBFLEET_{f.name.upper()}"
        known.add(name)
        names = [name, name.replace("DEBFLEET_", "PULP_", 1)] if f.metadata["pulp"] else [name]
        text, source = _first(names, environ, lines)
        if text is None:
            value = f.default
        else:
            try:
                value = f.metadata["read"](text)
            except ValueError as e:
                problems.append(f"{source}: {e}")
                value = f.default
        values[f.name] = value
        shown = "***" if f.metadata["secret"] and value else _shown(value)
        origins.append(Origin(name, shown, source, f.metadata["meaning"]))
    if values["secret_key_file"] and not values["secret_key"]:
        try:
            values["secret_key"] = Path(values["secret_key_file"]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as e:
            problems.append(f"DEBFLEET_SECRET_KEY_FILE cannot be read: {e}")
    problems += [
        f"{name}: there is no such setting"
        for name in environ
        if name.startswith("DEBFLEET_") and name not in known
    ]
    # The file is ours alone, but for names of Pulp's: what is there and not read is a mistake.
    problems += [
        f"{source}: {name}: there is no such setting"
        for name, (_, source) in lines.items()
        if name not in known and not name.startswith("PULP_")
    ]
    problems += [
        f"{name}: debfleet has no such setting: {_NOT_OURS[name.partition('_')[2]]}; unset it"
        for name in [*environ, *lines]
        if name.startswith("PULP_") and name.partition("_")[2] in _NOT_OURS
    ]
    if problems:
        raise ConfigError("settings are wrong: " + "; ".join(problems))
    return Settings(**values), origins


# Settings by which Pulp changes what a sync does. To leave them out without a word would be a lie.
_NOT_OURS = {
    "FORBIDDEN_CHECKSUM_WARNINGS": "files are known and verified by SHA-256 alone",
    "EXCLUDED_PACKAGE_METADATA_FIELDS": "this version keeps every field of a package",
    "MAX_PACKAGE_SIGNING_WORKERS": "this version signs no packages",
}

# Read by the tests alone.
_NOT_SETTINGS = ("DEBFLEET_TEST_BROKER_URL", "DEBFLEET_TEST_DATABASE_URL")


def _first(
    names: list[str], environ: Mapping[str, str], lines: Mapping[str, tuple[str, str]]
) -> tuple[str | None, str]:
    for name in names:
        if name in environ:
            return environ[name], name
        if name in lines:
            return lines[name]
    return None, "default"


def _settings_file(path: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Name to (value, source) of a KEY=value file, and what is wrong with it."""
    if not path:
        return {}, []
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        return {}, [f"DEBFLEET_SETTINGS_FILE: {path} cannot be read: {e}"]
    found: dict[str, tuple[str, str]] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            problems.append(f"{path}:{number}: not KEY=value")
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name.strip()] = (value, f"{path}:{number}")
    return found, problems


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(str(v) for v in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
