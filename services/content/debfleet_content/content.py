"""What every request works with; made by ``create_app``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from debfleet.config import Settings
from debfleet.db.served import Grace
from debfleet.store import Store
from debfleet_content.database import Reader
from debfleet_content.guards import Guards
from debfleet_content.listing import Listings
from debfleet_content.lookups import Lookups
from debfleet_content.resolve import Known
from debfleet_content.sending import Senders

if TYPE_CHECKING:
    from debfleet_content.through import Through


@dataclass(frozen=True)
class Content:
    """One content process."""

    settings: Settings
    reader: Reader
    lookups: Lookups
    store: Store
    through: Through
    listings: Listings
    grace: Grace
    known: Known
    guards: Guards
    senders: Senders


CONTENT: web.AppKey[Content] = web.AppKey("content")
