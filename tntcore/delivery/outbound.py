"""Queue `outbound`: packs messages for the other side, and POSTs them to its endpoint.

A queue message has `SendItem`s, or is a `Drain`: when a connection is completed, the messages held for it are sent one
after the other. One that fails holds back those behind it until it is sent or failed for good. If there are several
drains of one connection, only one sends. If the connection has ended instead, its held messages fail.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from tntcore import envelope
from tntcore.delivery.attempted import Attempted, Failed, Retry
from tntcore.delivery.attempts import NO_PLACE, Attempts, NoPlaceError, answered, unanswered
from tntcore.delivery.outbox import Outbox, reuse_item, send_item
from tntcore.delivery.retry import send_delay
from tntcore.delivery.slow_receivers import INSURANCE, PATIENCE, PendingCall, SlowReceivers, waiting_for_answer, watch
from tntcore.delivery.spans import calling
from tntcore.delivery.strangers import peer_of
from tntcore.dids import peer as did_peer
from tntcore.dids.document import DidDocument
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.dids.multiformats import encode_verkey
from tntcore.egress import EgressError
from tntcore.envelope import EnvelopeError, NeedsDocument
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.messaging.compose import introduced, to_v2
from tntcore.messaging.ids import time_of
from tntcore.messaging.message import Message as Plaintext
from tntcore.rate_limits import Allowance
from tntcore.services import Services
from tntcore.shares import on_behalf_of, party
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.items import Drain, SendItem, items_of, queue_message
from tntcore.storage.records import (
    Action,
    Connection,
    Delivery,
    HeldMessage,
    Message,
    PendingReuse,
    changed_at,
    sent_id,
)
from tntcore.storage.states import DeliveryStatus, MessageStatus
from tntcore.storage.storage import INBOUND, OUTBOUND
from tntcore.strict_json import reread_json, write_json
from tntcore.telemetry import add_event
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import Tenant, rest

COMMIT_SECONDS: Final = 60
"""Seconds after which a commit that was about to be made is made, or never will be."""
_TIMEOUT = 20.0
_MAX_ANSWER = 20_000
CONTENT_TYPES = {
    # Credo accepts this type only without parameters; every agent that speaks v1 accepts it.
    "v1": "application/didcomm-envelope-enc",
    "v2": "application/didcomm-encrypted+json",
}
_MAX_ENDPOINT_DIDS = 4  # endpoints, each the DID of a mediator, that lead to the next one
_PACKING = 8.0  # seconds in which the documents that a message is packed with must be there
_GONE = (404, 410)
_REFUSED = (400, 413, 415, 422)  # the other side does not accept this message, and never will
_REFUSED_ATTEMPTS = 3
# An endpoint that only a stranger's request names; its owner may not want our messages.
_UNPROVEN_ATTEMPTS = 6  # over half an hour
_UNPROVEN_BURST, _UNPROVEN_SECONDS = 300, 0.2  # requests to one such host: see `Allowance`
_CLAIM = 60_000  # milliseconds after which an attempt is over
_SKEW = 1_000  # milliseconds that clocks may differ unnoticed; less than the shortest wait between attempts
_LONGEST_SKEW = 150_000  # milliseconds that clocks may differ without a message waiting for the sweeper


class Outbound:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        self._receivers = SlowReceivers()
        self._unproven = Allowance(time.monotonic, burst=_UNPROVEN_BURST, seconds=_UNPROVEN_SECONDS)
        self._attempts: Attempts[SendItem] = Attempts(
            services, outbox, OUTBOUND, send_delay, self._receivers, write_outcome
        )

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. See `Inbound.handle`."""
        with self._services.storage.queues[OUTBOUND].handling(body, dequeue_count) as count:
            if drained := Drain.read(body):
                await self._drain_patiently(drained)
            else:
                await self._attempts.run(items_of(body, SendItem.read), self._send, repeated=count > 1)

    async def first(self, item: SendItem) -> None:
        """Sends a message that was just committed; queues it if the receiver may be slow. Raises if the delivery has to
        be published again.
        """
        if (queued := await self._attempts.first(item, self._send)) is not None:
            await self._outbox.outbound(queued)

    async def close(self) -> None:
        await self._receivers.close()

    async def drain(self, principal: str, connection: str, *, delay: int = 0) -> None:
        await drain(self._services, principal, connection, delay=delay)

    async def _drain_patiently(self, drained: Drain) -> None:
        """Drains a connection for as long as other queue messages may have to wait. A send that is still under way then
        goes on, and queue messages are put: for the messages after it, and for the case that this process ends.
        """
        principal, connection, leave = drained.principal, drained.connection, asyncio.Event()
        pending = self._receivers.call(drained)
        task = asyncio.create_task(self._drain(principal, connection, leave, pending))
        pending.ends_with(task)
        try:
            await asyncio.wait([pending.settled], timeout=PATIENCE)
            if not task.done():
                await self.drain(principal, connection, delay=INSURANCE)
                leave.set()
                self._receivers.let_go(task, drained, pending)
                return
            await task
        except BaseException:
            task.cancel()
            raise

    async def _drain(self, principal: str, connection: str, leave: asyncio.Event, pending: PendingCall) -> None:
        """Sends the held messages of a connection. `leave`: set when another queue message will go on after the present
        send.
        """
        watch(pending)
        tenant = await self._services.tenants.get(principal)
        if tenant is None:
            return
        if tenant.is_suspended:
            await self.drain(principal, connection, delay=rest(2))
            return
        self._services.tenants.forget_recipient(tenant, connection)
        record = await tenant.records.get(Connection, connection)
        if record is not None and not record.is_settled:
            # It was to be drained after a commit that was never made.
            return
        ended = record is not None and record.state == "abandoned"
        start: str | None = ""
        while start is not None:
            held = await tenant.records.list(HeldMessage, under=f"{connection}.", start=start, limit=50)
            start = held.next
            for message in held.records:
                delivery = await tenant.records.get(Delivery, message.delivery_uuid)
                if delivery is None or delivery.status in (DeliveryStatus.DELIVERED, DeliveryStatus.FAILED):
                    await _forget(tenant, message)
                    continue
                if not await self._claim(
                    tenant, delivery, whenever=ended and delivery.status == DeliveryStatus.PENDING
                ):
                    if ended:
                        continue
                    return
                item = replace(send_item(principal, delivery, b""), held=message.uuid, trace=delivery.trace)
                call = _ended if ended else self._send
                try:
                    delay = await self._attempts.once(tenant, item, call, delivery.attempts + 1)
                except NoPlaceError:
                    delay = NO_PLACE
                if delay is not None or leave.is_set():
                    await self.drain(principal, connection, delay=delay or 0)
                    return

    async def _claim(self, tenant: Tenant, delivery: Delivery, *, whenever: bool) -> bool:
        """Claims the message for this drain. Fails while another drain sends it, and before the time of its next
        attempt, for which a drain is scheduled, unless `whenever`. If nothing comes of a claim, the sweeper goes on.
        """
        now = self._services.now()
        early = delivery.next_attempt_at - now
        # One that no drain has claimed yet is due, whatever the clock of the process that held it says.
        unclaimed = not delivery.attempts and delivery.next_attempt_at == delivery.created_at
        if early > _SKEW and not (whenever or unclaimed):
            if early <= _LONGEST_SKEW:
                # If the time was set by a clock that is ahead, the drain that was scheduled for it is this one.
                await self.drain(tenant.uuid, delivery.connection_uuid, delay=math.ceil(early / 1000))
            return False
        unit = Unit()
        unit.merge(delivery.key, {"nextAttemptAt": now + _CLAIM, "updatedAt": now}, delivery.etag)
        try:
            await tenant.records.commit(unit)
        except Changed:
            return False
        return True

    async def _send(self, tenant: Tenant, item: SendItem, now: int) -> Attempted:
        tenants = self._services.tenants
        if item.connection:
            peer = await tenants.recipient(tenant, "connection", item.connection)
        else:
            peer = await peer_of(tenants, tenant, item.delivery)
        if peer is None or peer.connection is None or peer.theirs is None:
            return Failed("connection-gone")
        plaintext = await self._plaintext(tenant, item)
        if not plaintext:
            return Failed("message-erased")
        theirs = peer.announced or peer.theirs
        if item.previous:
            # Until it uses the DID that it announced, its present DID is the previous one.
            theirs = peer.theirs if peer.announced else peer.previous or peer.theirs
        if not _may_be_strangers(peer.connection):
            return await self._send_to(tenant, item, peer, peer.connection, theirs, plaintext)
        # Their mediators and endpoints must not take the share of the tenant's partners.
        with on_behalf_of(tenant.principal.uuid, "strangers"):
            attempted = await self._send_to(tenant, item, peer, peer.connection, theirs, plaintext)
        return _within(_UNPROVEN_ATTEMPTS, item, attempted) if _is_unproven(peer.connection) else attempted

    async def _send_to(
        self,
        tenant: Tenant,
        item: SendItem,
        peer: Recipient,
        connection: Connection,
        theirs: DidDocument,
        plaintext: bytes,
    ) -> Attempted:
        try:
            # Mediators whose documents come slowly are as good as a receiver that answers slowly.
            with (
                waiting_for_answer() as is_sent,
                on_behalf_of(tenant.principal.uuid, connection.entrance or "strangers"),
            ):
                is_sent()
                async with asyncio.timeout(_PACKING):
                    uri, packed = await self._pack(peer, connection, theirs, plaintext, time_of(item.message))
        except EnvelopeError as error:
            return Failed(error.code)
        except TimeoutError:
            return Retry(UNRESOLVABLE)
        except DidError as error:
            return Retry(error.code)
        calling(uri)
        add_event("packed")
        if _may_be_strangers(connection) and not self._unproven.take(_host(uri)):
            raise NoPlaceError
        try:
            # No `traceparent`: our traces are not for partners.
            # Whoever finds an entrance can make any number of connections there, with endpoints that hang.
            by_entrance = on_behalf_of(tenant.principal.uuid, party().sender, entrance=connection.entrance)
            with waiting_for_answer() as is_sent, by_entrance:
                answer = await self._services.egress.request(
                    "POST",
                    uri,
                    headers={"content-type": CONTENT_TYPES[connection.version]},
                    body=packed,
                    max_answer=_MAX_ANSWER,
                    timeout=_TIMEOUT,
                    whole=False,
                    is_sent=is_sent,
                )
        except EgressError as error:
            return unanswered(error)
        if answer.status in _GONE and item.connection:
            await self._unreached(tenant, item.connection, plaintext)
        if answer.status in _REFUSED:
            return _within(_REFUSED_ATTEMPTS, item, answered(answer))
        return answered(answer)

    async def _unreached(self, tenant: Tenant, connection: str, plaintext: bytes) -> None:
        """Handles a send to a key that nobody has: an invitation that was to reuse this connection gets a new one at
        once.
        """
        uuid = sent_id(connection, Plaintext.read(plaintext).id)
        if await tenant.records.get(PendingReuse, uuid) is not None:
            item = reuse_item(tenant.uuid, connection, uuid, self._services.uuid7())
            await self._services.storage.queues[INBOUND].put(queue_message([item]))

    async def _plaintext(self, tenant: Tenant, item: SendItem) -> bytes:
        if item.body:
            return tenant.records.open_body(item.message, item.body)
        message = await tenant.records.get(Message, item.message)
        return await tenant.records.body(message) if message else b""

    async def _pack(
        self, peer: Recipient, connection: Connection, theirs: DidDocument, plaintext: bytes, created: int
    ) -> tuple[str, bytes]:
        """Returns the endpoint and the envelope: the same at each attempt, for the connection as it then is. Raises
        `DidError` or `EnvelopeError`.

        Args:
            created: milliseconds since 1970.
        """
        own = self._services.config.endpoint
        if connection.version == "v1":
            endpoint = didcomm_endpoint(theirs, "v1")
            plaintext = plaintext_of(peer, connection, theirs, plaintext, created, endpoint=own)
            # One envelope a recipient key: with several, each of them could forge the sender for the others.
            packed = envelope.pack_v1(plaintext, recipients=endpoint.recipient_verkeys[:1], sender=peer.signer)
            if endpoint.routing_keys:
                packed = envelope.forward_v1(
                    packed,
                    to=endpoint.recipient_verkeys[0],
                    routing_keys=endpoint.routing_keys,
                    new_id=self._services.uuid7,
                )
            return endpoint.uri, packed
        endpoint = didcomm_endpoint(theirs, "v2")
        message = _in_v2(connection, theirs, plaintext, created)
        if connection.role == "requester" and connection.introduction and theirs.id.startswith("did:peer:2"):
            # Its key names are known once it has written.
            theirs = did_peer.named_both_ways(theirs)
        sender = (peer.document, peer.secrets)
        if "from" not in message:
            packed = envelope.pack_v2(message, to=theirs)
        else:
            packed = envelope.pack_v2(message, to=theirs, from_=sender)
        return await self._forward_v2(endpoint.uri, list(endpoint.routing_keys), theirs.id, packed)

    async def _forward_v2(self, uri: str, routing_keys: list[str], to: str, packed: bytes) -> tuple[str, bytes]:
        documents: dict[str, DidDocument] = {}
        for _ in range(_MAX_ENDPOINT_DIDS):
            if not uri.startswith("did:"):
                break
            # A mediator given by its DID: send to its endpoint, and wrap for its key outermost.
            mediator = await self._services.resolver.resolve(uri)
            routing_keys = [uri, *routing_keys]
            uri = didcomm_endpoint(mediator, "v2").uri
        while True:
            try:
                packed_for_mediators = (
                    envelope.forward_v2(
                        packed, to=to, routing_keys=routing_keys, documents=documents, new_id=self._services.uuid7
                    )
                    if routing_keys
                    else packed
                )
            except NeedsDocument as needed:
                if needed.did in documents:
                    raise
                documents[needed.did] = await self._services.resolver.resolve(needed.did)
                continue
            return uri, packed_for_mediators


