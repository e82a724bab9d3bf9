"""`debfleet keys` and `debfleet signing-service`, on the database itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archive.keys import SigningKey
from debfleet import pgp
from debfleet.config import Settings
from debfleet.db import publications, signing_services
from debfleet.db.connect import Database
from debfleet.sealed import Sealer, new_key
from debfleet_cli.main import main
from debfleet_worker.sign import DETACHED, INLINE, sign_release
from gpg import SIGN_PACKAGE, Gpg, gpg_keyring, write_script

Run = Callable[..., int]

# Signs as the operator's manual of the reference says.
_SCRIPT = r"""#!/bin/sh
set -e
at=$(dirname "$1")
sign="gpg --batch --yes --local-user $PULP_SIGNING_KEY_FINGERPRINT"
$sign --armor --detach-sign --output "$at/Release.gpg" "$1"
$sign --clearsign --output "$at/InRelease" "$1"
echo "{\"signatures\": {\"inline\": \"$at/InRelease\", \"detached\": \"$at/Release.gpg\"}}"
"""


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command as the shell would, on the server's machine; returns its exit status."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("DEBFLEET_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", settings.secret_key)
    return lambda *argv: main([str(word) for word in argv])


def _service(db: Database, name: str) -> publications.SigningService:
    with db.transaction() as tx:
        row = signing_services.find_service(tx, name)
        assert row is not None
        return publications.get_signing_service(tx, row["uuid"])


def test_a_key_is_made_listed_exported_used_and_removed(
    run: Run, db: Database, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "create") == 0
    assert run("keys", "create") == 1
    assert run("keys", "export") == 0
    said = capsys.readouterr()

    made, _, public = said.out.partition("\n")
    service = _service(db, "default")
    signed = sign_release(service, Sealer(settings.secret_key), b"Origin: x\n")
    keyring = pgp.Keyring(public)
    assert pgp.verify_inline(keyring, signed[INLINE]).strip() == b"Origin: x"
    assert made == f"made key default: {service.fingerprint}"
    assert "another signing service named 'default'" in said.err
    assert service.secret is not None
    assert b"PRIVATE" not in service.secret

    assert run("keys", "list") == 0
    listed = capsys.readouterr().out
    assert service.fingerprint in listed
    assert "no repository" in listed
    assert "PRIVATE" not in listed
    with db.transaction() as tx:
        tx.execute(
            "insert into repositories (name, signing_service_release_overrides)"
            " values ('users', jsonb_build_object('stable', %s::text))",
            (service.uuid,),
        )
    assert run("keys", "remove", "default") == 2
    assert "default signs users" in capsys.readouterr().err
    with db.transaction() as tx:
        tx.execute("delete from repositories")
    assert run("keys", "remove", "default") == 0
    assert run("keys", "remove", "default") == 2


def test_a_key_that_somebody_brings_signs(
    run: Run, db: Database, settings: Settings, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    file = tmp_path / "secret.asc"
    file.write_text(key.secret)

    assert run("keys", "import", "ours", file) == 0

    service = _service(db, "ours")
    signed = sign_release(service, Sealer(settings.secret_key), b"Origin: x\n")
    pgp.verify_detached(pgp.Keyring(key.public), b"Origin: x\n", signed[DETACHED])
    assert service.fingerprint == key.fingerprint.upper()


def test_a_public_key_cannot_sign(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "public.asc"
    file.write_text(SigningKey.generate().public)

    assert run("keys", "import", "ours", file) == 1
    assert run("keys", "import", "ours", tmp_path / "nothing") == 1
    assert run("keys", "export", "ours") == 2
    assert "no OpenPGP secret key" in capsys.readouterr().err


def test_another_secret_key_seals_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("keys", "create") == 0
    monkeypatch.setenv("DEBFLEET_SECRET_KEY", new_key())

    assert run("keys", "create", "other") == 2
    assert "DEBFLEET_SECRET_KEY is not the key" in capsys.readouterr().err


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    """A keyring of gpg's with one key."""
    with gpg_keyring() as keyring:
        keyring.make_key()
        yield keyring


