"""infra/ against what Azure takes: tests/infra/facts has what its pages say, and where each fact is from.

A property or a version that is not there yet is looked up on the page of its type, and written down, before it is used.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest

import function_app
from devtools.host.functions import load
from tests.infra.bicep import INFRA, files
from tests.infra.shapes import Property, properties, read, resources

FACTS = Path(__file__).parent / "facts"
TYPES: dict[str, Any] = json.loads((FACTS / "types.json").read_text())
ROLES: dict[str, str] = json.loads((FACTS / "roles.json").read_text())["roles"]
PLATFORM: dict[str, Any] = json.loads((FACTS / "platform.json").read_text())
PATHS = sorted(INFRA.rglob("*.bicep"))
GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def problems(found: list[Property]) -> list[str]:
    """Returns what Azure would refuse or ignore, as far as the text of the file shows it."""
    said = []
    for each in found:
        facts = TYPES["types"].get(each.resource)
        where = f"line {each.line}: {each.resource} {each.path}"
        if facts is None:
            said.append(f"{where}: no such type and version")
            continue
        if each.path in TYPES["previews"]:
            continue
        known = expected(facts["properties"], each.path)
        if known is None:
            said.append(f"{where}: no such property")
        elif isinstance(known, list):
            if each.kind not in ("string", "expression") or (each.text is not None and each.text not in known):
                said.append(f"{where}: {each.text!r} is none of {known}")
        elif known != "any" and each.kind not in (known, "expression"):
            said.append(f"{where}: {each.kind} in place of {known}")
    for resource in {each.resource for each in found}:
        paths = {each.path for each in found if each.resource == resource}
        for path in TYPES["types"].get(resource, {"required": []})["required"]:
            above = path.rpartition(".")[0]
            if path not in paths and (not above or above in paths):
                said.append(f"{resource}: {path} is missing")
    return said


def expected(known: dict[str, Any], path: str) -> Any:
    """Returns what a property has to be, or None. Names in a dictionary are `*` there."""
    if path in known:
        return known[path]
    for pattern, kind in known.items():
        if "*" in pattern and re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.\[\]]+"), path):
            return kind
    return None


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_azure_knows_every_type_version_property_and_value(path: Path) -> None:
    assert problems(read(path)) == []
    assert {name for name, _ in resources(path.read_bytes())} <= TYPES["types"].keys()


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("Microsoft.Web/serverfarms@2025-03-01", "name: 'x'\n location: l\n propertys: {}", "no such property"),
        ("Microsoft.Web/serverfarms@2021-03-01", "name: 'x'", "no such type"),
        ("Microsoft.Web/serverfarms@2025-03-01", "name: 'x'", "location is missing"),
        ("Microsoft.Web/serverfarms@2025-03-01", "properties: { reserved: 'true' }", "string in place of boolean"),
        ("Microsoft.Web/serverfarms@2025-03-01", "properties: a ? { spot: true } : {}", "no such property"),
        ("Microsoft.KeyVault/vaults/keys@2025-05-01", "properties: { keyOps: ['warp'] }", "'warp' is none of"),
    ],
)
def test_mistakes_are_noticed(kind: str, text: str, problem: str) -> None:
    source = f"resource r '{kind}' = {{\n {text}\n}}\n"
    assert problem in " ".join(problems(list(properties(source.encode()))))


def test_every_role_is_a_role() -> None:
    named = {path.name: set(GUID.findall(path.read_text())) for path in PATHS if "roleAssignments" in path.read_text()}
    assert named.keys() == {"access.bicep", "operators.bicep"}
    assert set().union(*named.values()) <= set(ROLES.values())
    # Beside each id stands what it is.
    for name in named:
        for line in (INFRA / "app" / name).read_text().splitlines():
            for guid in GUID.findall(line):
                [role] = [role for role, known in ROLES.items() if known == guid]
                squeezed = role.replace(" ", "").lower()
                assert squeezed in re.sub(r"[^a-z]", "", line.lower()), line


def test_no_version_of_the_api_is_older_than_what_the_linter_lets_pass() -> None:
    """The linter takes what is two years old, or the newest there is."""
    newest_known = {
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.Insights/actionGroups",
        "Microsoft.Insights/components",
        "Microsoft.Insights/diagnosticSettings",
        "Microsoft.Insights/webtests",
        "Microsoft.Insights/workbooks",
    }
    for path in PATHS:
        for name, _ in resources(path.read_bytes()):
            kind, _, version = name.partition("@")
            if kind not in newest_known:
                assert datetime.date.fromisoformat(version) > datetime.date(2024, 5, 1), name


def test_the_linters_rules_are_rules() -> None:
    config = json.loads((INFRA / "bicepconfig.json").read_text())
    rules = config["analyzers"]["core"]["rules"]
    assert rules.keys() <= set(PLATFORM["linterRules"]["names"])
    assert {rule["level"] for rule in rules.values()} <= {"off", "info", "warning", "error"}
    assert "use-recent-api-versions" in rules


def test_logs_and_metrics_that_are_kept_have_these_names() -> None:
    known = PLATFORM["diagnosticCategories"]
    seen = set()
    for path, file in files().items():
        owners = {name: each["type"] for name, each in file.resources.items()}
        for each in file.of_type("Microsoft.Insights/diagnosticSettings"):
            kept = each["properties"].get("logs", []) + each["properties"].get("metrics", [])
            assert kept, path
            kind = owners[each["scope"]]
            seen.add(kind)
            for one in kept:
                assert (one.get("category") or one["categoryGroup"]) in known[kind], (path, one)
    assert seen == known.keys() - {"source"}


def test_metrics_that_alerts_look_at_exist() -> None:
    rules = files()["app/alerts.bicep"].variables["metrics"]["value"]
    assert {rule["namespace"] for rule in rules} == {"Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"}
    for rule in rules:
        metric = PLATFORM["metrics"][rule["namespace"]][rule["metric"]]
        assert rule["aggregation"] in metric["aggregations"]
        assert set(rule["values"]) <= set(metric[rule["dimension"]])


def test_places_of_the_availability_tests_exist_and_can_fail() -> None:
    tests = files()["app/availability.bicep"].variables["tests"]["value"]
    for test in tests:
        assert {place["Id"] for place in test["places"]} <= set(PLATFORM["webTestLocations"]["ids"])
        assert 0 < test["failed"] <= len(test["places"])
        assert 1 <= test["daysLeft"] <= 365


def test_queries_read_tables_and_columns_that_exist() -> None:
    known = {name: set(columns) for name, columns in PLATFORM["logTables"].items() if name != "source"}
    queries = [rule["query"] for rule in files()["app/alerts.bicep"].variables["rules"]["value"]]
    queries += [
        item["content"]["query"]
        for item in json.loads((INFRA / "app" / "workbook.json").read_text())["items"]
        if item["type"] == 3
    ]
    for query in queries:
        table, _, rest = query.partition(" ")
        unquoted = re.sub(r'"[^"]*"', "", rest)
        # Columns begin with a capital; what a query calls its own results does not.
        assert set(re.findall(r"\b[A-Z]\w+", unquoted)) <= known[table], query
    operations = re.findall(r'"(\w+GridNotification)"', " ".join(queries))
    assert operations
    assert set(operations) <= set(PLATFORM["vaultOperations"]["names"])


def test_instances_are_kept_ready_for_functions_that_there_are() -> None:
    named = re.findall(r"name: '([\w:]+)', instanceCount", (INFRA / "app" / "function.bicep").read_text())
    functions = {name.removeprefix(PLATFORM["alwaysReady"]["prefix"]) for name in named if ":" in name}
    assert {name for name in named if ":" not in name} == {"http"} <= set(PLATFORM["alwaysReady"]["groups"])
    queues = {each.name for each in load(function_app.app) if each.kind == "queueTrigger"}
    assert functions == {name for name in queues if not name.endswith("_poison")}


def test_other_names_of_the_platform() -> None:
    function = (INFRA / "app" / "function.bicep").read_text()
    tags = re.findall(r"ipAddress: '(\w+\.\w+)'", function)
    assert set(tags) <= set(PLATFORM["serviceTags"]["names"])
    edge = (INFRA / "app" / "edge.bicep").read_text()
    found = re.search(r"ruleSetType: '(\w+)'\s+ruleSetVersion: '([\d.]+)'", edge)
    assert found
    assert found[2] in PLATFORM["managedRuleSets"][found[1]]
    [allowed] = files()["main.bicep"].parameters["pythonVersion"]["decorators"]
    assert set(allowed["argument"]) <= set(PLATFORM["flexRuntimes"]["python"])
