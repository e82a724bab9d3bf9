"""Signatures of publications: by held keys and by scripts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from archive.build import write_archive
from archive.keys import SigningKey
from archive.model import Dist, Pkg
from archive.upstream import Upstream
from debfleet import pgp
from debfleet.config import Settings
from debfleet.db.connect import Database
from debfleet.errors import BadKey
from debfleet.store import Store
from debfleet_worker.sign import KeyPair, make_key, read_key
from publish_flow import (
    Published,
    add_held_service,
    add_script_service,
    ask_publish,
    publish,
    run_task,
    set_repository,
)
from sync_flow import Flow, add_repository, crew_of

DISTS = (Dist("stable", {"main": [Pkg("a")]}), Dist("testing", {"main": [Pkg("b")]}))


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return make_key("Archive <archive@example.org>")


@pytest.fixture(scope="module")
def other() -> KeyPair:
    return make_key("Other <other@example.org>")


@pytest.fixture
def flow(settings: Settings, db: Database, store: Store, tmp_path: Path) -> Iterator[Flow]:
    """A repository of two distributions."""
    folder = tmp_path / "archive"
    folder.mkdir()
    write_archive(folder, DISTS)
    with crew_of(settings, db, store) as crew, Upstream(folder) as upstream:
        flow = Flow(db, crew, add_repository(db))
        flow.set_remote(upstream, distributions="stable testing", policy="on_demand")
        assert flow.sync().state == "completed"
        yield flow


def is_signed_by(made: Published, dist: str, pair: KeyPair) -> bool:
    """Both forms are there and good, and hold what Release holds."""
    release = made.files[f"dists/{dist}/Release"]
    keyring = pgp.Keyring(pair.public)
    try:
        inline = pgp.verify_inline(keyring, made.files[f"dists/{dist}/InRelease"])
        pgp.verify_detached(keyring, release, made.files[f"dists/{dist}/Release.gpg"])
    except pgp.NotASignature:
        return False
    assert inline.strip() == release.strip()  # gpg leaves out the last line end
    return True


def script_in(folder: Path, *lines: str) -> str:
    path = folder / "sign.sh"
    path.write_text("\n".join(["#!/bin/sh", "set -e", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_service_nothing_is_signed(flow: Flow, pair: KeyPair) -> None:
    add_held_service(flow, pair)

    made = publish(flow)

    assert not [p for p in made.files if p.endswith(("InRelease", ".gpg"))]


def test_a_held_key_signs_every_dist_in_both_forms(flow: Flow, pair: KeyPair) -> None:
    service = add_held_service(flow, pair)

    made = publish(flow, signing_service=str(service), simple=True)

    assert all(is_signed_by(made, dist, pair) for dist in ("stable", "testing", "default"))
    assert made.publication.options["signing_service"] == str(service)


def test_gpgv_accepts_what_we_sign(flow: Flow, pair: KeyPair, tmp_path: Path) -> None:
    if shutil.which("gpgv") is None or shutil.which("gpg") is None:
        pytest.skip("gpgv is not installed")
    made = publish(flow, signing_service=str(add_held_service(flow, pair)))
    keyring, home = tmp_path / "keyring.gpg", tmp_path / "home"
    home.mkdir(mode=0o700)
    subprocess.run(
        ["gpg", "--homedir", home, "--batch", "--dearmor", "-o", keyring],
        input=pair.public.encode(),
        check=True,
        capture_output=True,
    )
    for name in ("InRelease", "Release", "Release.gpg"):
        (tmp_path / name).write_bytes(made.files[f"dists/stable/{name}"])

    checks = (["InRelease"], ["Release.gpg", "Release"])
    for names in checks:
        files = [tmp_path / name for name in names]
        done = subprocess.run(
            ["gpgv", "--homedir", home, "--keyring", keyring, *files], capture_output=True
        )
        assert done.returncode == 0, done.stderr


def test_an_override_signs_its_distribution_alone(
    flow: Flow, pair: KeyPair, other: KeyPair
) -> None:
    ours, theirs = add_held_service(flow, pair), add_held_service(flow, other, "other")
    set_repository(
        flow,
        signing_service=ours,
        signing_service_release_overrides=Jsonb({"testing": str(theirs)}),
    )

    made = publish(flow)

    assert is_signed_by(made, "stable", pair)
    assert is_signed_by(made, "testing", other)


def test_a_publication_s_own_service_comes_before_the_overrides(
    flow: Flow, pair: KeyPair, other: KeyPair
) -> None:
    ours, theirs = add_held_service(flow, pair), add_held_service(flow, other, "other")
    set_repository(flow, signing_service_release_overrides=Jsonb({"testing": str(theirs)}))

    made = publish(flow, signing_service=str(ours))

    assert is_signed_by(made, "testing", pair)


def test_a_script_signs_as_the_reference_calls_it(flow: Flow, tmp_path: Path) -> None:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    key = SigningKey.generate()
    gpg = ["gpg", "--homedir", str(home), "--batch"]
    subprocess.run([*gpg, "--import"], input=key.secret.encode(), check=True, capture_output=True)
    script = script_in(
        tmp_path,
        'test "$PWD" = "$PULP_TEMP_WORKING_DIR"',
        'G="gpg --batch --yes --digest-algo SHA256 --local-user $PULP_SIGNING_KEY_FINGERPRINT"',
        "$G --armor --detach-sign --output Release.gpg $1",
        "$G --clearsign --output InRelease $1",
        'echo "{\\"signatures\\": {\\"inline\\": \\"$PWD/InRelease\\",'
        ' \\"detached\\": \\"$PWD/Release.gpg\\"}}"',
    )
    fingerprint = key.fingerprint.upper()
    service = add_script_service(flow, script, key.public, fingerprint, str(home))

    try:
        made = publish(flow, signing_service=str(service))
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], capture_output=True)

    pair = KeyPair(key.secret, key.public, fingerprint)
    assert is_signed_by(made, "stable", pair)
    assert is_signed_by(made, "testing", pair)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["echo no such key >&2", "exit 3"], "it ended with 3: no such key"),
        (["echo nonsense"], "its answer cannot be used"),
        (["cp $1 InRelease", 'echo \'{"signatures": {"inline": "InRelease"}}\''], "not accepted"),
        (["echo '{\"signatures\": {}}'"], "it names no file"),
    ],
)
def test_a_script_that_fails_fails_the_task_and_leaves_nothing(
    flow: Flow, pair: KeyPair, tmp_path: Path, lines: list[str], said: str
) -> None:
    script = script_in(tmp_path, *lines)
    service = add_script_service(flow, script, pair.public, pair.fingerprint, "")

    done = run_task(flow, ask_publish(flow, signing_service=str(service)))

    assert done.state == "failed"
    assert done.error.startswith("[PLP0029] The signing service 'script' failed: ")
    assert said in done.error
    assert done.created == []
    with flow.db.transaction() as tx:
        assert tx.execute("select * from publications").fetchall() == []
        assert tx.execute("select * from published_files").fetchall() == []


def test_a_service_that_is_gone_fails_the_task(flow: Flow) -> None:
    gone = UUID(int=7)

    done = run_task(flow, ask_publish(flow, signing_service=str(gone)))

    assert (done.state, done.error) == ("failed", f"[PLP0000] no signing service {gone}")


def test_a_secret_key_that_was_brought_signs(flow: Flow) -> None:
    brought = read_key(SigningKey.generate().secret)

    made = publish(flow, signing_service=str(add_held_service(flow, brought)))

    assert is_signed_by(made, "stable", brought)


@pytest.mark.parametrize("text", ["", "no key", SigningKey.generate().public])
def test_what_is_no_secret_key_is_refused(text: str) -> None:
    with pytest.raises(BadKey, match="no OpenPGP secret key"):
        read_key(text)
