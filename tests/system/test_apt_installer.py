"""What starts an installation: its images and packages, from our key down to each file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet.deb.release import parse_release
from debfleet.pgp import Keyring, verify_inline
from debfleet_cli.apt_client import AptClient
from debfleet_cli.client import Body
from system.fleet import add_pair, synced
from system.publishing import (
    VERBATIM,
    clean_update,
    distribute,
    get,
    need_apt,
    new_key,
    publish,
    serving_fleet,
)

KEY = SigningKey.generate()
IMAGES = "main/installer-amd64/current/images"
FILES = {
    "MANIFEST": b"netboot/mini.iso - a tiny image\n",
    "netboot/mini.iso": hashlib.shake_128(b"iso").digest(700_000),
    "netboot/debian-installer/amd64/linux": hashlib.shake_128(b"linux").digest(90_000),
}
UDEB = Pkg("disk-detect", "1.2", fields={"Source": "hw-detect"}, is_udeb=True)
DIST = Dist(
    "bookworm",
    {"main": [Pkg("app"), UDEB]},
    architectures=("amd64",),
    installer={IMAGES: FILES, IMAGES.replace("current", "20230607"): FILES},
)


@pytest.fixture(scope="module")
def published(
    postgres: servers.PostgresForTests, template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, str]]]:
    """By kind of publication its base URL and the key that signed it; synced on demand."""
    need_apt()
    folder: Path = tmp_path_factory.mktemp("archive")
    write_archive(folder, [DIST], key=KEY)
    with (
        Upstream(folder) as upstream,
        serving_fleet(postgres, template_url) as fleet,
        fleet.client() as api,
    ):
        service: Body = new_key(fleet, api, "held")
        fields = {"gpgkey": KEY.public, "sync_udebs": True, "sync_installer": True}
        more = {"policy": "on_demand", "distributions": "bookworm"}
        _, repository = add_pair(api, "installer", upstream.url, **fields, **more)
        synced(api, repository)
        ours = publish(api, repository, signing_service=service["pulp_href"])
        theirs = publish(api, repository, VERBATIM)
        yield {
            "structured": (_served(api, "ours", ours), str(service["public_key"])),
            "verbatim": (_served(api, "theirs", theirs), KEY.public),
        }


def _served(api: object, path: str, publication: Body) -> str:
    made = distribute(api, path, publication=publication["pulp_href"])  # type: ignore[arg-type]
    return str(made["base_url"]).rstrip("/")


@pytest.mark.parametrize("kind", ["structured", "verbatim"])
def test_each_file_of_the_installer_is_the_one_that_the_signed_release_leads_to(
    published: dict[str, tuple[str, str]], kind: str
) -> None:
    base, key = published[kind]

    dist = f"{base}/dists/bookworm"
    release = parse_release(verify_inline(Keyring(key), get(f"{dist}/InRelease")))
    for place in (IMAGES, IMAGES.replace("current", "20230607")):
        sums = get(f"{dist}/{place}/SHA256SUMS")
        assert hashlib.sha256(sums).hexdigest() == release.files[f"{place}/SHA256SUMS"].sha256
        rows = [row.split() for row in sums.decode().splitlines()]
        assert len(rows) == len(FILES)
        for digest, path in rows:
            body = get(f"{dist}/{place}/{path.removeprefix('./')}")
            assert hashlib.sha256(body).hexdigest() == digest


@pytest.mark.parametrize("kind", ["structured", "verbatim"])
def test_apt_takes_a_release_with_udebs_and_fetches_one(
    published: dict[str, tuple[str, str]], kind: str, tmp_path: Path
) -> None:
    base, key = published[kind]
    client = AptClient(tmp_path / "client")
    client.add_source("debian", base, "bookworm", "main main/debian-installer", key=key)

    clean_update(client)

    assert set(client.packages()) == {("app", "1.0"), ("disk-detect", "1.2")}
    client.download("disk-detect")
    found = [*(client.root / "tmp").glob("disk-detect*.udeb"), *client.root.glob("tmp/*.deb")]
    assert len(found) == 1
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    assert digest == client.packages()["disk-detect", "1.2"]


@pytest.mark.parametrize("kind", ["structured", "verbatim"])
def test_a_client_of_packages_alone_sees_no_udeb(
    published: dict[str, tuple[str, str]], kind: str, tmp_path: Path
) -> None:
    base, key = published[kind]
    client = AptClient(tmp_path / "client")
    client.add_source("debian", base, "bookworm", "main", key=key)

    clean_update(client)

    assert set(client.packages()) == {("app", "1.0")}
    assert len(client.install_download_only("app")) == 1
