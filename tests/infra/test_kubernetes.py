"""The container and its manifests, read: neither docker nor Kubernetes has seen them here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, validate

import function_app
from devtools.azurite import ACCOUNT, ACCOUNT_KEY
from devtools.host.functions import load
from devtools.requirements import ROOT
from tests.infra.kustomize import build
from tests.infra.operator_paths import operator_paths
from tests.infra.test_bicep import FOR_DEVELOPMENT, HOST_LIMITS, READ
from tntcore.config import Config

MANIFESTS = ROOT / "infra" / "kubernetes"
OVERLAYS = {path.name: build(path) for path in sorted((MANIFESTS / "overlays").iterdir())}
PRODUCTION = OVERLAYS["production"]
FUNCTIONS = {function.name: function for function in load(function_app.app)}
KEDA: dict[str, Any] = json.loads((Path(__file__).parent / "facts" / "keda.json").read_text())
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DEPLOYMENTS = ("tntcore-http", "tntcore-queues")
OF_THE_HOST = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsSecretStorageType"}

overlay = pytest.mark.parametrize("objects", OVERLAYS.values(), ids=OVERLAYS)


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod(objects: list[dict[str, Any]], deployment: str) -> dict[str, Any]:
    spec = one(objects, "Deployment", deployment)["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def container(objects: list[dict[str, Any]], deployment: str) -> dict[str, Any]:
    [found] = pod(objects, deployment)["containers"]
    assert isinstance(found, dict)
    return found


def functions_of(deployment: str) -> list[str]:
    entries = container(PRODUCTION, deployment)["env"]
    assert [each["name"] for each in entries] == [
        f"AzureFunctionsJobHost__functions__{number}" for number in range(len(entries))
    ]
    return [each["value"] for each in entries]


def test_these_are_the_overlays() -> None:
    assert OVERLAYS.keys() == {"local", "production"}


@overlay
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_takes_every_object(objects: list[dict[str, Any]], version: str) -> None:
    for each in objects:
        if not each["apiVersion"].startswith("keda.sh/"):
            validate(each, version, strict=True)


def test_a_mistake_is_noticed() -> None:
    broken = json.loads(json.dumps(one(PRODUCTION, "Deployment", "tntcore-http")))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(ValidationError):
        validate(broken, "1.37", strict=True)


def test_keda_takes_every_object_of_its() -> None:
    seen = set()
    for each in PRODUCTION:
        if not each["apiVersion"].startswith("keda.sh/"):
            continue
        seen.add(each["kind"])
        assert each["apiVersion"] == KEDA["apiVersion"]
        assert each["spec"].keys() <= set(KEDA[each["kind"]])
        if identity := each["spec"].get("podIdentity"):
            assert identity.keys() <= set(KEDA["podIdentity"])
            assert identity["provider"] in KEDA["providers"]
        for trigger in each["spec"].get("triggers", []):
            assert trigger.keys() <= set(KEDA["trigger"])
            assert trigger["metadata"].keys() <= set(KEDA["metadata"][trigger["type"]])
            assert all(isinstance(value, str) for value in trigger["metadata"].values())
    assert seen == {"ScaledObject", "TriggerAuthentication"}


def test_every_function_runs_in_one_deployment() -> None:
    http, queues = functions_of("tntcore-http"), functions_of("tntcore-queues")
    assert sorted(http + queues) == sorted(FUNCTIONS)
    assert {FUNCTIONS[name].kind for name in http} == {"httpTrigger"}
    assert {FUNCTIONS[name].kind for name in queues} == {"queueTrigger", "timerTrigger"}


@overlay
def test_its_settings_are_the_services(objects: list[dict[str, Any]]) -> None:
    data = one(objects, "ConfigMap", "tntcore")["data"]
    assert data.keys() - READ == OF_THE_HOST | HOST_LIMITS.keys()
    assert data.items() >= HOST_LIMITS.items()
    assert all(isinstance(value, str) for value in data.values())
    config = Config.read(data)
    # The workload's identity, which is no managed one, is found by itself.
    assert not config.identity.managed
    for name in DEPLOYMENTS:
        assert container(objects, name)["envFrom"] == [{"configMapRef": {"name": "tntcore"}}]


def test_production_has_no_keys_in_its_settings() -> None:
    assert not one(PRODUCTION, "ConfigMap", "tntcore")["data"].keys() & FOR_DEVELOPMENT
    assert not [each for each in PRODUCTION if each["kind"] == "Secret"]


@overlay
def test_deployments_are_found_by_what_refers_to_them(objects: list[dict[str, Any]]) -> None:
    for name in DEPLOYMENTS:
        spec = one(objects, "Deployment", name)["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert spec["template"]["spec"]["serviceAccountName"] == one(objects, "ServiceAccount", "tntcore")["metadata"]["name"]  # noqa: E501  # fmt: skip
        # KEDA owns the number.
        assert "replicas" not in spec
        budget = one(objects, "PodDisruptionBudget", name)["spec"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()
        # There may be one pod of a kind, and a node has to be emptied all the same.
        assert budget["maxUnavailable"] == 1
    service = one(objects, "Service", "tntcore")["spec"]
    labels = one(objects, "Deployment", "tntcore-http")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["ports"][0]["targetPort"] in [port["name"] for port in container(objects, "tntcore-http")["ports"]]
    assert container(objects, "tntcore-http")["readinessProbe"]["httpGet"]["path"] == "/api/health"


def test_it_scales_with_the_queues() -> None:
    for name in DEPLOYMENTS:
        assert one(PRODUCTION, "ScaledObject", name)["spec"]["scaleTargetRef"] == {"name": name}
        labels = one(PRODUCTION, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert labels["azure.workload.identity/use"] == "true"
    spec = one(PRODUCTION, "ScaledObject", "tntcore-queues")["spec"]
    queues = {each["metadata"]["queueName"]: each for each in spec["triggers"]}
    worked = [each.trigger.queue_name for each in FUNCTIONS.values() if each.kind == "queueTrigger"]
    assert queues.keys() == {name for name in worked if not name.endswith("-poison")}
    batch = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]["batchSize"]
    data = one(PRODUCTION, "ConfigMap", "tntcore")["data"]
    account = re.match(r"https://(\w+)\.", data["AzureWebJobsStorage__queueServiceUri"])
    assert account
    for trigger in queues.values():
        assert trigger["metadata"]["queueLength"] == str(batch)
        assert trigger["metadata"]["accountName"] == account[1]
        assert one(PRODUCTION, "TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]["podIdentity"]
    # The timer needs one.
    assert spec["minReplicaCount"] == 1


def test_requests_come_in_whole_and_operators_by_another_door() -> None:
    ingress = one(PRODUCTION, "Ingress", "tntcore")
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"] == "on"
    limit = int(one(PRODUCTION, "ConfigMap", "tntcore")["data"]["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"])
    for name in ("nginx.ingress.kubernetes.io/proxy-body-size", "nginx.org/client-max-body-size"):
        assert limit <= int(annotations[name].removesuffix("m")) * 1024 * 1024 < 2 * limit
    [rule] = ingress["spec"]["rules"]
    [tls] = ingress["spec"]["tls"]
    assert tls["hosts"] == [rule["host"]]
    assert one(PRODUCTION, "ConfigMap", "tntcore")["data"]["TNT_PUBLIC_URL"] == f"https://{rule['host']}"
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    paths = {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}
    assert paths == {f"/{prefix}": "tntcore", **dict.fromkeys(operator_paths(prefix), "nowhere")}
    assert "selector" not in one(PRODUCTION, "Service", "nowhere")["spec"]


def test_pods_are_reached_by_the_ingress_alone_and_reach_no_private_network() -> None:
    http = one(PRODUCTION, "NetworkPolicy", "tntcore-http")["spec"]
    queues = one(PRODUCTION, "NetworkPolicy", "tntcore-queues")["spec"]
    for name, policy in (("tntcore-http", http), ("tntcore-queues", queues)):
        labels = one(PRODUCTION, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()
        assert policy["policyTypes"] == ["Ingress"]
    [rule] = http["ingress"]
    assert rule["ports"] == [{"port": container(PRODUCTION, "tntcore-http")["ports"][0]["name"]}]
    assert "ingress" not in queues
    outbound = one(PRODUCTION, "NetworkPolicy", "tntcore-outbound")["spec"]["egress"]
    blocks = {
        to["ipBlock"]["cidr"]: to["ipBlock"]["except"] for rule in outbound for to in rule["to"] if "ipBlock" in to
    }
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]
    assert "10.0.0.0/8" in blocks["0.0.0.0/0"]


@overlay
def test_nothing_runs_as_root(objects: list[dict[str, Any]]) -> None:
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    [user] = [line.split()[1] for line in lines if line.startswith("USER")]
    assert lines[-1].startswith("USER")
    for name in DEPLOYMENTS:
        security = pod(objects, name)["securityContext"]
        assert security["runAsNonRoot"] is True
        assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
        assert container(objects, name)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    port = re.search(r"ASPNETCORE_URLS=http://\+:(\d+)", "\n".join(lines))
    assert port
    assert container(objects, "tntcore-http")["ports"] == [{"name": "http", "containerPort": int(port[1])}]


def keys_that_the_host_asks_for() -> set[str]:
    """One for each function, or it would make them, and cannot write them."""
    http = [name for name, function in FUNCTIONS.items() if function.kind == "httpTrigger"]
    return {"host.master", "host.function.default", *(f"functions.{name.lower()}.default" for name in http)}


@overlay
def test_the_hosts_keys_are_mounted_where_it_looks(objects: list[dict[str, Any]]) -> None:
    for name in DEPLOYMENTS:
        [mount] = [each for each in container(objects, name)["volumeMounts"] if each["name"] == "keys"]
        assert mount["mountPath"] == "/run/secrets/functions-keys"
        [volume] = [each for each in pod(objects, name)["volumes"] if each["name"] == "keys"]
        assert volume == {"name": "keys", "secret": {"secretName": "tntcore-keys"}}


def test_everybody_makes_the_keys_that_the_host_asks_for() -> None:
    wanted = keys_that_the_host_asks_for()
    assert one(OVERLAYS["local"], "Secret", "tntcore-keys")["stringData"].keys() == wanted
    page = (ROOT / "docs" / "deploy.md").read_text()
    assert set(re.findall(r"--from-literal=([\w.]+)=", page)) == wanted
    targets = {Path(each["target"]) for each in COMPOSE["services"]["tntcore"]["secrets"]}
    assert targets == {Path("/run/secrets/functions-keys", name) for name in wanted}


@overlay
def test_a_pod_is_drained_within_its_grace(objects: list[dict[str, Any]]) -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "COPY --chmod=755 infra/kubernetes/drain.sh /usr/local/bin/drain\n" in text
    assert re.search(r'^STOPSIGNAL SIGINT\nCMD \["/azure-functions-host/', text, re.MULTILINE)
    for name in DEPLOYMENTS:
        command, seconds = container(objects, name)["lifecycle"]["preStop"]["exec"]["command"]
        assert command == "drain"
        # Its own pause of 5 s, and some for the host to end.
        assert int(seconds) + 15 <= pod(objects, name)["terminationGracePeriodSeconds"]


class StandIn(BaseHTTPRequestHandler):
    """The host's own paths for draining. `outstanding` is how often it says that something runs."""

    outstanding = 0
    asked: list[tuple[str, str, str | None]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self._answer(202, b"")

    def do_GET(self) -> None:
        left, type(self).outstanding = self.outstanding, max(0, self.outstanding - 1)
        self._answer(200, json.dumps({"state": "InProgress", "outstandingInvocations": left, "other": 0}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.asked.append((self.command, self.path, self.headers["content-length"]))
        status = status if self.headers["x-functions-key"] == "secret" else 401
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def draining(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of drain.sh, beside a host that is a stand-in."""
    StandIn.asked.clear()
    (tmp_path / "host.master").write_text("secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield {"PATH": os.environ["PATH"], "DRAIN_HOST": url, "DRAIN_KEYS": str(tmp_path), "DRAIN_PAUSE": "0"}
        server.shutdown()
        thread.join()


def drain(environment: dict[str, str], seconds: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(MANIFESTS / "drain.sh"), seconds]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_drain_waits_for_what_runs(draining: dict[str, str]) -> None:
    StandIn.outstanding = 1
    begun = time.monotonic()
    done = drain(draining, "20")
    assert done.returncode == 0, done.stderr
    assert 0.9 < time.monotonic() - begun < 10
    status = ("GET", "/admin/host/drain/status", None)
    assert StandIn.asked == [("POST", "/admin/host/drain", "0"), status, status]


def test_drain_says_what_it_could_not_do(draining: dict[str, str], tmp_path: Path) -> None:
    StandIn.outstanding = 100
    done = drain(draining, "1")
    assert (done.returncode, done.stderr) == (1, "drain: something still runs after 1 s\n")
    (tmp_path / "host.master").write_text("wrong")
    assert drain(draining, "20").returncode == 1
    assert "secret" not in done.stdout + done.stderr


def test_the_image_has_the_package_and_nothing_else() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (.+)", text, re.MULTILINE) == [
        "python:${PYTHON_VERSION}-slim AS package",
        "mcr.microsoft.com/azure-functions/python:4-python${PYTHON_VERSION}",
    ]
    last = text.rpartition("FROM ")[2]
    assert re.findall(r"^(?:COPY|ADD) (?:--chmod=755 )?(.+)", last, re.MULTILINE) == [
        "infra/kubernetes/drain.sh /usr/local/bin/drain",
        "--from=package /source/dist/package /home/site/wwwroot",
    ]
    assert "AzureWebJobsScriptRoot=/home/site/wwwroot" in text


def test_the_package_can_be_built_of_what_the_image_is_given(tmp_path: Path) -> None:
    """With no more than `.dockerignore` lets in, and an interpreter without packages."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    for name in allowed:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    code = "import devtools.package as p; print(*(s for s in p.SOURCES if not (p.ROOT / s).exists()), p.ROOT)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(tmp_path)]
    secret = ["local.settings.json", ".local/master-keys.json", ".git/config", ".azure/x/.env", ".env"]
    assert not [path for path in secret for name in allowed if fnmatch(path, f"{name}*")]


def test_compose_runs_the_same_service() -> None:
    service = COMPOSE["services"]["tntcore"]
    environment = service["environment"]
    assert environment.items() >= HOST_LIMITS.items()
    assert environment.keys() - READ == OF_THE_HOST | HOST_LIMITS.keys() | {"ASPNETCORE_URLS"}
    port = re.fullmatch(r"http://\+:(\d+)", environment["ASPNETCORE_URLS"])
    assert port
    assert service["ports"] == [f"{port[1]}:{port[1]}"]
    assert environment["TNT_PUBLIC_URL"] == f"http://localhost:{port[1]}"
    assert Config.read(environment)


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        (
            one(OVERLAYS["local"], "ConfigMap", "tntcore")["data"],
            " ".join(container(OVERLAYS["local"], "azurite")["command"]),
        ),
        (COMPOSE["services"]["tntcore"]["environment"], COMPOSE["services"]["azurite"]["command"]),
    ],
    ids=["local", "compose"],
)
def test_the_emulator_is_the_one_that_the_tests_use(settings: dict[str, str], command: str) -> None:
    version = json.loads((ROOT / "devtools" / "package.json").read_text())["dependencies"]["azurite"]
    images = {container(OVERLAYS["local"], "azurite")["image"], COMPOSE["services"]["azurite"]["image"]}
    assert images == {f"mcr.microsoft.com/azure-storage/azurite:{version}"}
    assert f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};" in settings["AzureWebJobsStorage"]
    for service, port in (("blob", 10000), ("queue", 10001), ("table", 10002)):
        assert f"{service.capitalize()}Endpoint=http://azurite:{port}/{ACCOUNT}" in settings["AzureWebJobsStorage"]
        assert f"--{service}Host 0.0.0.0" in command
    script = (ROOT / "devtools" / "node_modules" / "azurite" / "dist" / "src" / "common" / "Environment.js").read_text()
    for option in re.findall(r"--(\w+)", command):
        assert f'"{option}"' in script or f"'{option}'" in script, option
