"""When keys were last used: written down beside the call that used them, and seldom."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from tntcore.storage.commit import Committer, Unit
from tntcore.storage.records import ApiToken, Operator
from tntcore.telemetry import Meter

EVERY: Final = 600_000
"""Milliseconds in which a use of a key is written down once, by each process."""
_AT_ONCE: Final = 20
_REMEMBERED: Final = 10_000


class LastUsed:
    """Writes `lastUsedAt` of keys. What cannot be written is forgotten: no call waits for it, and none fails by it."""

    def __init__(self, committer: Committer, meter: Meter) -> None:
        self._committer = committer
        self._meter = meter
        self._written: OrderedDict[str, int] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def saw(self, partition: str, record: ApiToken | Operator, now: int) -> None:
        """Notes that a key of the partition was used.

        Args:
            now: milliseconds since 1970.
        """
        if now - max(record.last_used_at, self._written.get(record.uuid, 0)) < EVERY or len(self._tasks) >= _AT_ONCE:
            return
        self._written[record.uuid] = now
        self._written.move_to_end(record.uuid)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._write(partition, record.key, now))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def flush(self) -> None:
        """Waits for what is being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self, partition: str, row: str, now: int) -> None:
        unit = Unit()
        unit.merge(row, {"lastUsedAt": now})
        await self._committer.commit(partition, unit)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._meter.count("keys.last-used-lost")
