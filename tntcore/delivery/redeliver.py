"""Queues a stored delivery again."""

from __future__ import annotations

from dataclasses import replace

from tntcore.delivery.outbox import Outbox, send_item
from tntcore.delivery.tasks import task_call
from tntcore.storage.items import MessageCall, RelayItem, SendItem
from tntcore.storage.records import Delivery
from tntcore.storage.states import DeliveryStatus
from tntcore.tenancy.tenants import Tenant


def item_again(
    principal: str, delivery: Delivery, *, overdue: bool = False, replayed: bool = False
) -> SendItem | RelayItem:
    """Returns the item that queues a stored delivery again.

    Args:
        overdue: the queue message of its next attempt counts as lost, and this one takes its place. Otherwise it is
            attempted only if no attempt is scheduled.
        replayed: it is a manual replay: its span is a child of the present one, with a link to the original one.
    """
    attempts = delivery.attempts if overdue else 0
    trace, link = ("", delivery.trace) if replayed else (delivery.trace, "")
    item: SendItem | RelayItem
    if delivery.kind == "task":
        item = task_call(principal, delivery)
    elif delivery.kind == "webhook":
        item = MessageCall(
            principal=principal, delivery=delivery.uuid, entry=delivery.entry_id, message=delivery.message_uuid
        )
    else:
        item = send_item(principal, delivery, b"")
    return replace(item, again=True, attempts=attempts, trace=trace, link=link)


async def redeliver(
    outbox: Outbox, tenant: Tenant, delivery: Delivery, *, overdue: bool = False, replayed: bool = False
) -> None:
    """Queues the delivery; returns when it is queued. `overdue` and `replayed`: see `item_again`."""
    await outbox.put(item_again(tenant.uuid, delivery, overdue=overdue, replayed=replayed))


async def queue_pending(outbox: Outbox, tenant: Tenant, *deliveries: str) -> None:
    """Queues those of the deliveries (uuids) that are still PENDING, as their queue messages were not put."""
    for uuid in deliveries:
        delivery = await tenant.records.get(Delivery, uuid)
        if delivery is not None and delivery.status == DeliveryStatus.PENDING:
            await redeliver(outbox, tenant, delivery)
