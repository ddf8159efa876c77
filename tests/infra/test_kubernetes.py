"""The container and its manifest, read: neither docker nor Kubernetes has seen them here."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

import function_app
from devtools.host.functions import load
from devtools.requirements import ROOT
from tests.infra.test_bicep import FOR_DEVELOPMENT, HOST_LIMITS, READ
from tntcore.config import Config

OBJECTS = list(yaml.safe_load_all((ROOT / "infra" / "kubernetes.yaml").read_text()))
FUNCTIONS = {function.name: function for function in load(function_app.app)}


def one(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert isinstance(found, dict)
    return found


def container(deployment: str) -> dict[str, Any]:
    [found] = one("Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def functions_of(deployment: str) -> list[str]:
    entries = container(deployment)["env"]
    assert [each["name"] for each in entries] == [
        f"AzureFunctionsJobHost__functions__{number}" for number in range(len(entries))
    ]
    return [each["value"] for each in entries]


def test_every_function_runs_in_one_deployment() -> None:
    http, queues = functions_of("tntcore-http"), functions_of("tntcore-queues")
    assert sorted(http + queues) == sorted(FUNCTIONS)
    assert {FUNCTIONS[name].kind for name in http} == {"httpTrigger"}
    assert {FUNCTIONS[name].kind for name in queues} == {"queueTrigger", "timerTrigger"}


def test_its_settings_are_the_services() -> None:
    data = one("ConfigMap", "tntcore")["data"]
    assert data.keys() - READ == {"FUNCTIONS_WORKER_RUNTIME"} | HOST_LIMITS.keys()
    assert data.items() >= HOST_LIMITS.items()
    assert not data.keys() & FOR_DEVELOPMENT
    assert all(isinstance(value, str) for value in data.values())
    config = Config.read(data)
    # The workload's identity, which is no managed one, is found by itself.
    assert not config.identity.managed
    for name in ("tntcore-http", "tntcore-queues"):
        assert container(name)["envFrom"] == [{"configMapRef": {"name": "tntcore"}}]


def test_deployments_are_found_by_what_refers_to_them() -> None:
    for name in ("tntcore-http", "tntcore-queues"):
        spec = one("Deployment", name)["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert labels["azure.workload.identity/use"] == "true"
        assert spec["template"]["spec"]["serviceAccountName"] == one("ServiceAccount", "tntcore")["metadata"]["name"]
        # KEDA owns the number.
        assert "replicas" not in spec
        assert one("ScaledObject", name)["spec"]["scaleTargetRef"] == {"name": name}
    service = one("Service", "tntcore")["spec"]
    labels = one("Deployment", "tntcore-http")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] in [port["name"] for port in container("tntcore-http")["ports"]]
    assert container("tntcore-http")["readinessProbe"]["httpGet"]["path"] == "/api/health"


def test_it_scales_with_the_queues() -> None:
    spec = one("ScaledObject", "tntcore-queues")["spec"]
    queues = {each["metadata"]["queueName"]: each for each in spec["triggers"]}
    worked = [each.trigger.queue_name for each in FUNCTIONS.values() if each.kind == "queueTrigger"]
    assert queues.keys() == {name for name in worked if not name.endswith("-poison")}
    batch = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]["batchSize"]
    account = re.match(r"https://(\w+)\.", one("ConfigMap", "tntcore")["data"]["AzureWebJobsStorage__queueServiceUri"])
    assert account
    for trigger in queues.values():
        assert trigger["type"] == "azure-queue"
        assert trigger["metadata"]["queueLength"] == str(batch)
        assert trigger["metadata"]["accountName"] == account[1]
        assert one("TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]["podIdentity"]
    # The timer needs one.
    assert spec["minReplicaCount"] == 1


def test_nothing_runs_as_root() -> None:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    [user] = [line.split()[1] for line in lines if line.startswith("USER")]
    assert lines[-1].startswith("USER")
    for name in ("tntcore-http", "tntcore-queues"):
        pod = one("Deployment", name)["spec"]["template"]["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == user
        assert container(name)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    port = re.search(r"ASPNETCORE_URLS=http://\+:(\d+)", "\n".join(lines))
    assert port
    assert container("tntcore-http")["ports"] == [{"name": "http", "containerPort": int(port[1])}]


def test_the_image_has_the_package_and_nothing_else() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == [
        "mcr.microsoft.com/azure-functions/python:4-python${PYTHON_VERSION}"
    ]
    assert re.findall(r"^(?:COPY|ADD) (.+)", text, re.MULTILINE) == ["dist/package /home/site/wwwroot"]
    assert "AzureWebJobsScriptRoot=/home/site/wwwroot" in text
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignored == ["*", "!dist/package"]
