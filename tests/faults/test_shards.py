"""A tenant in several shards: it is spread evenly, passes more than one partition takes, and is whole for everybody."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.faults.endings import Decided, Deleted, Erased, Suspended, TenantDeleted
from tests.faults.exchanges import Issued, Proven
from tests.faults.flows import (
    Answered,
    AnsweredV2,
    Asked,
    Connected,
    ConnectedV2,
    Flow,
    HungUp,
    Received,
    Rotated,
    Sent,
)
from tests.faults.process import Fault, server_error
from tests.faults.sites import Client
from tests.faults.test_every_call import one
from tests.faults.world import World, run
from tntcore.api.http import KEY_HEADER, Request
from tntcore.messaging.ids import UuidFactory
from tntcore.storage import layout
from tntcore.storage.records import Contact, Message, Principal
from tntcore.storage.shards import MOST, number_of, principal_of, shard_name
from tntcore.storage.tables import Table
from tntcore.storage.transactions import Operation
from tntcore.tenancy.tenants import Tenant

ROWS = 2_000  # that Azure writes in a partition in a second
WINDOW = 100  # milliseconds in which so many are counted


def test_names() -> None:
    for number in range(MOST):
        assert (principal_of(name := shard_name("a-b", number)), number_of(name)) == ("a-b", number)
    assert [number_of(f"a-b.{text}") for text in ("0", "01", "-1", "x", str(MOST), "1.2")] == [-1] * 6


@pytest.mark.parametrize("shards", [2, 4, 8])
def test_no_shard_gets_more_than_its_share_and_a_fifth(shards: int) -> None:
    """Of the contacts, which are chosen at random: two thousand or more."""
    tenant = Tenant(Principal(uuid="a", shards=shards), None, lambda: 0.0)  # type: ignore[arg-type]
    contacts = UuidFactory(itertools.count(1_700_000_000_000).__next__, random.Random(1).randbytes)
    born = Counter(tenant.shard_of_new(contacts(), 10**13) for _ in range(2_000))
    assert len(born) == shards
    assert max(born.values()) <= 1.2 * 2_000 / shards


class Bounded:
    """Refuses what is more than a partition takes."""

    def __init__(self, world: World, table: Table) -> None:
        self.refused = 0
        self.rows: Counter[str] = Counter()
        self._world, self._transact = world, table.transact
        self._window: Counter[tuple[str, int]] = Counter()
        table.transact = self  # type: ignore[method-assign]

    async def __call__(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        window = partition, self._world.durable.now // WINDOW
        if self._window[window] + len(operations) > ROWS * WINDOW / 1000:
            self.refused += 1
            raise server_error(503)
        etags = await self._transact(partition, operations)
        self._window[window] += len(operations)
        self.rows[partition] += len(operations)
        return etags


@pytest.mark.parametrize(("shards", "passes"), [(1, False), (8, True)])
def test_1500_messages_a_second(tmp_path: Path, shards: int, passes: bool) -> None:
    """In simulated time, to 64 contacts."""

    async def work() -> None:
        world = World(tmp_path, shards)
        acme = await world.register("Acme")
        partners = [await world.partner(acme) for _ in range(64)]
        for partner in partners:
            await partner.send(partner.basic("first"))
        await world.settle()
        acme.hooks.clear()
        world.tick = 0
        bounded = Bounded(world, world.process.app.services.storage.records)
        senders = itertools.cycle(partners)
        for _ in range(3):
            await asyncio.gather(*(one.send(one.basic("x")) for one in itertools.islice(senders, 150)))
            while await world.step():
                pass
            world.durable.now += WINDOW
        assert (len(acme.hooks.events) == 450) is passes
        assert (bounded.refused == 0) is passes
        if passes:
            assert 450 * 5 <= sum(bounded.rows.values()) <= 450 * 5 + 5, "and the tenant's usage"
            share = Counter(partner.shard for partner in partners)
            for shard, rows in bounded.rows.items():
                assert rows <= 1.2 * 450 * 5 * share[shard] / 64

    run(work)


FLOWS = [Connected, ConnectedV2, Asked, Rotated, HungUp, Deleted, Erased, TenantDeleted, Suspended]


@pytest.mark.parametrize("flow", [*FLOWS, Issued, Proven, Decided])
def test_flows(tmp_path: Path, flow: type[Flow]) -> None:
    """Nearly everything is in another shard than the first."""

    async def work() -> None:
        world = World(tmp_path, MOST)
        case = flow(world)
        await case.prepare()
        await world.settle()
        await case.act()
        await world.settle()
        world.restart()
        await case.check()
        await world.assert_at_rest(*case.clients, failed=case.failed)
        assert any("." in partition for partition, _ in world.durable.tables["records"])

    run(work)


@pytest.mark.parametrize(
    ("flow", "kind"),
    [
        (Received, "kill"),
        (Received, "twice"),
        (Answered, "lost"),
        (AnsweredV2, "kill"),
        (Sent, "kill"),
        (Sent, "twice"),
    ],
)
def test_nothing_is_lost_and_nothing_happens_twice(tmp_path: Path, flow: type[Flow], kind: Fault) -> None:
    async def work() -> None:
        world = World(tmp_path, 4)
        case = flow(world)
        await case.prepare()
        await world.settle()
        world.keep()
        for number in itertools.count(1):
            if not await one(world, case, kind, number):
                break
        assert number > 5

    run(work)


async def raised(world: World, client: Client, shards: int) -> int:
    answer = await world.call("PUT", f"principal/{client.uuid}", {"shards": shards}, {})
    return answer.status


async def pages(client: Client, path: str) -> list[Any]:
    """All hits of a list, by pages of three."""
    found: list[Any] = []
    following = ""
    while True:
        page = await client.get(f"{path}{'&' if '?' in path else '?'}limit=3{following}")
        found += page["hits"]
        if page["next"] is None:
            return found
        following = f"&next={page['next']}"


def test_the_number_is_raised_while_the_tenant_works(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        acme = await world.register("Acme")
        old = [await world.partner(acme) for _ in range(3)]
        storage = world.process.app.services.storage
        assert await layout.layout_of(storage) == 1, "an earlier version may go on with it"
        own = Request("PUT", f"principal/{acme.uuid}", {}, {KEY_HEADER: acme.key}, b'{"shards": 4}')
        assert (await world.process.app.http(own)).status == 401, "the operator raises it"
        assert await raised(world, acme, 8) == 200
        assert await layout.layout_of(storage) == layout.SHARDS
        soon = [await world.partner(acme) for _ in range(8)]
        assert {partner.shard for partner in (*old, *soon)} == {acme.uuid}, "others may not know of it yet"
        world.durable.now += 60_000
        new = [await world.partner(acme) for _ in range(16)]
        assert len({partner.shard for partner in new}) > 4
        assert await raised(world, acme, 2) == 409
        sent = [*old, *new, *old]
        for number, partner in enumerate(sent):
            world.durable.now += 10
            await partner.send(partner.basic(f"{number:02}"))
            while await world.step():
                pass
        await world.settle()
        assert acme.contents() == [f"{number:02}" for number in range(len(sent))]
        contents = [hit["message"]["content"] for hit in await pages(acme, "message")]
        assert contents == [f"{number:02}" for number in range(len(sent))], "lists are in the order of receipt"
        newest = [hit["message"]["content"] for hit in await pages(acme, "message?order=newest")]
        assert newest == contents[::-1]
        for path, number in (("contact", 27), ("connection", 27), ("action", len(sent)), ("delivery", len(sent))):
            uuids = [hit["uuid"] for hit in await pages(acme, path)]
            assert len(uuids) == len({*uuids}) == number
            assert (await acme.get(f"{path}?limit=1"))["total"] == {"value": number, "relation": "eq"}
            for uuid in uuids:
                assert (await acme.get(f"{path}/{uuid}"))["uuid"] == uuid

    run(work)


def test_all_that_changes_something(tmp_path: Path) -> None:
    """Finds what it changes, wherever that is, and leaves nothing in a second place."""

    async def work() -> None:
        world = World(tmp_path, MOST)
        acme = await world.register("Acme")
        partners = [await world.partner(acme) for _ in range(4)]
        assert any(partner.shard != acme.uuid for partner in partners)
        for partner in partners:
            contact = partner.connection.contact_uuid
            await partner.send(partner.basic("in"))
            await acme.act(contact, {"@type": "https://example.org/x/1.0/x"})
            await world.settle()
            await ok(acme, "PUT", f"contact/{contact}", {"contact": {"displayName": "New"}})
            assert (await acme.get(f"contact/{contact}"))["displayName"] == "New"
            for delivery in (await acme.get(f"delivery?contact={contact}"))["hits"]:
                world.durable.now += 120_000
                await ok(acme, "POST", f"delivery/{delivery['uuid']}/replay", {})
                await world.settle()
            [message, *_] = (await acme.get(f"message?contact={contact}&direction=IN"))["hits"]
            await ok(acme, "DELETE", f"message/{message['uuid']}")
            assert (await acme.call("GET", f"message/{message['uuid']}")).status == 404
        [action, *_] = (await acme.get("action"))["hits"]
        await ok(acme, "POST", f"action/{action['uuid']}", {"command": "message", "data": {"message": message_of(1)}})
        world.durable.now += 120_000
        replayed = await ok(acme, "POST", "delivery/replay", {"since": "2020-01-01T00:00:00Z", "status": ["DELIVERED"]})
        await world.settle()
        assert (await acme.get(f"delivery/replay/{replayed['uuid']}"))["replayed"] > 4
        for _ in range(4):
            made = await acme.post("invitation", {})
            await ok(acme, "DELETE", f"invitation/{made['uuid']}")
            assert (await acme.get(f"invitation/{made['uuid']}"))["status"] == "REVOKED"
        setting = (await acme.get("settings/DIDCOMM_WEBHOOK"))["setting"]
        await ok(acme, "POST", f"settings/DIDCOMM_WEBHOOK/{setting[0]['id']}/test", {})
        for partner in partners:
            await ok(acme, "POST", f"connection/{partner.connection.uuid}/rotate", {})
        for partner in partners[:2]:
            await ok(acme, "POST", f"contact/{partner.connection.contact_uuid}/erase")
            await ok(acme, "DELETE", f"contact/{partners[2].connection.contact_uuid}")
            partners[2] = partners[3]
        await world.settle()
        acts = {hit["act"] for hit in await pages(acme, "audit")}
        assert {"contact.erased", "delivery.replayed", "deliveries.replayed", "tenant.changed"} <= acts
        assert_in_one_place(world)

    run(work)


def message_of(number: int) -> dict[str, Any]:
    return {"@type": "https://example.org/x/1.0/x", "@id": f"x-{number}"}


async def ok(client: Client, method: str, path: str, body: Any = None) -> Any:
    answer = await client.call(method, path, body)
    assert answer.status < 300, (path, answer.body)
    return orjson.loads(answer.body) if answer.body else None


def assert_in_one_place(world: World) -> None:
    keys = Counter((principal_of(owner), key) for owner, key in world.durable.tables["records"])
    assert max(keys.values()) == 1


def test_retention(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path, MOST)
        acme = await world.register("Acme")
        await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"retentionDays": 3}})
        for partner in [await world.partner(acme) for _ in range(6)]:
            await partner.send(partner.basic("x"))
        await world.settle()
        tenant = await acme.tenant()
        assert await tenant.records.count(Message) == 6
        await world.pass_days(5)
        assert await tenant.records.count(Message) == 0
        assert await tenant.records.count(Contact) == 6

    run(work)
