"""The audit log: a record of each act of an operator, and of a subscription key on keys and settings.

A record of an act on a tenant is in one of the tenant's partitions, written in the transaction of the act itself. An
operator's act has a second record, in the operators' partition: written with the status STARTED before the act, and
DONE afterwards. If it stays STARTED, the call broke off: the tenant's record shows whether the act took effect.

Records sort newest first. The `due` table has the partitions with old records, by the day of the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from tntcore.caching import SharedCache
from tntcore.messaging.ids import time_of
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.records import END, Audit
from tntcore.storage.repository import Hits, merged
from tntcore.storage.storage import Storage
from tntcore.storage.tables import Row
from tntcore.storage.transactions import MAX_OPERATIONS, Operation
from tntcore.tenancy.access import Actor
from tntcore.tenancy.operators import HOME

AUDITED: Final = "audited"
"""Partition of the `due` table; a row's key is `<day>~<partition>`."""
DAY: Final = 24 * 3_600_000
COUNTED: Final = 1_000
MOST: Final = 1_000
"""Records of a partition that are deleted in one run."""
_LAST: Final = 10**14 - 1  # milliseconds: a time after every other
_MARKED: Final = 10_000
_HOUR: Final = 3_600.0


class Audits:
    """Writes and reads the audit log.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._marked: SharedCache[bool] = SharedCache(clock, _MARKED)

    async def record(
        self,
        partition: str,
        uuid: str,
        actor: Actor,
        act: str,
        *,
        principal: str = "",
        on: str = "",
        trace: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> Audit:
        """Makes a record for the caller to commit with the act. First notes in `due` that the partition has one of this
        day.

        Args:
            uuid: of version 7: the time of the act. principal: the tenant that it is about.
            act: such as `api-token.made`. on: the object of the act. details: never a secret.
        """
        at = time_of(uuid)
        day = day_key(at, partition)
        if self._marked.peek(day) is None:
            await self._storage.due.put(AUDITED, day, {"markedAt": at})
            self._marked.put(day, True, _HOUR)
        return Audit(
            uuid=f"{_LAST - at:014d}.{uuid}",
            status="DONE",
            act=act,
            actor={"kind": actor.kind, "id": actor.id, "name": actor.name, "role": str(actor.role)},
            principal=principal,
            on=on,
            details=dict(details or {}),
            trace=trace,
            created_at=at,
            updated_at=at,
        )

    async def begin(self, record: Audit) -> None:
        """Writes to the operators' log that an act is about to be done."""
        unit = Unit()
        unit.upsert_row(record.key, replace(record, status="STARTED").values())
        await self._storage.committer.commit(HOME, unit)

    async def end(self, record: Audit, *, done: bool) -> None:
        """Writes that the act was done, or deletes the record. The details may have grown meanwhile."""
        unit = Unit()
        if done:
            unit.upsert(record)
        else:
            unit.delete(record.key)
        with suppress(Changed):  # deleted already, by a write whose answer was lost
            await self._storage.committer.commit(HOME, unit)

    async def page(
        self, partitions: Sequence[str], *, limit: int, start: str = "", since: int = 0, until: int = 0
    ) -> tuple[Sequence[Audit], str | None]:
        """Returns records of some partitions, newest first, and the start of the next page. One storage call each.

        Args:
            since, until: milliseconds since 1970, from and before; 0 for no bound.
        """
        first, last = _range(since, until)
        first = max(first, Audit.row_key(start)) if start else first
        scan = self._storage.records.scan
        pages = await asyncio.gather(*(scan(partition, first, last, limit=limit) for partition in partitions))
        page = merged([Hits.of(Audit, found) for found in pages], limit)
        return page.records, page.next

    async def count(self, partitions: Sequence[str], *, since: int = 0, until: int = 0) -> int:
        """Counts the records, up to `COUNTED`. One storage call for each partition."""
        (first, last), scan = _range(since, until), self._storage.records.scan
        pages = await asyncio.gather(
            *(scan(partition, first, last, limit=COUNTED, columns=()) for partition in partitions)
        )
        return min(sum(len(page.rows) for page in pages), COUNTED)

    async def sweep(self, before: int) -> int:
        """Deletes the next batch of older records. Returns the number deleted.

        Raises:
            ExceptionGroup: errors of some partitions, after all others were handled.
        """
        count, start = 0, ""
        errors: list[Exception] = []
        last = f"{before // DAY:08d}~"  # some records of that day are younger
        page = await self._storage.due.scan(AUDITED, start, last, limit=MOST)
        for row in page.rows:
            try:
                count += await self._delete(row, before)
            except Changed:
                break  # another process is deleting them
            except Exception as error:  # noqa: BLE001 - raised below, with the others
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"audit records of {len(errors)} partitions could not be deleted", errors)
        return count

    async def _delete(self, row: Row, before: int) -> int:
        """Deletes the older records of a partition, of which the row tells. Returns the number deleted."""
        partition = row.key.partition("~")[2]
        old = await self._storage.records.scan(partition, *_range(0, before), limit=MOST, columns=())
        keys = [one.key for one in old.rows]
        for begin in range(0, len(keys), MAX_OPERATIONS):
            part = keys[begin : begin + MAX_OPERATIONS]
            await self._storage.committer.commit(partition, Unit([Operation("delete", key, {}) for key in part]))
        if old.next is None:
            await self._storage.due.delete(AUDITED, row.key, row.etag)
        return len(keys)


def day_key(at: int, partition: str) -> str:
    """The key of the row of table `due` that says that the partition has audit records of this day."""
    return f"{at // DAY:08d}~{partition}"


def _range(since: int, until: int) -> tuple[str, str]:
    """Returns the first row key and the one after the last. Rows of a later time sort first."""
    first = Audit.row_key(f"{_LAST - until + 1:014d}") if until else Audit.row_key("")
    last = Audit.row_key(f"{_LAST - since + 1:014d}") if since else Audit.KIND + END
    return first, last
