"""What a process loads before it can answer: the rest is loaded by who first needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT

AT_ONCE = {
    # Triggers, bindings and storage, and what they need. The worker loads the first in any case.
    *("azure.functions", "isodate", "markupsafe", "werkzeug"),
    *("azure.core", "azure.data.tables", "azure.storage.queue"),
    *("certifi", "charset_normalizer", "idna", "requests", "typing_extensions", "urllib3"),
    *("aiohappyeyeballs", "aiohttp", "aiosignal", "attr", "frozenlist", "multidict", "propcache", "yarl"),
    # v1 envelopes, keys, JSON, webhooks' expressions.
    *("base58", "cryptography", "nacl", "orjson", "re2"),
}
"""All packages that a process loads before it answers. Another one makes each start slower: it needs a reason."""

AFTERWARDS = {"authlib", "azure.storage.blob", "didcomm", "jsonpath_ng", "jsonschema", "openvc", "pyld"}
"""What messages may need, among them the first v2 envelope and the first credential."""

AT_START = "import function_app"
FIRST_ANSWER = """
import asyncio, function_app
from tntcore.api.http import Request
request = Request("GET", "contact", {}, {}, b"", "https://service.example/api/contact")
assert asyncio.run(function_app.service.http(request, ["tenant"])).status == 401
"""
LOADED = "import function_app; from tntcore import process; process._load()"


def loaded(code: str, folder: Path) -> set[str]:
    """Names of the packages, and of the parts of `azure`, that `code` loads."""
    settings = {
        "PATH": os.environ["PATH"],
        "AzureWebJobsStorage": "DefaultEndpointsProtocol=https;AccountName=none;AccountKey=bm9uZQ==",
        "TNT_PUBLIC_URL": "https://service.example",
        "TNT_MASTER_KEY_FILE": str(folder / "keys.json"),
    }
    told = subprocess.run(
        [sys.executable, "-c", f"import sys; before = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    names = {package(name) for name in told.stdout.split()}
    return {name for name in names if name and name not in sys.stdlib_module_names} - {"function_app", "tntcore"}


def package(module: str) -> str:
    """ "" for what is no package's own: compiled parts beside it, and `azure` itself."""
    parts = module.split(".")
    if parts[0] != "azure":
        return "" if parts[0].startswith("_") or parts[0] == "cython_runtime" else parts[0]
    deep = 3 if parts[1:2] in (["data"], ["storage"]) else 2
    return ".".join(parts[:deep]) if len(parts) >= deep else ""


@pytest.mark.parametrize("code", [AT_START, FIRST_ANSWER], ids=["start", "first answer"])
def test_what_is_not_needed_at_once_is_not_loaded(code: str, tmp_path: Path) -> None:
    found = loaded(code, tmp_path)
    assert {"azure.functions", "azure.data.tables", "aiohttp"} <= found
    assert found - AT_ONCE == set()


def test_what_messages_may_need_is_loaded_beside_them(tmp_path: Path) -> None:
    assert loaded(LOADED, tmp_path) >= AFTERWARDS
