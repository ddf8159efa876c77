"""Processes for what takes long to compute, so that messages do not wait for it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
_TRIES = 3


def _end_silently() -> None:
    # A terminal's Ctrl-C reaches these processes, too. It is for the service to say that it ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class WorkTimeout(Exception):
    """A computation took longer than it may."""


class Workers:
    """A pool that starts with its first task.

    Args:
        processes: how many; one for each processor by default.
        seconds: how long a task may take.
    """

    def __init__(self, processes: int | None = None, seconds: float = 20.0) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._seconds = seconds
        self._pool: ProcessPoolExecutor | None = None
        # A task that waits for a process is not counted as taking long.
        self._free = asyncio.Semaphore(self._processes)

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """What a function of a module answers or raises in another process.

        Raises:
            WorkTimeout: it took longer than it may, or its process died again and again.
        """
        for _ in range(_TRIES):
            async with self._free:
                pool = self._start()
                try:
                    async with asyncio.timeout(self._seconds):
                        return await asyncio.get_running_loop().run_in_executor(pool, function, *args)
                except TimeoutError:
                    self._abandon(pool)
                    raise WorkTimeout(f"a computation took more than {self._seconds:.0f} seconds") from None
                except BrokenProcessPool:
                    # Another task's process was ended, or ran out of memory, and all of them with it.
                    self._abandon(pool)
        raise WorkTimeout("the process that computed something died, again and again")

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # A fork of a process with threads and sockets may hang.
            self._pool = ProcessPoolExecutor(
                self._processes, mp_context=multiprocessing.get_context("spawn"), initializer=_end_silently
            )
        return self._pool

    def _abandon(self, pool: ProcessPoolExecutor) -> None:
        """Ends the pool's processes: a task that runs cannot be told to stop."""
        if self._pool is pool:
            self._pool = None
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)
