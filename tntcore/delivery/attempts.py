"""Attempts at deliveries: the parts that the relay and the sender share."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, Protocol

from tntcore.delivery.attempted import Attempted, Delivered, Failed, Retry, Withheld, write_attempt
from tntcore.delivery.outbox import GRACE, Outbox
from tntcore.delivery.retry import read_retry_after
from tntcore.delivery.slow_receivers import INSURANCE, PATIENCE, PendingCall, SlowReceivers, by_endpoint, watch
from tntcore.delivery.spans import attempting
from tntcore.delivery.tasks import task_call, task_deliveries
from tntcore.egress import Answer, EgressError
from tntcore.messaging.ids import time_of
from tntcore.services import Services
from tntcore.shares import on_behalf_of
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.items import I, MessageCall, SendItem
from tntcore.storage.records import Delivery
from tntcore.storage.states import DeliveryStatus
from tntcore.storage.storage import OUTBOUND
from tntcore.telemetry import Span
from tntcore.tenancy.tenants import Tenant, rest

log = logging.getLogger(__name__)


NO_PLACE = 30  # seconds until a delivery without a place is attempted again


class NoPlaceError(Exception):
    """Nothing was sent: the tenant, or the host, has as many requests under way as it may."""


def answered(answer: Answer) -> Delivered | Retry:
    """Returns the outcome that an answer means."""
    duration, slow = round(answer.duration * 1000), answer.duration > PATIENCE
    if 200 <= answer.status < 300:
        return Delivered(answer.status, duration, answer.body, slow)
    return Retry(f"http-{answer.status}", answer.status, duration, answer.body, answer.headers.get("retry-after"), slow)


def unanswered(error: EgressError) -> Retry:
    """Returns the outcome that a missing answer means. Raises `NoPlaceError` if there was no place to send it."""
    if error.code == "busy":
        raise NoPlaceError
    return Retry(error.code, slow=True)


class Ladder(Protocol):
    def __call__(self, attempt: int, random: float, *, retry_after: int | None = None) -> int | None: ...


_STATES: Mapping[type[Attempted], DeliveryStatus] = {
    Delivered: DeliveryStatus.DELIVERED,
    Retry: DeliveryStatus.FAILED,
    Failed: DeliveryStatus.FAILED,
    Withheld: DeliveryStatus.WITHHELD,
}

Deliver = Callable[[Tenant, I, int], Awaitable[Attempted]]
Also = Callable[[Unit, I, DeliveryStatus, int], None]


class Attempts(Generic[I]):
    """Attempts deliveries, and writes and schedules what follows.

    Args:
        queue: the queue for items to be retried.
        ladder: seconds until the next attempt.
        receivers: knows which of them are slow.
        also: adds further changes to the unit of work that ends a delivery: (unit, item, status, now).
    """

    def __init__(
        self,
        services: Services,
        outbox: Outbox,
        queue: str,
        ladder: Ladder,
        receivers: SlowReceivers,
        also: Also[I] | None = None,
    ) -> None:
        self._services = services
        self._outbox = outbox
        self._queue = queue
        # Agents and webhooks have a share each: if all of one kind hang, the other kind is still called.
        self._kind = "agents" if queue == OUTBOUND else "webhooks"
        self._ladder = ladder
        self._receivers = receivers
        self._also = also

    async def run(self, items: Sequence[I], deliver: Deliver[I], *, repeated: bool) -> None:
        """Attempts all items concurrently. Raises only if an outcome could not be written.

        Args:
            repeated: the items may have been attempted before. Each then goes on alone, so that none suffers for
                another, and its record is read first.
        """
        if repeated and len(items) > 1:
            await self._outbox.put_back(self._queue, [[item] for item in items])
            return
        tasks: dict[asyncio.Task[None], tuple[I, PendingCall]] = {}
        for item in await self._sorted(items):
            pending = self._receivers.call(item)
            task = asyncio.create_task(self._attempt(item, deliver, pending, repeated=repeated))
            pending.ends_with(task)
            tasks[task] = item, pending
        try:
            await asyncio.gather(*(pending.settled for _, pending in tasks.values()))
            await self._let_go(tasks)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def first(self, item: I, deliver: Deliver[I]) -> I | None:
        """Makes the first attempt at a delivery that was just committed, if the receiver is likely to answer at once.
        Returns the item that is to be queued otherwise. Raises if the outcome could not be written.
        """
        with self._receivers.at_once(item) as pending:
            if pending is None:
                return item
            item = item.traced()

            async def called(tenant: Tenant, item: I, now: int) -> Attempted:
                try:
                    return await deliver(tenant, item, now)
                finally:
                    # What follows writes, and is not cancelled.
                    pending.over = True

            task = asyncio.create_task(self._attempt(item, called, pending, repeated=False))
            pending.ends_with(task)
            try:
                await pending.settled
                if task.done() or pending.over:
                    await task
                elif pending.is_unsent:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    return replace(item, again=True)
                else:
                    await self._outbox.put_back(self._queue, [[item]], delay=INSURANCE)
                    self._receivers.let_go(task, item, pending)
            except BaseException:
                task.cancel()
                raise
        self._services.meter.count(f"{self._queue}.at-once")
        return None

    async def _let_go(self, tasks: dict[asyncio.Task[None], tuple[I, PendingCall]]) -> None:
        """Removes attempts whose receivers did not answer in time, which go on by themselves (egress bounds their
        number), and attempts that still have no place, which are cancelled and made later.
        """
        late = {task: made for task, made in tasks.items() if not (task.done() or made[1].over)}
        for task in late:
            del tasks[task]
        unsent = [task for task, (_, pending) in late.items() if pending.is_unsent]
        for task in unsent:
            task.cancel()
        await asyncio.gather(*unsent, return_exceptions=True)
        put_off = [late.pop(task)[0] for task in unsent]
        if put_off:
            self._services.meter.count(f"{self._queue}.busy", len(put_off))
            await self._outbox.put_back(self._queue, [put_off], delay=NO_PLACE)
        if late:
            await self._outbox.put_back(self._queue, [[item for item, _ in late.values()]], delay=INSURANCE)
        for task, (item, pending) in late.items():
            self._receivers.let_go(task, item, pending)

    async def _sorted(self, items: Sequence[I]) -> Sequence[I]:
        """Returns the items that need not be put back. Items for receivers that were slow or silent lately are put back
        in one queue message, since a put for each would cost more than the calls; with a delay if too many calls to
        them are waiting already.
        """
        groups = by_endpoint(items)
        random = int.from_bytes(self._services.random(4), "big") / 2**32
        busy = {name: delay for name, group in groups.items() if (delay := self._busy_for(group[0], random))}
        if busy:
            self._services.meter.count(f"{self._queue}.busy", len(busy))
            later = [item for name in busy for item in groups.pop(name)]
            await self._outbox.put_back(self._queue, [later], delay=max(busy.values()))
        if slow := self._receivers.slow_among(groups):
            await self._outbox.put_back(self._queue, [[item for name in slow for item in groups.pop(name)]])
        return [item for group in groups.values() for item in group]

    def _busy_for(self, item: I, random: float) -> int:
        with on_behalf_of(item.tenant, self._kind):
            return self._receivers.busy_for(item, random, has_place=self._services.egress.has_place())

    async def _attempt(self, item: I, deliver: Deliver[I], pending: PendingCall, *, repeated: bool) -> None:
        watch(pending)
        tenant = await self._services.tenants.get(item.principal)
        if tenant is None:
            self._services.meter.count(f"{self._queue}.gone")
            return
        if tenant.is_suspended:
            rested = replace(item, rests=item.rests + 1, again=True)
            await self._outbox.later(self._queue, rested, rest(item.rests))
            self._services.meter.count(f"{self._queue}.suspended")
            return
        made = item.attempts
        before = 0
        now = self._services.now()
        # After such a wait the sweeper may have queued it a second time.
        if repeated or item.again or now - time_of(item.delivery) > GRACE:
            delivery = await tenant.records.get(Delivery, item.delivery)
            if delivery is None or delivery.status != DeliveryStatus.PENDING:
                return
            if delivery.attempts != made and delivery.next_attempt_at > now:
                # Another queue message has scheduled its next attempt.
                return
            made, before = delivery.attempts, delivery.replayed_from or 0
        number = made + 1
        try:
            delay = await self.once(tenant, item, deliver, number, before=before)
        except NoPlaceError:
            await self._outbox.put_back(self._queue, [[item]], delay=NO_PLACE)
            return
        if delay is not None:
            await self._outbox.later(self._queue, replace(item, attempts=number, again=True), delay)

    async def once(self, tenant: Tenant, item: I, deliver: Deliver[I], number: int, *, before: int = 0) -> int | None:
        """Makes attempt `number` and writes its outcome. Returns the seconds until the next one, None if there is none.

        Args:
            before: attempts that do not count on the ladder: those before a manual replay.

        Raises:
            NoPlaceError: nothing was attempted; it may be in `NO_PLACE` seconds.
        """
        party = on_behalf_of(tenant.principal.uuid, self._kind)
        with party, attempting(self._services, item, self._queue, number) as span:
            return await self._once(tenant, item, deliver, number, before, span)

    async def _once(
        self, tenant: Tenant, item: I, deliver: Deliver[I], number: int, before: int, span: Span
    ) -> int | None:
        try:
            attempted = await deliver(tenant, item, self._services.now())
        except NoPlaceError:
            self._services.meter.count(f"{self._queue}.busy")
            span.attributes["tnt.outcome"] = "put-off"
            raise
        except Exception as error:  # noqa: BLE001  a fault of one message must not hold back the others
            # The text of the exception may quote the message.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("attempt at delivery %s broke off: %s at\n%s", item.delivery, type(error).__name__, where)  # noqa: TRY400
            self._services.meter.count(f"{self._queue}.internal")
            attempted = Retry("internal")
        if attempted.slow:
            self._receivers.mark_slow(item)
        elif isinstance(attempted, Delivered | Retry | Failed) and attempted.status:
            self._receivers.mark_prompt(item, attempted.duration / 1000)
        delay = self._next(number - before, attempted)
        if attempted.status:
            span.attributes["http.response.status_code"] = attempted.status
        span.error = attempted.error
        outcome = _STATES[type(attempted)].lower()
        span.attributes["tnt.outcome"] = "retry" if delay is not None else outcome
        await self._record(tenant, item, attempted, number, delay)
        self._services.meter.count(f"{self._queue}.{outcome}")
        return delay

    def _next(self, number: int, attempted: Attempted) -> int | None:
        if not isinstance(attempted, Retry):
            return None
        random = int.from_bytes(self._services.random(4), "big") / 2**32
        retry_after = read_retry_after(attempted.retry_after, self._services.now() / 1000)
        return self._ladder(number, random, retry_after=retry_after)

    async def _record(self, tenant: Tenant, item: I, attempted: Attempted, number: int, delay: int | None) -> None:
        now = self._services.now()
        status = DeliveryStatus.PENDING if delay is not None else _STATES[type(attempted)]
        unit = Unit()
        next_at = now + delay * 1000 if delay is not None else 0
        write_attempt(unit, tenant.records, attempted, item.delivery, number, status, now, next_at)
        if status is not DeliveryStatus.PENDING and self._also:
            self._also(unit, item, status, now)
        tasks = []
        if status is DeliveryStatus.FAILED:
            # infra/app/alerts.bicep looks for these words.
            log.warning("a delivery of queue %s failed for good", self._queue, extra={"code": attempted.error})
        if status is DeliveryStatus.FAILED and isinstance(item, MessageCall | SendItem):
            task = {"type": "delivery", "uuid": item.delivery, "status": status, "error": attempted.error}
            task["messageUuid"] = item.message
            tasks = await task_deliveries(tenant, task, source=item.delivery, now=now)
            await self._outbox.mark(tenant.uuid, [delivery.uuid for delivery in tasks])
        for delivery in tasks:
            unit.create(delivery)
        try:
            await tenant.records.commit(unit)
        except Changed:
            # The tenant erased the message, and its deliveries with it, while this one was under way.
            self._services.meter.count(f"{self._queue}.erased")
            return
        for delivery in tasks:
            await self._outbox.relay(task_call(tenant.uuid, delivery))
