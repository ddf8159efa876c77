"""infra/ as far as it can be checked without Azure: it parses, fits together, and gives the service what it reads."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

import function_app
from devtools.host.functions import load
from tests.infra.bicep import BUILT_IN, INFRA, File, body, files, parse
from tests.infra.operator_paths import operator_paths
from tntcore.config import CloudIdentity, Config, ServiceLimits, StorageAccount, Telemetry
from tntcore.envelope import MAX_WIRE

ROOT = INFRA.parent
FILES = files()
MAIN = FILES["main.bicep"]
SETTING = re.compile(r'"(TNT_[A-Z_]+|AzureWebJobsStorage\w*)"')
READ = set(SETTING.findall((ROOT / "tntcore" / "config.py").read_text()))
# Read, and left out on purpose: with the account's key, or with keys in a file, the cloud's would not be used.
FOR_DEVELOPMENT = {"AzureWebJobsStorage", "TNT_MASTER_KEY_FILE"}
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings
# The host's, here, on Kubernetes and on a developer's machine alike.
HOST_LIMITS = {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": str(MAX_WIRE), "AzureWebJobsDisableHomepage": "true"}
OF_THE_HOST = {"APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"}
# https://learn.microsoft.com/python/api/overview/azure/monitor-opentelemetry-exporter-readme
OF_OPENTELEMETRY = {
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
}


@pytest.fixture(params=sorted(FILES))
def file(request: pytest.FixtureRequest) -> File:
    return FILES[request.param]


def settings() -> dict[str, Any]:
    """The app settings, as written."""
    [config] = FILES["app/function.bicep"].of_type("Microsoft.Web/sites/config")
    given: dict[str, Any] = config["properties"]["function"]["parameters"]["arg_1"]
    return given


def test_both_parsers_can_read_it_and_every_name_is_declared(file: File) -> None:
    assert file.errors == ()
    assert file.used - file.declared - BUILT_IN == set()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("param a string\noutput b string = c", "name"),
        ("resource r 'A/b@2024-01-01' = {\n  name: 'x'\n  scope: nobody\n}", "name"),
        ("output a string = m.outputs.b", "name"),
        ("resource r 'A/b@2024-01-01' = {\n  name: 'x'\n", "parse"),
    ],
)
def test_mistakes_are_noticed(text: str, problem: str) -> None:
    try:
        found = parse(text)
    except Exception:  # noqa: BLE001  whatever pycep raises
        assert problem == "parse"
    else:
        noticed = "parse" if found.errors else "name" if found.used - found.declared - BUILT_IN else ""
        assert noticed == problem


def test_nothing_is_declared_for_nothing(file: File) -> None:
    named = file.parameters.keys() | file.variables.keys()
    assert named - file.used == set()


def test_modules_get_what_they_ask_for_and_nothing_else() -> None:
    assert {str(path) for path in FILES} - {"main.bicep"} == {each["detail"]["path"] for each in MAIN.modules.values()}
    for name, module in MAIN.modules.items():
        asked = FILES[module["detail"]["path"]]
        given = body(module["config"])["params"].keys()
        assert asked.required <= given <= asked.parameters.keys(), name
    for module, output in MAIN.outputs_used:
        assert output in FILES[MAIN.modules[module]["detail"]["path"]].outputs, (module, output)
    for path, each in FILES.items():
        if path != "main.bicep":
            used = {output for module, output in MAIN.outputs_used if MAIN.modules[module]["detail"]["path"] == path}
            assert each.outputs.keys() == used, path


def test_azd_env_set_reaches_every_parameter() -> None:
    """By the parameter's name in capitals. What is not set is left out, and has the default of main.bicep."""
    apart = {
        "environmentName": "AZURE_ENV_NAME",
        "location": "AZURE_LOCATION",
        # Images of Python have PYTHON_VERSION in their environment, to the patch.
        "pythonVersion": "APP_PYTHON_VERSION",
    }
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert list(given) == list(MAIN.parameters)
    for name, value in given.items():
        variable = apart.get(name) or re.sub(r"([A-Z])", r"_\1", name).upper()
        assert value == {"value": f"${{{variable}}}"}
    assert MAIN.required == {"environmentName", "location"}


def test_versions_of_the_api_are_dates_and_the_same_everywhere() -> None:
    seen: dict[str, set[str]] = {}
    for file in FILES.values():
        for resource in file.resources.values():
            # Diagnostic settings have had no version but previews since 2016.
            version = resource["api_version"].removesuffix("-preview" if "diagnostic" in resource["type"] else "")
            assert re.fullmatch(r"20(2[0-9])-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", version), resource
            seen.setdefault(resource["type"].partition("/")[0] + resource["type"].rpartition("/")[2], set()).add(
                resource["api_version"]
            )
    assert {kind: versions for kind, versions in seen.items() if len(versions) > 1} == {}


