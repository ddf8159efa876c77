"""Lists and lookups where much is stored: storage calls, and rows that storage looks at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from tests.faults.process import Fault
from tests.faults.sites import Client
from tests.faults.world import DAY, NOW, World, run
from tntcore.connections.connection import start
from tntcore.connections.first_contact import FORM as FORM_2
from tntcore.connections.invitations import Invitations, Wanted, read_content
from tntcore.messaging.ids import Ids, delivery_uuid, uuid_at
from tntcore.messaging.threads import action_uuid
from tntcore.storage.commit import Unit, add_thread_pointers, add_unusual_pointers
from tntcore.storage.indexes import POINTERS, SILENCE
from tntcore.storage.layout import PARTITION
from tntcore.storage.records import (
    LATE,
    Action,
    Connection,
    Contact,
    Credential,
    Delivery,
    Entry,
    Exchange,
    HeldMessage,
    Identity,
    Message,
    Pointer,
    Presentation,
    Record,
    entry_id,
)
from tntcore.storage.states import (
    COMPLETED,
    ContactStatus,
    CredentialStatus,
    DeliveryStatus,
    ExchangeStatus,
    MessageStatus,
    PresentationStatus,
)
from tntcore.storage.tables import Row

FEW, MANY = 1_500, 6_000
APART = 600_000  # milliseconds from one to the next
AFTER = 2 * LATE  # milliseconds from a message to the last change of its thread, if that is not the message
FOUND = 7
"""Number of the partner that lists with a filter find, and nobody else."""
TYPE = "https://didcomm.org/basicmessage/1.0/message"


def records(identity: Identity, number: int) -> Iterator[Record]:
    """A partner with a message and an exchange, so long ago."""
    at = NOW - DAY - number * APART
    contact = Contact(
        uuid=uuid_at(at, "contact"), did=f"did:example:{number}", named=True, status=ContactStatus.ACCEPTED,
        email=f"{number}@partner.example", created_at=at, updated_at=at,
    )  # fmt: skip
    connection = start(identity, contact, at)
    connection.state, connection.their_did, connection.role = COMPLETED, contact.did, "requester"
    if number == FOUND:
        connection.state, connection.invitation_uuid = "request-received", uuid_at(NOW, "invitation")
    about = {"connection_uuid": connection.uuid, "contact_uuid": contact.uuid, "created_at": at, "updated_at": at}
    message = Message(uuid=uuid_at(at, "message"), direction="IN", type=TYPE, message_id="1", **about)  # type: ignore[arg-type]
    action = Action(uuid=action_uuid(connection.uuid, "1"), reference_id=f"thread-{number}", direction="IN", **about)  # type: ignore[arg-type]
    message.action_uuid = action.uuid
    action.updated_at += AFTER * (number % 3 == 0)
    delivery = Delivery(
        uuid=delivery_uuid(message.uuid, "e"), status=DeliveryStatus.DELIVERED, kind="webhook", entry_id="e",
        message_uuid=message.uuid, action_uuid=action.uuid, type=TYPE, **about,  # type: ignore[arg-type]
    )  # fmt: skip
    if number == FOUND:
        delivery.status = DeliveryStatus.FAILED
        waiting = replace(
            delivery, uuid=uuid_at(at, "held"), status=DeliveryStatus.HELD, message_uuid="", action_uuid=""
        )
        yield waiting
        later = replace(message, uuid=waiting.uuid, status=MessageStatus.HELD, action_uuid="")
        yield later
        yield HeldMessage(uuid=f"{connection.uuid}.{message.uuid}", message_uuid=later.uuid, delivery_uuid=waiting.uuid)
        message.status = MessageStatus.FAILED
    role = "issuer" if number % 2 else "verifier"
    exchange = Exchange(uuid=action.uuid, protocol="p", role=role, thid=f"thread-{number}", **about)  # type: ignore[arg-type]
    if number == FOUND:
        exchange.status, exchange.state = ExchangeStatus.WAITING, "request-received"
    else:
        exchange.status, exchange.state = ExchangeStatus.DONE, "done"
    held = {"exchange_uuid": exchange.uuid, "identity_uuid": identity.uuid, "format": "f", **about}
    yield from (contact, connection, message, action, delivery, exchange)
    yield Entry(uuid=entry_id(action.uuid, "in", "1"), message_uuid=message.uuid)
    credential = Credential(uuid=uuid_at(at, "credential"), role="issuer", **held)  # type: ignore[arg-type]
    presentation = Presentation(uuid=uuid_at(at, "presentation"), role="verifier", **held)  # type: ignore[arg-type]
    if number != FOUND:
        credential.status, presentation.status = CredentialStatus.ISSUED, PresentationStatus.VERIFIED
    yield from (credential, presentation)


def rows_of(partition: str, stored: Sequence[Record]) -> Iterator[Row]:
    unit = Unit()
    for record in stored:
        unit.create(record)
    add_thread_pointers(unit)
    add_unusual_pointers(unit)
    for operation in unit.operations:
        yield Row(partition, operation.row, operation.values, "1")


async def filled(folder: Path, count: int) -> tuple[World, Client]:
    world = World(folder)
    acme = await world.register("Acme")
    found = await (await acme.tenant()).records.get(Identity, acme.identity["uuid"])
    assert found is not None
    rows = world.durable.rows("records")
    rows.fill(row for number in range(count) for row in rows_of(acme.uuid, [*records(found, number)]))
    world.durable.rows("lookups")[PARTITION, POINTERS] = Row(
        PARTITION, POINTERS, {"since": 0, "seen": world.durable.now, "filedSince": 0}, "1"
    )
    world.restart()
    await acme.get("account")
    return world, acme


async def cost(world: World, client: Client, path: str) -> tuple[list[Any], int, int]:
    """The hits of a list; and the calls, and the rows that storage looked at, for it."""
    world.trace.clear()
    before = world.durable.rows_read
    answer = await client.call("GET", path)
    assert answer.status in (200, 404), answer.body
    hits = orjson.loads(answer.body).get("hits", [])
    return hits, len(world.trace), world.durable.rows_read - before


def changed(path: str) -> str:
    """The member that says the time by which a list is sorted."""
    return "updatedAt" if path.startswith("action") else "createdAt"


NOUNS = ("contact", "connection", "message", "delivery", "action", "exchange", "credential", "presentation")
BOUNDS = "since=2023-11-07T00:00:00Z&until=2023-11-11T00:00:00Z"
PATHS = [
    *(f"{noun}?limit=20" for noun in NOUNS),
    *(f"{noun}?limit=20&order={order}" for noun in NOUNS for order in ("newest", "oldest")),
    *(f"{noun}?limit=20&order=newest&{BOUNDS}" for noun in NOUNS),
    *(f"{noun}?limit=20&{BOUNDS}" for noun in NOUNS),
    "contact?limit=20&order=newest&include=latest",
    "action?limit=20&order=newest&include=latest",
    "contact?did=did:example:7",
    "contact?did=did:example:none&order=newest",
    "connection?contact={contact}&order=newest",
    "connection?contact={contact}&role=requester",
    "delivery?message={message}",
    "delivery?message={message}&order=newest",
    "contact/did:example:7",
    "contact/did:example:none",
]
FILTERS = [
    "connection?contact={contact}",
    "connection?invitation={invitation}",
    "connection?state=request-received",
    "connection?state=request-received&role=requester&order=newest",
    "credential?status=RECEIVED",
    "presentation?status=UNDECIDED&format=f&order=newest",
    "contact?email=7@partner.example",
    "contact?email=7@partner.example&search=PARTNER&order=newest",
    "exchange?contact={contact}",
    "exchange?contact={contact}&role=issuer&order=newest",
    "exchange?connection={connection}",
    "exchange?thread=thread-7",
    "exchange?state=request-received",
    "exchange?state=request-received&role=issuer&order=newest",
    "exchange?status=WAITING",
    "message?action={exchange}",
    "message?action={exchange}&direction=IN&type=basicmessage/1.0&order=newest",
    "delivery?action={exchange}",
    "delivery?action={exchange}&kind=webhook&order=newest",
    "delivery?status=HELD",
    "message?status=HELD",
    "message?status=FAILED&contact={contact}&order=newest",
    "delivery?status=FAILED",
    "delivery?status=FAILED&webhookId=e&type=basicmessage/1.0&order=newest",
    "credential?contact={contact}",
    "credential?connection={connection}&role=issuer",
    "credential?exchange={exchange}",
    "presentation?contact={contact}&order=newest",
    "presentation?exchange={exchange}",
    "exchange?status=WAITING&order=oldest&since=2023-11-01T00:00:00Z",
]
"""Lists that have one hit."""


def test_what_lists_and_lookups_cost_does_not_grow(tmp_path: Path) -> None:
    async def measured(count: int) -> dict[str, tuple[list[Any], int, int]]:
        world, acme = await filled(tmp_path / str(count), count)
        partner = {noun: uuid_at(NOW - DAY - FOUND * APART, noun) for noun in ("contact", "message")}
        partner["connection"] = Connection.uuid_of(acme.identity["uuid"], partner["contact"])
        partner["invitation"] = uuid_at(NOW, "invitation")
        partner["exchange"] = action_uuid(partner["connection"], "1")
        return {path: await cost(world, acme, path.format(**partner)) for path in (*PATHS, *FILTERS)}

    few, many = run(lambda: measured(FEW)), run(lambda: measured(MANY))
    for path in (*PATHS, *FILTERS):
        assert few[path][1:] == many[path][1:], path
        if "{" in path or "=did:example:7" in path or path in FILTERS:
            assert len(many[path][0]) == 1, path
        elif "limit=20&order=" in path:
            times = [hit[changed(path)] for hit in many[path][0]]
            assert len(times) == 20, path
            assert times == sorted(times, reverse="newest" in path)


class Older:
    """A tenant whose rows an older version wrote."""

    def __init__(self, folder: Path, shards: int = 1) -> None:
        self.world = World(folder, shards)

    async def fill(self, count: int = 30) -> None:
        self.acme = await self.world.register("Acme")
        self.number = 0
        await self.write(count)
        # A version without pointers does not say either that a tenant has them.
        rows, key = self.world.durable.rows("records"), (self.acme.uuid, f"principal~{self.acme.uuid}")
        rows[key] = replace(rows[key], values={**rows[key].values, "indexedAt": 0, "filedAt": 0})

    async def write(self, count: int) -> None:
        tenant = await self.acme.tenant()
        identity = await tenant.records.get(Identity, self.acme.identity["uuid"])
        assert identity is not None
        rows = self.world.durable.rows("records")
        for _ in range(count):
            self.number += 1
            shard = tenant.shard_of_new(str(self.number), self.world.durable.now)
            for row in rows_of(tenant.shard(shard).uuid, [*records(identity, self.number)]):
                if not row.key.startswith("pointer~"):
                    values = {name: value for name, value in row.values.items() if name != "indexed"}
                    rows[row.partition, row.key] = replace(row, values=values)

    def rename(self, did: str) -> None:
        """Gives the contact with this DID another one, did:example:other."""
        rows = self.world.durable.rows("records")
        [key] = [key for key, row in rows.items() if key[1].startswith("contact~") and row.values["did"] == did]
        rows[key] = replace(rows[key], values={**rows[key].values, "did": "did:example:other"})

    async def pass_minutes(self, count: int) -> None:
        for _ in range(count):
            self.world.durable.now += 60_000
            process = self.world.process
            try:
                await process.app.sweep.tick()
            except BaseException as error:
                if process.dead:
                    self.world._buried(process)
                elif not isinstance(error, Exception):
                    raise

    async def check(self) -> None:
        """Every record is listed, in order, and found."""
        for noun in ("action", "connection", "exchange"):
            for order, back in (("newest", True), ("oldest", False)):
                hits = [hit for page in await self.pages(f"{noun}?limit=7&order={order}") for hit in page]
                assert len({hit["uuid"] for hit in hits}) == len(hits) == self.number
                times = [hit[changed(noun)] for hit in hits]
                assert times == sorted(times, reverse=back)
        for number in range(1, self.number + 1):
            assert (await self.acme.get(f"contact/did:example:{number}"))["did"] == f"did:example:{number}"

    async def pages(self, path: str) -> list[list[Any]]:
        found = [await self.acme.get(path)]
        while found[-1]["next"]:
            found.append(await self.acme.get(f"{path}&next={found[-1]['next']}"))
        return [page["hits"] for page in found]

    async def is_indexed(self) -> bool:
        return await (await self.acme.tenant()).records.is_indexed()


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_of_older_versions_are_listed_and_get_pointers(tmp_path: Path, shards: int) -> None:
    async def work() -> None:
        older = Older(tmp_path, shards)
        await older.fill()
        await older.check()
        await older.pass_minutes(50)
        assert not await older.is_indexed(), "an instance of the version before may still run"
        await older.check()
        await older.pass_minutes(20)
        assert await older.is_indexed()
        older.world.assert_pointed()
        await older.check()
        assert (await cost(older.world, older.acme, "contact/did:example:7"))[2] <= 2 * shards
        for noun, each in (("connection", 1), ("exchange", 1), ("action", 2)):
            hits, calls, _ = await cost(older.world, older.acme, f"{noun}?order=newest&limit=20")
            # Which shard a record is in is known from what leads to it.
            assert calls <= each * len(hits) + 10 * each * shards, noun

    run(work)


def test_an_upgrade_adds_pointers_for_filters_while_the_others_are_used(tmp_path: Path) -> None:
    async def work() -> None:
        older = Older(tmp_path)
        await older.fill(5)
        await older.pass_minutes(140)
        rows, lookups = older.world.durable.rows("records"), older.world.durable.rows("lookups")
        # What a version leaves that knows pointers by time and DID alone.
        for key in [key for key in rows if "-" in key[1].partition(".")[0].partition("~")[2] and "pointer~" in key[1]]:
            del rows[key]
        for key, row in list(rows.items()):
            rows[key] = replace(
                row, values={name: value for name, value in row.values.items() if name not in ("indexedBy", "filedAt")}
            )
        said = lookups[PARTITION, POINTERS]
        lookups[PARTITION, POINTERS] = replace(said, values={name: said.values[name] for name in ("since", "seen")})
        older.world.restart()
        records = (await older.acme.tenant()).records
        assert await records.is_indexed()
        assert not await records.is_filed()
        email = f"contact?email={FOUND - 3}@partner.example"
        assert len((await older.acme.get(email))["hits"]) == 1
        await older.pass_minutes(50)
        records = (await older.acme.tenant()).records
        assert await records.is_indexed(), "no walk takes from lists what they had"
        assert not await records.is_filed(), "an instance of the version before may still run"
        await older.pass_minutes(90)
        assert await (await older.acme.tenant()).records.is_filed()
        older.world.assert_pointed()
        # Before that, its caches are filled.
        await older.acme.get(email)
        assert (await cost(older.world, older.acme, email))[2] == 2

    run(work)


def test_what_a_version_wrote_that_was_rolled_back_to_is_listed(tmp_path: Path) -> None:
    async def work() -> None:
        older = Older(tmp_path)
        await older.fill(5)
        await older.pass_minutes(70)
        assert await older.is_indexed()
        older.world.durable.now += 3_600_000
        await older.write(5)
        # The version before deleted one, and another has another DID since.
        rows = older.world.durable.rows("records")
        gone = next(key for key in rows if key[1].startswith("connection~") and "indexed" in rows[key].values)
        del rows[gone]
        older.rename("did:example:1")
        older.world.restart()
        assert not await older.is_indexed()
        assert len((await older.acme.get("connection?order=newest"))["hits"]) == 9
        assert (await older.acme.get("contact/did:example:9"))["did"] == "did:example:9"
        await older.pass_minutes(70)
        assert await older.is_indexed()
        older.world.assert_pointed()
        assert len((await older.acme.get("connection?order=newest"))["hits"]) == 9
        assert (await older.acme.get("contact/did:example:other"))["did"] == "did:example:other"
        assert (await older.acme.call("GET", "contact/did:example:1")).status == 404

    run(work)


def test_a_contact_is_not_taken_for_another_by_a_did_that_it_no_longer_has(tmp_path: Path) -> None:
    async def work() -> None:
        older = Older(tmp_path)
        await older.fill(2)
        await older.pass_minutes(70)
        # A version that was rolled back to for some minutes has changed it.
        older.rename("did:example:1")
        assert await older.is_indexed()
        answer = await older.acme.call("POST", "contact", {"contact": {"did": "did:example:1"}})
        assert b"did-unusable" in answer.body

    run(work)


def test_a_pointer_that_is_lost_is_written_again_within_a_day(tmp_path: Path) -> None:
    async def work() -> None:
        older = Older(tmp_path)
        await older.fill(3)
        await older.pass_minutes(70)
        assert await older.is_indexed()
        rows = older.world.durable.rows("records")
        for key in [key for key in rows if key[1].startswith("pointer~")]:
            del rows[key]
        await older.pass_minutes(24 * 60 + 10)
        older.world.assert_pointed()
        await older.check()

    run(work)


def test_a_clock_that_was_wrong_delays_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        older = Older(tmp_path)
        await older.fill(3)
        durable = older.world.durable
        before, durable.now = durable.now, durable.now + 1_000 * DAY
        await older.world.sweep()
        durable.now = before
        older.world.restart()
        await older.pass_minutes(80)
        assert await older.is_indexed()
        older.world.assert_pointed()

    run(work)


@pytest.mark.parametrize("kind", ["kill", "fail", "lost", "twice"])
def test_a_fault_at_each_call_of_the_walk(tmp_path: Path, kind: Fault) -> None:
    async def work() -> None:
        older = Older(tmp_path)
        await older.fill(2)
        await older.pass_minutes(59)
        world = older.world
        world.keep()
        for number in itertools.count(1):
            met = 0

            def plan(name: str, writes: bool, number: int = number) -> Fault | None:
                nonlocal met
                met += writes or kind == "fail"
                return kind if met == number and (writes or kind == "fail") else None

            world.rewind()
            world.plan = plan
            await older.pass_minutes(6)
            world.plan = lambda name, writes: None
            await older.check()
            await older.pass_minutes(10)
            world.restart()
            await older.check()
            # A tenant that the walk has left for an error is come to a day later.
            await older.pass_minutes(0 if await older.is_indexed() else 24 * 60 + 10)
            assert await older.is_indexed()
            world.assert_pointed()
            await older.check()
            if met < number:
                break
        assert number > 5

    run(work)


class Threads:
    """Threads of some messages each, in a world where threads are found by them; `random` decides."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.folder, self.random = folder, random

    async def fill(self, count: int) -> None:
        self.world, self.acme = await filled(self.folder, 0)
        rows = self.world.durable.rows("records")
        rows.fill(row for number in range(count) for row in rows_of(self.acme.uuid, [*self.thread(number)]))

    def thread(self, number: int) -> Iterator[Record]:
        random = self.random
        thread = Action(uuid=action_uuid("c", str(number)), direction="IN")
        times = sorted(
            NOW - random.randrange(random.choice([100, 10_000, 30 * DAY])) for _ in range(random.randrange(5))
        )
        # The latest message may have been erased, or something else have changed the thread later.
        thread.created_at = thread.updated_at = max(times, default=NOW - random.randrange(DAY))
        thread.updated_at += random.choice([0, 0, AFTER, DAY])
        if random.randrange(4) == 0 and times:
            times.pop()
        for time in times:
            yield Message(uuid=uuid_at(time, f"{number}/{time}/{random.random()}"), action_uuid=thread.uuid, type=TYPE)
        if random.randrange(4) == 0:
            stale = NOW - random.randrange(DAY)
            yield Pointer(uuid=Action.pointer_at(stale, thread.uuid), record_uuid=thread.uuid)
        yield thread

    async def listed(self, query: str) -> list[str]:
        found: list[str] = []
        following = ""
        while True:
            page = await self.acme.get(f"action?{query}{following}")
            found += [hit["uuid"] for hit in page["hits"]]
            if page["next"] is None:
                return found
            following = f"&next={page['next']}"


