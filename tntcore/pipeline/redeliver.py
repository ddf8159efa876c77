"""Puts a delivery on its way again, by what is stored of it."""

from __future__ import annotations

from tntcore.pipeline.outbox import Item, Outbox
from tntcore.pipeline.tasks import task_item
from tntcore.records import Delivery
from tntcore.tenants import Tenant


async def redeliver(outbox: Outbox, tenant: Tenant, delivery: Delivery, *, overdue: bool = False) -> None:
    """Answers when it is queued.

    Args:
        overdue: the queue message of its next attempt counts as lost; this one takes its place. Otherwise it is
            attempted only if no attempt is scheduled.
    """
    again: Item = {"again": True, "t": delivery.attempts if overdue else 0}
    item: Item = {"p": tenant.uuid, "d": delivery.uuid, "u": delivery.message_uuid, **again}
    if delivery.kind == "task":
        await outbox.relay({**task_item(tenant.uuid, delivery), **again})
    elif delivery.kind == "webhook":
        await outbox.relay({**item, "e": delivery.entry_id})
    else:
        await outbox.outbound({**item, "a": delivery.action_uuid, "n": delivery.connection_uuid})
