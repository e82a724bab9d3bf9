"""How an index is read, by the kind of unit that it lists."""

from __future__ import annotations

from collections.abc import Mapping

from debfleet.db.source_packages import SOURCES
from debfleet.db.units import PACKAGES, UDEBS, Form
from debfleet.model import Kind

INDEX_FORMS: Mapping[Kind, Form] = {form.kind: form for form in (PACKAGES, UDEBS, SOURCES)}
