"""Turns of tenants' calls, which share the places that the functions host has for calls."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tntcore.shares import Shares, Used

# Half of what the host lets in at once (maxConcurrentRequests in host.json).
_PLACES = 12
_PATIENCE = 5.0  # seconds
_FEW = 2  # calls of a tenant that may wait in any case
_SOON = 0.25  # seconds
_LONG = "calls that take long"
_ANY = 0.5  # calls: one is forgotten after half a minute


class Turns:
    """Places for calls, shared by the tenants. A call that waits for one keeps others out of the host. So more than a
    few of a tenant's wait only if their turn comes soon, by what its calls took lately, and not for long. Tenants
    whose calls lately took longer than others wait share half of the places, so that a few of them do not hold all.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._places = Shares(_PLACES)
        self._seconds, self._calls, self._long_calls = Used(now), Used(now), Used(now)
        self._begun: defaultdict[str, list[float]] = defaultdict(list)
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Holds a place while the block runs. Raises `Busy` if none is free, or will be soon."""
        self._waiting[tenant] += 1
        try:
            holders = await self._acquire(tenant)
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant]
        begun = self._now()
        self._begun[tenant].append(begun)
        try:
            yield
        finally:
            self._begun[tenant].remove(begun)
            if not self._begun[tenant]:
                del self._begun[tenant]
            seconds = self._now() - begun
            self._seconds.add(tenant, seconds)
            self._calls.add(tenant, 1)
            if seconds > _PATIENCE:
                self._long_calls.add(tenant, 1)
            self._places.give_back(*holders)

    async def _acquire(self, tenant: str) -> tuple[str, ...]:
        """Takes a place and returns its holders."""
        while True:
            holders = (tenant, _LONG) if self._takes_long(tenant) else (tenant,)
            await self._places.acquire(*holders, patience=self._patience(tenant))
            if _LONG in holders or not self._takes_long(tenant):
                return holders
            # It waited for calls of its own which take long.
            self._places.give_back(*holders)

    def _takes_long(self, tenant: str) -> bool:
        oldest = min(self._begun.get(tenant, ()), default=math.inf)
        return self._now() - oldest > _PATIENCE or self._long_calls.lately(tenant) > _ANY

    def _patience(self, tenant: str) -> float:
        """Returns the seconds that a call may wait for a place."""
        waiting, running = self._waiting[tenant], len(self._begun.get(tenant, ()))
        if waiting <= _FEW:
            return _PATIENCE
        # What a tenant's first calls take is not known yet.
        return 2 * _SOON if waiting * self._mean(tenant) <= _SOON * running else 0.0

    def _mean(self, tenant: str) -> float:
        """Returns the seconds that one of the tenant's calls takes, lately and until now."""
        now, begun = self._now(), self._begun.get(tenant, ())
        calls = self._calls.lately(tenant) + len(begun)
        return (self._seconds.lately(tenant) + sum(now - one for one in begun)) / calls if calls else 0.0
