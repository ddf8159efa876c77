"""Deliveries of several tenants in one queue message, in several processes, and late: each has its own fate."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from devtools.connect import complete
from tests.scenarios.common import assert_problem, basic, by_queue, contact_out_of_reach
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_redelivery import overdue
from tests.stack import Client, Receiver, Stack
from tntcore.app import App
from tntcore.config import Config
from tntcore.connections.connection import pairwise
from tntcore.delivery.outbox import GRACE
from tntcore.delivery.outgoing import write
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.storage.commit import Unit
from tntcore.storage.items import DeliveryItem, MessageCall
from tntcore.storage.records import Connection, HeldMessage
from tntcore.tenancy.recipients import KeyPairs


@pytest.fixture
async def other(stack: Stack) -> AsyncIterator[App]:
    """A second process."""
    app = App.open(Config.read(os.environ))
    yield app
    await app.close()


def body(*items: dict[str, Any]) -> bytes:
    return orjson.dumps({"items": list(items)})


def received(foreign: Foreign, content: str) -> bytes:
    return body(
        {
            "id": foreign.stack.app.services.uuid7(),
            "p": foreign.client.uuid,
            "o": "connection",
            "u": foreign.connection.uuid,
            "e": foreign.v1(orjson.dumps(basic(content))).decode(),
        }
    )


@contextmanager
def kept_back(stack: Stack, queue: str) -> Any:
    """The items that would have been put in the queue, as they come. No delivery is attempted at once."""
    got: list[dict[str, Any]] = []

    async def keep(data: bytes) -> None:
        got.append(orjson.loads(data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(getattr(stack.app.services.storage, queue), "add", keep)
        by_queue(patch)
        yield got


async def deliveries(client: Client) -> list[tuple[str, str, int]]:
    return [(hit["status"], hit["error"] or "", hit["attempts"]) for hit in (await client.get("delivery"))["hits"]]


async def messages(client: Client) -> list[str]:
    return [hit["status"] for hit in (await client.get("message"))["hits"]]


async def sender(stack: Stack, name: str) -> tuple[Foreign, Client]:
    """A tenant with a connection to an agent that answers 200."""
    client = await stack.register(name)
    return await connect_foreign(stack, client), client


def later(app: App, monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """Lets the time in which the app makes attempts go on."""
    services = replace(app.services, now=lambda: app.services.now() + milliseconds)
    for queue in (app.relay, app.outbound):
        monkeypatch.setattr(queue._attempts, "_services", services)


async def test_a_webhook_that_another_process_has_not_heard_of(stack: Stack, other: App) -> None:
    foreign, client = await sender(stack, "New webhook")
    tenant = await other.services.tenants.get(client.uuid)
    assert tenant is not None
    assert (await tenant.webhooks("DIDCOMM_WEBHOOK")).entries == ()
    hook = await client.webhook()
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    await other.relay.handle(body(*items), 1)
    assert await deliveries(client) == [("DELIVERED", "", 1)]
    assert len(hook.got) == 1


async def test_a_webhook_that_is_gone_fails(stack: Stack, other: App) -> None:
    foreign, client = await sender(stack, "Gone webhook")
    await client.webhook()
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    await client.post("settings/DIDCOMM_WEBHOOK", {"setting": []}, 200)
    await other.relay.handle(body(*items), 1)
    assert await deliveries(client) == [("FAILED", "webhook-removed", 1)]


async def test_what_breaks_off_takes_its_own_ladder(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, evil = await sender(stack, "Bad")
    fine, good = await sender(stack, "Fine")
    with kept_back(stack, "outbound") as items:
        await evil.act(bad.connection.contact_uuid, basic("TOPSECRET"))
        await good.act(fine.connection.contact_uuid, basic("fine"))
    pack = stack.app.outbound._pack

    async def breaks(peer: Any, connection: Any, theirs: Any, plaintext: bytes, now: int) -> Any:
        if b"TOPSECRET" in plaintext:
            raise KeyError(plaintext.decode())
        return await pack(peer, connection, theirs, plaintext, now)

    monkeypatch.setattr(stack.app.outbound, "_pack", breaks)
    await stack.app.outbound.handle(body(*items), 1)
    [(status, error, attempts)] = await deliveries(evil)
    assert (status, error) == ("PENDING", "internal")
    assert attempts >= 1
    [(_, error, attempts)] = await deliveries(good)
    assert (error, attempts) != ("internal", 0)
    assert "KeyError" in caplog.text
    assert "TOPSECRET" not in caplog.text


async def test_poison_leaves_alone_what_is_over(stack: Stack) -> None:
    foreign, client = await sender(stack, "Poison")
    hook = await client.webhook()
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    await stack.app.relay.handle(body(*items), 1)
    await stack.app.poison.handle("relay", "its list had a bad one", body(*items))
    assert await deliveries(client) == [("DELIVERED", "", 1)]
    assert len(hook.got) == 1


async def test_poison_leaves_alone_what_was_sent(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    with kept_back(stack, "outbound") as items:
        action = await acme.act(mine.contact_uuid, basic("x"))
    await stack.app.outbound.handle(body(*items), 1)
    await stack.app.poison.handle("outbound", "its list had a bad one", body(*items))
    assert await deliveries(acme) == [("DELIVERED", "", 1)]
    assert await messages(acme) == ["SENT"]
    assert (await acme.get(f"action/{action['uuid']}"))["typeStatus"] == "SENT"


@pytest.mark.parametrize("length", [5, 40_000])
async def test_a_list_that_comes_again_goes_on_in_parts(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    foreign, client = await sender(stack, "List")
    hook = await client.webhook()
    with kept_back(stack, "relay") as items:
        for content in ("a", "b"):
            await stack.app.inbound.handle(received(foreign, content * length), 1)
    put: list[list[dict[str, Any]]] = []
    queue = stack.app.services.storage.queues["relay"]

    async def keep(data: bytes, *, delay: int = 0) -> None:
        put.append(orjson.loads(data)["items"])

    with monkeypatch.context() as patch:
        patch.setattr(queue, "put", keep)
        await stack.app.relay.handle(body(*items), 2)
    assert hook.got == []
    assert [len(message) for message in put] == [1, 1]
    for message in put:
        await stack.app.relay.handle(body(*message), 1)
        await stack.app.relay.handle(body(*message), 1)
    assert [status for status, *_ in await deliveries(client)] == ["DELIVERED"] * 2
    assert len(hook.got) == 2


async def test_others_do_not_wait_for_a_webhook_that_is_out_of_reach(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, silent = await sender(stack, "Dead webhook")
    fine, good = await sender(stack, "Good webhook")
    hook = await good.webhook()
    gone = await silent.webhook()
    await gone.stop()
    with kept_back(stack, "relay") as items:
        for foreign, content in ((dead, "1"), (dead, "2"), (fine, "a"), (dead, "3"), (fine, "b")):
            await stack.app.inbound.handle(received(foreign, content), 1)
    put: list[list[dict[str, Any]]] = []

    async def keep(data: bytes, *, delay: int = 0) -> None:
        put.append(orjson.loads(data)["items"])

    monkeypatch.setattr(stack.app.services.storage.queues["relay"], "put", keep)
    await stack.app.relay.handle(body(items[0]), 1)
    assert [len(message) for message in put] == [1]  # its next attempt
    put.clear()
    await stack.app.relay.handle(body(*items[1:]), 1)
    assert len(hook.got) == 2
    assert [[item["p"] for item in message] for message in put] == [[silent.uuid] * 2]
    assert [attempts for _, _, attempts in await deliveries(silent)] == [1, 0, 0]
    # By itself it is called, all the same.
    await stack.app.relay.handle(body(*put.pop()), 1)
    assert [attempts for _, _, attempts in await deliveries(silent)] == [1, 1, 1]


async def test_an_item_that_is_too_large_with_a_mark_travels_without_its_body(stack: Stack) -> None:
    outbox, queue = stack.app.outbox, stack.app.services.storage.queues["relay"]
    room = stack.app.services.storage.relay.room
    empty = MessageCall(principal="00000000-0000-7000-8000-000000000000", delivery="x", entry="", message="")
    # In base64, and without a mark, it just fits.
    item = replace(empty, body=bytes((room - len(empty.data()) - len(',"b":""')) // 4 * 3))
    assert room - 4 < len(item.data()) <= room
    await outbox.put_back(queue.name, [[item]])


@pytest.mark.parametrize("again", [2, 3])
async def test_what_failed_is_not_tried_before_its_time(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    foreign, client = await sender(stack, "Ladder")
    hook = await client.webhook()
    hook.answer = lambda got: (503, {"retry-after": "3000"})
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    retries: list[dict[str, Any]] = []

    async def keep(queue: str, item: DeliveryItem, delay: int) -> None:
        retries.append(item.write())

    monkeypatch.setattr(stack.app.outbox, "later", keep)
    await stack.app.relay.handle(body(*items), 1)
    for count in range(2, again + 1):
        await stack.app.relay.handle(body(*items), count)
    assert len(hook.got) == len(retries) == 1
    # The one that was scheduled is the next attempt.
    await stack.app.relay.handle(body(*retries), 1)
    assert len(hook.got) == len(retries) == 2
    await stack.app.relay.handle(body(retries[0]), 2)
    assert len(hook.got) == len(retries) == 2


async def test_what_waited_longer_than_the_sweeper_does_is_not_sent_twice(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, client = await sender(stack, "Backlog")
    hook = await client.webhook()
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    later(stack.app, monkeypatch, GRACE + 1_000)
    await stack.app.relay.handle(body({**items[0], "again": True}), 1)
    await stack.app.relay.handle(body(*items), 1)
    assert len(hook.got) == 1


async def held(stack: Stack, client: Client, number: int) -> Connection:
    """A connection that is not completed, with messages that wait for it."""
    contact = await contact_out_of_reach(client, "did:web:partner.example")
    for content in range(number):
        await client.act(contact["uuid"], basic(content))
    connection = await (await client.tenant()).records.get(Connection, contact["connectionUuid"])
    assert connection is not None
    return connection


async def finish(stack: Stack, client: Client, connection: Connection, url: str) -> None:
    """Completes it with an agent at the url; nobody is told of it."""
    keys, theirs = KeyPairs.generate(), KeyPairs.generate()
    did = peer.create_2([("E", theirs.x25519.public), ("V", theirs.ed25519.public)], didcomm_services(url, "#key-2"))

    async def lose(*lost: Any) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack.app.outbound, "drain", lose)
        services = stack.app.services
        await complete(
            services,
            stack.app.outbound,
            await client.tenant(),
            connection,
            keys=keys,
            mine=pairwise(services, keys),
            theirs=peer.resolve(did).raw,
            version="v1",
        )


async def abandon(client: Client, connection: Connection) -> None:
    unit = Unit()
    unit.merge(connection.key, {"state": "abandoned"})
    await (await client.tenant()).records.commit(unit)


async def test_drains_at_the_same_time_send_each_message_once(stack: Stack, other: App, receiver: Receiver) -> None:
    client = await stack.register("Drained")
    connection = await held(stack, client, 4)
    await finish(stack, client, connection, receiver.url)
    message = orjson.dumps({"drain": {"p": client.uuid, "n": connection.uuid}})
    await asyncio.gather(*(app.outbound.handle(message, 1) for app in (stack.app, other, stack.app, other)))
    assert await deliveries(client) == [("DELIVERED", "", 1)] * 4
    assert len(receiver.got) == 4


async def test_a_drain_waits_for_the_next_attempt_of_what_failed(stack: Stack, receiver: Receiver) -> None:
    client = await stack.register("Blocked")
    connection = await held(stack, client, 2)
    await finish(stack, client, connection, receiver.url)
    receiver.answer = lambda got: (503, {"retry-after": "3000"})
    message = orjson.dumps({"drain": {"p": client.uuid, "n": connection.uuid}})
    for _ in range(3):
        await stack.app.outbound.handle(message, 1)
    assert len(receiver.got) == 1
    assert await deliveries(client) == [("PENDING", "http-503", 1), ("HELD", "", 0)]


async def test_the_sweeper_drains_a_connection_once(
    stack: Stack, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await stack.register("Swept")
    connection = await held(stack, client, 4)
    await finish(stack, client, connection, receiver.url)
    await overdue(stack, client)
    drains: list[str] = []

    async def count(principal: str, uuid: str) -> None:
        drains.append(uuid)

    monkeypatch.setattr(stack.app.outbound, "drain", count)
    await stack.app.sweep.run()
    assert drains.count(connection.uuid) == 1


@pytest.mark.parametrize("told", [True, False])
async def test_what_was_held_for_a_connection_that_has_ended_fails(stack: Stack, told: bool) -> None:
    client = await stack.register("Ended")
    connection = await held(stack, client, 3)
    await abandon(client, connection)
    if told:
        await stack.app.outbound.drain(client.uuid, connection.uuid)
    else:
        await overdue(stack, client)
        await stack.app.sweep.run()

    async def over() -> bool:
        return await deliveries(client) == [("FAILED", "connection-ended", 1)] * 3

    await stack.eventually(over)
    assert await messages(client) == ["FAILED"] * 3
    assert (await (await client.tenant()).records.list(HeldMessage, limit=5)).records == []


async def test_what_failed_before_the_connection_ended_is_not_tried_again(stack: Stack, receiver: Receiver) -> None:
    client = await stack.register("Ended later")
    connection = await held(stack, client, 2)
    await finish(stack, client, connection, receiver.url)
    receiver.answer = lambda got: (503, {"retry-after": "3000"})
    message = orjson.dumps({"drain": {"p": client.uuid, "n": connection.uuid}})
    await stack.app.outbound.handle(message, 1)
    await abandon(client, connection)
    await stack.app.outbound.handle(message, 1)
    assert len(receiver.got) == 1
    assert await deliveries(client) == [("FAILED", "connection-ended", 2), ("FAILED", "connection-ended", 1)]


async def test_a_connection_that_ends_while_a_message_is_sent(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await stack.register("Ends")
    contact = await contact_out_of_reach(client, "did:web:partner.example")
    tenant = await client.tenant()
    connection = await tenant.records.get(Connection, contact["connectionUuid"])
    assert connection is not None
    written = write

    async def ends(*arguments: Any, **named: Any) -> Any:
        outgoing = await written(*arguments, **named)
        await abandon(client, connection)
        return outgoing

    monkeypatch.setattr("tntcore.pipeline.sending.write", ends)
    payload = {"type": "DIDCOMM", "to": contact["uuid"], "data": {"message": basic("x")}}
    assert_problem(await client.call("POST", "action", payload), 409, "connection-ended")
    assert await deliveries(client) == []
