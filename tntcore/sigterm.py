"""Handles SIGTERM in a process that belongs to another program, such as the Functions worker, which would end at
once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class OnSigterm:
    """Runs an orderly shutdown before SIGTERM has its usual effect in this process.

    Args:
        begin: starts the shutdown, in the main thread and without waiting. It gets a function to call, from any thread,
            when it is finished. The signal then goes to its former handler.
        seconds: after which the process is ended in any case.
    """

    def __init__(self, begin: Callable[[Callable[[], None]], None], seconds: float) -> None:
        self._begin = begin
        self._seconds = seconds
        self._previous: Any = None
        self._begun = self._done = False

    def install(self) -> bool:
        """Installs the handler. Returns whether it could.

        Only the main thread can. An ignored SIGTERM stays ignored, and a handler that was not set from Python cannot be
        called from here.
        """
        if threading.current_thread() is not threading.main_thread():
            return False
        previous = signal.getsignal(signal.SIGTERM)
        if previous is None or previous is signal.SIG_IGN:
            return False
        self._previous = previous
        signal.signal(signal.SIGTERM, self._received)
        return True

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._done:
            self._hand_on(number, frame)
        elif not self._begun:
            self._begun = True
            self._timer = threading.Timer(self._seconds, os._exit, (128 + number,))
            self._timer.daemon = True
            self._timer.start()
            self._begin(self._finished)

    def _finished(self) -> None:
        # A handler can be set in the main thread only, which this may not be: the signal's own handler runs there.
        self._done = True
        os.kill(os.getpid(), signal.SIGTERM)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._previous)
        if callable(self._previous):
            self._timer.cancel()
            self._previous(number, frame)
        else:
            # The timer goes on: the first process of a container does not die of a signal that nobody handles.
            os.kill(os.getpid(), number)
