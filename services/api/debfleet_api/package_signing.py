"""The fields of a repository that signs packages: who, and with which key in which distribution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from debfleet import pgp
from debfleet.db import signing_services
from debfleet_api.bodies import read_text, refuse
from debfleet_api.errors import field_errors
from debfleet_api.state import api

SERVICE = "package_signing_service"
KEY = "package_signing_fingerprint"
KEYS = "package_signing_fingerprint_release_overrides"

LONGEST = 68
_KEY = re.compile(r"(v[0-9]+:)?[0-9A-Fa-f]{32,64}|keyid:[0-9A-Fa-f]{16}")


def read_key(value: Any) -> str | None:
    """``v4:FINGERPRINT`` or ``keyid:ID``; a bare fingerprint is one of version 4."""
    if value is None:
        return None
    text = read_text(value, LONGEST)
    match = _KEY.fullmatch(text)
    if match is None:
        refuse(
            "A key is written 'v4:' and its fingerprint, or 'keyid:' and the 16 digits of its id."
        )
    return text if ":" in text else f"v4:{text}"


def read_keys(value: Any) -> dict[str, str | None]:
    """By distribution the key of its packages; none where null or "" takes one away."""
    if not isinstance(value, dict):
        refuse(f'Expected a dictionary of items but got type "{type(value).__name__}".')
    return {read_text(dist): read_key(key or None) for dist, key in value.items()}


def check_keys(columns: Mapping[str, Any]) -> None:
    """Refuse a repository whose service cannot sign with its keys.

    What a script signs is checked with the public keys that its service was added with.

    Args:
        columns: Of the repository, as they are to be.

    Raises:
        Refusal: 400 naming the field.
    """
    service = columns.get(SERVICE)
    if service is None:
        return
    with api().db.transaction() as tx:
        row = signing_services.find_service_row(tx, UUID(str(service)))
    if row is None:
        raise field_errors({SERVICE: ["Invalid hyperlink - Object does not exist."]})
    keyring = pgp.Keyring(row["public_key"])
    named = {KEY: [columns.get(KEY)], KEYS: list((columns.get(KEYS) or {}).values())}
    for field, keys in named.items():
        unknown = [key for key in keys if key is not None and not keyring.only(key).certs]
        if unknown:
            text = f"The signing service '{row['name']}' has no key {unknown[0]}."
            raise field_errors({field: [text]})
