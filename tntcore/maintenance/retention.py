"""Deletes what is out of date: messages older than their tenant keeps them, old audit records, the data of deleted
tenants, and old answers to requests with an Idempotency-Key.

Answers are found by a walk through all tenants: some at each run, and from the beginning again a day after its end. For
the others, the `due` table lists the tenants to look at. A row is written there before the tenant's own rows change, so
that none is forgotten. A row that turns out to be unnecessary is removed once it is so old that its writer must have
finished. A run comes to some of the tenants that keep messages for some days, in a bounded time, and the next run goes
on behind them.

The places of the walk and of these rounds are stored, so that processes which do not live long come to the last
tenants, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tntcore.exchanges.flows import FLOWS
from tntcore.messaging.ids import first_uuid
from tntcore.pipeline import given_up
from tntcore.protocols.interface import name_of
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.erasure import erase
from tntcore.storage.records import ANSWER_KEPT, ANSWERS, END, Exchange, Message, Principal
from tntcore.storage.repository import row_bytes
from tntcore.storage.states import ExchangeStatus
from tntcore.storage.tables import Row
from tntcore.storage.transactions import MAX_OPERATIONS, Operation
from tntcore.tenancy.operators import HOME
from tntcore.tenancy.preferences import RETENTION_DAYS
from tntcore.tenancy.tenants import PRINCIPAL_SETTINGS, Tenant

KEEPS, GONE = "retention", "gone"
"""Partitions of the `due` table; the row's key is the principal."""
WALK: Final = "walk", "tenants"
"""Partition and key of the row of the `due` table with the place of the walk."""
ROUND: Final = "walk", KEEPS
"""Partition and key of the row of the `due` table with the place of the round through `KEEPS`."""
MOST: Final = 1_000
"""Messages and answers of a tenant, and rows and blobs of one that is gone, that are looked at in one go."""
_SETTLES = 3_600_000  # milliseconds after which the writer of a row must have finished
_DAY = 24 * 3_600_000
_PAGE = 500
_AT_ONCE = 8
_AT_A_TIME = 100  # tenants that the walk comes to in one run
_TENANTS = 100  # that keep messages for some days, to which one run comes
_LONGEST = 60_000  # milliseconds that one run may spend on them, but for the last of them
_WALK_FIRST, _WALK_AGAIN = 3_600_000, _DAY  # milliseconds until the first walk, and from the end of one to the next
_ANSWERS = 200  # answers read at once


@dataclass(slots=True)
class _Place:
    """The place where the walk through all tenants continues.

    Attributes:
        after: the tenant that it came to last.
        within: the key, among the answers of the next one, where it continues; "" for the first.
        at: milliseconds since 1970, before which it does not continue.
    """

    after: str = ""
    within: str = ""
    at: int = 0

    @staticmethod
    def read(row: Row) -> _Place:
        return _Place(row.values.get("after", ""), row.values.get("within", ""), row.values.get("at", 0))


