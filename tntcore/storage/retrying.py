"""Optimistic concurrency: a decision that loses a race to another writer is made again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import Final, TypeVar

from tntcore.storage.commit import Changed, Exists

T = TypeVar("T")

TRIES: Final = 10
_FIRST, _LONGEST = 0.02, 0.32  # seconds: bounds of the second pause and of each one after the last doubling
_random = SystemRandom()


class Contended(Exception):
    """Other writers were faster each time. Nothing was written; a later try may succeed."""


async def retrying(attempt: Callable[[], Awaitable[T]], *, tries: int = TRIES, contended: Exception | None = None) -> T:
    """Runs `attempt`, which reads rows, decides and commits, until no other writer comes between.

    The second attempt follows at once. Before each one after that a random time passes, of up to 20 ms and then twice
    as long each time ("full jitter"), so that writers which met once do not meet again.

    Args:
        attempt: raises `Changed` or `Exists`, as its commit does, to be run again.
        tries: how often it runs at most.
        contended: raised in place of `Contended`.

    Raises:
        Contended: all tries lost.
    """
    for number in range(tries):
        try:
            return await attempt()
        except (Changed, Exists) as conflict:
            lost = conflict
        if 0 < number < tries - 1:
            await asyncio.sleep(_random.uniform(0, min(_FIRST * 2 ** (number - 1), _LONGEST)))
    raise (contended or Contended(f"other writers were faster {tries} times")) from lost
