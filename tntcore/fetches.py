"""Bounds the fetching of documents: strangers choose the hosts that are asked, and hosts that never answer must not
delay everything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from tntcore.shares import Busy, Shares, party

T = TypeVar("T")

UNDER_WAY: Final = 64  # fetches at once, whether or not anyone still waits for them
PATIENT: Final = 12  # who may wait as long as it takes, at a time
BRIEFLY: Final = 0.5  # seconds that everyone else waits
LONGEST: Final = 30.0  # seconds that a fetch may take


class Fetches:
    """Fetches under way, and who waits for them. Each party (`shares.party`) has a share of both.

    A fetch goes on when nobody waits for it any more, so that whoever asks again finds its result. Therefore it has a
    place of its own.
    """

    def __init__(self) -> None:
        self._under_way = Shares(UNDER_WAY)
        self._patient = Shares(PATIENT)

    @asynccontextmanager
    async def fetching(self) -> AsyncIterator[None]:
        """Holds a place while the block fetches.

        Raises:
            Busy: the party has as many fetches under way as it may.
            TimeoutError: the block took too long.
        """
        holders = party().holders
        if not self._under_way.may_take(*holders):
            raise Busy
        self._under_way.take(*holders)
        try:
            async with asyncio.timeout(LONGEST):
                yield
        finally:
            self._under_way.give_back(*holders)

    async def wait(self, result: Awaitable[T]) -> T:
        """Waits for the result of a fetch: briefly, if others of the party wait already.

        Raises:
            TimeoutError: it took too long.
        """
        holders = party().holders
        patient = self._patient.may_take(*holders)
        if patient:
            self._patient.take(*holders)
        try:
            async with asyncio.timeout(None if patient else BRIEFLY):
                return await result
        finally:
            if patient:
                self._patient.give_back(*holders)
