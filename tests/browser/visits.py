"""Runs a visit of a page in a headless Chromium: a script of Node.js that prints what it saw, as JSON."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import orjson

from devtools import npm
from devtools.browser import install

PATIENCE = 600  # seconds; a busy machine takes minutes


async def visit(script: Path, *arguments: str) -> Any:
    await asyncio.to_thread(install)
    command = [npm.find_node("The browser"), str(script), *arguments]
    running = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(PATIENCE):
            said, complained = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 0, complained.decode()[-5000:]
    return orjson.loads(said)
