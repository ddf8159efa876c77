"""Puts a delivery on its way again, by what is stored of it."""

from __future__ import annotations

from tntcore.delivery.outbox import Item, Outbox, outbound_item
from tntcore.delivery.tasks import task_item
from tntcore.storage.records import Delivery
from tntcore.tenancy.tenants import Tenant


async def redeliver(
    outbox: Outbox, tenant: Tenant, delivery: Delivery, *, overdue: bool = False, replayed: bool = False
) -> None:
    """Answers when it is queued.

    Args:
        overdue: the queue message of its next attempt counts as lost; this one takes its place. Otherwise it is
            attempted only if no attempt is scheduled.
        replayed: somebody asked for it: it belongs to what is done now, and points to where it first came from.
    """
    again: Item = {"again": True, "t": delivery.attempts if overdue else 0}
    if delivery.trace:
        again["tl" if replayed else "tp"] = delivery.trace
    if delivery.kind == "task":
        await outbox.relay({**task_item(tenant.uuid, delivery), **again})
    elif delivery.kind == "webhook":
        call = {"p": tenant.uuid, "d": delivery.uuid, "e": delivery.entry_id, "u": delivery.message_uuid}
        await outbox.relay({**call, **again})
    else:
        await outbox.outbound({**outbound_item(tenant.uuid, delivery, b""), **again})
