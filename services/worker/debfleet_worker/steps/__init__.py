"""STEPS: the order of the flow, and the only place that knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from debfleet_worker.steps import assemble, download, index, plan, publish
from debfleet_worker.worker import Step

STEPS: Final[Mapping[str, Step]] = {
    "plan": plan.run,  # remote, Release, the version we hold -> wanted indices, index jobs
    "index": index.run,  # one index file -> packages; missing files, as download jobs
    "download": download.run,  # one chunk of missing files -> artifacts
    "assemble": assemble.run,  # what was found -> one repository version; ends the task
    "publish": publish.run,  # a version -> a publication: indices, signed Release; ends the task
}
