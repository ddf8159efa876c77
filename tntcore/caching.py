"""A bounded cache with expiry, in which concurrent loads of one key share one load. For one event loop."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from zlib import crc32

V = TypeVar("V")
SPREAD = 0.3
"""For caches that many tenants fill at the same moment, as when a process starts."""


class SharedCache(Generic[V]):
    """Args:
    now: a clock in seconds that never goes back, e.g. `time.monotonic`.
    capacity: entries kept; the one used longest ago goes first.
    weigh: returns about how many bytes a key and its value take.
    budget: bytes that all entries may take by `weigh`.
    spread: share of its life that an entry may lose, by its key, so that entries loaded together do not expire
        together.
    """

    def __init__(
        self,
        now: Callable[[], float],
        capacity: int,
        spread: float = 0.0,
        *,
        weigh: Callable[[str, V], int] = lambda _key, _value: 0,
        budget: int = 0,
    ) -> None:
        self._now = now
        self._capacity = capacity
        self._spread = spread
        self._weigh = weigh
        self._budget = budget
        self._weight = 0
        self._entries: OrderedDict[str, tuple[V, float, int]] = OrderedDict()
        self._loading: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> V | None:
        """Returns the cached value, or None if there is none or it has expired. Never waits."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= self._now():
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: str, value: V, ttl: float) -> None:
        """Keeps a value for at most `ttl` seconds (`math.inf`: until evicted; 0 or less: not at all)."""
        if ttl <= 0:
            return
        if self._spread:
            ttl *= 1 - self._spread * crc32(key.encode()) / 2**32
        self._remove(key)
        weight = self._weigh(key, value)
        self._weight += weight
        self._entries[key] = (value, self._now() + ttl, weight)
        while len(self._entries) > self._capacity or self._weight > self._budget:
            self._remove(next(iter(self._entries)))

    def drop(self, key: str) -> None:
        """Removes a key. A load of it under way is not cached either."""
        self._remove(key)
        self._loading.pop(key, None)

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._weight -= entry[2]

    async def get(self, key: str, load: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """Returns the cached value, or calls `load`, which returns the value and the seconds to keep it.

        Raises:
            Any error of `load`, for everyone who waited for it. It is not cached.
        """
        value = self.peek(key)
        if value is not None:
            return value
        task = self._loading.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(key, load))
            # Everyone who waited may have been cancelled: then nobody else looks at the error.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._loading[key] = task
        # One caller that gives up must not take the load away from the others.
        return await asyncio.shield(task)

    async def _load(self, key: str, load: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        current = asyncio.current_task()
        try:
            value, ttl = await load()
            if self._loading.get(key) is current:
                self.put(key, value, ttl)
            return value
        finally:
            if self._loading.get(key) is current:
                del self._loading[key]
