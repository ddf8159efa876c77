"""What a queue does to its messages, and what a crash leaves behind: nothing is lost, nothing is handled twice."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.scenarios.common import basic, by_queue, contact_out_of_reach, messages_of
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.delivery import outbox
from tntcore.delivery.pulse import DEAD_AFTER, PROCESS
from tntcore.maintenance import sweep
from tntcore.storage.commit import Unit
from tntcore.storage.records import Delivery, Message


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    client = await stack.register("Redelivered")
    await client.webhook()
    return await connect_foreign(stack, client)


def item(foreign: Foreign, content: str, **more: Any) -> dict[str, Any]:
    """What the door puts in the queue for a message."""
    return {
        "id": foreign.stack.app.services.uuid7(),
        "p": foreign.client.uuid,
        "o": "connection",
        "u": foreign.connection.uuid,
        "e": foreign.v1(orjson.dumps(basic(content))).decode(),
        **more,
    }


def body(*items: dict[str, Any]) -> bytes:
    return orjson.dumps({"items": items})


async def contents(client: Client) -> list[str]:
    return sorted(hit["message"]["content"] for hit in (await client.get("message"))["hits"])


def once(target: Callable[..., Any], fails: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    """`target`, which fails at its first call of which `fails`."""
    failed: list[bool] = []

    async def call(*arguments: Any, **named: Any) -> Any:
        if not failed and fails(*arguments):
            failed.append(True)
            raise ConnectionError("as if the process had died here")
        return await target(*arguments, **named)

    return call


class Only:
    def __init__(self, **members: Any) -> None:
        self.__dict__.update(members)


class Partly(Only):
    """`whole`, with other members in some places."""

    def __init__(self, whole: Any, **members: Any) -> None:
        super().__init__(**members)
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


async def overdue(stack: Stack, client: Client) -> list[Delivery]:
    """Makes every delivery of the client look as if its queue message had been lost long ago."""
    tenant = await client.tenant()
    deliveries = list((await tenant.records.list(Delivery, limit=50)).records)
    for delivery in deliveries:
        unit = Unit()
        unit.merge(delivery.key, {"nextAttemptAt": stack.app.services.now() - 3_600_000})
        await tenant.records.commit(unit)
    return deliveries


async def test_the_same_queue_message_again(stack: Stack, foreign: Foreign) -> None:
    hook = foreign.client.receivers[0]
    alone = body(item(foreign, "alone"))
    both = body(item(foreign, "a"), item(foreign, "b"))
    for message in (alone, both):
        for count in (1, 2, 3):
            await stack.app.inbound.handle(message, count)
    await hook.count(3)
    assert await contents(foreign.client) == ["a", "alone", "b"]
    assert (await foreign.client.get("delivery"))["total"]["value"] == 3
    # A redelivery may find the webhook not called yet, and call it again: with the same id.
    assert len({got.headers["webhook-id"] for got in hook.got}) == 3


async def test_one_item_fails_and_its_neighbours_do_not(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = item(foreign, "bad")
    inbound = stack.app.inbound
    way = inbound._receiving
    monkeypatch.setattr(way, "receive", once(way.receive, lambda given, _: given.uuid == bad["id"]))
    await inbound.handle(body(item(foreign, "a"), bad, item(foreign, "b")), 1)
    # The failed one was put back to the queue alone.
    await foreign.client.receivers[0].count(3)
    assert await contents(foreign.client) == ["a", "b", "bad"]


async def test_what_fails_alone_raises(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    message = body(item(foreign, "bad"))
    way = stack.app.inbound._receiving
    monkeypatch.setattr(way, "receive", once(way.receive))
    with pytest.raises(ConnectionError):
        await stack.app.inbound.handle(message, 1)
    await stack.app.inbound.handle(message, 2)
    assert await contents(foreign.client) == ["bad"]


@pytest.mark.parametrize("times", [1, 2])
async def test_a_crash_between_commit_and_publishing(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    message = body(item(foreign, "x"))
    outbox = stack.app.outbox
    by_queue(monkeypatch)
    for _ in range(times):
        monkeypatch.setattr(outbox, "relay", once(outbox.relay))
        with pytest.raises(ConnectionError):
            await stack.app.inbound.handle(message, 1)
        assert await contents(foreign.client) == ["x"]
        [delivery] = (await foreign.client.get("delivery"))["hits"]
        assert (delivery["status"], delivery["attempts"]) == ("PENDING", 0)
    assert foreign.client.receivers[0].got == []
    await stack.app.inbound.handle(message, 2)
    got = (await foreign.client.receivers[0].until(lambda hook: True)).json()
    [stored] = (await foreign.client.get("message"))["hits"]
    assert (got["assetUuid"], got["message"]) == (stored["uuid"], stored["message"])


async def test_a_webhook_whose_queue_message_was_lost(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(lost: Any) -> None:
        return None

    with monkeypatch.context() as patch:
        by_queue(patch)
        patch.setattr(stack.app.outbox, "relay", lose)
        await stack.app.inbound.handle(body(item(foreign, "x")), 1)
    await stack.app.sweep.run()
    [delivery] = (await foreign.client.get("delivery"))["hits"]
    assert delivery["status"] == "PENDING"  # not late enough to count as lost
    await overdue(stack, foreign.client)
    assert await stack.app.sweep.run() >= 1
    got = await foreign.client.receivers[0].until(lambda hook: True)
    assert got.json()["message"]["content"] == "x"
    assert got.headers["webhook-id"] == delivery["uuid"]

    async def delivered() -> bool:
        [found] = (await foreign.client.get("delivery"))["hits"]
        return bool(found["status"] == "DELIVERED")

    await stack.eventually(delivered)
    await overdue(stack, foreign.client)
    await stack.app.sweep.run()
    assert len(foreign.client.receivers[0].got) == 1


@pytest.mark.parametrize("found_by", ["sweeper", "caller"])
async def test_a_message_whose_sending_was_lost(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch, found_by: str
) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt)
    action = await acme.post("action", {"type": "DIDCOMM", "to": mine.contact_uuid})
    outbox = stack.app.outbox
    payload = {"data": {"message": basic("x", **{"@id": "1"})}}
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "outbound", once(outbox.outbound))
        patch.setattr(outbox, "try_again", lambda *_: None)  # the process dies
        # It is committed: who is told of a failure would send it again, with an id of its own.
        await acme.post(f"action/{action['uuid']}", payload, 200)
    [message] = await messages_of(acme, action["uuid"])
    assert message["status"] == "SENDING"
    assert hook.got == []
    if found_by == "caller":
        again = await acme.post(f"action/{action['uuid']}", payload, 200)
        assert again["messages"] == [message["uuid"]]
    else:
        await overdue(stack, acme)
        assert await stack.app.sweep.run() >= 1
    await hook.until(lambda hook: True)

    async def sent() -> bool:
        [message] = await messages_of(acme, action["uuid"])
        return bool(message["status"] == "SENT")

    await stack.eventually(sent)
    assert len(hook.got) == 1


async def test_held_messages_whose_release_was_lost(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    for number in range(3):
        await acme.act(contact["uuid"], basic(number))
    await overdue(stack, acme)
    await stack.app.sweep.run()
    assert {hit["status"] for hit in (await acme.get("delivery"))["hits"]} == {"HELD"}

    async def lose(*lost: Any) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(stack.app.outbound, "drain", lose)
        await stack.connect(acme, bolt)
    await overdue(stack, acme)
    await stack.app.sweep.run()
    await hook.count(3)

    async def over() -> bool:
        return {hit["status"] for hit in (await acme.get("delivery"))["hits"]} == {"DELIVERED"}

    await stack.eventually(over)
    assert len(hook.got) == 3


async def test_the_same_request_again_while_the_queue_is_away(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(lost: Any) -> None:
        raise ConnectionError("the queue is away")

    client = foreign.client
    payload = {"type": "DIDCOMM", "to": foreign.connection.contact_uuid, "data": {"message": basic("pay 100")}}
    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.outbound, "add", away)
        for _ in range(2):
            await client.post("action", payload, 201, idempotency_key="key")
        known = {**payload, "referenceID": "t", "data": {"message": basic("pay", **{"@id": "1"})}}
        for _ in range(2):
            answer = await client.call("POST", "action", known)
            assert answer.status in (200, 201), answer.body
    assert len((await client.get("message"))["hits"]) == 2


async def test_what_could_not_be_queued_is_on_its_way_within_seconds(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(lost: Any) -> None:
        raise ConnectionError("the queue is away")

    monkeypatch.setattr(outbox, "_PAUSES", (0.1,) * 20)
    acme, bolt = pair
    to_bolt, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.outbound, "add", away)
        await acme.act(to_bolt.contact_uuid, basic("late"))
    await hook.count(1, seconds=30)


async def test_what_a_process_could_not_queue_before_it_died_is_swept_within_two_minutes(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(lost: Any) -> None:
        raise ConnectionError("the queue is away")

    async def marked() -> bool:
        page = await stack.app.services.storage.due.scan(outbox.UNQUEUED, acme.uuid, f"{acme.uuid}~~", limit=10)
        return bool(page.rows)

    monkeypatch.setattr(outbox, "_PAUSES", ())
    acme, bolt = pair
    to_bolt, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.outbound, "add", away)
        await acme.act(to_bolt.contact_uuid, basic("late"))
    await stack.eventually(marked)
    # Another process may still try.
    await stack.app.sweep.unqueued()
    assert await marked()
    monkeypatch.setattr(sweep, "_REPEATED", 0)
    await stack.app.sweep.unqueued()
    await hook.count(1, seconds=30)
    assert not await marked()


async def test_what_a_process_did_not_queue_before_it_died_is_swept(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(data: bytes) -> None:
        return None

    acme, bolt = pair
    to_bolt, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.outbound, "add", lost)
        await acme.act(to_bolt.contact_uuid, basic("late"))
    due, key = stack.app.services.storage.due, f"{PROCESS}~{acme.uuid}"
    # Of a process that was seen last when this was committed, or shortly before.
    await due.put(outbox.UNQUEUED, key, {"markedAt": stack.app.services.now() - DEAD_AFTER})
    await stack.app.sweep.unqueued()
    await hook.count(1, seconds=30)
    assert await due.get(outbox.UNQUEUED, key) is None


async def test_one_tenant_that_cannot_be_swept(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(lost: Any) -> None:
        return None

    with monkeypatch.context() as patch:
        by_queue(patch)
        patch.setattr(stack.app.outbox, "relay", lose)
        await stack.app.inbound.handle(body(item(foreign, "x")), 1)
        bad = await connect_foreign(stack, await stack.register("Bad"))
        await bad.client.webhook()
        await stack.app.inbound.handle(body(item(bad, "x")), 1)
    await overdue(stack, foreign.client)
    await overdue(stack, bad.client)
    get = stack.app.services.tenants.get
    # Whichever of the two comes first in the table.
    for broken, whole in ((foreign.client, bad.client), (bad.client, foreign.client)):

        async def one_fails(uuid: str, broken: Client = broken) -> Any:
            if uuid == broken.uuid:
                raise RuntimeError("its key cannot be unwrapped")
            return await get(uuid)

        with monkeypatch.context() as patch:
            patch.setattr(stack.app.sweep, "_services", Partly(stack.app.services, tenants=Only(get=one_fails)))
            with pytest.raises(ExceptionGroup) as raised:
                await stack.app.sweep.run()
        assert {str(error) for error in raised.value.exceptions} == {"its key cannot be unwrapped"}
        got = await whole.receivers[0].until(lambda hook: True)
        assert got.json()["message"]["content"] == "x"


async def test_attempts_go_on_counting_after_a_sweep(stack: Stack, foreign: Foreign) -> None:
    hook = foreign.client.receivers[0]
    hook.answer = lambda got: (503, {"retry-after": "3000"})
    await stack.app.inbound.handle(body(item(foreign, "x")), 1)
    for number in (1, 2, 3):

        async def tried(number: int = number) -> bool:
            [found] = (await foreign.client.get("delivery"))["hits"]
            return bool(found["attempts"] == number and found["status"] == "PENDING")

        await stack.eventually(tried)
        [delivery] = await overdue(stack, foreign.client)
        assert await stack.app.sweep.run() >= 1
    await hook.count(4)
    shown = await foreign.client.get(f"delivery/{delivery.uuid}")
    assert [failure["number"] for failure in shown["log"]][:3] == [1, 2, 3]


async def poison(stack: Stack, queue: str, content: bytes) -> str:
    """As the host puts it into the poison queue; the message's id there."""
    client = stack.app.services.storage._queues.get_queue_client(f"{queue}-poison")
    message = await client.send_message(base64.b64encode(content).decode())
    stack.host.wake(client.queue_name)
    return str(message.id)