def test_a_thread_of_very_many_messages_does_not_fill_the_pages(tmp_path: Path) -> None:
    async def work() -> tuple[list[Any], int, int]:
        world, acme = await filled(tmp_path, 60)
        chat = action_uuid("c", "chat")
        messages = [
            Message(uuid=uuid_at(NOW - number * 1_000, f"{number}"), action_uuid=chat, type=TYPE)
            for number in range(10_000)
        ]
        rows = world.durable.rows("records")
        rows.fill(row for message in messages for row in rows_of(acme.uuid, [message]))
        rows.fill(rows_of(acme.uuid, [Action(uuid=chat, updated_at=NOW)]))
        return await cost(world, acme, "action?order=newest&limit=20")

    hits, calls, rows = run(work)
    assert len(hits) == 20
    assert calls <= 150
    assert rows <= 20_000


def test_threads_that_go_on_and_on_are_read_once(tmp_path: Path) -> None:
    async def work() -> tuple[list[Any], int, int]:
        world, acme = await filled(tmp_path, 60)
        chats = [Action(uuid=action_uuid("c", str(number)), updated_at=NOW) for number in range(100)]
        messages = [
            Message(uuid=uuid_at(NOW - number * 8_000, f"{number}"), action_uuid=chats[number % 100].uuid, type=TYPE)
            for number in range(1, 10_000)
        ]
        rows = world.durable.rows("records")
        rows.fill(row for message in messages for row in rows_of(acme.uuid, [message]))
        rows.fill(row for chat in chats for row in rows_of(acme.uuid, [chat]))
        return await cost(world, acme, "action?order=newest&limit=20&until=2023-11-14T22:10:00Z")

    hits, calls, rows = run(work)
    assert len(hits) == 20
    assert calls <= 250
    assert rows <= 20_000


