"""What `debfleet sources` and `debfleet publish` make of names, without a server."""

from __future__ import annotations

import pytest

from debfleet_cli.client import Access, Api
from debfleet_cli.publish import default_path
from debfleet_cli.published import base_url
from debfleet_cli.sources import Source, render_source

_KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxjME\n-----END PGP PUBLIC KEY BLOCK-----\n"
_URI = "http://h/pulp/content/a/"


def test_a_key_becomes_lines_of_its_field() -> None:
    source = Source(_URI, "stable", ("contrib", "main"), True, _KEY)

    assert render_source(source, ["main"]) == (
        "Types: deb deb-src\n"
        "URIs: http://h/pulp/content/a/\n"
        "Suites: stable\n"
        "Components: main\n"
        "Signed-By:\n"
        " -----BEGIN PGP PUBLIC KEY BLOCK-----\n"
        " .\n"
        " xjME\n"
        " -----END PGP PUBLIC KEY BLOCK-----\n"
    )


def test_a_flat_archive_has_no_components() -> None:
    text = render_source(Source(_URI, "./", (), False, None))

    assert text == "Types: deb\nURIs: http://h/pulp/content/a/\nSuites: ./\n"


def test_apt_is_told_to_trust_only_what_nobody_signed() -> None:
    text = render_source(Source(_URI, "s", ("main",), False, None, is_signed=False))

    assert text.endswith("Components: main\nTrusted: yes\n")


@pytest.mark.parametrize(
    ("name", "path"),
    [("nginx.org-bookworm", "nginx.org-bookworm"), ("/a b/c?", "a-b/c"), ("??", "repository")],
)
def test_a_repository_without_a_base_path_is_served_at_its_name(name: str, path: str) -> None:
    assert default_path(name) == path


@pytest.mark.parametrize(
    ("api", "base", "found"),
    [
        ("http://h:24817", "/pulp/content/a/", "http://h:24816/pulp/content/a/"),
        ("https://h", "/pulp/content/a/", "https://h:24816/pulp/content/a/"),
        ("http://[::1]:24817", "/pulp/content/a/", "http://[::1]:24816/pulp/content/a/"),
        (
            "http://h:24817",
            "https://c.example/pulp/content/a/",
            "https://c.example/pulp/content/a/",
        ),
    ],
)
def test_content_without_an_origin_is_taken_to_be_beside_the_api(
    monkeypatch: pytest.MonkeyPatch, api: str, base: str, found: str
) -> None:
    monkeypatch.delenv("DEBFLEET_CONTENT_ADDRESS", raising=False)
    with Api(Access(api, "admin", None)) as client:
        assert base_url(client, {"base_url": base}) == found
