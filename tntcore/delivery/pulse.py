"""Shows in storage that a process lives which may have committed deliveries and not queued them yet.

A row of the `due` table stands from before the first commit until there has been none for a while, and is renewed
meanwhile. If it is there and was not renewed, the process died, and the sweeper queues what was to be queued around
that time (`Sweep.tick`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from tntcore.storage.tables import Table

log = logging.getLogger(__name__)

PROCESS: Final = "process"
"""Begins the keys of these rows, which are in the partition `outbox.UNQUEUED`."""
DEAD_AFTER: Final = 40_000
"""Milliseconds without a renewal after which a process counts as dead."""
_EVERY = 15_000  # milliseconds between two renewals
_IDLE = 30_000  # milliseconds without a commit after which the row is removed


class Pulse:
    """The row of one process.

    Args:
        partition: of the table `due`.
        name: of the process, unlike that of any other.
        now: milliseconds since 1970. sleep: takes seconds.
    """

    def __init__(
        self,
        due: Table,
        partition: str,
        name: str,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._due = due
        self._partition = partition
        self._key = f"{PROCESS}~{name}"
        self._now = now
        self._committed_at = 0
        self._written_at = 0  # 0: there is no row
        self._lock = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    async def beat(self) -> None:
        """Makes sure that the row stands. Called before a commit; a call to storage at most every 15 seconds."""
        self._committed_at = self._now()
        if self._is_fresh:
            return
        async with self._lock:
            if not self._is_fresh:
                await self._write()
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def stop(self, *, finished: bool) -> None:
        """Ends the renewals.

        Args:
            finished: everything is queued, and the row is removed. If that fails, the sweeper looks in vain.
        """
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        if finished:
            with suppress(Exception):
                await self._remove()

    @property
    def _is_fresh(self) -> bool:
        return self._written_at != 0 and abs(self._now() - self._written_at) < _EVERY

    async def _write(self) -> None:
        now = self._now()
        await self._due.put(self._partition, self._key, {"markedAt": now})
        self._written_at = now

    async def _remove(self) -> None:
        async with self._lock:
            if self._written_at:
                self._written_at = 0
                await self._due.delete(self._partition, self._key)

    async def _renew(self) -> None:
        while self._written_at:
            # A little early, so that a commit seldom waits for it.
            await self._sleep(0.8 * _EVERY / 1000)
            try:
                if self._now() - self._committed_at >= _IDLE:
                    await self._remove()
                else:
                    async with self._lock:
                        await self._write()
            except Exception as error:  # noqa: BLE001 - the next one, or the next commit, tries again
                log.warning("this process could not show that it lives: %s", type(error).__name__)
