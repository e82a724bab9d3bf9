"""What is fuzzed: for each kind of input a function that takes bytes, and examples to begin with.

Each ends in a sound result or an error of ours; any other is a find. The tests of every day
(``unit/test_fuzz.py``) call the same checks with texts that hypothesis breaks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from archive.debs import make_deb
from archive.keys import SigningKey
from debfleet import pgp
from debfleet.deb import paths
from debfleet.deb.debfile import index_stanza, read_deb
from debfleet.deb.packages import StanzaRefused, package_attributes, parse_package
from debfleet.deb.release import parse_release
from debfleet.deb.sources import parse_source, source_attributes
from debfleet.deb.stanza import shown_text, split_stanzas, to_bytes
from debfleet.deb.sums import parse_sums
from debfleet.errors import BadKey, MalformedFile, UnsafePath, UntrustedError
from debfleet_api.routes.content.shown import metadata_sha256

KEY = SigningKey.generate()
RELEASE = f"""Origin: Archive
Suite: stable
Codename: trixie
Date: Thu, 01 Jan 2026 00:00:00 UTC
Valid-Until: Thu, 08 Jan 2026 00:00:00 UTC
Architectures: amd64 all
Components: main updates/contrib
Acquire-By-Hash: yes
MD5Sum:
 {"0f" * 16} 12 main/binary-amd64/Packages
SHA256:
 {"ab" * 32} 12 main/binary-amd64/Packages
 {"cd" * 32} 34 main/binary-amd64/Packages.xz
""".encode()
INDEX = f"""Package: a
Version: 1:1.0-1+b2~x
Architecture: amd64
Installed-Size: 12
Filename: pool/main/a/a/a_1.0-1+b2~x_amd64.deb
Size: 1234
SHA256: {"ab" * 32}
Description: one
 two
 .
 three

Package: b
Version: 2
Architecture: all
Filename: pool/b.deb
Size: 1
SHA256: {"cd" * 32}
""".encode()
SOURCES = f"""Package: a
Binary: a, liba
Version: 1:1.0-1
Maintainer: Somebody <s@example.org>
Directory: pool/main/a/a
Checksums-Sha256:
 {"ab" * 32} 12 a_1.0-1.dsc
 {"cd" * 32} 34 a_1.0.orig.tar.xz
Files:
 {"0f" * 16} 12 a_1.0-1.dsc
 {"f0" * 16} 34 a_1.0.orig.tar.xz
""".encode()
SUMS = f"{'ab' * 32}  ./netboot/vmlinuz\n{'cd' * 32} *./cdrom/initrd.gz\n".encode()
SIGNED = KEY.clearsign(RELEASE)
DETACHED = KEY.detach(RELEASE)
KEYRING = pgp.Keyring(KEY.public)


def check_release(text: bytes, permissive: bool) -> None:
    """A Release file is read soundly, or refused."""
    try:
        release = parse_release(text, permissive=permissive)
    except (MalformedFile, UnsafePath):
        return
    for path, file in release.files.items():
        assert paths.safe_path(path) == path == file.path
        assert file.size >= 0
    for word in (*(release.components or ()), *(release.architectures or ())):
        assert ".." not in word.split("/")
        paths.in_directory("dists/x", paths.index_directory(word, "amd64"))


def check_index(text: bytes, block: int) -> None:
    """A Packages file, in blocks of this size, is split and read soundly, or refused."""
    blocks = [text[i : i + block] for i in range(0, len(text), block)]
    try:
        stanzas = list(split_stanzas(blocks))
    except MalformedFile:
        return
    assert stanzas == list(split_stanzas([text]))  # borders of blocks change nothing
    for _, stanza in stanzas:
        try:
            package = parse_package(stanza)
        except (StanzaRefused, UnsafePath):
            continue
        assert paths.safe_path(package.relative_path) == package.relative_path
        assert len(package.sha256) == 32
        assert package.size >= 0
        assert to_bytes(package.stanza) == stanza  # given out as it came
        package.stanza.encode()
        assert package_attributes(package.stanza)["package"] == shown_text(package.name)
        assert len(metadata_sha256(package_attributes(package.stanza))) == 64


def check_sources(text: bytes) -> None:
    """The same of a Sources file."""
    try:
        stanzas = list(split_stanzas([text]))
    except MalformedFile:
        return
    for _, stanza in stanzas:
        try:
            source = parse_source(stanza)
        except (StanzaRefused, UnsafePath):
            continue
        for file in source.files:
            assert paths.safe_path(file.path) == file.path
            assert len(file.sha256) == 32
            assert file.size >= 0
        source_attributes(source.stanza)


def check_sums(text: bytes) -> None:
    """A list of the installer's files names paths below its folder, or is refused."""
    try:
        found = parse_sums("SHA256SUMS", text)
    except (MalformedFile, UnsafePath):
        return
    for path, digest in found.items():
        assert paths.safe_path(path) == path
        assert len(digest) == 32


