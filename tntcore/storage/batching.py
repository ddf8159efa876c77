"""Group commit: each write takes everything that gathered while the last write was under way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Full(Exception):
    """Too many items are waiting. The caller should be told to retry later."""


class Batcher(Generic[T, R]):
    """Hands the items that callers add to `write`, one batch at a time, and returns to each caller its own item's
    result.

    There is no timer: an item added while nothing is under way is written at once, alone; items that arrive meanwhile
    go together. So a batch costs nothing when idle and grows with the load.

    Args:
        write: takes the waiting items and returns for the first n of them, n >= 1, one result or exception each; the
            others stay first in line. An exception raised by `write` itself is passed to every caller.
        capacity: how many items may wait.
    """

    def __init__(
        self, write: Callable[[Sequence[T]], Awaitable[Sequence[R | BaseException]]], *, capacity: int = 10_000
    ) -> None:
        self._write = write
        self._capacity = capacity
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self._writer is None and not self._waiting

    async def add(self, item: T) -> R:
        """Returns when the item is written. Raises the error of its write, or `Full`."""
        if len(self._waiting) >= self._capacity:
            raise Full(f"{self._capacity} items are waiting already")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = list(self._waiting)
                try:
                    results = await self._write([item for item, _ in batch])
                except Exception as error:  # noqa: BLE001 - handed to each caller, none is swallowed
                    results = [error] * len(batch)
                for result in results:
                    _, future = self._waiting.popleft()
                    if future.done():  # the caller was cancelled; its item is written all the same
                        continue
                    if isinstance(result, BaseException):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._writer = None
            while self._waiting:  # only when cancelled
                self._waiting.popleft()[1].cancel()
