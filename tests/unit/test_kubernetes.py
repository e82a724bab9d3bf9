"""deploy/k8s as kustomize renders it, held against Kubernetes' schemas and against debfleet."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from debfleet.config import read_settings
from debfleet.model import KINDS
from debfleet_cli.main import COMMANDS
from deployment import DEPLOY, Image, Object, images, kustomize_command, pod_of, rendered
from kubernetes_schemas import KINDS as FOREIGN

FOLDERS = ("base", "overlays/dev", "overlays/production")
VERSIONS = ("1.31", kubernetes_validate.latest_version())


@pytest.fixture(scope="session")
def manifests() -> dict[str, list[Object]]:
    """Every object of each folder."""
    command = kustomize_command()
    if command is None:
        text = "no kubectl or kustomize to render deploy/k8s; `.ci/kubectl` says how to get one"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    return {folder: rendered(command, DEPLOY / "k8s" / folder) for folder in FOLDERS}


@pytest.fixture(scope="session")
def production(manifests: dict[str, list[Object]]) -> list[Object]:
    return manifests["overlays/production"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_keeps_to_its_schema(
    folder: str, version: str, manifests: dict[str, list[Object]]
) -> None:
    foreign = set()
    for thing in manifests[folder]:
        kind = (thing["apiVersion"], thing["kind"])
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            foreign.add(kind)
            jsonschema.validate(thing, FOREIGN[kind])

    # Kubernetes' own schemas say nothing of these; a kind that is missing here was not checked.
    assert foreign == (set(FOREIGN) if folder == "overlays/production" else set())


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_setting_in_a_manifest_exists(
    folder: str, manifests: dict[str, list[Object]]
) -> None:
    seen = set()
    for thing in manifests[folder]:
        if thing["kind"] == "ConfigMap" and thing["metadata"]["name"].startswith("debfleet-"):
            ours = {k: v for k, v in thing["data"].items() if k.startswith("DEBFLEET_")}
            read_settings(ours)
            seen |= set(ours)
        for container in _containers(thing):
            for entry in container.get("env", []):
                if entry["name"].startswith("DEBFLEET_"):
                    seen.add(entry["name"])
                    # What a Secret will hold is not known here; that there is such a setting is.
                    read_settings({entry["name"]: entry.get("value", _any_value(entry["name"]))})

    assert "DEBFLEET_DATABASE_URL" in seen


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_in_a_manifest_is_taken_by_its_parser(
    folder: str, manifests: dict[str, list[Object]]
) -> None:
    known = images()
    checked = 0
    for thing in manifests[folder]:
        for container in _containers(thing):
            target = container["image"].rpartition("/")[2].partition(":")[0]
            if not target.startswith("debfleet-"):
                continue
            if container.get("command") == ["sleep", "infinity"]:
                continue  # the shell
            _parse(container["args"])
            assert known[target.removeprefix("debfleet-")].entrypoint[-1].endswith("debfleet")
            checked += 1

    assert checked >= 11  # five processes with what they wait for, and the migration


def test_the_workers_share_all_kinds_of_jobs(production: list[Object]) -> None:
    named = [
        kind
        for thing in production
        for container in _containers(thing)
        if container.get("args", [])[:2] == ["worker", "--queues"]
        for kind in container["args"][2:]
    ]

    assert sorted(named) == sorted(KINDS)


def test_every_queue_has_the_scaler_of_the_worker_that_takes_its_jobs(
    production: list[Object],
) -> None:
    taken = {
        thing["metadata"]["name"]: {f"debfleet.{kind}" for kind in container["args"][2:]}
        for thing in production
        if thing["kind"] == "Deployment"
        for container in thing["spec"]["template"]["spec"]["containers"]
        if container.get("args", [""])[0] == "worker"
    }

    scaled = {
        thing["spec"]["scaleTargetRef"]["name"]: {
            trigger["metadata"]["queueName"] for trigger in thing["spec"]["triggers"]
        }
        for thing in production
        if thing["kind"] == "ScaledObject"
    }

    assert scaled == taken


def test_what_is_scaled_has_no_number_of_its_own(production: list[Object]) -> None:
    scaled = {
        thing["spec"]["scaleTargetRef"]["name"]
        for thing in production
        if thing["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")
    }
    fixed = {
        thing["metadata"]["name"]
        for thing in production
        if thing["kind"] == "Deployment" and "replicas" in thing["spec"]
    }

    assert len(scaled) == 4
    # The sweeper is the one that is never scaled to zero.
    assert fixed == {"debfleet-sweep", "debfleet-shell"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_is_restricted(folder: str, manifests: dict[str, list[Object]]) -> None:
    for thing in manifests[folder]:
        pod = pod_of(thing)
        if pod is None:
            continue
        name = thing["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in _containers(thing):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            if container["image"].rpartition("/")[2].startswith("debfleet-"):
                assert context["readOnlyRootFilesystem"] is True, name
                assert {"name": "work", "mountPath": "/work"} in container["volumeMounts"], name


def test_a_worker_has_longer_to_end_than_it_gives_its_jobs(production: list[Object]) -> None:
    for thing in production:
        if thing["kind"] != "Deployment" or "worker" not in thing["metadata"]["name"]:
            continue
        pod = thing["spec"]["template"]["spec"]
        environ = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}

        assert int(environ["DEBFLEET_GRACE_SECONDS"]) < pod["terminationGracePeriodSeconds"]


def test_every_selector_finds_pods(manifests: dict[str, list[Object]]) -> None:
    for folder in FOLDERS:
        pods = [
            template["metadata"].get("labels", {})
            for thing in manifests[folder]
            if pod_of(thing) is not None
            for template in [_template(thing)]
        ]
        for thing in manifests[folder]:
            for labels in _selectors(thing):
                assert any(labels.items() <= pod.items() for pod in pods), thing["metadata"]


def test_every_named_thing_is_there(manifests: dict[str, list[Object]]) -> None:
    for folder in FOLDERS[1:]:
        things = manifests[folder]
        there = {(thing["kind"], thing["metadata"]["name"]) for thing in things}
        made_by_hand = {("Secret", "debfleet"), ("Secret", "debfleet-cli")}
        for thing in things:
            for wanted in _wanted(thing):
                is_there = wanted in there or (
                    folder == "overlays/production" and wanted in made_by_hand
                )
                assert is_there, f"{thing['metadata']['name']} wants {wanted}"


def test_a_schedule_never_runs_twice_at_once_and_never_for_ever(production: list[Object]) -> None:
    schedules = [thing for thing in production if thing["kind"] == "CronJob"]

    assert schedules
    for thing in schedules:
        spec, job = thing["spec"], thing["spec"]["jobTemplate"]["spec"]
        (container,) = job["template"]["spec"]["containers"]
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["startingDeadlineSeconds"] > 0
        assert spec["successfulJobsHistoryLimit"] <= 3
        assert spec["failedJobsHistoryLimit"] <= 3
        assert job["activeDeadlineSeconds"] > 0
        assert container["args"][:2] == ["sync", "--repository"]


def test_a_pod_that_is_tried_again_asks_with_the_key_of_its_job(production: list[Object]) -> None:
    for thing in production:
        if thing["kind"] == "CronJob":
            (container,) = _containers(thing)
            environ = {entry["name"]: entry for entry in container["env"]}
            path = environ["DEBFLEET_IDEMPOTENCY_KEY"]["valueFrom"]["fieldRef"]["fieldPath"]

            assert path == "metadata.labels['batch.kubernetes.io/job-name']"


def test_the_ports_of_the_probes_are_those_of_the_images(production: list[Object]) -> None:
    known: dict[str, Image] = images()
    for thing in production:
        for container in _containers(thing):
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            if "metrics" not in ports:
                continue
            target = container["image"].rpartition("/")[2].partition(":")[0]
            said = known[target.removeprefix("debfleet-")].environ
            assert said["DEBFLEET_METRICS_ADDRESS"] == f"0.0.0.0:{ports['metrics']}"
            if "http" in ports:
                address = said[f"DEBFLEET_{container['args'][0].upper()}_ADDRESS"]
                assert address == f"0.0.0.0:{ports['http']}"


def test_the_operator_has_the_rules_that_compose_mounts() -> None:
    folder = DEPLOY / "k8s" / "components" / "monitoring"
    rules = yaml.safe_load((folder / "rules.yaml").read_text(encoding="utf-8"))
    thing = yaml.safe_load((folder / "prometheusrule.yaml").read_text(encoding="utf-8"))

    # Where this fails: .venv/bin/python deploy/k8s/components/monitoring/prometheusrule.py
    assert thing["spec"] == rules


def test_every_dashboard_reaches_grafana(production: list[Object]) -> None:
    folder = DEPLOY / "k8s" / "components" / "monitoring" / "dashboards"
    files = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.iterdir()}

    given = {
        name: json.loads(text)
        for thing in production
        if thing["kind"] == "ConfigMap"
        and thing["metadata"].get("labels", {}).get("grafana_dashboard") == "1"
        for name, text in thing["data"].items()
    }

    assert given == files
    assert files


def test_prometheus_finds_every_pod_with_metrics(production: list[Object]) -> None:
    (service,) = [t for t in production if t["metadata"]["name"] == "debfleet-metrics"
                  and t["kind"] == "Service"]  # fmt: skip
    (monitor,) = [t for t in production if t["kind"] == "ServiceMonitor"]

    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    assert [e["port"] for e in monitor["spec"]["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]


def _containers(thing: Object) -> list[Any]:
    pod = pod_of(thing)
    return [] if pod is None else [*pod["containers"], *pod.get("initContainers", [])]


def _template(thing: Object) -> Any:
    spec = thing["spec"]
    return spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]


def _parse(args: list[str]) -> None:
    module = importlib.import_module(f"debfleet_cli.{COMMANDS[args[0]][0]}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    parser.parse_args(args[1:])


def _any_value(name: str) -> str:
    schemes = {"DEBFLEET_DATABASE_URL": "postgresql://x", "DEBFLEET_BROKER_URL": "amqp://x"}
    return schemes.get(name, "x")


def _selectors(thing: Object) -> list[dict[str, str]]:
    spec = thing.get("spec", {})
    if thing["kind"] == "Service":
        return [spec["selector"]]
    if thing["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
        return [spec["selector"]["matchLabels"]]
    if thing["kind"] == "NetworkPolicy":
        return [spec["podSelector"]["matchLabels"]]
    return []


def _wanted(thing: Object) -> list[tuple[str, str]]:
    """Kind and name of what an object names and cannot do without."""
    found = []
    if thing["kind"] == "Ingress":
        for rule in thing["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                found.append(("Service", path["backend"]["service"]["name"]))
    if thing["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
        found.append(("Deployment", thing["spec"]["scaleTargetRef"]["name"]))
        for trigger in thing["spec"].get("triggers", []):
            found.append(("TriggerAuthentication", trigger["authenticationRef"]["name"]))
    pod = pod_of(thing)
    if pod is None:
        return found
    if "serviceAccountName" in pod:
        found.append(("ServiceAccount", pod["serviceAccountName"]))
    for container in _containers(thing):
        for source in container.get("envFrom", []):
            found.append(("ConfigMap", source["configMapRef"]["name"]))
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                found.append(("Secret", reference["name"]))
    for volume in pod.get("volumes", []):
        if claim := volume.get("persistentVolumeClaim"):
            found.append(("PersistentVolumeClaim", claim["claimName"]))
    return found
