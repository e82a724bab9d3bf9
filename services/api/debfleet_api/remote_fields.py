"""The fields of a remote that are more than text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.x509 import load_pem_x509_certificate

from debfleet.errors import BadKey
from debfleet.pgp import Keyring
from debfleet_api.bodies import read_text, refuse
from debfleet_api.state import api

_ARCHITECTURE = re.compile(r"[A-Za-z0-9_+-]+")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2


def read_url(value: Any) -> str:
    """Any text: a URL that cannot be fetched fails the sync, as clients are used to."""
    text = _without_login(
        value,
        "The remote url contains username or password. "
        "Please use remote username or password instead.",
    )
    parts = urlsplit(text)
    if parts.scheme.lower() == "file":
        _check_import_path(unquote(parts.path))
    return text


def _check_import_path(path: str) -> None:
    """Below an allowed directory, also after links and ``..`` are followed."""
    real = Path(path).resolve()
    allowed = [Path(p).resolve() for p in api().settings.allowed_import_paths]
    if not any(real.is_relative_to(p) for p in allowed):
        refuse(f"The path '{path}' does not start with any of the allowed import paths")


def read_proxy_url(value: Any) -> str:
    """A proxy without credentials in it."""
    return _without_login(value, "proxy_url must not contain credentials")


def _without_login(value: Any, refusal: str) -> str:
    text = read_text(value)
    try:
        parts = urlsplit(text)
        has_login = parts.username is not None or parts.password is not None
    except ValueError as e:
        refuse(f"This is no URL: {e}.")
    if has_login:
        refuse(refusal)
    return text


def read_architectures(value: Any) -> str:
    """Blank-separated names, none twice."""
    text = read_text(value)
    seen = set()
    for token in text.split():
        if not _ARCHITECTURE.fullmatch(token):
            refuse(
                f"Invalid architecture token '{token}'. Use architecture names such as "
                "'amd64', 'amd64v3', 'arm64', or 'all'."
            )
        if token in seen:
            refuse(f"Duplicate architecture token '{token}'.")
        seen.add(token)
    return text


def read_gpgkey(value: Any) -> str:
    """Armoured public keys; checked here, so that no sync fails for a typing error."""
    text = read_text(value)
    try:
        Keyring(text)
    except BadKey as e:
        refuse(str(e))
    return text


def read_certificates(value: Any) -> str:
    """PEM certificates; what stands around them is dropped."""
    found = [block.strip() for block in _CERTIFICATE.findall(read_text(value))]
    if not found:
        refuse("No PEM certificate was found in this text.")
    for block in found:
        try:
            load_pem_x509_certificate(block.encode())
        except ValueError as e:
            refuse(f"This is no certificate: {e}.")
    return "\n".join(found) + "\n"


def read_headers(value: Any) -> list[dict[str, str]]:
    """Extra request headers: a list of objects of texts."""
    if not isinstance(value, list):
        refuse(f'Expected a list of items but got type "{type(value).__name__}".')
    for item in value:
        if not isinstance(item, dict):
            refuse(f'Expected a dictionary of items but got type "{type(item).__name__}".')
        for name, content in item.items():
            if not _HEADER_NAME.fullmatch(name):
                refuse(f"'{name}' is no name of a header.")
            if not isinstance(content, str) or not content.isprintable():
                refuse(f"The value of header '{name}' must be one line of text.")
    return value
