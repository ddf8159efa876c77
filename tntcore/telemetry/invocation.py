"""The invocation that a log line belongs to.

The Functions host keeps a line only if its task belongs to an invocation that still runs. It drops lines logged by a
thread, by a callback, or by a task that outlives its invocation. This module keeps such lines and logs them at the end
of the next invocation, whichever that is.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from tntcore.telemetry.spans import current

MAX_KEPT: Final = 200  # lines that wait in each process; further ones are counted only
# The host keeps the worker's own lines with or without an invocation.
_WORKERS_OWN: Final = ("azure_functions_worker", "azure.functions")


class _Invocation:
    running = True


_current: ContextVar[_Invocation | None] = ContextVar("invocation", default=None)


def in_invocation() -> bool:
    """Returns whether the host keeps a line that is logged now."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        return False
    invocation = _current.get()
    return task is not None and invocation is not None and invocation.running


class LateLines(logging.Filter):
    """Keeps a handler's records that belong to no running invocation. A filter of that handler.

    Args:
        handler: the handler that gets the records later.
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler
        self._kept: deque[logging.LogRecord] = deque()
        self._lost = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if in_invocation() or record.name.startswith(_WORKERS_OWN):
            return True
        if len(self._kept) < MAX_KEPT:
            self._kept.append(_detached(record))
        else:
            self._lost += 1
        return False

    def say(self) -> None:
        """Passes the kept records to the handler. Call it within an invocation."""
        while self._kept:
            self._handler.handle(self._kept.popleft())
        if self._lost:
            lost, self._lost = self._lost, 0
            text = "%d more log lines came outside of an invocation and are lost"
            self._handler.handle(
                logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (lost,), exc_info=None)
            )


def _detached(record: logging.LogRecord) -> logging.LogRecord:
    """Returns the record as text: without arguments and frames, which may hold a message's plaintext in memory."""
    kept = copy.copy(record)
    kept.msg, kept.args = record.getMessage(), None
    if record.exc_info and record.exc_info[0] is not None:
        kept.exc_text = logging.Formatter().formatException(record.exc_info)
        kept.exc_info = None
        kept.code = getattr(record, "code", record.exc_info[0].__name__)
    kept.span = current()
    return kept


_late: list[LateLines] = []


def keep_late_lines() -> None:
    """Makes every handler of the root logger keep the lines that the host would drop."""
    for handler in logging.getLogger().handlers:
        late = LateLines(handler)
        handler.addFilter(late)
        _late.append(late)


@contextmanager
def invocation() -> Iterator[None]:
    """Encloses one call of a function of the app."""
    now = _Invocation()
    token = _current.set(now)
    try:
        yield
    finally:
        for late in _late:
            late.say()
        now.running = False
        _current.reset(token)
