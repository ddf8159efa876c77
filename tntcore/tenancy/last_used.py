"""Records when keys were last used: in the background of the call, and not at every use."""

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
    """Writes `lastUsedAt` of keys. No call waits for it or fails by it: an update that cannot be written is written at
    the next use.
    """

    def __init__(self, committer: Committer, meter: Meter) -> None:
        self._committer = committer
        self._meter = meter
        self._written: OrderedDict[str, int] = OrderedDict()
        self._writing: dict[str, asyncio.Task[None]] = {}

    def saw(self, partition: str, record: ApiToken | Operator, now: int) -> None:
        """Notes that a key of the partition was used.

        Args:
            now: milliseconds since 1970.
        """
        last = max(record.last_used_at, self._written.get(record.uuid, 0))
        if now - last < EVERY or record.uuid in self._writing or len(self._writing) >= _AT_ONCE:
            return
        task = asyncio.get_running_loop().create_task(self._write(partition, record, now))
        self._writing[record.uuid] = task
        task.add_done_callback(lambda done: self._done(record.uuid, done))

    async def flush(self) -> None:
        """Waits for pending updates."""
        await asyncio.gather(*self._writing.values(), return_exceptions=True)

    async def _write(self, partition: str, record: ApiToken | Operator, now: int) -> None:
        unit = Unit()
        unit.merge(record.key, {"lastUsedAt": now})
        await self._committer.commit(partition, unit)
        self._written[record.uuid] = now
        self._written.move_to_end(record.uuid)
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _done(self, uuid: str, task: asyncio.Task[None]) -> None:
        del self._writing[uuid]
        if not task.cancelled() and task.exception() is not None:
            self._meter.count("keys.last-used-lost")
