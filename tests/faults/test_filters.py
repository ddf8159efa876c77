"""Lists with filters find what a look at all rows finds, whatever happened to these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from tests.faults.sites import Client
from tests.faults.world import DAY, NOW, World, run
from tntcore.connections.connection import start
from tntcore.messaging.ids import delivery_uuid, uuid_at
from tntcore.messaging.threads import action_uuid
from tntcore.protocols.present_proof import State
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.indexes import POINTERS
from tntcore.storage.layout import PARTITION
from tntcore.storage.records import (
    Action,
    Connection,
    Contact,
    Credential,
    Delivery,
    Entry,
    Exchange,
    HeldMessage,
    Identity,
    Indexed,
    Message,
    Presentation,
    entry_id,
)
from tntcore.storage.repository import Repository
from tntcore.storage.states import CredentialStatus, DeliveryStatus, ExchangeStatus, MessageStatus, PresentationStatus
from tntcore.storage.tables import Row

INVITATIONS = ("", *(uuid_at(NOW, f"invitation {number}") for number in range(2)))
DEALS = ("start", "request-received", "response-sent", "completed", "abandoned")
STATES = ("offer-sent", "request-received", "request-sent", "done", "abandoned")
EMAILS = ("", "a@partner.example", "b@partner.example")
BASIC = "https://didcomm.org/basicmessage/1.0/message"
KINDS: tuple[type[Indexed], ...] = (Contact, Connection, Exchange, Credential, Presentation)
Values = Mapping[str, Any]


class Changing:
    """A tenant whose records are made, changed and deleted; `random` decides."""

    def __init__(self, folder: Path, seed: int, shards: int) -> None:
        self.folder, self.random, self.shards = folder, Random(seed), shards
        self.made = 0

    async def fill(self) -> None:
        self.world = World(self.folder, self.shards)
        self.acme = await self.world.register("Acme")
        found = await (await self.acme.tenant()).records.get(Identity, self.acme.identity["uuid"])
        assert found is not None
        self.identity = found
        self.contacts: list[tuple[int, Contact]] = []
        for number in range(5):
            await self.make_contact(number)
        self.say_all_have_pointers()

    def say_nothing_of_pointers(self) -> None:
        self.world.durable.rows("lookups").pop((PARTITION, POINTERS), None)
        self.world.restart()

    def say_all_have_pointers(self) -> None:
        said = {"since": 0, "seen": self.world.durable.now, "filedSince": 0}
        self.world.durable.rows("lookups").fill([_row(PARTITION, POINTERS, said)])
        records, key = self.world.durable.rows("records"), (self.acme.uuid, f"principal~{self.acme.uuid}")
        now = self.world.durable.now
        records[key] = replace(records[key], values={**records[key].values, "indexedAt": now, "filedAt": now})
        self.world.restart()

    async def make_contact(self, number: int) -> None:
        tenant = await self.acme.tenant()
        at = NOW - DAY + number
        contact = Contact(
            uuid=uuid_at(at, f"contact {number}"), email=self.random.choice(EMAILS), created_at=at, updated_at=at,
            display_name=("even", "odd")[number % 2],
        )  # fmt: skip
        shard = tenant.shard_of_new(contact.uuid, self.world.durable.now)
        unit = Unit()
        unit.create(contact)
        connection = start(self.identity, contact, at)
        connection.invitation_uuid = self.random.choice(INVITATIONS)
        unit.create(connection)
        await tenant.shard(shard).records.commit(unit)
        self.contacts.append((shard, contact))

    async def one(self) -> tuple[Repository, str]:
        """Returns the records of some contact's shard, and its uuid."""
        shard, contact = self.random.choice(self.contacts)
        return (await self.acme.tenant()).shard(shard).records, contact.uuid

    async def step(self) -> None:
        act = self.random.choice(
            [self.make, self.make, self.move, self.connect, self.decide, self.drop, self.rename, self.race]
        )
        await act()

    async def make(self) -> None:
        records, contact = await self.one()
        self.made += 1
        at = NOW - self.random.randrange(self.random.choice([10, DAY]))
        connection = Connection.uuid_of(self.identity.uuid, contact)
        thid = f"thread-{self.random.randrange(9)}"
        about: dict[str, Any] = {
            "contact_uuid": contact,
            "connection_uuid": connection,
            "created_at": at,
            "updated_at": at,
        }
        exchange = Exchange(
            uuid=action_uuid(connection, f"{thid}/{self.made}"), thid=thid, state=self.random.choice(STATES), **about
        )
        exchange.role = self.random.choice(["issuer", "prover"])
        exchange.status = self.random.choice(list(ExchangeStatus))
        held: dict[str, Any] = {"exchange_uuid": exchange.uuid, "format": "f", **about}
        unit = Unit()
        unit.create(exchange)
        unit.create(Credential(uuid=uuid_at(at, f"c{self.made}"), role="holder", **held))
        unit.create(Presentation(uuid=uuid_at(at, f"p{self.made}"), role="prover", **held))
        await records.commit(unit)

    async def some(self, kind: type[Indexed]) -> tuple[Repository, Any] | None:
        records, _ = await self.one()
        found = (await records.list(kind, limit=500)).records
        return (records, self.random.choice(found)) if found else None

    async def move(self) -> None:
        if (known := await self.some(Exchange)) is not None:
            records, exchange = known
            unit = Unit()
            exchange.state, exchange.status = self.random.choice(STATES), self.random.choice(list(ExchangeStatus))
            unit.change(exchange)
            await records.commit(unit)

    async def connect(self) -> None:
        known = await self.some(Connection)
        assert known is not None
        records, connection = known
        unit = Unit()
        connection.state = self.random.choice(DEALS)
        unit.change(connection)
        await records.commit(unit)

    async def decide(self) -> None:
        for kind, statuses in ((Credential, CredentialStatus), (Presentation, PresentationStatus)):
            if (known := await self.some(kind)) is not None:
                records, record = known
                unit = Unit()
                record.status = self.random.choice(list(statuses))
                unit.change(record)
                await records.commit(unit)

    async def race(self) -> None:
        """Two writers change the same exchange: one of them fails, whole."""
        if (known := await self.some(Exchange)) is not None:
            records, exchange = known
            for state in ("done", "offer-sent"):
                unit = Unit()
                unit.change(replace(exchange, state=state))
                with suppress(Changed):
                    await records.commit(unit)

    async def drop(self) -> None:
        if (known := await self.some(self.random.choice(KINDS[2:]))) is not None:
            records, record = known
            unit = Unit()
            unit.remove(record)
            await records.commit(unit)

    async def rename(self) -> None:
        _, contact = self.random.choice(self.contacts)
        email = self.random.choice(EMAILS) or None
        answer = await self.acme.call("PUT", f"contact/{contact.uuid}", {"contact": {"email": email}})
        assert answer.status == 200, answer.body

    def write_as_before(self) -> None:
        """Changes rows as a version without these pointers does."""
        rows = self.world.durable.rows("records")
        for key in [key for key in rows if key[1].startswith(("exchange~", "contact~", "credential~"))]:
            values = dict(rows[key].values)
            match self.random.randrange(4):
                case 0:
                    values = {name: value for name, value in values.items() if name != "indexedBy"}
                case 1 if "state" in values:
                    values["state"] = self.random.choice(STATES)
                case 2 if key[1].startswith("contact~"):
                    values["email"] = "b@partner.example"
                case 3 if key[1].startswith(("exchange~", "credential~")):
                    del rows[key]
                    continue
            rows[key] = replace(rows[key], values=values)
        self.say_nothing_of_pointers()

    async def is_filed(self) -> bool:
        return await (await self.acme.tenant()).records.is_filed()

    async def walk(self) -> None:
        for _ in range(80):
            self.world.durable.now += 60_000
            await self.world.process.app.sweep.tick()

    def queries(self) -> Iterator[tuple[str, Callable[[Values], bool]]]:
        """Yields lists, and what of all rows of their kind they are to find."""
        for email in EMAILS[1:]:
            yield f"contact?email={email}", lambda one, email=email: one.get("email") == email  # type: ignore[misc]
            yield (
                f"contact?email={email}&search=even",
                lambda one, email=email: one.get("email") == email and one["displayName"] == "even",  # type: ignore[misc]
            )
        for _, contact in self.contacts[:3]:
            name = contact.uuid

            def of(one: Values, name: str = name) -> bool:
                return one.get("contactUuid") == name

            connection = Connection.uuid_of(self.identity.uuid, name)
            yield f"exchange?contact={name}", of
            yield f"exchange?connection={connection}", of
            yield f"exchange?contact={name}&state=done", lambda one, of=of: of(one) and one["state"] == "done"  # type: ignore[misc]
            yield f"connection?contact={name}", of
            yield f"credential?contact={name}", of
            yield f"presentation?connectionUuid={connection}&role=prover", of
        for invitation in INVITATIONS[1:]:
            yield (
                f"connection?invitation={invitation}",
                lambda one, invitation=invitation: one.get("invitationUuid") == invitation,  # type: ignore[misc]
            )
        for state in DEALS:
            yield f"connection?state={state}", lambda one, state=state: one["state"] == state  # type: ignore[misc]
        for kind, statuses in (("credential", CredentialStatus), ("presentation", PresentationStatus)):
            for known in statuses:
                yield f"{kind}?status={known}", lambda one, known=known: one["status"] == known  # type: ignore[misc]
        for state in STATES:
            yield f"exchange?state={state}", lambda one, state=state: one["state"] == state  # type: ignore[misc]
            yield (
                f"exchange?state={state}&role=issuer",
                lambda one, state=state: one["state"] == state and one["role"] == "issuer",  # type: ignore[misc]
            )
            if state in get_args(State):
                yield (
                    f"proof-request?state={state}",
                    lambda one, state=state: one["state"] == state and one["role"] == "prover",  # type: ignore[misc]
                )
        yield "exchange?status=WAITING&role=issuer", lambda one: one["status"] == "WAITING" and one["role"] == "issuer"
        for status in ExchangeStatus:
            yield f"exchange?status={status}", lambda one, status=status: one["status"] == status  # type: ignore[misc]
        for thid in ("thread-1", "thread-2"):
            yield f"exchange?thread={thid}", lambda one, thid=thid: one["thid"] == thid  # type: ignore[misc]

    async def make_messages(self) -> None:
        """Makes messages of a few threads, with deliveries and the dedup entries that list them."""
        records, contact = await self.one()
        for _ in range(4):
            self.made += 1
            thread = action_uuid(contact, self.random.choice("123"))
            # Some in the same millisecond.
            at = NOW - self.random.choice([1, 2, self.random.randrange(DAY)])
            about: dict[str, Any] = {"action_uuid": thread, "contact_uuid": contact, "created_at": at, "updated_at": at}
            message = Message(
                uuid=uuid_at(at, f"m{self.made}"),
                direction=self.random.choice(["IN", "OUT"]),
                type=BASIC,
                status=self.random.choice([one for one in MessageStatus if one != MessageStatus.HELD]),
                **about,
            )
            unit = Unit()
            unit.create(message)
            unit.create(Entry(uuid=entry_id(thread, "in", message.uuid), message_uuid=message.uuid))
            unit.upsert(Action(uuid=thread, reference_id=f"thread-{thread[0]}", updated_at=at))
            for number in range(self.random.randrange(3)):
                status = self.random.choice(list(DeliveryStatus))
                delivery = Delivery(
                    uuid=delivery_uuid(message.uuid, f"{number}"), message_uuid=message.uuid, entry_id=f"{number}",
                    status=status, kind="webhook", type=message.type, **about,
                )  # fmt: skip
                unit.create(delivery)
                if status == DeliveryStatus.HELD:
                    unit.upsert_row(message.key, {"status": MessageStatus.HELD})
                    waiting = f"{contact}.{message.uuid}{number}"
                    unit.create(HeldMessage(uuid=waiting, message_uuid=message.uuid, delivery_uuid=delivery.uuid))
            await records.commit(unit)

    async def change_messages(self) -> None:
        records, _ = await self.one()
        deliveries = (await records.list(Delivery, limit=500)).records
        for delivery in self.random.sample(deliveries, min(5, len(deliveries))):
            unit = Unit()
            # As the outcome of an attempt or a replay does: without a look at what it was before.
            if delivery.status != DeliveryStatus.HELD:
                unit.merge(delivery.key, {"status": self.random.choice(["PENDING", "DELIVERED", "FAILED", "WITHHELD"])})
                await records.commit(unit)
        messages = (await records.list(Message, limit=500)).records
        for message in self.random.sample(messages, min(3, len(messages))):
            if message.status != MessageStatus.HELD:
                unit = Unit()
                unit.merge(message.key, {"status": self.random.choice(["SENT", "SENDING", "FAILED"])})
                await records.commit(unit)
        if messages and self.random.randrange(2):
            await self.acme.call("DELETE", f"message/{self.random.choice(messages).uuid}")

    def queries_for_messages(self) -> Iterator[tuple[str, Callable[[Values], bool]]]:
        rows = self.world.durable.tables["records"]
        for thread in sorted({key.partition("~")[2] for _, key in rows if key.startswith("action~")}):

            def of(one: Values, thread: str = thread) -> bool:
                return one.get("actionUuid") == thread

            named = {
                uuid.partition("~")[2]
                for (_, uuid), row in rows.items()
                if uuid.startswith("action~") and row.values["referenceId"] == f"thread-{thread[0]}"
            }

            def on(one: Values, named: set[str] = named) -> bool:
                return one.get("actionUuid") in named

            for noun in ("message", "delivery"):
                yield f"{noun}?action={thread}", of
                yield f"{noun}?actionUuid={thread}&type=basicmessage/1.0", of
                yield f"{noun}?action={thread}&type=none", lambda one: False
                yield f"{noun}?thread=thread-{thread[0]}", on
                yield f"{noun}?thread=none", lambda one: False
            yield f"message?action={thread}&direction=IN", lambda one, of=of: of(one) and one["direction"] == "IN"  # type: ignore[misc]
            yield f"delivery?action={thread}&webhookId=1", lambda one, of=of: of(one) and one["entryId"] == "1"  # type: ignore[misc]
            yield f"delivery?action={thread}&status=FAILED", lambda one, of=of: of(one) and one["status"] == "FAILED"  # type: ignore[misc]
        for known in MessageStatus:
            yield f"message?status={known}", lambda one, known=known: one["status"] == known  # type: ignore[misc]
            yield (
                f"message?status={known}&direction=OUT&type=basicmessage",
                lambda one, known=known: one["status"] == known and one["direction"] == "OUT",  # type: ignore[misc]
            )
        for status in DeliveryStatus:
            yield f"delivery?status={status}", lambda one, status=status: one["status"] == status  # type: ignore[misc]
            yield (
                f"delivery?status={status}&webhookId=1&type=basicmessage",
                lambda one, status=status: one["status"] == status and one["entryId"] == "1",  # type: ignore[misc]
            )

    async def check(self, queries: Iterable[tuple[str, Callable[[Values], bool]]] | None = None) -> None:
        rows = self.world.durable.tables["records"]
        for query, wanted in queries or self.queries():
            noun = query.partition("?")[0]
            kind = "exchange" if noun == "proof-request" else noun
            by_hand = {
                key.partition("~")[2]: row.values["createdAt"]
                for (_, key), row in rows.items()
                if key.startswith(f"{kind}~") and wanted(row.values)
            }
            for order, back in (("", None), ("&order=newest", True), ("&order=oldest", False)):
                hits = await listed(self.acme, f"{query}{order}&limit={self.random.choice([1, 3, 200])}")
                uuids = [hit["uuid"] for hit in hits]
                assert sorted(uuids) == sorted(by_hand), query
                times = [by_hand[uuid] for uuid in uuids]
                assert back is None or times == sorted(times, reverse=back), query