def check_inline(text: bytes) -> None:
    """Of an InRelease only what the key signed comes out."""
    try:
        found = pgp.verify_inline(KEYRING, text)
    except UntrustedError:
        return
    assert found.split() == RELEASE.split()


def check_detached(text: bytes, signature: bytes) -> None:
    """A signature signs the one text."""
    try:
        pgp.verify_detached(KEYRING, text, signature)
    except UntrustedError:
        return
    assert text == RELEASE


def check_key(text: str) -> None:
    """A key, or none."""
    try:
        keyring = pgp.Keyring(text)
    except BadKey:
        return
    try:
        pgp.verify_inline(keyring, SIGNED)
    except UntrustedError:
        return


def check_path(path: str) -> None:
    """A path from upstream stays below the remote's URL."""
    try:
        safe = paths.safe_path(path)
    except UnsafePath:
        return
    assert paths.safe_path(safe) == safe
    url = urlsplit(paths.join_url("http://host:1/some/base?token=x", safe))
    assert url.netloc == "host:1"
    assert url.path.startswith("/some/base/")
    assert "/../" not in f"{url.path}/"
    assert (url.query, url.fragment) == ("token=x", "")


def check_deb(body: bytes) -> None:
    """A .deb has a stanza that an index can hold, or is refused; the stanza says what it is."""
    try:
        deb = read_deb(io.BytesIO(body), len(body))
        made = index_stanza(deb, relative_path=None, size=len(body), sha256=b"d" * 32)
    except MalformedFile:
        return
    assert made.size == len(body)
    assert paths.safe_path(made.relative_path) == made.relative_path
    # What an index says of it is read back as the same.
    assert parse_package(to_bytes(made.stanza)) == made


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    check: Callable[[bytes], None]
    examples: Sequence[bytes]
    longest: int = 4096  # bytes of an input
    cost: int = 1  # so many inputs of the others take as long as one of this


def _release(data: bytes) -> None:
    check_release(data[1:], permissive=data[:1] == b"p")


def _index(data: bytes) -> None:
    check_index(data[1:], block=1 + (data[0] if data else 0))


def _detached(data: bytes) -> None:
    check_detached(RELEASE, data)


def _text(check: Callable[[str], None]) -> Callable[[bytes], None]:
    return lambda data: check(data.decode("utf-8", errors="surrogateescape"))


def _packed(form: str) -> bytes:
    fields = {"Source": "greet (1.0)"}
    return make_deb("hello", "1:1.0-1", "amd64", fields=fields, payload_size=100, encoding=form)


TARGETS: Mapping[str, Target] = {
    "release": Target(_release, [b"p" + RELEASE, b"s" + RELEASE]),
    "index": Target(_index, [b"\7" + INDEX, b"\xff" + INDEX]),
    "sources": Target(check_sources, [SOURCES]),
    "sums": Target(check_sums, [SUMS]),
    "paths": Target(_text(check_path), [b"pool/main/a/a_1%3a1+b~x.deb", b"./a/../b//c"], 200),
    "inline": Target(check_inline, [SIGNED], cost=20),
    "detached": Target(_detached, [DETACHED], cost=20),
    "key": Target(_text(check_key), [KEY.public.encode()], cost=20),
    "deb": Target(check_deb, [_packed("none"), _packed("xz"), _packed("gz")], 8192),
}
