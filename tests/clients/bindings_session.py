"""What a user of the generated bindings does; run by the Python that has them installed.

    python bindings_session.py URL UPSTREAM KEY_FILE DEB_FILE    (the password in PULP_PASSWORD)

Prints one JSON object a check: its name, and what went wrong or null. The bindings check each
answer against their models, so that reading one at all is already half of the proof.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulpcore.client import pulp_deb as deb
from pulpcore.client import pulpcore as core

FINAL = ("completed", "failed", "canceled", "skipped")


class Session:
    """The APIs of one server, and what its upstream is."""

    def __init__(self, url: str, upstream: str, key: str, package: str) -> None:
        login = {"host": url, "username": "admin", "password": os.environ["PULP_PASSWORD"]}
        self._deb = deb.ApiClient(deb.Configuration(**login))
        self._core = core.ApiClient(core.Configuration(**login))
        self.upstream, self.key, self.package = upstream, Path(key).read_text(), package

    def deb(self, name: str) -> Any:
        return getattr(deb, f"{name}Api")(self._deb)

    def core(self, name: str) -> Any:
        return getattr(core, f"{name}Api")(self._core)

    def wait(self, answer: Any) -> Any:
        """The task of an answer, over and well."""
        deadline = time.monotonic() + 120
        while (task := self.core("Tasks").read(answer.task)).state not in FINAL:
            assert time.monotonic() < deadline, task
            time.sleep(0.1)
        assert task.state == "completed", task.error
        return task

    def remote(self, name: str, **more: Any) -> Any:
        body = {"name": name, "url": self.upstream, "distributions": "stable", **more}
        return self.deb("RemotesApt").create(deb.DebAptRemote(**body))

    def repository(self, name: str, **more: Any) -> Any:
        return self.deb("RepositoriesApt").create(deb.DebAptRepository(name=name, **more))

    def synced(self, name: str) -> Any:
        """A repository that holds all of upstream."""
        remote = self.remote(name, policy="on_demand", gpgkey=self.key)
        repository = self.repository(name, remote=remote.pulp_href)
        body = deb.AptRepositorySyncURL()
        self.wait(self.deb("RepositoriesApt").sync(repository.pulp_href, body))
        return self.deb("RepositoriesApt").read(repository.pulp_href)


def refused(status: int, call: Callable[[], Any]) -> str:
    """The body of an answer with this status."""
    found = None
    try:
        call()
    except (core.ApiException, deb.ApiException) as e:
        found = e
    assert found is not None, "it was not refused"
    assert found.status == status, found
    return str(found.body)


def status(s: Session) -> None:
    found = s.core("Status").status_read()
    assert {v.component for v in found.versions} >= {"core", "deb"}
    assert found.database_connection.connected
    assert s.core("Workers").list(online=True).count >= 1


def remotes(s: Session) -> None:
    api = s.deb("RemotesApt")
    made = s.remote("b-r", headers=[{"X-A": "b"}], pulp_labels={"a": "b"}, total_timeout=2.5)
    assert api.read(made.pulp_href) == made
    assert [r.name for r in api.list(name="b-r", pulp_label_select="a=b").results] == ["b-r"]
    answer = api.partial_update(made.pulp_href, {"policy": "on_demand", "rate_limit": 4})
    s.wait(answer)
    changed = api.read(made.pulp_href)
    assert (changed.policy, changed.rate_limit) == ("on_demand", 4)
    same = api.partial_update(made.pulp_href, {"policy": "on_demand"})
    assert same.pulp_href == made.pulp_href
    whole = deb.DebAptRemote(name="b-r", url=s.upstream, distributions="stable other")
    s.wait(api.update(made.pulp_href, whole))
    assert api.read(made.pulp_href).policy == "immediate"
    api.set_label(made.pulp_href, deb.SetLabel(key="k", value="v"))
    api.unset_label(made.pulp_href, deb.UnsetLabel(key="a"))
    assert api.read(made.pulp_href).pulp_labels == {"k": "v"}
    assert s.core("Remotes").list(name="b-r").results[0].prn == made.prn
    s.wait(api.delete(made.pulp_href))
    assert api.list(name="b-r").count == 0


def repositories(s: Session) -> None:
    api = s.deb("RepositoriesApt")
    made = s.repository("b-a", description="d", retain_repo_versions=2)
    assert api.read(made.pulp_href) == made
    assert made.latest_version_href.endswith("/versions/0/")
    listed = api.list(name__in=["b-a", "none"], retain_repo_versions__gte=2, ordering=["-name"])
    assert [r.prn for r in listed.results] == [made.prn]
    s.wait(api.partial_update(made.pulp_href, {"description": None, "autopublish": True}))
    changed = api.read(made.pulp_href)
    assert (changed.description, changed.autopublish) == (None, True)
    api.set_label(made.pulp_href, deb.SetLabel(key="k", value="v"))
    assert s.core("Repositories").list(pulp_label_select="k").count == 1
    api.unset_label(made.pulp_href, deb.UnsetLabel(key="k"))
    assert "unique" in refused(400, lambda: s.repository("b-a"))
    s.wait(api.delete(made.pulp_href))


def syncs_and_versions(s: Session) -> None:
    repository = s.synced("b-s")
    versions = s.deb("RepositoriesAptVersions")
    version = versions.read(repository.latest_version_href)
    assert version.number == 1
    present = version.content_summary.present
    assert present["deb.package"]["count"] == 4
    assert [v.number for v in versions.list(repository.pulp_href).results] == [1, 0]
    task = s.wait(s.deb("RepositoriesApt").sync(
        repository.pulp_href, deb.AptRepositorySyncURL(mirror=True, optimize=False)
    ))  # fmt: skip
    assert {r.state for r in task.progress_reports} <= {"completed", "canceled"}
    s.wait(versions.repair(version.pulp_href, deb.Repair(verify_checksums=True)))
    assert s.core("RepositoryVersions").list(content=package_of(s, version)).count >= 1


def package_of(s: Session, version: Any) -> str:
    found = s.deb("ContentPackages").list(repository_version=version.pulp_href, limit=1)
    href: str = found.results[0].pulp_href
    return href


def content(s: Session) -> None:
    repository = s.synced("b-c")
    version = repository.latest_version_href
    counts = {
        "Packages": 4, "PackageReleaseComponents": 4, "PackageIndices": 4, "Releases": 1,
        "ReleaseArchitectures": 2, "ReleaseComponents": 2, "ReleaseFiles": 1, "SourcePackages": 0,
        "GenericContents": 0, "InstallerPackages": 0, "InstallerFileIndices": 0,
        "SourceIndices": 0, "SourceReleaseComponents": 0,
    }  # fmt: skip
    for name, count in counts.items():
        api = s.deb(f"Content{name}")
        found = api.list(repository_version=version)
        assert found.count == count, (name, found.count)
        if count:
            assert api.read(found.results[0].pulp_href) == found.results[0]
    packages = s.deb("ContentPackages")
    assert packages.list(repository_version=version, package__startswith="app").count == 3
    assert packages.list(repository_version=version, essential=True).count == 1
    assert packages.list(repository_version=version, multi_arch="foreign").count == 1
    release = s.deb("ContentReleases").list(repository_version=version).results[0].pulp_href
    assert packages.list(release=f"{release},{version}").count == 4
    whole = s.core("Content").list(repository_version=version, pulp_type__in=["deb.package"])
    assert whole.count == 4
    thin = packages.list(repository_version=version, fields=["package", "pulp_href"], limit=1)
    assert (thin.results[0].package is None, thin.results[0].version) == (False, None)


def modify(s: Session) -> None:
    source = s.synced("b-m")
    units = s.deb("ContentPackages").list(repository_version=source.latest_version_href).results
    api = s.deb("RepositoriesApt")
    target = s.repository("b-n")
    body = deb.AptRepositoryAddRemoveContent(add_content_units=[u.pulp_href for u in units[:2]])
    task = s.wait(api.modify(target.pulp_href, body))
    assert task.created_resources == [f"{target.pulp_href}versions/1/"]
    body = deb.AptRepositoryAddRemoveContent(remove_content_units=["*"])
    s.wait(api.modify(target.pulp_href, body))
    assert api.read(target.pulp_href).latest_version_href.endswith("versions/2/")
    s.wait(s.deb("RepositoriesAptVersions").delete(f"{target.pulp_href}versions/1/"))


def publishing(s: Session) -> None:
    repository = s.synced("b-p")
    for name, body in (
        ("Apt", deb.DebAptPublication(repository=repository.pulp_href, simple=True)),
        ("Verbatim", deb.DebVerbatimPublication(repository_version=repository.latest_version_href)),
    ):
        api = s.deb(f"Publications{name}")
        href = s.wait(api.create(body)).created_resources[0]
        assert api.read(href).repository_version == repository.latest_version_href
        assert api.list(repository=repository.pulp_href).count == 1
        distributions = s.deb("DistributionsApt")
        made = s.wait(distributions.create(deb.DebAptDistribution(
            name=f"b-{name}", base_path=f"b-{name}", publication=href
        ))).created_resources[0]  # fmt: skip
        assert distributions.read(made).no_content_change_since
        change = {"publication": None, "repository": repository.pulp_href}
        s.wait(distributions.partial_update(made, change))
        distributions.set_label(made, deb.SetLabel(key="k", value=None))
        assert distributions.list(pulp_label_select="k", name=f"b-{name}").count == 1
        distributions.unset_label(made, deb.UnsetLabel(key="k"))
        s.wait(distributions.delete(made))
        api.delete(href)
    assert s.core("Publications").list().count >= 0
    assert s.core("Distributions").list().count >= 0


def uploading(s: Session) -> None:
    repository = s.repository("b-u")
    packages = s.deb("ContentPackages")
    task = s.wait(packages.create(
        file=s.package, repository=repository.pulp_href, distribution="stable", component="main"
    ))  # fmt: skip
    assert len(task.created_resources) >= 2
    version = s.deb("RepositoriesApt").read(repository.pulp_href).latest_version_href
    (held,) = packages.list(repository_version=version).results
    assert s.core("Artifacts").read(held.artifact).sha256 == held.sha256
    again = s.wait(packages.create(artifact=held.artifact))
    assert held.pulp_href in again.created_resources


def labelled_content(s: Session) -> None:
    packages = s.deb("ContentPackages")
    task = s.wait(packages.create(file=s.package, pulp_labels={"env": "test"}))
    held = packages.read(task.created_resources[0])
    assert held.pulp_labels == {"env": "test"}
    packages.set_label(held.pulp_href, deb.SetLabel(key="tier", value="1"))
    packages.unset_label(held.pulp_href, deb.UnsetLabel(key="env"))
    assert packages.read(held.pulp_href).pulp_labels == {"tier": "1"}
    assert [p.pulp_href for p in packages.list(pulp_label_select="tier=1").results] == [
        held.pulp_href
    ]
    repository = s.synced("b-l")
    links = s.deb("ContentPackageReleaseComponents")
    link = links.list(repository_version=repository.latest_version_href).results[0].pulp_href
    links.set_label(link, deb.SetLabel(key="k", value=None))
    assert links.list(pulp_label_select="k").count == 1


def tasks(s: Session) -> None:
    api = s.core("Tasks")
    repository = s.repository("b-t")
    s.wait(s.deb("RepositoriesApt").delete(repository.pulp_href))
    found = api.list(state__in=["completed"], name__contains="delete", limit=1)
    task = api.read(found.results[0].pulp_href)
    assert task.logging_cid
    cancel = core.PatchedTaskCancel(state="canceled")
    refused(409, lambda: api.tasks_cancel(task.pulp_href, cancel))
    s.wait(api.purge(core.Purge(states=["skipped"])))
    assert s.core("TaskGroups").list().count == 0
    assert s.core("SigningServices").list().count == 0


def cleanup(s: Session) -> None:
    task = s.wait(s.core("OrphansCleanup").cleanup(core.OrphansCleanup(orphan_protection_time=0)))
    assert {r.code for r in task.progress_reports} >= {"clean-up.content", "clean-up.artifacts"}


def upkeep(s: Session) -> None:
    repository = s.synced("b-x")
    space = core.ReclaimSpace(repo_hrefs=[repository.pulp_href])
    s.wait(s.core("RepositoriesReclaimSpace").reclaim(space))
    s.wait(s.core("Repair").post(core.Repair(verify_checksums=False)))


def alternates(s: Session) -> None:
    api = s.deb("AcsDeb")
    remote = s.remote("b-alternate", policy="on_demand", gpgkey=s.key)
    body = {"name": "b-alternate", "remote": remote.pulp_href}
    made = api.create(deb.DebAptAlternateContentSource(**body))
    assert api.read(made.pulp_href) == made
    assert api.list(name="b-alternate").count == 1
    eager = s.remote("b-eager").pulp_href
    assert "on_demand" in refused(
        400, lambda: api.partial_update(made.pulp_href, {"remote": eager})
    )
    s.wait(api.partial_update(made.pulp_href, {"name": "b-renamed"}))
    groups = s.core("TaskGroups")
    href = api.refresh(made.pulp_href).task_group
    deadline = time.monotonic() + 120
    while (group := groups.read(href)).completed + group.failed < 1:
        assert time.monotonic() < deadline, group
        time.sleep(0.1)
    assert (group.completed, len(group.tasks)) == (1, 1)
    assert s.core("Tasks").read(group.tasks[0].pulp_href).task_group == href
    assert api.read(made.pulp_href).last_refreshed
    s.wait(api.delete(made.pulp_href))


CHECKS: tuple[Callable[[Session], None], ...] = (
    status, remotes, repositories, syncs_and_versions, content, modify, publishing, uploading,
    labelled_content, tasks, cleanup, upkeep, alternates,
)  # fmt: skip


def main() -> None:
    session = Session(*sys.argv[1:])
    for check in CHECKS:
        wrong = None
        try:
            check(session)
        except Exception:  # noqa: BLE001  # every check is tried; the test is told what is wrong
            wrong = traceback.format_exc()
        print(json.dumps({"check": check.__name__, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main()
