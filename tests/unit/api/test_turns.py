import asyncio
from contextlib import AsyncExitStack

import pytest

from tntcore.api import turns
from tntcore.api.turns import Turns
from tntcore.shares import Busy

HALF = turns._PLACES // 2


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def waits(made: Turns, tenant: str) -> bool:
    """Whether a call of the tenant's waits for a place; False if it is refused."""
    call = asyncio.create_task(made.turn(tenant).__aenter__())
    await asyncio.sleep(0.01)
    if call.done():
        with pytest.raises(Busy):
            call.result()
    return not call.done()


async def test_where_calls_take_long_few_wait_and_others_come_in() -> None:
    clock = Clock()
    made = Turns(clock)
    async with AsyncExitStack() as running:
        for _ in range(HALF):
            await running.enter_async_context(made.turn("greedy"))
        clock.seconds = 3.0
        assert [await waits(made, "greedy") for _ in range(turns._FEW + 2)] == [True] * turns._FEW + [False] * 2
        async with made.turn("other"):
            pass


async def test_calls_that_came_before_it_was_known_how_long_they_take_soon_give_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "_SOON", 0.02)
    made = Turns(Clock())
    async with AsyncExitStack() as running:
        for _ in range(HALF):
            await running.enter_async_context(made.turn("greedy"))
        calls = [asyncio.create_task(made.turn("greedy").__aenter__()) for _ in range(turns._FEW + 4)]
        done, waiting = await asyncio.wait(calls, timeout=0.5)
        assert (len(done), len(waiting)) == (4, turns._FEW)
        for call in done:
            with pytest.raises(Busy):
                call.result()


async def test_where_calls_are_quick_many_wait() -> None:
    clock = Clock()
    made = Turns(clock)
    for _ in range(20):
        async with made.turn("quick"):
            clock.seconds += 0.02
    async with AsyncExitStack() as running:
        for _ in range(HALF):
            await running.enter_async_context(made.turn("quick"))
        assert all([await waits(made, "quick") for _ in range(30)])


async def test_tenants_whose_calls_take_longer_than_others_wait_leave_places_to_others() -> None:
    clock = Clock()
    made = Turns(clock)
    greedy = [f"greedy {number}" for number in range(4)]
    async with AsyncExitStack() as running:
        for tenant, held in zip(greedy, (HALF, HALF // 2, 2, 1), strict=True):
            for _ in range(held):
                await running.enter_async_context(made.turn(tenant))
        assert made._places.free == 0
        assert await waits(made, greedy[0])  # it was not known then
        clock.seconds = turns._PATIENCE + 1
    calls = [made.turn(tenant) for tenant in greedy * 4]
    flood = [asyncio.create_task(call.__aenter__()) for call in calls]
    await asyncio.sleep(0.01)
    assert any(call.done() for call in flood)
    assert made._places.free == HALF
    async with made.turn("other"):
        pass