def test_each_setting_that_is_read_is_set_and_each_that_is_set_is_read() -> None:
    assert READ > FOR_DEVELOPMENT
    assert settings().keys() == (READ - FOR_DEVELOPMENT) | OF_THE_HOST | HOST_LIMITS.keys() | OF_OPENTELEMETRY


@pytest.mark.parametrize("edge", ["", "afd-x"])
def test_the_settings_make_a_configuration(edge: str) -> None:
    """With what Azure would put in for each name."""
    storage = "https://stx.{}.core.windows.net/"
    known = {
        "identity.properties.clientId": "id",
        "publicUrl": "https://func-x.azurewebsites.net",
        "keyUri": "https://kv-x.vault.azure.net/keys/master",
        "empty(edgeName) ? '1' : '2'": "2" if edge else "1",
        "join(operatorAddresses, ',')": "203.0.113.0/24,2001:db8::/32" if edge else "",
        **{f"storageUri.{name}": storage.format(name) for name in ("blob", "queue", "table")},
    }
    text = (INFRA / "app" / "function.bicep").read_text()
    environment = {}
    for name in settings().keys() - OF_THE_HOST - HOST_LIMITS.keys():
        [value] = re.findall(rf"^ *{name}: (.+)$", text, re.MULTILINE)
        environment[name] = known[value] if value in known else value[1:-1]
    config = Config.read(environment)
    assert config == Config(
        storage=StorageAccount(*(storage.format(name).rstrip("/") for name in ("blob", "queue", "table"))),
        public_url="https://func-x.azurewebsites.net",
        master_keys="https://kv-x.vault.azure.net/keys/master",
        identity=CloudIdentity(managed=True, client_id="id"),
        limits=ServiceLimits(forwarded_hops=2 if edge else 1),
        operator_networks=tuple(map(ip_network, ("203.0.113.0/24", "2001:db8::/32"))) if edge else (),
        telemetry=Telemetry((), (), ratio=0.05, json_logs=True, seconds=1.0),
    )


def test_storage_and_vault_are_named_as_the_service_looks_for_them() -> None:
    """The names are written, not read from what was made: so a what-if knows them."""
    text = (INFRA / "app" / "function.bicep").read_text()
    for service in ("blob", "queue", "table"):
        assert f"{service}: 'https://${{storageName}}.{service}.${{environment().suffixes.storage}}/'" in text
    assert "'https://${vaultName}${environment().suffixes.keyvaultDns}/keys/${keyName}'" in text
    shared = [name for name in MAIN.variables if name.endswith("Name")]
    assert len(shared) > 5
    # Only what nobody can know beforehand comes out of a module.
    assert {output for _, output in MAIN.outputs_used} == {
        "host",
        "validationToken",
        "verificationId",
        "outboundAddress",
    }


def test_the_sample_settings_are_read_too() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert sample.keys() <= READ | {"FUNCTIONS_WORKER_RUNTIME"} | HOST_LIMITS.keys()
    assert sample.items() >= HOST_LIMITS.items()
    Config.read(sample)


ROLES = {
    "onBlobs": ("storageBlobDataOwner", "storage"),
    "onQueues": ("storageQueueDataContributor", "storage"),
    "onTables": ("storageTableDataContributor", "storage"),
    "onKey": ("keyVaultCryptoServiceEncryptionUser", "key"),
    "onInsights": ("monitoringMetricsPublisher", "insights"),
}


def test_the_identity_has_the_roles_that_the_service_needs_and_no_others() -> None:
    access = FILES["app/access.bicep"]
    assigned = {name: each for name, each in access.resources.items() if not each["existing"]}
    assert assigned.keys() == ROLES.keys()
    assert access.variables["roles"]["value"].keys() == {name for name, _ in ROLES.values()}
    for resource, (role, scope) in ROLES.items():
        config = assigned[resource]["config"]
        assert assigned[resource]["type"] == "Microsoft.Authorization/roleAssignments"
        assert config["scope"] == scope
        assert json.dumps(config["properties"]["roleDefinitionId"]).count(f'"{role}"') == 1
        # The name is made of the role, too: two assignments of one name would be one.
        assert json.dumps(config["name"]).count(f'"{role}"') == 1


