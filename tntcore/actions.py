"""Sending: a tenant's plain message becomes a stored message, a thread and a delivery, in one commit."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

import orjson

from tntcore.connections import COMPLETED
from tntcore.envelope import MAX_PLAINTEXT
from tntcore.errors import Problem
from tntcore.messaging.compose import prefill_v1
from tntcore.messaging.message import Message as Plaintext
from tntcore.messaging.threads import action_uuid, new_action_uuid
from tntcore.pipeline.outbox import Outbox, delivery_uuid, outbound_item
from tntcore.records import Action, Connection, Delivery, Entry, Held, Message, Sent, entry_id, sent_id
from tntcore.services import Services
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.tenants import Tenant

_MAX_RACES = 20


@dataclass(frozen=True, slots=True)
class Thread:
    """Where a message goes: a connection, and an action on it.

    Attributes:
        action: as it is to be created, or as it was read (then it has an etag).
    """

    connection: Connection
    action: Action


class Actions:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        # Each held message writes its connection's row: those of one connection would only lose races to each other.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def begin(self, connection: Connection, reference_id: str | None) -> Thread:
        """The thread of a new action; `reference_id` is its thread id, which is the action's uuid by default."""
        now = self._services.now()
        if reference_id is None:
            reference_id = own = new_action_uuid(connection.uuid, self._services.random(16))
        else:
            own = action_uuid(connection.uuid, reference_id)
        action = Action(
            uuid=own,
            reference_id=reference_id,
            direction="OUT",
            identity_did=connection.identity_did,
            contact_did=connection.contact_did,
            contact_uuid=connection.contact_uuid,
            connection_uuid=connection.uuid,
            created_at=now,
            updated_at=now,
        )
        return Thread(connection, action)

    async def create(self, tenant: Tenant, thread: Thread) -> Action:
        """Keeps an action that has no message yet. One that is there already is answered as it is."""
        unit = Unit()
        unit.create(thread.action.key, thread.action.values())
        try:
            await tenant.records.commit(unit)
        except Exists:
            return await tenant.records.get(Action, thread.action.uuid) or thread.action
        return thread.action

    async def send(self, tenant: Tenant, thread: Thread, message: Mapping[str, Any]) -> tuple[Action, Message]:
        """Sends a message on a thread: at once, or, while the connection is not completed, when it is.

        Sending what was sent before (the same `@id` and content, on the same thread) changes nothing.

        Raises:
            Problem: 400 `message-invalid` or `thread-mismatch`, 409 `message-id-used`, 413 `message-too-large`.
        """
        if thread.connection.state == COMPLETED:
            return await self._send(tenant, thread, message)
        async with self._turns.setdefault(thread.connection.uuid, asyncio.Lock()):
            return await self._send(tenant, thread, message)

    async def _send(self, tenant: Tenant, thread: Thread, message: Mapping[str, Any]) -> tuple[Action, Message]:
        plaintext = self._complete(thread, message)
        read = Plaintext.read(plaintext)
        digest = hashlib.sha256(plaintext).hexdigest()
        message_uuid = self._services.uuid7()
        records = tenant.records
        sealed = records.seal_body(message_uuid, plaintext)
        body = await records.put_body(message_uuid, sealed)
        connection, create = thread.connection, not thread.action.etag
        for _ in range(_MAX_RACES):
            held = connection.state != COMPLETED
            action, stored, delivery = self._records(tenant, connection, thread.action, read, message_uuid, held)
            stored.body = body
            unit = self._unit(connection, action, stored, delivery, digest, create=create, held=held)
            await self._outbox.mark(tenant.uuid, [delivery.uuid])
            try:
                await records.commit(unit)
            except Exists as exists:
                if exists.row == action.key:
                    # The thread is there already: what is answered is that one, with its own beginning.
                    known = await records.get(Action, action.uuid)
                    thread, create = replace(thread, action=known or thread.action), False
                    continue
                before = await records.get(Entry, entry_id(action.uuid, "out", read.id))
                if before is None or before.digest != digest:
                    raise Problem(
                        409,
                        "message-id-used",
                        "A message with this @id was sent on this thread before; use another @id.",
                    ) from None
                return action, await records.get(Message, before.message_uuid) or stored
            except Changed:
                # The connection was completed, or another message held, at this very moment.
                current = await records.get(Connection, connection.uuid)
                if current is None:
                    raise Problem(404, "connection-unknown", "The connection was deleted meanwhile.") from None
                connection = current
                continue
            if not held:
                await self._outbox.outbound(outbound_item(tenant.uuid, delivery, sealed))
            return action, stored
        raise Problem(503, "busy", "The connection changes too fast. Try again.", retry_after=1)

    def _complete(self, thread: Thread, message: Mapping[str, Any]) -> bytes:
        new_id = str(uuid.UUID(bytes=self._services.random(16), version=4))
        filled = prefill_v1(message, thid=thread.action.reference_id, new_id=new_id)
        try:
            plaintext = orjson.dumps(filled)
        except (orjson.JSONEncodeError, RecursionError):
            raise Problem(400, "message-invalid", "The message cannot be written as JSON.") from None
        if len(plaintext) > MAX_PLAINTEXT:
            raise Problem(413, "message-too-large", f"A message may have {MAX_PLAINTEXT} bytes.")
        thid = Plaintext.read(plaintext).thid
        if thid != thread.action.reference_id:
            raise Problem(
                400,
                "thread-mismatch",
                "The message's thread id is not the action's referenceID. Leave one of them out.",
            )
        return plaintext

    def _records(
        self, tenant: Tenant, connection: Connection, action: Action, read: Plaintext, message_uuid: str, held: bool
    ) -> tuple[Action, Message, Delivery]:
        now = self._services.now()
        state = "HELD" if held else "SENDING"
        message = Message(
            uuid=message_uuid,
            status=state,
            direction="OUT",
            type=read.type,
            version=read.version,
            message_id=read.id,
            action_uuid=action.uuid,
            contact_uuid=connection.contact_uuid,
            connection_uuid=connection.uuid,
            identity_did=connection.identity_did,
            contact_did=connection.contact_did,
            authenticated=True,
            created_at=now,
            updated_at=now,
        )
        delivery = Delivery(
            uuid=delivery_uuid(message_uuid, "didcomm"),
            status="HELD" if held else "PENDING",
            kind="didcomm",
            message_uuid=message_uuid,
            action_uuid=action.uuid,
            connection_uuid=connection.uuid,
            type=read.type,
            next_attempt_at=now,
            created_at=now,
            updated_at=now,
        )
        return replace(action, type_status=state, updated_at=now), message, delivery

    def _unit(
        self,
        connection: Connection,
        action: Action,
        message: Message,
        delivery: Delivery,
        digest: str,
        *,
        create: bool,
        held: bool,
    ) -> Unit:
        unit = Unit()
        now = message.created_at
        entry = Entry(uuid=entry_id(action.uuid, "out", message.message_id), message_uuid=message.uuid, digest=digest)
        entry.deliveries, entry.created_at = [delivery.uuid], now
        unit.create(entry.key, entry.values())
        sent = Sent(uuid=sent_id(connection.uuid, message.message_id), action_uuid=action.uuid)
        unit.upsert(sent.key, sent.values())
        if create:
            unit.create(action.key, action.values())
        else:
            unit.upsert(action.key, {"typeStatus": action.type_status, "updatedAt": now})
        unit.create(message.key, message.values())
        unit.create(delivery.key, delivery.values())
        if held:
            waiting = Held(
                uuid=f"{connection.uuid}.{message.uuid}",
                message_uuid=message.uuid,
                delivery_uuid=delivery.uuid,
                action_uuid=action.uuid,
            )
            unit.create(waiting.key, waiting.values())
            # With the connection as it was read: if it is completed at this moment, this message must not be held.
            unit.merge(connection.key, {"updatedAt": now}, connection.etag)
        return unit
