"""Clients that generators make of the API's description: each calls the running service 30 times and more."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

from devtools import clients, npm
from tests.commands import run_json
from tests.stack import Stack

HERE = Path(__file__).parent
PATIENCE = 120  # seconds
SEEN = {"contents": ["Hello", "Hello"], "refused": "urn:tnt:problem:contact-unknown"}
# Pictures, pages and the like: that a generator makes no type of them is no loss.
_BINARY = re.compile(r"Unsupported content_type (\*/\*|image/|text/|application/(vc|did|vnd))")


async def _description(stack: Stack, folder: Path, name: str = "openapi.json") -> Path:
    answer = await stack.call("GET", name)
    path = folder / "openapi.json"
    path.write_bytes(answer.body)
    return path


async def _run(*command: str, **environ: str) -> Any:
    return await run_json(*command, seconds=PATIENCE, env={**os.environ, **environ})


async def test_a_python_client(stack: Stack, tmp_path: Path) -> None:
    description = await _description(stack, tmp_path)
    said = await asyncio.to_thread(clients.python_client, description, tmp_path / "tntclient")
    assert "Unable to process" not in said, said
    warnings = re.findall(r"^Cannot parse .*$", said, re.MULTILINE)
    assert [warning for warning in warnings if not _BINARY.search(warning)] == []
    key = stack.operator["tnt_operator_key"]
    script = str(HERE / "use_python.py")
    assert await _run(sys.executable, script, stack.url, key, PYTHONPATH=str(tmp_path)) == SEEN


async def test_a_typescript_client(stack: Stack, tmp_path: Path) -> None:
    await asyncio.to_thread(clients.install)
    description = await _description(stack, tmp_path)
    script = await asyncio.to_thread(clients.typescript_client, description, tmp_path, HERE / "use_typescript.ts")
    assert await _run(npm.find_node("The client"), str(script), stack.url, stack.operator["tnt_operator_key"]) == SEEN
