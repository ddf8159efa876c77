"""Gives records their pointers where older versions left them out, and deletes pointers that lead nowhere.

A walk goes through all tenants, some at each run, and begins again a day after its end. Its place is stored, so that
processes which do not live long come to the last tenants, too. See docs/decisions/0022-pointers.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from tntcore.messaging.ids import first_uuid
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Committer, Unit
from tntcore.storage.indexes import SETTLES
from tntcore.storage.records import (
    END,
    Action,
    Connection,
    Contact,
    Credential,
    Delivery,
    Exchange,
    Indexed,
    Message,
    Pointer,
    Presentation,
    Principal,
    Record,
)
from tntcore.storage.storage import Storage
from tntcore.storage.tables import Row

WALK: Final = "walk", "pointers"
"""Partition and key of the row of the `due` table with the place of the walk."""
INDEXED: Final[tuple[type[Indexed], ...]] = (Connection, Contact, Exchange, Credential, Presentation)
_KINDS: Final[tuple[type[Record], ...]] = (*INDEXED, Action, Delivery, Message)
"""Kinds that pointers lead to."""
_BY_KIND: Final[Mapping[str, type[Record]]] = {kind.KIND: kind for kind in _KINDS}
_COLUMNS: Final = (
    "createdAt",
    "updatedAt",
    "did",
    "claimedDid",
    "named",
    "email",
    "contactUuid",
    "invitationUuid",
    "thid",
    "state",
    "status",
    "indexed",
    "indexedBy",
    "recordUuid",
)
_AGAIN: Final = 24 * 3_600_000  # milliseconds from the end of a walk to the next
_TENANTS: Final = 100  # that one run comes to
_ROWS: Final = 10_000  # that one run reads, and up to a page more
_PAGE: Final = 500
_AT_ONCE: Final = 16
_TRIES: Final = 5


@dataclass(slots=True)
class _Place:
    """The place where the walk goes on.

    Attributes:
        since: of the reign that it is made for. at: milliseconds since 1970, before which it does not go on.
        after: the tenant that it came to last.
        began: when it came to the next one; 0 for not yet. part: number of the kind there, in its shard. start: uuid.
    """

    since: int
    at: int
    after: str = ""
    began: int = 0
    part: int = 0
    start: str = ""


@dataclass(slots=True)
class _Budget:
    """The rows that this run may still read."""

    rows: int


class Indexing:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._storage = services.storage

    async def sweep(self) -> None:
        """Goes on with the walk, if it is time."""
        reign, now, due = await self._services.indexes.renew(), self._services.now(), self._storage.due
        row = await due.get(*WALK)
        place = _Place(**{name: row.values[name] for name in asdict(_Place(0, 0))}) if row is not None else None
        since = reign.since if reign.filed_since is None else max(reign.since, reign.filed_since)
        if place is None or place.since != since:
            place = _Place(since, since + SETTLES)
        elif now < place.at:
            return
        try:
            if now >= place.at:
                await self._go_on(place, now)
        finally:
            await due.put(*WALK, asdict(place))

    async def _go_on(self, place: _Place, now: int) -> None:
        budget = _Budget(_ROWS)
        for _ in range(_TENANTS):
            partition = await self._storage.records.partition_after(place.after)
            if partition is None:
                place.after, place.at = "", now + _AGAIN
                return
            row = await self._storage.records.get(partition, Principal.row_key(partition))
            try:
                if row is not None and not await self._see_to(Principal.read(row), place, budget):
                    return
            except Exception:
                # The next run goes on behind it, so that one tenant does not hold up all others.
                self._leave(place, partition)
                raise
            self._leave(place, partition)

    def _leave(self, place: _Place, partition: str) -> None:
        # Behind its shards.
        place.after, place.began, place.part, place.start = f"{partition}.~", 0, 0, ""

    async def _see_to(self, principal: Principal, place: _Place, budget: _Budget) -> bool:
        """Goes on with a tenant. Returns whether it is done."""
        if principal.status not in ("ACTIVE", "SUSPENDED"):
            return True
        place.began = place.began or self._services.now()
        parts = [
            (shard, kind) for shard in principal.shard_names for kind in (*INDEXED, Action, Delivery, Message, Pointer)
        ]
        while place.part < len(parts):
            shard, kind = parts[place.part]
            following: str | None = place.start
            while following is not None:
                if budget.rows <= 0:
                    return False
                place.start = following
                following = await self._page(shard, kind, following, budget)
            place.part, place.start = place.part + 1, ""
        if min(principal.indexed_at, principal.filed_at) < place.since + SETTLES:
            unit = Unit()
            unit.merge(principal.key, {"indexedAt": place.began, "filedAt": place.began})
            await self._storage.committer.commit(principal.uuid, unit)
            self._services.tenants.forget(principal.uuid)
        return True

    async def _page(self, partition: str, kind: type[Record], start: str, budget: _Budget) -> str | None:
        """Sees to some records of a kind. Returns where to go on."""
        where = queries.with_status(sorted(kind.UNUSUAL)) if kind.UNUSUAL else queries.ANY
        page = await self._storage.records.scan(
            partition,
            kind.row_key(start),
            kind.KIND + END,
            limit=_PAGE,
            where=where.text,
            parameters=where.parameters,
            columns=_COLUMNS,
        )
        budget.rows -= len(page.rows)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def see_to(row: Row) -> None:
            async with gate:
                record = kind.read(row)
                if isinstance(record, Pointer):
                    done = await drop_if_lost(self._storage, record, partition)
                elif isinstance(record, Indexed) and not await _is_pointed(self._storage, record, partition):
                    done = await point(self._storage, type(record), partition, record.uuid)
                elif isinstance(record, Action):
                    done = await point_to_thread(self._storage, record, partition)
                elif kind.UNUSUAL:
                    done = await point_to_unusual(self._storage, record, partition)
                else:
                    return
                self._services.meter.count("sweep.pointers", done)

        await asyncio.gather(*map(see_to, page.rows))
        return page.next.partition("~")[2] if page.next else None


async def _is_pointed(storage: Storage, record: Indexed, partition: str) -> bool:
    """Whether the record has the pointers that it should have, and these are there."""
    return record.is_pointed and not await _lost(storage, record, partition)


async def _lost(storage: Storage, record: Indexed, partition: str) -> set[str]:
    """Returns the pointers that the record's row names, and that are gone."""
    named = [pointer for pointer in (record.indexed, *record.indexed_by.split()) if pointer]
    rows = await asyncio.gather(*(storage.records.get(partition, Pointer.row_key(pointer)) for pointer in named))
    return {pointer for pointer, row in zip(named, rows, strict=True) if row is None}


