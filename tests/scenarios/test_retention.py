"""What is deleted by itself: messages older than their tenant keeps them, and what a deleted tenant leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.scenarios.clock import DAY, HOUR
from tests.scenarios.common import assert_problem, basic, contact_out_of_reach
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_credentials import offer
from tests.scenarios.test_exchanges import connected, only
from tests.scenarios.test_redelivery import body, item
from tests.stack import Client, Receiver, Stack
from tntcore.maintenance import retention
from tntcore.maintenance.retention import GONE, KEEPS, WALK, Retention
from tntcore.storage.blobs import Blobs
from tntcore.storage.records import ANSWERS, Delivery, Entry, Principal
from tntcore.storage.tables import Table
from tntcore.storage.transactions import Value
from tntcore.tenancy.tenants import Tenant

LARGE = "x" * 100_000


async def sweep(stack: Stack, days: float = 0) -> None:
    """As the timer does it so many days from now."""
    real = stack.app.services
    await Retention(replace(real, now=lambda: real.now() + round(days * DAY))).sweep()


async def keep(client: Client, days: int) -> None:
    await client.post("settings/PRINCIPAL_SETTINGS", {"setting": {"retentionDays": days}}, 200)


async def watched(stack: Stack, partition: str, client: Client) -> bool:
    return await stack.app.services.storage.due.get(partition, client.uuid) is not None


@pytest.fixture(autouse=True)
def all_in_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have left tenants that keep messages."""
    monkeypatch.setattr(retention, "_TENANTS", 10_000)
    monkeypatch.setattr(retention, "_LONGEST", DAY)


