"""The timer's calls while nothing is due."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.sites import Client
from tests.faults.world import DAY, World, run
from tntcore.maintenance import retention
from tntcore.storage.tables import Row


def test_everything_every_five_minutes_and_two_calls_in_each_minute_between(tmp_path: Path) -> None:
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
    assert calls[1:5] == calls[6:] == [2] * 4, "it says that it runs, and looks for what could not be queued"


async def kept(client: Client) -> int:
    return len((await client.get("message"))["hits"])


async def tenants_with_three_old_messages(folder: Path) -> tuple[World, list[Client]]:
    world = World(folder)
    clients = [await world.register(name) for name in ("Acme", "Bolt", "Coil")]
    for client in clients:
        partner = await world.partner(client)
        for _ in range(3):
            await partner.send(partner.basic("x"))
        await client.post("settings/PRINCIPAL_SETTINGS", {"setting": {"retentionDays": 1}})
    await world.settle()
    world.durable.now += 2 * DAY
    return world, clients


ONE_BY_ONE = [[2, 3, 3], [2, 2, 3], [2, 2, 2], [1, 2, 2]]
LONG = 10_000  # milliseconds


@pytest.mark.parametrize(
    ("tenants", "milliseconds", "left"),
    [
        (1, 0, ONE_BY_ONE),
        (3, 0, ONE_BY_ONE),
        (1, LONG, [[0, 3, 3], [0, 0, 3], [0, 0, 0], [0, 0, 0]]),
        (3, LONG, [[0, 0, 0]] * 4),
    ],
)
def test_a_run_comes_to_some_tenants_and_the_next_goes_on_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenants: int, milliseconds: int, left: list[list[int]]
) -> None:
    """Each run is in a process of its own: the place is stored. It looks at one message at a time."""
    monkeypatch.setattr(retention, "_TENANTS", tenants)
    monkeypatch.setattr(retention, "_LONGEST", milliseconds)
    monkeypatch.setattr(retention, "MOST", 1)

    async def work() -> list[list[int]]:
        world, clients = await tenants_with_three_old_messages(tmp_path)
        found = []
        for _ in left:
            await world.process.app.sweep.run()
            found.append(sorted([await kept(client) for client in clients]))
            world.restart()
        return found

    assert run(work) == left


def test_a_tenant_at_which_a_run_fails_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST", 1)

    async def work() -> tuple[list[int], list[int]]:
        world, clients = await tenants_with_three_old_messages(tmp_path)
        sweep = world.process.app.sweep
        see_to, broken = sweep._retention._old, clients[0].uuid

        async def fails(row: Row) -> None:
            if row.key == broken and sweep._retention._next.get(broken):
                raise ConnectionError
            await see_to(row)

        monkeypatch.setattr(sweep._retention, "_old", fails)
        with pytest.raises(ExceptionGroup) as raised:
            await sweep.run()
        assert raised.group_contains(ConnectionError)
        first = [await kept(client) for client in clients]
        monkeypatch.undo()
        await sweep.run()
        return first, [await kept(client) for client in clients]

    assert run(work) == ([2, 0, 0], [0, 0, 0])
