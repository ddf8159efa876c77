"""What is stored costs nothing: held by counting storage calls, and the rows that storage looks at for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools.bench.growth import EACH, Grown, Growth, Step, show
from tntcore.maintenance import retention


async def grown(folder: Path) -> list[Grown]:
    growth = Growth(folder)
    await growth.open()
    found = []
    for size in (0, 4 * EACH, 120 * EACH):
        await growth.fill(size)
        found.append(await growth.measure(each=1))
    await growth.close()
    return found


async def test_costs_do_not_grow_with_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_TENANTS", 4)
    found = await grown(tmp_path)
    assert [(one.messages, one.tenants) for one in found] == [(0, 0), (100, 2), (3000, 60)]
    empty, few, many = ({step.name: step for step in one.steps} for one in found)
    for name in ("message to the large tenant", "message to others"):
        assert cost(many[name]) == cost(few[name]) == cost(empty[name]) == (5, 0)
    # Some calls more where a cache has expired.
    for name in ("GET usage", "GET audit", "sweep between"):
        assert many[name].calls <= empty[name].calls + 4
        assert many[name].rows <= empty[name].rows + 4
    # As many tenants are looked at.
    assert many["sweep"].calls <= few["sweep"].calls + 40
    for name in (
        "GET contact?email=orders@partner.example",
        "GET connection?state=request-received",
        "GET exchange?status=WAITING",
        "GET message?status=FAILED",
        "GET delivery?status=FAILED",
    ):
        assert cost(many[name]) == cost(empty[name]) == (1, 0), name
    for name in ("GET message", "GET action", "GET principal"):
        assert many[name].calls <= 56, name
        assert many[name].rows <= 1_200, name
    for name in ("GET message?order=newest", "GET delivery?order=newest", "GET contact?order=newest"):
        assert many[name].calls <= 10, name
        assert many[name].rows <= 10_000, name
    # A call for each thread that has a message in the windows: two to four for each of the fifty.
    assert many["GET action?order=newest"].calls <= 210
    assert many["GET action?order=newest"].rows <= 1_600
    assert many["GET connection?order=newest"].rows <= 1_600
    assert cost(many["POST action, by the contact's DID"]) == cost(few["POST action, by the contact's DID"])
    assert "| GET message " in show(found)


def cost(step: Step) -> tuple[float, float]:
    return step.calls, step.rows
