"""Publish: make a repository version ready for apt.

Reads a version; leaves a publication: index files and signed Release files. Its first job decides
what is to be written and opens one job per index; the last of these opens the one that writes the
Release files, signs them and makes the publication visible. Nobody sees it before, and a task that
fails takes it along.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from debfleet.db import access, guards, jobs, publications, tasks, units
from debfleet.db.connect import Tx
from debfleet.db.jobs import NewJob
from debfleet.db.publications import AtPath, NewPublication, Origin, Publication, Stored
from debfleet.deb import publish as deb
from debfleet.deb.publish_sources import render_source, source_directories
from debfleet.model import Job, Kind, Ring, prn
from debfleet_worker.dists import Dists, Index, read_dists
from debfleet_worker.forms import ENDINGS, Forms, record, write_index
from debfleet_worker.lease import Lease
from debfleet_worker.published_releases import Written, write_releases
from debfleet_worker.worker import Worker

log = logging.getLogger(__name__)

_BLOCK = 1 << 20


def run(worker: Worker, job: Job, lease: Lease) -> None:
    """One job of the step, as its args say."""
    if "index" in job.args:
        _publish_index(worker, job, lease)
    elif "publication" in job.args:
        _publish_releases(worker, job, lease)
    else:
        _begin(worker, job, lease)


# --- what is to be written ------------------------------------------------------------------------


def _begin(worker: Worker, job: Job, lease: Lease) -> None:
    ask = job.args.get("ask", job.task_args)
    with worker.db.transaction() as tx:
        origin = publications.get_origin(tx, ask["repository"], ask["number"])
    new = _new_publication(job, ask, origin)
    if new.kind == "verbatim":
        _publish_verbatim(worker, job, lease, new)
        return
    with lease.busy(), worker.db.transaction() as tx:
        dists = _read_dists(tx, worker, new)
    empty = write_index(worker, job, lease, [])
    extra = [n for n in ("md5", "sha1") if n in worker.settings.allowed_content_checksums]
    lists = [file for dist in dists.dists for file in dist.installer]
    installer = [_with_digests(worker, lease, file, ["sha512", *extra]) for file in lists]
    with lease.busy():
        worker.commit(lambda tx: _open_indices(tx, job, new, dists, empty, installer))


def _new_publication(job: Job, ask: dict[str, Any], origin: Origin) -> NewPublication:
    """What was asked for; what was not said is as the repository says."""
    upstream_fields = ask.get("publish_upstream_release_fields")
    excluded = ask.get("excluded_package_metadata_fields")
    return NewPublication(
        repository=ask["repository"],
        number=ask["number"],
        kind=ask.get("kind", "apt"),
        simple=ask.get("simple", False),
        structured=ask.get("structured", True),
        checkpoint=ask.get("checkpoint", False),
        layout=ask.get("layout") or deb.ALPHABETICAL,
        options={
            "signing_service": ask.get("signing_service"),
            "publish_upstream_release_fields": origin.publish_upstream_release_fields
            if upstream_fields is None
            else upstream_fields,
            "publish_legacy_release_files": bool(ask.get("publish_legacy_release_files")),
            "excluded_package_metadata_fields": origin.excluded_package_metadata_fields
            if excluded is None
            else excluded,
        },
        made_by=job.task,
    )


def _read_dists(tx: Tx, worker: Worker, of: NewPublication | Publication) -> Dists:
    return read_dists(
        tx,
        worker.settings,
        of.repository,
        of.number,
        simple=of.simple,
        structured=of.structured,
    )


def _open_indices(
    tx: Tx,
    job: Job,
    new: NewPublication,
    dists: Dists,
    empty: Forms,
    installer: Sequence[AtPath],
) -> list[Ring]:
    jobs.hold(tx, job)
    publication = publications.add_publication(tx, new)
    shared = publications.add_digest_paths(tx, publication)
    if shared:
        log.info("pool.paths_shared", extra={"packages": shared})
    record(tx, [empty])
    indices = [i for dist in dists.dists for i in (*dist.indices, *dist.sources)]
    paths = [index.path for index in indices if index.is_empty]
    files = [f for p in paths for f in _at_path(p, empty)]
    publications.add_files(tx, publication.id, [*files, *installer])
    _report_left_out(tx, job, dists)
    opens = [_index_job(publication, index) for index in indices if not index.is_empty]
    return jobs.finish(tx, job, opens, then=_last_job(publication))


def _index_job(publication: Publication, index: Index) -> NewJob:
    components = None if index.components is None else list(index.components)
    part = {
        "path": index.path,
        "components": components,
        "architecture": index.architecture,
        "lists": int(index.lists),
    }
    return NewJob("publish", {"publication": publication.id, "index": part})


def _last_job(publication: Publication) -> NewJob:
    return NewJob("publish", {"publication": publication.id})


def _at_path(path: str, forms: Forms) -> list[AtPath]:
    return [AtPath(path + ENDINGS[form], file, is_index=True) for form, file in forms.files.items()]


def _report_left_out(tx: Tx, job: Job, dists: Dists) -> None:
    for distribution, count in sorted(dists.foreign.items()):
        log.warning("packages.foreign", extra={"distribution": distribution, "count": count})
        tasks.add_progress(
            tx,
            job.task,
            "publish.skipped.architecture_foreign",
            f"Skipped: packages of architectures that '{distribution}' lacks",
            count,
            subject=distribution,
            state="completed",
        )
    if dists.hidden:
        log.warning("distribution.hidden", extra={"distribution": dists.hidden})
        tasks.add_progress(
            tx,
            job.task,
            "publish.skipped.distribution",
            f"Skipped: distribution '{dists.hidden}', whose place the simple one takes",
            subject=dists.hidden,
            state="completed",
        )


# --- one index ------------------------------------------------------------------------------------


def _publish_index(worker: Worker, job: Job, lease: Lease) -> None:
    with worker.db.transaction() as tx:
        publication = publications.get_publication(tx, job.args["publication"])
        part = job.args["index"]
        like = publications.find_alike(tx, publication, part["path"])
    # A job of the version of debfleet before this one says nothing of what it lists.
    is_source = part.get("lists") == Kind.SOURCE_PACKAGE
    listed = _sources if is_source else _packages
    with closing(listed(worker, lease, publication, part)) as stanzas:
        forms = write_index(worker, job, lease, stanzas, like)

    def finish(tx: Tx) -> list[Ring]:
        jobs.hold(tx, job)
        record(tx, [forms])
        publications.add_files(tx, publication.id, _at_path(part["path"], forms))
        return jobs.finish(tx, job, then=_last_job(publication))

    worker.commit(finish)
    size = forms.files["plain"].size
    log.info(
        "index.published",
        extra={"path": part["path"], "bytes": size, "compressed": forms.is_new},
    )


def _listing(worker: Worker, publication: Publication) -> deb.Listing:
    options = publication.options
    return deb.Listing(
        digests=worker.settings.allowed_content_checksums,
        excluded={name.lower() for name in options["excluded_package_metadata_fields"]},
    )


def _packages(
    worker: Worker, lease: Lease, publication: Publication, part: dict[str, Any]
) -> Generator[bytes, None, None]:
    """The stanzas of one Packages; the transaction that reads them ends with the last."""
    how = _listing(worker, publication)
    with (
        lease.busy(),
        worker.db.transaction() as tx,
        publications.listed_packages(
            tx,
            publication,
            part["components"],
            part["architecture"],
            Kind(part.get("lists", Kind.PACKAGE)),
        ) as packages,
    ):
        for package in packages:
            paths = deb.pool_paths(
                package.component,
                package.name,
                package.source,
                package.relative_path,
                package.sha256,
            )
            layout = deb.BY_DIGEST if package.by_digest else publication.layout
            yield deb.render_package(
                package.stanza,
                filename=paths.filename(layout),
                size=package.size,
                sha256=package.sha256,
                how=how,
            )


def _sources(
    worker: Worker, lease: Lease, publication: Publication, part: dict[str, Any]
) -> Generator[bytes, None, None]:
    """The stanzas of one Sources, in the same way."""
    how = _listing(worker, publication)
    with (
        lease.busy(),
        worker.db.transaction() as tx,
        publications.listed_sources(tx, publication, part["components"]) as sources,
    ):
        for source in sources:
            layout = deb.BY_DIGEST if source.by_digest else publication.layout
            places = source_directories(source.component, source.name, source.sha256)
            yield render_source(source.stanza, directory=places.directory(layout), how=how)


# --- the Release files ----------------------------------------------------------------------------


def _publish_releases(worker: Worker, job: Job, lease: Lease) -> None:
    with lease.busy(), worker.db.transaction() as tx:
        publication = publications.get_publication(tx, job.args["publication"])
        written = Written(
            publication=publication,
            origin=publications.get_origin(tx, publication.repository, publication.number),
            dists=_read_dists(tx, worker, publication).dists,
            files={f.path: f.file for f in publications.list_files(tx, publication.id)},
            date=guards.get_now(tx),
        )
    small = write_releases(worker, job, lease, written)
    with lease.busy():
        worker.commit(lambda tx: _complete(tx, job, written, small))
    log.info("publication.made", extra={"files": len(written.files) + len(small)})


def _complete(tx: Tx, job: Job, written: Written, small: dict[str, Stored]) -> None:
    jobs.hold(tx, job)
    record(tx, [], small.values())
    files = [AtPath(path, file) for path, file in small.items()]
    publications.add_files(tx, written.publication.id, files)
    _end(tx, job, written.publication, written.origin)


def _end(tx: Tx, job: Job, publication: Publication, origin: Origin) -> None:
    """Make the publication visible, and end the task that made it, or its version too."""
    publications.complete_publication(tx, publication.id)
    model = f"deb.{publication.kind}publication"
    created = [prn(model, publication.uuid)]
    access.grant_task_owner(tx, job.task, model, created[0])
    if origin.made_by == job.task:
        created.insert(0, prn("core.repositoryversion", origin.version))
    tasks.complete(tx, job, created=created)


# --- verbatim -------------------------------------------------------------------------------------


def _publish_verbatim(worker: Worker, job: Job, lease: Lease, new: NewPublication) -> None:
    """Upstream's own files: nothing is written, only looked up."""
    with worker.db.transaction() as tx:
        origin = publications.get_origin(tx, new.repository, new.number)
        found = publications.list_unit_files(tx, new.repository, new.number)
    # apt asks by the strongest digest that upstream's Release names.
    files = [
        _with_digests(worker, lease, file, ["sha512"]) if file.is_index else file for file in found
    ]

    def finish(tx: Tx) -> None:
        jobs.hold(tx, job)
        units.lock_content(tx)
        publication = publications.add_publication(tx, replace(new, simple=False, structured=False))
        publications.add_files(tx, publication.id, files)
        _end(tx, job, publication, origin)

    worker.commit(finish)
    log.info("publication.made", extra={"files": len(files)})


def _with_digests(worker: Worker, lease: Lease, file: AtPath, names: Sequence[str]) -> AtPath:
    """A stored file with more digests than the store knows."""
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with worker.store.open(file.file.sha256) as stored:
        while block := stored.read(_BLOCK):
            lease.check()
            lease.progress(len(block))
            for digest in digests.values():
                digest.update(block)
    made = {name: digest.digest() for name, digest in digests.items()}
    sha512, md5, sha1 = (made.get(name) for name in ("sha512", "md5", "sha1"))
    return replace(file, file=replace(file.file, sha512=sha512, md5=md5, sha1=sha1))
