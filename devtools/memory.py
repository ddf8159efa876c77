"""Table, Queue and Blob Storage in memory, as the service uses them: for faults at each call, and to count what calls
cost.

`Durable` is what outlives processes. Each process has a `MemoryStorage` of its own over it, and every call of it is a
point where a fault can be injected (`Point`). `tests/faults/test_memory.py` holds it against the storage emulator.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar

from tntcore.storage.at_once import PopReceipt
from tntcore.storage.blobs import Blob, BlobPage, Blobs
from tntcore.storage.commit import Committer
from tntcore.storage.queues import ListQueue, Queue
from tntcore.storage.storage import EXCHANGE, INBOUND, OUTBOUND, RELAY, Storage
from tntcore.storage.tables import Row, RowPage, Table, Walked
from tntcore.storage.transactions import MAX_OPERATIONS, Operation, TransactionError, Value
from tntcore.telemetry import Meter

T = TypeVar("T")
_MAX_TEXT, _MAX_BINARY = 32_768, 65_536  # what one property of a row holds
_LAST = "\U0010ffff"  # sorts after every key
_WALKED = 1000


class Point(Protocol):
    """Where a call leaves the process. Answers what `effect` answers, unless a fault comes between."""

    async def __call__(self, name: str, effect: Callable[[], T], *, writes: bool) -> T: ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queue message. `visible` in milliseconds; `count`: how often it was given out."""

    id: int
    queue: str
    body: bytes
    visible: int
    count: int = 0


class Rows(dict[tuple[str, str], Row]):
    """The rows of a table, by partition and key, in order of their keys where they are read."""

    def __init__(self, rows: Mapping[tuple[str, str], Row] | None = None) -> None:
        super().__init__(rows or {})
        self._keys: dict[str, list[str]] = {}  # sorted, by partition
        self._partitions: list[str] = []
        self._is_sorted = False

    def __setitem__(self, name: tuple[str, str], row: Row) -> None:
        if self._is_sorted and name not in self:
            partition, key = name
            if partition not in self._keys:
                insort(self._partitions, partition)
            insort(self._keys.setdefault(partition, []), key)
        super().__setitem__(name, row)

    def __delitem__(self, name: tuple[str, str]) -> None:
        super().__delitem__(name)
        if self._is_sorted:
            partition, key = name
            keys = self._keys[partition]
            del keys[bisect_left(keys, key)]
            if not keys:
                del self._keys[partition]
                del self._partitions[bisect_left(self._partitions, partition)]

    def fill(self, rows: Iterable[Row]) -> None:
        """Adds many rows, which are put in order when they are first read."""
        self._is_sorted = False
        super().update(((row.partition, row.key), row) for row in rows)

    def _sort(self) -> None:
        if self._is_sorted:
            return
        self._keys = {}
        for partition, key in sorted(self):
            self._keys.setdefault(partition, []).append(key)
        self._partitions = list(self._keys)
        self._is_sorted = True

    def of(self, partition: str, start: str, end: str) -> Iterator[Row]:
        """The rows with start <= key < end, in order."""
        self._sort()
        keys = self._keys.get(partition, [])
        for number in range(bisect_left(keys, start), bisect_left(keys, end)):
            yield self[partition, keys[number]]

    def after(self, partition: str) -> list[str]:
        """The partitions behind this one, in order."""
        self._sort()
        return self._partitions[bisect_right(self._partitions, partition) :]


@dataclass
class Durable:
    """What is stored.

    Attributes:
        now: milliseconds.
        rows_read: rows that storage had to look at for the calls so far, given out or not.
    """

    now: int
    tables: dict[str, dict[tuple[str, str], Row]] = field(default_factory=dict)
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    queue: dict[int, Waiting] = field(default_factory=dict)
    number: int = 0
    listed: dict[str, dict[str, Blob]] = field(default_factory=dict)
    rows_read: int = 0

    def rows(self, table: str) -> Rows:
        rows = self.tables.get(table)
        if not isinstance(rows, Rows):
            rows = self.tables[table] = Rows(rows)
        return rows

    def copy(self) -> Durable:
        """Rows, blobs and queue messages never change in place."""
        tables: dict[str, dict[tuple[str, str], Row]] = {name: Rows(rows) for name, rows in self.tables.items()}
        blobs = {name: dict(found) for name, found in self.blobs.items()}
        listed = {name: dict(found) for name, found in self.listed.items()}
        return Durable(self.now, tables, blobs, dict(self.queue), self.number, listed)

    def next(self) -> int:
        self.number += 1
        return self.number

    def put(self, queue: str, body: bytes, delay: int = 0) -> int:
        number = self.next()
        self.queue[number] = Waiting(number, queue, body, self.now + delay * 1000)
        return number


