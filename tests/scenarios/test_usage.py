"""What tenants did in each month."""

from __future__ import annotations

from typing import Any

import orjson

from tests.counting import counting
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import connect_foreign
from tests.stack import Stack
from tntcore.storage.records import Principal


async def test_each_tenant_has_its_own_figures(stack: Stack) -> None:
    await stack.app.services.usage.flush()  # of other tests
    client, other = await stack.register("Counted"), await stack.register("Idle")
    foreign = await connect_foreign(stack, client)
    before = (await client.get("usage"))["months"]
    assert before == []
    for number in range(3):
        assert (await stack.deliver(foreign.v1(orjson.dumps(basic(number, **{"@id": str(number)}))))).status == 202
    # A duplicate, and what cannot be opened, are not counted.
    assert (await stack.deliver(foreign.v1(orjson.dumps(basic(0, **{"@id": "0"}))))).status == 202
    for content in ("a", "x" * 70_000):
        await client.act(foreign.connection.contact_uuid, basic(content))

    async def counted() -> Any:
        months = (await client.get("usage"))["months"]
        return months if months and (months[0]["messagesIn"], months[0]["messagesOut"]) == (3, 2) else None

    [month] = await stack.eventually(counted)
    assert 70_000 < month["bytes"] < 80_000
    assert month["credentialsIssued"] == 0

    async def stored() -> Any:
        """The figure, if all that show it show the same: it counts what is not written to the tenant's row yet."""
        one, many = f"principal/{client.uuid}", "principal?name=Counted"
        read, listed = [(await stack.call("GET", path, **stack.operator)).json() for path in (one, many)]
        [hit] = [hit for hit in listed["hits"] if hit["uuid"] == client.uuid]
        shown = [await client.get("account"), await client.get("usage"), read, hit]
        figures = {one["storedBytes"] for one in shown}
        return figures if len(figures) == 1 and min(figures) > 70_000 else None

    assert await stack.eventually(stored)

    usage = stack.app.services.usage
    waiting = len({*usage._pending, *usage._months})
    with counting(stack.app.services.meter) as counts:
        await usage.flush()
    assert counts["table.get"] <= waiting
    assert (await client.get("usage"))["months"] == [month]
    row = await stack.app.services.storage.records.get(client.uuid, Principal.row_key(client.uuid))
    assert row is not None
    assert Principal.read(row).months[month["month"]]["messagesIn"] == 3
    # Written once: the figures grow by what comes afterwards.
    await client.act(foreign.connection.contact_uuid, basic("b"))
    await stack.app.services.usage.flush()
    assert (await client.get("usage"))["months"][0]["messagesOut"] == 3
    assert (await other.get("usage"))["months"] == []

    shown = await stack.call("GET", f"principal/{client.uuid}/usage", **stack.operator)
    assert (shown.status, shown.json()["months"][0]["messagesOut"]) == (200, 3)
    nobody = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"
    assert_problem(await stack.call("GET", f"principal/{nobody}/usage", **stack.operator), 404, "principal-unknown")
