"""The Release files of a publication: rendered, signed, and put into the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from debfleet.db import publications
from debfleet.db.publications import Origin, Publication, Stored
from debfleet.deb import publish as deb
from debfleet.model import Job
from debfleet_worker.dists import Dist, release_fields
from debfleet_worker.forms import ENDINGS, write_small
from debfleet_worker.lease import Lease
from debfleet_worker.sign import sign_release
from debfleet_worker.worker import Worker

_SIGNING_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Written:
    """A publication whose indices are written."""

    publication: Publication
    origin: Origin
    dists: tuple[Dist, ...]
    files: dict[str, Stored]  # of the indices, by path
    date: datetime  # by Postgres's clock: a worker's may be wrong, and apt refuses what is to come


def write_releases(worker: Worker, job: Job, lease: Lease, written: Written) -> dict[str, Stored]:
    """Store all Release files with their signatures; by path.

    Raises:
        SigningFailed: A service made no good signature.
        NotFound: A service is gone.
    """
    publication = written.publication
    legacy: dict[str, Stored] = {}
    if publication.options["publish_legacy_release_files"]:
        legacy = write_small(worker, job, lease, _legacy_releases(worker, written))
    files = {**written.files, **legacy}
    releases = {
        dist.directory: deb.render_release(
            release_fields(dist, publication, written.origin, worker.settings),
            _listed(dist, files),
            written.date,
        )
        for dist in written.dists
    }
    with lease.busy():
        bodies = _signed(worker, job, written, releases)
    return {**legacy, **write_small(worker, job, lease, bodies)}


def _legacy_releases(worker: Worker, written: Written) -> dict[str, bytes]:
    bodies = {}
    for dist in written.dists:
        fields = release_fields(dist, written.publication, written.origin, worker.settings)
        default = worker.settings.default_origin
        for index in dist.indices:
            bodies[_beside(index.path)] = deb.render_legacy_release(
                archive=fields.suite or fields.codename or dist.name,
                origin=fields.origin or default,
                label=fields.label or default,
                component=index.component,
                architecture=index.architecture,
            )
    return bodies


def _beside(index: str) -> str:
    return f"{index.rpartition('/')[0]}/Release"


def _listed(dist: Dist, files: dict[str, Stored]) -> list[deb.PublishedFile]:
    """What the Release file of a dist names; nothing of a dist that lies below this one."""
    paths = [index.path for index in (*dist.indices, *dist.sources)]
    names = [path + ending for path in paths for ending in ENDINGS.values()]
    names += [name for index in dist.indices if (name := _beside(index.path)) in files]
    names += [file.path for file in dist.installer if file.path in files]
    start = len(dist.directory) + 1
    return [
        deb.PublishedFile(name[start:], file.size, _digests(file))
        for name, file in ((name, files[name]) for name in names)
    ]


def _digests(file: Stored) -> dict[str, bytes]:
    found = {"md5": file.md5, "sha1": file.sha1, "sha256": file.sha256, "sha512": file.sha512}
    return {name: digest for name, digest in found.items() if digest is not None}


def _signed(
    worker: Worker, job: Job, written: Written, releases: dict[str, bytes]
) -> dict[str, bytes]:
    """The Release files by path, with their signatures; scripts may be slow, so several at once."""
    bodies = {f"{directory}/Release": body for directory, body in releases.items()}
    with worker.db.transaction() as tx:
        wanted = {d.directory: _service(written, d) for d in written.dists}
        services = {
            uuid: publications.get_signing_service(tx, uuid)
            for uuid in set(wanted.values())
            if uuid is not None
        }

    def signed(directory: str) -> dict[str, bytes]:
        uuid = wanted[directory]
        if uuid is None:
            return {}
        made = sign_release(
            services[uuid], worker.sealer, releases[directory], correlation_id=job.logging_cid
        )
        return {f"{directory}/{name}": body for name, body in made.items()}

    with ThreadPoolExecutor(_SIGNING_AT_ONCE) as pool:
        for made in pool.map(signed, releases):
            bodies |= made
    return bodies


def _service(written: Written, dist: Dist) -> UUID | None:
    """Who signs a dist: the publication's service, that of the distribution, the repository's."""
    given = written.publication.options["signing_service"]
    if given is not None:
        return UUID(given)
    override = None
    if not dist.is_simple:
        override = written.origin.signing_service_release_overrides.get(dist.name)
    return UUID(override) if override else written.origin.signing_service