class MemoryTable(Table):
    def __init__(self, durable: Durable, name: str, point: Point) -> None:
        self.name = name
        self._durable = durable
        self._rows = durable.rows(name)
        self._point = point

    async def get(self, partition: str, key: str) -> Row | None:
        def effect() -> Row | None:
            self._durable.rows_read += 1
            return self._rows.get((partition, key))

        return await self._point(f"{self.name}.get", effect, writes=False)

    async def scan(
        self,
        partition: str,
        start: str,
        end: str,
        *,
        limit: int,
        where: str = "",
        parameters: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
    ) -> RowPage:
        fits, given = condition(where), parameters or {}

        def effect() -> RowPage:
            rows: list[Row] = []
            for row in self._rows.of(partition, start, end):
                self._durable.rows_read += 1
                if fits(row.values, given):
                    rows.append(row)
                if len(rows) > limit:
                    return RowPage(rows[:limit], row.key)
            return RowPage(rows, None)

        return await self._point(f"{self.name}.scan", effect, writes=False)

    async def partition_after(self, partition: str) -> str | None:
        def effect() -> str | None:
            self._durable.rows_read += 1
            return next(iter(self._rows.after(partition)), None)

        return await self._point(f"{self.name}.partition", effect, writes=False)

    async def walk(
        self,
        position: Mapping[str, str] | None = None,
        *,
        since: int = 0,
        keys: tuple[str, str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Walked:
        # Rows have no time here: all are given, and a caller must be content with more than it asked for.
        first, last = keys or ("", _LAST)

        def effect() -> Walked:
            after = tuple(position.values()) if position else ("", "")
            rows: list[Row] = []
            for partition in [after[0], *self._rows.after(after[0])]:
                for row in self._rows.of(partition, "", _LAST):
                    if (partition, row.key) <= after:
                        continue
                    self._durable.rows_read += 1
                    if not first <= row.key < last:
                        continue
                    if len(rows) == _WALKED:
                        return Walked(rows, {"partition": rows[-1].partition, "key": rows[-1].key})
                    rows.append(row)
            return Walked(rows, None)

        return await self._point(f"{self.name}.walk", effect, writes=False)

    async def clock(self) -> int:
        return await self._point(f"{self.name}.clock", lambda: self._durable.now, writes=False)

    async def put(self, partition: str, key: str, values: Mapping[str, Value]) -> None:
        await self._point(f"{self.name}.put", lambda: self._set(partition, key, values), writes=True)

    async def create(self, partition: str, key: str, values: Mapping[str, Value]) -> bool:
        def effect() -> bool:
            if (partition, key) in self._rows:
                return False
            self._set(partition, key, values)
            return True

        return await self._point(f"{self.name}.create", effect, writes=True)

    async def delete(self, partition: str, key: str, etag: str | None = None) -> bool:
        def effect() -> bool:
            row = self._rows.get((partition, key))
            if row is not None and etag not in (None, row.etag):
                return False
            if row is not None:
                del self._rows[partition, key]
            return True

        return await self._point(f"{self.name}.delete", effect, writes=True)

    async def transact(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        return await self._point(f"{self.name}.transact", lambda: self._apply(partition, operations), writes=True)

    def _apply(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        if len({operation.row for operation in operations}) < len(operations) or len(operations) > MAX_OPERATIONS:
            raise TransactionError(400, -1, "InvalidInput")
        for index, operation in enumerate(operations):
            for value in operation.values.values():
                limit = _MAX_TEXT if isinstance(value, str) else _MAX_BINARY
                if isinstance(value, str | bytes) and len(value) > limit:
                    raise TransactionError(400, index, "PropertyValueTooLarge")
            row = self._rows.get((partition, operation.row))
            if operation.kind == "create" and row is not None:
                raise TransactionError(409, index, "EntityAlreadyExists")
            if operation.kind in ("merge", "delete"):
                if row is None:
                    raise TransactionError(404, index, "ResourceNotFound")
                if operation.etag not in ("*", row.etag):
                    raise TransactionError(412, index, "UpdateConditionNotSatisfied")
        etags = []
        for operation in operations:
            if operation.kind == "delete":
                del self._rows[partition, operation.row]
                etags.append("")
                continue
            before = self._rows.get((partition, operation.row))
            etags.append(self._set(partition, operation.row, operation.values, before))
        return etags

    def _set(self, partition: str, key: str, values: Mapping[str, Value], before: Row | None = None) -> str:
        given = {name: value for name, value in values.items() if value is not None}
        merged = {**(before.values if before else {}), **given}
        etag = f"{self._durable.next()}"
        self._rows[partition, key] = Row(partition, key, merged, etag)
        return etag

    async def ensure(self) -> None:
        return None


class MemoryQueue(Queue):
    def __init__(self, durable: Durable, name: str, point: Point) -> None:
        self.name = name
        self._durable = durable
        self._point = point

    async def store(self, body: bytes, delay: int) -> PopReceipt:
        effect = partial(self._durable.put, self.name, body, delay)
        return PopReceipt(str(await self._point(f"{self.name}.put", effect, writes=True)), "")

    async def delete(self, receipt: PopReceipt) -> None:
        def effect() -> None:
            if self._is_ours(receipt):
                del self._durable.queue[int(receipt.message)]

        await self._point(f"{self.name}.delete", effect, writes=True)

    async def show(self, receipt: PopReceipt, delay: int) -> None:
        def effect() -> None:
            if self._is_ours(receipt):
                message = self._durable.queue[int(receipt.message)]
                self._durable.queue[message.id] = replace(message, visible=self._durable.now + delay * 1000)

        await self._point(f"{self.name}.update", effect, writes=True)

    def _is_ours(self, receipt: PopReceipt) -> bool:
        message = self._durable.queue.get(int(receipt.message))
        return message is not None and not message.count

    async def peek(self) -> tuple[Sequence[bytes], int]:
        def effect() -> tuple[Sequence[bytes], int]:
            mine = [one for one in self._durable.queue.values() if one.queue == self.name]
            return [one.body for one in mine if one.visible <= self._durable.now][:32], len(mine)

        return await self._point(f"{self.name}.peek", effect, writes=False)

    async def backlog(self) -> tuple[int, int]:
        def effect() -> tuple[int, int]:
            mine = [one for one in self._durable.queue.values() if one.queue == self.name]
            waiting = any(one.visible <= self._durable.now for one in mine)
            return len(mine), self._durable.now if waiting else 0

        return await self._point(f"{self.name}.backlog", effect, writes=False)

    async def ensure(self) -> None:
        return None


class MemoryBlobs(Blobs):
    def __init__(self, durable: Durable, name: str, point: Point) -> None:
        self._name = name
        self._durable = durable
        self._blobs = durable.blobs.setdefault(name, {})
        self._listed = durable.listed.setdefault(name, {})
        self._point = point

    async def put(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        def effect() -> None:
            self._blobs[name] = data
            self._listed[name] = Blob(name, metadata or {}, self._durable.now)

        await self._point(f"{self._name}.put", effect, writes=True)

    async def touch(self, name: str, metadata: Mapping[str, str]) -> bool:
        def effect() -> bool:
            if name in self._blobs:
                self._listed[name] = Blob(name, metadata, self._durable.now)
            return name in self._blobs

        return await self._point(f"{self._name}.touch", effect, writes=True)

    async def page(self, start: str | None, limit: int, under: str = "") -> BlobPage:
        def effect() -> BlobPage:
            names = sorted(name for name in self._blobs if name >= (start or "") and name.startswith(under))
            return BlobPage(
                [self._listed[name] for name in names[:limit]], names[limit] if len(names) > limit else None
            )

        return await self._point(f"{self._name}.page", effect, writes=False)

    async def get(self, name: str) -> bytes | None:
        return await self._point(f"{self._name}.get", lambda: self._blobs.get(name), writes=False)

    async def size(self, name: str) -> int:
        return await self._point(f"{self._name}.size", lambda: len(self._blobs.get(name, b"")), writes=False)

    async def size_under(self, prefix: str) -> int:
        def effect() -> int:
            return sum(len(data) for name, data in self._blobs.items() if name.startswith(prefix))

        return await self._point(f"{self._name}.list", effect, writes=False)

    async def delete(self, name: str, *, before: int | None = None) -> bool:
        def effect() -> bool:
            if before is not None and name in self._blobs and self._listed[name].modified > before:
                return False
            self._blobs.pop(name, None)
            return True

        return await self._point(f"{self._name}.delete", effect, writes=True)

    async def ensure(self) -> None:
        return None


class MemoryStorage(Storage):
    """What one process sees of `durable`."""

    def __init__(self, durable: Durable, point: Point) -> None:
        self.meter = Meter()
        self.records = MemoryTable(durable, "records", point)
        self.lookups = MemoryTable(durable, "lookups", point)
        self.due = MemoryTable(durable, "due", point)
        self.poisoned = MemoryTable(durable, "poisoned", point)
        self.committer = Committer(self.records)
        queues = {name: MemoryQueue(durable, name, point) for name in (INBOUND, EXCHANGE, OUTBOUND, RELAY)}
        self.queues = dict(queues)
        self.inbound = ListQueue(queues[INBOUND].put)
        self.outbound = ListQueue(queues[OUTBOUND].put)
        self.relay = ListQueue(queues[RELAY].put)
        self.bodies = MemoryBlobs(durable, "bodies", point)
        self.envelopes = MemoryBlobs(durable, "envelopes", point)

    async def ensure(self) -> None:
        return None

    async def close(self) -> None:
        return None


_TOKENS = re.compile(r"\s*(\(|\)|'(?:[^']|'')*'|@?\w+)")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "le": lambda a, b: a <= b,
    "lt": lambda a, b: a < b,
}


Fits = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
"""Whether a row's values fit, given the parameters."""


@lru_cache(1024)
def condition(where: str) -> Fits:
    """The OData filter, of comparisons with `and`, `or`, `not` and brackets. A row without the column fits none."""
    if not where:
        return lambda row, parameters: True
    tokens = [token for token in _TOKENS.findall(where) if token]
    position = 0

    def take() -> str:
        nonlocal position
        position += 1
        found: str = tokens[position - 1]
        return found

    def peek() -> str:
        return str(tokens[position]) if position < len(tokens) else ""

    def alternatives() -> Fits:
        parts = [conjunction()]
        while peek() == "or":
            take()
            parts.append(conjunction())
        return lambda row, parameters: any(part(row, parameters) for part in parts)

    def conjunction() -> Fits:
        parts = [term()]
        while peek() == "and":
            take()
            parts.append(term())
        return lambda row, parameters: all(part(row, parameters) for part in parts)

    def term() -> Fits:
        if peek() == "(":
            take()
            inner = alternatives()
            assert take() == ")", where
            return inner
        if peek() == "not":
            take()
            negated = term()
            return lambda row, parameters: not negated(row, parameters)
        column, compare, wanted = take(), _COMPARE[take()], take()
        return lambda row, parameters: column in row and compare(row[column], _literal(wanted, parameters))

    found = alternatives()
    assert position == len(tokens), where
    return found


def _literal(token: str, parameters: Mapping[str, Any]) -> Any:
    if token.startswith("@"):
        return parameters[token[1:]]
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    return {"true": True, "false": False}[token] if token in ("true", "false") else int(token)


def given_out(message: Waiting, until: int) -> Waiting:
    return replace(message, visible=until, count=message.count + 1)
