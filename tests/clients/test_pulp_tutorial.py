"""The tutorial, by commands of ``pulp deb`` alone (its transcript: docs/pulp-clients.md)."""

from __future__ import annotations

from urllib.request import urlopen

from archive.upstream import Upstream
from clients.pulp import Pulp


def test_an_upstream_is_copied_published_and_served(pulp: Pulp, upstream: Upstream) -> None:
    key = f"@{upstream.folder}/key.asc"
    pulp(
        "deb", "remote", "create", "--name", "tutorial", "--url", upstream.url,
        "--distribution", "stable", "--component", "main", "--architecture", "amd64",
        "--policy", "immediate", "--gpgkey", key,
    )  # fmt: skip
    pulp("deb", "repository", "create", "--name", "tutorial", "--remote", "tutorial")
    pulp("deb", "repository", "sync", "--name", "tutorial")
    version = pulp("deb", "repository", "version", "show", "--repository", "tutorial")
    publication = pulp("deb", "publication", "create", "--repository", "tutorial")
    distribution = pulp(
        "deb", "distribution", "create", "--name", "tutorial", "--base-path", "tutorial",
        "--publication", publication["pulp_href"],
    )  # fmt: skip
    content = pulp("deb", "repository", "content", "list", "--repository", "tutorial")

    assert version["number"] == 1
    assert publication["repository_version"] == version["pulp_href"]
    assert distribution["publication"] == publication["pulp_href"]
    assert sorted(unit["package"] for unit in content) == ["app", "app-doc"]
    with urlopen(f"{distribution['base_url']}dists/stable/main/binary-amd64/Packages") as served:
        text = served.read().decode()
    assert "Package: app\n" in text
    with urlopen(f"{distribution['base_url']}{content[0]['relative_path']}") as served:
        assert served.read(8) == b"!<arch>\n"
