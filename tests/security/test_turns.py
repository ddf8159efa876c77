"""Messages that take long to handle: whoever sends many of them holds up nobody else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.scenarios.common import basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.security.test_exchanges import ISSUE, item, said
from tests.stack import ROOT, Client, Receiver, Stack
from tntcore.api import turns
from tntcore.api.http import Request
from tntcore.app import App
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import pack_v1
from tntcore.exchanges.exchanges import Exchanges
from tntcore.messaging.message import Message
from tntcore.pipeline import consequences, inbound
from tntcore.pipeline.inbound import Inbound
from tntcore.pipeline.receive import Receiving
from tntcore.shares import party
from tntcore.storage.commit import Unit
from tntcore.storage.items import InboundItem
from tntcore.storage.records import Connection
from tntcore.storage.repository import Repository
from tntcore.tenancy import webhooks
from tntcore.tenancy.webhooks import WebhookEntry


class Hanging(list[str]):
    """The threads whose messages are being worked with for ever: those whose names begin with `slow`. What an earlier
    test left in the queue is none of them."""

    slow = ""


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Hanging]:
    under_way = Hanging()
    under_way.slow = f"slow in {request.node.name}"
    go_on = asyncio.Event()
    move = Exchanges._move

    async def slowly(self: Exchanges, *args: Any, **more: Any) -> Any:
        thread = args[2].exchange.thid
        if thread.startswith(under_way.slow):
            under_way.append(thread)
            await go_on.wait()
        return await move(self, *args, **more)

    monkeypatch.setattr(Exchanges, "_move", slowly)
    yield under_way
    go_on.set()


def own_exchange(stack: Stack) -> Inbound:
    """Returns a queue's receiver whose places nothing else takes."""
    return Inbound(stack.app.services, stack.app.exchange._receiving, "exchange")


def note_put_off(stack: Stack, monkeypatch: pytest.MonkeyPatch, foreign: Foreign) -> list[dict[str, Any]]:
    """Returns a list which the tenant's items that are put off get into, in place of the queue."""
    queue, items = stack.app.services.storage.queues["exchange"], list[dict[str, Any]]()
    put_there = queue.put

    async def put(body: bytes, *, delay: int = 0) -> None:
        early = orjson.loads(body)["items"]
        if early[0]["p"] == foreign.client.uuid:
            items.extend(early)
        else:
            await put_there(body, delay=delay)  # of an earlier test

    monkeypatch.setattr(queue, "put", put)
    return items


def offer(thread: str) -> dict[str, Any]:
    return said(f"{ISSUE}/offer-credential", thread, f"id-{thread}", {"a": 1})


async def send(foreign: Foreign, message: dict[str, Any]) -> None:
    assert (await foreign.stack.deliver(foreign.v1(orjson.dumps(message)))).status == 202


async def test_a_flood_of_them_stops_neither_messages_nor_exchanges_of_others(stack: Stack, hanging: Hanging) -> None:
    attacked = await stack.register("Attacked")
    stranger, partner = await connect_foreign(stack, attacked), await connect_foreign(stack, attacked)
    other = await connect_foreign(stack, await stack.register("Other"))
    for number in range(40):
        await send(stranger, offer(f"{hanging.slow} {number}"))

    async def busy() -> bool:
        return len(hanging) >= inbound._PLACES // 4

    await stack.eventually(busy)
    begun = time.monotonic()
    for one in (partner, other):
        await send(one, basic("plain", **{"@id": f"plain {one.client.uuid}"}))
        await send(one, offer("honest"))

    async def done() -> bool:
        for client in (attacked, other.client):
            threads = [hit["thid"] for hit in (await client.get("exchange"))["hits"]]
            types = [hit["type"].rpartition("/")[0] for hit in (await client.get("message"))["hits"]]
            if "honest" not in threads or "https://didcomm.org/basicmessage/1.0" not in types:
                return False
        return True

    await stack.eventually(done, 8)
    assert time.monotonic() - begun < 8
    assert len(hanging) <= inbound._PLACES // 2


async def came_by(foreign: Foreign, invitation: str) -> None:
    """Makes the connection one that the other side asked for by an invitation, which others may have used, too."""
    tenant = await foreign.client.tenant()
    connection = await tenant.records.get(Connection, foreign.connection.uuid)
    assert connection is not None
    connection.role, connection.invitation_uuid = "responder", invitation
    unit = Unit()
    unit.change(connection)
    await tenant.records.commit(unit)
    foreign.stack.app.services.tenants.forget_recipient(tenant, connection.uuid)


async def test_several_connections_of_one_stranger_have_one_turn(stack: Stack, hanging: Hanging) -> None:
    attacked = await stack.register("Attacked")
    strangers = [await connect_foreign(stack, attacked) for _ in range(4)]
    for stranger in strangers:
        await came_by(stranger, "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b")
    partner = await connect_foreign(stack, attacked)
    for number in range(40):
        await send(strangers[number % 4], offer(f"{hanging.slow} {number}"))

    async def busy() -> bool:
        return len(hanging) >= inbound._PLACES // 3

    await stack.eventually(busy)
    for number in range(2):
        await send(partner, offer(f"{hanging.slow}, but honest {number}"))

    async def begun() -> bool:
        return sum("honest" in thread for thread in hanging) == 2

    # None of the strangers' has ended.
    await stack.eventually(begun, 8)
    assert sum("honest" not in thread for thread in hanging) <= inbound._PLACES * 3 // 8


