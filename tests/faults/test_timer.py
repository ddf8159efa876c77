"""The timer's calls while nothing is due."""

from __future__ import annotations

from pathlib import Path

from tests.faults.world import World, run


def test_everything_every_five_minutes_and_one_call_in_each_minute_between(tmp_path: Path) -> None:
    async def work() -> list[int]:
        world = World(tmp_path)
        calls = []
        for _ in range(10):
            world.trace.clear()
            await world.process.app.sweep.tick()
            calls.append(len(world.trace))
            world.durable.now += 60_000
        return calls

    calls = run(work)
    # The first of a day begins the walk through all tenants.
    assert calls[0] >= calls[5] > 1
    assert calls[1:5] == calls[6:] == [1] * 4
