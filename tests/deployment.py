"""What deploy/ holds, read for tests: the manifests as kustomize renders them, images, compose."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
Object = dict[str, Any]


def kustomize_command() -> list[str] | None:
    """What renders a folder whose path is added; None where nothing on this machine can."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if kubectl := shutil.which("kubectl", path=places):
        return [kubectl, "kustomize"]
    if kustomize := shutil.which("kustomize", path=places):
        return [kustomize, "build"]
    return None


def rendered(command: list[str], folder: Path) -> list[Object]:
    """Every object of a kustomization."""
    done = subprocess.run(
        [*command, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def pod_of(thing: Object) -> Object | None:
    """The pod's spec within a Deployment, StatefulSet, Job or CronJob."""
    spec = thing.get("spec", {})
    if thing["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pod: Object | None = spec.get("template", {}).get("spec")
    return pod if pod and "containers" in pod else None


@dataclass(frozen=True)
class Image:
    """What a target of the Dockerfile says of how it runs."""

    environ: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


def images() -> dict[str, Image]:
    """Every target of the Dockerfile, with what it has from those it stands on."""
    found: dict[str, Image] = {}
    name = ""
    for line in _instructions((DEPLOY / "Dockerfile").read_text(encoding="utf-8")):
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word == "FROM":
            base, _, name = (part.strip() for part in rest.partition(" AS "))
            found[name] = found.get(base, Image())
        elif word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
            found[name] = replace(found[name], environ={**found[name].environ, **pairs})
        elif word == "USER":
            found[name] = replace(found[name], user=rest)
        elif word == "ENTRYPOINT":
            found[name] = replace(found[name], entrypoint=tuple(json.loads(rest)))
        elif word == "CMD":
            found[name] = replace(found[name], command=tuple(json.loads(rest)))
        elif word == "HEALTHCHECK":
            check = json.loads(rest.partition("CMD ")[2])
            found[name] = replace(found[name], health=tuple(check))
    return found


def compose() -> Object:
    """compose.yaml with the defaults of its ${NAME:-default}."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    found: Object = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return found


def _instructions(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [line.strip() for line in joined.splitlines() if line.strip()]
