"""The timer: finds deliveries, replays and large envelopes whose queue message was lost, and puts them on their way
again; and deletes what is to be kept no longer."""

from __future__ import annotations

import logging

from tntcore.connections.connection import COMPLETED
from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import BUCKET, DUE, GRACE, Outbox
from tntcore.delivery.redeliver import redeliver
from tntcore.delivery.replay import Replays
from tntcore.maintenance.orphans import Orphans
from tntcore.maintenance.retention import Retention
from tntcore.messaging.ids import first_uuid
from tntcore.services import Services
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.records import Connection, Delivery
from tntcore.storage.states import DeliveryStatus
from tntcore.storage.tables import Row
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)

_KEEP = 2 * BUCKET  # milliseconds that a row of the due table is kept after its last mark
_PAGE = 500


class Sweep:
    def __init__(self, services: Services, outbox: Outbox, outbound: Outbound, replays: Replays) -> None:
        self._services = services
        self._outbox = outbox
        self._outbound = outbound
        self._replays = replays
        self._orphans = Orphans(services)
        self._retention = Retention(services)

    async def run(self) -> int:
        """Goes through everything that is due; how many deliveries were put on their way again.

        Raises:
            ExceptionGroup: what went wrong with some principals, after all others were seen to.
        """
        found = 0
        start: str | None = ""
        drained: set[str] = set()
        errors: list[Exception] = []
        while start is not None:
            page = await self._services.storage.due.scan(DUE, start, "~", limit=_PAGE)
            start = page.next
            for row in page.rows:
                try:
                    found += await self._row(row, drained)
                except Exception as error:
                    # One principal's trouble is not the others'.
                    log.exception("the sweeper could not go through row %s", row.key)
                    errors.append(error)
        others = {
            "replays": self._replays.sweep,
            "envelopes": self._orphans.sweep,
            "old messages": self._retention.sweep,
        }
        for name, sweep in others.items():
            try:
                await sweep()
            except Exception as error:
                log.exception("the sweeper could not go through the %s", name)
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} rows could not be swept", errors)
        return found

    async def _row(self, row: Row, drained: set[str]) -> int:
        bucket, _, principal = row.key.partition("~")
        tenant = await self._services.tenants.get(principal)
        if tenant is not None and tenant.is_suspended:
            return 0  # the row stays, for when the tenant is resumed
        again, waiting = await self._bucket(tenant, int(bucket), drained) if tenant else (0, False)
        if not waiting and row.values["markedAt"] + _KEEP < self._services.now():
            await self._services.storage.due.delete(DUE, row.key, row.etag)
        return again

    async def _bucket(self, tenant: Tenant, bucket: int, drained: set[str]) -> tuple[int, bool]:
        """How many deliveries of the bucket were put on their way again, and whether any is not yet over."""
        again, waiting = 0, False
        now = self._services.now()
        start: str | None = first_uuid(bucket * BUCKET)
        end = first_uuid((bucket + 1) * BUCKET)
        while start is not None:
            hits = await tenant.records.list(
                Delivery, limit=_PAGE, start=start, end=end, where="status eq 'PENDING' or status eq 'HELD'"
            )
            start = hits.next
            for delivery in hits.records:
                waiting = True
                if delivery.next_attempt_at + GRACE > now:
                    continue
                if delivery.status == DeliveryStatus.HELD:
                    await self._release(tenant, delivery, now, drained)
                else:
                    await self._redeliver(tenant, delivery, now)
                again += 1
        return again, waiting

    async def _redeliver(self, tenant: Tenant, delivery: Delivery, now: int) -> None:
        if await self._touch(tenant, delivery, now):
            self._services.meter.count("sweep.redelivered")
            await redeliver(self._outbox, tenant, delivery, overdue=True)

    async def _release(self, tenant: Tenant, delivery: Delivery, now: int, drained: set[str]) -> None:
        """Has the connection drained, once, if there is nothing left to wait for."""
        if delivery.connection_uuid in drained:
            return
        connection = await tenant.records.get(Connection, delivery.connection_uuid)
        waits = connection is not None and connection.state not in (COMPLETED, "abandoned")
        if not waits and await self._touch(tenant, delivery, now):
            drained.add(delivery.connection_uuid)
            self._services.meter.count("sweep.drained")
            await self._outbound.drain(tenant.uuid, delivery.connection_uuid)

    async def _touch(self, tenant: Tenant, delivery: Delivery, now: int) -> bool:
        """Claims the delivery, so that two sweepers do not both put it on its way."""
        unit = Unit()
        unit.merge(delivery.key, {"nextAttemptAt": now, "updatedAt": now}, delivery.etag)
        try:
            await tenant.records.commit(unit)
        except Changed:
            return False
        return True
