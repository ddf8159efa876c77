"""Runs a visit of a page in a headless Chromium: a script of Node.js that prints what it saw, as JSON."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from devtools import npm
from devtools.browser import install
from tests.commands import run_json

PATIENCE = 600  # seconds; a busy machine takes minutes


async def visit(script: Path, *arguments: str) -> Any:
    await asyncio.to_thread(install)
    command = [npm.find_node("The browser"), str(script), *arguments]
    return await run_json(*command, seconds=PATIENCE)
