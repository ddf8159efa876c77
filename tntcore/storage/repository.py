"""A principal's records. A repository belongs to one principal and cannot reach another's partitions."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tntcore.keys.custody import DataKey
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.queries import ANY, Where
from tntcore.storage.records import END, Audit, Message, Pointer, Record, is_in_shards
from tntcore.storage.shards import shard_name
from tntcore.storage.storage import Storage
from tntcore.storage.tables import RowPage

R = TypeVar("R", bound=Record)
MAX_INLINE = 48 * 1024  # bytes of a sealed body that stay in the row; a property holds 64 KiB
COUNT_CAP = 1000
_ROW = 300  # bytes
_COUNTED = {
    ("message", "IN"): "messagesIn",
    ("message", "OUT"): "messagesOut",
    ("credential", "issuer"): "credentialsIssued",
    ("credential", "holder"): "credentialsReceived",
    ("presentation", "verifier"): "presentationsReceived",
    ("presentation", "prover"): "presentationsSent",
}
_NOT_COUNTED = frozenset({"REJECTED", "FAILED"})  # of messages: those that were not received
_SIZED = frozenset({str, bytes})
# No uuid contains characters that the service refuses in a key, or misreads.
_UUID = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Hits(Generic[R]):
    """One page of a list; `next` is the start of the next page, None at the end."""

    records: Sequence[R]
    next: str | None

    @staticmethod
    def of(kind: type[R], page: RowPage) -> Hits[R]:
        """Returns the records of the rows, which are of this kind."""
        return Hits([kind.read(row) for row in page.rows], page.next.partition("~")[2] if page.next else None)


class Repository:
    """Reads and writes the records of one principal: those of one shard, and those that no shard has.

    Args:
        key: the principal's data key, which seals bodies.
        wrote: called with the number of bytes written, negative for deleted ones.
        counted: called with what was made: see `made_by`.
        shard: its number.
        is_indexed, is_filed: see the methods. Default: it is not known.
    """

    def __init__(
        self,
        storage: Storage,
        principal: str,
        key: DataKey,
        wrote: Callable[[int], None] = lambda amount: None,
        counted: Callable[[Mapping[str, int]], None] = lambda counts: None,
        shard: int = 0,
        is_indexed: Callable[[], Awaitable[bool]] | None = None,
        is_filed: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._is_indexed = is_indexed
        self._is_filed = is_filed
        self._wrote = wrote
        self._counted = counted
        self.principal = principal
        self.partition = shard_name(principal, shard)
        self._storage = storage
        self._key = key

    async def is_indexed(self) -> bool:
        """Whether all of the principal's records are found by time and DID by pointers: see `Indexes`."""
        return self._is_indexed is not None and await self._is_indexed()

    async def is_filed(self) -> bool:
        """Whether all of the principal's records have their pointers for filters."""
        return self._is_filed is not None and await self._is_filed()

    async def get(self, kind: type[R], uuid: str) -> R | None:
        """Returns the record, or None. `uuid` may be any text from a caller."""
        if not _UUID.fullmatch(uuid):
            return None
        row = await self._storage.records.get(self._partition_of(kind), kind.row_key(uuid))
        return None if row is None else kind.read(row)

    async def many(self, kind: type[R], uuids: Sequence[str], partitions: Mapping[str, str] | None = None) -> list[R]:
        """Returns the records that exist, in the order of the uuids.

        Args:
            partitions: those in which they are, by uuid, where it is known.
        """
        known = partitions or {}
        found = await asyncio.gather(*(self._in(known.get(uuid, "")).get(kind, uuid) for uuid in uuids))
        return [record for record in found if record is not None]

    async def pointed(self, kind: type[R], under: str, *, limit: int, start: str = "") -> Hits[R]:
        """Lists records by their pointers, in the order of these.

        Args:
            under: the beginning of the pointers' uuids.
            start: where the page begins: a pointer's uuid without `under`, as in `Hits.next`.
        """
        found: list[R] = []
        following = under + start
        while True:
            pointers = await self.list(Pointer, limit=limit - len(found), start=following, under=under)
            partitions = {pointer.record_uuid: pointer.partition for pointer in pointers.records}
            found += await self.many(kind, list(partitions), partitions)
            if pointers.next is None or len(found) >= limit:
                return Hits(found, pointers.next and pointers.next.removeprefix(under))
            following = pointers.next

    def _in(self, partition: str) -> Repository:
        """Returns the repository of the shard, if it is one of several."""
        return self

    async def list(
        self,
        kind: type[R],
        *,
        limit: int,
        start: str = "",
        end: str = "",
        under: str = "",
        where: Where = ANY,
        columns: Sequence[str] | None = None,
    ) -> Hits[R]:
        """Lists records of a kind in the order of their uuids.

        Args:
            start, end: the uuid to start from, and the one to stop before.
            under: only uuids with this prefix.
            columns: see `Table.scan`.
        """
        first = max(kind.row_key(under), kind.row_key(start))
        last = kind.row_key(end or under + END) if end or under else kind.KIND + END
        page = await self._storage.records.scan(
            self._partition_of(kind),
            first,
            last,
            limit=limit,
            where=where.text,
            parameters=where.parameters,
            columns=columns,
        )
        return Hits.of(kind, page)

    async def count(
        self,
        kind: type[R],
        *,
        start: str = "",
        end: str = "",
        where: Where = ANY,
    ) -> int:
        """Counts records from the uuid `start` to before `end`, up to `COUNT_CAP`."""
        page = await self._storage.records.scan(
            self._partition_of(kind),
            kind.row_key(start),
            kind.row_key(end) if end else kind.KIND + END,
            limit=COUNT_CAP,
            where=where.text,
            parameters=where.parameters,
            columns=(),
        )
        return len(page.rows)

    async def commit(self, unit: Unit) -> None:
        """Raises `commit.Exists` or `commit.Changed`; see `Committer.commit`."""
        await self._storage.committer.commit(self._partition_for(unit), unit)
        # Changes are small and mostly replace old values. Answers count, because receivers choose their size.
        made = sum(
            [
                row_bytes(operation.values)
                for operation in unit.operations
                if operation.kind == "create" or "answer" in operation.values
            ]
        )
        if made:
            self._counted(made_by(unit))
            self._wrote(made)

    def _partition_of(self, kind: type[Record]) -> str:
        return self.partition if kind.IN_SHARDS else self.principal

    def _partition_for(self, unit: Unit) -> str:
        """Raises ValueError if the unit would change two partitions. Records of the audit log go along with others."""
        if self.partition == self.principal:
            return self.principal
        kinds = {operation.row.partition("~")[0] for operation in unit.operations} - {Audit.KIND}
        in_shards = set(map(is_in_shards, kinds))
        if len(in_shards) > 1:
            raise ValueError(f"a unit of work in two partitions: {sorted(kinds)}")
        return self.partition if True in in_shards else self.principal

    async def make(self, unit: Unit, record: R) -> R:
        """Commits a unit that creates the record, whose uuid was drawn for this call alone (`Ids`).

        Returns:
            The record; as it is stored if an earlier attempt of the same call, or the client library's, created it.

        Raises:
            Exists, Changed: as `commit`.
        """
        try:
            await self.commit(unit)
        except Exists as conflict:
            stored = await self.get(type(record), record.uuid) if conflict.row == record.key else None
            if stored is None:
                raise
            return stored
        return record

    def erased(self, record: Record) -> None:
        """Subtracts a deleted row from the count of stored bytes."""
        self._wrote(-row_bytes(record.values()))

    def seal(self, data: bytes, context: str) -> bytes:
        """Encrypts under the principal's data key; `context` names the record and column that the data is for."""
        return self._key.seal(data, context=f"{self.principal}/{context}")

    def open(self, sealed: bytes, context: str) -> bytes:
        return self._key.open(sealed, context=f"{self.principal}/{context}")

    def fingerprint(self, data: bytes) -> str:
        """Returns 64 hexadecimal digits that identify equal data of this principal; see `DataKey.fingerprint`."""
        return self._key.fingerprint(data)

    def seal_body(self, message_uuid: str, body: bytes) -> bytes:
        return self.seal(body, Message.row_key(message_uuid))

    def open_body(self, message_uuid: str, sealed: bytes) -> bytes:
        return self.open(sealed, Message.row_key(message_uuid))

    async def put_body(self, message_uuid: str, sealed: bytes) -> bytes:
        """Returns the content of the row's column: the sealed body, or b"" after writing a large body to a blob."""
        if len(sealed) <= MAX_INLINE:
            return sealed
        await self._storage.bodies.put(self._blob(message_uuid), sealed)
        self._counted({"bytes": len(sealed)})
        self._wrote(len(sealed))
        return b""

    async def body(self, message: Message) -> bytes:
        """Returns the message's body, decrypted; b"" if it was erased."""
        sealed = message.body or await self.stored_body(message.uuid)
        return self.open_body(message.uuid, sealed) if sealed else b""

    async def stored_body(self, message_uuid: str) -> bytes:
        """Returns the sealed body from the message's blob, or b""."""
        return await self._storage.bodies.get(self._blob(message_uuid)) or b""

    async def delete_body(self, message_uuid: str) -> None:
        name = self._blob(message_uuid)
        size = await self._storage.bodies.size(name)
        if size:
            await self._storage.bodies.delete(name)
            self._wrote(-size)

    async def publish(self, name: str, content: bytes) -> None:
        """Stores public content. `name` is chosen by us, never by a caller."""
        await self._storage.bodies.put(self._blob(f"public/{name}"), content)
        self._wrote(len(content))

    async def published(self, name: str) -> bytes | None:
        return await self._storage.bodies.get(self._blob(f"public/{name}")) if _UUID.fullmatch(name) else None

    def _blob(self, message_uuid: str) -> str:
        return f"{self.principal}/{message_uuid}"


