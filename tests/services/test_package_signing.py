"""Packages that a repository signs when it takes them in: by upload, and by modify."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import content_rows as rows
from api_client import V3, ApiClient, a_name, made, refused
from archive.debs import make_deb
from debfleet.config import Settings
from debfleet.db import signing_services
from debfleet.db.connect import Database
from debfleet.db.publications import SigningService
from debfleet.db.signing_services import PACKAGES as FOR_PACKAGES
from debfleet.db.signing_services import RELEASES, NewService
from debfleet.db.signings import key_of
from debfleet.deb.debsig import find_origin
from debfleet.errors import SigningFailed
from debfleet.store import Store
from debfleet_worker.sign_packages import Signer, sign_package
from gpg import ANSWER, SIGN_PACKAGE, Gpg, gpg_keyring, write_script
from sync_flow import crew_of
from uploading import PACKAGES, Desk

HELLO = make_deb("hello", "1.0", "amd64")
COMPONENTS = f"{V3}content/deb/release_components/"
LINKS = f"{V3}content/deb/package_release_components/"
SERVICES = f"{V3}signing-services/"


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    """A keyring with two keys."""
    if shutil.which("ar") is None:
        pytest.skip("no ar here")
    with gpg_keyring() as keyring:
        keyring.make_key()
        keyring.make_key("b <b@example.org>")
        yield keyring


@pytest.fixture
def desk(api: ApiClient, settings: Settings, db: Database, store: Store) -> Iterator[Desk]:
    with crew_of(settings, db, store) as crew:
        yield Desk(api, db, crew)


class Signatory:
    """A service whose script says in a file how often it ran."""

    def __init__(self, db: Database, gpg: Gpg, folder: Path) -> None:
        self.keys = gpg.fingerprints()
        self.gpg = gpg
        self._log = folder / "runs"
        self._script = folder / "sign.sh"
        self.name = a_name()
        self.set(SIGN_PACKAGE + ANSWER)
        new = NewService(
            self.name, gpg.public(*self.keys), self.keys[0], FOR_PACKAGES, str(self._script),
            str(gpg.home),
        )  # fmt: skip
        db.run(lambda tx: signing_services.add_service(tx, new))
        self.href = f"{SERVICES}{new.uuid}/"

    def set(self, text: str) -> None:
        write_script(self._script, f"echo run >> {self._log}\n{text}")

    @property
    def runs(self) -> int:
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0


@pytest.fixture
def signatory(db: Database, gpg: Gpg, tmp_path: Path) -> Signatory:
    return Signatory(db, gpg, tmp_path)


def signing(desk: Desk, signatory: Signatory, **fields: Any) -> dict[str, Any]:
    """A repository that signs."""
    return desk.api.repository(package_signing_service=signatory.href, **fields)


def held(desk: Desk, repository: dict[str, Any], path: str = PACKAGES) -> list[dict[str, Any]]:
    """What is in its latest version."""
    latest = (desk.api.get(repository["pulp_href"]).json or {})["latest_version_href"]
    found = desk.api.get(path, query_string={"repository_version": latest}).json or {}
    return list(found["results"])


def stored(desk: Desk, package: dict[str, Any]) -> bytes:
    with desk.crew.worker.store.open(bytes.fromhex(package["sha256"])) as file:
        return file.read()


def signer(gpg: Gpg, body: bytes, folder: Path) -> str:
    """The fingerprint of the key that signed a package, as gpg itself sees it."""
    deb, text, signature = folder / "x.deb", folder / "text", folder / "signature"
    deb.write_bytes(body)
    with deb.open("rb") as file:
        covered, found = find_origin(file, len(body))
    assert found is not None
    text.write_bytes(b"".join(body[at : at + length] for at, length in covered))
    signature.write_bytes(found)
    said = gpg("--status-fd", "1", "--verify", str(signature), str(text))
    [valid] = [line.split() for line in said.splitlines() if " VALIDSIG " in line]
    return valid[-1]


def upload(desk: Desk, repository: dict[str, Any], body: bytes = HELLO, **more: Any) -> Any:
    return desk.done(desk.form(PACKAGES, body, repository=repository["pulp_href"], **more))


# --- uploads ------------------------------------------------------------------------------------


def test_an_uploaded_package_is_signed_and_is_a_file_of_its_own(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    repository = signing(desk, signatory, package_signing_fingerprint=signatory.keys[0])

    task = upload(desk, repository, distribution="bookworm", component="main")

    [package] = held(desk, repository)
    body = stored(desk, package)
    assert task["name"] == "pulp_deb.app.tasks.signing.sign_and_create"
    assert task["result"] == package
    assert package["sha256"] == hashlib.sha256(body).hexdigest()
    assert package["sha256"] != hashlib.sha256(HELLO).hexdigest()
    assert package["relative_path"] == "pool/h/hello/hello_1.0_amd64.deb"
    assert signer(signatory.gpg, body, tmp_path) == signatory.keys[0]
    [component] = held(desk, repository, COMPONENTS)
    assert (component["distribution"], component["component"]) == ("bookworm", "main")
    (tmp_path / "hello.deb").write_bytes(body)
    if shutil.which("dpkg-deb"):
        words = ["dpkg-deb", "--field", str(tmp_path / "hello.deb"), "Package"]
        assert subprocess.run(words, capture_output=True, check=True).stdout == b"hello\n"


def test_the_same_package_again_is_not_signed_again(desk: Desk, signatory: Signatory) -> None:
    repository = signing(desk, signatory)
    first = upload(desk, repository)["result"]

    again = upload(desk, repository)
    elsewhere = upload(desk, signing(desk, signatory))

    assert again["created_resources"] == [first["pulp_href"]]
    assert elsewhere["result"] == first
    assert signatory.runs == 1


def test_a_package_that_the_key_has_signed_is_taken_as_it_is(
    desk: Desk, signatory: Signatory
) -> None:
    body = stored(desk, upload(desk, signing(desk, signatory))["result"])
    with desk.db.transaction() as tx:
        tx.execute("delete from signed_files")

    other = signing(desk, signatory)
    taken = upload(desk, other, body)["result"]

    assert stored(desk, taken) == body
    assert signatory.runs == 1


def test_a_signature_by_another_key_is_none(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    first = signing(desk, signatory, package_signing_fingerprint=signatory.keys[1])
    body = stored(desk, upload(desk, first)["result"])

    taken = upload(desk, signing(desk, signatory), body)["result"]

    assert signer(signatory.gpg, stored(desk, taken), tmp_path) == signatory.keys[0]


@pytest.mark.parametrize("named", ["v4", "bare", "keyid", "lower case"])
def test_a_key_is_named_by_its_fingerprint_or_id(
    desk: Desk, signatory: Signatory, tmp_path: Path, named: str
) -> None:
    key = signatory.keys[1]
    names = {"v4": f"v4:{key}", "bare": key, "keyid": f"keyid:{key[-16:]}"}
    repository = signing(
        desk, signatory, package_signing_fingerprint=names.get(named, f"v4:{key.lower()}")
    )

    package = upload(desk, repository)["result"]

    assert signer(signatory.gpg, stored(desk, package), tmp_path) == key


def test_a_distribution_may_have_a_key_of_its_own(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    own, other = signatory.keys
    repository = signing(
        desk, signatory, package_signing_fingerprint_release_overrides={"trixie": other}
    )

    for distribution, key in (("bookworm", own), ("trixie", other)):
        package = upload(desk, repository, distribution=distribution)["result"]
        assert signer(signatory.gpg, stored(desk, package), tmp_path) == key


def test_a_package_in_chunks_is_signed_too(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    repository = signing(desk, signatory)

    body = {"upload": desk.upload(HELLO, 500), "repository": repository["pulp_href"]}
    package = desk.done(desk.api.post(PACKAGES, body))["result"]

    assert signer(signatory.gpg, stored(desk, package), tmp_path) == signatory.keys[0]


def test_a_script_may_sign_the_file_where_it_lies_and_say_nothing(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    signatory.set(SIGN_PACKAGE)

    package = upload(desk, signing(desk, signatory))["result"]

    assert signer(signatory.gpg, stored(desk, package), tmp_path) == signatory.keys[0]


def test_what_is_uploaded_to_no_repository_is_not_signed(desk: Desk, signatory: Signatory) -> None:
    package = desk.done(desk.form(PACKAGES, HELLO))["result"]

    assert package["sha256"] == hashlib.sha256(HELLO).hexdigest()


def test_a_signed_file_that_cleanup_took_is_made_anew(desk: Desk, signatory: Signatory) -> None:
    repository = signing(desk, signatory)
    upload(desk, repository)
    desk.done(desk.api.delete(repository["pulp_href"]))
    desk.clean_up()
    with desk.db.transaction() as tx:
        assert tx.execute("select count(*) as n from signed_files").fetchone() == {"n": 0}

    upload(desk, signing(desk, signatory))

    assert signatory.runs == 2


BAD = {
    "fails": ("echo the HSM is away >&2\nexit 3\n", "it ended with 3: the HSM is away"),
    "is no JSON": ("echo signed\n", "it did not print"),
    "names nothing": ("echo '{}'\n", "it did not print"),
    "names no file": ("""echo '{"deb_package": "none.deb"}'\n""", "no file is there"),
    "does not sign": (ANSWER, "Package is unsigned"),
    "signs another text": (
        'gpg --batch --quiet --local-user "$PULP_SIGNING_KEY_FINGERPRINT" --detach-sign'
        ' --output _gpgorigin "$1"\nar q "$1" _gpgorigin\n' + ANSWER,
        "does not match the text",
    ),
    "makes no package": ('echo rubbish > "$1"\n' + ANSWER, "it made no package that dpkg takes"),
    "signs twice": (SIGN_PACKAGE + 'ar q "$1" _gpgorigin\n' + ANSWER, "several members _gpgorigin"),
}


@pytest.mark.parametrize("how", BAD)
def test_a_script_that_signs_nothing_good_fails_the_task_and_changes_nothing(
    desk: Desk, signatory: Signatory, how: str
) -> None:
    text, reason = BAD[how]
    signatory.set(text)
    repository = signing(desk, signatory)

    failed = desk.failure(desk.form(PACKAGES, HELLO, repository=repository["pulp_href"]))

    assert reason in failed
    assert f"The signing service '{signatory.name}' failed" in failed
    assert "a file" in failed
    assert (desk.api.get(repository["pulp_href"]).json or {})["latest_version_href"].endswith("/0/")
    assert (desk.api.get(PACKAGES).json or {})["count"] == 0
    desk.clean_up()
    with desk.db.transaction() as tx:
        assert tx.execute("select count(*) as n from artifacts").fetchone() == {"n": 0}


def test_a_signature_by_a_key_that_was_not_asked_for_is_refused(
    desk: Desk, signatory: Signatory
) -> None:
    other = signatory.keys[1]
    signatory.set(f"PULP_SIGNING_KEY_FINGERPRINT={other}\n{SIGN_PACKAGE}{ANSWER}")
    repository = signing(desk, signatory)

    failed = desk.failure(desk.form(PACKAGES, HELLO, repository=repository["pulp_href"]))

    assert f"It is signed by key {other}, which is not among the given keys" in failed


def test_a_script_that_makes_another_package_is_refused(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    other = tmp_path / "other.deb"
    other.write_bytes(make_deb("other", "1.0", "amd64"))
    signatory.set(f'cp {other} "$1"\n{SIGN_PACKAGE}{ANSWER}')
    repository = signing(desk, signatory)

    failed = desk.failure(desk.form(PACKAGES, HELLO, repository=repository["pulp_href"]))

    assert "it made another package of it" in failed


def test_a_script_that_does_not_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    """Its child holds the output open: a wait for that alone would last as long as the child."""
    path = tmp_path / "hello.deb"
    path.write_bytes(HELLO)
    script = write_script(tmp_path / "sign.sh", "sleep 3600 &\nwait\n")
    service = SigningService(0, NewService("", "", "").uuid, "slow", FOR_PACKAGES, "", "",
                             str(script), None, None)  # fmt: skip

    with pytest.raises(SigningFailed, match=r"'slow' failed: it ran for 0\.5 seconds"):
        sign_package(Signer(service, key_of("F" * 40), seconds=0.5), path)


# --- modify -------------------------------------------------------------------------------------


def modify(desk: Desk, repository: dict[str, Any], *hrefs: str, **more: Any) -> Any:
    body = {"add_content_units": list(hrefs), **more}
    return desk.api.post(f"{repository['pulp_href']}modify/", body)


def test_packages_that_modify_adds_are_signed_and_keep_their_place(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    repository = signing(
        desk,
        signatory,
        package_signing_fingerprint_release_overrides={"trixie": signatory.keys[1]},
    )
    debs = [HELLO, make_deb("other", "1.0", "all")]
    added = [desk.done(desk.form(PACKAGES, deb))["result"]["pulp_href"] for deb in debs]

    place = {"distribution": "trixie", "component": "main"}
    task = desk.done(modify(desk, repository, *added, **place))

    packages = held(desk, repository)
    assert {p["package"] for p in packages} == {"hello", "other"}
    assert {signer(signatory.gpg, stored(desk, p), tmp_path) for p in packages} == {
        signatory.keys[1]
    }
    assert {link["package"] for link in held(desk, repository, LINKS)} == {
        p["pulp_href"] for p in packages
    }
    version = f"{repository['pulp_href']}versions/1/"
    assert task["created_resources"][0] == version
    assert set(task["created_resources"][1:]) == {p["pulp_href"] for p in packages}
    assert task["result"]["pulp_href"] == version


def test_a_package_that_was_signed_before_is_not_signed_again_by_modify(
    desk: Desk, signatory: Signatory
) -> None:
    repository = signing(desk, signatory)
    plain = desk.done(desk.form(PACKAGES, HELLO))["result"]["pulp_href"]
    desk.done(modify(desk, repository, plain))
    [package] = held(desk, repository)

    again = desk.done(modify(desk, repository, plain))
    signed = desk.done(modify(desk, repository, package["pulp_href"]))
    other = signing(desk, signatory)
    desk.done(modify(desk, other, package["pulp_href"]))

    assert (again["created_resources"], again["result"]) == ([], None)
    assert signed["created_resources"] == []
    assert held(desk, other) == [package]
    assert signatory.runs == 1


def test_links_that_modify_adds_follow_the_signed_package(
    desk: Desk, signatory: Signatory, tmp_path: Path
) -> None:
    repository = signing(
        desk,
        signatory,
        package_signing_fingerprint_release_overrides={"sid": signatory.keys[1]},
    )
    plain = desk.done(desk.form(PACKAGES, HELLO))["result"]["pulp_href"]
    desk.done(desk.api.post(COMPONENTS, {"component": "main", "distribution": "sid"}))
    component = (desk.api.get(COMPONENTS).json or {})["results"][0]["pulp_href"]
    link = made(desk.api.post(LINKS, {"package": plain, "release_component": component}))

    desk.done(modify(desk, repository, plain, component, link["pulp_href"]))

    [package] = held(desk, repository)
    [kept] = held(desk, repository, LINKS)
    assert (kept["package"], kept["release_component"]) == (package["pulp_href"], component)
    assert signer(signatory.gpg, stored(desk, package), tmp_path) == signatory.keys[1]


def test_a_package_for_two_distributions_with_different_keys_is_refused(
    desk: Desk, signatory: Signatory
) -> None:
    repository = signing(
        desk,
        signatory,
        package_signing_fingerprint_release_overrides={"sid": signatory.keys[1]},
    )
    plain = desk.done(desk.form(PACKAGES, HELLO))["result"]["pulp_href"]
    links = []
    for name in ("sid", "trixie"):
        added = desk.done(desk.api.post(COMPONENTS, {"component": "main", "distribution": name}))
        body = {"package": plain, "release_component": added["created_resources"][0]}
        links.append(made(desk.api.post(LINKS, body))["pulp_href"])

    failed = desk.failure(modify(desk, repository, plain, *links))

    assert "it is added to sid, trixie, which are signed by different keys" in failed
    assert "pool/h/hello/hello_1.0_amd64.deb" in failed
    assert held(desk, repository) == []


def test_what_is_not_downloaded_cannot_be_signed(desk: Desk, signatory: Signatory) -> None:
    repository = signing(desk, signatory)
    with desk.db.transaction() as tx:
        rows.add_packages(tx, 1)
    [unit] = (desk.api.get(PACKAGES).json or {})["results"]

    answer = refused(modify(desk, repository, unit["pulp_href"]))

    assert list(answer) == ["add_content_units"]
    assert "Cannot add on-demand content" in answer["add_content_units"][0]
    desk.done(modify(desk, desk.api.repository(), unit["pulp_href"]))


def test_a_modify_of_which_one_package_cannot_be_signed_changes_nothing(
    desk: Desk, signatory: Signatory
) -> None:
    other = make_deb("other", "1.0", "amd64", encoding="none")
    added = [desk.done(desk.form(PACKAGES, d))["result"]["pulp_href"] for d in (HELLO, other)]
    signatory.set(f'if grep -q "package other" "$1"; then exit 1; fi\n{SIGN_PACKAGE}{ANSWER}')
    repository = signing(desk, signatory)

    failed = desk.failure(modify(desk, repository, *added))

    assert "pool/o/other/other_1.0_amd64.deb" in failed
    assert held(desk, repository) == []
    assert (desk.api.get(PACKAGES).json or {})["count"] == 2


# --- the fields -----------------------------------------------------------------------------------


def test_who_signs_is_set_changed_shown_and_taken_away(desk: Desk, signatory: Signatory) -> None:
    own, other = signatory.keys
    repository = signing(
        desk,
        signatory,
        package_signing_fingerprint=own,
        package_signing_fingerprint_release_overrides={"a": other, "b": f"v4:{own}"},
    )
    href = repository["pulp_href"]

    def now() -> list[Any]:
        shown = desk.api.get(href).json or {}
        names = ("service", "fingerprint", "fingerprint_release_overrides")
        return [shown[f"package_signing_{name}"] for name in names]

    assert now() == [signatory.href, f"v4:{own}", {"a": f"v4:{other}", "b": f"v4:{own}"}]
    change = {"package_signing_fingerprint_release_overrides": {"a": "", "c": other}}
    task = desk.done(desk.api.patch(href, change))
    assert task["result"]["package_signing_service"] == signatory.href
    assert now() == [signatory.href, f"v4:{own}", {"b": f"v4:{own}", "c": f"v4:{other}"}]
    desk.done(desk.api.patch(href, {"package_signing_fingerprint": None}))
    assert now()[1] is None
    desk.done(desk.api.patch(href, {"package_signing_service": None}))
    assert now()[0] is None
    upload(desk, repository)
    assert signatory.runs == 0


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"package_signing_fingerprint": "abc"}, "package_signing_fingerprint"),
        ({"package_signing_fingerprint": ""}, "package_signing_fingerprint"),
        ({"package_signing_fingerprint": "v4:" + "0" * 40}, "package_signing_fingerprint"),
        ({"package_signing_fingerprint": "keyid:" + "0" * 16}, "package_signing_fingerprint"),
        (
            {"package_signing_fingerprint_release_overrides": {"a": "0" * 40}},
            "package_signing_fingerprint_release_overrides",
        ),
        (
            {"package_signing_fingerprint_release_overrides": ["a"]},
            "package_signing_fingerprint_release_overrides",
        ),
    ],
)
def test_a_key_that_the_service_does_not_have_is_refused(
    desk: Desk, signatory: Signatory, fields: dict[str, Any], error: str
) -> None:
    href = signing(desk, signatory)["pulp_href"]
    body = {"name": a_name(), "package_signing_service": signatory.href, **fields}

    assert list(refused(desk.api.post(f"{V3}repositories/deb/apt/", body))) == [error]
    assert list(refused(desk.api.patch(href, fields))) == [error]


def test_a_service_is_for_packages_or_for_release_files(
    desk: Desk, signatory: Signatory, db: Database
) -> None:
    new = NewService(a_name(), "", "F" * 40, RELEASES, "/bin/true")
    db.run(lambda tx: signing_services.add_service(tx, new))
    names = {"package_signing_service": f"{SERVICES}{new.uuid}/", "signing_service": signatory.href}

    for field, href in names.items():
        answer = refused(desk.api.post(f"{V3}repositories/deb/apt/", {"name": "x", field: href}))
        assert answer == {field: ["Invalid hyperlink - Object does not exist."]}


def test_a_service_that_signs_packages_of_a_repository_is_in_use(
    desk: Desk, signatory: Signatory
) -> None:
    repository = signing(desk, signatory)

    with desk.db.transaction() as tx:
        assert signing_services.list_users(tx, signatory.name) == [repository["name"]]
