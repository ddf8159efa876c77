"""Fair shares: limited places, divided among the parties for which work is done."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass

_HALF_LIFE = 30.0  # seconds
_REMEMBERED = 10_000  # holders


@dataclass(frozen=True, slots=True)
class ShareParty:
    """The party that work is done for.

    Attributes:
        tenant: uuid; "" for the service itself.
        sender: a name of the message's sender that a stranger cannot invent at will; "" for the tenant's own work.
        entrance: of a kind of receivers, those whose connections were made by one entrance; "" for all of them.
    """

    tenant: str = ""
    sender: str = ""
    entrance: str = ""

    @property
    def holders(self) -> tuple[str, ...]:
        """The tenant, and the sender twice: so a sender may hold half as many places as its tenant, and leaves as many
        to the tenant's other senders.
        """
        sender = f"{self.tenant}/{self.sender}"
        return self.tenant, sender, sender


_PARTY: ContextVar[ShareParty | None] = ContextVar("party", default=None)


def party() -> ShareParty:
    """Returns the party that the current task works for."""
    return _PARTY.get() or ShareParty()


@contextmanager
def on_behalf_of(tenant: str, sender: str = "", *, entrance: str = "") -> Iterator[None]:
    """Makes the block, and tasks that it starts, work for this party."""
    token = _PARTY.set(ShareParty(tenant, sender, entrance))
    try:
        yield
    finally:
        _PARTY.reset(token)


class Budget:
    """Seconds of work that one message, or one call, may cause: computing and waiting for others' answers, but not
    waiting for its turn.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self._left = seconds

    @contextmanager
    def spending(self) -> Iterator[float]:
        """Counts the time that the block takes, and yields the seconds left."""
        started = time.monotonic()
        try:
            yield self._left
        finally:
            self._left = max(self._left - (time.monotonic() - started), 0.0)


_BUDGET: ContextVar[Budget | None] = ContextVar("budget", default=None)


def current_budget() -> Budget:
    """Returns the current task's budget; without limit if none was set."""
    return _BUDGET.get() or Budget()


@contextmanager
def within_budget(seconds: float) -> Iterator[None]:
    """Limits the block, and tasks that it starts, to these `seconds` of work in all."""
    token = _BUDGET.set(Budget(seconds))
    try:
        yield
    finally:
        _BUDGET.reset(token)


class Busy(Exception):
    """No place, or no processor, became free in time."""


class Shares:
    """At most `places` are held at once. A holder gets one more only while it holds fewer than are free (the "dynamic
    threshold" of shared packet buffers: Choudhury and Hahne, 1998): alone it may hold half of them, beside another
    greedy one a third, and a newcomer finds a free place.

    A place may have several holders at once, such as a tenant and a host: each must be within its share. A holder named
    twice counts twice. For one event loop.
    """

    def __init__(self, places: int) -> None:
        self.free = places
        self._held: Counter[str] = Counter()
        # The waiting ones, by their holders; the group that was served last stands last.
        self._waiting: OrderedDict[tuple[str, ...], deque[asyncio.Future[None]]] = OrderedDict()

    def held(self, holder: str) -> int:
        return self._held[holder]

    def may_take(self, *holders: str) -> bool:
        """Whether each of these holders is still within its share."""
        return all(self._held[holder] < self.free for holder in holders) and self.free > 0

    def take(self, *holders: str) -> None:
        """Takes a place, even beyond their share."""
        self.free -= 1
        self._held.update(holders)

    def give_back(self, *holders: str) -> None:
        self.free += 1
        for holder in holders:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]
        self._admit()

    @asynccontextmanager
    async def place(self, *holders: str, patience: float | None = None) -> AsyncIterator[None]:
        """Holds a place while the block runs. Holders take turns: one that wants many waits behind one that wants few.

        Args:
            patience: seconds to wait at most.

        Raises:
            Busy: there was no place in time.
        """
        await self.acquire(*holders, patience=patience)
        try:
            yield
        finally:
            self.give_back(*holders)

    async def acquire(self, *holders: str, patience: float | None = None) -> None:
        """Takes a place like `place`, until `give_back`."""
        if holders not in self._waiting and self.may_take(*holders):
            self.take(*holders)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holders, deque()).append(turn)
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The place was given in the same moment.
                self.give_back(*holders)
            else:
                self._leave(holders, turn)
            if isinstance(error, TimeoutError):
                raise Busy from None
            raise

    def _leave(self, holders: tuple[str, ...], turn: asyncio.Future[None]) -> None:
        group = self._waiting.get(holders, deque())
        with suppress(ValueError):
            group.remove(turn)
        if not group:
            self._waiting.pop(holders, None)

    def _admit(self) -> None:
        """Gives free places to waiting holders within their share, one per group before a second one."""
        admitted = True
        while admitted and self.free > 0:
            admitted = False
            for holders in list(self._waiting):
                if not self.may_take(*holders):
                    continue
                group = self._waiting[holders]
                turn = group.popleft()
                if group:
                    self._waiting.move_to_end(holders)
                else:
                    del self._waiting[holders]
                # One that was cancelled has not yet had its turn to leave.
                if not turn.cancelled():
                    self.take(*holders)
                    turn.set_result(None)
                admitted = True


class Used:
    """The seconds that each holder used lately: half of the sum is forgotten every 30 seconds.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def lately(self, holder: str) -> float:
        used, then = self._used.get(holder, (0.0, 0.0))
        return float(used * 0.5 ** ((self._now() - then) / _HALF_LIFE))

    def add(self, holder: str, seconds: float) -> None:
        self._used[holder] = self.lately(holder) + seconds, self._now()
        self._used.move_to_end(holder)
        if len(self._used) > _REMEMBERED:
            self._used.popitem(last=False)