@pytest.mark.parametrize("seed", range(4))
def test_threads_are_listed_the_same_by_their_messages_as_one_by_one(tmp_path: Path, seed: int) -> None:
    queries = [
        f"limit={limit}&{bounds}"
        for limit in (3, 40)
        for bounds in ("order=newest", "order=oldest", "order=newest&since=2023-11-13T00:00:00Z", BOUNDS)
    ]

    async def work() -> None:
        threads = Threads(tmp_path, Random(seed))
        await threads.fill(300)
        assert await (await threads.acme.tenant()).records.is_indexed()
        by_messages = [await threads.listed(query) for query in queries]
        del threads.world.durable.rows("lookups")[PARTITION, POINTERS]
        threads.world.restart()
        assert not await (await threads.acme.tenant()).records.is_indexed()
        assert by_messages == [await threads.listed(query) for query in queries]
        assert len(by_messages[0]) == 300

    run(work)


def test_a_thread_without_its_message_or_changed_late_is_listed(tmp_path: Path) -> None:
    async def work() -> None:
        world, acme = await filled(tmp_path, 0)
        partner = await world.partner(acme)
        world.tick = LATE  # from one call to the next: each message is handled late
        await partner.send(partner.basic("late"))
        await world.settle()
        world.tick = 1
        await partner.send(partner.basic("erased"))
        while await world.step():
            pass
        for hit in (await acme.get("message"))["hits"]:
            assert (await acme.call("DELETE", f"message/{hit['uuid']}")).status == 204
        world.assert_pointed()
        rows = world.durable.rows("records")
        assert sum(key.startswith("pointer~action.") for _, key in rows) == 2
        world.durable.rows("lookups")[PARTITION, POINTERS] = Row(
            PARTITION, POINTERS, {"since": 0, "seen": world.durable.now, "filedSince": 0}, "1"
        )
        world.restart()
        assert await (await acme.tenant()).records.is_indexed()
        assert len((await acme.get("action?order=newest"))["hits"]) == 2

    run(work)


