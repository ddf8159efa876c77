"""Runs coroutines concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Awaits all calls, and returns their results; raises the first error only when all are over. A single one runs in
    the caller's task: a task of its own costs more than many a call.
    """
    if len(calls) == 1:
        return [await calls[0]]
    results: list[T] = []
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results
