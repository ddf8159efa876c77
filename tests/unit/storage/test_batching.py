"""Group commit: nothing is lost, nothing is written twice, each caller gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tntcore.storage.batching import Batcher, Full


async def test_what_gathers_while_a_write_is_under_way_is_written_together() -> None:
    batches: list[list[int]] = []
    gate = asyncio.Event()

    async def write(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        await gate.wait()
        return [item * 10 for item in items]

    batcher: Batcher[int, int] = Batcher(write)
    first = asyncio.create_task(batcher.add(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(batcher.add(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    gate.set()
    assert await first == 10
    assert await asyncio.gather(*rest) == [20, 30, 40]
    assert batches == [[1], [2, 3, 4]]
    await asyncio.sleep(0)
    assert batcher.idle


@settings(max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 7))
def test_every_item_is_written_once_in_order_and_answered_with_its_own_result(items: list[int], most: int) -> None:
    written: list[int] = []

    async def write(batch: Sequence[tuple[int, int]]) -> Sequence[int | BaseException]:
        await asyncio.sleep(0)
        taken = batch[:most]
        written.extend(index for index, _ in taken)
        return [ValueError(index) if item == 9 else index for index, item in taken]

    async def run() -> list[int | BaseException]:
        batcher: Batcher[tuple[int, int], int] = Batcher(write)
        return await asyncio.gather(*(batcher.add(item) for item in enumerate(items)), return_exceptions=True)

    results = asyncio.run(run())
    assert written == list(range(len(items)))
    for index, (item, result) in enumerate(zip(items, results, strict=True)):
        if item == 9:
            assert isinstance(result, ValueError)
            assert result.args == (index,)
        else:
            assert result == index


async def test_a_write_that_raises_is_everybodys_and_the_next_one_works() -> None:
    fail = True

    async def write(items: Sequence[int]) -> Sequence[int]:
        if fail:
            raise OSError("no storage")
        return items

    batcher: Batcher[int, int] = Batcher(write)
    results = await asyncio.gather(batcher.add(1), batcher.add(2), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    fail = False
    assert await batcher.add(3) == 3


async def test_a_caller_that_gives_up_does_not_hold_back_its_neighbours() -> None:
    gate = asyncio.Event()
    written: list[int] = []

    async def write(items: Sequence[int]) -> Sequence[int]:
        await gate.wait()
        written.extend(items)
        return items

    batcher: Batcher[int, int] = Batcher(write)
    first, second, third = (asyncio.create_task(batcher.add(n)) for n in (1, 2, 3))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await first == 1
    assert await third == 3
    # What was asked for is written even if nobody waits for it any more.
    assert written == [1, 2, 3]


async def test_groups_take_turns_and_stay_in_their_own_order() -> None:
    gate = asyncio.Event()
    batches: list[list[str]] = []

    async def write(items: Sequence[str]) -> Sequence[str]:
        batches.append(list(items[:3]))
        await gate.wait()
        return items[:3]

    batcher: Batcher[str, str] = Batcher(write)
    names = ["a0", *(f"a{n}" for n in range(1, 8)), "b1", "c1", "b2", "d1"]
    tasks = [asyncio.create_task(batcher.add(name, name[0])) for name in names]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == names
    assert batches == [["a0", "b1", "c1"], ["d1", "a1", "b2"], ["a2", "a3", "a4"], ["a5", "a6", "a7"]]


async def test_more_than_the_bound_is_refused() -> None:
    gate = asyncio.Event()

    async def write(items: Sequence[int]) -> Sequence[int]:
        await gate.wait()
        return items

    batcher: Batcher[int, int] = Batcher(write, capacity=2)
    waiting = [asyncio.create_task(batcher.add(n)) for n in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(Full):
        await batcher.add(3)
    gate.set()
    await asyncio.gather(*waiting)
