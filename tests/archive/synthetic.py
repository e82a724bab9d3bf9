"""Made-up packages in any number, that look like those of a distribution."""

from __future__ import annotations

import random
from collections.abc import Sequence

from archive.model import Dist, Pkg

_SECTIONS = (
    "admin",
    "devel",
    "doc",
    "libdevel",
    "libs",
    "net",
    "python",
    "science",
    "utils",
    "x11",
)
_WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "meadow",
]
_EVERY_TENTH_IS_ALL = 10


def make_packages(
    count: int,
    architectures: Sequence[str] = ("amd64",),
    *,
    size: int = 1000,
    seed: str = "",
) -> list[Pkg]:
    """``count`` packages of every architecture named, ``size`` bytes in each.

    Every tenth is for `all`, once and not per architecture. The same arguments make the same
    packages; ``seed`` also goes into their names, so that two components share none.
    """
    chance = random.Random(f"{seed} {count}")
    made: list[Pkg] = []
    for number in range(count):
        fields = _fields(chance, number, seed)
        name = _name(number, seed)
        version = f"{chance.randrange(1, 9)}.{chance.randrange(30)}-{chance.randrange(1, 5)}"
        is_all = number % _EVERY_TENTH_IS_ALL == _EVERY_TENTH_IS_ALL - 1
        made += [
            Pkg(name, version, architecture, fields, size)
            for architecture in (("all",) if is_all else architectures)
        ]
    return made


def make_dist(
    name: str = "stable",
    *,
    packages: int = 1000,
    components: Sequence[str] = ("main",),
    architectures: Sequence[str] = ("amd64",),
    size: int = 1000,
    all_packages: str = "each",
) -> Dist:
    """A dist of about this many package files, shared out evenly over its components."""
    in_each = -(-packages // len(components))
    # nine tenths have a file per architecture, one tenth has one for all of them
    names = max(1, round(in_each / (0.9 * len(architectures) + 0.1)))
    return Dist(
        name,
        {
            component: make_packages(names, architectures, size=size, seed=component)
            for component in components
        },
        architectures=(*architectures, "all") if all_packages != "each" else tuple(architectures),
        suite=name,
        origin="Archive Generator",
        label="Archive",
        description="A made-up archive",
        all_packages=all_packages,
    )


def _name(number: int, seed: str) -> str:
    stem = "-".join(filter(None, (seed.rpartition("/")[2], _WORDS[number % len(_WORDS)])))
    return f"{'lib' if number % 4 == 0 else ''}{stem}{number}"


def _fields(chance: random.Random, number: int, seed: str) -> dict[str, str]:
    fields = {
        "Section": chance.choice(_SECTIONS),
        "Priority": "optional",
        "Homepage": f"https://example.org/{number}",
    }
    if number % 3 == 0:
        fields["Source"] = f"{_name(number - number % 12, seed)}-source"
    if number % 4 == 0:
        fields["Multi-Arch"] = "same"
    depends = {_name(chance.randrange(number), seed) for _ in range(min(number, 3))}
    if depends:
        fields["Depends"] = ", ".join(sorted(depends))
    return fields
