"""Reading the control data of a .deb."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
from pathlib import Path

import pytest

from archive.debs import make_deb
from archive.hostile import broken_debs, with_fields
from debfleet.deb.debfile import Deb, default_path, index_stanza, read_deb
from debfleet.deb.packages import PackageStanza
from debfleet.errors import MalformedFile

BROKEN = broken_debs()


def read(body: bytes) -> Deb:
    return read_deb(io.BytesIO(body), len(body))


def listed(body: bytes, path: str | None = None) -> PackageStanza:
    sha256 = hashlib.sha256(body).digest()
    return index_stanza(read(body), relative_path=path, size=len(body), sha256=sha256)


@pytest.mark.parametrize("encoding", ["gz", "xz", "zst", "none"])
def test_the_control_stanza_is_read_however_it_is_packed(encoding: str) -> None:
    deb = read(make_deb("hello", "1.0", "amd64", encoding=encoding, payload_size=100_000))

    assert deb.fields["Package"] == "hello"
    assert deb.control.startswith(b"Package: hello\nVersion: 1.0\n")


def test_the_stanza_of_an_index_names_the_file_as_it_is() -> None:
    body = make_deb("libhello1", "2:1.0-1", "amd64", fields={"Source": "hello (2:1.0)"})

    package = listed(body)

    assert package.relative_path == "pool/h/hello/libhello1_2:1.0-1_amd64.deb"
    assert (package.size, package.sha256) == (len(body), hashlib.sha256(body).digest())
    assert package.stanza.endswith(f"SHA256: {package.sha256.hex()}")


def test_a_library_lies_in_a_folder_of_four_letters() -> None:
    assert default_path(read(make_deb("libc6", "1", "all"))) == "pool/libc/libc6/libc6_1_all.deb"


def test_what_a_control_file_says_of_its_file_is_not_believed() -> None:
    body = with_fields(Filename="pool/evil.deb", Size="7", SHA256="0" * 64, MD5sum="1" * 32)

    package = listed(body)

    assert package.relative_path == "pool/h/hello/hello_1.0_amd64.deb"
    assert package.size == len(body)
    assert "evil" not in package.stanza
    assert "MD5sum" not in package.stanza


@pytest.mark.parametrize(
    ("path", "is_right"),
    [
        ("anywhere/hello_3:1.0_amd64.deb", True),
        ("hello_1.0_amd64.deb", True),
        ("pool/other_1.0_amd64.deb", False),
        ("pool/hello_1.0_amd64.deb/x", False),
    ],
)
def test_a_given_path_must_end_in_the_name_of_the_package(path: str, is_right: bool) -> None:
    body = make_deb("hello", "3:1.0", "amd64")

    if is_right:
        assert listed(body, path).relative_path == path
    else:
        with pytest.raises(MalformedFile, match=r"must end in 'hello_3:1\.0_amd64\.deb'"):
            listed(body, path)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_with_its_reason(what: str) -> None:
    body, reason = BROKEN[what]

    with pytest.raises(MalformedFile, match=reason):
        listed(body)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
@pytest.mark.parametrize("encoding", ["gzip", "xz", "none"])
def test_a_file_of_dpkg_deb_is_read(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "tree"
    (folder / "DEBIAN").mkdir(parents=True)
    text = "Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: x <x@y>\nDescription: d\n"
    (folder / "DEBIAN/control").write_text(text)
    made = tmp_path / "hello.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", f"-Z{encoding}", "-b", str(folder), str(made)],
        check=True,
        capture_output=True,
    )

    assert listed(made.read_bytes()).name == "hello"