async def point(storage: Storage, kind: type[Indexed], partition: str, uuid: str) -> bool:
    """Gives a record its pointers, and takes away those that it had. Returns whether anything was written.

    Raises:
        Changed: others change it again and again.
    """
    for _ in range(_TRIES):
        row = await storage.records.get(partition, kind.row_key(uuid))
        if row is None:
            return False
        record = kind.read(row)
        if lost := await _lost(storage, record, partition):
            record.indexed = "" if record.indexed in lost else record.indexed
            record.indexed_by = " ".join(pointer for pointer in record.indexed_by.split() if pointer not in lost)
        if record.is_pointed:
            return False
        if await _commit(storage.committer, partition, record):
            return True
    raise Changed(kind.row_key(uuid))


async def _commit(committer: Committer, partition: str, record: Indexed) -> bool:
    unit = Unit()
    unit.merge(record.key, {"indexed": "", "indexedBy": "", **unit.point(record)}, record.etag)
    try:
        await committer.commit(partition, unit)
    except Changed:
        return False
    return True


async def point_to_thread(storage: Storage, thread: Action, partition: str) -> bool:
    """Writes the thread's pointer, unless it has one or a message of the same time. Returns whether it did."""
    first, last = (Message.row_key(first_uuid(at)) for at in (thread.updated_at, thread.updated_at + 1))
    where = queries.of_actions([thread.uuid])
    messages = await storage.records.scan(
        partition, first, last, limit=1, where=where.text, parameters=where.parameters, columns=()
    )
    if messages.rows or await storage.records.get(partition, Pointer.row_key(thread.pointer)) is not None:
        return False
    row = await storage.records.get(partition, thread.key)
    if row is None or row.values.get("updatedAt", 0) != thread.updated_at:
        return False
    unit = Unit()
    # The commit adds the pointer of a thread that is changed.
    unit.merge(thread.key, {"updatedAt": thread.updated_at}, row.etag)
    try:
        await storage.committer.commit(partition, unit)
    except Changed:
        return False
    return True


async def point_to_unusual(storage: Storage, record: Record, partition: str) -> bool:
    """Writes the pointer of a record with an unusual status, unless it is there. Returns whether it did."""
    pointer = Pointer.row_key(f"{record.with_status(record.status)}{record.uuid}")
    if record.status not in record.UNUSUAL or await storage.records.get(partition, pointer) is not None:
        return False
    row = await storage.records.get(partition, record.key)
    if row is None or row.values.get("status") != record.status:
        return False
    unit = Unit()
    # The commit adds the pointer.
    unit.merge(record.key, {"status": record.status}, row.etag)
    try:
        await storage.committer.commit(partition, unit)
    except Changed:
        return False
    return True


async def drop_if_lost(storage: Storage, pointer: Pointer, partition: str) -> bool:
    """Deletes a pointer whose record is gone, or has another one. Returns whether it did."""
    if await _leads_on(storage, pointer, partition):
        return False
    row = await storage.records.get(partition, pointer.key)
    if row is None or await _leads_on(storage, pointer, partition):
        return False
    # A record that is made now writes the pointer again, which changes its etag.
    return await storage.records.delete(partition, row.key, row.etag)


async def _leads_on(storage: Storage, pointer: Pointer, partition: str) -> bool:
    """Whether the pointer's record has it. One of a kind that only a newer version knows counts as such."""
    kind = _BY_KIND.get(re.split("[.-]", pointer.uuid, maxsplit=1)[0])
    if kind is None:
        return True
    row = await storage.records.get(partition, kind.row_key(pointer.record_uuid))
    if row is None:
        return False
    record = kind.read(row)
    if isinstance(record, Action):
        return pointer.uuid == record.pointer
    if isinstance(record, Indexed):
        return pointer.uuid == record.indexed or pointer.uuid in record.indexed_by.split()
    return pointer.uuid.startswith(record.with_status(record.status))
