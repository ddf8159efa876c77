"""infra/ as far as it can be checked without Azure: it parses, fits together, and gives the service what it reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import function_app
from devtools.host.functions import load
from tests.infra.bicep import BUILT_IN, INFRA, File, body, files, parse
from tntcore.config import CloudIdentity, Config, Limits, StorageAccount, Telemetry
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


def test_the_parameters_file_names_parameters_and_takes_what_azd_has() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert MAIN.required <= given.keys() <= MAIN.parameters.keys()
    for name, value in given.items():
        found = re.fullmatch(r"\$\{[A-Z_]+(=(.*))?\}", value["value"])
        assert found, name
        if found[2] is not None:
            default = MAIN.parameters[name]["default"]
            assert found[2] == (str(default).lower() if isinstance(default, bool) else str(default)), name
        else:
            assert name in MAIN.required


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


def test_the_settings_make_a_configuration() -> None:
    """With what Azure would put in for each name."""
    storage = "https://stx.{}.core.windows.net/"
    known = {
        "clientId": "id",
        "publicUrl": "https://func-x.azurewebsites.net",
        "keyUri": "https://kv-x.vault.azure.net/keys/master",
        **{f"primaryEndpoints.{name}": storage.format(name) for name in ("blob", "queue", "table")},
    }
    text = (INFRA / "app" / "function.bicep").read_text()
    environment = {}
    for name in settings().keys() - OF_THE_HOST - HOST_LIMITS.keys():
        [value] = re.findall(rf"^ *{name}: (.+)$", text, re.MULTILINE)
        literal = re.fullmatch(r"'(.*)'", value)
        environment[name] = literal[1] if literal else known[value.removeprefix("storage.properties.")]
    config = Config.read(environment)
    assert config == Config(
        storage=StorageAccount(*(storage.format(name).rstrip("/") for name in ("blob", "queue", "table"))),
        public_url="https://func-x.azurewebsites.net",
        master_keys="https://kv-x.vault.azure.net/keys/master",
        identity=CloudIdentity(managed=True, client_id="id"),
        telemetry=Telemetry((), (), ratio=0.05, json_logs=True),
    )
    assert config.limits == Limits()


def test_the_sample_settings_are_read_too() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    assert sample.keys() <= READ | {"FUNCTIONS_WORKER_RUNTIME"} | HOST_LIMITS.keys()
    assert sample.items() >= HOST_LIMITS.items()
    Config.read(sample)


# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "onBlobs": ("storageBlobDataOwner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b", "storage"),
    "onQueues": ("storageQueueDataContributor", "974c5e8b-45b9-4653-ba55-5f855dd0fe88", "storage"),
    "onTables": ("storageTableDataContributor", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "storage"),
    "onKey": ("keyVaultCryptoServiceEncryptionUser", "e147488a-f6f5-4113-8e2d-b22465e65bf6", "key"),
    "onInsights": ("monitoringMetricsPublisher", "3913510d-42f4-4e42-8a64-420c390055eb", "insights"),
}


def test_the_identity_has_the_roles_that_the_service_needs_and_no_others() -> None:
    access = FILES["app/access.bicep"]
    assigned = {name: each for name, each in access.resources.items() if not each["existing"]}
    assert assigned.keys() == ROLES.keys()
    assert access.variables["roles"]["value"] == {name: guid for name, guid, _ in ROLES.values()}
    for resource, (role, _, scope) in ROLES.items():
        config = assigned[resource]["config"]
        assert assigned[resource]["type"] == "Microsoft.Authorization/roleAssignments"
        assert config["scope"] == scope
        assert config["properties"]["principalId"] == "principalId"
        assert json.dumps(config["properties"]["roleDefinitionId"]).count(f'"{role}"') == 1
        # The name is made of the role, too: two assignments of one name would be one.
        assert json.dumps(config["name"]).count(f'"{role}"') == 1
    assert not any("roleAssignments" in each["type"] for path, file in FILES.items() if path != "app/access.bicep"
                   for each in file.resources.values())  # fmt: skip


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
    assert names("containers") == {"packages"} | set(re.findall(r'Blobs\(self\._blobs, "(\w+)"', source))


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
    assert app["properties"]["httpsOnly"] is True
    config = app["properties"]["functionAppConfig"]
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
    named = {word for rule in rules.values() for word in re.findall(r'"(\w+)"', rule["query"].partition("Name ")[2])}
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
    assert looked_at == {f"App{kind}s" for kind in kept}
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
    for hook in document["hooks"]["prepackage"].values():
        assert hook["run"].startswith("make package PACKAGE_PYTHON=")
    assert re.search(r"^package:.*##", makefile, re.MULTILINE)
    assert re.search(r"^PACKAGE_PYTHON \?=", makefile, re.MULTILINE)
    assert Path(service["project"]) == Path("dist/package")