def test_storage_takes_no_keys_and_has_what_the_service_uses() -> None:
    file = FILES["app/storage.bicep"]
    [account] = file.of_type("Microsoft.Storage/storageAccounts")
    properties = account["properties"]
    assert properties["allowSharedKeyAccess"] is False
    assert properties["allowBlobPublicAccess"] is False
    assert properties["minimumTlsVersion"] == "TLS1_2"

    def names(resource: str) -> set[str]:
        return set(file.resources[resource]["config"]["loop_type"]["detail"]["array_name"])

    assert names("queues") == {
        function.trigger.queue_name for function in load(function_app.app) if function.kind == "queueTrigger"
    }
    source = (ROOT / "tntcore" / "storage" / "storage.py").read_text()
    assert names("tables") == set(re.findall(r'Table\(self\._tables, "(\w+)"', source))
    assert names("containers") == {"packageContainer"} | set(re.findall(r'Blobs\(self\._blobs, "(\w+)"', source))


def test_the_key_only_wraps_and_cannot_be_lost_by_one_mistake() -> None:
    file = FILES["app/vault.bicep"]
    [vault] = file.of_type("Microsoft.KeyVault/vaults")
    assert vault["properties"]["enableRbacAuthorization"] is True
    assert vault["properties"]["enablePurgeProtection"] is True
    [key] = file.of_type("Microsoft.KeyVault/vaults/keys")
    assert key["properties"]["keyOps"] == ["wrapKey", "unwrapKey"]
    assert key["properties"]["keySize"] >= 3072


def test_the_app_runs_on_flex_consumption_with_its_identity() -> None:
    file = FILES["app/function.bicep"]
    [plan] = file.of_type("Microsoft.Web/serverfarms")
    assert plan["sku"] == {"tier": "FlexConsumption", "name": "FC1"}
    [app] = file.of_type("Microsoft.Web/sites")
    assert app["identity"]["type"] == "UserAssigned"
    properties, own = app["properties"]["function"]["parameters"].values()
    app["properties"] = properties
    assert properties["httpsOnly"] is True
    config, rolling = properties["functionAppConfig"]["function"]["parameters"].values()
    # What is in no typed version of the API is left out unless it is asked for.
    assert (own["operator"]["type"], own["operator"]["operands"]["false_value"]) == ("conditional", {})
    assert (rolling["operator"]["type"], rolling["operator"]["operands"]["false_value"]) == ("conditional", {})
    assert config["runtime"] == {"name": "python", "version": "pythonVersion"}
    assert config["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"
    host = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]
    concurrency = config["scaleAndConcurrency"]["triggers"]["http"]["perInstanceConcurrency"]
    assert concurrency == host["maxConcurrentRequests"]
    for name, value in HOST_LIMITS.items():
        assert settings()[name] == value
    policies = file.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert [(each["name"], each["properties"]) for each in policies] == [
        ("scm", {"allow": False}),
        ("ftp", {"allow": False}),
    ]
    # What a Flex Consumption app refuses: its runtime is in functionAppConfig.
    assert not settings().keys() & {
        "FUNCTIONS_WORKER_RUNTIME",
        "FUNCTIONS_EXTENSION_VERSION",
        "WEBSITE_RUN_FROM_PACKAGE",
    }
    [allowed] = MAIN.parameters["pythonVersion"]["decorators"]
    assert allowed["argument"] == ["3.11", "3.12", "3.13"]


def test_alerts_look_for_what_the_service_says() -> None:
    rules = {rule["name"]: rule for rule in FILES["app/alerts.bicep"].variables["rules"]["value"]}
    source = "".join(path.read_text() for path in (ROOT / "tntcore").rglob("*.py"))
    said = re.findall(r'log\.\w+\("([^"]+)"', source)
    for name in ("poison", "deliveries"):
        found = re.search(r'Message has "([^"]+)" and Message has "([^"]+)"', rules[name]["query"])
        assert found
        assert any(text.startswith(found[1]) and found[2] in text for text in said), rules[name]
    functions = {function.name for function in load(function_app.app)}
    asked = [rule["query"].partition("Name ")[2] for rule in rules.values() if rule["query"].startswith("AppRequests")]
    named = {word for query in asked for word in re.findall(r'"(\w+)"', query)}
    assert "_poison" in named
    assert named - {"_poison"} <= functions
    assert {name for name in functions if name.endswith("_poison")}
    http = {function.name for function in load(function_app.app) if function.kind == "httpTrigger"}
    assert set(re.findall(r'"(\w+)"', rules["http"]["query"])) == http