async def kept(stack: Stack, queue: str, message_id: str) -> bytes:
    async def look() -> Any:
        return await stack.app.services.storage.poisoned.get(queue, message_id)

    row = await stack.eventually(look)
    found: bytes = row.values["body"]
    return found


async def test_poison_of_inbound(stack: Stack, foreign: Foreign) -> None:
    given = item(foreign, "x")
    message_id = await poison(stack, "inbound", body(given))
    assert await kept(stack, "inbound", message_id) == body(given)

    async def shown() -> list[Any]:
        hits: list[Any] = (await foreign.client.get("message?status=FAILED"))["hits"]
        return hits

    [message] = await stack.eventually(shown)
    assert (message["uuid"], message["error"], message["direction"]) == (given["id"], "handling-failed", "IN")
    assert message["envelope"] == orjson.loads(given["e"])
    await stack.app.poison.handle("inbound", message_id, body(given))
    assert len(await shown()) == 1


async def test_poison_of_what_had_been_handled(stack: Stack, foreign: Foreign) -> None:
    given = item(foreign, "x")
    await stack.app.inbound.handle(body(given), 1)
    await stack.app.poison.handle("inbound", "some id", body(given))
    [message] = (await foreign.client.get("message"))["hits"]
    assert message["status"] == "RECEIVED"


