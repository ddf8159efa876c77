"""A suspended tenant: nothing comes in, nothing goes out, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic, contact_out_of_reach
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_redelivery import body, item
from tests.stack import Client, Stack
from tntcore.messaging.ids import first_uuid
from tntcore.storage.commit import Unit
from tntcore.storage.records import Delivery, Message
from tntcore.tenancy import tenants


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "_RESTS", (1, 1, 1))


async def set_to(stack: Stack, client: Client, word: str, **body: str) -> Any:
    answer = await stack.call("POST", f"principal/{client.uuid}/{word}", body, **stack.operator)
    assert answer.status == 200, answer.body
    return answer.json()


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Paused"))


async def test_the_door_and_the_calls(stack: Stack, foreign: Foreign) -> None:
    client = foreign.client
    assert (await set_to(stack, client, "suspend", reason="unpaid"))["status"] == "SUSPENDED"
    assert (await set_to(stack, client, "suspend"))["status"] == "SUSPENDED"
    refused = await stack.deliver(foreign.v1(orjson.dumps(basic("in"))))
    assert_problem(refused, 503, "busy")
    assert int(refused.headers["Retry-After"]) > 0
    assert "suspend" not in refused.body.decode()
    for method, path, given in (("GET", "message", None), ("POST", "action", {}), ("POST", "api-token", {})):
        assert_problem(await client.call(method, path, given), 403, "tenant-suspended")
    assert_problem(await stack.call("GET", "message", tnt_subscription_key="x"), 401, "key-unknown")
    assert (await stack.call("GET", f"identity/{client.identity['uuid']}/did.json")).status == 200
    assert (await set_to(stack, client, "resume"))["status"] == "ACTIVE"
    assert (await stack.deliver(foreign.v1(orjson.dumps(basic("in"))))).status == 202
    acts = [(hit["act"], hit["details"]) for hit in (await client.get("audit"))["hits"]]
    assert acts[:2] == [("tenant.resumed", {}), ("tenant.suspended", {"reason": "unpaid"})]


async def test_what_was_received_waits_and_is_not_spent(stack: Stack, foreign: Foreign) -> None:
    hook = await foreign.client.webhook()
    await set_to(stack, foreign.client, "suspend")
    given = item(foreign, "waited")
    # Even at the queue's last delivery.
    await stack.app.inbound.handle(body(given), 5)
    await asyncio.sleep(1.5)
    records = (await foreign.client.tenant()).records
    assert (await records.list(Message, limit=10)).records == []
    await set_to(stack, foreign.client, "resume")
    got = await hook.until(lambda hook: True)
    assert got.json()["message"]["content"] == "waited"
    await asyncio.sleep(1.5)
    assert len((await records.list(Message, limit=10)).records) == 1
    assert len(hook.got) == 1


@pytest.mark.parametrize("queue", ["relay", "outbound"])
async def test_deliveries_wait_and_use_up_no_attempt(stack: Stack, pair: tuple[Client, Client], queue: str) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    _, _ = await stack.connect(acme, bolt)
    contact = (await acme.get("contact"))["hits"][0]
    await acme.act(contact["uuid"], basic("once"))
    await hook.count(1)
    client = bolt if queue == "relay" else acme
    records, delivery = (await client.tenant()).records, await settled(stack, client)
    unit = Unit()
    unit.merge(delivery.key, {"status": "PENDING", "attempts": 1, "nextAttemptAt": 0})
    await records.commit(unit)
    await set_to(stack, client, "suspend")
    waiting = {"p": client.uuid, "d": delivery.uuid, "u": delivery.message_uuid, "t": 1, "again": True}
    more = {"e": delivery.entry_id}, {"a": delivery.action_uuid, "n": delivery.connection_uuid}
    waiting |= more[queue == "outbound"]
    handler = stack.app.relay if queue == "relay" else stack.app.outbound
    await handler.handle(orjson.dumps({"items": [waiting]}), 1)
    # The sweeper leaves it, too, and keeps its mark.
    await stack.app.sweep.run()
    await asyncio.sleep(1.5)
    assert len(hook.got) == 1
    kept = await records.get(Delivery, delivery.uuid)
    assert kept is not None
    assert (kept.status, kept.attempts) == ("PENDING", 1)
    await set_to(stack, client, "resume")

    async def delivered() -> bool:
        now = await records.get(Delivery, delivery.uuid)
        return now is not None and (now.status, now.attempts) == ("DELIVERED", 2)

    await stack.eventually(delivered)


async def settled(stack: Stack, client: Client) -> Delivery:
    records = (await client.tenant()).records

    async def find() -> Delivery | None:
        hits = (await records.list(Delivery, limit=10, start=first_uuid(0))).records
        return hits[0] if len(hits) == 1 and hits[0].status == "DELIVERED" else None

    found = await stack.eventually(find)
    assert isinstance(found, Delivery)
    return found


async def test_held_messages_go_on_after_it(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    for number in range(3):
        await acme.act(contact["uuid"], basic(number))
    await set_to(stack, acme, "suspend")
    await stack.connect(acme, bolt)
    await asyncio.sleep(1.5)
    assert hook.got == []
    await set_to(stack, acme, "resume")
    await hook.count(3)
    assert sorted(got.json()["message"]["content"] for got in hook.got) == [0, 1, 2]


async def test_what_is_no_tenant(stack: Stack) -> None:
    gone = await stack.register("Gone")
    assert (await stack.call("DELETE", f"principal/{gone.uuid}", **stack.operator)).status == 204
    for uuid in (gone.uuid, "00000000-0000-0000-0000-000000000000"):
        for word in ("suspend", "resume"):
            answer = await stack.call("POST", f"principal/{uuid}/{word}", **stack.operator)
            assert_problem(answer, 404, "principal-unknown")
    client = await stack.register("There")
    answer = await stack.call("POST", f"principal/{client.uuid}/suspend", {"until": "x"}, **stack.operator)
    assert_problem(answer, 400, "member-unknown")


async def test_tenants_are_listed_and_found(stack: Stack) -> None:
    made = [await stack.register(f"Zebra {number} Ltd") for number in range(5)]
    await set_to(stack, made[1], "suspend")
    await stack.call("DELETE", f"principal/{made[2].uuid}", **stack.operator)
    renamed = await stack.call("PUT", f"principal/{made[3].uuid}", {"displayName": "Gnu"}, **stack.operator)
    assert renamed.status == 200
    # One that an older version registered.
    await stack.app.services.storage.lookups.delete(tenants.PRINCIPALS, made[4].uuid)
    await stack.app.services.storage.lookups.put(tenants.PRINCIPALS, made[4].uuid, {"createdAt": 1})

    async def found(query: str) -> list[str]:
        names, token = [], ""
        while token is not None:
            answer = await stack.call("GET", f"principal?limit=2&next={token}&{query}", **stack.operator)
            assert answer.status == 200, answer.body
            assert len(answer.json()["hits"]) <= 2
            names += [hit["displayName"] for hit in answer.json()["hits"]]
            token = answer.json()["next"]
        return names

    assert await found("name=zEbra") == ["Zebra 0 Ltd", "Zebra 1 Ltd", "Zebra 4 Ltd"]
    assert await found("name=zebra&status=suspended") == ["Zebra 1 Ltd"]
    assert await found("name=gnu") == ["Gnu"]
    assert await found("name=nobody-is-called-so") == []
    every = await found("")
    assert {"Zebra 0 Ltd", "Zebra 1 Ltd", "Gnu", "Zebra 4 Ltd"} <= set(every)
    assert "Zebra 2 Ltd" not in every
    assert_problem(await stack.call("GET", "principal?status=GONE", **stack.operator), 400, "status-invalid")


async def test_a_tenant_is_registered_once(stack: Stack) -> None:
    given, body = {"idempotency_key": "tenant-1", **stack.operator}, {"displayName": "Once Ltd"}
    first = await stack.call("POST", "principal", body, **given)
    again = await stack.call("POST", "principal", body, **given)
    assert (first.status, again.status) == (201, 201)
    assert first.json() == again.json()
    headers = {"tnt_subscription_key": again.json()["headers"]["tnt-subscription-key"]}
    assert len((await stack.call("GET", "identity", **headers)).json()["hits"]) == 1
    assert len((await stack.call("GET", "api-token", **headers)).json()["hits"]) == 1
    for name in ("search", "name"):
        found = await stack.call("GET", f"principal?{name}=once%20ltd", **stack.operator)
        assert found.json()["total"]["value"] == 1
    both = await stack.call("GET", "principal?name=once&search=once", **stack.operator)
    assert_problem(both, 400, "query-invalid")
    other = await stack.call("POST", "principal", {"displayName": "Twice"}, **given)
    assert_problem(other, 422, "idempotency-key-reused")
