"""What publish writes of source packages: stanzas of Sources, and where their files lie."""

from __future__ import annotations

from dataclasses import dataclass

from debfleet.deb.paths import pool_prefix
from debfleet.deb.publish import ALPHABETICAL, Listing
from debfleet.deb.sources import LISTS, list_files
from debfleet.deb.stanza import FIELD, to_bytes

BY_DIGEST_DIGITS = 12  # of the .dsc's SHA-256, as the directory of one source package


@dataclass(frozen=True, slots=True)
class SourceDirectories:
    """Where a source package's files are found in a publication: both, whatever the layout."""

    alphabetical: str
    by_digest: str

    def directory(self, layout: str) -> str:
        """The one that the index names."""
        return self.alphabetical if layout == ALPHABETICAL else self.by_digest


def source_directories(component: str, name: str, sha256: bytes) -> SourceDirectories:
    """The directories of a source package below a publication's root.

    Args:
        component: Its full name, ``updates/main`` say; ``all`` for a simple publication.
        sha256: Of the .dsc. Files keep their names, so that the .dsc stays true: by digest a
            source package has a directory of its own.
    """
    folder = f"pool/{component}/{pool_prefix(name)}/{name}"
    return SourceDirectories(folder, f"{folder}/by-digest/{sha256.hex()[:BY_DIGEST_DIGITS]}")


def render_source(stanza: str, *, directory: str, how: Listing) -> bytes:
    """One stanza of a Sources file, with the blank line after it.

    Fields come in the reference's order, then those it does not know as they were, then the lists
    of files by the digests that are wanted, as far as upstream gave them, and the directory.
    """
    known: dict[str, str] = {}
    others: dict[str, str] = {}
    lists: dict[str, str] = {}
    for name, value in FIELD.findall("\n" + stanza):
        folded = name.lower()
        if folded in known or folded in others or folded in lists:
            continue  # Debian Policy 5.1 forbids repeats; readers of ours take the first
        text = value.rstrip()
        if not text or folded == "directory":
            continue
        if folded in _LIST_FIELDS:
            lists[folded] = text
        elif (spelled := _SPELLED.get(folded)) is not None:
            known[folded] = _field(spelled, text)
        elif folded not in how.excluded:
            others[folded] = _field(name, text)
    lines = [known[name] for name in _SPELLED if name in known]
    lines += others.values()
    for digest, (field, _) in LISTS.items():
        rows = list_files(lists.get(field.lower(), ""))
        if rows and (digest in how.digests or digest == "sha256"):
            lines.append(f"{field}:" + "".join(f"\n {' '.join(row)}" for row in rows))
    lines.append(f"Directory: {directory}\n\n")
    return to_bytes("\n".join(lines))


def _field(name: str, text: str) -> str:
    return f"{name}:{text}" if text[0] == "\n" else f"{name}: {text}"


_LIST_FIELDS = frozenset(name.lower() for name, _ in LISTS.values())
_SPELLED = {
    name.lower(): name
    for name in (
        *("Package", "Binary", "Architecture", "Version", "Maintainer", "Uploaders", "Homepage"),
        *("Vcs-Browser", "Vcs-Arch", "Vcs-Bzr", "Vcs-Cvs", "Vcs-Darcs", "Vcs-Git", "Vcs-Hg"),
        *("Vcs-Mtn", "Vcs-Svn", "Testsuite", "Dgit", "Standards-Version", "Build-Depends"),
        *("Build-Depends-Indep", "Build-Depends-Arch", "Build-Conflicts"),
        *("Build-Conflicts-Indep", "Build-Conflicts-Arch", "Package-List", "Format"),
    )
}
