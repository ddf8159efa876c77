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

    everything, *between = run(work)[:5]
    assert everything > 1
    assert between == [1] * 4
    assert run(work)[5:] == [everything, 1, 1, 1, 1]
