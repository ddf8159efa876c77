"""Receives an item of queue `inbound`: open, admit, decide, commit, publish."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from tntcore.caching import SharedCache
from tntcore.connections.acceptance import Acceptance
from tntcore.connections.effect import Effect, Reaction, Refusal
from tntcore.connections.received import Received
from tntcore.connections.sender import (
    Enclosed,
    OtherSide,
    Stranger,
)
from tntcore.delivery.publisher import Publisher
from tntcore.errors import DidError, EnvelopeError, NotYet
from tntcore.exchanges.exchanges import TakesLong
from tntcore.messaging.message import Message, what_it_says
from tntcore.messaging.threads import action_uuid
from tntcore.pipeline import given_up
from tntcore.pipeline.consequences import Consequences, Incoming
from tntcore.pipeline.opening import Opener
from tntcore.pipeline.receipt import Receipt
from tntcore.pipeline.spans import PASSED_ON, protocol_of
from tntcore.rate_limits import Allowance, Pace
from tntcore.services import Services
from tntcore.shares import on_behalf_of
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.items import InboundItem, queue_message
from tntcore.storage.lookups import Found
from tntcore.storage.records import AttachedMessage, Connection, Entry, entry_id
from tntcore.storage.records import Message as StoredMessage
from tntcore.storage.retrying import retrying
from tntcore.storage.states import MessageStatus
from tntcore.storage.storage import EXCHANGE
from tntcore.telemetry import add_event, set_attribute, set_outcome
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import Tenant, rest

_OUTCOMES = {"RECEIVED": "stored", "REJECTED": "rejected", "CONFLICT": "conflict"}
_TRIES = 20
_MAX_THREADS = 50_000
_NO_ROOM_SECONDS = 600.0  # until what a full tenant was sent is tried again
_KEPT = 2_048  # bytes of an envelope that cannot be opened
_UNREADABLE, _UNREADABLE_SECONDS = 200, 600.0  # such envelopes of one tenant that are kept: see `Allowance`
_RESENT = 3 * 86_400_000  # milliseconds for which a sender may send an envelope again
_SETTLED, _SETTLED_SECONDS = 200, 60.0  # handled items of one tenant that are remembered: see `Allowance`


class TooSoon(Exception):
    """Too many items lately: this one is due in `seconds`."""

    outcome = "put-off"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds:.1f} s")
        self.seconds = seconds


@dataclass(slots=True)
class Admission:
    """The limits that an item has passed.

    Attributes:
        passed: how many of the limits, the sender's, the entrance's and the tenant's, have let it through.
        rests: how often it was put off because its tenant is suspended.
    """

    passed: int
    rests: int

    @staticmethod
    def of(item: InboundItem) -> Admission:
        return Admission(item.limits_passed, item.rests)

    def on(self, item: InboundItem) -> InboundItem:
        """Returns the item as it is put back."""
        return replace(item, limits_passed=self.passed, rests=self.rests)


class Receiving:
    def __init__(
        self,
        services: Services,
        acceptance: Acceptance,
        received: Received,
        consequences: Consequences,
        publisher: Publisher,
    ) -> None:
        self._services = services
        self._acceptance = acceptance
        self._received = received
        self._consequences = consequences
        self._publisher = publisher
        self._opener = Opener(services, received)
        self._storage = services.storage
        self._unreadable = Allowance(time.monotonic, burst=_UNREADABLE, seconds=_UNREADABLE_SECONDS)
        self._settled = Allowance(time.monotonic, burst=_SETTLED, seconds=_SETTLED_SECONDS)
        self._pace = Pace(time.monotonic)
        # Threads whose row is known to exist.
        self._threads: SharedCache[bool] = SharedCache(time.monotonic, _MAX_THREADS)

    async def receive(self, item: InboundItem, admission: Admission, *, last: bool, long: bool = False) -> None:
        """Handles an item, or passes it on to queue `exchange`.

        Args:
            admission: the limits it has passed.
            last: it is not put off any more.
            long: it may take long.

        Raises:
            TooSoon: it is due later. NotYet: something it needs may become available later.
        """
        tenant = await self._services.tenants.get(item.principal)
        if tenant is None:
            self._services.meter.count("inbound.gone")
            set_outcome("gone")
            await self._forget(item)
            return
        if tenant.is_suspended:
            admission.rests += 1
            raise TooSoon(rest(admission.rests - 1))

        async def attempt() -> None:
            try:
                await self._handle(tenant, item, admission, last=last, long=long)
            except Changed:
                # Another message changed the same connection meanwhile, so the decision must be made again.
                self._services.tenants.forget_recipient(tenant, item.owner_uuid)
                raise

        try:
            await retrying(attempt, tries=_TRIES)
        except TakesLong:
            await self._storage.queues[EXCHANGE].put(queue_message([admission.on(item).traced()]))
            set_outcome(PASSED_ON)
            return
        # Anybody can send what becomes of no message, so only so many rows are written for it. Without one, the item is
        # shown as FAILED in case that another copy of it is given up.
        if (
            item.in_blob
            and not await given_up.is_stored(tenant.records, item.uuid)
            and self._settled.take(tenant.principal.uuid)
        ):
            await given_up.settle(tenant.records, item.uuid)
        await self._forget(item)

    async def sender(self, item: InboundItem) -> str:
        """Returns the sender of an item for fair shares: the entrance by which its connection was made. The holder of a
        multi-use invitation can make any number of connections, but all by that invitation.
        """
        tenant = await self._services.tenants.get(item.principal)
        recipient = None
        if tenant is not None:
            recipient = await self._services.tenants.recipient(tenant, item.owner, item.owner_uuid)
        connection = recipient.connection if recipient is not None else None
        return connection.entrance if connection is not None else item.owner_uuid

    async def _forget(self, item: InboundItem) -> None:
        """Deletes the envelope if it is in a blob: always the last step."""
        self._services.usage.arrived(item.uuid)
        if item.in_blob:
            await self._storage.envelopes.delete(item.uuid)

    async def _handle(self, tenant: Tenant, item: InboundItem, admission: Admission, *, last: bool, long: bool) -> None:
        """Handles the item. Raises `Changed` to handle it again now, `NotYet` later, `TakesLong` on the other queue."""
        if item.reuse:
            await self._acceptance.begin_anyway(tenant, item.reuse)
            return
        if item.begin:
            await self._acceptance.begin_again(tenant, item.owner_uuid, last=last)
            return
        recipient = await self._services.tenants.recipient(tenant, item.owner, item.owner_uuid)
        if item.attached and recipient is not None:
            await self._attached(tenant, recipient, item, long=long)
            return
        raw = await self._envelope(item)
        if raw is None:
            # The blob is deleted last of all: the item was handled before.
            return
        if recipient is None:
            # A key is found at the door from a moment before the connection that it is made for is committed.
            if not last:
                raise NotYet("the owner of the recipient key is not there yet")
            await self._refuse(tenant, None, item.uuid, raw, "recipient-gone")
        else:
            connection = recipient.connection
            # Whoever has a multi-use invitation can make any number of connections, but one entrance.
            with on_behalf_of(
                tenant.principal.uuid, connection.entrance if connection is not None else item.owner_uuid
            ):
                await self._open(tenant, item, recipient, raw, admission, last=last, long=long)

    async def _open(
        self,
        tenant: Tenant,
        item: InboundItem,
        recipient: Recipient,
        raw: bytes,
        admission: Admission,
        *,
        last: bool,
        long: bool,
    ) -> None:
        """Opens an envelope and handles what is in it. Raises what `_handle` does."""
        try:
            owner, opened = await self._opener.open(tenant, raw, recipient, last=last)
        except EnvelopeError as error:
            if error.code == "wrong-key" and await self._is_stale(tenant, item, recipient):
                raise Changed(item.owner_uuid) from None
            self._admit(tenant, admission, f"{recipient.scope}/strangers", recipient)
            await self._refuse(tenant, recipient, item.uuid, raw, error.code)
        else:
            sender = opened.sender
            if isinstance(sender, Stranger) and await self._is_stale(tenant, item, recipient):
                raise Changed(item.owner_uuid)
            known = isinstance(sender, OtherSide)
            self._admit(tenant, admission, owner.scope if known else f"{owner.scope}/strangers", owner)
            message = Message.read(opened.plaintext, opened.version)
            await self._store(Incoming(tenant, owner, message, sender, item.uuid, opened.envelope_id, last, long))

    async def _attached(self, tenant: Tenant, recipient: Recipient, item: InboundItem, *, long: bool) -> None:
        """Receives a message attached to an invitation. The inviter proved to have its key, not to have written
        everything in it: so the message belongs to the connection, but is not authenticated.
        """
        attached = await tenant.records.get(AttachedMessage, item.attached)
        if attached is None:
            return
        plaintext = tenant.records.open(attached.body, attached.key)
        if recipient.connection is not None:
            message = Message.read(plaintext)
            sender = Enclosed(recipient.connection, attached.parent_id)
            incoming = Incoming(
                tenant, recipient, message, sender, item.uuid, attached.uuid.encode(), last=True, long=long
            )
            await self._store(incoming)
        unit = Unit()
        unit.delete(attached.key)
        with suppress(Changed):
            await tenant.records.commit(unit)

    def _admit(self, tenant: Tenant, admission: Admission, sender: str, recipient: Recipient) -> None:
        """Counts the item, once, against the limits of its sender, of the entrance by which the sender came in, and of
        its tenant, as far as they let it through. So a flood takes no more from the tenant's other contacts than one
        sender may have, however many connections it made by one entrance. Raises `TooSoon`; an accepted item is
        delayed, not lost.
        """
        limits, passed = self._services.config.limits, admission.passed
        name, own = tenant.principal.uuid, tenant.principal.limits.get("messagesPerMinute")
        connection = recipient.connection
        door = connection.entrance if connection is not None else ""
        is_shared = connection is not None and door != connection.uuid
        paces = (
            (f"{name}/{sender}", limits.sender),
            (f"{name}/entrance/{door}", limits.sender if is_shared else 0),
            (name, limits.tenant if own is None else own),
        )
        for number, (key, per_minute) in enumerate(paces[passed:], passed + 1):
            admission.passed = number
            if seconds := self._pace.reserve(key, per_minute):
                raise TooSoon(seconds)
        if self._services.usage.is_over(tenant.principal):
            self._services.meter.count("inbound.no-room")
            raise TooSoon(_NO_ROOM_SECONDS)

    async def _is_stale(self, tenant: Tenant, item: InboundItem, recipient: Recipient) -> bool:
        """Whether another process has changed the connection since this one read it. Nothing is refused before this
        check.
        """
        known = recipient.connection
        if known is None:
            return False
        current = await tenant.records.get(Connection, item.owner_uuid)
        return current is not None and current.etag != known.etag

    async def _envelope(self, item: InboundItem) -> bytes | None:
        if item.envelope is not None:
            return item.envelope.encode()
        return await self._storage.envelopes.get(item.uuid)

    async def _refuse(self, tenant: Tenant, recipient: Recipient | None, uuid: str, raw: bytes, code: str) -> None:
        """Stores the beginning of an envelope that cannot be opened, to show the tenant the reason; the sender learns
        nothing. Anybody can send such envelopes, so a tenant keeps a limited number.
        """
        self._services.meter.count(f"inbound.refused.{code}")
        set_outcome("refused", code)
        if not self._unreadable.take(tenant.principal.uuid):
            self._services.meter.count("inbound.refused.not-kept")
            return
        records = tenant.records
        digest = hashlib.sha256(raw).hexdigest()
        now = self._services.now()
        sealed = records.seal_body(uuid, raw[:_KEPT])
        connection = recipient.connection if recipient else None
        message = StoredMessage(
            uuid=uuid,
            status=MessageStatus.REJECTED,
            direction="IN",
            error=code,
            identity_did=recipient.identity_did if recipient else "",
            connection_uuid=connection.uuid if connection else "",
            body=await records.put_body(uuid, sealed),
            created_at=now,
            updated_at=now,
        )
        entry = Entry(uuid=entry_id("refused", "in", digest), message_uuid=uuid, digest=digest, created_at=now)
        unit = Unit()
        unit.create(entry)
        unit.create(message)
        try:
            await records.commit(unit)
        except Exists as exists:
            if exists.row == message.key and await given_up.take_back(records, uuid):
                raise Changed(exists.row) from None
            self._services.meter.count("inbound.duplicate")
            before = await records.get(Entry, entry.uuid)
            if before is not None and before.message_uuid != uuid:
                await given_up.take_back(records, uuid)
                if not message.body:
                    await records.delete_body(uuid)

    async def _store(self, incoming: Incoming) -> None:
        """Stores the message and its consequences."""
        tenant, message = incoming.tenant, incoming.message
        add_event("opened")
        set_attribute("tnt.protocol", protocol_of(message.type))
        effect = await self._effect(incoming)
        if isinstance(effect, Refusal) and (before := await self._was_received(incoming)):
            self._services.meter.count("inbound.duplicate")
            set_outcome("duplicate")
            if before.message_uuid == incoming.uuid:
                await self._publisher.publish_again(tenant, incoming.recipient.connection, before)
            return
        receipt = await self._consequences.of(incoming, effect)
        await self._publisher.announce(tenant, receipt.dedup.deliveries)
        if isinstance(effect, Effect):
            owner = Found(tenant.uuid, "connection", effect.connection.uuid, _is_open(incoming.recipient))
            await asyncio.gather(*(self._services.lookups.add("key", kid, owner) for kid in effect.keys))
        # Unless it is committed below.
        set_outcome("duplicate")
        if receipt.before and (before := await self._was_stored_before(incoming, receipt.before)):
            if before.message_uuid == incoming.uuid:
                await self._publisher.publish_again(tenant, incoming.recipient.connection, before)
            return
        if await self._commit(incoming, receipt):
            add_event("committed")
            set_outcome(_OUTCOMES[receipt.stored.status], receipt.stored.error)
            await self._publish(incoming, receipt)

    async def _publish(self, incoming: Incoming, receipt: Receipt) -> None:
        tenant, effect = incoming.tenant, receipt.effect
        if isinstance(effect, Effect):
            self._services.tenants.forget_recipient(tenant, effect.connection.uuid)
            self._services.tenants.forget_recipient(tenant, incoming.recipient.scope)
        # The places of queue `exchange` are for computing, and those of first contacts are few.
        at_once = not incoming.long and incoming.recipient.connection is not None
        await self._publisher.publish(receipt.items(tenant.uuid), at_once=at_once)
        if isinstance(effect, Effect):
            await self._publisher.release(tenant, effect.connection, incoming.uuid)

    async def _effect(self, incoming: Incoming) -> Reaction | None:
        """Returns the effect of the message on the connection. An `Enclosed` message has none."""
        sender = incoming.sender
        if isinstance(sender, Enclosed):
            return None
        try:
            return await self._received.effect(
                incoming.tenant,
                incoming.recipient,
                incoming.message,
                sender,
                uuid=incoming.uuid,
                last=incoming.last,
            )
        except DidError as error:
            if not incoming.last:
                raise NotYet("a document cannot be had now") from error
            return Refusal(error.code)

    async def _was_received(self, incoming: Incoming) -> Entry | None:
        """Returns the thread entry of a refused message if it is the one that created the connection: its sender, not
        knowing that it arrived, may send it again to the new address.
        """
        tenant, message, connection = incoming.tenant, incoming.message, incoming.recipient.connection
        if connection is None or not message.id:
            return None
        name = entry_id(action_uuid(connection.uuid, message.thid), "in", message.id)
        before = await tenant.records.get(Entry, name)
        same = before is not None and before.digest == tenant.records.fingerprint(what_it_says(message))
        return before if same else None

    async def _was_stored_before(self, incoming: Incoming, uuid: str) -> Entry | None:
        """Returns the entry `uuid` of a message without an id that an older version stored, if it may be the same
        message: this queue item, or one with the same content that its sender may be sending again.
        """
        before = await incoming.tenant.records.get(Entry, uuid)
        if before is None:
            return None
        is_recent = self._services.now() - before.created_at < _RESENT
        return before if is_recent or before.message_uuid == incoming.uuid else None

    async def _commit(self, incoming: Incoming, receipt: Receipt) -> bool:
        """Commits the receipt. Returns whether there is anything new to publish. Raises `Changed`."""
        tenant, recipient = incoming.tenant, incoming.recipient
        records, stored, dedup = tenant.records, receipt.stored, receipt.dedup
        thread = f"{tenant.uuid}/{receipt.action.uuid}"
        # One that was begun here with the default thread id exists; of any other it is tried, once in each process.
        opens = receipt.begins and self._threads.peek(thread) is None
        while True:
            try:
                await records.commit(receipt.unit(opens=opens))
            except Exists as exists:
                if exists.row == receipt.action.key:
                    opens = False
                    continue
                if exists.row == stored.key:
                    if await given_up.take_back(records, stored.uuid):
                        continue
                    # This very item was stored before, when its sender was not yet, or no longer, vouched for.
                    return False
                if exists.row != dedup.key:
                    # Another message of the same sender has just created the record that this one creates.
                    raise Changed(exists.row) from None
                before = await records.get(Entry, dedup.uuid)
                if before is None:
                    continue
                if before.message_uuid == stored.uuid:
                    await self._publisher.publish_again(tenant, recipient.connection, before)
                    return False
                if before.digest == dedup.digest:
                    self._services.meter.count("inbound.duplicate")
                    await given_up.take_back(records, stored.uuid)
                    if not stored.body:
                        await records.delete_body(stored.uuid)
                    return False
                if receipt.effect is not None and receipt.effect.of_handshake:
                    plaintext = records.open_body(stored.uuid, receipt.sealed)
                    await self._refuse(tenant, recipient, stored.uuid, plaintext, "message-id-reused")
                    return False
                self._services.meter.count("inbound.conflict")
                receipt.drop_outcome()
                stored.status, stored.error = MessageStatus.CONFLICT, "message-id-reused"
                dedup.uuid += f".{dedup.digest[:16]}"
                if receipt.listed is not None:
                    # The thread lists both.
                    receipt.listed.uuid += f".{dedup.digest[:16]}"
                continue
            if stored.status != MessageStatus.REJECTED:
                self._threads.put(thread, True, math.inf)
            self._services.meter.count("inbound.stored")
            return True


def _is_open(recipient: Recipient) -> bool:
    """Whether anybody may write to this key for the first time."""
    return recipient.connection is None and (recipient.invitation is None or recipient.invitation.multi_use)
