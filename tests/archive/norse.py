"""Two small dists laid out as those of pulp_deb's own tests, so that its counts hold for them."""

from __future__ import annotations

from archive.model import Dist, Pkg

FRIGG = Pkg(
    "frigg",
    architecture="ppc64",
    fields={"Multi-Arch": "foreign", "Description": "Frigg\n Frigg is the wife of Odin."},
    path="pool/asgard/f/frigg/frigg_1.0_ppc64.deb",
)
ODIN = Pkg("odin", architecture="ppc64", path="pool/asgard/o/odin/odin_1.0_ppc64.deb")
THOR = Pkg(
    "thor",
    architecture="ppc64",
    fields={"Multi-Arch": "foreign", "Bugs": "https://bugs.example.org/"},
    path="pool/asgard/t/thor/thor_1.0_ppc64.deb",
)
GEIRRODR = Pkg("geirrodr", architecture="armeb", fields={"Multi-Arch": "foreign"})


def ragnarok() -> Dist:
    """Two components, two architectures, four packages."""
    return Dist(
        "ragnarok",
        {"asgard": [FRIGG, ODIN, THOR], "jotunheimr": [GEIRRODR]},
        suite="mythology",
        architectures=("ppc64", "armeb"),
    )


def nosuite() -> Dist:
    """No Suite; one component and architecture, which share three packages with ragnarok."""
    return Dist("nosuite", {"asgard": [FRIGG, ODIN, THOR]}, architectures=("ppc64",))
