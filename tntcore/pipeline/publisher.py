"""Publishes after the commit of a received message: queues its deliveries, and releases what waited for its
connection.
"""

from __future__ import annotations

from tntcore.connections.connection import COMPLETED
from tntcore.connections.effect import Effect
from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import Outbox, attached_item, message_call
from tntcore.delivery.redeliver import redeliver
from tntcore.delivery.tasks import task_call
from tntcore.messaging.ids import delivery_uuid
from tntcore.pipeline.receipt import Receipt
from tntcore.services import Services
from tntcore.storage.records import Attached, Connection, Delivery, Entry
from tntcore.storage.states import DeliveryStatus
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import Tenant
from tntcore.together import together

_SETTLED = (COMPLETED, "abandoned")


class Publisher:
    def __init__(self, services: Services, outbox: Outbox, outbound: Outbound) -> None:
        self._services = services
        self._outbox = outbox
        self._outbound = outbound

    async def announce(self, tenant: Tenant, receipt: Receipt) -> None:
        """Makes sure, before the commit, that the sweeper finds what is published after it."""
        await self._outbox.mark(tenant.uuid, receipt.dedup.deliveries)

    async def publish(self, tenant: Tenant, recipient: Recipient, receipt: Receipt) -> None:
        """Publishes a receipt. If a crash interrupts it, the queue delivers the item again, which completes it."""
        effect = receipt.effect
        if isinstance(effect, Effect):
            self._services.tenants.forget_recipient(tenant, effect.connection.uuid)
            self._services.tenants.forget_recipient(tenant, recipient.scope)
        calls = (message_call(tenant.uuid, delivery, receipt.stored, receipt.sealed) for delivery in receipt.deliveries)
        await together(
            [
                *(self._outbox.relay(call) for call in calls),
                *(self._outbox.relay(task_call(tenant.uuid, task)) for task in receipt.tasks),
                *(self._outbox.outbound(answer.item(tenant.uuid)) for answer in receipt.answers),
            ]
        )
        if isinstance(effect, Effect) and effect.connection.state in _SETTLED:
            await self._follow_up(tenant, effect.connection, receipt.stored.uuid)

    async def publish_again(self, tenant: Tenant, recipient: Recipient, before: Entry) -> None:
        """Publishes the pending deliveries that `before` names."""
        for delivery in await tenant.records.many(Delivery, before.deliveries):
            if delivery.status == DeliveryStatus.PENDING:
                await redeliver(self._outbox, tenant, delivery)
        if recipient.connection is not None and recipient.connection.state in _SETTLED:
            await self._follow_up(tenant, recipient.connection, before.message_uuid)

    async def _follow_up(self, tenant: Tenant, connection: Connection, message_uuid: str) -> None:
        """Releases what waited for the connection to be completed, or to end: held messages; and, if it is completed,
        the messages attached to the invitation.
        """
        await self._outbound.drain(tenant.uuid, connection.uuid)
        if connection.state != COMPLETED:
            return
        for attached in (await tenant.records.list(Attached, limit=50, under=f"{connection.uuid}.")).records:
            item = attached_item(tenant.uuid, attached, delivery_uuid(message_uuid, attached.uuid))
            await self._services.storage.inbound.add(item.traced().data())