def _script(folder: Path, text: str = _SCRIPT) -> Path:
    path = folder / "sign.sh"
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_script_is_tried_and_added(
    run: Run, db: Database, settings: Settings, tmp_path: Path, gpg: Gpg,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fingerprint, script = gpg.fingerprints()[0], _script(tmp_path)
    shown = f"{fingerprint[:20].lower()} {fingerprint[20:]}"
    home = ("--gnupghome", gpg.home)

    assert run("signing-service", "add", "hsm", script, shown, *home) == 0

    assert "tried: InRelease and Release.gpg, good signatures" in capsys.readouterr().out
    service = _service(db, "hsm")
    assert (service.script, service.fingerprint) == (str(script), fingerprint)
    signed = sign_release(service, Sealer(settings.secret_key), b"Origin: x\n")
    assert sorted(signed) == [INLINE, DETACHED]
    assert run("keys", "remove", "hsm") == 2
    assert "debfleet signing-service remove hsm" in capsys.readouterr().err
    assert run("signing-service", "remove", "hsm") == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#!/bin/sh\necho no key here >&2\nexit 3\n", "it ended with 3: no key here"),
        ("#!/bin/sh\necho '{\"signatures\": {}}'\n", "it names no file"),
        ("#!/bin/sh\ncp $1 InRelease\necho '{\"signatures\": {\"inline\": \"InRelease\"}}'\n",
         "what it made is not accepted"),
    ],
)  # fmt: skip
def test_a_script_that_fails_its_trial_is_not_added(
    run: Run, db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    text: str, reason: str,
) -> None:  # fmt: skip
    key = SigningKey.generate()
    public = tmp_path / "public.asc"
    public.write_text(key.public)

    status = run(
        "signing-service", "add", "bad", _script(tmp_path, text), key.fingerprint,
        "--public-key", public,
    )  # fmt: skip

    assert status == 1
    assert reason in capsys.readouterr().err
    with db.transaction() as tx:
        assert signing_services.find_service(tx, "bad") is None


def test_what_makes_no_sense_is_refused_before_the_trial(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, script = SigningKey.generate(), _script(tmp_path)
    public = tmp_path / "public.asc"
    public.write_text(key.public)
    add = ("signing-service", "add", "x")

    assert run(*add, tmp_path / "none", key.fingerprint) == 2
    assert run(*add, script, "ABC") == 2
    assert run(*add, script, "F" * 40, "--public-key", public) == 2
    assert run(*add, script, "F" * 40, "--gnupghome", tmp_path) == 2
    said = capsys.readouterr().err
    assert "is no program that can be run" in said
    assert "'ABC' is no fingerprint" in said
    assert f"the public key is {key.fingerprint.upper()}, not FFFF" in said


def test_a_script_for_packages_is_tried_with_one_and_added(
    run: Run, db: Database, tmp_path: Path, gpg: Gpg, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = ("--class", "deb:AptPackageSigningService")
    key = gpg.fingerprints()[0]
    script = write_script(tmp_path / "sign.sh", SIGN_PACKAGE)

    assert run("signing-service", "add", "p", script, key, "--gnupghome", gpg.home, *kind) == 0

    assert f"tried: a package, good signatures by {key}" in capsys.readouterr().out
    assert _service(db, "p").kind == "deb:AptPackageSigningService"


def test_a_script_for_packages_that_signs_none_is_not_added(
    run: Run, db: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, script = SigningKey.generate(), _script(tmp_path, "#!/bin/sh\nexit 0\n")
    public = tmp_path / "public.asc"
    public.write_text(key.public + SigningKey.generate().public)
    kind = ("--class", "deb:AptPackageSigningService")
    add = ("signing-service", "add", "p", script, key.fingerprint, "--public-key", public)

    assert run(*add, *kind) == 1
    assert "Package is unsigned" in capsys.readouterr().err
    assert run(*add) == 2
    assert "there are 2 public keys" in capsys.readouterr().err
    with db.transaction() as tx:
        assert signing_services.find_service(tx, "p") is None
