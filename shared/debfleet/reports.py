"""The progress reports of a sync: codes that clients compare, and what they say.

A report is a pair, so that it can be handed on: ``tasks.add_progress(tx, task, *DOWNLOADS)``.
"""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """One kind of progress report."""

    code: str
    message: str


DOWNLOADS = Report("downloading.artifacts", "Downloading Artifacts")
RELEASE_FILES = Report("update.release_file", "Update ReleaseFile units")
PACKAGE_INDICES = Report("update.packageindex", "Update PackageIndex units")
ASSOCIATED = Report("associating.content", "Associating Content")
UNASSOCIATED = Report("unassociating.content", "Un-Associating Content")
ALL_SKIPPED = Report(
    "sync.complete_skip.was_skipped", "Skipping sync (no changes for any ReleaseFile)"
)
RELEASE_SKIPPED = Report(
    "sync.release_file.was_skipped", "Skipping ReleaseFile sync (no change from previous sync)"
)
INDEX_SKIPPED = Report(
    "sync.package_index.was_skipped",
    "Skipping PackageIndex processing (no change from previous sync)",
)

INSTALLER_LISTS = Report("update.installerfileindex", "Update InstallerFileIndex units")
INSTALLER_SKIPPED = Report(
    "sync.installer_file_index.was_skipped",
    "Skipping InstallerFileIndex processing (no change from previous sync)",
)

# By kind of job: what turns to failed when it fails the sync.
OF_JOB = {
    "plan": RELEASE_FILES.code,
    "index": PACKAGE_INDICES.code,
    "download": DOWNLOADS.code,
    "assemble": ASSOCIATED.code,
}

# They are there from the start of a sync, in this order.
FROM_THE_START = (DOWNLOADS, RELEASE_FILES, PACKAGE_INDICES, ASSOCIATED)

# Of an orphan cleanup, in this order.
CLEANED_CONTENT = Report("clean-up.content", "Clean up orphan Content")
CLEANED_ARTIFACTS = Report("clean-up.artifacts", "Clean up orphan Artifacts")

RECLAIMED = Report("reclaim-space.artifact", "Reclaim disk space")
