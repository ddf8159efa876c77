"""Queue `inbound`: decrypt, check the sender, let the protocol decide, commit, publish.

A queue message is `{"items": [item, ...]}`; an item is one envelope for one of our keys, `{id, p, o, u, e?}`: the
message's uuid, given at the door and so the same at every delivery; the principal; kind and uuid of the record that has
the key; the envelope as text, which is in a blob named by the id where it is too large.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tntcore import envelope
from tntcore.caching import SharedCache
from tntcore.envelope import Anoncrypt, Authcrypt, NeedsDocument, Signed
from tntcore.envelope.results import Version
from tntcore.errors import DidError, EnvelopeError
from tntcore.messaging.message import Message, attachments
from tntcore.messaging.threads import action_uuid
from tntcore.pipeline.outbox import Outbox, delivery_uuid, relay_item
from tntcore.protocols.registry import decide
from tntcore.records import Action, AssetData, Delivery, Entry, Sent, entry_id, sent_id
from tntcore.records import Message as StoredMessage
from tntcore.services import Services
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.storage import INBOUND
from tntcore.storage.transactions import Value
from tntcore.tenants import DIDCOMM_WEBHOOK, Recipient, Tenant
from tntcore.webhooks import select

log = logging.getLogger(__name__)

Item = Mapping[str, Any]
_MAX_THREADS = 50_000
_MAX_SIGNERS = 3  # documents that one message may make us resolve


@dataclass(frozen=True, slots=True)
class Opened:
    """A message that was opened, and whose it is.

    Attributes:
        sender: whether the key that authenticated is the connection's.
        error: why it is kept but not acted upon; "" if it is in order.
    """

    plaintext: bytes
    version: Version
    sender: bool
    error: str = ""


class Inbound:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        self._storage = services.storage
        # Threads whose row is known to exist.
        self._threads: SharedCache[bool] = SharedCache(time.monotonic, _MAX_THREADS)

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. What fails of a list goes back alone, what fails alone raises.

        Args:
            dequeue_count: how often the queue has given this message out, 1 the first time.
        """
        items: list[Item] = orjson.loads(body)["items"]
        if len(items) == 1:
            await self._item(items[0])
        elif dequeue_count > 1:
            await self._put_back(items)
        else:
            results = await asyncio.gather(*(self._item(item) for item in items), return_exceptions=True)
            failed = [item for item, result in zip(items, results, strict=True) if isinstance(result, Exception)]
            for result in results:
                if isinstance(result, Exception):
                    log.warning("an inbound item goes back to the queue alone", exc_info=result)
            await self._put_back(failed)

    async def _put_back(self, items: list[Item]) -> None:
        queue = self._storage.queues[INBOUND]
        await asyncio.gather(*(queue.put(orjson.dumps({"items": [item]})) for item in items))

    async def _item(self, item: Item) -> None:
        tenant = await self._services.tenants.get(item["p"])
        if tenant is None:
            self._services.meter.count("inbound.gone")
            return
        recipient = await self._services.tenants.recipient(tenant, item["o"], item["u"])
        raw = await self._envelope(item)
        if raw is None:
            # The blob is deleted last of all: the item was handled before.
            return
        if recipient is None:
            await self._refuse(tenant, None, item["id"], raw, "recipient-gone")
        else:
            try:
                opened = await self._open(raw, recipient)
            except EnvelopeError as error:
                await self._refuse(tenant, recipient, item["id"], raw, error.code)
            else:
                await self._store(tenant, recipient, item["id"], opened)
        if "e" not in item:
            await self._storage.envelopes.delete(item["id"])

    async def _envelope(self, item: Item) -> bytes | None:
        text: str | None = item.get("e")
        return text.encode() if text is not None else await self._storage.envelopes.get(item["id"])

    async def _open(self, raw: bytes, recipient: Recipient) -> Opened:
        """Raises `EnvelopeError`."""
        documents = {document.id: document for document in (recipient.theirs,) if document}
        for _ in range(_MAX_SIGNERS):
            try:
                return _check(envelope.unpack(raw, recipient.secrets, documents), recipient)
            except NeedsDocument as needed:
                try:
                    documents[needed.did] = await self._services.resolver.resolve(needed.did)
                except DidError as error:
                    raise EnvelopeError("sender-unresolvable", error.detail) from error
        raise EnvelopeError("sender-unresolvable", "it names too many senders")

    async def _refuse(self, tenant: Tenant, recipient: Recipient | None, uuid: str, raw: bytes, code: str) -> None:
        """Keeps an envelope that cannot be opened, for the tenant to see why; the sender is told nothing."""
        self._services.meter.count(f"inbound.refused.{code}")
        records = tenant.records
        digest = hashlib.sha256(raw).hexdigest()
        now = self._services.now()
        sealed = records.seal_body(uuid, raw)
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
        except Exists:
            self._services.meter.count("inbound.duplicate")
            before = await records.get(Entry, entry.uuid)
            if before is not None and before.message_uuid != uuid and not message.body:
                await records.delete_body(uuid)

    async def _store(self, tenant: Tenant, recipient: Recipient, uuid: str, opened: Opened) -> None:
        message = Message.read(opened.plaintext, opened.version)
        connection = recipient.connection if opened.sender else None
        # What nobody vouches for is kept apart, so that it cannot write into a contact's thread.
        scope = recipient.scope if opened.sender else f"{recipient.scope}/{opened.error or 'anonymous'}"
        digest = hashlib.sha256(opened.plaintext).hexdigest()
        now = self._services.now()
        records = tenant.records
        action = Action(
            uuid=action_uuid(scope, message.thid or digest),
            reference_id=message.thid,
            direction="IN",
            identity_did=recipient.identity_did,
            contact_did=connection.contact_did if connection else "",
            contact_uuid=connection.contact_uuid if connection else "",
            connection_uuid=connection.uuid if connection else "",
            created_at=now,
            updated_at=now,
        )
        stored = StoredMessage(
            uuid=uuid,
            status="REJECTED" if opened.error else "RECEIVED",
            direction="IN",
            type=message.type,
            version=message.version,
            message_id=message.id,
            action_uuid=action.uuid,
            contact_uuid=action.contact_uuid,
            connection_uuid=recipient.connection.uuid if recipient.connection else "",
            identity_did=recipient.identity_did,
            contact_did=action.contact_did,
            authenticated=opened.sender,
            error=opened.error,
            created_at=now,
            updated_at=now,
        )
        sealed = records.seal_body(uuid, opened.plaintext)
        stored.body = await records.put_body(uuid, sealed)
        assets = _assets(message, stored, now)
        stored.asset_data = [asset.uuid for asset in assets]
        entry = Entry(uuid=entry_id(action.uuid, "in", message.id or digest), message_uuid=uuid, digest=digest)
        deliveries = [] if opened.error else await self._deliveries(tenant, message, stored, now)
        entry.deliveries = [delivery.uuid for delivery in deliveries]
        entry.created_at = now
        errors = await self._failed_actions(tenant, recipient, message, opened.plaintext) if opened.sender else {}
        own_error = errors.pop(action.uuid, {})
        thread = f"{tenant.uuid}/{action.uuid}"
        # One that was begun here with the default thread id exists; of any other it is tried, once in each process.
        opens = action.uuid != message.thid and self._threads.peek(thread) is None
        await self._outbox.mark(tenant.uuid, entry.deliveries)
        while True:
            unit = Unit()
            unit.create(entry.key, entry.values())
            if not opened.error:
                if opens:
                    unit.create(action.key, {**action.values(), **own_error})
                else:
                    unit.upsert(action.key, {**_known_of_any_thread(action), **own_error})
                for failed, change in errors.items():
                    unit.upsert(Action.row_key(failed), change)
            unit.create(stored.key, stored.values())
            for record in (*assets, *deliveries):
                unit.create(record.key, record.values())
            try:
                await records.commit(unit)
                break
            except Exists as exists:
                if exists.row == action.key:
                    opens = False
                    continue
                if exists.row != entry.key:
                    raise
                before = await records.get(Entry, entry.uuid)
                if before is None:
                    continue
                if before.message_uuid == uuid:
                    deliveries = await records.many(Delivery, before.deliveries)
                    deliveries = [delivery for delivery in deliveries if delivery.status == "PENDING"]
                    break
                if before.digest == digest:
                    self._services.meter.count("inbound.duplicate")
                    if not stored.body:
                        await records.delete_body(uuid)
                    return
                self._services.meter.count("inbound.conflict")
                stored.status, stored.error = "CONFLICT", "message-id-reused"
                entry.uuid += f".{digest[:16]}"
        if not opened.error:
            self._threads.put(thread, True, math.inf)
        await asyncio.gather(
            *(self._outbox.relay(relay_item(tenant.uuid, delivery, stored, sealed)) for delivery in deliveries)
        )
        self._services.meter.count("inbound.stored")

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
                entry_id=entry.id,
                type=message.type,
                next_attempt_at=now,
                created_at=now,
                updated_at=now,
            )
            for entry in select(webhooks.entries, message)
        ]

    async def _failed_actions(
        self, tenant: Tenant, recipient: Recipient, message: Message, plaintext: bytes
    ) -> dict[str, dict[str, Value]]:
        """Which actions the connection's message makes fail, and what to write in each."""
        changes: dict[str, dict[str, Value]] = {}
        for name in decide(message).failed_threads:
            uuid = action_uuid(recipient.scope, name)
            if await tenant.records.get(Action, uuid) is None:
                sent = await tenant.records.get(Sent, sent_id(recipient.scope, name))
                if sent is not None:
                    uuid = sent.action_uuid
                elif name != message.thid:
                    continue
            error = tenant.records.seal(plaintext, f"{Action.row_key(uuid)}/error")
            if len(error) > 32_000:
                error = tenant.records.seal(b'{"description": {"code": "too-large"}}', f"{Action.row_key(uuid)}/error")
            changes[uuid] = {"status": "ERROR", "error": error, "updatedAt": self._services.now()}
        return changes


