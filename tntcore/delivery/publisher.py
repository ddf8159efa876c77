"""Publishes what a commit wrote: makes the first attempts at its deliveries, or queues them, and releases what waited
for a connection.
"""

from __future__ import annotations

from collections.abc import Iterable

from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import Outbox, attached_item
from tntcore.delivery.redeliver import redeliver
from tntcore.delivery.relay import Relay
from tntcore.messaging.ids import delivery_uuid
from tntcore.services import Services
from tntcore.storage.items import RelayItem, SendItem
from tntcore.storage.records import AttachedMessage, Connection, Delivery, Entry
from tntcore.storage.states import COMPLETED, DeliveryStatus
from tntcore.tenancy.tenants import Tenant
from tntcore.together import together


class Publisher:
    def __init__(self, services: Services, outbox: Outbox, relay: Relay, outbound: Outbound) -> None:
        self._services = services
        self._outbox = outbox
        self._relay = relay
        self._outbound = outbound

    async def announce(self, tenant: Tenant, deliveries: Iterable[str]) -> None:
        """Makes sure, before the commit, that the sweeper finds these deliveries (uuids)."""
        await self._outbox.mark(tenant.uuid, deliveries)

    async def publish(self, items: Iterable[SendItem | RelayItem], *, at_once: bool) -> None:
        """Makes the first attempt at each delivery, or queues it. If a crash interrupts it, the item that caused them
        comes again.

        Args:
            at_once: make first attempts at receivers that are likely to answer at once. Otherwise queue all.
        """
        await together([self._first(item) if at_once else self._outbox.put(item) for item in items])

    async def _first(self, item: SendItem | RelayItem) -> None:
        if isinstance(item, SendItem):
            await self._outbound.first(item)
        else:
            await self._relay.first(item)

    async def publish_again(self, tenant: Tenant, connection: Connection | None, before: Entry) -> None:
        """Publishes the pending deliveries that `before` names."""
        for delivery in await tenant.records.many(Delivery, before.deliveries):
            if delivery.status == DeliveryStatus.PENDING:
                await redeliver(self._outbox, tenant, delivery)
        if connection is not None:
            await self.release(tenant, connection, before.message_uuid)

    async def release(self, tenant: Tenant, connection: Connection, message_uuid: str) -> None:
        """Releases what waits for the connection, if it is completed or has ended: held messages; and, if it is
        completed, the messages attached to the invitation.

        Args:
            message_uuid: of the message that completed or ended it.
        """
        if not connection.is_settled:
            return
        await self._outbound.drain(tenant.uuid, connection.uuid)
        if connection.state != COMPLETED:
            return
        for attached in (await tenant.records.list(AttachedMessage, limit=50, under=f"{connection.uuid}.")).records:
            item = attached_item(tenant.uuid, attached, delivery_uuid(message_uuid, attached.uuid))
            await self._services.storage.inbound.add(item.traced().data())
