"""A few bytes of files that we have, compared with what upstream has in their place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from archive import faults
from archive.upstream import Upstream
from debfleet.errors import UnsupportedUrl
from debfleet.fetch import Sample, compare_files
from fetching import Allowance, access

BODY = bytes(range(256)) * 1024  # 256 KiB
SAMPLE = Sample("a b/file.deb", 200_000, BODY[200_000:204_096], len(BODY))
EARLY = Sample("a b/file.deb", 1_000, BODY[1_000:5_096], len(BODY))


@dataclass(frozen=True)
class Site:
    folder: Path
    upstream: Upstream

    def compare(self, *samples: Sample, url: str | None = None) -> list[bool]:
        allowed = (str(self.folder),)
        to = access(url or self.upstream.url, allowed_import_paths=allowed)
        return compare_files(to, samples, Allowance())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/file.deb").write_bytes(BODY)
    with Upstream(tmp_path) as upstream:
        yield Site(tmp_path, upstream)


@pytest.mark.parametrize("is_local", [False, True])
def test_the_same_bytes_at_the_same_place_are_the_same(site: Site, is_local: bool) -> None:
    url = f"file://{site.folder}/" if is_local else None
    other = replace(SAMPLE, body=b"x" * 4096)
    longer = replace(SAMPLE, size=SAMPLE.size + 1)
    nowhere = replace(SAMPLE, path="nowhere.deb")

    found = site.compare(SAMPLE, other, longer, nowhere, EARLY, url=url)

    assert found == [True, False, False, False, True]


def test_no_more_than_the_sample_is_asked_for(site: Site) -> None:
    assert site.compare(SAMPLE) == [True]

    [request] = site.upstream.requests
    assert (request.headers["range"], request.sent) == ("bytes=200000-204095", 4096)


def test_of_a_server_without_ranges_only_what_lies_near_the_start_is_read(site: Site) -> None:
    site.upstream.faults.append(faults.no_range())

    assert site.compare(SAMPLE, EARLY) == [False, True]


@pytest.mark.parametrize(
    "fault", [faults.wrong_range(), faults.cut("*", 100), faults.status("*", 503)]
)
def test_what_is_no_such_part_of_the_file_proves_nothing(site: Site, fault: faults.Fault) -> None:
    site.upstream.faults.append(fault)

    assert site.compare(SAMPLE) == [False]


def test_an_empty_file_needs_no_proof(site: Site) -> None:
    assert site.compare(Sample("nowhere.deb", 0, b"", 0)) == [True]
    assert site.upstream.paths() == []


def test_a_local_directory_that_is_not_allowed_is_not_compared(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(UnsupportedUrl):
        site.compare(SAMPLE, url=f"file://{tmp_path_factory.mktemp('other')}/")