def _check(unpacked: envelope.Unpacked, recipient: Recipient) -> Opened:
    """Whether who authenticated the message is whom the connection is with.

    The type says how the message was protected; only what was authenticated has a sender.
    """
    match unpacked:
        case Authcrypt(plaintext=plaintext, version=version, sender_kid=sender):
            pass
        case Signed(plaintext=plaintext, version=version, recipient_kid=str(), signer_kid=sender):
            pass
        case Anoncrypt(plaintext=plaintext, version=version):
            return Opened(plaintext, version, sender=False)
        case _:
            raise EnvelopeError("not-encrypted", "the message was not encrypted for anyone")
    if recipient.theirs is None:
        return Opened(plaintext, version, sender=False, error="sender-unknown")
    if version == "v1":
        known = sender in recipient.their_verkeys
    else:
        did = sender.partition("#")[0]
        known = did in recipient.their_dids
    if not known:
        return Opened(plaintext, version, sender=False, error="sender-not-connection")
    if recipient.connection is not None and recipient.connection.state in ("abandoned",):
        return Opened(plaintext, version, sender=False, error="connection-abandoned")
    return Opened(plaintext, version, sender=True)


def _known_of_any_thread(action: Action) -> dict[str, Value]:
    """What may be written of a thread without knowing whether its row exists."""
    values = action.values()
    for column in ("status", "createdAt", "direction"):
        values.pop(column, None)
    return values


def _assets(message: Message, stored: StoredMessage, now: int) -> list[AssetData]:
    """A record for each attachment. The values stay in the message."""
    return [
        AssetData(
            uuid=delivery_uuid(stored.uuid, f"attachment/{index}"),
            message_uuid=stored.uuid,
            action_uuid=stored.action_uuid,
            name=attachment.key,
            format=attachment.format or "",
            mime_type=attachment.mime_type or "",
            index=index,
            created_at=now,
            updated_at=now,
        )
        for index, attachment in enumerate(attachments(message)[:20])
    ]
