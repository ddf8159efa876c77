"""Queue `inbound`: decrypt, check the sender, let the protocol decide, commit, publish.

A queue message is `{"items": [item, ...]}`; an item is one envelope for one of our keys, `{id, p, o, u, e?}`: the
message's uuid, given at the door and so the same at every delivery; the principal; kind and uuid of the record that has
the key; the envelope as text, which is in a blob named by the id where it is too large. `l` is how many of the limits,
the sender's and the tenant's, have let the item through; `s` how often it was put off because its tenant is suspended.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson

from tntcore.caching import SharedCache
from tntcore.connections import names
from tntcore.connections.connection import COMPLETED
from tntcore.connections.connectionless import Connectionless
from tntcore.connections.effect import Effect
from tntcore.connections.first_contact import FirstContact
from tntcore.connections.handshake import Handshake
from tntcore.connections.reuse import Reuse
from tntcore.connections.rotation import Rotation
from tntcore.connections.sender import (
    Author,
    Enclosed,
    OtherSide,
    Partner,
    Sender,
    Stranger,
    kid_of,
    other_side,
)
from tntcore.delivery.outbound import Outbound
from tntcore.delivery.outbox import Outbox, attached_item, relay_item
from tntcore.delivery.outgoing import Outgoing, write
from tntcore.delivery.redeliver import redeliver
from tntcore.delivery.spans import protocol_of, receiving
from tntcore.delivery.strangers import write_to
from tntcore.delivery.tasks import connection_task, task_deliveries, task_item
from tntcore.errors import DidError, EnvelopeError, NotYet
from tntcore.exchanges.exchanges import Exchanges
from tntcore.exchanges.outcome import Reply
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.message import Message, what_it_says
from tntcore.messaging.threads import action_uuid
from tntcore.pipeline import given_up
from tntcore.pipeline.opening import Opener
from tntcore.pipeline.receipt import Receipt, assets_of
from tntcore.protocols.registry import PROTOCOLS, decide
from tntcore.protocols.transition import Context, Transition
from tntcore.rate_limits import Allowance, Pace
from tntcore.services import Services
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.lookups import Found
from tntcore.storage.queues import MAX_DELAY, MAX_MESSAGE, fit
from tntcore.storage.records import Action, Attached, Connection, Delivery, Entry, Sent, entry_id, sent_id
from tntcore.storage.records import Message as StoredMessage
from tntcore.storage.storage import INBOUND
from tntcore.storage.transactions import Value
from tntcore.telemetry import came_to, carried, mark, tell, traceparent
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, Tenant, rest
from tntcore.tenancy.webhooks import select

log = logging.getLogger(__name__)

Item = dict[str, Any]
_ATTEMPTS = 4  # deliveries of a message before it is put off; at the fifth the host gives it up
_LATER = (5, 60, 600, 3_600, 6 * 3_600, 24 * 3_600)  # seconds
_SETTLED = (COMPLETED, "abandoned")
_OUTCOMES = {"RECEIVED": "stored", "REJECTED": "rejected", "CONFLICT": "conflict"}
_MAX_RACES = 20
_MAX_THREADS = 50_000
_SPAN = 30.0  # seconds that the times of items may differ that are put off together
_NO_ROOM_SECONDS = 600.0  # until what a full tenant was sent is tried again
_KEPT = 2_048  # bytes of an envelope that cannot be opened
_UNREADABLE, _UNREADABLE_SECONDS = 200, 600.0  # such envelopes of one tenant that are kept: see `Allowance`
_REFUSALS, _REFUSAL_SECONDS = 20, 30.0  # problem reports of one invitation, identity or connection: see `Allowance`


class TooSoon(Exception):
    """There were too many of late: the item's turn is in so many `seconds`."""

    outcome = "put-off"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds:.1f} s")
        self.seconds = seconds


