"""The storage in memory does what the storage emulator does."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest

from devtools.azurite import Azurite
from devtools.memory import Durable, MemoryBlobs, MemoryQueue, MemoryStorage, MemoryTable
from tntcore.storage.blobs import Blobs
from tntcore.storage.queues import Queue
from tntcore.storage.storage import Storage
from tntcore.storage.tables import Row, Table
from tntcore.storage.transactions import Operation, TransactionError
from tntcore.telemetry import Meter

T = TypeVar("T")


@pytest.fixture
async def both(azurite: Azurite) -> AsyncIterator[list[Storage]]:
    async def point(name: str, effect: Callable[[], T], *, writes: bool) -> T:
        return effect()

    real = Storage(azurite.connection_string, Meter(), lambda queue, delay: None)
    await real.ensure()
    yield [real, MemoryStorage(Durable(0), point)]
    await real.close()


async def of_tables(storage: Storage, partition: str) -> list[Any]:
    """What a storage answers to a long list of calls, without its etags."""
    table, said = storage.records, list[Any]()

    def shown(row: Row | None) -> Any:
        return row and (row.key, dict(row.values))

    async def transact(*operations: Operation) -> None:
        try:
            said.append(len(await table.transact(partition, operations)))
        except TransactionError as error:
            said.append((error.status, error.index))

    await transact(Operation("create", "a", {"n": 1, "t": "x", "none": None}), Operation("upsert", "b", {"n": 2}))
    before = await table.get(partition, "a")
    assert before is not None
    said.append(shown(before))
    await transact(Operation("merge", "a", {"n": 3}, before.etag), Operation("upsert", "b", {"b": b"\0", "flag": True}))
    await transact(Operation("merge", "a", {"n": 4}, before.etag))
    await transact(Operation("upsert", "c", {}), Operation("create", "a", {}))
    await transact(Operation("upsert", "c", {}), Operation("merge", "z", {}))
    await transact(Operation("upsert", "c", {}), Operation("delete", "z", {}))
    await transact(Operation("upsert", "c", {"t": "x" * 32_769}))
    await transact(Operation("upsert", "c", {"n": 9, "t": "it's"}), Operation("delete", "b", {}))
    said.append(shown(await table.get(partition, "b")))
    said.append(await table.create(partition, "d", {"n": 1}))
    said.append(await table.create(partition, "d", {"n": 2}))
    await table.put(partition, "d", {"t": "y"})
    for where, parameters in (
        ("", {}),
        ("n ge @nine or t eq 'y'", {"nine": 9}),
        ("t eq @t and n ge 1", {"t": "it's"}),
        ("n ge @least and ( t eq 'x' or t eq 'y' )", {"least": 2}),
    ):
        page = await table.scan(partition, "a", "z", limit=10, where=where, parameters=parameters)
        said.append([shown(row) for row in page.rows])
    page = await table.scan(partition, "a", "d", limit=1)
    said.append(([row.key for row in page.rows], page.next))
    row = await table.get(partition, "d")
    assert row is not None
    said.append(await table.delete(partition, "d", before.etag))
    said.append(await table.delete(partition, "d", row.etag))
    said.append(await table.delete(partition, "d", row.etag))
    said.append(await table.get(partition, "d"))
    return said


async def test_tables(both: list[Storage]) -> None:
    partition = uuid.uuid4().hex
    real, memory = [await of_tables(storage, partition) for storage in both]
    assert memory == real


async def test_blobs(both: list[Storage]) -> None:
    said: list[list[Any]] = []
    for storage in both:
        blobs, name = storage.envelopes, f"{uuid.uuid4().hex}/x"
        said.append([await blobs.get(name), await blobs.size(name)])
        await blobs.put(name, b"one")
        await blobs.put(name, b"four")
        said[-1] += [await blobs.get(name), await blobs.size(name), await blobs.size_under(name[:-1])]
        said[-1] += [await blobs.touch(name, {"p": "q"}), await blobs.touch(f"{name}x", {"p": "q"})]
        await blobs.put(f"{name}x", b"two", {"a": "b"})
        listed, start = [], None
        while True:
            page = await blobs.page(start, 1)
            assert len(page.blobs) <= 1
            # Other tests may have left some.
            listed += [(one.name[-2:], one.metadata) for one in page.blobs if one.name.startswith(name)]
            start = page.next
            if start is None:
                break
        said[-1].append(listed)
        await blobs.delete(f"{name}x")
        await blobs.delete(name)
        await blobs.delete(name)
        said[-1].append(await blobs.get(name))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("memory", "real"), [(MemoryTable, Table), (MemoryQueue, Queue), (MemoryBlobs, Blobs)], ids=lambda one: one.__name__
)
def test_no_call_is_forgotten(memory: type, real: type) -> None:
    calls = {name for name, member in vars(real).items() if inspect.iscoroutinefunction(member) and name[0] != "_"}
    # A put is a `store`, or is handled at once.
    assert calls - {"put"} <= vars(memory).keys()
