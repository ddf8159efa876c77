"""What the service relies on of Table, Queue and Blob Storage, against a real one."""

from __future__ import annotations

import asyncio
import base64
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.queue.aio import QueueServiceClient

from devtools.azurite import Azurite
from tntcore.clock import Clock
from tntcore.cloud import Cloud
from tntcore.config import CloudIdentity, Config
from tntcore.messaging.ids import time_of
from tntcore.services import open_services
from tntcore.shares import on_behalf_of
from tntcore.storage.commit import Changed, Committer, Exists, TooLarge, Unit
from tntcore.storage.lookups import Found, Lookups
from tntcore.storage.queues import _LARGE_AT_ONCE, MAX_MESSAGE, ListQueue, Queue, fit
from tntcore.storage.storage import Storage
from tntcore.storage.tables import Table
from tntcore.storage.transactions import Operation, TransactionError, Value
from tntcore.telemetry import Meter


@pytest.fixture(scope="module")
async def storage(azurite: Azurite) -> AsyncIterator[Storage]:
    opened = Storage(azurite.connection_string, Meter(), lambda queue, delay: None)
    yield opened
    await opened.close()


@pytest.fixture
def partition() -> str:
    return uuid.uuid4().hex


async def test_values_come_back_as_they_were_written(storage: Storage, partition: str) -> None:
    values: dict[str, Value] = {
        "text": "snö\r\n--x",
        "lines": "one\u2028two\u2029three",
        "empty": "",
        "flag": False,
        "count": 2**53,
        "data": bytes(range(256)),
        "none": None,
    }
    await storage.records.transact(partition, [Operation("create", "it's a key~1", values)])
    row = await storage.records.get(partition, "it's a key~1")
    assert row is not None
    assert dict(row.values) == {name: value for name, value in values.items() if value is not None}
    assert row.key == "it's a key~1"


@pytest.mark.parametrize("text", ["did:web:a.example%3A8443", "it's", "a+b & c=d", "#?/", "ä\u2028", "@name", "' or 1"])
async def test_a_filter_finds_any_text(storage: Storage, partition: str, text: str) -> None:
    await storage.records.transact(
        partition, [Operation("create", f"k%41{n}", {"t": t}) for n, t in enumerate((text, "x"))]
    )
    page = await storage.records.scan(partition, "k", "l", limit=5, where="t eq @text", parameters={"text": text})
    assert [row.key for row in page.rows] == ["k%410"]
    assert await storage.records.get(partition, "k%410") == page.rows[0]


async def test_a_table_is_created_when_first_written_to(azurite: Azurite, partition: str) -> None:
    opened = Storage(azurite.connection_string, Meter(), lambda queue, delay: None)
    name = "t" + uuid.uuid4().hex
    table = Table(opened._tables, name, opened.meter)
    assert (await table.scan(partition, "", "~", limit=1)).rows == []
    assert await table.get(partition, "x") is None
    await table.transact(partition, [Operation("create", "x", {"a": "1"})])
    assert await table.get(partition, "x") is not None
    other = Table(opened._tables, "t" + uuid.uuid4().hex, opened.meter)
    assert await other.create(partition, "x", {"a": "1"})
    assert not await other.create(partition, "x", {"a": "2"})
    await opened.close()


