"""The generator of archives: what it writes is what apt and dpkg expect."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest
from debian.debfile import DebFile

from archive.__main__ import main
from archive.build import write_archive
from archive.debs import encode, make_deb
from archive.keys import SigningKey
from archive.model import Archive, Dist, Pkg, Source
from archive.norse import nosuite, ragnarok
from archive.synthetic import make_dist
from debfleet.deb.packages import PackageStanza, parse_package
from debfleet.deb.release import Release, parse_release
from debfleet.deb.stanza import split_stanzas
from debfleet.pgp import Keyring, verify_detached, verify_inline

KEY = SigningKey.generate()


def read_release(archive: Archive, dist: Dist) -> Release:
    return parse_release((archive.folder / dist.directory / "Release").read_bytes())


def read_index(path: Path) -> list[PackageStanza]:
    return [parse_package(stanza) for _, stanza in split_stanzas([path.read_bytes()])]


def every_file(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("encoding", ["xz", "gz", "none"])
def test_a_deb_is_one_that_python_debian_reads(encoding: str) -> None:
    deb = make_deb("foo", "1:2", "amd64", fields={"Depends": "bar"}, encoding=encoding)

    with DebFile(fileobj=io.BytesIO(deb)) as file:
        control = file.debcontrol()
        payload = file.data.get_content("usr/share/foo/payload")

    assert (control["Package"], control["Version"], control["Depends"]) == ("foo", "1:2", "bar")
    assert len(payload) == 1000


@pytest.mark.parametrize("encoding", ["xz", "gz", "zst", "none"])
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_a_deb_is_one_that_dpkg_reads(tmp_path: Path, encoding: str, size: int) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    path = tmp_path / "foo.deb"
    path.write_bytes(make_deb("foo", "1", "amd64", payload_size=size, encoding=encoding))

    subprocess.run(["dpkg-deb", "--info", path], check=True, capture_output=True)
    subprocess.run(["dpkg-deb", "--extract", path, tmp_path / "out"], check=True)

    assert (tmp_path / "out/usr/share/foo/payload").stat().st_size == size


def test_indices_say_what_lies_in_the_pool(tmp_path: Path) -> None:
    dist = Dist("stable", {"main": [Pkg("foo", "1:2-1"), Pkg("libbar", fields={"Source": "bar"})]})

    archive = write_archive(tmp_path, [dist], plain=True)

    packages = read_index(tmp_path / "dists/stable/main/binary-amd64/Packages")
    assert [p.relative_path for p in packages] == [
        "pool/main/f/foo/foo_2-1_amd64.deb",
        "pool/main/b/bar/libbar_1.0_amd64.deb",
    ]
    for package in packages:
        content = (tmp_path / package.relative_path).read_bytes()
        assert package.size == len(content)
        assert package.sha256 == hashlib.sha256(content).digest()
        assert archive.files[package.relative_path] == package.sha256.hex()


def test_a_release_lists_every_form_of_an_index(tmp_path: Path) -> None:
    dist = Dist("stable", {"main": [Pkg("foo")]})

    archive = write_archive(tmp_path, [dist], encodings=("xz", "gz", "zst"))

    directory = tmp_path / "dists/stable"
    files = read_release(archive, dist).files
    stem = "main/binary-amd64/Packages"
    assert set(files) == {
        *(stem, f"{stem}.xz", f"{stem}.gz", f"{stem}.zst"),
        "main/binary-amd64/Release",
    }
    assert not (directory / stem).exists()
    plain = lzma.decompress((directory / f"{stem}.xz").read_bytes())
    assert plain == gzip.decompress((directory / f"{stem}.gz").read_bytes())
    assert files[stem].sha256 == hashlib.sha256(plain).hexdigest()
    for file in files.values():
        if file.path == stem:
            continue
        content = (directory / file.path).read_bytes()
        by_hash = directory / "main/binary-amd64/by-hash/SHA256" / file.sha256
        assert by_hash.read_bytes() == content
        assert len(content) == file.size


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    dists = [
        make_dist(packages=20, components=("main", "updates/x"), architectures=("amd64", "arm64")),
        ragnarok(),
    ]

    write_archive(tmp_path / "one", dists)
    write_archive(tmp_path / "two", dists)

    assert every_file(tmp_path / "one") == every_file(tmp_path / "two")


def test_a_key_signs_all_forms(tmp_path: Path) -> None:
    write_archive(tmp_path, [ragnarok()], key=KEY)

    place, keyring = tmp_path / "dists/ragnarok", Keyring(KEY.public)
    text = (place / "Release").read_bytes()
    assert verify_inline(keyring, (place / "InRelease").read_bytes()).strip() == text.strip()
    verify_detached(keyring, text, (place / "Release.gpg").read_bytes())


def test_forms_can_be_left_out(tmp_path: Path) -> None:
    dist = Dist("stable", {"main": []}, architectures=("amd64",), forms=("InRelease",))

    write_archive(tmp_path, [dist], key=KEY)

    assert [path.name for path in (tmp_path / "dists/stable").iterdir() if path.is_file()] == [
        "InRelease"
    ]


@pytest.mark.parametrize(
    ("name", "directory"), [("./", ""), ("/", ""), ("flat/", "flat"), ("a/b/", "a/b")]
)
def test_flat_archives_have_all_in_one_directory(tmp_path: Path, name: str, directory: str) -> None:
    dist = Dist(name, {"": [Pkg("foo"), Pkg("bar", architecture="all")]})

    archive = write_archive(tmp_path, [dist], plain=True)

    assert dist.directory == directory
    packages = read_index(tmp_path / directory / "Packages")
    assert [p.architecture for p in packages] == ["amd64", "all"]
    for package in packages:  # apt: relative to the archive's root, not to the directory
        assert (tmp_path / package.relative_path).parent == tmp_path / directory
    release = read_release(archive, dist)
    assert (release.components, release.architectures) == (None, None)
    assert "Packages.xz" in release.files


def test_a_component_with_a_prefix_lies_in_its_plain_directory(tmp_path: Path) -> None:
    dist = Dist("stable/updates", {"updates/main": [Pkg("foo")]})

    archive = write_archive(tmp_path, [dist])

    assert read_release(archive, dist).components == ("updates/main",)
    assert archive.indices == ("dists/stable/updates/main/binary-amd64/Packages",)


@pytest.mark.parametrize(
    ("listing", "of_all", "of_amd64"),
    [
        ("each", None, ["foo", "doc"]),
        ("own", ["doc"], ["foo"]),
        ("both", ["doc"], ["foo", "doc"]),
    ],
)
def test_packages_for_all_are_listed_where_wanted(
    tmp_path: Path, listing: str, of_all: list[str] | None, of_amd64: list[str]
) -> None:
    packages = [Pkg("foo"), Pkg("doc", architecture="all")]
    dist = Dist("stable", {"main": packages}, all_packages=listing)

    archive = write_archive(tmp_path, [dist], plain=True)

    place = tmp_path / "dists/stable/main"
    assert [p.name for p in read_index(place / "binary-amd64/Packages")] == of_amd64
    if of_all is None:
        assert not (place / "binary-all").exists()
    else:
        assert [p.name for p in read_index(place / "binary-all/Packages")] == of_all
    release = read_release(archive, dist)
    assert release.no_support_for_architecture_all == ("Packages" if listing == "both" else None)
    assert release.architectures == (("amd64",) if of_all is None else ("all", "amd64"))


def test_a_variant_has_an_index_of_its_own(tmp_path: Path) -> None:
    fast = Pkg("foo", fields={"Architecture-Variant": "amd64v3"}, path="pool/foo_v3.deb")

    write_archive(tmp_path, [Dist("stable", {"main": [Pkg("foo"), fast]})], plain=True)

    place = tmp_path / "dists/stable/main"
    assert [p.relative_path for p in read_index(place / "binary-amd64v3/Packages")] == [
        "pool/foo_v3.deb"
    ]
    assert len(read_index(place / "binary-amd64/Packages")) == 1


def test_listed_files_can_be_absent(tmp_path: Path) -> None:
    dist = Dist(
        "stable", {"main": [Pkg("foo"), Pkg("foo", architecture="arm64")]}, absent=("*-arm64/*",)
    )

    archive = write_archive(tmp_path, [dist])

    assert "main/binary-arm64/Packages.xz" in read_release(archive, dist).files
    assert not (tmp_path / "dists/stable/main/binary-arm64").exists()


def test_an_index_can_lie(tmp_path: Path) -> None:
    liar = Pkg("foo", stanza={"SHA256": "0" * 64, "Size": "", "X-More": "yes"})

    write_archive(tmp_path, [Dist("stable", {"main": [liar]})], plain=True)

    text = (tmp_path / "dists/stable/main/binary-amd64/Packages").read_text()
    assert f"SHA256: {'0' * 64}\n" in text
    assert "X-More: yes\n" in text
    assert "Size: " not in text.replace("Installed-Size: ", "")


def test_metadata_alone_can_be_written(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, [make_dist(packages=50)], pool=False)

    assert len(archive.listed) == 50
    assert not (tmp_path / "pool").exists()


def test_sources_and_udebs_are_listed(tmp_path: Path) -> None:
    dist = Dist(
        "stable",
        {"main": [Pkg("foo"), Pkg("foo-udeb", is_udeb=True)]},
        sources={"main": [Source("foo", "1:2")]},
    )

    archive = write_archive(tmp_path, [dist], plain=True)

    files = read_release(archive, dist).files
    assert "main/source/Sources.xz" in files
    assert "main/debian-installer/binary-amd64/Packages.xz" in files
    assert (tmp_path / "pool/main/f/foo/foo_2.dsc").exists()
    assert (tmp_path / "pool/main/f/foo-udeb/foo-udeb_1.0_amd64.udeb").exists()


def test_the_norse_dists_have_the_counts_of_pulps_own(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, [ragnarok(), nosuite()], key=KEY)

    assert len(archive.indices) == 5
    assert len(archive.files) == 4
    assert len(archive.listed) == 7
    assert read_release(archive, ragnarok()).suite == "mythology"
    assert read_release(archive, nosuite()).suite == ""


def test_the_command_makes_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path), "--packages", "30", "--components", "main", "contrib"])

    assert "30 packages in 2 indices" in capsys.readouterr().out
    keyring = Keyring((tmp_path / "key.asc").read_text())
    assert verify_inline(keyring, (tmp_path / "dists/stable/InRelease").read_bytes())


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="no encoding"):
        encode(b"", "rar")


def test_apt_accepts_what_is_written(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get here")
    dists = [
        make_dist("stable", packages=20, architectures=("amd64",), all_packages="both"),
        Dist("flat/", {"": [Pkg("flatfoo")]}),
    ]
    write_archive(tmp_path / "archive", dists, key=KEY)
    (tmp_path / "key.asc").write_text(KEY.public)
    apt = _isolated_apt(
        tmp_path,
        f"deb [signed-by={tmp_path}/key.asc] file:{tmp_path}/archive stable main\n"
        f"deb [signed-by={tmp_path}/key.asc] file:{tmp_path}/archive flat/\n",
    )

    update = subprocess.run([*apt, "update"], capture_output=True, text=True)

    assert update.returncode == 0, update.stdout + update.stderr
    assert "W:" not in update.stderr
    names = subprocess.run(
        [*apt, "indextargets", "--format", "$(FILENAME)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Packages" in names.stdout


def _isolated_apt(tmp_path: Path, sources: str) -> list[str]:
    """apt-get with lists, cache and sources of its own."""
    for directory in ("lists/partial", "cache/archives/partial", "empty"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "sources.list").write_text(sources)
    (tmp_path / "status").write_text("")
    options = {
        "Dir::Etc::SourceList": tmp_path / "sources.list",
        "Dir::Etc::SourceParts": tmp_path / "empty",
        "Dir::State::Lists": tmp_path / "lists",
        "Dir::State::Status": tmp_path / "status",
        "Dir::Cache": tmp_path / "cache",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", *(part for k, v in options.items() for part in ("-o", f"{k}={v}"))]
