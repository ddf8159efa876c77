"""Group commit: each write takes everything that gathered while the last write was under way, in a fair order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_MOST = 1_000  # items handed to one write


class Full(Exception):
    """Too many items are waiting. The caller should be told to retry later."""


class Batcher(Generic[T, R]):
    """Hands the items that callers add to `write`, one batch at a time, and returns to each caller its own item's
    result.

    There is no timer: an item added while nothing is under way is written at once, alone; items that arrive meanwhile
    go together. So a batch costs nothing when idle and grows with the load. Items of several groups take turns; those
    of one group stay in their order.

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
        # The group that was served last stands last.
        self._waiting: OrderedDict[str, deque[tuple[T, asyncio.Future[R]]]] = OrderedDict()
        self._count = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self._writer is None and not self._waiting

    async def add(self, item: T, group: str = "") -> R:
        """Returns when the item is written. Raises the error of its write, or `Full`."""
        if self._count >= self._capacity:
            raise Full(f"{self._capacity} items are waiting already")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append((item, future))
        self._count += 1
        if self._writer is None:
            self._writer = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = list(islice(self._in_turn(), _MOST))
                try:
                    results = await self._write([item for item, _, _ in batch])
                except Exception as error:  # noqa: BLE001 - handed to each caller, none is swallowed
                    results = [error] * len(batch)
                for result, (_, future, group) in zip(results, batch, strict=False):
                    self._served(group)
                    if future.done():  # the caller was cancelled; its item is written all the same
                        continue
                    if isinstance(result, BaseException):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._writer = None
            for waiting in self._waiting.values():  # only when cancelled
                for _, future in waiting:
                    future.cancel()
            self._waiting.clear()
            self._count = 0

    def _in_turn(self) -> Iterator[tuple[T, asyncio.Future[R], str]]:
        """Returns what waits: the first item of each group, then the second of each, and so on."""
        groups: list[tuple[str, Iterator[tuple[T, asyncio.Future[R]]]]]
        groups = [(name, iter(group)) for name, group in self._waiting.items()]
        while groups:
            left = []
            for name, group in groups:
                if (one := next(group, None)) is not None:
                    yield (*one, name)
                    left.append((name, group))
            groups = left

    def _served(self, group: str) -> None:
        waiting = self._waiting[group]
        waiting.popleft()
        self._count -= 1
        if waiting:
            self._waiting.move_to_end(group)
        else:
            del self._waiting[group]