@pytest.mark.parametrize("wrong", [-600_000, 90_000])
async def test_a_process_whose_clock_is_wrong_goes_by_that_of_storage(azurite: Azurite, wrong: int) -> None:
    clock = Clock(lambda: time.time_ns() // 1_000_000 + wrong)
    cloud = Cloud(CloudIdentity(), clock=clock)
    config = replace(Config.read(os.environ), storage=azurite.connection_string)
    services = open_services(config, lambda queue, delay: None, cloud=cloud)
    try:
        assert await services.storage.lookups.get("nobody", "nothing") is None
        for now in (services.now(), time_of(services.uuid7())):
            # An answer says the time to the second. Nothing is said of how long this machine takes.
            assert abs(now - await services.storage.lookups.clock()) < min(abs(wrong) / 2, 30_000)
    finally:
        await services.close()


async def test_a_transaction_whose_answer_was_lost_is_written_once(
    azurite: Azurite, partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK sends it again, and it is refused for what the first sending wrote."""
    opened = Storage(azurite.connection_string, Meter(), lambda queue, delay: None)
    lost = 0
    send = AioHttpTransport.send

    async def losing(self: AioHttpTransport, request: Any, **config: Any) -> Any:
        nonlocal lost
        response: Any = await send(self, request, **config)
        if request.url.endswith("$batch") and response.status_code == 202 and lost > 0:
            lost -= 1
            response.status_code = 503
        return response

    monkeypatch.setattr(AioHttpTransport, "send", losing)
    try:
        unit = Unit()
        unit.create_row("a~1", {"text": "x", "number": 1, "data": b"y", "flag": True})
        lost = 1
        await opened.committer.commit(partition, unit)
        row = await opened.records.get(partition, "a~1")
        assert row is not None
        changed = Unit()
        changed.merge("a~1", {"number": 2}, row.etag)
        lost = 2
        await opened.committer.commit(partition, changed)
        assert lost == 0
        # What another wrote is a conflict all the same.
        with pytest.raises(Changed):
            await opened.committer.commit(partition, changed)
        lost = 1
        other = Unit()
        other.merge("a~1", {"number": 3}, row.etag)
        with pytest.raises(Changed):
            await opened.committer.commit(partition, other)
        gone = Unit()
        gone.delete("a~1")
        lost = 1
        await opened.committer.commit(partition, gone)
    finally:
        await opened.close()


async def test_etags_answered_by_a_transaction_are_the_rows(storage: Storage, partition: str) -> None:
    etags = await storage.records.transact(
        partition, [Operation("create", "a", {"x": "1"}), Operation("upsert", "b", {"x": "1"})]
    )
    for key, etag in zip("ab", etags, strict=True):
        await storage.records.transact(partition, [Operation("merge", key, {"y": "2"}, etag)])
        row = await storage.records.get(partition, key)
        assert row is not None
        assert dict(row.values) == {"x": "1", "y": "2"}
        assert row.etag != etag
        with pytest.raises(TransactionError) as stale:
            await storage.records.transact(partition, [Operation("merge", key, {"y": "3"}, etag)])
        assert stale.value.status == 412


async def test_a_transaction_is_all_or_nothing_and_names_what_failed(storage: Storage, partition: str) -> None:
    await storage.records.transact(partition, [Operation("create", "b", {})])
    with pytest.raises(TransactionError) as refused:
        await storage.records.transact(
            partition,
            [Operation("create", "a", {}), Operation("create", "b", {}), Operation("create", "c", {})],
        )
    assert (refused.value.status, refused.value.index) == (409, 1)
    assert await storage.records.get(partition, "a") is None
    with pytest.raises(TransactionError) as missing:
        await storage.records.transact(partition, [Operation("create", "a", {}), Operation("merge", "z", {})])
    assert (missing.value.status, missing.value.index) == (404, 1)
    assert await storage.records.get(partition, "a") is None


async def test_a_hundred_operations_fit(storage: Storage, partition: str) -> None:
    operations = [Operation("create", f"{n:03d}", {"n": n}) for n in range(100)]
    assert len(await storage.records.transact(partition, operations)) == 100
    page = await storage.records.scan(partition, "020", "050", limit=10)
    assert [row.key for row in page.rows] == [f"{n:03d}" for n in range(20, 30)]
    assert page.next == "030"
    rest = await storage.records.scan(partition, "030", "050", limit=100, where="n ge @least", parameters={"least": 45})
    assert [row.values["n"] for row in rest.rows] == [45, 46, 47, 48, 49]
    assert rest.next is None


async def test_neighbours_of_a_duplicate_and_of_a_lost_race_are_committed(storage: Storage, partition: str) -> None:
    committer = Committer(storage.records)
    first = Unit()
    first.create_row("taken", {"by": "first"})
    first.create_row("raced", {"by": "first"})
    await committer.commit(partition, first)
    row = await storage.records.get(partition, "raced")
    assert row is not None
    change = Unit()
    change.merge("raced", {"by": "second"}, row.etag)
    await committer.commit(partition, change)

    units = []
    for number in range(30):
        unit = Unit()
        unit.create_row(f"row-{number:02d}", {"n": number})
        if number == 7:
            unit.create_row("taken", {"by": "late"})
        if number == 11:
            unit.merge("raced", {"by": "late"}, row.etag)
        if number == 13:
            unit.merge("never", {"by": "late"})
        units.append(unit)
    meter = storage.meter.counts["table.transaction"]
    results = await asyncio.gather(*(committer.commit(partition, unit) for unit in units), return_exceptions=True)
    outcome = {number: result for number, result in enumerate(results) if result is not None}
    assert {number: type(result) for number, result in outcome.items()} == {7: Exists, 11: Changed, 13: Changed}
    assert isinstance(outcome[7], Exists)
    assert outcome[7].row == "taken"
    written = [row.key for row in (await storage.records.scan(partition, "row-", "row-~", limit=100)).rows]
    assert written == [f"row-{number:02d}" for number in range(30) if number not in outcome]
    assert storage.meter.counts["table.transaction"] - meter <= 5


async def test_neighbours_of_a_value_that_is_too_large_are_committed(storage: Storage, partition: str) -> None:
    committer = Committer(storage.records)
    units = [Unit(), Unit(), Unit(), Unit()]
    values: list[Value] = ["x", "x" * 40_000, bytes(70_000), "y"]
    for number, value in enumerate(values):
        units[number].create_row(f"row-{number}", {"value": value})
    results = await asyncio.gather(*(committer.commit(partition, unit) for unit in units), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), TransactionError, TransactionError, type(None)]
    written = [row.key for row in (await storage.records.scan(partition, "row-", "row-~", limit=100)).rows]
    assert written == ["row-0", "row-3"]


async def test_a_unit_of_too_many_operations_fails_alone(storage: Storage, partition: str) -> None:
    committer = Committer(storage.records)
    units = [Unit(), Unit()]
    for number in range(101):
        units[0].create_row(f"many-{number:03d}", {})
    units[1].create_row("one", {})
    results = await asyncio.gather(*(committer.commit(partition, unit) for unit in units), return_exceptions=True)
    assert isinstance(results[0], TooLarge)
    assert results[1] is None


async def test_a_name_is_removed_by_its_owner_alone(storage: Storage, partition: str) -> None:
    lookups = Lookups(storage.lookups, time.monotonic)
    owner = Found("principal", "invitation", "mine")
    assert await lookups.add("key", partition, owner)
    await lookups.remove("key", partition, "another's")
    assert await lookups.find("key", partition) == owner
    await lookups.remove("key", partition, "mine")
    assert await lookups.find("key", partition) is None
    await lookups.remove("key", partition, "mine")


async def test_two_units_that_touch_one_row_are_folded_or_follow_each_other(storage: Storage, partition: str) -> None:
    committer = Committer(storage.records)
    begin, follow, again = Unit(), Unit(), Unit()
    begin.create_row("thread", {"begun": "yes", "last": "1"})
    follow.upsert_row("thread", {"last": "2"})
    again.create_row("thread", {"begun": "no"})
    results = await asyncio.gather(
        *(committer.commit(partition, unit) for unit in (begin, follow, again)), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), type(None), Exists]
    row = await storage.records.get(partition, "thread")
    assert row is not None
    assert dict(row.values) == {"begun": "yes", "last": "2"}


async def test_a_unit_that_changes_one_row_twice_is_refused_alone(storage: Storage, partition: str) -> None:
    committer = Committer(storage.records)
    wrong, right = Unit(), Unit()
    wrong.create_row("x", {})
    wrong.delete("x")
    right.create_row("y", {})
    results = await asyncio.gather(
        committer.commit(partition, wrong), committer.commit(partition, right), return_exceptions=True
    )
    assert isinstance(results[0], ValueError)
    assert await storage.records.get(partition, "y") is not None


async def test_large_units_are_spread_over_transactions(storage: Storage, partition: str) -> None:
    committer = Committer(storage.records)
    units = []
    for number in range(90):
        unit = Unit()
        unit.create_row(f"big-{number:02d}", {"body": bytes(60_000)})
        units.append(unit)
    await asyncio.gather(*(committer.commit(partition, unit) for unit in units))
    page = await storage.records.scan(partition, "big-", "big-~", limit=200, columns=())
    assert len(page.rows) == 90


async def test_list_messages_carry_all_items_within_the_size_of_a_message(azurite: Azurite) -> None:
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        client = service.get_queue_client("lists-" + uuid.uuid4().hex)
        await client.create_queue()
        bodies: list[bytes] = []

        async def put(body: bytes) -> None:
            assert len(body) <= MAX_MESSAGE
            bodies.append(body)
            await client.send_message(base64.b64encode(body).decode())

        queue = ListQueue(put)
        items = [orjson.dumps({"n": n, "x": "y" * (n * 37 % 9000)}) for n in range(60)]
        largest = b'"' + b"z" * (queue.room - 2) + b'"'
        await asyncio.gather(*(queue.add(item) for item in [*items, largest]))
        got = [item for body in bodies for item in orjson.loads(body)["items"]]
        given = [orjson.loads(item) for item in [*items, largest]]
        assert sorted(map(given.index, got)) == list(range(len(given)))
        assert len(bodies) < 20
        with pytest.raises(ValueError, match="bytes"):
            await queue.add(largest + b" ")


async def test_the_backlog_of_a_queue(azurite: Azurite) -> None:
    """All messages are counted; the oldest one is of those that can be taken now."""
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as service:
        queue = Queue(service, "backlog-" + uuid.uuid4().hex, Meter(), lambda queue, delay: None)
        assert await queue.backlog() == (0, 0)
        await queue.put(b"{}", delay=600)
        assert await queue.backlog() == (1, 0)
        for _ in range(2):
            await queue.put(b"{}")
        waiting, oldest = await queue.backlog()
        assert waiting == 3
        assert abs(oldest / 1000 - time.time()) < 3600


async def test_large_items_that_wait_delay_neither_small_ones_nor_anothers() -> None:
    puts: list[list[str]] = []
    turn = asyncio.Semaphore(0)

    async def put(body: bytes) -> None:
        puts.append([item[0] for item in orjson.loads(body)["items"]])
        await turn.acquire()

    queue = ListQueue(put)
    with on_behalf_of("flood"):
        flood = [asyncio.create_task(queue.add(orjson.dumps("f" * 40_000))) for _ in range(50)]
    await _settled()
    assert len(puts) == _LARGE_AT_ONCE // 2
    with on_behalf_of("other"):
        other = asyncio.create_task(queue.add(orjson.dumps("o" * 40_000)))
        small = asyncio.create_task(queue.add(orjson.dumps("s")))
    await _settled()
    assert sorted(puts[_LARGE_AT_ONCE // 2 :]) == [["o"], ["s"]]
    for _ in range(60):
        turn.release()
    await asyncio.gather(other, small, *flood)
    assert queue.idle


async def _settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_fit_takes_at_least_one() -> None:
    assert fit([b"xxxx", b"x"], 2) == 1
    assert fit([b"x", b"x", b"x"], 4) == 2
    assert fit([b"x"], 100) == 1


async def test_blobs_are_written_read_and_deleted(storage: Storage, partition: str) -> None:
    data = bytes(range(256)) * 5000
    name = f"{partition}/body"
    assert await storage.bodies.get(name) is None
    await storage.bodies.put(name, data)
    assert await storage.bodies.get(name) == data
    await storage.bodies.delete(name)
    await storage.bodies.delete(name)
    assert await storage.bodies.get(name) is None


async def test_reachable_tells_each_service(storage: Storage, azurite: Azurite) -> None:
    assert await storage.reachable() == {"tables": True, "queues": True, "blobs": True}
    elsewhere = azurite.connection_string.replace(f":{azurite.ports[2]}/", ":1/")
    other = Storage(elsewhere, Meter(), lambda queue, delay: None)
    assert await other.reachable() == {"tables": False, "queues": True, "blobs": True}
    await other.close()


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("kind", ["table", "transaction", "queue", "blob"])
async def test_a_call_refused_once_is_repeated_soon(
    storage: Storage, partition: str, monkeypatch: pytest.MonkeyPatch, status: int, kind: str
) -> None:
    row = Operation("upsert", "x", {"a": "1"})
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "table": lambda: storage.records.put(partition, "x", {"a": "1"}),
        "transaction": lambda: storage.records.transact(partition, [row]),
        "queue": lambda: storage.queues["relay"].put(b"{}"),
        "blob": lambda: storage.bodies.put(partition, b"x"),
    }
    await calls[kind]()
    real = AioHttpTransport.send
    refused: list[str] = []

    async def send(self: AioHttpTransport, request: Any, **config: Any) -> Any:
        response: Any = await real(self, request, **config)
        if not refused:
            refused.append(request.method)
            response.status_code = status
        return response

    monkeypatch.setattr(AioHttpTransport, "send", send)
    begun = time.monotonic()
    await calls[kind]()
    assert refused
    assert time.monotonic() - begun < 1
