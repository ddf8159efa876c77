"""Handles messages of a queue in the process that puts them, without waiting for a host that polls its queues
(docs/decisions/0023).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

_MOST = 4  # messages of a queue that are handled at once, side by side
LEASE = 120  # seconds until the host gets a message that this process has not deleted
_AGAIN = 5  # seconds until it gets one that could not be handled; visibilityTimeout in host.json
_END = 0.5  # seconds for giving messages back to the host when the process ends
_TRIED = b',"tried":1}'  # ends a message, which is a JSON object

Handle = Callable[[bytes, int], Awaitable[None]]
"""Handles a message. Takes its body, and how often it was given out."""


@dataclass(frozen=True, slots=True)
class PopReceipt:
    """The receipt of a put (Azure's "pop receipt"). It stands for the message until the host has given that out."""

    message: str
    pop: str


class Stored(Protocol):
    """A queue, as the service stores it."""

    name: str

    async def store(self, body: bytes, delay: int) -> PopReceipt: ...
    async def delete(self, receipt: PopReceipt) -> None: ...
    async def show(self, receipt: PopReceipt, delay: int) -> None: ...


def as_tried(body: bytes) -> bytes:
    """Returns the queue message as it is stored. It says that it was tried, since the host would give it out as new."""
    return body if body.endswith(_TRIED) else body[:-1] + _TRIED


def tries_of(body: bytes, dequeue_count: int) -> int:
    """Returns how often the message was tried: as the host gave it out, and before that by the process that put it."""
    return dequeue_count + body.endswith(_TRIED)


class AtOnce:
    """Handles messages as soon as they are put, while the process has little else to do: it handles fewer than `_MOST`
    of these, and none that the host gave out. A message is put first, and the host does not see it for `LEASE` seconds,
    so it is not lost.

    Args:
        handle: what the queue's function calls; it encloses its work in `handling`.
    """

    def __init__(self, queue: Stored, handle: Handle) -> None:
        self._queue = queue
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = _MOST
        self._handled = self._own = 0  # messages in work: all, and those that the host did not give out
        self._stopped = False

    def may_take(self) -> bool:
        """Whether the process has little else to do."""
        return self._places > 0 and self._handled == self._own and not self._stopped

    def stop(self) -> None:
        """From now on, what is put is the host's."""
        self._stopped = True

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Encloses the work for any message, also for one that the host gave out."""
        self._handled += 1
        try:
            yield
        finally:
            self._handled -= 1

    async def put(self, body: bytes) -> None:
        """Returns when the message is stored. It is handled after that."""
        self._places -= 1
        try:
            receipt = await self._queue.store(as_tried(body), LEASE)
        except BaseException:
            self._places += 1
            raise
        # The task takes over nothing of its caller: neither the trace nor the party.
        task = asyncio.get_running_loop().create_task(self._run(body, receipt), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._places += 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a message of queue %s stays there for its host", self._queue.name, exc_info=error)

    async def _run(self, body: bytes, receipt: PopReceipt) -> None:
        try:
            self._own += 1
            try:
                await self._handle(body, 1)
            finally:
                self._own -= 1
        except (Exception, asyncio.CancelledError) as error:
            # Cancelled: the process ends, or something that the work waits for was cancelled.
            log.warning("a message goes back to queue %s", self._queue.name, exc_info=error)
            await self._queue.show(receipt, _AGAIN)
        else:
            await self._queue.delete(receipt)

    async def settle(self) -> None:
        """Returns when none is being handled."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> bool:
        """Cuts off what is being handled, which goes back to the host. Returns whether there was nothing."""
        self.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END)
        return not tasks
