"""Commits a tenant's own changes of connections, with the messages that tell the other side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from tntcore.connections.effect import Effect
from tntcore.delivery.outbound import COMMIT_SECONDS, drain, drain_later
from tntcore.delivery.outbox import Outbox, attached_item
from tntcore.delivery.outgoing import Outgoing, write
from tntcore.delivery.redeliver import queue_pending
from tntcore.delivery.tasks import connection_tasks, task_call, task_deliveries
from tntcore.errors import Problem
from tntcore.messaging.message import Message as Plaintext
from tntcore.messaging.threads import action_uuid
from tntcore.services import Services
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.items import queue_message
from tntcore.storage.lookups import Found
from tntcore.storage.records import Action, AttachedMessage, Connection, Delivery, Message
from tntcore.storage.storage import INBOUND
from tntcore.strict_json import write_json
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)


class Changes:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox

    async def apply(self, tenant: Tenant, effect: Effect, *, tells: bool = False) -> None:
        """Commits a decision, with the messages that tell the other side. Raises `Problem` 409.

        Args:
            tells: send an event: the connection, which was not begun before, is completed or over.
        """
        connection = effect.connection
        services, now = self._services, self._services.now()
        owner = Found(tenant.uuid, "connection", connection.uuid)
        for kid in effect.keys:
            await services.lookups.add("key", kid, owner)
        thid = Plaintext.read(write_json(effect.replies[0])).thid if effect.replies else connection.thid
        action = Action(
            uuid=action_uuid(connection.uuid, thid),
            reference_id=thid,
            direction="IN" if thid == connection.thid and connection.role == "responder" else "OUT",
            identity_did=connection.identity_did,
            contact_did=connection.contact_did,
            contact_uuid=connection.contact_uuid,
            connection_uuid=connection.uuid,
            created_at=now,
            updated_at=now,
        )
        sent = [
            await write(tenant.records, connection, action, write_json(reply), message_uuid=services.uuid7(), now=now)
            for reply in effect.replies
        ]
        told: list[Delivery] = []
        for task in connection_tasks(connection, rejected=effect.rejects, begun=True) if tells else ():
            told += await task_deliveries(tenant, task, source=services.uuid7(), now=now)
        await self._outbox.mark(tenant.uuid, [*(one.delivery.uuid for one in sent), *(one.uuid for one in told)])
        received = []
        if effect.completed:
            received = [attached_item(tenant.uuid, one, services.uuid7()) for one in effect.attached]
        for item in received:
            # For the case that this process dies after the commit. Otherwise the item finds nothing left to do.
            await services.storage.queues[INBOUND].put(queue_message([item]), delay=COMMIT_SECONDS)
        if connection.is_settled and connection.etag:
            # For the same case.
            await drain_later(services, tenant.uuid, connection.uuid)
        await self._commit(tenant, connection, effect, action, sent, told)
        services.tenants.forget_recipient(tenant, connection.uuid)
        try:
            for outgoing in sent:
                await self._outbox.put(outgoing.item(tenant.uuid))
            for delivery in told:
                await self._outbox.put(task_call(tenant.uuid, delivery))
            for item in received:
                await services.storage.inbound.add(item.traced().data())
            if connection.is_settled:
                await drain(services, tenant.uuid, connection.uuid)
        except Exception as error:  # noqa: BLE001 - it is decided, and to decide it again would be refused
            log.warning("what connection %s sends is not queued yet: %s", connection.uuid, type(error).__name__)
            services.meter.count("invitations.unqueued")
            pending = [*(one.delivery.uuid for one in sent), *(one.uuid for one in told)]
            self._outbox.try_again(tenant.uuid, pending, partial(queue_pending, self._outbox, tenant, *pending))

    async def _commit(
        self,
        tenant: Tenant,
        connection: Connection,
        effect: Effect,
        action: Action,
        sent: Sequence[Outgoing],
        told: Sequence[Delivery],
    ) -> None:
        """Commits. Raises `Problem` 409."""
        opens = bool(sent) and await tenant.records.get(Action, action.uuid) is None
        while True:
            unit = Unit()
            effect.add_to(unit)
            if opens:
                unit.create(action)
            elif sent:
                unit.upsert_row(action.key, action.values_of_any_thread())
            for outgoing in sent:
                outgoing.add_to(unit)
            for delivery in told:
                unit.create(delivery)
            try:
                await tenant.records.commit(unit)
            except (Changed, Exists) as error:
                if await _is_written(tenant, connection, effect, sent):
                    return
                if not opens or error.row != action.key:
                    detail = "Another request changed the connection at the same time. Read it and try again."
                    raise Problem(409, "connection-changed", detail) from None
                opens = False
            else:
                return


async def _is_written(tenant: Tenant, connection: Connection, effect: Effect, sent: Sequence[Outgoing]) -> bool:
    """Whether a collision of a commit is with itself: storage may have done it, failed to answer, and got it again from
    its client library.
    """
    records = tenant.records
    if sent:
        return await records.get(Message, sent[0].message.uuid) is not None
    if effect.attached:
        return await records.get(AttachedMessage, effect.attached[0].uuid) is not None
    current = await records.get(Connection, connection.uuid)
    return current is not None and current.changes() == connection.changes()