class WholeRepository(Repository):
    """The records of a principal in all of its shards. It reads them all, and changes only those that no shard has.

    Args:
        shards: by number.
    """

    def __init__(self, shards: Sequence[Repository]) -> None:
        first = shards[0]
        super().__init__(
            first._storage,
            first.principal,
            first._key,
            first._wrote,
            first._counted,
            0,
            first._is_indexed,
            first._is_filed,
        )
        self._shards = shards
        self._by_name = {shard.partition: shard for shard in shards}

    def _in(self, partition: str) -> Repository:
        return self._by_name.get(partition, self)

    async def get(self, kind: type[R], uuid: str) -> R | None:
        """Returns the record, or None. Asks all shards at the same time."""
        if not kind.IN_SHARDS:
            return await super().get(kind, uuid)
        found = await asyncio.gather(*(shard.get(kind, uuid) for shard in self._shards))
        return next((record for record in found if record is not None), None)

    async def list(
        self,
        kind: type[R],
        *,
        limit: int,
        start: str = "",
        end: str = "",
        under: str = "",
        where: Where = ANY,
        columns: Sequence[str] | None = None,
    ) -> Hits[R]:
        """Lists records as `Repository.list` does. Reads a page from each shard at the same time."""
        shards = self._shards if kind.IN_SHARDS else self._shards[:1]
        pages = await asyncio.gather(
            *(
                shard.list(kind, limit=limit, start=start, end=end, under=under, where=where, columns=columns)
                for shard in shards
            )
        )
        return merged(pages, limit)

    async def count(self, kind: type[R], *, start: str = "", end: str = "", where: Where = ANY) -> int:
        shards = self._shards if kind.IN_SHARDS else self._shards[:1]
        counts = await asyncio.gather(*(shard.count(kind, start=start, end=end, where=where) for shard in shards))
        return min(sum(counts), COUNT_CAP)

    def _partition_for(self, unit: Unit) -> str:
        kinds = {operation.row.partition("~")[0] for operation in unit.operations}
        if any(map(is_in_shards, kinds)):
            raise ValueError(f"a unit of work of no shard: {sorted(kinds)}")
        return self.principal


