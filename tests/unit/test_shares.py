from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tntcore.shares import Busy, ShareParty, Shares, Used, on_behalf_of, party


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_holder_has_half_and_a_new_one_finds_a_place() -> None:
    shares = Shares(8)
    async with AsyncExitStack() as held:
        for _ in range(4):
            await held.enter_async_context(shares.place("greedy"))
        with pytest.raises(Busy):
            async with shares.place("greedy", patience=0.01):
                pass
        async with asyncio.timeout(10), shares.place("modest"), shares.place("modest"):
            assert shares.free == 2
    assert shares.free == 8
    assert shares.held("greedy") == 0


async def test_holders_take_turns() -> None:
    shares = Shares(2)
    order: list[str] = []

    async def work(holder: str) -> None:
        async with shares.place(holder):
            order.append(holder)
            await asyncio.sleep(0)

    async with shares.place("first"), shares.place("second"):
        tasks = [asyncio.create_task(work(name)) for name in ["greedy"] * 5 + ["modest"]]
        await settle()
        assert order == []
    await asyncio.gather(*tasks)
    assert order.index("modest") <= 1
    assert Counter(order) == {"greedy": 5, "modest": 1}


async def test_each_holder_of_a_place_has_to_be_within_its_share() -> None:
    shares = Shares(4)
    async with shares.place("tenant-a", "host"), shares.place("tenant-b", "host"):
        assert not shares.may_take("tenant-c", "host")
        assert shares.may_take("tenant-c", "elsewhere")


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    shares = Shares(2)
    async with shares.place("a"):
        waiting = asyncio.create_task(shares.place("a").__aenter__())
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert shares.free == 2
    async with asyncio.timeout(10), shares.place("a"):
        pass


async def test_a_place_that_is_given_to_who_is_cancelled_goes_to_the_next() -> None:
    shares = Shares(2)
    entered = asyncio.Event()

    async def wait() -> None:
        async with shares.place("a"):
            entered.set()

    place = shares.place("a")
    await place.__aenter__()
    first = asyncio.create_task(wait())
    await settle()
    second = asyncio.create_task(wait())
    await settle()
    await place.__aexit__(None, None, None)
    first.cancel()
    await asyncio.wait_for(second, 10)
    assert entered.is_set()
    assert shares.free == 2


async def test_a_place_that_becomes_free_as_the_next_one_is_cancelled_is_not_lost() -> None:
    shares = Shares(2)
    place = shares.place("a")
    await place.__aenter__()
    first, second = [asyncio.create_task(shares.acquire("a")) for _ in range(2)]
    await settle()
    # Its future is cancelled at once, the task hears of it later.
    first.cancel()
    await place.__aexit__(None, None, None)
    await asyncio.wait_for(second, 10)
    await asyncio.gather(first, return_exceptions=True)
    shares.give_back("a")
    assert (shares.free, shares.held("a")) == (2, 0)


@settings(max_examples=60)
@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=25))
def test_no_place_is_lost_and_nobody_waits_for_ever(places: int, wishes: list[tuple[str, int]]) -> None:
    async def play() -> None:
        shares, most = Shares(places), 0

        async def work(holder: str, steps: int) -> None:
            nonlocal most
            async with shares.place(holder):
                most = max(most, places - shares.free)
                for _ in range(steps):
                    await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*(work(*wish) for wish in wishes)), 10)
        assert shares.free == places
        assert most <= places

    asyncio.run(play())


async def test_tasks_work_on_behalf_of_whoever_started_them() -> None:
    async def seen() -> ShareParty:
        return party()

    with on_behalf_of("tenant", "sender"):
        task = asyncio.create_task(seen())
    assert party() == ShareParty()
    assert await task == ShareParty("tenant", "sender")


def test_what_was_used_is_forgotten_by_and_by() -> None:
    now = 0.0
    used = Used(lambda: now)
    assert used.lately("one") == 0
    used.add("one", 4)
    used.add("one", 4)
    assert (used.lately("one"), used.lately("other")) == (8, 0)
    now = 60
    assert used.lately("one") == pytest.approx(2)
