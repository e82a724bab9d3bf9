"""CHORES: tasks of exactly one job, by the kind of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from debfleet_worker.chores import (
    add_file,
    add_unit,
    change,
    commit,
    copy,
    delete_version,
    modify,
    orphans,
    purge,
    reclaim,
    repair,
)
from debfleet_worker.worker import Step

CHORES: Final[Mapping[str, Step]] = {
    "add_file": add_file.run,
    "add_unit": add_unit.run,
    "change": change.run,
    "commit": commit.run,
    "copy": copy.run,
    "delete_version": delete_version.run,
    "modify": modify.run,
    "orphans": orphans.run,
    "purge": purge.run,
    "reclaim": reclaim.run,
    "repair": repair.run,
}
