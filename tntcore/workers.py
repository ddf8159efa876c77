"""Worker processes for long computations, so that messages do not wait for them."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TypeVar, cast

from tntcore.shares import Busy, Shares, Used, current_budget, party

T = TypeVar("T")
_TRIES = 3
_LITTLE = 2.0  # seconds of computing, lately
_NICENESS, _LONG_NICENESS = 4, 19
_STALLED = 1.0  # seconds without a processor; fewer are no reason for a task to be late
_MEMORY = 512 * 1024 * 1024  # bytes that a process may allocate; a credential of 12,000 claims needs 51 MiB
_KEPT = 256 * 1024 * 1024  # bytes; a process that keeps more after a task is ended
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _yield_processor(*, yields: bool) -> None:
    """Lets messages go before the process's computations, and quick ones before long ones (`yields`)."""
    if yields and sys.platform == "linux":
        # Unlike a nice process, this one never keeps a message from a processor: it counts as idle (sched(7)).
        with suppress(OSError):  # a sandbox may know only the usual policy
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(_LONG_NICENESS if yields else _NICENESS)


def _set_up_child(yields: bool) -> None:
    _yield_processor(yields=yields)
    # A terminal's Ctrl-C reaches these processes, too. The service decides when they end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # So does a platform's SIGTERM: the service may still want the results.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Without these two, it would wait for tasks for ever if its parent died.
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        # This ends the worker whatever it computes. The parent is the thread that started it: the event loop's.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _timed(function: Callable[..., T], *args: object) -> tuple[T | None, Exception | None, float, int]:
    """Runs in the worker process. Returns the function's result or exception, the seconds of CPU that it took, and the
    bytes of memory that the process has now.
    """
    began = time.process_time()
    result: T | None = None
    raised: Exception | None = None
    try:
        result = function(*args)
    except Exception as error:  # noqa: BLE001  it is raised again where the result is awaited
        raised = error.with_traceback(None)  # the traceback keeps what the function had made
    return result, raised, time.process_time() - began, _resident()


def _resident() -> int:
    """Returns the bytes of memory that this process has (statm in proc(5)); 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class TooLongError(Exception):
    """A computation was ended: see `within`."""


def within(seconds: float, function: Callable[..., T], *args: object) -> T:
    """Runs `function` in a process of `Workers` with a limit on processor time, and returns its result. The process
    survives.

    Raises:
        TooLongError: it took longer. `re`, too, reacts to signals while it searches.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return function(*args)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class WorkTimeout(Exception):
    """A computation took too long or needed too much memory, or its message had used up its time."""


class _Kind:
    """Processes for computations that are likely to be quick, or to take long, and places for those who want them.

    Args:
        yields: the processes run only where nothing else does.
    """

    def __init__(self, places: int, *, yields: bool) -> None:
        self.places = Shares(places)
        self.yields = yields
        self.idle: list[ProcessPoolExecutor] = []


class Workers:
    """A pool of processes, each started when it is first needed. A task that takes too long costs only its own process.

    Each party (`shares.party`) has a share of the processes and waits for its turn. A tenant that needed little lately
    does not wait behind one that needed much: there are as many processes again for such tenants, and they go first.

    Args:
        processes: how many of each kind. Default: one per processor, but at least two, so that one is left for others.
        seconds: how long a task may run.
        patience: seconds that a task may wait for a process; None: without limit.
    """

    def __init__(self, processes: int | None = None, seconds: float = 20.0, patience: float | None = None) -> None:
        places = processes or max(os.cpu_count() or 1, 2)
        self._seconds = seconds
        self._patience = patience
        self._quick, self._long = _Kind(places, yields=False), _Kind(places, yields=True)
        self._used = Used()
        self._processes: set[ProcessPoolExecutor] = set()
        self._closed = False

    async def run(self, function: Callable[..., T], *args: object, long: bool = False) -> T:
        """Runs a module's function in another process, and returns or raises its result.

        Args:
            long: it is likely to take long, so it waits behind others like it even if its tenant needed little.

        Raises:
            WorkTimeout: it took too long, needed too much memory, or its process died again and again.
            Busy: no process was free in time, or it got no processor for most of the time.
        """
        for _ in range(_TRIES):
            async with self._place(long) as kind:
                try:
                    return await self._run(kind, function, *args)
                except BrokenProcessPool:
                    # It was ended from outside, or ran out of memory.
                    if self._closed:
                        raise WorkTimeout("the service stops") from None
        raise WorkTimeout("the process that computed something died, again and again")

    def needs_little(self) -> bool:
        """Returns whether the current task's tenant needed little computing lately."""
        return self._used.lately(party().tenant) < _LITTLE

    @asynccontextmanager
    async def _place(self, long: bool) -> AsyncIterator[_Kind]:
        while True:
            kind = self._quick if not long and self.needs_little() else self._long
            async with kind.places.place(*party().holders, patience=self._patience):
                # It may have waited for tasks of its own which took long.
                if kind is self._quick and not self.needs_little():
                    continue
                yield kind
                return

    async def _run(self, kind: _Kind, function: Callable[..., T], *args: object) -> T:
        process = self._free(kind)
        before, stalled = _stalled(process), 0.0
        with current_budget().spending() as left:
            seconds = min(self._seconds, left)
            running = asyncio.get_running_loop().run_in_executor(process, _timed, function, *args)
            try:
                await asyncio.wait([running], timeout=seconds)
                stalled = max(_stalled(process) - before, 0.0)
            finally:
                if running.done() and not isinstance(running.exception(), BrokenProcessPool):
                    if running.exception() is None and running.result()[3] > _KEPT:
                        self._end(process)
                    else:
                        kind.idle.append(process)
                else:
                    # Nobody waits for the error of a process that is killed.
                    running.add_done_callback(lambda late: late.cancelled() or late.exception())
                    self._end(process)
                    self._used.add(party().tenant, max(self._seconds - stalled, 0.0))
        if not running.done():
            if stalled > max(seconds / 2, _STALLED):
                raise Busy
            raise WorkTimeout("a computation took longer than it may")
        result, error, seconds, _ = running.result()
        self._used.add(party().tenant, seconds)
        if isinstance(error, MemoryError):
            raise WorkTimeout("a computation needed more memory than it may") from None
        if error is not None:
            raise error
        return cast(T, result)

    def _free(self, kind: _Kind) -> ProcessPoolExecutor:
        while kind.idle:
            process = kind.idle.pop()
            if not process._broken:
                return process
            self._end(process)  # it died while it had nothing to do
        return self._start(kind)

    def _start(self, kind: _Kind) -> ProcessPoolExecutor:
        # A fork of a process with threads and sockets may hang.
        context = multiprocessing.get_context("spawn")
        process = ProcessPoolExecutor(1, mp_context=context, initializer=_set_up_child, initargs=(kind.yields,))
        self._processes.add(process)
        return process

    def _end(self, process: ProcessPoolExecutor) -> None:
        """Kills the process: a running task cannot be told to stop."""
        self._processes.discard(process)
        _kill(process)
        process.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        self._closed = True
        processes, self._processes = self._processes, set()
        self._quick.idle.clear()
        self._long.idle.clear()
        for process in processes:
            _kill(process)
        for process in processes:
            await asyncio.to_thread(process.shutdown, cancel_futures=True)


def _kill(process: ProcessPoolExecutor) -> None:
    for child in list((process._processes or {}).values()):
        child.kill()


def _stalled(process: ProcessPoolExecutor) -> float:
    """Returns the seconds for which the process could run but got no processor (schedstat in proc(5)); 0 where the
    system does not say.
    """
    try:
        [pid] = process._processes or {}
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
