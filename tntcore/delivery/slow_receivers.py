"""Keeps slow or dead receivers from holding back the others.

A host handles a limited number of queue messages at a time, and each is done when its slowest call is. So long calls
are let go: they go on, but their queue message is finished, after another was put that replaces them should this
process end. Each receiver, and each tenant, may have a limited number of calls let go; above it, it gets no more calls
for a while.

The function that committed a delivery makes the first attempt itself where the receiver is likely to answer at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol, TypeVar

from tntcore.caching import SharedCache
from tntcore.shares import Shares

log = logging.getLogger(__name__)

PATIENCE: Final = 2.0  # seconds that a queue message waits for an answer
_CAUTION: Final = 0.75  # if nothing is known of the receiver
_IMPATIENCE: Final = 0.25  # if the receiver was slow lately
_AT_ONCE: Final = 0.25  # seconds that the function that committed waits for an answer
_QUICK: Final = 0.05  # seconds within which an answer delays that function no more than storage does
_PLACES_AT_ONCE = 8  # calls of receivers not known to be that quick, at once; a third of what the host handles at once
_REMEMBERED: Final = 60.0  # seconds for which a receiver counts as slow, or as prompt, after a call
_MAX_RECEIVERS = 10_000
_MAX_OF_ONE = 32  # let-go calls of one receiver that may be under way
_MAX_ALL = 512
INSURANCE: Final = 60  # seconds after which an attempt is over
_BUSY: Final = 30  # seconds, and up to as many more, until a receiver that has too many calls under way is called again


class PendingCall:
    """A call of a receiver that a queue message waits for. The clock runs only while nothing but the answer is missing,
    so that a pause of storage is not taken for a slow receiver.

    Attributes:
        at_once: the function that committed the delivery waits, not a queue message of its own. So what comes before
            the request is limited as well, such as reading a mediator's DID document.
        settled: done when the attempt is over, or there was no answer in time.
        is_late: there was no answer in time.
        sent: the request has its place, and its receiver's time runs.
        over: it was answered, or failed.
    """

    def __init__(self, patience: float, *, at_once: bool = False) -> None:
        self._patience = patience
        self.at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.settled: asyncio.Future[None] = self._loop.create_future()
        self.is_late = False
        self.sent = False
        self.over = False
        if at_once:
            self._start()

    def ends_with(self, task: asyncio.Task[None]) -> None:
        """Makes the end of the task, which makes the call, the end of the attempt."""
        task.add_done_callback(lambda _: self._settle())

    @property
    def is_unsent(self) -> bool:
        """Whether it is late and still waiting for a place, or for less: nothing was sent, and it can be cancelled."""
        return self.is_late and not self.sent and not self.over

    @contextmanager
    def waiting(self) -> Iterator[Callable[[], None]]:
        """Wraps the request. Yields a function to call when it is sent."""
        self.over = self.sent = False
        self._start()
        try:
            yield self._is_sent
        finally:
            self.over = True
            self._stop()

    def _is_sent(self) -> None:
        self.sent = True
        self._start()

    def _start(self) -> None:
        self._stop()
        self._timer = self._loop.call_later(self._patience, self._expire)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.is_late = True
        self._settle()

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)


_CALL: ContextVar[PendingCall | None] = ContextVar("call", default=None)


def watch(call: PendingCall) -> None:
    """Makes this the call of the current task."""
    _CALL.set(call)


@contextmanager
def waiting_for_answer() -> Iterator[Callable[[], None]]:
    """Wraps the request like `PendingCall.waiting`, for the current task's call, if a queue message waits for it."""
    call = _CALL.get()
    if call is None:
        yield lambda: None
        return
    with call.waiting() as is_sent:
        yield is_sent


class Called(Protocol):
    """An item whose receiver is called for a tenant."""

    @property
    def tenant(self) -> str: ...
    @property
    def endpoint(self) -> str: ...


C = TypeVar("C", bound=Called)


