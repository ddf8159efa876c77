"""Runs a command and waits for its end; it does not outlive the test."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from typing import Any

import orjson


async def run(*command: str, seconds: float, **more: Any) -> tuple[int | None, bytes, bytes]:
    """Returns the exit code and what was printed: output and errors.

    Args:
        more: arguments of `asyncio.create_subprocess_exec`.
    """
    running = await asyncio.create_subprocess_exec(*command, **{"stdout": PIPE, "stderr": PIPE, **more})
    try:
        async with asyncio.timeout(seconds):
            output, errors = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    return running.returncode, output, errors


async def run_json(*command: str, seconds: float, **more: Any) -> Any:
    """Returns the JSON that a command printed, which must succeed."""
    code, output, errors = await run(*command, seconds=seconds, **more)
    assert code == 0, errors.decode()[-5000:]
    return orjson.loads(output)
