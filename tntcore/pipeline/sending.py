"""Sends a tenant's message: a stored message, a thread and a delivery, in one commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import orjson

from tntcore.delivery.outbox import Outbox
from tntcore.delivery.outgoing import Outgoing, write
from tntcore.delivery.redeliver import queue_pending, redeliver
from tntcore.envelope import MAX_PLAINTEXT
from tntcore.errors import Problem
from tntcore.exchanges.exchanges import Exchanges
from tntcore.exchanges.outcome import Outcome
from tntcore.messaging.compose import prefill_v1, to_v2
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.message import Message as Plaintext
from tntcore.messaging.threads import action_uuid, new_action_uuid
from tntcore.protocols.sendable import check_type
from tntcore.services import Services
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.records import Action, Connection, Delivery, Entry, changed_at
from tntcore.storage.retrying import retrying
from tntcore.storage.states import COMPLETED, DeliveryStatus
from tntcore.strict_json import write_json
from tntcore.tenancy.recipients import document_id
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)

_TRIES = 20  # each held message of a connection writes the connection's row
Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Thread:
    """The destination of a message: a connection, and an action on it.

    Attributes:
        action: to be created, or as it was read (then it has an etag).
    """

    connection: Connection
    action: Action


class SentMessage(NamedTuple):
    """A sent message: its action, the uuid of the stored message, and the completed message."""

    action: Action
    message_uuid: str
    plaintext: bytes


class Actions:
    def __init__(self, services: Services, outbox: Outbox, exchanges: Exchanges) -> None:
        self._services = services
        self._outbox = outbox
        self._exchanges = exchanges
        # Each held message writes its connection's row: those of one connection would only lose races to each other.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def begin(self, connection: Connection, reference_id: str | None, random: Random | None = None) -> Thread:
        """Returns the thread of a new action; `reference_id` is its thread id, by default the action's uuid."""
        now = self._services.now()
        if reference_id is None:
            reference_id = own = new_action_uuid(connection.uuid, (random or self._services.random)(16))
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
        """Creates an action that has no message yet. Returns the existing one if there is one."""
        unit = Unit()
        unit.create(thread.action)
        try:
            await tenant.records.commit(unit)
        except Exists:
            return await tenant.records.get(Action, thread.action.uuid) or thread.action
        return thread.action

    async def send(
        self,
        tenant: Tenant,
        thread: Thread,
        message: Mapping[str, Any],
        outcome: Outcome | None = None,
        random: Random | None = None,
    ) -> SentMessage:
        """Sends a message on a thread: at once, or, if the connection is not completed, when it is.

        Args:
            outcome: further changes to commit with it; the message is its only reply. Default: the effect of the
                message on the exchange of its thread.
            random: for its `@id`.

        Sending the same message again (same `@id` and content, on the same thread) changes nothing; it only makes sure
        that the first one is queued.

        Raises:
            Problem: 400 `message-invalid` or `thread-mismatch`, 409 `message-id-used` or `connection-ended`, 413
                `message-too-large`.
        """
        plaintext = self._complete(thread, message, random or self._services.random)
        if thread.connection.state == COMPLETED:
            return await self._send(tenant, thread, plaintext, outcome)
        async with self._turns.setdefault(thread.connection.uuid, asyncio.Lock()):
            return await self._send(tenant, thread, plaintext, outcome)

    async def _send(self, tenant: Tenant, thread: Thread, plaintext: bytes, outcome: Outcome | None) -> SentMessage:
        message_uuid, now = self._services.uuid7(), self._services.now()
        if outcome is not None:
            message_uuid = outcome.replies[0].message_uuid
        else:
            outcome = await self._exchanges.sending(
                tenant, thread.connection, thread.action, Plaintext.read(plaintext), message_uuid
            )
        records, at = tenant.records, changed_at(message_uuid, now)

        async def attempt() -> SentMessage:
            nonlocal thread
            connection = thread.connection
            if connection.state == "abandoned":
                raise Problem(409, "connection-ended", "The connection was ended. Invite the contact again.")
            held = connection.state != COMPLETED
            action = replace(thread.action, type_status="HELD" if held else "SENDING", updated_at=at)
            outgoing = await write(
                records, connection, action, plaintext, message_uuid=message_uuid, now=now, held=held
            )
            await self._outbox.mark(tenant.uuid, [outgoing.delivery.uuid])
            try:
                await records.commit(_unit(action, outgoing, outcome))
            except (Changed, Exists) as conflict:
                if outcome is not None and conflict.row in outcome.rows:
                    raise Problem(
                        409, "exchange-changed", "Another request changed the exchange at the same time. Try again."
                    ) from None
                if isinstance(conflict, Exists) and conflict.row != action.key:
                    return SentMessage(action, await self._sent_before(tenant, outgoing), plaintext)
                thread = await _as_it_is_now(tenant, thread, conflict)
                raise
            if not held:
                await self._queued(tenant, message_uuid, self._outbox.outbound(outgoing.item(tenant.uuid)))
            return SentMessage(action, message_uuid, plaintext)

        busy = "Too many requests change the connection at the same time. Try again."
        return await retrying(attempt, tries=_TRIES, contended=Problem(503, "busy", busy, retry_after=1))

    async def _sent_before(self, tenant: Tenant, outgoing: Outgoing) -> str:
        """Returns the uuid of the same message, sent before on the thread, and makes sure that it is queued. Raises
        `Problem` 409 if it was another one.
        """
        before = await tenant.records.get(Entry, outgoing.entry.uuid)
        if before is None or before.digest != outgoing.digest:
            raise Problem(
                409, "message-id-used", "A message with this @id was already sent on this thread. Use another @id."
            ) from None
        await self.see_to(tenant, before.message_uuid)
        return before.message_uuid

    async def see_to(self, tenant: Tenant, message_uuid: str) -> None:
        """Queues a sent message again in case its queue message was lost."""
        delivery = await tenant.records.get(Delivery, delivery_uuid(message_uuid, "didcomm"))
        if delivery is not None and delivery.status == DeliveryStatus.PENDING:
            await self._queued(tenant, message_uuid, redeliver(self._outbox, tenant, delivery))

    async def _queued(self, tenant: Tenant, message_uuid: str, put: Awaitable[None]) -> None:
        """Waits for the put of a queue message. If it fails, it is repeated in the background: the delivery's row is
        written and will be found, while a caller that sees an error would send the message again.
        """
        try:
            await put
        except Exception as error:  # noqa: BLE001 - see above
            self._services.meter.count("actions.unqueued")
            log.warning("a message is committed but not queued, trying again: %s", type(error).__name__)
            delivery = delivery_uuid(message_uuid, "didcomm")
            self._outbox.try_again(tenant.uuid, [delivery], partial(queue_pending, self._outbox, tenant, delivery))

    def _complete(self, thread: Thread, message: Mapping[str, Any], random: Random) -> bytes:
        new_id = random_uuid(random)
        action = thread.action
        check_type(message)
        filled = prefill_v1(message, thid=action.reference_id, new_id=new_id, pthid=action.parent_id)
        try:
            plaintext = write_json(filled)
        except (orjson.JSONEncodeError, RecursionError):
            raise Problem(
                400,
                "message-invalid",
                "The message cannot be written as JSON. Remove NaN, infinity and lone surrogates from it.",
            ) from None
        if len(plaintext) > MAX_PLAINTEXT or self._too_large_in_v2(thread.connection, filled, len(plaintext)):
            raise Problem(
                413, "message-too-large", f"The message is too large. It may have at most {MAX_PLAINTEXT} bytes."
            )
        thid = Plaintext.read(plaintext).thid
        if thid != thread.action.reference_id:
            raise Problem(
                400,
                "thread-mismatch",
                "The thread id of the message differs from the action's referenceID. Leave one of them out.",
            )
        return plaintext

    def _too_large_in_v2(self, connection: Connection, message: Mapping[str, Any], size: int) -> bool:
        if connection.version != "v2" or size < MAX_PLAINTEXT // 2:
            return False
        converted = to_v2(
            message,
            from_did=connection.my_did,
            to_did=document_id(connection.their_document),
            created_time=self._services.now() // 1000,
        )
        return len(write_json(converted)) > MAX_PLAINTEXT


def _unit(action: Action, outgoing: Outgoing, outcome: Outcome | None) -> Unit:
    """Returns the unit that writes a message, its action and the outcome for its exchange."""
    unit = Unit()
    outgoing.add_to(unit)
    if outcome is not None:
        outcome.add_to(unit)
    if action.etag:
        unit.upsert_row(action.key, {"typeStatus": action.type_status, "updatedAt": action.updated_at})
    else:
        unit.create(action)
    return unit


async def _as_it_is_now(tenant: Tenant, thread: Thread, conflict: Changed | Exists) -> Thread:
    """Returns the thread after a lost race. Raises `Problem` 404 if its connection is gone."""
    if isinstance(conflict, Exists):
        # The thread exists already, so the answer shows that one, with its own beginning.
        return replace(thread, action=await tenant.records.get(Action, thread.action.uuid) or thread.action)
    # The connection was completed, or another message held, at this very moment.
    current = await tenant.records.get(Connection, thread.connection.uuid)
    if current is None:
        raise Problem(404, "connection-unknown", "The connection was deleted in the meantime.") from None
    return replace(thread, connection=current)
