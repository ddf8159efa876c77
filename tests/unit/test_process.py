"""What the import of the function app does to a process that belongs to the worker."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from tests.stack import ROOT
from tntcore.config import ConfigError
from tntcore.process import _read_settings
from tntcore.telemetry import logs

# As the worker's `dispatch_forever` leaves logging, and what it says after the app was imported.
LEVELS = """
import json, logging, os
root = logging.getLogger()
root.setLevel(logging.DEBUG if os.environ.get("PYTHON_ENABLE_DEBUG_LOGGING") else logging.INFO)
logging.getLogger("azure_functions_worker").setLevel(logging.INFO)
root.addHandler(logging.StreamHandler())
import function_app
names = ("tntcore.delivery.relay", "azure.core.pipeline.policies.http_logging_policy", "azure_functions_worker",
    "azure.functions", "aiohttp.client", "urllib3", "opentelemetry", "asyncio", "of.a.library")
print(json.dumps({name: logging.getLogger(name).getEffectiveLevel() for name in names}))
"""


def imported(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_libraries_say_only_what_is_wrong() -> None:
    levels = json.loads(imported(LEVELS).stdout)
    assert levels.pop("tntcore.delivery.relay") == logging.INFO
    assert set(levels.values()) == {logging.WARNING}, levels


@pytest.mark.parametrize("value", ["1", "true", " Yes"])
def test_an_operator_may_want_to_know_all(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    logs.set_levels({"PYTHON_ENABLE_DEBUG_LOGGING": value})
    assert logging.getLogger().level == logging.DEBUG


def test_settings_that_cannot_be_used_are_one_error_at_import() -> None:
    done = imported("import function_app", TNT_PUBLIC_URL="", TNT_KEY_RATE="many", TNT_ALLOW_HTTP="yes")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("tntcore.config.ConfigError: 3 settings cannot be used: (1) TNT_PUBLIC_URL")
    assert "TNT_KEY_RATE" in last
    assert "TNT_ALLOW_HTTP" in last


def test_files_and_modules_that_settings_name_are_looked_at() -> None:
    settings = {
        "TNT_MASTER_KEY_FILE": str(ROOT / "README.md"),
        "TNT_CONTEXTS": str(ROOT / "no-such-folder"),
        "TNT_ANONCREDS_REGISTRIES": "no.such:thing, json:no_such, tests.interop.file_ledger:open_registry",
        "TNT_DID_METHODS": "json:no_method",
    }
    with pytest.raises(ConfigError) as caught:
        _read_settings({**os.environ, **settings})
    file, folder, module, factory, method = caught.value.problems
    assert file.startswith("TNT_MASTER_KEY_FILE: ")
    assert folder.startswith("TNT_CONTEXTS: ")
    assert "no.such:thing cannot be loaded: ModuleNotFoundError" in module
    assert method.startswith("TNT_DID_METHODS: json:no_method cannot be loaded: AttributeError")
    assert "json:no_such cannot be loaded: AttributeError" in factory
