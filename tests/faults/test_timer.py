"""The timer's calls while nothing is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.sites import Client
from tests.faults.world import DAY, World, run
from tntcore.maintenance import retention


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


async def kept(client: Client) -> int:
    return len((await client.get("message"))["hits"])


def test_a_run_comes_to_some_tenants_and_the_next_goes_on_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_TENANTS", 1)
    monkeypatch.setattr(retention, "MOST", 1)

    async def work() -> tuple[list[list[int]], list[list[int]]]:
        world = World(tmp_path)
        clients = [await world.register(name) for name in ("Acme", "Bolt", "Coil")]
        for client in clients:
            partner = await world.partner(client)
            for _ in range(3):
                await partner.send(partner.basic("x"))
            await client.post("settings/PRINCIPAL_SETTINGS", {"setting": {"retentionDays": 1}})
        await world.settle()
        world.durable.now += 2 * DAY

        async def after_a_run() -> list[int]:
            await world.process.app.sweep.run()
            return sorted([await kept(client) for client in clients])

        of_processes = []
        for _ in range(3):
            of_processes.append(await after_a_run())
            world.restart()
        return of_processes, [await after_a_run() for _ in range(4)]

    of_processes, of_one = run(work)
    assert of_processes == [[2, 3, 3], [2, 2, 3], [2, 2, 2]], "the place is stored"
    # It comes to another one, and again to one that has more to delete.
    assert of_one[0] == [1, 2, 2]
    assert [sum(left) for left in of_one[:3]] == [5, 3, 1]
    assert of_one[3] == [0, 0, 0]
