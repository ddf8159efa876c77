"""Log records as the real worker and the real host treat them.

The worker names the invocation of each record: of the task that logs it, which a task hands down to those it makes
(`ContextEnabledTask` in the worker's dispatcher), or of the thread that runs a plain function. The host throws away a
record of no invocation, and of one that is over.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

_of_thread = threading.local()


class InvocationTask(asyncio.Task[Any]):
    """A task that knows its invocation: that of the task by which it was made."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(coro, loop=loop, **options)
        self.invocation = getattr(asyncio.current_task(loop), "invocation", None)


def make_task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> InvocationTask:
    """The task factory of the worker's event loop."""
    return InvocationTask(coro, loop=loop, **options)


def _current() -> object:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return getattr(task, "invocation", None) or getattr(_of_thread, "invocation", None)


class WorkerLog(logging.Handler):
    """Counts what the host takes and what it throws away, by logger.

    Args:
        shown: gets the records that the host takes.
    """

    def __init__(self, shown: logging.Handler | None = None) -> None:
        super().__init__()
        self.taken: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._shown = shown
        self._running: set[object] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if _current() not in self._running:
            self.dropped[record.name] += 1
            return
        self.taken[record.name] += 1
        if self._shown is not None:
            # The form is set on the handler that the app finds at the root logger.
            self._shown.setFormatter(self.formatter)
            self._shown.handle(record)

    @contextmanager
    def invocation(self) -> Iterator[Callable[[], None]]:
        """Encloses an invocation, in its task. Gives what a thread calls that runs it."""
        now = object()
        task = asyncio.current_task()
        outer = getattr(task, "invocation", None)
        self._running.add(now)
        if isinstance(task, InvocationTask):
            task.invocation = now
        try:
            yield lambda: setattr(_of_thread, "invocation", now)
        finally:
            self._running.remove(now)
            if isinstance(task, InvocationTask):
                task.invocation = outer
