"""Who is called how patiently, so that one slow or dead receiver does not hold back the others.

A host handles so many queue messages at a time, and each is done when its slowest call is. So calls that take long are
let go: they go on, but the queue message is done with, after another was put that makes up for them should this process
end. Whoever has many calls under way that were let go gets no more for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tntcore.caching import SharedCache
from tntcore.delivery.outbox import Item

log = logging.getLogger(__name__)

PATIENCE: Final = 2.0  # seconds that a queue message waits for its calls
_IMPATIENCE: Final = 0.25  # where the receiver was slow lately
_SLOW_FOR: Final = 60.0  # seconds that a receiver counts as slow since it was
_MAX_SLOW = 10_000
_MAX_OF_ONE = 32  # calls of one receiver that are under way although they were let go
_MAX_ALL = 512
INSURANCE: Final = 60  # seconds in which an attempt is over
_BUSY: Final = 30  # seconds, and up to as many more, until a receiver that has too many calls under way is called again


class Lanes:
    """
    Args:
        endpoint: names the receiver of an item.
    """

    def __init__(self, endpoint: Callable[[Item], str]) -> None:
        self.endpoint = endpoint
        self._slow: SharedCache[bool] = SharedCache(time.monotonic, _MAX_SLOW)
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._count: Counter[str] = Counter()

    def mark_slow(self, item: Item) -> None:
        """That the receiver gave no answer, or none soon."""
        self._slow.put(self.endpoint(item), True, _SLOW_FOR)

    def busy_for(self, endpoint: str, random: float) -> int:
        """Seconds until the receiver may be called again; 0 if it may now. `random`: from 0 up to 1."""
        if self._count[endpoint] < _MAX_OF_ONE and len(self._under_way) < _MAX_ALL:
            return 0
        return round(_BUSY * (1 + random)) if self._slow.peek(endpoint) else 0

    def slow_among(self, groups: Mapping[str, list[Item]]) -> list[str]:
        """Those of several receivers that the others should not wait for."""
        return [endpoint for endpoint in groups if self._slow.peek(endpoint)] if len(groups) > 1 else []

    def patience(self, items: Iterable[Item]) -> float:
        """Seconds to wait for the calls."""
        return _IMPATIENCE if any(self._slow.peek(self.endpoint(item)) for item in items) else PATIENCE

    def may_let_go(self) -> bool:
        return len(self._under_way) < _MAX_ALL

    def let_go(self, task: asyncio.Task[None], item: Item) -> None:
        """The task goes on by itself."""
        endpoint = self.endpoint(item)
        self.mark_slow(item)
        self._under_way[task] = endpoint
        self._count[endpoint] += 1
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        endpoint = self._under_way.pop(task)
        self._count[endpoint] -= 1
        if not self._count[endpoint]:
            del self._count[endpoint]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("the outcome of an attempt could not be written down: it is made again", exc_info=error)

    async def close(self) -> None:
        """Breaks off what goes on; it is made again by the queue messages put for that."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def by_endpoint(lanes: Lanes, items: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(lanes.endpoint(item), []).append(item)
    return groups
