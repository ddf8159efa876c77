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

from tntcore.shares import Shares, current_budget, party

T = TypeVar("T")
_TRIES = 3


def _end_silently() -> None:
    # A terminal's Ctrl-C reaches these processes, too. It is for the service to say that it ends.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class WorkTimeout(Exception):
    """A computation took longer than it may, or the message that it is for had used up its time."""


class Workers:
    """A pool of processes, each started when it is first needed. A task that takes too long costs its own process only.

    Whoever works on behalf of somebody (`shares.party`) has a share of the processes and waits for its turn.

    Args:
        processes: how many; one for each processor by default, but two at least, so that one is left for others.
        seconds: how long a task may take, from when a process has it.
        patience: seconds that a task may wait for a process; None: as long as it takes.
    """

    def __init__(self, processes: int | None = None, seconds: float = 20.0, patience: float | None = None) -> None:
        places = processes or max(os.cpu_count() or 1, 2)
        self._seconds = seconds
        self._patience = patience
        self._places = Shares(places)
        self._processes: set[ProcessPoolExecutor] = set()
        self._idle: list[ProcessPoolExecutor] = []

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Returns or raises what a function of a module does in another process.

        Raises:
            WorkTimeout: it took longer than it may, or its process died again and again.
            Busy: no process was free in time.
        """
        who = party()
        for _ in range(_TRIES):
            async with self._places.place(who.tenant, f"{who.tenant}/{who.sender}", patience=self._patience):
                try:
                    return await self._run(function, *args)
                except BrokenProcessPool:
                    # It was ended from outside, or ran out of memory.
                    continue
        raise WorkTimeout("the process that computed something died, again and again")

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        process = self._idle.pop() if self._idle else self._start()
        with current_budget().spending() as left:
            running = asyncio.get_running_loop().run_in_executor(process, function, *args)
            try:
                await asyncio.wait([running], timeout=min(self._seconds, left))
            finally:
                if running.done() and not isinstance(running.exception(), BrokenProcessPool):
                    self._idle.append(process)
                else:
                    self._end(process)
        if not running.done():
            running.cancel()
            raise WorkTimeout("a computation took longer than it may")
        return running.result()

    def _start(self) -> ProcessPoolExecutor:
        # A fork of a process with threads and sockets may hang.
        context = multiprocessing.get_context("spawn")
        process = ProcessPoolExecutor(1, mp_context=context, initializer=_end_silently)
        self._processes.add(process)
        return process

    def _end(self, process: ProcessPoolExecutor) -> None:
        """Kills it: a task that runs cannot be told to stop."""
        self._processes.discard(process)
        for child in list((process._processes or {}).values()):
            child.kill()
        process.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        processes, self._processes, self._idle = self._processes, set(), []
        for process in processes:
            await asyncio.to_thread(process.shutdown, cancel_futures=True)
