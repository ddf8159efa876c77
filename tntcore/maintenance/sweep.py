"""The timer: requeues deliveries, replays and large envelopes whose queue message was lost, and deletes what has
expired.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import BUCKET, DUE, GRACE, MARK_SECONDS, UNQUEUED, Outbox
from tntcore.delivery.pulse import DEAD_AFTER, PROCESS
from tntcore.delivery.redeliver import queue_pending, redeliver
from tntcore.delivery.replay import Replays
from tntcore.maintenance.indexing import Indexing
from tntcore.maintenance.orphans import Orphans
from tntcore.maintenance.retention import Retention
from tntcore.messaging.ids import first_uuid
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.queries import Where
from tntcore.storage.records import Connection, Delivery
from tntcore.storage.states import COMPLETED, DeliveryStatus
from tntcore.storage.tables import Row
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)

_KEEP = 2 * BUCKET  # milliseconds that a row of the due table is kept after its last mark
_PAGE = 500
_PAGES = 4  # of one tenant's deliveries that are looked at in a run; the next run goes on behind them
_LOOKS = 100  # connections of one tenant that are looked at in a run
_EVERY = 270_000  # milliseconds between two runs over everything: five minutes, less what timers come too early
_REPEATED = 45_000  # milliseconds after which the process that could not queue a delivery no longer tries
_PUTTING = 60_000  # milliseconds from a commit to its last put, at most
_UNDER_WAY = queries.deliveries_under_way()


class Sweep:
    def __init__(self, services: Services, outbox: Outbox, outbound: Outbound, replays: Replays) -> None:
        self._services = services
        self._outbox = outbox
        self._outbound = outbound
        self._replays = replays
        self._orphans = Orphans(services)
        self._retention = Retention(services)
        self._indexing = Indexing(services)
        # The place in a partition of the due table where the next run continues.
        self._resume: dict[str, str] = {}
        self._runs_at = 0

    async def tick(self) -> None:
        """Looks at everything every five minutes, and in between only at what could not be queued. Called every
        minute, and says so (`Indexes`): two storage calls if there is nothing.

        Raises:
            ExceptionGroup: as `run` does.
        """
        now = self._services.now()
        await self._services.indexes.renew()
        if now < self._runs_at:
            await self.unqueued()
            return
        self._runs_at = now + _EVERY
        await self.run()

    async def unqueued(self) -> None:
        """Queues deliveries that a process committed, and could not queue, or may not have queued before it died.

        Raises:
            ExceptionGroup: errors of some deliveries or principals, after all others were handled.
        """
        due, now = self._services.storage.due, self._services.now()
        errors: list[Exception] = []
        dead: list[Row] = []
        start: str | None = ""
        while start is not None:
            page = await due.scan(UNQUEUED, start, "~", limit=_PAGE)
            start = page.next
            for row in page.rows:
                principal, _, delivery = row.key.partition("~")
                if principal == PROCESS:
                    if row.values["markedAt"] + DEAD_AFTER <= now:
                        dead.append(row)
                    continue
                if row.values["markedAt"] + _REPEATED > now:
                    continue
                try:
                    tenant = await self._services.tenants.get(principal)
                    if tenant is not None and tenant.is_suspended:
                        continue
                    if tenant is not None:
                        await queue_pending(self._outbox, tenant, delivery)
                        self._services.meter.count("sweep.unqueued")
                    await due.delete(UNQUEUED, row.key, row.etag)
                except Exception as error:
                    log.exception("the sweeper could not queue delivery %s", row.key)
                    errors.append(error)
        if dead:
            await self._left_behind(dead, errors)
        if errors:
            raise ExceptionGroup(f"{len(errors)} deliveries could not be queued", errors)

    async def _left_behind(self, dead: Sequence[Row], errors: list[Exception]) -> None:
        """Queues the deliveries that were due around the time at which processes died: all of them, since only the dead
        knew which they had queued. Deliveries that are queued already are attempted once more under their id, at worst.

        Args:
            dead: the processes' rows.
        """
        due, marks = self._services.storage.due, [int(row.values["markedAt"]) for row in dead]
        begin, end = min(marks) - _PUTTING, max(marks) + DEAD_AFTER
        marked = queries.marked_since(begin - int(MARK_SECONDS * 1000))
        before, more = len(errors), False
        seen: set[str] = set()
        start: str | None = ""
        while start is not None:
            page = await due.scan(DUE, start, "~", limit=_PAGE, where=marked.text, parameters=marked.parameters)
            start = page.next
            for row in page.rows:
                bucket, _, principal = row.key.partition("~")
                try:
                    tenant = await self._services.tenants.get(principal)
                    if tenant is not None and not tenant.is_suspended:
                        where, key = queries.deliveries_due(begin, end), f"{PROCESS}~{row.key}"
                        again, _ = await self._bucket(tenant, key, int(bucket), seen, where=where, late=0)
                        self._services.meter.count("sweep.left_behind", again)
                        more |= key in self._resume
                except Exception as error:
                    log.exception("the sweeper could not go through what a process left in row %s", row.key)
                    errors.append(error)
        if not more and len(errors) == before:
            for row in dead:
                log.warning("a process died at work; what it may have left is queued", extra={"code": "process-died"})
                await due.delete(UNQUEUED, row.key, row.etag)

    async def run(self) -> int:
        """Looks at everything that is due. Returns how many deliveries were requeued.

        Raises:
            ExceptionGroup: errors of some principals, after all others were handled.
        """
        found = 0
        start: str | None = ""
        seen: set[str] = set()
        errors: list[Exception] = []
        while start is not None:
            page = await self._services.storage.due.scan(DUE, start, "~", limit=_PAGE)
            start = page.next
            for row in page.rows:
                try:
                    await self._services.indexes.renew()
                    found += await self._row(row, seen)
                except Exception as error:
                    # An error of one principal must not stop the others.
                    log.exception("the sweeper could not go through row %s", row.key)
                    errors.append(error)
        others = {
            "deliveries that were not queued": self.unqueued,
            "replays": self._replays.sweep,
            "envelopes": self._orphans.sweep,
            "old messages": self._retention.sweep,
            "pointers": self._indexing.sweep,
        }
        for name, sweep in others.items():
            try:
                await self._services.indexes.renew()
                await sweep()
            except Exception as error:
                log.exception("the sweeper could not go through the %s", name)
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} rows could not be swept", errors)
        return found

    async def _row(self, row: Row, seen: set[str]) -> int:
        bucket, _, principal = row.key.partition("~")
        tenant = await self._services.tenants.get(principal)
        if tenant is not None and tenant.is_suspended:
            return 0  # the row stays, for when the tenant is resumed
        again, waiting = await self._bucket(tenant, row.key, int(bucket), seen) if tenant else (0, False)
        if not waiting and row.values["markedAt"] + _KEEP < self._services.now():
            await self._services.storage.due.delete(DUE, row.key, row.etag)
        return again

    async def _bucket(
        self,
        tenant: Tenant,
        key: str,
        bucket: int,
        seen: set[str],
        *,
        where: Where = _UNDER_WAY,
        late: int = GRACE,
    ) -> tuple[int, bool]:
        """Requeues deliveries of the bucket, up to one tenant's share of a run; the next run continues after them.

        Args:
            key: names where the next run continues.
            seen: connections that were looked at in this run.
            where: the deliveries. late: milliseconds after which the queue message of one counts as lost.

        Returns:
            How many were requeued, and whether any is not yet over.
        """
        again, now, looked = 0, self._services.now(), 0
        begin, end = first_uuid(bucket * BUCKET), first_uuid((bucket + 1) * BUCKET)
        start = self._resume.pop(key, begin)
        waiting = start != begin
        for _ in range(_PAGES):
            hits = await tenant.records.list(Delivery, limit=_PAGE, start=start, end=end, where=where)
            for delivery in hits.records:
                waiting = True
                if delivery.next_attempt_at + late > now:
                    continue
                if delivery.status == DeliveryStatus.PENDING:
                    await self._redeliver(tenant, delivery, now)
                    again += 1
                elif delivery.connection_uuid not in seen:
                    if looked == _LOOKS:
                        self._resume[key] = delivery.uuid
                        return again, True
                    looked += 1
                    seen.add(delivery.connection_uuid)
                    again += await self._release(tenant, delivery, now)
            if hits.next is None:
                return again, waiting
            start = hits.next
        self._resume[key] = start
        return again, True

    async def _redeliver(self, tenant: Tenant, delivery: Delivery, now: int) -> None:
        if await self._touch(tenant, delivery, now):
            self._services.meter.count("sweep.redelivered")
            await redeliver(self._outbox, tenant, delivery, overdue=True)

    async def _release(self, tenant: Tenant, delivery: Delivery, now: int) -> bool:
        """Drains the connection if nothing is left to wait for. Returns whether it did."""
        connection = await tenant.records.get(Connection, delivery.connection_uuid)
        waits = connection is not None and connection.state not in (COMPLETED, "abandoned")
        if waits or not await self._touch(tenant, delivery, now):
            return False
        self._services.meter.count("sweep.drained")
        await self._outbound.drain(tenant.uuid, delivery.connection_uuid)
        return True

    async def _touch(self, tenant: Tenant, delivery: Delivery, now: int) -> bool:
        """Claims the delivery, so that no other sweeper requeues it as well."""
        unit = Unit()
        unit.merge(delivery.key, {"nextAttemptAt": now, "updatedAt": now}, delivery.etag)
        try:
            await tenant.records.commit(unit)
        except Changed:
            return False
        return True
