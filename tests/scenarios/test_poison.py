"""What the queues gave up: the operator sees it, and has it handled again, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic, by_queue, messages_of
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_deliveries import kept_back
from tests.scenarios.test_redelivery import Partly, body, item
from tests.stack import Answer, Stack, rows_of
from tntcore.delivery.outbox import BUCKET, DUE, due_key
from tntcore.maintenance.orphans import LONG, Orphans
from tntcore.messaging.ids import time_of
from tntcore.storage.commit import Unit
from tntcore.storage.records import Entry, entry_id


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Poisoned"))


async def operate(stack: Stack, method: str, path: str, content: Any = None) -> Answer:
    return await stack.call(method, path, content, **stack.operator)


async def listed(stack: Stack, query: str = "") -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = []
    following: str | None = ""
    while following is not None:
        answer = await operate(stack, "GET", f"poison?limit=3&next={following}{query}")
        assert answer.status == 200, answer.body
        assert len(answer.json()["hits"]) <= 3
        hits += answer.json()["hits"]
        following = answer.json()["next"]
    return hits


async def of(stack: Stack, foreign: Foreign) -> list[dict[str, Any]]:
    """What was given up of the tenant's."""
    return [hit for hit in await listed(stack) if any(i["principalUuid"] == foreign.client.uuid for i in hit["items"])]


async def test_what_waits_in_the_queues(stack: Stack) -> None:
    backlog = (await operate(stack, "GET", "backlog")).json()["queues"]
    assert [one["queue"] for one in backlog] == list(stack.app.services.storage.queues)
    assert all(one["waiting"] >= 0 and set(one) == {"queue", "waiting", "oldestAt"} for one in backlog)


async def test_a_message_is_given_up_shown_and_replayed(stack: Stack, foreign: Foreign) -> None:
    hook = await foreign.client.webhook()
    given = [item(foreign, f"{number}") for number in range(2)]
    await stack.app.poison.handle("inbound", f"m-{foreign.client.uuid}", body(*given))
    shown = (await foreign.client.get("message"))["hits"]
    assert [(one["uuid"], one["status"], one["error"]) for one in shown] == [
        (one["id"], "FAILED", "handling-failed") for one in given
    ]
    [hit] = await of(stack, foreign)
    assert (hit["queue"], hit["replayable"], hit["bytes"]) == ("inbound", True, len(body(*given)))
    assert [one["uuid"] for one in hit["items"]] == [one["id"] for one in given]
    assert given[0]["e"] not in str(hit)
    one = f"poison/inbound/{hit['id']}"
    assert (await operate(stack, "GET", one)).json() == hit

    # At once, and twice: each is handled once. A call that was under way may be made again, under its id.
    named = {"queue": "inbound", "id": hit["id"]}
    answers = await asyncio.gather(*(operate(stack, "POST", "poison/replay", named) for _ in range(2)))
    assert {answer.status for answer in answers} <= {200, 404}
    assert any(answer.json() == {"replayed": 1, "senseless": 0, "missing": 0, "more": False} for answer in answers)
    await hook.count(2)
    await asyncio.sleep(0.3)
    called = {got.headers["webhook-id"]: got.json()["message"]["content"] for got in hook.got}
    assert sorted(called.values()) == ["0", "1"]
    shown = (await foreign.client.get("message"))["hits"]
    assert [(message["uuid"], message["status"]) for message in shown] == [(one["id"], "RECEIVED") for one in given]
    assert_problem(await operate(stack, "GET", one), 404, "poison-unknown")
    assert_problem(await operate(stack, "POST", "poison/replay", named), 404, "poison-unknown")


async def test_a_large_message_whose_envelope_is_gone_stays_and_is_said_to(stack: Stack, foreign: Foreign) -> None:
    given = item(foreign, "large")
    del given["e"]
    await stack.app.poison.handle("inbound", f"gone-{foreign.client.uuid}", body(given))
    named = {"queue": "inbound", "id": f"gone-{foreign.client.uuid}"}
    for _ in range(2):
        answer = await operate(stack, "POST", "poison/replay", named)
        assert answer.json() == {"replayed": 0, "senseless": 0, "missing": 1, "more": False}
    assert [(one["uuid"], one["status"]) for one in (await foreign.client.get("message"))["hits"]] == [
        (given["id"], "FAILED")
    ]
    assert len(await of(stack, foreign)) == 1


async def test_one_whose_entry_is_gone_is_replayed(stack: Stack, foreign: Foreign) -> None:
    given = item(foreign, "no entry")
    await stack.app.poison.handle("inbound", f"entry-{foreign.client.uuid}", body(given))
    records = (await foreign.client.tenant()).records
    unit = Unit()
    unit.delete(Entry.row_key(entry_id("failed", "in", given["id"])))
    await records.commit(unit)
    answer = await operate(stack, "POST", "poison/replay", {"queue": "inbound", "id": f"entry-{foreign.client.uuid}"})
    assert answer.json()["replayed"] == 1

    async def handled() -> bool:
        return [one["status"] for one in (await foreign.client.get("message"))["hits"]] == ["RECEIVED"]

    await stack.eventually(handled)


