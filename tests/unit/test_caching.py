from __future__ import annotations

import asyncio
import math

import pytest

from tntcore.caching import SharedCache


async def test_entries_expire_and_the_one_unused_longest_goes_first() -> None:
    time = 0.0
    cache: SharedCache[int] = SharedCache(lambda: time, 2)
    cache.put("a", 1, 10)
    cache.put("b", 2, math.inf)
    assert cache.peek("a") == 1
    cache.put("c", 3, math.inf)
    assert (cache.peek("a"), cache.peek("b"), cache.peek("c")) == (1, None, 3)
    time = 10
    assert cache.peek("a") is None
    cache.put("d", 4, 0)
    assert cache.peek("d") is None


async def test_entries_have_a_budget() -> None:
    time = 0.0
    cache: SharedCache[int] = SharedCache(lambda: time, 10, weigh=lambda key, value: len(key) + value, budget=10)
    cache.put("a", 4, math.inf)
    cache.put("b", 4, math.inf)
    assert (cache.peek("b"), cache.peek("a")) == (4, 4)
    cache.put("c", 1, 1)
    assert (cache.peek("b"), cache.peek("a"), cache.peek("c")) == (None, 4, 1)
    cache.put("a", 1, math.inf)  # lighter than before
    cache.put("d", 5, math.inf)
    assert (cache.peek("a"), cache.peek("c"), cache.peek("d")) == (1, 1, 5)
    time = 1
    assert cache.peek("c") is None
    cache.drop("a")
    cache.put("e", 3, math.inf)
    assert (cache.peek("d"), cache.peek("e")) == (5, 3)
    cache.put("f", 100, math.inf)
    assert [cache.peek(key) for key in "def"] == [None] * 3
    cache.put("g", 9, math.inf)
    assert cache.peek("g") == 9


async def test_what_is_loaded_together_does_not_expire_together() -> None:
    time = 0.0
    cache: SharedCache[int] = SharedCache(lambda: time, 1000, spread=0.5)
    for number in range(1000):
        cache.put(f"tenant-{number}", number, 100)
    left = []
    for moment in (49.9, 60, 75, 90, 100):
        time = moment
        left.append(sum(cache.peek(f"tenant-{number}") is not None for number in range(1000)))
    assert left[0] == 1000
    assert left[-1] == 0
    for found, expected in zip(left[1:4], (800, 500, 200), strict=True):
        assert abs(found - expected) < 60


async def test_a_load_that_fails_fails_for_all_who_waited_and_is_tried_again() -> None:
    cache: SharedCache[int] = SharedCache(lambda: 0.0, 2)
    calls = 0

    async def load() -> tuple[int, float]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise OSError("down")
        return calls, 1.0

    results = await asyncio.gather(cache.get("a", load), cache.get("a", load), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert list(await asyncio.gather(cache.get("a", load), cache.get("a", load))) == [2, 2]
    assert await cache.get("a", load) == 2


async def test_what_is_dropped_while_it_loads_is_not_kept() -> None:
    cache: SharedCache[int] = SharedCache(lambda: 0.0, 2)
    gate = asyncio.Event()
    answers = iter((1, 2))

    async def load() -> tuple[int, float]:
        answer = next(answers)
        await gate.wait()
        return answer, math.inf

    old = asyncio.create_task(cache.get("a", load))
    await asyncio.sleep(0)
    cache.drop("a")
    new = asyncio.create_task(cache.get("a", load))
    await asyncio.sleep(0)
    gate.set()
    assert (await old, await new) == (1, 2)
    assert cache.peek("a") == 2


async def test_a_failure_nobody_waits_for_any_more_is_not_reported_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    cache: SharedCache[int] = SharedCache(lambda: 0.0, 2)
    gate = asyncio.Event()

    async def load() -> tuple[int, float]:
        await gate.wait()
        raise OSError("down")

    waiting = asyncio.create_task(cache.get("a", load))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert [record for record in caplog.records if "never retrieved" in record.getMessage()] == []
    assert cache.peek("a") is None