def plaintext_of(
    peer: Recipient, connection: Connection, theirs: DidDocument, stored: bytes, created: int, *, endpoint: str
) -> bytes:
    """Returns the plaintext of a stored message for the connection as it is now.

    Args:
        created: milliseconds since 1970.
        endpoint: our own.
    """
    if connection.version == "v1":
        if not connection.introduction:
            return stored
        service = {
            "recipientKeys": [encode_verkey(peer.signer.public)],
            "routingKeys": [],
            "serviceEndpoint": endpoint,
        }
        return introduced(stored, service=service, pthid=connection.introduction["pthid"])
    return write_json(_in_v2(connection, theirs, stored, created))


def _in_v2(connection: Connection, theirs: DidDocument, stored: bytes, created: int) -> dict[str, Any]:
    converted = to_v2(reread_json(stored), from_did=connection.my_did, to_did=theirs.id, created_time=created // 1000)
    message: dict[str, Any] = {**connection.introduction, **converted}
    if connection.state == "abandoned" and "from_prior" in converted:
        # The last message of all, from no DID (DIDComm Messaging 2.1, "Ending a Relationship").
        message.pop("from", None)
    return message


async def drain(services: Services, principal: str, connection: str, *, delay: int = 0) -> None:
    """Queues a `Drain`: the messages held for a connection are sent, in order, or failed if it has ended or is gone.
    Called when it is completed, abandoned or deleted.
    """
    await services.storage.queues[OUTBOUND].put(Drain(principal, connection).data(), delay=delay)


async def drain_later(services: Services, principal: str, connection: str) -> None:
    """Queues a `Drain` before the commit that completes, ends or deletes the connection, for the case that this process
    dies after it. A connection that is neither completed nor ended by then is left alone.
    """
    await drain(services, principal, connection, delay=COMMIT_SECONDS)


async def _ended(tenant: Tenant, item: SendItem, now: int) -> Attempted:
    return Failed("connection-ended")


async def _forget(tenant: Tenant, held: HeldMessage) -> None:
    unit = Unit()
    unit.delete(held.key)
    with suppress(Changed):  # gone already
        await tenant.records.commit(unit)


def _is_unproven(connection: Connection) -> bool:
    """Whether only a stranger's request named the endpoint."""
    return not connection.uuid or connection.state in ("request-received", "response-sent")


def _may_be_strangers(connection: Connection) -> bool:
    """Whether the endpoint is unproven, or is in DIDComm v2 of somebody who has never written to our DID for them: they
    may not have heard of it."""
    has_answered = not connection.introduction or bool(connection.former_did)
    is_v2 = connection.version == "v2" and connection.role == "responder"
    return _is_unproven(connection) or (is_v2 and not has_answered)


def _host(uri: str) -> str:
    """Returns the host of a URI that a partner chose, so the URI may be malformed."""
    try:
        return urlsplit(uri).netloc
    except ValueError:
        return uri


def _within(attempts: int, item: SendItem, attempted: Attempted) -> Attempted:
    """Returns the outcome of an attempt, made final if this was the last attempt allowed."""
    if isinstance(attempted, Retry) and item.attempts + 1 >= attempts:
        return Failed(attempted.error, attempted.status, attempted.duration, attempted.answer, attempted.slow)
    return attempted


def write_outcome(unit: Unit, item: SendItem, status: DeliveryStatus, now: int) -> None:
    """Adds the new status of the message and its action to the unit of work that ends a delivery."""
    sent = MessageStatus.SENT if status is DeliveryStatus.DELIVERED else MessageStatus.FAILED
    unit.merge(Message.row_key(item.message), {"status": sent, "updatedAt": now})
    if item.action:
        # What is over soon does not change the time of the thread, which is that of the message.
        late = {"updatedAt": now} if changed_at(item.message, now) == now else {}
        unit.upsert_row(Action.row_key(item.action), {"typeStatus": sent, **late})
    if item.held:
        unit.delete(HeldMessage.row_key(item.held))
