"""The end of the demo: publish what was synced, and let apt use it, in a root of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from debfleet_cli.apt_client import AptClient, AptFailed, find_apt
from debfleet_cli.client import V3, Api, Body
from debfleet_cli.place import Place

Say = Callable[[str], None]


class CommandFailed(Exception):
    """A command of ours did not do what it should; the text is what it printed."""


def publish_and_show(api: Api, place: Place, folder: Path, repository: Body, say: Say) -> bool:
    """Publish a repository, print the lines for apt, and run apt below ``folder``.

    Returns false where apt found a fault.

    Raises:
        CommandFailed: It could not be published.
    """
    name = str(repository["name"])
    say(f"\nPublishing {name} for apt:")
    for line in _debfleet(
        api, "publish", name, "--base-path", name, "--data", str(place.folder)
    ).splitlines():
        say(f"  {line}")
    sources = _debfleet(api, "sources", name)
    file = folder / f"{name}.sources"
    file.write_text(sources, encoding="utf-8")
    say(f"\nFor the machines that are to use it ({file}, for /etc/apt/sources.list.d/):")
    for line in _shortened(sources).splitlines():
        say(f"  {line}")
    if find_apt() is None:
        say("\napt-get is not on this machine, so nothing was installed from it.")
        return True
    client = AptClient(folder / "apt", architecture=_architecture(api, repository))
    client.forget()  # of an earlier demo, which had another port
    client.put_sources("demo", sources)
    return _use(client, say)


def _use(client: AptClient, say: Say) -> bool:
    say(f"\nThis machine's apt, in a root of its own ({client.root}):")
    say("  $ apt-get update")
    ran = client.update()
    _quote(ran.text, say)
    if not ran.is_clean:
        return False
    package, needs_more = _smallest(client)
    if not package:
        say("  There is no package for this architecture.")
        return True
    # What it needs may well be in another repository; then this one alone is shown.
    verb = "download" if needs_more else "install --download-only"
    say(f"  $ apt-get {verb} {package}")
    try:
        fetch = client.download if needs_more else client.install_download_only
        files = fetch(package)
    except AptFailed as e:
        _quote(str(e), say)
        return False
    for path in files:
        say(f"  apt has {path.name}, {path.stat().st_size:,} bytes, verified")
    return True


def _debfleet(api: Api, *argv: str) -> str:
    """One of our commands, run as a user would."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DEBFLEET_", "PULP_"))}
    environ |= {"DEBFLEET_API_URL": api.access.url, "DEBFLEET_PASSWORD": api.access.password or ""}
    command = [str(Path(sys.executable).with_name("debfleet")), *argv]
    done = subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = " ".join(["debfleet", *argv])
        raise CommandFailed(f"{said} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _architecture(api: Api, repository: Body) -> str:
    """This machine's, where the repository has it, else one that it has."""
    latest = api.get(repository["pulp_href"])["latest_version_href"]
    page = api.get(V3 + "content/deb/release_architectures/", repository_version=latest, limit=100)
    there = sorted({str(row["architecture"]) for row in page["results"]} - {"all"})
    ours = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return ours if ours in there or not there else there[0]


def _smallest(client: AptClient) -> tuple[str, bool]:
    """The package with the smallest file (an on_demand one comes from far), and if it needs more.

    No name where there is no package.
    """
    found = []
    for stanza in client.run("apt-cache", "dumpavail").text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Size|Depends|Pre-Depends): (.*)$", stanza, re.M))
        if "Package" in fields and "Size" in fields:
            found.append((int(fields["Size"]), str(fields["Package"]), len(fields) > 2))
    return min(found)[1:] if found else ("", False)


def _quote(text: str, say: Say) -> None:
    for line in text.strip().splitlines():
        say(f"    {line}")


def _shortened(sources: str) -> str:
    """Without the middle of a key."""
    return re.sub(
        r"( -----BEGIN PGP PUBLIC KEY BLOCK-----\n).*?( -----END)",
        r"\1 …\n\2", sources, flags=re.DOTALL,
    )  # fmt: skip