async def test_a_delivery_that_is_revived_is_found_by_the_sweeper_if_its_queue_message_is_lost(
    stack: Stack, foreign: Foreign
) -> None:
    await foreign.client.webhook()
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(body(item(foreign, "revived")), 1)
    await stack.app.poison.handle("relay", f"revived-{foreign.client.uuid}", body(*items))
    due = stack.app.services.storage.due
    async for row in rows_of(due, DUE):
        if row.key.endswith(foreign.client.uuid):
            await due.delete(DUE, row.key, row.etag)
    stack.app.poison._outbox._marks.drop(due_key(time_of(items[0]["d"]) // BUCKET, foreign.client.uuid))
    with kept_back(stack, "relay"):
        await operate(stack, "POST", "poison/replay", {"queue": "relay", "id": f"revived-{foreign.client.uuid}"})
    assert [row.key async for row in rows_of(due, DUE) if row.key.endswith(foreign.client.uuid)]


async def test_a_large_message(stack: Stack, foreign: Foreign) -> None:
    """Its envelope stays until it is handled, or discarded."""
    hook, storage = await foreign.client.webhook(), stack.app.services.storage
    given = [item(foreign, "x" * 100_000) for _ in range(2)]
    for one in given:
        await storage.envelopes.put(one["id"], one.pop("e").encode())
        await stack.app.poison.handle("inbound", f"large-{one['id']}", body(one))
    await operate(stack, "POST", "poison/replay", {"queue": "inbound", "id": f"large-{given[0]['id']}"})
    assert (await hook.until(lambda hook: True)).json()["message"]["content"] == "x" * 100_000
    assert (await operate(stack, "DELETE", f"poison/inbound/large-{given[1]['id']}")).status == 204
    for one in given:

        async def gone(name: str = one["id"]) -> bool:
            return await storage.envelopes.get(name) is None

        await stack.eventually(gone)
    statuses = {hit["uuid"]: hit["status"] for hit in (await foreign.client.get("message"))["hits"]}
    assert statuses == {given[0]["id"]: "RECEIVED", given[1]["id"]: "FAILED"}


async def test_a_large_message_that_was_erased_does_not_come_back(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, given = stack.app.services, item(foreign, "x" * 100_000)
    envelope = given.pop("e").encode()
    await services.storage.envelopes.put(given["id"], envelope, {name: given[name] for name in ("p", "o", "u")})
    await stack.app.poison.handle("inbound", f"large-{given['id']}", body(given))
    assert (await foreign.client.call("DELETE", f"message/{given['id']}")).status == 204
    late = replace(services, now=lambda: services.now() + LONG + 60_000)
    # It is reached even if an older one cannot be seen to.
    older, get = services.uuid7(), services.tenants.get
    before = f"{0:08x}{older[8:]}"
    await services.storage.envelopes.put(before, b"x", {"p": "broken", "o": "connection", "u": older})

    async def broken(uuid: str) -> Any:
        if uuid == "broken":
            raise OSError("storage")
        return await get(uuid)

    monkeypatch.setattr(services.tenants, "get", broken)
    with pytest.raises(ExceptionGroup):
        await Orphans(late).sweep()
    await services.storage.envelopes.delete(before)
    assert await services.storage.envelopes.get(given["id"]) is None
    await asyncio.sleep(0.3)
    assert (await foreign.client.get("message"))["hits"] == []


async def test_a_crash_in_the_middle_of_a_replay(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await foreign.client.webhook()
    await stack.app.poison.handle("inbound", f"c-{foreign.client.uuid}", body(item(foreign, "once")))
    queues, table = stack.app.services.storage.queues, stack.app.services.storage.poisoned

    async def die(*_: Any, **__: Any) -> None:
        raise ConnectionError

    for target, name in ((queues["inbound"], "put"), (table, "delete")):
        with monkeypatch.context() as patch:
            if target is table:
                patch.setattr(stack.app.poison, "_table", Partly(table, delete=die))
            else:
                patch.setitem(queues, "inbound", Partly(target, **{name: die}))
            answer = await operate(stack, "POST", "poison/replay", {"principalUuid": foreign.client.uuid})
            assert answer.status == 500
    answer = await operate(stack, "POST", "poison/replay", {"principalUuid": foreign.client.uuid})
    assert answer.json() == {"replayed": 1, "senseless": 0, "missing": 0, "more": False}
    await hook.count(1)
    await asyncio.sleep(0.3)
    # Two copies of one message may be delivered at the same time: the receiver knows them by their id.
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1
    assert await of(stack, foreign) == []


async def test_what_was_handled_or_erased_meanwhile_is_left_alone(stack: Stack, foreign: Foreign) -> None:
    handled, erased = item(foreign, "handled"), item(foreign, "erased")
    await stack.app.inbound.handle(body(handled), 1)
    await stack.app.poison.handle("inbound", f"h-{foreign.client.uuid}", body(handled, erased))
    assert (await foreign.client.call("DELETE", f"message/{erased['id']}")).status == 204
    answer = await operate(stack, "POST", "poison/replay", {"principalUuid": foreign.client.uuid})
    assert answer.json()["replayed"] == 1
    await asyncio.sleep(0.3)
    [message] = (await foreign.client.get("message"))["hits"]
    assert (message["uuid"], message["status"]) == (handled["id"], "RECEIVED")


async def test_what_came_again_otherwise_is_not_shown_as_failed_once_it_is_handled(
    stack: Stack, foreign: Foreign
) -> None:
    """The sender sent the same twice, and the first of them was given up."""
    first = item(foreign, "same")
    broken = {**item(foreign, "broken"), "e": first["e"].replace('"tag":"', '"tag":"A')}
    for one, status in ((first, "RECEIVED"), (broken, "REJECTED")):
        other = {**one, "id": stack.app.services.uuid7()}
        await stack.app.inbound.handle(body(other), 1)
        await stack.app.poison.handle("inbound", f"twice-{one['id']}", body(one))
        await stack.app.inbound.handle(body(one), 1)
        hits = (await foreign.client.get("message"))["hits"]
        assert [hit["status"] for hit in hits if hit["uuid"] in (one["id"], other["id"])] == [status]


async def test_deliveries_are_replayed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await stack.register("Sends"), await stack.register("Receives")
    connection, _ = await stack.connect(one, other)
    lost: list[tuple[str, dict[str, Any]]] = []

    def lose(queue: str) -> Any:
        async def take(given: Any) -> None:
            lost.append((queue, given.write()))

        return take

    with monkeypatch.context() as patch:
        patch.setattr(stack.app.outbox, "outbound", lose("outbound"))
        action = await one.act(connection.contact_uuid, basic("at last"))
    [(_, outbound)] = lost
    await stack.app.poison.handle("outbound", f"o-{one.uuid}", body(outbound))
    [message] = await messages_of(one, action["uuid"])
    assert message["status"] == "FAILED"
    hook = await other.webhook()
    with monkeypatch.context() as patch:
        by_queue(patch)
        patch.setattr(stack.app.outbox, "relay", lose("relay"))
        assert (await operate(stack, "POST", "poison/replay", {"queue": "outbound"})).json()["replayed"] >= 1

        async def arrived() -> bool:
            return len(lost) == 2

        await stack.eventually(arrived)
    [message] = await messages_of(one, action["uuid"])
    assert message["status"] in ("SENT", "SENDING")
    await stack.app.poison.handle("relay", f"r-{other.uuid}", body(lost[1][1]))
    assert hook.got == []
    for _ in range(2):
        assert (await operate(stack, "POST", "poison/replay", {"principalUuid": other.uuid})).status == 200
    await hook.count(1)
    await asyncio.sleep(0.3)
    assert [got.json()["message"]["content"] for got in hook.got] == ["at last"]
    [delivery] = (await other.get("delivery"))["hits"]
    assert (delivery["status"], delivery["error"]) == ("DELIVERED", None)


async def test_what_makes_no_sense_stays_until_it_is_discarded(stack: Stack) -> None:
    await stack.app.poison.handle("relay", "senseless", b"\xff no JSON")
    answer = await operate(stack, "POST", "poison/replay", {"queue": "relay", "id": "senseless"})
    assert answer.json() == {"replayed": 0, "senseless": 1, "missing": 0, "more": False}
    [hit] = [hit for hit in await listed(stack, "&queue=relay") if hit["id"] == "senseless"]
    assert (hit["replayable"], hit["items"]) == (False, [])
    assert (await operate(stack, "DELETE", "poison/relay/senseless")).status == 204
    assert_problem(await operate(stack, "DELETE", "poison/relay/senseless"), 404, "poison-unknown")


@pytest.mark.parametrize(("queue", "name"), [("outbound", "drain"), ("relay", "replay")])
async def test_what_has_no_items(stack: Stack, queue: str, name: str) -> None:
    given = orjson.dumps({name: {"p": "00000000-0000-0000-0000-000000000000", "n": "x", "r": "x", "at": "x"}})
    await stack.app.poison.handle(queue, f"a-{name}", given)
    answer = await operate(stack, "POST", "poison/replay", {"queue": queue, "id": f"a-{name}"})
    assert answer.json()["replayed"] == 1


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("GET", "poison?queue=x", None, 400, "queue-invalid"),
        ("GET", "poison?limit=0", None, 400, "limit-invalid"),
        ("GET", "poison/x/y", None, 400, "queue-invalid"),
        ("GET", "poison/inbound/%2F%23", None, 404, "poison-unknown"),
        ("GET", "poison?next=x", None, 400, "next-invalid"),
        ("POST", "poison/replay", {"queue": 1}, 400, "queue-invalid"),
        ("POST", "poison/replay", {"id": "x"}, 400, "queue-invalid"),
        ("POST", "poison/replay", {"queue": "inbound", "id": ""}, 400, "id-invalid"),
        ("POST", "poison/replay", [], 400, "body-not-an-object"),
    ],
)
async def test_requests_that_are_wrong(
    stack: Stack, method: str, path: str, content: Any, status: int, code: str
) -> None:
    assert_problem(await operate(stack, method, path, content), status, code)
