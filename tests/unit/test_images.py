"""deploy/Dockerfile and deploy/compose.yaml, read and held against what debfleet really has."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

from debfleet.config import read_settings
from debfleet_cli.main import COMMANDS
from deployment import DEPLOY, ROOT, Image, compose, images

PROCESSES = ("api", "content", "worker", "sweep")


@pytest.fixture(scope="module")
def targets() -> dict[str, Image]:
    return images()


def test_every_process_has_an_image_that_runs_its_command(targets: dict[str, Image]) -> None:
    for name in (*PROCESSES, "migrate"):
        assert targets[name].entrypoint == ("/opt/debfleet/bin/debfleet",)
        assert targets[name].command == (name,)
        assert name in COMMANDS


def test_no_image_runs_as_root(targets: dict[str, Image]) -> None:
    # By number: a name proves nothing to Kubernetes.
    assert {targets[name].user for name in (*PROCESSES, "cli", "migrate")} == {"10001:10001"}


def test_every_server_says_whether_it_lives(targets: dict[str, Image]) -> None:
    for name in PROCESSES:
        port = targets[name].environ["DEBFLEET_METRICS_ADDRESS"].rpartition(":")[2]
        assert targets[name].health == ("healthy", f"http://127.0.0.1:{port}/livez")


def test_every_setting_in_an_image_exists(targets: dict[str, Image]) -> None:
    for image in targets.values():
        read_settings({k: v for k, v in image.environ.items() if k.startswith("DEBFLEET_")})


def test_the_images_install_extras_that_exist() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    used = {part.partition("]")[0] for part in text.split("'debfleet[")[1:]}

    assert used == {"api", "content", "worker", "cli"}
    assert used <= set(extras["optional-dependencies"])


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    kept = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        word
        for line in (DEPLOY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if not word.startswith("--")
    ]

    assert sorted(set(copied)) == sorted(kept)
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_compose_keeps_to_the_schema_of_compose_files() -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")

    jsonschema.validate(compose(), json.loads(schema.read_text(encoding="utf-8")))


def test_the_schema_refuses_a_compose_file_with_a_slip() -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json")
    wrong = compose()
    wrong["services"]["api"]["depend_on"] = {}

    with pytest.raises(jsonschema.ValidationError, match="depend_on"):
        jsonschema.validate(wrong, json.loads(schema.read_text(encoding="utf-8")))


def test_compose_builds_targets_that_exist(targets: dict[str, Image]) -> None:
    built = {
        name: service["build"]
        for name, service in compose()["services"].items()
        if "build" in service
    }

    assert sorted(built) == sorted((*PROCESSES, "migrate", "cli"))
    for name, build in built.items():
        assert build["target"] in targets, name
        assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_our_containers_have_no_rights_and_write_only_to_volumes() -> None:
    for name in (*PROCESSES, "migrate", "cli"):
        service = compose()["services"][name]

        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "/work" in service["volumes"]


def test_every_setting_in_compose_exists() -> None:
    for service in compose()["services"].values():
        environ = service.get("environment", {})
        ours = {k: v for k, v in environ.items() if k.startswith("DEBFLEET_")}
        ours.pop("DEBFLEET_SETTINGS_FILE", None)
        read_settings(ours)


def test_compose_names_only_what_it_has() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        for secret in service.get("secrets", []):
            source = secret if isinstance(secret, str) else secret["source"]
            assert source in whole["secrets"], name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), f"{name} mounts {source}"
            elif not source.startswith("/"):
                assert source in whole["volumes"], name
        assert set(service.get("depends_on", {})) <= set(whole["services"]), name


def test_the_secrets_that_compose_wants_are_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = [str(DEPLOY / "make-secrets"), str(folder)]

    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made = {path.name: path.read_text() for path in folder.iterdir()}
    subprocess.run(command, capture_output=True, text=True, check=True)

    wanted = {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert set(made) == wanted
    assert {path.name: path.read_text() for path in folder.iterdir()} == made
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    settings = read_settings({"DEBFLEET_SETTINGS_FILE": str(folder / "debfleet")})
    settings.need("database_url", "broker_url", "secret_key", "admin_password")
    assert settings.admin_password in first
    assert made["postgres-password"] in settings.database_url


def test_healthy_says_so_by_its_status(tmp_path: Path) -> None:
    nothing = subprocess.run(
        [sys.executable, "-I", str(DEPLOY / "healthy"), "http://127.0.0.1:1/livez"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert nothing.returncode == 1
    assert "http://127.0.0.1:1/livez" in nothing.stderr
    assert os.access(DEPLOY / "healthy", os.X_OK)


def test_prometheus_asks_every_service_that_has_metrics() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (names,) = job["dns_sd_configs"]
    mounts = compose()["services"]["prometheus"]["volumes"]

    assert sorted(names["names"]) == sorted(PROCESSES)
    assert {image.environ.get("DEBFLEET_METRICS_ADDRESS") for image in images().values()} == {
        None,
        f"0.0.0.0:{names['port']}",
    }
    assert all(any(f":{path}:" in mount for mount in mounts) for path in config["rule_files"])


def test_grafana_is_given_the_dashboards_and_where_to_ask() -> None:
    service = compose()["services"]["grafana"]
    places = dict(mount.split(":")[:2] for mount in service["volumes"])
    (provider,) = yaml.safe_load((DEPLOY / "grafana/dashboards.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((DEPLOY / "grafana/datasources.yaml").read_text())["datasources"]

    there = places["./k8s/components/monitoring/dashboards"]
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert provider["options"]["path"] == there
    assert (DEPLOY / "k8s/components/monitoring/dashboards" / Path(home).name).is_file()
    assert Path(home).parent == Path(there)
    assert source["url"] == "http://prometheus:9090"
