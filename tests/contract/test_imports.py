"""What a process loads before it can answer: the rest is loaded by who first needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT

LATER = {
    "anoncreds",
    "authlib",
    "azure.identity",
    "azure.keyvault",
    "azure.monitor",
    "azure.storage.blob",
    "didcomm",
    "msal",
    "opentelemetry",
    "pydantic",
    "pydid",
}


def loaded(code: str, folder: Path) -> set[str]:
    """Names of the modules that there are after `code`, and of the packages that they are in."""
    settings = {
        "PATH": os.environ["PATH"],
        "AzureWebJobsStorage": "DefaultEndpointsProtocol=https;AccountName=none;AccountKey=bm9uZQ==",
        "TNT_PUBLIC_URL": "https://service.example",
        "TNT_MASTER_KEY_FILE": str(folder / "keys.json"),
    }
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    names = told.stdout.split()
    return {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2, 3)}


def test_what_is_not_needed_at_the_start_is_not_loaded(tmp_path: Path) -> None:
    found = loaded("import function_app", tmp_path)
    assert {"azure.functions", "azure.data.tables", "aiohttp"} <= found
    assert found & LATER == set()


def test_what_messages_may_need_is_loaded_beside_them(tmp_path: Path) -> None:
    code = "import function_app; from tntcore import process; process._load()"
    assert {"authlib", "didcomm"} <= loaded(code, tmp_path)