def merged(pages: Sequence[Hits[R]], limit: int) -> Hits[R]:
    """Returns the page of a list whose records are in several: of each, the page that starts at the same uuid."""
    starts = [page.next for page in pages if page.next is not None]
    # Behind this uuid, one of the lists may have records that were not read.
    end = min(starts) if starts else None
    found = [record for page in pages for record in page.records if end is None or record.uuid < end]
    found.sort(key=lambda record: record.uuid)
    return Hits(found[:limit], found[limit].uuid if len(found) > limit else end)


def made_by(unit: Unit) -> Counter[str]:
    """Counts what a unit makes: `messagesIn`, `messagesOut`, `bytes` of messages whose body is in their row,
    `credentialsIssued`, `credentialsReceived`, `presentationsReceived`, `presentationsSent`.
    """
    counts: Counter[str] = Counter()
    for operation in unit.operations:
        if operation.kind != "create":
            continue
        side = operation.values.get("direction") or operation.values.get("role")
        name = _COUNTED.get((operation.row.partition("~")[0], str(side)))
        if name is None or operation.values.get("status") in _NOT_COUNTED:
            continue
        counts[name] += 1
        body = operation.values.get("body")
        if name in ("messagesIn", "messagesOut") and isinstance(body, bytes):
            counts["bytes"] += len(body)
    return counts


def row_bytes(values: Mapping[str, Any]) -> int:
    """Estimates the stored size of a row: the length of its texts and bodies, and a flat rate for everything else."""
    return _ROW + sum([len(value) for value in values.values() if type(value) in _SIZED])