class SlowReceivers:
    """Remembers how quickly receivers answered, by the endpoints of items."""

    def __init__(self) -> None:
        self._slow: SharedCache[bool] = SharedCache(time.monotonic, _MAX_RECEIVERS)
        self._prompt: SharedCache[bool] = SharedCache(time.monotonic, _MAX_RECEIVERS)
        # Answered within `_QUICK` the last time; not within `_AT_ONCE`.
        self._quick: SharedCache[bool] = SharedCache(time.monotonic, _MAX_RECEIVERS)
        self._leisurely: SharedCache[bool] = SharedCache(time.monotonic, _MAX_RECEIVERS)
        self._places = Shares(_MAX_ALL)
        self._at_once = Shares(_PLACES_AT_ONCE)
        self._under_way: dict[asyncio.Task[None], Called] = {}

    def mark_slow(self, item: Called) -> None:
        """Remembers that the receiver gave no answer, or a slow one."""
        self._slow.put(item.endpoint, True, _REMEMBERED)
        self._prompt.drop(item.endpoint)
        self._quick.drop(item.endpoint)

    def mark_prompt(self, item: Called, seconds: float) -> None:
        """Remembers that the receiver answered promptly, after `seconds`."""
        self._prompt.put(item.endpoint, True, _REMEMBERED)
        if seconds <= _QUICK:
            self._quick.put(item.endpoint, True, _REMEMBERED)
            return
        self._quick.drop(item.endpoint)
        if seconds > _AT_ONCE:
            self._leisurely.put(item.endpoint, True, _REMEMBERED)

    @contextmanager
    def at_once(self, item: Called) -> Iterator[PendingCall | None]:
        """Wraps a call by the function that committed the delivery. Yields None if the call is for the queue: the
        receiver was slow lately, or others that may be slow have their share of the places.
        """
        endpoint, holders = item.endpoint, (item.endpoint, item.tenant)
        if any(map(self._leisurely.peek, holders)) or self._slow.peek(endpoint) or self.busy_for(item, 0):
            yield None
        elif self._quick.peek(endpoint):
            yield PendingCall(_AT_ONCE, at_once=True)
        elif self._at_once.may_take(*holders):
            self._at_once.take(*holders)
            try:
                yield PendingCall(_AT_ONCE, at_once=True)
            finally:
                self._at_once.give_back(*holders)
        else:
            yield None

    def busy_for(self, item: Called, random: float, *, has_place: bool = True) -> int:
        """Returns the seconds until the item's receiver may be called again; 0 if it may now.

        Args:
            random: from 0 up to 1.
            has_place: the request would have its place at once. If not, a slow receiver's would hardly get one in the
                time that is waited for such a receiver.
        """
        endpoint = item.endpoint
        if self._slow.peek(endpoint):
            full = self._places.held(endpoint) >= _MAX_OF_ONE or not self._places.may_take(item.tenant)
            busy = full or not has_place
        else:
            # An unknown receiver may be as slow as those that used up the tenant's share.
            busy = not self._places.may_take(item.tenant) and not self._prompt.peek(endpoint)
        return round(_BUSY * (1 + random)) if busy else 0

    def slow_among(self, groups: Collection[str]) -> list[str]:
        """Returns the receivers that the others should not wait for: none if all are slow."""
        slow = [endpoint for endpoint in groups if self._slow.peek(endpoint)]
        return slow if len(slow) < len(groups) else []

    def call(self, item: Called) -> PendingCall:
        if self._slow.peek(item.endpoint):
            return PendingCall(_IMPATIENCE)
        return PendingCall(PATIENCE if self._prompt.peek(item.endpoint) else min(_CAUTION, PATIENCE))

    def let_go(self, task: asyncio.Task[None], item: Called, call: PendingCall) -> None:
        """Lets the task go on by itself."""
        if call.sent and call.at_once:
            self._leisurely.put(item.endpoint, True, _REMEMBERED)
            if self._quick.peek(item.endpoint):
                # It took no place among the few. So that a tenant cannot have this again with each of its receivers:
                self._leisurely.put(item.tenant, True, _REMEMBERED)
                self._quick.drop(item.endpoint)
        elif call.sent:
            self.mark_slow(item)
        self._under_way[task] = item
        self._places.take(item.endpoint, item.tenant)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        item = self._under_way.pop(task)
        self._places.give_back(item.endpoint, item.tenant)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("the outcome of an attempt could not be written down: it is made again", exc_info=error)

    async def close(self) -> None:
        """Cancels the calls that go on; the queue messages put for them repeat them."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def by_endpoint(items: Iterable[C]) -> dict[str, list[C]]:
    groups: dict[str, list[C]] = {}
    for item in items:
        groups.setdefault(item.endpoint, []).append(item)
    return groups
