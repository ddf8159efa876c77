"""Optimistic concurrency: a lost race is decided anew, a bounded number of times."""

from __future__ import annotations

import asyncio

import pytest

from tntcore.errors import Problem
from tntcore.storage.commit import Changed, Exists
from tntcore.storage.retrying import Contended, retrying


class Counter:
    """A row: its value, and an etag that each commit must name."""

    def __init__(self) -> None:
        self.value = self.etag = 0

    async def add(self) -> int:
        value, etag = self.value, self.etag
        await asyncio.sleep(0)
        if etag != self.etag:
            raise Changed("row")
        self.value, self.etag = value + 1, etag + 1
        return self.value


async def test_each_of_several_writers_at_once_has_its_turn() -> None:
    row = Counter()
    results = await asyncio.gather(*(retrying(row.add, tries=50) for _ in range(8)))
    assert sorted(results) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("conflict", [Changed("row"), Exists("row")])
async def test_what_loses_every_race_ends_and_says_so(conflict: Exception) -> None:
    calls = 0

    async def lose() -> None:
        nonlocal calls
        calls += 1
        raise conflict

    with pytest.raises(Contended) as raised:
        await retrying(lose, tries=3)
    assert raised.value.__cause__ is conflict
    assert calls == 3
    with pytest.raises(Problem, match="busy"):
        await retrying(lose, tries=3, contended=Problem(503, "busy", "Try again."))


async def test_another_error_is_raised_at_once() -> None:
    calls = 0

    async def fail() -> None:
        nonlocal calls
        calls += 1
        raise OSError("storage is gone")

    with pytest.raises(OSError, match="gone"):
        await retrying(fail)
    assert calls == 1


async def test_pauses_grow_up_to_a_bound_and_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def lose() -> None:
        raise Changed("row")

    monkeypatch.setattr("tntcore.storage.retrying.asyncio.sleep", sleep)
    for _ in range(50):
        with pytest.raises(Contended):
            await retrying(lose, tries=10)
    runs = [pauses[start : start + 8] for start in range(0, len(pauses), 8)]
    assert len(runs) == 50  # the second attempt follows at once, and none the last
    longest = [max(column) for column in zip(*runs, strict=True)]
    bounds = [0.02, 0.04, 0.08, 0.16, 0.32, 0.32, 0.32, 0.32]
    assert all(bound / 2 < most <= bound for most, bound in zip(longest, bounds, strict=True))
