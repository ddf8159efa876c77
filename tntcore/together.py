"""Runs coroutines concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Awaits all calls as `asyncio.gather` does, and returns their results. A single one runs in the caller's task: a
    task of its own costs more than many a call.
    """
    if len(calls) == 1:
        return [await calls[0]]
    return await asyncio.gather(*calls)
