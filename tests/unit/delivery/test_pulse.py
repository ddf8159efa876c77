"""The row by which a process shows that it lives: when it is written, renewed and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import ServiceRequestError

from devtools.memory import Durable, MemoryTable
from tntcore.delivery.pulse import DEAD_AFTER, Pulse


class Bench:
    """A process, its clock and its storage. `calls`: what it did there, by the second."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.calls: list[tuple[int, str]] = []
        self.fails = False
        self._began = self.now
        self._wakes: list[tuple[float, asyncio.Future[None]]] = []
        self.due = MemoryTable(Durable(self.now), "due", self.point)
        self.pulse = Pulse(self.due, "rows", "one", lambda: self.now, self.sleep)

    async def point(self, name: str, effect: Callable[[], Any], *, writes: bool) -> Any:
        if self.fails:
            raise ServiceRequestError("the call did not get there")
        self.calls.append(((self.now - self._began) // 1000, name))
        return effect()

    async def sleep(self, seconds: float) -> None:
        wakes = asyncio.get_running_loop().create_future()
        self._wakes.append((self.now + seconds * 1000, wakes))
        await wakes

    async def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1000
            for at, wakes in self._wakes:
                if at <= self.now and not wakes.done():
                    wakes.set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)

    async def is_shown(self) -> bool:
        """Whether the row is there, and says that the process lives."""
        row = await MemoryTable.get(self.due, "rows", "process~one")
        return row is not None and row.values["markedAt"] + DEAD_AFTER > self.now


async def test_the_row_stands_while_there_are_commits_and_not_for_long_after() -> None:
    bench = Bench()
    for _ in range(60):
        await bench.pulse.beat()
        assert await bench.is_shown()
        await bench.run(1)
    commits = [call for call in bench.calls if call[1] == "due.put"]
    assert 4 <= len(commits) <= 6, "a call every 12 seconds"
    await bench.run(45)
    assert bench.calls[-1][1] == "due.delete"
    assert not await bench.is_shown()
    # And again.
    await bench.pulse.beat()
    assert await bench.is_shown()


async def test_many_commits_at_once_write_it_once() -> None:
    bench = Bench()
    await asyncio.gather(*(bench.pulse.beat() for _ in range(100)))
    assert bench.calls == [(0, "due.put")]


async def test_a_renewal_that_fails_is_repeated() -> None:
    bench = Bench()
    await bench.pulse.beat()
    bench.fails = True
    await bench.run(14)
    bench.fails = False
    await bench.run(11)
    assert await bench.is_shown()
    await bench.run(40)
    assert not await bench.is_shown()


async def test_it_is_removed_at_the_end_unless_something_was_cut_off() -> None:
    bench = Bench()
    await bench.pulse.beat()
    await bench.pulse.stop(finished=False)
    assert await bench.is_shown()
    await bench.pulse.beat()
    await bench.pulse.stop(finished=True)
    assert not await bench.is_shown()


async def test_a_clock_that_goes_back_keeps_it_renewed() -> None:
    bench = Bench()
    await bench.pulse.beat()
    bench.now -= 3_600_000
    await bench.pulse.beat()
    assert [name for _, name in bench.calls] == ["due.put", "due.put"]
