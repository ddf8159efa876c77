"""Attempts at deliveries: what the relay and the sender have in common."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tntcore.egress import Answer, EgressError
from tntcore.messaging.ids import time_of
from tntcore.pipeline.outbox import GRACE, Item, Outbox
from tntcore.pipeline.retry import read_retry_after
from tntcore.pipeline.tasks import task_deliveries, task_item
from tntcore.records import Attempt, Delivery
from tntcore.services import Services
from tntcore.storage.commit import Changed, Unit
from tntcore.tenants import Tenant

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempted:
    """How an attempt went.

    Attributes:
        status: the HTTP status, 0 if there was no answer. duration: milliseconds.
        error: a stable code; "" on success.
        answer: the first bytes of what was answered.
        final: whether trying again is pointless.
    """

    status: int = 0
    duration: int = 0
    error: str = ""
    answer: bytes = b""
    retry_after: str | None = None
    final: bool = False

    @staticmethod
    def answered(answer: Answer) -> Attempted:
        ok = 200 <= answer.status < 300
        return Attempted(
            status=answer.status,
            duration=round(answer.duration * 1000),
            error="" if ok else f"http-{answer.status}",
            answer=b"" if ok else answer.body,
            retry_after=answer.headers.get("retry-after"),
        )

    @staticmethod
    def refused(error: EgressError) -> Attempted:
        return Attempted(error=error.code)

    @staticmethod
    def failed_for_good(code: str) -> Attempted:
        return Attempted(error=code, final=True)


class Ladder(Protocol):
    def __call__(self, attempt: int, random: float, *, retry_after: int | None = None) -> int | None: ...


Call = Callable[[Tenant, Item, int], Awaitable[Attempted]]
Also = Callable[[Unit, Item, str, int], None]


class Attempts:
    """
    Args:
        queue: where an item goes that is to be tried again.
        ladder: seconds until the next attempt.
        also: adds to the unit of work that ends a delivery what else changes with it: (unit, item, status, now).
    """

    def __init__(
        self, services: Services, outbox: Outbox, queue: str, ladder: Ladder, also: Also | None = None
    ) -> None:
        self._services = services
        self._outbox = outbox
        self._queue = queue
        self._ladder = ladder
        self._also = also

    async def run(self, items: Sequence[Item], call: Call, *, repeated: bool) -> None:
        """Attempts each item, side by side. Raises only where an outcome could not be written down.

        Args:
            repeated: the items may have been attempted before: each goes on alone, so that none suffers for another,
                and its record is looked at first.
        """
        if repeated and len(items) > 1:
            await self._outbox.put_back(self._queue, [[item] for item in items])
            return
        results = await asyncio.gather(
            *(self._attempt(item, call, repeated=repeated) for item in items), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _attempt(self, item: Item, call: Call, *, repeated: bool) -> None:
        tenant = await self._services.tenants.get(item["p"])
        if tenant is None:
            self._services.meter.count(f"{self._queue}.gone")
            return
        made: int = item.get("t", 0)
        now = self._services.now()
        # One that waited that long may have been put on its way a second time by the sweeper.
        if repeated or item.get("again") or now - time_of(item["d"]) > GRACE:
            delivery = await tenant.records.get(Delivery, item["d"])
            if delivery is None or delivery.status != "PENDING":
                return
            if delivery.attempts != made and delivery.next_attempt_at > now:
                # Its next attempt is scheduled already, by another queue message.
                return
            made = delivery.attempts
        number = made + 1
        delay = await self.once(tenant, item, call, number)
        if delay is not None:
            await self._outbox.later(self._queue, {**item, "t": number, "again": True}, delay)

    async def once(self, tenant: Tenant, item: Item, call: Call, number: int) -> int | None:
        """Makes attempt `number` and writes down how it went. Seconds until the next one, None if there is none."""
        try:
            attempted = await call(tenant, item, self._services.now())
        except Exception as error:  # noqa: BLE001  a fault of one message must not hold back the others
            # The words of the exception may quote the message.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("attempt at delivery %s broke off: %s at\n%s", item["d"], type(error).__name__, where)  # noqa: TRY400
            self._services.meter.count(f"{self._queue}.internal")
            attempted = Attempted(error="internal")
        delay = self._next(number, attempted)
        await self._record(tenant, item, attempted, number, delay)
        self._services.meter.count(f"{self._queue}.{'failed' if attempted.error else 'delivered'}")
        return delay

    def _next(self, number: int, attempted: Attempted) -> int | None:
        if not attempted.error or attempted.final:
            return None
        random = int.from_bytes(self._services.random(4), "big") / 2**32
        retry_after = read_retry_after(attempted.retry_after, self._services.now() / 1000)
        return self._ladder(number, random, retry_after=retry_after)

    async def _record(self, tenant: Tenant, item: Item, attempted: Attempted, number: int, delay: int | None) -> None:
        now = self._services.now()
        status = "DELIVERED" if not attempted.error else "PENDING" if delay is not None else "FAILED"
        unit = Unit()
        unit.merge(
            Delivery.row_key(item["d"]),
            {
                "status": status,
                "attempts": number,
                "responseStatus": attempted.status,
                "duration": attempted.duration,
                "error": attempted.error,
                "nextAttemptAt": now + delay * 1000 if delay is not None else 0,
                "updatedAt": now,
            },
        )
        if attempted.error:
            failure = Attempt(
                uuid=f"{item['d']}.{number:02d}",
                status="FAILED",
                response_status=attempted.status,
                duration=attempted.duration,
                error=attempted.error,
                created_at=now,
                updated_at=now,
            )
            if attempted.answer:
                failure.answer = tenant.records.seal(attempted.answer, failure.key)
            unit.upsert(failure.key, failure.values())
        if status != "PENDING" and self._also:
            self._also(unit, item, status, now)
        tasks = []
        if status == "FAILED" and "k" not in item:
            task = {"type": "delivery", "uuid": item["d"], "status": status, "error": attempted.error}
            tasks = await task_deliveries(tenant, {**task, "messageUuid": item.get("u")}, source=item["d"], now=now)
            await self._outbox.mark(tenant.uuid, [delivery.uuid for delivery in tasks])
        for delivery in tasks:
            unit.create(delivery.key, delivery.values())
        try:
            await tenant.records.commit(unit)
        except Changed:
            # The tenant erased the message, and its deliveries with it, while this one was under way.
            self._services.meter.count(f"{self._queue}.erased")
            return
        for delivery in tasks:
            await self._outbox.relay(task_item(tenant.uuid, delivery))