class Inbound:
    def __init__(
        self,
        services: Services,
        outbox: Outbox,
        outbound: Outbound,
        handshake: Handshake,
        rotation: Rotation,
        exchanges: Exchanges,
    ) -> None:
        self._services = services
        self._outbox = outbox
        self._outbound = outbound
        self._handshake = handshake
        self._rotation = rotation
        self._exchanges = exchanges
        self._reuse = Reuse(services)
        self._first_contact = FirstContact(services)
        self._connectionless = Connectionless(services)
        self._opener = Opener(services, self._first_contact)
        self._context = Context(lambda: random_uuid(services.random), PROTOCOLS)
        self._storage = services.storage
        self._refusals = Allowance(time.monotonic, burst=_REFUSALS, seconds=_REFUSAL_SECONDS)
        self._unreadable = Allowance(time.monotonic, burst=_UNREADABLE, seconds=_UNREADABLE_SECONDS)
        self._pace = Pace(time.monotonic)
        # Threads whose row is known to exist.
        self._threads: SharedCache[bool] = SharedCache(time.monotonic, _MAX_THREADS)

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. What fails of a list goes back alone, what fails alone raises.

        Args:
            dequeue_count: how often the queue has given this message out, 1 the first time.
        """
        items: list[Item] = orjson.loads(body)["items"]
        if len(items) == 1:
            await self._alone(items[0], dequeue_count)
        elif dequeue_count > 1:
            await self._put_back(items)
        else:
            handled = (self._item(item, last=False, among=len(items)) for item in items)
            results = await asyncio.gather(*handled, return_exceptions=True)
            failed: list[Item] = []
            early: list[tuple[float, Item]] = []
            for item, result in zip(items, results, strict=True):
                if isinstance(result, TooSoon):
                    early.append((result.seconds, item))
                elif isinstance(result, BaseException):
                    log.warning("an inbound item goes back to the queue alone", exc_info=result)
                    failed.append(item)
            await asyncio.gather(self._put_back(failed), self._put_off(early))

    async def _alone(self, item: Item, dequeue_count: int) -> None:
        """Handles an item. One whose time has not come, or that keeps failing, is put off, for longer each time, before
        it is given up: most of what makes a message fail here is an outage of something else."""
        tries: int = item.get("n", 0)
        last = tries >= len(_LATER)
        try:
            await self._item(item, last=last)
        except TooSoon as soon:
            await self._put_off([(soon.seconds, item)])
        except Exception as error:
            if last or not (isinstance(error, NotYet) or dequeue_count >= _ATTEMPTS):
                raise
            log.warning("an inbound item is put off", exc_info=error)
            body = orjson.dumps({"items": [{**item, "n": tries + 1}]})
            await self._storage.queues[INBOUND].put(body, delay=_LATER[tries])

    async def _put_off(self, early: list[tuple[float, Item]]) -> None:
        """Has the items given out again when it is their turn; those whose turns are near each other together."""
        early.sort(key=lambda one: one[0])
        queue, puts, begin = self._storage.queues[INBOUND], [], 0
        self._services.meter.count("inbound.put-off", len(early))
        while begin < len(early):
            near = [item for seconds, item in early[begin:] if seconds <= early[begin][0] + _SPAN]
            data = [orjson.dumps(item) for item in near]
            count = fit(data, MAX_MESSAGE - len(b'{"items":[]}') + 1)
            delay = min(math.ceil(early[begin + count - 1][0]), MAX_DELAY)
            puts.append(queue.put(b'{"items":[' + b",".join(data[:count]) + b"]}", delay=delay))
            begin += count
        await asyncio.gather(*puts)

    async def _put_back(self, items: list[Item]) -> None:
        queue = self._storage.queues[INBOUND]
        await asyncio.gather(*(queue.put(orjson.dumps({"items": [item]})) for item in items))

    async def _item(self, item: Item, *, last: bool, among: int = 1) -> None:
        with receiving(self._services, item, among):
            await self._try(item, last=last)

    async def _try(self, item: Item, *, last: bool) -> None:
        tenant = await self._services.tenants.get(item["p"])
        if tenant is None:
            self._services.meter.count("inbound.gone")
            came_to("gone")
            await self._forget(item)
            return
        if tenant.is_suspended:
            item["s"] = item.get("s", 0) + 1
            raise TooSoon(rest(item["s"] - 1))
        for _ in range(_MAX_RACES):
            try:
                await self._handle(tenant, item, last=last)
                break
            except Changed:
                # Another message moved the same connection meanwhile: what this one does has to be decided anew.
                self._services.tenants.forget_recipient(tenant, item["u"])
        else:
            raise TimeoutError("the connection changes too fast")
        await self._forget(item)

    async def _forget(self, item: Item) -> None:
        """Deletes the envelope, where it is in a blob: the last thing of all."""
        self._services.usage.arrived(item["id"])
        if "e" not in item and "r" not in item:
            await self._storage.envelopes.delete(item["id"])

    async def _handle(self, tenant: Tenant, item: Item, *, last: bool) -> None:
        """Raises `Changed` where the item is to be handled anew, `NotYet` where later."""
        recipient = await self._services.tenants.recipient(tenant, item["o"], item["u"])
        if "r" in item and recipient is not None:
            await self._attached(tenant, recipient, item)
            return
        raw = await self._envelope(item)
        if raw is None:
            # The blob is deleted last of all: the item was handled before.
            return
        if recipient is None:
            # A key is found at the door from a moment before the connection that it is made for is committed.
            if not last:
                raise NotYet("the owner of the recipient key is not there yet")
            await self._refuse(tenant, None, item["id"], raw, "recipient-gone")
        else:
            try:
                owner, opened = await self._opener.open(tenant, raw, recipient, last=last)
            except EnvelopeError as error:
                if error.code == "wrong-key" and await self._is_stale(tenant, item, recipient):
                    raise Changed(item["u"]) from None
                self._admit(tenant, item, f"{recipient.scope}/strangers")
                await self._refuse(tenant, recipient, item["id"], raw, error.code)
            else:
                sender = opened.sender
                if isinstance(sender, Stranger) and await self._is_stale(tenant, item, recipient):
                    raise Changed(item["u"])
                known = isinstance(sender, OtherSide)
                self._admit(tenant, item, owner.scope if known else f"{owner.scope}/strangers")
                message = Message.read(opened.plaintext, opened.version)
                await self._store(tenant, owner, message, sender, item["id"], last=last)

    def _admit(self, tenant: Tenant, item: Item, sender: str) -> None:
        """Counts the item, once, against its sender's limit and then, when that lets it through, its tenant's: so that
        a flood takes no more of what the tenant's other contacts have than one sender may. Raises `TooSoon`; what was
        accepted at the door has a turn, and is not lost."""
        limits, passed = self._services.config.limits, item.get("l", 0)
        own = tenant.principal.limits.get("messagesPerMinute")
        paces = (f"{tenant.uuid}/{sender}", limits.sender), (tenant.uuid, limits.tenant if own is None else own)
        for number, (key, per_minute) in enumerate(paces[passed:], passed + 1):
            item["l"] = number
            if seconds := self._pace.reserve(key, per_minute):
                raise TooSoon(seconds)
        if self._services.usage.is_over(tenant.principal):
            self._services.meter.count("inbound.no-room")
            raise TooSoon(_NO_ROOM_SECONDS)

    async def _is_stale(self, tenant: Tenant, item: Item, recipient: Recipient) -> bool:
        """Whether the connection has moved on in another process since this one read it: nothing is refused before."""
        known = recipient.connection
        if known is None:
            return False
        current = await tenant.records.get(Connection, item["u"])
        return current is not None and current.etag != known.etag

    async def _envelope(self, item: Item) -> bytes | None:
        text: str | None = item.get("e")
        return text.encode() if text is not None else await self._storage.envelopes.get(item["id"])

    async def _refuse(self, tenant: Tenant, recipient: Recipient | None, uuid: str, raw: bytes, code: str) -> None:
        """Keeps the beginning of an envelope that cannot be opened, for the tenant to see why; the sender is told
        nothing. Anybody can send such envelopes, so a tenant keeps only so many."""
        self._services.meter.count(f"inbound.refused.{code}")
        came_to("refused", code)
        if not self._unreadable.take(tenant.uuid):
            self._services.meter.count("inbound.refused.not-kept")
            return
        records = tenant.records
        digest = hashlib.sha256(raw).hexdigest()
        now = self._services.now()
        sealed = records.seal_body(uuid, raw[:_KEPT])
        connection = recipient.connection if recipient else None
        message = StoredMessage(
            uuid=uuid,
            status="REJECTED",
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
        unit.create(entry.key, entry.values())
        unit.create(message.key, message.values())
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

    async def _store(
        self,
        tenant: Tenant,
        recipient: Recipient,
        message: Message,
        sender: Sender | Enclosed,
        uuid: str,
        *,
        last: bool,
    ) -> None:
        """Stores the message, with what follows from it. One that is `Enclosed` changes no connection.

        Args:
            last: it is not put off any more.
        """
        mark("opened")
        tell("tnt.protocol", protocol_of(message.type))
        try:
            effect = None
            if not isinstance(sender, Enclosed):
                effect = await self._effect(tenant, recipient, message, sender, uuid, last)
        except DidError as error:
            if not last:
                raise NotYet("a document cannot be had now") from error
            effect = Effect(error=error.code)
        if effect is not None and effect.error and (before := await self._was_received(tenant, recipient, message)):
            self._services.meter.count("inbound.duplicate")
            came_to("duplicate")
            if before.message_uuid == uuid:
                await self._publish_again(tenant, recipient, before)
            return
        # A handshake changes who is vouched for: what one of its messages collides with must not depend on that.
        settled = isinstance(sender, Author) and (effect is None or not effect.of_handshake)
        dedup_scope = recipient.scope if settled else f"{recipient.scope}/{kid_of(sender) or 'anonymous'}"
        author = _author(sender, effect)
        receipt = await self._receipt(tenant, recipient, author, message, uuid, dedup_scope)
        receipt.effect = effect
        if effect is not None:
            receipt.refuse(effect.error)
        elif isinstance(sender, Stranger):
            receipt.refuse(sender.reason)
        transition = Transition()
        if isinstance(author, OtherSide):
            transition = decide(message, self._context)
        if author is not None:
            try:
                receipt.outcome = await self._exchanges.receive(tenant, author, message, uuid=uuid, last=last)
            except DidError as error:
                raise NotYet("a document cannot be had now") from error
        await self._add_consequences(tenant, recipient, author, message, transition, receipt)
        await self._outbox.mark(tenant.uuid, receipt.dedup.deliveries)
        if effect is not None and effect.connection is not None:
            owner = Found(tenant.uuid, "connection", effect.connection.uuid)
            await asyncio.gather(*(self._services.lookups.add("key", kid, owner) for kid in effect.keys))
        came_to("duplicate")
        if await self._commit(tenant, recipient, receipt):
            mark("committed")
            came_to(_OUTCOMES[receipt.stored.status], receipt.stored.error)
            await self._publish(tenant, recipient, receipt)

    async def _was_received(self, tenant: Tenant, recipient: Recipient, message: Message) -> Entry | None:
        """That a message, which the connection refuses, is one by which it came about, if it is: who sends that again,
        not knowing that it arrived, may send it to where it now leads."""
        if recipient.connection is None or not message.id:
            return None
        name = entry_id(action_uuid(recipient.connection.uuid, message.thid), "in", message.id)
        before = await tenant.records.get(Entry, name)
        same = before is not None and before.digest == tenant.records.fingerprint(what_it_says(message))
        return before if same else None

    async def _effect(
        self, tenant: Tenant, recipient: Recipient, message: Message, sender: Sender, uuid: str, last: bool
    ) -> Effect | None:
        """What the message does to the connection itself: to name, begin, change or end it."""
        before = recipient
        if isinstance(sender, OtherSide):
            recipient = names.heard(recipient, sender.kid)
            if recipient.connection is not None and recipient is not before:
                sender = replace(sender, connection=recipient.connection)
        effect = await self._effect_on(tenant, recipient, message, sender, uuid, last)
        if effect is None and recipient.connection is not None and recipient is not before:
            effect = Effect(replace(recipient.connection, updated_at=self._services.now()), ordinary=True)
        if effect is not None:
            await names.follow(tenant, before.connection, effect)
        return effect

    async def _effect_on(
        self, tenant: Tenant, recipient: Recipient, message: Message, sender: Sender, uuid: str, last: bool
    ) -> Effect | None:
        effect = (
            await self._first_contact.receive(tenant, recipient, message, sender)
            or await self._connectionless.receive(tenant, recipient, message, sender)
            or await self._handshake.receive(tenant, recipient, message, sender, uuid=uuid, last=last)
        )
        if effect is not None or not isinstance(sender, OtherSide):
            return effect
        effect = (
            self._connectionless.keeps_key(sender, message)
            or await self._rotation.receive(recipient, sender, message)
            or await self._reuse.receive(tenant, sender, message)
        )
        return self._connectionless.heard(sender, effect)

    async def _receipt(
        self,
        tenant: Tenant,
        recipient: Recipient,
        author: Author | None,
        message: Message,
        uuid: str,
        dedup_scope: str,
    ) -> Receipt:
        """The message's own rows. What nobody vouches for is kept apart: it cannot write into a contact's thread."""
        now, digest = self._services.now(), tenant.records.fingerprint(what_it_says(message))
        connection = author.connection if author else None
        scope = connection.uuid if connection else dedup_scope
        action = Action(
            uuid=action_uuid(scope, message.thid or digest),
            reference_id=message.thid,
            direction="IN",
            identity_did=recipient.identity_did,
            contact_did=connection.contact_did if connection else "",
            contact_uuid=connection.contact_uuid if connection else "",
            connection_uuid=connection.uuid if connection else "",
            parent_id=author.parent_id if isinstance(author, Enclosed) else "",
            created_at=now,
            updated_at=now,
        )
        sealed = tenant.records.seal_body(uuid, message.raw)
        stored = StoredMessage(
            uuid=uuid,
            status="RECEIVED",
            direction="IN",
            type=message.type,
            version=message.version,
            message_id=message.id,
            action_uuid=action.uuid,
            contact_uuid=action.contact_uuid,
            connection_uuid=action.connection_uuid or (recipient.connection.uuid if recipient.connection else ""),
            identity_did=recipient.identity_did,
            contact_did=action.contact_did,
            authenticated=isinstance(author, OtherSide),
            body=await tenant.records.put_body(uuid, sealed),
            created_at=now,
            updated_at=now,
        )
        name = message.id or digest
        dedup = Entry(
            uuid=entry_id(action_uuid(dedup_scope, message.thid or digest), "in", name),
            message_uuid=uuid,
            digest=digest,
            created_at=now,
        )
        listed = None if scope == dedup_scope else replace(dedup, uuid=entry_id(action.uuid, "in", name))
        receipt = Receipt(stored, sealed, action, dedup, listed, begins=action.uuid != message.thid)
        receipt.assets = assets_of(message, stored, now)
        stored.asset_data = [asset.uuid for asset in receipt.assets]
        return receipt

    async def _add_consequences(
        self,
        tenant: Tenant,
        recipient: Recipient,
        author: Author | None,
        message: Message,
        transition: Transition,
        receipt: Receipt,
    ) -> None:
        """Adds what follows from the message: webhook calls, answers, and threads that it says have failed."""
        effect, now = receipt.effect, receipt.stored.created_at
        if receipt.stored.status != "REJECTED":
            receipt.deliveries = await self._deliveries(tenant, message, receipt.stored, now)
        if effect is not None and effect.connection is not None and effect.tells(recipient.connection):
            task = connection_task(effect.connection)
            receipt.tasks = await task_deliveries(tenant, task, source=receipt.stored.uuid, now=now)
        if effect is not None and effect.task is not None:
            receipt.tasks += await task_deliveries(tenant, effect.task, source=receipt.stored.uuid, now=now)
        replies = [*(effect.replies if effect else ())]
        if isinstance(author, Partner):
            replies += transition.replies
        answers = [
            Reply(delivery_uuid(receipt.stored.uuid, f"answer/{number}"), reply) for number, reply in enumerate(replies)
        ]
        if receipt.outcome is not None:
            receipt.stored.error = receipt.outcome.error
            answers += receipt.outcome.replies
            for task in receipt.outcome.tasks():
                receipt.tasks += await task_deliveries(tenant, task, source=receipt.stored.uuid, now=now)
        if author is not None:
            # Sent at once, whatever the state of the connection.
            receipt.answers = [
                await write(
                    tenant.records,
                    author.connection,
                    receipt.action,
                    orjson.dumps(reply.message),
                    message_uuid=reply.message_uuid,
                    now=now,
                    to_previous=effect is not None and effect.to_previous,
                )
                for reply in answers
            ]
        elif effect is not None and effect.refusal is not None:
            receipt.answers = await self._refusal(tenant, recipient, effect, receipt)
        receipt.failures = await self._failed_actions(tenant, recipient, message, transition.failed_threads)
        receipt.name_effects()

    async def _refusal(self, tenant: Tenant, recipient: Recipient, effect: Effect, receipt: Receipt) -> list[Outgoing]:
        """The problem report about a refused message; none where there were too many of late, which whoever makes us
        send them, to wherever it likes, will not mind."""
        if not self._refusals.take(recipient.scope):
            self._services.meter.count("inbound.unanswered")
            return []
        plaintext, now = orjson.dumps(effect.refusal), receipt.stored.created_at
        message_uuid = delivery_uuid(receipt.stored.uuid, "answer/0")
        connection = recipient.connection
        if effect.stranger is not None:
            document = effect.stranger
            return [await write_to(tenant, recipient, document, plaintext, message_uuid=message_uuid, now=now)]
        if connection is None:
            return []
        thread = Action(uuid=action_uuid(connection.uuid, connection.thid))
        return [await write(tenant.records, connection, thread, plaintext, message_uuid=message_uuid, now=now)]

    async def _commit(self, tenant: Tenant, recipient: Recipient, receipt: Receipt) -> bool:
        """Commits the receipt; whether there is anything new to publish. Raises `Changed`."""
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
                    # What this one makes, another message of the same sender has just made.
                    raise Changed(exists.row) from None
                before = await records.get(Entry, dedup.uuid)
                if before is None:
                    continue
                if before.message_uuid == stored.uuid:
                    await self._publish_again(tenant, recipient, before)
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
                stored.status, stored.error = "CONFLICT", "message-id-reused"
                dedup.uuid += f".{dedup.digest[:16]}"
                continue
            if stored.status != "REJECTED":
                self._threads.put(thread, True, math.inf)
            self._services.meter.count("inbound.stored")
            return True

    async def _publish(self, tenant: Tenant, recipient: Recipient, receipt: Receipt) -> None:
        """What follows the commit. A crash before its end is made good by the queue's redelivery."""
        effect = receipt.effect
        if effect is not None and effect.connection is not None:
            self._services.tenants.forget_recipient(tenant, effect.connection.uuid)
            self._services.tenants.forget_recipient(tenant, recipient.scope)
        await asyncio.gather(
            *(
                self._outbox.relay(relay_item(tenant.uuid, delivery, receipt.stored, receipt.sealed))
                for delivery in receipt.deliveries
            ),
            *(self._outbox.relay(task_item(tenant.uuid, task)) for task in receipt.tasks),
            *(self._outbox.outbound(answer.item(tenant.uuid)) for answer in receipt.answers),
        )
        if effect is not None and effect.connection is not None and effect.connection.state in _SETTLED:
            await self._follow_up(tenant, effect.connection.uuid, receipt.stored.uuid)

    async def _publish_again(self, tenant: Tenant, recipient: Recipient, before: Entry) -> None:
        for delivery in await tenant.records.many(Delivery, before.deliveries):
            if delivery.status == "PENDING":
                await redeliver(self._outbox, tenant, delivery)
        if recipient.connection is not None and recipient.connection.state in _SETTLED:
            await self._follow_up(tenant, recipient.connection.uuid, before.message_uuid)

    async def _follow_up(self, tenant: Tenant, connection: str, message_uuid: str) -> None:
        """What waited for the connection to be completed, or to be over: messages that were held, and those that came
        with the invitation."""
        await self._outbound.drain(tenant.uuid, connection)
        for attached in (await tenant.records.list(Attached, limit=50, under=f"{connection}.")).records:
            item = attached_item(tenant.uuid, attached, delivery_uuid(message_uuid, attached.uuid))
            await self._storage.inbound.add(orjson.dumps(carried(item)))

    async def _attached(self, tenant: Tenant, recipient: Recipient, item: Item) -> None:
        """A message that came inside an invitation. Who made the invitation proved to have its key, not to have written
        everything in it: the message is the connection's, but not authenticated."""
        attached = await tenant.records.get(Attached, item["r"])
        if attached is None:
            return
        plaintext = tenant.records.open(attached.body, attached.key)
        if recipient.connection is not None:
            sender = Enclosed(recipient.connection, attached.parent_id)
            await self._store(tenant, recipient, Message.read(plaintext), sender, item["id"], last=True)
        unit = Unit()
        unit.delete(attached.key)
        with suppress(Changed):
            await tenant.records.commit(unit)

    async def _deliveries(self, tenant: Tenant, message: Message, stored: StoredMessage, now: int) -> list[Delivery]:
        webhooks = await tenant.webhooks(DIDCOMM_WEBHOOK)
        return [
            Delivery(
                uuid=delivery_uuid(stored.uuid, entry.id),
                status="PENDING",
                kind="webhook",
                message_uuid=stored.uuid,
                action_uuid=stored.action_uuid,
                connection_uuid=stored.connection_uuid,
                contact_uuid=stored.contact_uuid,
                entry_id=entry.id,
                type=message.type,
                trace=traceparent(),
                next_attempt_at=now,
                created_at=now,
                updated_at=now,
            )
            for entry in select(webhooks.entries, message)
        ]

    async def _failed_actions(
        self, tenant: Tenant, recipient: Recipient, message: Message, failed: Sequence[str]
    ) -> dict[str, dict[str, Value]]:
        """Which actions the connection's message makes fail, and what to write in each."""
        changes: dict[str, dict[str, Value]] = {}
        for name in failed:
            uuid = action_uuid(recipient.scope, name)
            if await tenant.records.get(Action, uuid) is None:
                sent = await tenant.records.get(Sent, sent_id(recipient.scope, name))
                if sent is not None:
                    uuid = sent.action_uuid
                elif name != message.thid:
                    continue
            error = tenant.records.seal(message.raw, f"{Action.row_key(uuid)}/error")
            if len(error) > 32_000:
                error = tenant.records.seal(b'{"description": {"code": "too-large"}}', f"{Action.row_key(uuid)}/error")
            changes[uuid] = {"status": "ERROR", "error": error, "updatedAt": self._services.now()}
        return changes


def _author(sender: Sender | Enclosed, effect: Effect | None) -> Author | None:
    """Whose connection the message belongs to, after what it does to the connection; None for nobody's."""
    if effect is None:
        return sender if isinstance(sender, Author) else None
    return other_side(effect.connection, kid_of(sender)) if effect.connection is not None else None
