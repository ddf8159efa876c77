"""`TASK_WEBHOOK`: tells a tenant's system when something that it did not wait for has finished.

An event is a delivery like any other; its row has the event, `{type, uuid, status, ...}`.
"""

from __future__ import annotations

from typing import Any

from tntcore.messaging import times
from tntcore.messaging.ids import delivery_uuid
from tntcore.messaging.message import Message
from tntcore.storage.items import TaskCall
from tntcore.storage.records import Connection, Delivery
from tntcore.storage.states import DeliveryStatus
from tntcore.telemetry import traceparent
from tntcore.tenancy.tenants import TASK_WEBHOOK, Tenant


async def task_deliveries(tenant: Tenant, task: dict[str, Any], *, source: str, now: int) -> list[Delivery]:
    """Returns the calls for an event: one for each entry whose expression is found in the event's type.

    Args:
        task: `{type, uuid, status, ...}`; `time` and `sequence` are added.
        source: uuid (version 7) of the cause: the same event of the same cause has the same uuid.
    """
    webhooks = await tenant.webhooks(TASK_WEBHOOK)
    event = Message(b"", type=str(task["type"]))
    name = f"task/{task['type']}/{task['status']}"
    task = {**task, "time": times.iso(now), "sequence": delivery_uuid(source, name)}
    return [
        Delivery(
            uuid=delivery_uuid(source, f"{name}/{entry.id}"),
            status=DeliveryStatus.PENDING,
            kind="task",
            entry_id=entry.id,
            connection_uuid=str(task.get("connectionUuid") or ""),
            contact_uuid=str(task.get("contactUuid") or ""),
            type=str(task["type"]),
            task=task,
            next_attempt_at=now,
            created_at=now,
            updated_at=now,
            trace=traceparent(),
        )
        for entry in webhooks.entries
        if entry.matches(event)
    ]


def task_call(principal: str, delivery: Delivery) -> TaskCall:
    """Returns the item with everything that the relay needs for an event."""
    return TaskCall(principal=principal, delivery=delivery.uuid, entry=delivery.entry_id, task=delivery.task)


def connection_tasks(connection: Connection, *, rejected: bool, begun: bool) -> list[dict[str, Any]]:
    """Returns the events of a connection's new state: the state itself (RFC 0023's word is the status), the contact's,
    and the outcome of the tenant's own call if this ends one.

    Args:
        rejected: the contact is, too. begun: it was not completed before.
    """
    whole = {
        "uuid": connection.uuid,
        "status": connection.state,
        "role": connection.role,
        "connectionUuid": connection.uuid,
        "contactUuid": connection.contact_uuid,
        "identityUuid": connection.identity_uuid,
        "invitationUuid": connection.invitation_uuid or None,
        "contactDid": connection.contact_did or None,
        "claimedDid": connection.claimed_did or None,
        "error": connection.error or None,
    }
    tasks = [{"type": "connection", **whole}]
    over = connection.state in ("completed", "abandoned")
    if connection.role == "requester" and over and begun:
        asked = connection.pthid.partition("#")[0] in ("", connection.invited_did)
        tasks.append({"type": "request-didexchange" if asked else "answer-invitation", **whole})
    statuses = {"completed": "ACCEPTED", "request-received": "REQUESTED"}
    status = "REJECTED" if rejected else statuses.get(connection.state)
    if status is not None:
        contact = {"uuid": connection.contact_uuid, "status": status, "did": connection.contact_did or None}
        others = ("connectionUuid", "contactUuid", "identityUuid", "claimedDid", "error")
        tasks.append({"type": "contact", **contact, **{name: whole[name] for name in others}})
    return tasks