def test_claims_of_strangers_do_not_hide_a_contact_with_the_same_did(tmp_path: Path) -> None:
    did = "did:sov:WgWxqztrNooG92RXvxSTWv"

    async def work() -> None:
        world, acme = await filled(tmp_path, 0)
        claims = [
            Contact(uuid=uuid_at(NOW - DAY + number, "claim"), claimed_did=did, named=False) for number in range(120)
        ]
        proven = Contact(uuid=uuid_at(NOW, "proven"), did=did, named=True)
        # An older version did not say who proved it.
        older = Contact(uuid=uuid_at(NOW, "older"), did=did)
        rows = world.durable.rows("records")
        rows.fill(rows_of(acme.uuid, [*claims, proven]))
        assert (await acme.get(f"contact/{did}"))["uuid"] == proven.uuid
        assert Contact.read(Row(acme.uuid, older.key, older.values(), "1")).pointer == older.pointer != ""

    run(work)


def test_a_connection_that_begins_long_after_its_contact_is_listed_once(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        acme, bolt = await world.register("Acme"), await world.register("Bolt")
        contact = await acme.post("contact", {"contact": {"email": "bolt@partner.example"}})
        world.durable.now += DAY
        services, tenant = world.process.app.services, await acme.tenant()
        identity = await tenant.records.get(Identity, acme.identity["uuid"])
        assert identity is not None
        wanted = Wanted(form=FORM_2, contact_uuid=contact["uuid"])
        ids = Ids(services.uuid7, services.random, world.durable.now)
        invitation = await Invitations(services).create(tenant, identity, wanted, ids)
        await bolt.post("contact", {"invitation": read_content(tenant.records, invitation)})
        await world.settle()
        [connection] = (await acme.get("connection"))["hits"]
        assert (connection["uuid"], connection["state"]) == (contact["connectionUuid"], COMPLETED)
        world.assert_pointed()

    run(work)


def test_a_thread_is_erased_with_all_of_its_pointers(tmp_path: Path) -> None:
    async def work() -> None:
        world, acme = await filled(tmp_path, 1)
        rows = world.durable.rows("records")
        [contact] = (await acme.get("contact"))["hits"]
        [thread] = [Action.read(row) for (_, key), row in rows.items() if key.startswith("action~")]
        # The last of these was handled before its message was.
        late = [
            Pointer(uuid=Action.pointer_at(thread.created_at + number, thread.uuid), record_uuid=thread.uuid)
            for number in (*range(250), AFTER + LATE)
        ]
        rows.fill(rows_of(acme.uuid, late))
        assert thread.updated_at == thread.created_at + AFTER
        erased = await acme.post(f"contact/{contact['uuid']}/erase", {})
        assert erased["done"]
        assert [key for _, key in rows if key.startswith(("action~", "pointer~"))] == []

    run(work)


def test_a_timer_that_works_long_is_not_silent(tmp_path: Path) -> None:
    async def work() -> None:
        world, acme = await filled(tmp_path, 0)
        partner = await world.partner(acme)
        acme.hooks.answers = [500] * 50
        for number in range(30):
            await partner.send(partner.basic(f"{number}"))
            while await world.step():
                pass
            world.durable.now += 60_000
            await world.process.app.services.indexes.renew()
        await world.process.app.sweep.tick()
        world.durable.now += 300_000
        world.tick = 60_000  # from one call to the next
        before = world.durable.now
        await world.process.app.sweep.tick()
        world.tick = 1
        assert world.durable.now > before + SILENCE
        assert await (await acme.tenant()).records.is_indexed()

    run(work)