@pytest.fixture
async def walk(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk begins now, and comes to every tenant at once."""
    monkeypatch.setattr(retention, "_WALK_FIRST", -1)
    monkeypatch.setattr(retention, "_AT_A_TIME", 10_000)
    await stack.app.services.storage.due.delete(*WALK)


@pytest.fixture
async def talking(stack: Stack, pair: tuple[Client, Client]) -> tuple[Client, Client, Receiver]:
    """Two tenants, of whom one has sent the other a small message and a large one, and the webhook that has them."""
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    for content in ("small", LARGE):
        await acme.act(mine.contact_uuid, basic(content))
    await hook.count(2)

    async def over() -> bool:
        kept = [*(await acme.get("message"))["hits"], *(await bolt.get("delivery"))["hits"]]
        return len(kept) == 4 and {one["status"] for one in kept} <= {"SENT", "DELIVERED"}

    await stack.eventually(over)
    return acme, bolt, hook


async def contents(client: Client) -> list[str]:
    return sorted(hit["message"]["content"][:5] for hit in (await client.get("message"))["hits"])


async def bodies(tenant: Tenant) -> int:
    return len(await blobs(tenant))


async def test_old_messages_are_erased_for_who_wants_that(
    stack: Stack, talking: tuple[Client, Client, Receiver]
) -> None:
    acme, bolt, _ = talking
    tenant = await bolt.tenant()
    await keep(bolt, 30)
    await sweep(stack, 29.9)
    assert await contents(bolt) == ["small", "xxxxx"]
    assert await bodies(tenant) == 1
    await sweep(stack, 30.1)
    assert await contents(bolt) == []
    assert (await bolt.get("delivery"))["hits"] == []
    assert await bodies(tenant) == 0
    assert await contents(acme) == ["small", "xxxxx"]
    # The thread is known, and so is that the messages were there: the same ones are still duplicates.
    assert len((await bolt.get("action"))["hits"]) == 2
    entries = (await tenant.records.list(Entry, limit=10)).records
    assert [entry.message_uuid for entry in entries] == ["", ""]


async def test_what_has_not_arrived_is_kept(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    hook.answer = lambda _: (500, {})
    await acme.act(mine.contact_uuid, basic("refused"))
    await hook.count(1)
    held = await contact_out_of_reach(acme, "did:web:out.of.reach.example")
    await acme.act(held["uuid"], basic("held"))
    for client in pair:
        await keep(client, 1)
    await sweep(stack, 2)
    assert await contents(bolt) == ["refus"]
    assert "held" in await contents(acme)
    tenant = await bolt.tenant()
    [delivery] = (await tenant.records.list(Delivery, limit=10)).records
    assert delivery.status == "PENDING"


async def test_what_was_given_up_is_kept_until_it_is_replayed(stack: Stack) -> None:
    foreign = await connect_foreign(stack, await stack.register("Given up"))
    client, given = foreign.client, item(foreign, "late")
    await stack.app.poison.handle("inbound", f"old-{given['id']}", body(given))
    await keep(client, 1)
    await sweep(stack, 2)
    named = {"queue": "inbound", "id": f"old-{given['id']}"}
    answer = await stack.call("POST", "poison/replay", named, **stack.operator)
    assert answer.json()["replayed"] == 1

    async def handled() -> bool:
        return [hit["status"] for hit in (await client.get("message"))["hits"]] == ["RECEIVED"]

    await stack.eventually(handled)


async def test_an_exchange_that_is_not_over_keeps_its_messages(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoRequest": False, "retentionDays": 1}}, 200)
    await issuer.post("credential", offer("jwt-vc", mine.contact_uuid))
    received = await only(stack, holder, "offer-received")
    await sweep(stack, 2)
    assert len((await holder.get("message"))["hits"]) == 1
    await holder.post(f"exchange/{received['uuid']}/accept", {}, 200)

    async def over() -> bool:
        exchange = await holder.get(f"exchange/{received['uuid']}")
        return bool(exchange["state"] == "done")

    await stack.eventually(over)

    async def settled() -> bool:
        return all(one["status"] != "SENDING" for one in (await holder.get("message"))["hits"])

    await stack.eventually(settled)
    await sweep(stack, 2)
    assert (await holder.get("message"))["hits"] == []
    [credential] = (await holder.get("credential"))["hits"]
    assert (await holder.post(f"credential/{credential['uuid']}/verify", None, 200))["verified"]


async def test_who_keeps_all_again_is_looked_at_no_longer(
    stack: Stack, talking: tuple[Client, Client, Receiver]
) -> None:
    _, bolt, _ = talking
    await keep(bolt, 1)
    assert (await bolt.call("DELETE", "settings/PRINCIPAL_SETTINGS")).status == 204
    await sweep(stack)
    # A setting may be about to be saved.
    assert await watched(stack, KEEPS, bolt)
    await sweep(stack, 2)
    assert not await watched(stack, KEEPS, bolt)
    assert await contents(bolt) == ["small", "xxxxx"]


async def rows(client: Client) -> list[str]:
    storage: Any = client.stack.app.services.storage
    page = await storage.records.scan(client.uuid, "", "~~~", limit=1000, columns=())
    return [row.key for row in page.rows]


async def test_what_a_deleted_tenant_leaves_is_deleted(stack: Stack, talking: tuple[Client, Client, Receiver]) -> None:
    acme, bolt, _ = talking
    tenant = await bolt.tenant()
    before = await rows(acme)
    assert (await stack.call("DELETE", f"principal/{bolt.uuid}", **stack.operator)).status == 204
    await sweep(stack)
    assert await rows(bolt) == [Principal.row_key(bolt.uuid)]
    assert await bodies(tenant) == 0
    assert await rows(acme) == before
    shown = (await stack.call("GET", f"principal/{bolt.uuid}", **stack.operator)).json()
    assert (shown["status"], shown["displayName"]) == ("DELETED", "Bolt")
    # What a process that does not know yet writes goes, too.
    await stack.app.services.storage.records.put(bolt.uuid, "message~late", {"status": "RECEIVED"})
    await sweep(stack)
    assert await rows(bolt) == [Principal.row_key(bolt.uuid)]
    assert await watched(stack, GONE, bolt)
    await sweep(stack, 2 * HOUR / DAY)
    assert not await watched(stack, GONE, bolt)


@pytest.mark.usefixtures("walk")
async def test_what_a_tenant_left_that_an_older_version_deleted_is_deleted(
    stack: Stack, talking: tuple[Client, Client, Receiver]
) -> None:
    """It did not write down who left."""
    acme, bolt, _ = talking
    storage = stack.app.services.storage
    before = await rows(acme)
    assert (await stack.call("DELETE", f"principal/{bolt.uuid}", **stack.operator)).status == 204
    await storage.due.delete(GONE, bolt.uuid)
    await sweep(stack)
    assert await rows(bolt) == [Principal.row_key(bolt.uuid)]
    assert await rows(acme) == before


async def test_a_tenant_that_was_not_deleted_after_all_loses_nothing(
    stack: Stack, talking: tuple[Client, Client, Receiver]
) -> None:
    """As if the process had died between writing down that it goes, and deleting it."""
    _, bolt, _ = talking
    services = stack.app.services
    await services.storage.due.put(GONE, bolt.uuid, {"markedAt": services.now()})
    before = await rows(bolt)
    await sweep(stack)
    await sweep(stack, 1)
    assert await rows(bolt) == before
    assert not await watched(stack, GONE, bolt)
    assert_problem(await bolt.call("GET", f"message/{bolt.uuid}"), 404, "message-unknown")


async def test_one_tenant_that_cannot_be_seen_to_holds_back_no_other(
    stack: Stack, talking: tuple[Client, Client, Receiver]
) -> None:
    acme, bolt, _ = talking
    for client in (acme, bolt):
        await keep(client, 1)
    first, second = sorted((acme, bolt), key=lambda client: client.uuid)
    storage = stack.app.services.storage
    await storage.records.put(first.uuid, "setting~PRINCIPAL_SETTINGS", {"value": b"not sealed"})
    with pytest.raises(ExceptionGroup):
        await sweep(stack, 2)
    assert await contents(second) == []
    assert await contents(first) == ["small", "xxxxx"]
    await first.call("DELETE", "settings/PRINCIPAL_SETTINGS")


@pytest.mark.usefixtures("walk")
async def test_old_answers_to_idempotency_keys_are_deleted_and_live_ones_kept(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, _ = pair
    tenant = await acme.tenant()
    contact = await contact_out_of_reach(acme, "did:web:nobody.example")

    async def call(key: str, content: str) -> Any:
        action = {"type": "DIDCOMM", "to": contact["uuid"], "data": {"message": basic(content)}}
        return (await acme.call("POST", "action", action, idempotency_key=key)).json()

    first = {key: await call(key, content) for key, content in (("small", "small"), ("large", LARGE))}
    assert len(await answers(acme)) == 2
    before = await stored(acme)
    await sweep(stack, 0.9)
    assert {key: await call(key, content) for key, content in (("small", "small"), ("large", LARGE))} == first
    # One that began long ago counts by its last use, and one that broke off by its begin.
    begun, again = (f"{ANSWERS}~{name:0>32}" for name in ("1", "2"))
    now, records = stack.app.services.now(), stack.app.services.storage.records
    values: dict[str, Value] = {"digest": "", "at": 0, "begun": now + 2 * DAY, "finished": False, "answer": b""}
    await records.put(acme.uuid, begun, values)
    await records.put(acme.uuid, again, {**values, "at": now + 2 * DAY, "begun": 0})

    # Blobs have the storage's clock, which no test can set forward.
    async def deleted(blobs: Blobs, name: str, *, before: int | None = None) -> bool:
        return await delete(blobs, name, before=(before or 0) + 2 * DAY)

    delete = Blobs.delete
    monkeypatch.setattr(Blobs, "delete", deleted)
    await sweep(stack, 2)
    assert await answers(acme) == [begun, again]
    assert not [name for name in await blobs(tenant) if ANSWERS in name]
    assert await stored(acme) < before - len(LARGE)


@pytest.mark.usefixtures("walk")
async def test_an_answer_is_kept_whose_key_is_used_again_meanwhile(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is changed, or its blob written anew, between reading and deleting it."""
    acme, _ = pair
    services = stack.app.services
    old: dict[str, Value] = {"digest": "", "at": 1, "begun": 1, "finished": True}
    row, large = (f"{ANSWERS}~{name:0>32}" for name in ("1", "2"))
    await services.storage.records.put(acme.uuid, row, {**old, "answer": b"old"})
    await services.storage.records.put(acme.uuid, large, {**old, "answer": b""})
    await services.storage.bodies.put(f"{acme.uuid}/{large}", b"new")
    scan = Table.scan

    async def then_used(self: Table, partition: str, *args: Any, **more: Any) -> Any:
        page = await scan(self, partition, *args, **more)
        if partition == acme.uuid:
            await self.put(partition, row, {**old, "answer": b"new"})
        return page

    monkeypatch.setattr(Table, "scan", then_used)
    await sweep(stack)
    kept = await services.storage.records.get(acme.uuid, row)
    assert kept is not None
    assert kept.values["answer"] == b"new"
    assert await services.storage.bodies.get(f"{acme.uuid}/{large}") == b"new"
    assert await answers(acme) == [row, large]


@pytest.mark.usefixtures("walk")
async def test_one_that_has_many_answers_is_gone_through_in_parts(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, _ = pair
    services = stack.app.services
    monkeypatch.setattr(retention, "MOST", 4)
    monkeypatch.setattr(retention, "_ANSWERS", 2)
    for number in range(10):
        values: dict[str, Value] = {"digest": "", "at": 1, "begun": 1, "finished": True, "answer": b"x"}
        await services.storage.records.put(acme.uuid, f"{ANSWERS}~{number:0>32}", values)
    sweeper = Retention(services)
    left: list[int] = []
    while left[-1:] != [0]:
        await sweeper.sweep()
        left.append(len(await answers(acme)))
    # Other tenants come before and after it.
    assert list(dict.fromkeys(left))[-3:] == [6, 2, 0]


async def test_the_walk_goes_on_in_another_process(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    services = stack.app.services
    first, second = sorted(pair, key=lambda client: client.uuid)
    for client in pair:
        values: dict[str, Value] = {"digest": "", "at": 1, "begun": 1, "finished": True, "answer": b"x"}
        await services.storage.records.put(client.uuid, f"{ANSWERS}~{1:0>32}", values)
    monkeypatch.setattr(retention, "_AT_A_TIME", 1)
    await services.storage.due.put(*WALK, {"after": first.uuid[:-1], "within": "", "at": 0})
    await Retention(services).sweep()
    assert (len(await answers(first)), len(await answers(second))) == (0, 1)
    await Retention(services).sweep()
    assert await answers(second) == []


async def test_one_tenant_that_cannot_be_gone_through_does_not_end_the_walk(
    stack: Stack, pair: tuple[Client, Client]
) -> None:
    services = stack.app.services
    first, second = sorted(pair, key=lambda client: client.uuid)
    unreadable: dict[str, Value] = {"at": b"no time"}
    readable: dict[str, Value] = {"at": 1, "answer": b"x"}
    for client, values in ((first, unreadable), (second, readable)):
        await services.storage.records.put(client.uuid, f"{ANSWERS}~{1:0>32}", values)
    await services.storage.due.put(*WALK, {"after": first.uuid[:-1], "within": "", "at": 0})
    with pytest.raises(ExceptionGroup):
        await Retention(services).sweep()
    await Retention(services).sweep()
    assert await answers(second) == []
    await services.storage.records.delete(first.uuid, f"{ANSWERS}~{1:0>32}")


async def test_a_walk_that_a_wrong_clock_put_off_goes_on(stack: Stack, pair: tuple[Client, Client]) -> None:
    services, acme = stack.app.services, pair[0]
    values: dict[str, Value] = {"digest": "", "at": 1, "begun": 1, "finished": True, "answer": b"x"}
    await services.storage.records.put(acme.uuid, f"{ANSWERS}~{1:0>32}", values)
    for at, left in ((services.now() + DAY // 2, 1), (services.now() + 3 * DAY, 0)):
        await services.storage.due.put(*WALK, {"after": acme.uuid[:-1], "within": "", "at": at})
        await Retention(services).sweep()
        assert len(await answers(acme)) == left


async def answers(client: Client) -> list[str]:
    page = await client.stack.app.services.storage.records.scan(
        client.uuid, f"{ANSWERS}~", f"{ANSWERS}~~", limit=100, columns=()
    )
    return [row.key for row in page.rows]


async def blobs(tenant: Tenant) -> list[str]:
    page = await tenant.records._storage.bodies.page(None, 100, under=f"{tenant.uuid}/")
    return [blob.name for blob in page.blobs]


async def stored(client: Client) -> int:
    return client.stack.app.services.usage.stored((await client.tenant()).principal)