def _row(partition: str, key: str, values: Values) -> Row:
    return Row(partition, key, values, "1")


async def listed(client: Client, path: str) -> list[Any]:
    hits: list[Any] = []
    totals: list[Any] = []
    following: str | None = ""
    while following is not None:
        page = await client.get(f"{path}&next={following}" if following else path)
        hits += page["hits"]
        totals.append(page["total"])
        following = page["next"]
    for total in totals:
        assert total["value"] == len(hits) if total["relation"] == "eq" else total["value"] <= len(hits), path
    return hits


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_lists_with_filters_find_what_a_look_at_all_finds(tmp_path: Path, seed: int, shards: int) -> None:
    async def work() -> None:
        changing = Changing(tmp_path, seed, shards)
        await changing.fill()
        for _ in range(2):
            for _ in range(40):
                await changing.step()
            assert await changing.is_filed()
            changing.world.assert_pointed()
            await changing.check()
            changing.write_as_before()
            assert not await changing.is_filed()
            await changing.check()
            await changing.walk()
            assert await changing.is_filed()
            changing.world.assert_pointed()
            await changing.check()

    run(work)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_lists_of_messages_and_deliveries_find_what_a_look_at_all_finds(tmp_path: Path, seed: int, shards: int) -> None:
    async def work() -> None:
        changing = Changing(tmp_path, seed, shards)
        await changing.fill()
        for _ in range(3):
            for _ in range(6):
                await changing.make_messages()
                await changing.change_messages()
            await changing.check(changing.queries_for_messages())
            changing.world.assert_pointed()
        rows = changing.world.durable.rows("records")
        for key in [key for key in rows if key[1].startswith(("pointer~delivery-status.", "pointer~message-status."))]:
            del rows[key]
        changing.say_nothing_of_pointers()
        await changing.check(changing.queries_for_messages())
        await changing.walk()
        assert await changing.is_filed()
        changing.world.assert_pointed()
        await changing.check(changing.queries_for_messages())

    run(work)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("begins_filed", [True, False])
@pytest.mark.parametrize(
    "path", ["exchange?state=request-received", "connection?state=start", "contact?email=a@partner.example"]
)
def test_a_list_misses_nothing_if_pointers_come_or_go_between_its_pages(
    tmp_path: Path, path: str, begins_filed: bool, seed: int
) -> None:
    async def work() -> None:
        changing = Changing(tmp_path, seed, 1)
        await changing.fill()
        for _ in range(40):
            await changing.step()
        wanted = {hit["uuid"] for hit in await listed(changing.acme, path)}
        says = [changing.say_nothing_of_pointers, changing.say_all_have_pointers]
        says[begins_filed]()
        page = await changing.acme.get(f"{path}&limit=1")
        says[not begins_filed]()
        found = {hit["uuid"] for hit in page["hits"]}
        while page["next"]:
            page = await changing.acme.get(f"{path}&limit=1&next={page['next']}")
            found |= {hit["uuid"] for hit in page["hits"]}
        assert found == wanted

    run(work)