async def test_poison_of_outbound_and_relay(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    client = foreign.client

    async def lose(lost: Any) -> None:
        given.append(lost.write())

    given: list[dict[str, Any]] = []
    with monkeypatch.context() as patch:
        patch.setattr(stack.app.outbox, "outbound", lose)
        by_queue(patch)
        patch.setattr(stack.app.outbox, "relay", lose)
        action = await client.act(foreign.connection.contact_uuid, basic("never leaves"))
        await stack.app.inbound.handle(body(item(foreign, "x")), 1)
    for queue, lost in zip(("outbound", "relay"), given, strict=True):
        message_id = await poison(stack, queue, body(lost))
        assert await kept(stack, queue, message_id) == body(lost)

    async def failed() -> bool:
        hits = (await client.get("delivery"))["hits"]
        return {(hit["status"], hit["error"]) for hit in hits} == {("FAILED", "handling-failed")}

    await stack.eventually(failed)
    [message] = await messages_of(client, action["uuid"])
    assert message["status"] == "FAILED"
    assert (await client.get(f"action/{action['uuid']}"))["typeStatus"] == "FAILED"


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b'{"items": 1}', b'{"items": [1, {}, {"p": 1}]}', b"{}"])
async def test_poison_that_makes_no_sense(stack: Stack, content: bytes) -> None:
    """It is kept, and does not come back for ever."""
    await stack.app.poison.handle("inbound", f"senseless {len(content)}", content)
    row = await stack.app.services.storage.poisoned.get("inbound", f"senseless {len(content)}")
    assert row is not None
    assert row.values.get("body", b"") == content


async def test_messages_of_a_deleted_tenant_are_dropped(stack: Stack, foreign: Foreign) -> None:
    given = item(foreign, "x")
    await stack.call("DELETE", f"principal/{foreign.client.uuid}", **stack.operator)
    message = body({**given, "d": "x", "a": "", "n": ""})
    for handle in (stack.app.inbound.handle, stack.app.relay.handle, stack.app.outbound.handle):
        await handle(message, 1)
    for queue in ("inbound", "relay", "outbound"):
        await stack.app.poison.handle(queue, "of a deleted tenant", message)
    stored = stack.app.services.storage.records
    assert await stored.get(foreign.client.uuid, Message.row_key(given["id"])) is None
    assert await stored.get(foreign.client.uuid, Delivery.row_key("x")) is None
