"""What is stored costs nothing: held by counting storage calls, and the rows that storage looks at for them."""

from __future__ import annotations

from pathlib import Path

from devtools.bench.growth import EACH, Grown, Growth, Step, show


async def grown(folder: Path) -> list[Grown]:
    growth = Growth(folder)
    await growth.open()
    found = []
    for size in (0, 4 * EACH, 240 * EACH):
        await growth.fill(size)
        found.append(await growth.measure(each=2))
    await growth.close()
    return found


async def test_costs_do_not_grow_with_what_is_stored(tmp_path: Path) -> None:
    found = await grown(tmp_path)
    assert [(one.messages, one.tenants) for one in found] == [(0, 0), (100, 2), (6000, 120)]
    empty, few, many = ({step.name: step for step in one.steps} for one in found)
    for name in ("message to the large tenant", "message to others", "sweep between"):
        assert cost(many[name]) == cost(few[name]) == cost(empty[name])
    assert cost(many["message to others"]) == (5, 0)
    assert "| GET message " in show(found)


def cost(step: Step) -> tuple[float, float]:
    return step.calls, step.rows
