"""Make an archive to try things with: ``python -m archive FOLDER`` (run it in tests/)."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from pathlib import Path

from archive.build import write_archive
from archive.keys import SigningKey
from archive.synthetic import make_dist
from archive.upstream import Upstream


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    key = None if options.unsigned else SigningKey.generate()
    dist = make_dist(
        options.dist,
        packages=options.packages,
        components=options.components,
        architectures=options.architectures,
        size=options.size,
    )
    archive = write_archive(
        options.folder,
        [dist],
        key=key,
        encodings=options.encodings,
        pool=not options.metadata_only,
    )
    if key is not None:
        (options.folder / "key.asc").write_text(key.public)
    print(f"{len(archive.files)} packages in {len(archive.indices)} indices: {options.folder}")
    if options.serve:
        with Upstream(options.folder) as upstream:
            print(f"served at {upstream.url}, until you press Ctrl-C", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m archive", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, help="where to write it; files that are there are replaced")
    add("--dist", default="stable", help="its name (default: %(default)s)")
    add("--packages", type=int, default=1000, help="about how many files (default: %(default)s)")
    add("--components", nargs="+", default=["main"], help="(default: main)")
    add("--architectures", nargs="+", default=["amd64"], help="(default: amd64)")
    add("--size", type=int, default=1000, help="bytes in each package (default: %(default)s)")
    add("--encodings", nargs="*", default=["xz", "gz"], help="of the indices (default: xz gz)")
    add("--unsigned", action="store_true", help="without a key; else key.asc lies beside it")
    add("--metadata-only", action="store_true", help="indices without package files")
    add("--serve", action="store_true", help="then serve it on a free port of 127.0.0.1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
