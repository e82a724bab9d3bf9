"""atheris at one target: ``python -m fuzz.engine TARGET FOLDER [FLAG …]``; see ``run``."""

from __future__ import annotations

import sys

import atheris

# Instrumented as they are imported: what an input reaches decides what comes after it.
with atheris.instrument_imports(include=["debfleet", "debian"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    _, name, *arguments = sys.argv
    atheris.Setup([f"fuzz-{name}", *arguments], TARGETS[name].check)
    atheris.Fuzz()