class Retention:
    def __init__(self, services: Services) -> None:
        self._services = services
        # The message at which a later run continues, for a tenant with more old messages than one run looks at.
        self._next: dict[str, str] = {}
        self._place: _Place | None = None  # not read yet
        self._round: str | None = None  # the tenant that is next; not read yet

    async def sweep(self) -> None:
        """Deletes the next part.

        Raises:
            ExceptionGroup: errors of some principals, after all others were handled.
        """
        errors: list[Exception] = []
        await self._audits(errors)
        await self._walk(errors)
        try:
            await self._keepers(errors)
        except Exception as error:  # noqa: BLE001 - raised below, with the others
            errors.append(error)
        start: str | None = ""
        while start is not None:
            page = await self._services.storage.due.scan(GONE, start, "~", limit=_PAGE)
            start = page.next
            await self._see_to(page.rows, self._left, errors)
        if errors:
            raise ExceptionGroup(f"what {len(errors)} principals leave could not be deleted", errors)

    async def _audits(self, errors: list[Exception]) -> None:
        days = self._services.config.audit_days
        if not days:
            return
        try:
            deleted = await self._services.audits.sweep(self._services.now() - days * _DAY)
            self._services.meter.count("sweep.audits", deleted)
        except Exception as error:  # noqa: BLE001 - raised by the caller, with the others
            errors.append(error)

    async def _see_to(
        self, rows: Sequence[Row], see_to: Callable[[Row], Awaitable[None]], errors: list[Exception]
    ) -> None:
        for row in rows:
            try:
                await see_to(row)
            except Exception as error:  # noqa: BLE001 - raised by the caller, with the others
                errors.append(error)

    async def _keepers(self, errors: list[Exception]) -> None:
        """Comes to the next tenants that keep messages for some days and then, while there is time, again and again to
        those that have more to delete, in turn.
        """
        due, until = self._services.storage.due, self._services.now() + _LONGEST
        if self._round is None:
            place = await due.get(*ROUND)
            self._round = place.values.get("next", "") if place is not None else ""
        page = await due.scan(KEEPS, self._round, "~", limit=_TENANTS)
        following = page.next or ""
        for number, row in enumerate(page.rows):
            if number and self._services.now() >= until:
                following = row.key
                break
            await self._see_to([row], self._old, errors)
        if following != self._round:
            self._round = following
            await due.put(*ROUND, {"next": following})
        while self._next and self._services.now() < until:
            principal, before = next(iter(self._next)), len(errors)
            again = await due.get(KEEPS, principal)
            if again is not None:
                await self._see_to([again], self._old, errors)
            if again is None or len(errors) > before:
                self._next.pop(principal, None)

    async def _walk(self, errors: list[Exception]) -> None:
        """Comes to the next tenants, if it is time."""
        due, now = self._services.storage.due, self._services.now()
        try:
            place = self._place
            if place is None:
                row = await due.get(*WALK)
                place = self._place = _Place.read(row) if row is not None else _Place(at=now + _WALK_FIRST)
                if row is None:
                    await due.put(*WALK, asdict(place))
            # A later time was set by a clock that was wrong.
            if now < place.at <= now + _WALK_AGAIN:
                return
            try:
                await self._go_on(place, now)
            finally:
                await due.put(*WALK, asdict(place))
        except Exception as error:  # noqa: BLE001 - raised by the caller, with the others
            errors.append(error)

    async def _go_on(self, place: _Place, now: int) -> None:
        records = self._services.storage.records
        for _ in range(_AT_A_TIME):
            principal = await records.partition_after(place.after)
            if principal is None:
                place.after, place.at = "", now + _WALK_AGAIN
                return
            try:
                row = await records.get(principal, Principal.row_key(principal))
                status = Principal.read(row).status if row is not None else ""
                if status == "DELETED":
                    await self._look_for_deleted(principal)
                else:
                    place.within = await self._answers(principal, place.within)
                if place.within:
                    return
            except Exception:
                # The next run goes on behind it, so that one tenant does not hold up all others.
                place.after, place.within = principal, ""
                raise
            place.after = principal

    async def _look_for_deleted(self, principal: str) -> None:
        """Marks a tenant that was deleted by a version that did not write down who left."""
        services = self._services
        rows = await services.storage.records.scan(principal, "", "~~~", limit=2, columns=())
        if len(rows.rows) > 1 and await services.storage.due.get(GONE, principal) is None:
            await remember(services, GONE, principal)

    async def _answers(self, principal: str, start: str) -> str:
        """Deletes a tenant's old answers to requests with an Idempotency-Key. Returns where to go on; "" at the end."""
        storage, before = self._services.storage, self._services.now() - ANSWER_KEPT
        gate = asyncio.Semaphore(_AT_ONCE)

        async def forgotten(row: Row) -> int:
            async with gate:
                return await self._forget_answer(principal, row, before)

        following: str | None = start or f"{ANSWERS}~"
        for _ in range(MOST // _ANSWERS):
            page = await storage.records.scan(principal, following or "", ANSWERS + END, limit=_ANSWERS)
            old = [row for row in page.rows if max(row.values["at"], row.values.get("begun", 0)) < before]
            sizes = await asyncio.gather(*(forgotten(row) for row in old))
            self._services.meter.count("sweep.answers", sum(size > 0 for size in sizes))
            if any(sizes) and principal != HOME:
                self._services.usage.add(principal, -sum(sizes))
            following = page.next
            if following is None:
                break
        return following or ""

    async def _forget_answer(self, principal: str, row: Row, before: int) -> int:
        """Deletes an answer unless its key was used again just now. Returns how many bytes it had."""
        storage, size = self._services.storage, row_bytes(row.values)
        if not row.values.get("answer"):
            # A large one is in a blob, which is deleted first: without its row nothing leads to it.
            name = f"{principal}/{row.key}"
            size += await storage.bodies.size(name)
            if not await storage.bodies.delete(name, before=before):
                return 0
        unit = Unit()
        unit.delete(row.key, row.etag)
        try:
            await storage.committer.commit(principal, unit)
        except Changed:
            return 0
        return size

    async def _old(self, row: Row) -> None:
        tenant = await self._services.tenants.get(row.key)
        if tenant is not None and tenant.locked is not None:
            return  # how long its messages are kept cannot be read now
        stored = await tenant.setting(PRINCIPAL_SETTINGS) if tenant is not None else None
        days = stored["setting"].get(RETENTION_DAYS) if stored is not None else None
        if tenant is None or days is None:
            self._next.pop(row.key, None)
            await self._remove(KEEPS, row)
            return
        end = first_uuid(self._services.now() - days * _DAY)
        # Deliveries under way are skipped.
        where = queries.messages_not_on_their_way()
        start = self._next.get(row.key, "")
        hits = await tenant.whole.records.list(Message, limit=MOST, start=start, end=end, where=where)
        self._next.pop(row.key, None)
        if hits.next is not None:
            self._next[row.key] = hits.next
        gate = asyncio.Semaphore(_AT_ONCE)

        async def erased(message: Message) -> bool:
            there = tenant.at(message)
            async with gate:
                try:
                    return not await _is_needed(there, message) and await erase(there.records, message, under_way=False)
                except Changed:
                    return False  # another caller has just erased it

        count = sum(await asyncio.gather(*(erased(message) for message in hits.records)))
        self._services.meter.count("sweep.erased", count)

    async def _left(self, row: Row) -> None:
        """Deletes a principal's remaining data, except the row that says that it existed."""
        storage, principal = self._services.storage, row.key
        own = await storage.records.get(principal, Principal.row_key(principal))
        if own is None or Principal.read(own).status != "DELETED":
            await self._remove(GONE, row)
            return
        left = 0
        for partition in Principal.read(own).shard_names:
            page = await storage.records.scan(partition, "", "~~~", limit=MOST, columns=())
            keys = [one.key for one in page.rows if one.key != own.key]
            for begin in range(0, len(keys), MAX_OPERATIONS):
                part = keys[begin : begin + MAX_OPERATIONS]
                await storage.records.transact(partition, [Operation("delete", key, {}, "*") for key in part])
            left += len(keys)
        blobs = await storage.bodies.page(None, MOST, under=f"{principal}/")
        for blob in blobs.blobs:
            await storage.bodies.delete(blob.name)
        self._services.meter.count("sweep.left", left + len(blobs.blobs))
        if not left and not blobs.blobs:
            await self._remove(GONE, row)

    async def _remove(self, partition: str, row: Row) -> None:
        """Removes the row later: another process may not know yet that a tenant is gone, or may be saving a setting."""
        if row.values["markedAt"] + _SETTLES < self._services.now():
            await self._services.storage.due.delete(partition, row.key, row.etag)


async def remember(services: Services, partition: str, principal: str) -> None:
    """Makes the sweeper look at the principal. Called before the data for it is written."""
    await services.storage.due.put(partition, principal, {"markedAt": services.now()})


async def _is_needed(tenant: Tenant, message: Message) -> bool:
    """Whether the message is still to be handled, or belongs to an exchange that is not over."""
    if given_up.shows(message):
        return True
    if name_of(message.type.rpartition("/")[0]) not in FLOWS:
        return False
    exchange = await tenant.records.get(Exchange, message.action_uuid)
    return exchange is not None and exchange.status in (ExchangeStatus.ACTIVE, ExchangeStatus.WAITING)