async def test_what_plain_messages_cause_is_shared_by_entrance(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as fetching the documents of DIDs that they name."""
    attacked = await stack.register("Attacked")
    stranger, partner = await connect_foreign(stack, attacked), await connect_foreign(stack, attacked)
    invitation = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1c"
    await came_by(stranger, invitation)
    store, senders = Receiving._store, list[str]()

    async def stored(self: Receiving, incoming: Any) -> None:
        if incoming.tenant.uuid == attacked.uuid:
            senders.append(party().sender)
        await store(self, incoming)

    monkeypatch.setattr(Receiving, "_store", stored)
    for count, foreign in enumerate((stranger, partner), 1):
        await send(foreign, basic("x", **{"@id": f"plain {count}"}))

        async def handled(expected: int = count) -> bool:
            return len(senders) >= expected

        await stack.eventually(handled)
    assert set(senders) == {invitation, partner.connection.uuid}


async def test_one_for_which_there_is_no_place_comes_again_in_seconds(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = await connect_foreign(stack, await stack.register("Busy"))
    exchange = own_exchange(stack)
    for _ in range(inbound._PLACES):
        exchange._places.take("others")
    delays: list[int] = []
    last: list[bytes] = []

    queue = stack.app.services.storage.queues["exchange"]
    put_there = queue.put

    async def put(body: bytes, *, delay: int = 0) -> None:
        if orjson.loads(body)["items"][0]["p"] != foreign.client.uuid:
            await put_there(body, delay=delay)  # of an earlier test
            return
        delays.append(delay)
        last[:] = [body]

    monkeypatch.setattr(queue, "put", put)
    monkeypatch.setattr(inbound, "_PATIENCE", 0.0)
    body = orjson.dumps({"items": [item(foreign, offer("T"))]})
    for _ in range(12):
        await exchange.handle(body, 1)
        [body] = last
    assert delays[0] <= 3
    assert sum(delays[:4]) <= 60
    assert max(delays) <= 1.5 * inbound._LONGEST_WAIT
    waited = orjson.dumps({"items": [{**item(foreign, offer("U")), "w": 5_000}]})
    await exchange.handle(waited, 1)
    assert delays[-1] <= 1.5 * inbound._LONGEST_WAIT
    for _ in range(inbound._PLACES):
        exchange._places.give_back("others")
    await exchange.handle(body, 1)
    assert len((await foreign.client.get("exchange"))["hits"]) == 1


async def test_a_few_that_need_little_wait_for_a_place_instead(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = await connect_foreign(stack, await stack.register("Little"))
    exchange, more = own_exchange(stack), inbound._WAITERS
    monkeypatch.setattr(inbound, "_PATIENCE", 60.0)
    later = note_put_off(stack, monkeypatch, foreign)
    for _ in range(inbound._PLACES):
        exchange._places.take("others")
    bodies = [orjson.dumps({"items": [item(foreign, offer(f"W{number}"))]}) for number in range(more + 1)]
    waiting = [asyncio.create_task(exchange.handle(body, 1)) for body in bodies]

    async def one_put_off() -> bool:
        return len(later) == 1 and exchange._waiting == more

    await stack.eventually(one_put_off)
    for _ in range(inbound._PLACES):
        exchange._places.give_back("others")
    await asyncio.gather(*waiting)
    assert len((await foreign.client.get("exchange"))["hits"]) == more


@pytest.mark.parametrize(
    ("free", "put_off"),
    [
        (inbound._KEPT + 1, []),
        (inbound._KEPT, ["of much"]),
        (inbound._KEPT_FOR_SMALL, ["of much", "large"]),
    ],
)
async def test_places_are_kept_for_those_that_need_little_and_some_for_small_messages(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, free: int, put_off: list[str]
) -> None:
    foreign = await connect_foreign(stack, await stack.register("Kept"))
    exchange, storage = own_exchange(stack), stack.app.services.storage
    later = note_put_off(stack, monkeypatch, foreign)
    needs_little = True
    monkeypatch.setattr(stack.app.services.workers, "needs_little", lambda: needs_little)
    items = {name: item(foreign, offer(f"{name} {free}")) for name in ("of much", "large", "small")}
    large = items["large"]
    raw = large.pop("e").encode()
    await storage.envelopes.put(large["id"], raw, {"p": large["p"], "o": large["o"], "u": large["u"]})
    for _ in range(inbound._PLACES - free):
        exchange._places.take("others")
    for name, one in items.items():
        needs_little = name != "of much"
        await exchange.handle(orjson.dumps({"items": [one]}), 1)
    assert [one["id"] for one in later] == [items[name]["id"] for name in put_off]


def test_first_contacts_that_find_no_place_come_again_one_after_the_other(stack: Stack) -> None:
    line = Inbound(stack.app.services, stack.app.inbound._receiving, now=lambda: 1_000.0)
    one, other = (InboundItem(uuid="1", principal="p", owner="identity", owner_uuid=uuid) for uuid in ("a", "b"))
    delays = [line._line_up(one).seconds for _ in range(200)]
    assert delays[:100] == pytest.approx([inbound._SOON + number * inbound._APART for number in range(100)])
    assert max(delays) == inbound._LATEST
    assert line._line_up(other).seconds == pytest.approx(inbound._SOON)


async def test_a_flood_of_first_contacts_stops_neither_messages_nor_those_of_others(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked, other = await stack.register("Attacked"), await stack.register("Other")
    partner = await connect_foreign(stack, attacked)
    under_way: list[str] = []
    handled: list[str] = []
    go_on = asyncio.Event()
    receive = Receiving.receive

    async def slowly(self: Receiving, item: InboundItem, *args: Any, **more: Any) -> None:
        if item.owner_uuid == attacked.identity["uuid"]:
            under_way.append(item.uuid)
            await go_on.wait()
        await receive(self, item, *args, **more)
        handled.append(item.owner_uuid)

    monkeypatch.setattr(Receiving, "receive", slowly)
    key, others = await public_key(attacked), await public_key(other)
    flood = 40
    for number in range(flood):
        assert (await stack.deliver(anonymous(key, f"flood {number}"))).status == 202

    async def busy() -> bool:
        return len(under_way) >= inbound._FIRST_CONTACTS // 3

    await stack.eventually(busy)
    await send(partner, basic("plain"))
    assert (await stack.deliver(anonymous(others, "honest"))).status == 202

    async def done() -> bool:
        return {partner.connection.uuid, other.identity["uuid"]} <= set(handled)

    await stack.eventually(done, 20)
    assert len(under_way) <= inbound._FIRST_CONTACTS // 2
    go_on.set()

    async def all_handled() -> bool:
        return handled.count(attacked.identity["uuid"]) == flood

    # None is lost.
    await stack.eventually(all_handled, 120)


async def test_slow_calls_of_one_tenant_leave_places_to_others(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    greedy, other = await stack.register("Greedy"), await stack.register("Other")
    app, waits = App(stack.app.services), asyncio.Event()
    under_way = 0
    listed = Repository.list

    async def slow(self: Repository, *args: Any, **more: Any) -> Any:
        nonlocal under_way
        if self.principal == greedy.uuid:
            under_way += 1
            await waits.wait()
        return await listed(self, *args, **more)

    monkeypatch.setattr(Repository, "list", slow)

    async def call(client: Client) -> int:
        return (await app.http(Request("GET", "message", {}, {"tnt-subscription-key": client.key}, b""))).status

    most = turns._PLACES // 2
    calls = [asyncio.create_task(call(greedy)) for _ in range(most + turns._FEW)]

    async def all_begun() -> bool:
        return under_way >= most

    await stack.eventually(all_begun)
    assert await call(other) == 200
    # A few wait for a place.
    assert under_way == most
    assert not any(task.done() for task in calls)
    monkeypatch.setattr(turns, "_SOON", 0.0)
    assert await call(greedy) == 429
    assert await call(other) == 200
    waits.set()
    assert set(await asyncio.gather(*calls)) == {200}


def anonymous(verkey: str, content: str) -> bytes:
    return pack_v1(orjson.dumps(basic(content)), recipients=[verkey], sender=None)


async def public_key(client: Client) -> str:
    tenant = await client.tenant()
    recipient = await client.stack.app.services.tenants.recipient(tenant, "identity", client.identity["uuid"])
    assert recipient is not None
    return encode_verkey(recipient.signer.public)


async def test_a_tenants_slow_expressions_stop_no_messages(
    stack: Stack, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 expressions of 20 characters took 42 s of the event loop for a message of 260 kB."""
    tried = []

    def select(entries: list[WebhookEntry], message: Message) -> list[WebhookEntry]:
        tried.append(message.id)
        return webhooks.select(entries, message)

    monkeypatch.setattr(consequences, "select", select)
    monkeypatch.setattr(consequences, "MATCH_SECONDS", 0.02)
    foreign = await connect_foreign(stack, await stack.register("Greedy"))
    expressions = {"slow": "(?:[ab]{1,31}){30}Q", "mine": "~0042", "other": "payment"}
    setting = [{"id": name, "url": f"{receiver.url}/{name}", "match": match} for name, match in expressions.items()]
    await foreign.client.post("settings/DIDCOMM_WEBHOOK", {"setting": setting}, 200)
    keys = {f"{'ab' * 500}~{number:04}": 1 for number in range(256)}
    await send(foreign, basic("many keys", **{"@id": "many keys", **keys}))
    await send(foreign, basic("few", **{"@id": "few", "~0042": 1}))
    await receiver.count(3)
    # What takes too long counts as matching.
    assert sorted(hook.path for hook in receiver.got) == ["/mine", "/mine", "/slow"]
    assert set(tried) == {"few"}


def test_as_many_as_take_long_do_not_stop_the_host_from_fetching_others() -> None:
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert queues["newBatchThreshold"] >= inbound._PLACES + inbound._WAITERS
