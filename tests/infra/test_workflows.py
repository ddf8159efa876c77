"""What GitHub runs, and the container to work in: that they name what is there."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from devtools.requirements import ROOT

WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_checks_and_deployment_are_apart() -> None:
    # azd looks for the second by this name.
    assert WORKFLOWS.keys() == {"checks.yml", "azure-dev.yml"}
    checks, deploy = WORKFLOWS["checks.yml"], WORKFLOWS["azure-dev.yml"]
    assert checks["permissions"] == {"contents": "read"}
    assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
    # YAML's `on` is a boolean.
    assert deploy[True]["workflow_run"]["workflows"] == [checks["name"]]
    assert "bash .ci/run" in [step.get("run") for step in steps(checks)]
    assert not [step for step in steps(checks) if "azd" in step.get("run", "")]


def test_the_cloud_is_opened_without_a_stored_secret() -> None:
    for name in WORKFLOWS:
        text = (ROOT / ".github" / "workflows" / name).read_text()
        # Only what the smoke test registers its tenants with.
        assert set(re.findall(r"secrets\.(\w+)", text)) <= {"OPERATOR_KEY"}
        # What others wrote is never a part of a script.
        for step in steps(WORKFLOWS[name]):
            assert "${{" not in step.get("run", ""), step


def test_what_runs_is_here() -> None:
    for name, workflow in WORKFLOWS.items():
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 90
            assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
        for step in steps(workflow):
            for path in re.findall(r"[\w.]*/?infra/[\w./]+?(?=[\s*]|$)", step.get("run", "")):
                assert (ROOT / path).exists(), (name, path)
            assert re.fullmatch(r"[\w./-]+@v\d+", step.get("uses", "x/y@v1"))


def test_the_container_has_the_versions_that_the_project_takes() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    versions = re.search(r'requires-python = ">=(\d+\.\d+),<(\d+\.\d+)"', (ROOT / "pyproject.toml").read_text())
    used = re.search(r"python:(\d+\.\d+)-", container["image"])
    assert versions
    assert used
    number = [tuple(int(part) for part in text.split(".")) for text in (versions[1], used[1], versions[2])]
    assert number[0] <= number[1] < number[2]
    assert container["postCreateCommand"] == "make install"
    [node] = [each["version"] for name, each in container["features"].items() if "/node:" in name]
    engines = json.loads((ROOT / "devtools" / "package.json").read_text())["engines"]["node"]
    assert int(node) >= int(engines.removeprefix(">="))