def test_nothing_that_an_alert_looks_at_is_left_out_by_chance() -> None:
    """One message that was given up is one line of the log: sampling would leave it out under load, when it matters."""
    logging = json.loads((ROOT / "host.json").read_text())["logging"]
    file = FILES["app/alerts.bicep"]
    looked_at = {rule["query"].partition(" ")[0] for rule in file.variables["rules"]["value"]}
    kept = logging["applicationInsights"]["samplingSettings"]["excludedTypes"].split(";")
    # Metrics are the app's own, which the host does not see; the last two are the platform's.
    assert looked_at - {"AppMetrics", "AZKVAuditLogs", "_LogOperation"} == {f"App{kind}s" for kind in kept}
    # Unsampled, so not two lines for each run of a function, but each warning; requests come from Host.Results.
    levels = logging["logLevel"]
    assert levels.pop("Host.Results") == "Information"
    assert levels.pop("default") == "Warning"
    assert not [name for name in levels if name.startswith("Function")]
    [rules] = file.of_type("Microsoft.Insights/scheduledQueryRules")
    assert rules["properties"]["skipQueryValidation"] is True


def test_what_is_done_with_the_master_key_is_written_down() -> None:
    [audit] = FILES["app/vault.bicep"].of_type("Microsoft.Insights/diagnosticSettings")
    assert audit["scope"] == "vault"
    assert audit["properties"]["logs"] == [{"categoryGroup": "audit", "enabled": True}]


def test_azd_deploys_the_package_as_it_is() -> None:
    document = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / document["infra"]["path"] / "main.bicep").exists()
    [(name, service)] = document["services"].items()
    assert service["host"] == "function"
    assert service["remoteBuild"] is False
    # By this tag azd finds what it deploys to.
    tags = body(MAIN.modules["app"]["config"])["params"]["tags"]
    assert tags["function"]["parameters"]["arg_2"] == {"'azd-service-name'": name}
    makefile = (ROOT / "Makefile").read_text()
    hooks = document["hooks"]
    # `azd deploy` alone does not run the first, and an old package would be deployed.
    assert hooks["predeploy"] == hooks["prepackage"]
    for hook in hooks["postdeploy"].values():
        assert "make smoke SMOKE_URL=" in hook["run"]
        for output in re.findall(r"AZURE_RESOURCE_GROUP|SERVICE_API_NAME|PUBLIC_URL", hook["run"]):
            assert output in MAIN.outputs
    for hook in hooks["prepackage"].values():
        assert hook["run"].startswith("make package PACKAGE_PYTHON=")
        assert "APP_PYTHON_VERSION" in hook["run"]
    assert re.search(r"^package:.*##", makefile, re.MULTILINE)
    assert re.search(r"^PACKAGE_PYTHON \?=", makefile, re.MULTILINE)
    assert Path(service["project"]) == Path("dist/package")


def test_the_page_has_every_parameter_alert_and_role() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    variables = {value["value"][2:-1] for value in parameters.values()} - {"AZURE_ENV_NAME", "AZURE_LOCATION"}
    table = page.partition("### Parameters\n")[2].partition("\n### ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)} == variables
    alerts = FILES["app/alerts.bicep"].variables
    named = {rule["name"] for name in ("rules", "metrics") for rule in alerts[name]["value"]}
    named |= {test["name"] for test in FILES["app/availability.bicep"].variables["tests"]["value"]}
    shown = page.partition("### What an operator looks at\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| ([a-z-]+) \|", shown, re.MULTILINE)) - {"alert", "---"} == named


def test_the_workbook_shows_metrics_that_the_service_has() -> None:
    text = (INFRA / "app" / "workbook.json").read_text()
    source = (ROOT / "tntcore" / "telemetry" / "meter.py").read_text()
    metrics = set(re.findall(r'"((?:tnt|http|messaging|error)\.[a-z_.]+)"', source))
    names = set(re.findall(r'Name == \\"([^"\\]+)\\"', text))
    assert len(names) > 5
    assert names <= metrics
    assert set(re.findall(r'Properties\[\\"([^"\\]+)\\"\]', text)) <= metrics
    assert 'Name == "tnt.message.age"' in (INFRA / "app" / "alerts.bicep").read_text()
    assert "tnt.message.age" in metrics


def test_operators_paths_are_those_of_their_functions() -> None:
    """What Front Door shuts for all but their addresses."""
    text = (INFRA / "app" / "edge.bicep").read_text()
    found = re.search(r"var operatorPaths = \[(.+)\]", text)
    assert found
    assert set(re.findall(r"'([^']+)'", found[1])) == operator_paths()
