"""Write an archive into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from archive.debs import encode, make_deb
from archive.keys import SigningKey
from archive.model import Archive, Dist, Listed, Pkg, Source
from archive.source_files import make_source, render

_SUFFIX = {"xz": ".xz", "gz": ".gz", "zst": ".zst", "plain": ""}
_ALGORITHMS = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}


def write_archive(
    folder: Path,
    dists: Iterable[Dist],
    *,
    key: SigningKey | None = None,
    encodings: Sequence[str] = ("xz", "gz"),
    by_hash: bool = True,
    plain: bool = False,
    pool: bool = True,
) -> Archive:
    """Write an archive of these dists below ``folder``, signed where there is a key.

    Release lists every index in its plain form, which is on the server only with ``plain``, and in
    each of ``encodings`` (xz, gz, zst). Without ``pool`` no package file is written: sizes and
    digests in the indices are made up, which is fast, and enough where only metadata is synced.
    The same arguments write the same bytes, signatures excepted (they hold the time).
    """
    listed: list[Listed] = []
    indices: list[str] = []
    source_files: dict[str, bytes] = {}
    stanzas = _Stanzas(folder if pool else None)
    for dist in dists:
        files: dict[str, bytes] = dict(dist.extra)
        listed_only: set[str] = set()
        for index in _indices(dist):
            entries = [stanzas.entry(dist, index, pkg) for pkg in index.packages]
            content = "".join(f"{text}\n" for text, _ in entries).encode()
            listed += [entry for _, entry in entries]
            indices.append("/".join(filter(None, (dist.directory, index.path))))
            files |= _encoded(index.path, content, encodings)
            if not plain:
                listed_only.add(index.path)
            if dist.legacy_release and not dist.is_flat:
                files[f"{index.directory}/Release"] = _legacy_release(dist, index)
        for component, sources in (dist.sources or {}).items():
            forms, packed = _source_index(dist, component, sources, encodings)
            files |= forms
            source_files |= packed
            if not plain:
                listed_only.add(next(iter(forms)))
        for place, installed in dist.installer.items():
            files |= _installer_lists(folder, dist, place, installed)
        _write_dist(folder, dist, files, listed_only, key, by_hash)
    for path, body in source_files.items() if pool else ():
        _write(folder / path, body)
    return Archive(folder, tuple(listed), tuple(indices), source_files)


class _Index:
    """One Packages file to be: where, and of which packages."""

    def __init__(
        self, component: str, architecture: str, packages: list[Pkg], is_udeb: bool = False
    ) -> None:
        self.component, self.architecture, self.packages = component, architecture, packages
        plain = component.rpartition("/")[2]
        installer = "debian-installer/" if is_udeb else ""
        self.directory = f"{plain}/{installer}binary-{architecture}" if component else ""
        self.path = f"{self.directory}/Packages" if component else "Packages"


def _indices(dist: Dist) -> Iterator[_Index]:
    if dist.is_flat:
        yield _Index("", "", [pkg for packages in dist.components.values() for pkg in packages])
        return
    for component, packages in dist.components.items():
        for architecture in _architectures(dist):
            yield _Index(
                component,
                architecture,
                [p for p in packages if not p.is_udeb and _is_in(dist, architecture, p)],
            )
            udebs = [p for p in packages if p.is_udeb and _is_in(dist, architecture, p)]
            if udebs:
                yield _Index(component, architecture, udebs, is_udeb=True)


def _is_in(dist: Dist, architecture: str, pkg: Pkg) -> bool:
    """Whether the index of this architecture lists the package."""
    if pkg.architecture != "all":
        listed_in = pkg.architecture + pkg.fields.get("Architecture-Variant", "").removeprefix(
            pkg.architecture
        )
        return listed_in == architecture
    return architecture == "all" or dist.all_packages != "own"


def _architectures(dist: Dist) -> list[str]:
    if dist.architectures is not None:
        return list(dist.architectures)
    found = {
        pkg.architecture + pkg.fields.get("Architecture-Variant", "").removeprefix(pkg.architecture)
        for packages in dist.components.values()
        for pkg in packages
    }
    if dist.all_packages == "each":
        found.discard("all")
    return sorted(found)


class _Stanzas:
    """Makes stanzas, and the package files they tell of; each file once."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}

    def entry(self, dist: Dist, index: _Index, pkg: Pkg) -> tuple[str, Listed]:
        path = pkg.path or _pool_path(dist, index.component, pkg)
        size, digests = self._file(path, pkg)
        fields = {
            "Package": pkg.name,
            "Version": pkg.version,
            "Architecture": pkg.architecture,
            "Maintainer": "Archive Generator <archive@example.org>",
            "Installed-Size": str(-(-pkg.payload_size // 1024)),
            "Description": f"package {pkg.name} of a made-up archive",
            **pkg.fields,
            "Filename": path,
            "Size": str(size),
            **digests,
            **pkg.stanza,
        }
        text = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
        listed = Listed(
            dist=dist.name,
            component=index.component,
            index_architecture=index.architecture,
            name=pkg.name,
            version=pkg.version,
            architecture=pkg.architecture,
            path=path,
            size=size,
            sha256=digests["SHA256"],
        )
        return text, listed

    def _file(self, path: str, pkg: Pkg) -> tuple[int, dict[str, str]]:
        """Size and digests of the package's file, which is written if it was not yet."""
        identity = f"{pkg.name} {pkg.version} {pkg.architecture} {pkg.payload_size}"
        known = self._made.get((path, identity))
        if known is not None:
            return known
        if self._folder is None and pkg.deb is None:
            made = pkg.payload_size, {"SHA256": hashlib.sha256(identity.encode()).hexdigest()}
        else:
            deb = pkg.deb if pkg.deb is not None else _deb(pkg)
            if self._folder is not None:
                _write(self._folder / path, deb)
            made = (
                len(deb),
                {
                    "MD5sum": hashlib.md5(deb).hexdigest(),
                    "SHA256": hashlib.sha256(deb).hexdigest(),
                },
            )
        self._made[(path, identity)] = made
        return made


def _deb(pkg: Pkg) -> bytes:
    fields = dict(pkg.fields) | ({"Section": "debian-installer"} if pkg.is_udeb else {})
    return make_deb(
        pkg.name,
        pkg.version,
        pkg.architecture,
        fields=fields,
        payload_size=pkg.payload_size,
        encoding="gz",
    )


def _pool_path(dist: Dist, component: str, pkg: Pkg) -> str:
    version = pkg.version.partition(":")[2] or pkg.version
    suffix = "udeb" if pkg.is_udeb else "deb"
    name = f"{pkg.name}_{version}_{pkg.architecture}.{suffix}"
    if dist.is_flat:
        return f"{dist.directory}/{name}" if dist.directory else name
    source = pkg.fields.get("Source", pkg.name).split(" ")[0]
    prefix = source[:4] if source.startswith("lib") else source[:1]
    return f"pool/{component.rpartition('/')[2]}/{prefix}/{source}/{name}"


def _encoded(path: str, content: bytes, encodings: Sequence[str]) -> dict[str, bytes]:
    """The plain form first, then each encoding."""
    return {path: content} | {
        f"{path}{_SUFFIX[encoding]}": encode(content, encoding) for encoding in encodings
    }


def _legacy_release(dist: Dist, index: _Index) -> bytes:
    fields = {
        "Archive": dist.suite or dist.name,
        "Component": index.component,
        "Origin": dist.origin,
        "Label": dist.label,
        "Architecture": index.architecture,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value).encode()


def _source_index(
    dist: Dist, component: str, sources: Sequence[Source], encodings: Sequence[str]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The index in its encodings by path below Release, and the files of its packages."""
    plain = component.rpartition("/")[2]
    folder = (dist.directory or ".") if dist.is_flat else None
    made = [make_source(source, plain, folder) for source in sources]
    path = "Sources" if dist.is_flat else f"{plain}/source/Sources"
    content = "".join(f"{one.stanza}\n" for one in made).encode()
    files = {path: body for one in made for path, body in one.files.items()}
    return _encoded(path, content, encodings), files


def _installer_lists(
    folder: Path, dist: Dist, place: str, files: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The lists, which Release names; the files, which they name, are written."""
    for path, content in files.items():
        if not any(fnmatchcase(f"{place}/{path}", glob) for glob in dist.absent):
            _write(folder / dist.directory / place / path, content)
    algorithms = {"MD5SUMS": "md5", "SHA256SUMS": "sha256"}
    return {
        f"{place}/{name}": "".join(
            f"{hashlib.new(algorithms[name], content).hexdigest()}  ./{path}\n"
            for path, content in sorted(files.items())
        ).encode()
        for name in dist.installer_sums
    }


def _write_dist(
    folder: Path,
    dist: Dist,
    files: Mapping[str, bytes],
    listed_only: set[str],
    key: SigningKey | None,
    by_hash: bool,
) -> None:
    place = folder / dist.directory
    for path, content in files.items():
        if path in listed_only or any(fnmatchcase(path, glob) for glob in dist.absent):
            continue
        _write(place / path, content)
        if by_hash:
            digest = hashlib.sha256(content).hexdigest()
            _write(place / Path(path).parent / "by-hash" / "SHA256" / digest, content)
    if key is None:
        dist = dist if dist.forms is not None else replace(dist, forms=("Release",))
    write_release(place, render_release(dist, files, by_hash), key, dist.forms)


def write_release(
    place: Path, text: bytes, key: SigningKey | None, forms: Sequence[str] | None = None
) -> None:
    """Write a Release in these of its forms (none: all three) into its directory."""
    for form in ("Release", "InRelease", "Release.gpg") if forms is None else forms:
        if form == "Release":
            _write(place / form, text)
        elif key is None:
            raise ValueError(f"no {form} without a key")
        else:
            _write(place / form, key.clearsign(text) if form == "InRelease" else key.detach(text))


def render_release(dist: Dist, files: Mapping[str, bytes], by_hash: bool = True) -> bytes:
    """The text of a Release that lists these files."""
    fields = {
        "Origin": dist.origin,
        "Label": dist.label,
        "Suite": dist.suite,
        "Codename": dist.name.strip("/.") if dist.codename is None else dist.codename,
        "Version": dist.version,
        "Description": dist.description,
        "Date": _moment(dist.date),
        "Valid-Until": _moment(dist.valid_until),
        "Acquire-By-Hash": "yes" if by_hash else None,
    }
    if not dist.is_flat:
        fields["Architectures"] = " ".join(_architectures(dist))
        fields["Components"] = " ".join(dist.components)
    if dist.all_packages == "both":
        fields["No-Support-for-Architecture-all"] = "Packages"
    for name in dist.digests:
        rows = (
            f"\n {hashlib.new(_ALGORITHMS[name], content).hexdigest()} {len(content):>9} {path}"
            for path, content in files.items()
        )
        fields[name] = "".join(rows)
    return render({k: v for k, v in (fields | dict(dist.fields)).items() if v}).encode()


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%a, %d %b %Y %H:%M:%S UTC")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
