"""The consequences of a received message: its own rows, webhook calls, answers, events, and failed threads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tntcore.connections.effect import Effect, Notice, Reaction, Refusal
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
from tntcore.delivery.outgoing import Outgoing, write
from tntcore.delivery.strangers import write_to
from tntcore.delivery.tasks import connection_tasks, task_deliveries
from tntcore.errors import DidError, NotYet
from tntcore.exchanges.exchanges import Exchanges, TakesLong
from tntcore.exchanges.outcome import Outcome, Reply
from tntcore.messaging.ids import delivery_uuid, random_uuid
from tntcore.messaging.message import Message, what_it_says
from tntcore.messaging.threads import action_uuid
from tntcore.pipeline.receipt import Receipt, assets_of
from tntcore.protocols.registry import PROTOCOLS, decide
from tntcore.protocols.transition import DecisionContext, Transition
from tntcore.rate_limits import Allowance
from tntcore.services import Services
from tntcore.storage.records import Action, Delivery, Entry, Sent, changed_at, entry_id, sent_id
from tntcore.storage.records import Message as StoredMessage
from tntcore.storage.states import COMPLETED, DeliveryStatus, MessageStatus
from tntcore.storage.transactions import Value
from tntcore.strict_json import write_json
from tntcore.telemetry import traceparent
from tntcore.tenancy.recipients import Recipient
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, Tenant
from tntcore.tenancy.webhooks import MATCH_SECONDS, WebhookEntry, matched_texts, search, select, takes_long
from tntcore.workers import TooLongError, WorkTimeout, within

_REFUSALS, _REFUSAL_SECONDS = 20, 30.0  # problem reports of one invitation, identity or connection: see `Allowance`


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message being received.

    Attributes:
        recipient: the connection it belongs to, or the owner of the key it was sent to.
        uuid: under which it is stored.
        envelope_id: identifies the envelope, or the invitation's attachment, that it came in.
        last: it is not put off any more.
        long: it may take long.
    """

    tenant: Tenant
    recipient: Recipient
    message: Message
    sender: Sender | Enclosed
    uuid: str
    envelope_id: bytes
    last: bool
    long: bool


class Consequences:
    def __init__(self, services: Services, exchanges: Exchanges) -> None:
        self._services = services
        self._exchanges = exchanges
        self._context = DecisionContext(lambda: random_uuid(services.random), PROTOCOLS)
        self._refusals = Allowance(time.monotonic, burst=_REFUSALS, seconds=_REFUSAL_SECONDS)

    async def of(self, incoming: Incoming, effect: Reaction | None) -> Receipt:
        """Returns everything to commit because of a message.

        Args:
            effect: on the connection.

        Raises:
            TakesLong: the message would take long, and may not.
            NotYet: a document may become available later.
        """
        recipient, sender, message = incoming.recipient, incoming.sender, incoming.message
        # A handshake changes who has proven what. Its messages must collide independently of that.
        settled = isinstance(sender, Author) and (effect is None or not effect.of_handshake)
        dedup_scope = recipient.scope if settled else f"{recipient.scope}/{kid_of(sender) or 'anonymous'}"
        author = _author(sender, effect)
        receipt = self._receipt(incoming, author, dedup_scope)
        receipt.effect = effect
        if isinstance(effect, Refusal):
            receipt.refuse(effect.code)
        elif effect is None and isinstance(sender, Stranger):
            receipt.refuse(sender.reason)
        if author is not None:
            receipt.outcome = await self._outcome(incoming, author)
        receipt.stored.body = await incoming.tenant.records.put_body(incoming.uuid, receipt.sealed)
        transition = decide(message, self._context) if isinstance(author, OtherSide) else Transition()
        await self._add(incoming, author, transition, receipt)
        return receipt

    async def _outcome(self, incoming: Incoming, author: Author) -> Outcome | None:
        """Returns the outcome of the message for its credential exchange; None if it belongs to none."""
        try:
            return await self._exchanges.receive(
                incoming.tenant,
                author,
                incoming.message,
                uuid=incoming.uuid,
                last=incoming.last,
                long=incoming.long,
            )
        except DidError as error:
            raise NotYet("a document cannot be had now") from error

    def _receipt(self, incoming: Incoming, author: Author | None, dedup_scope: str) -> Receipt:
        """Makes the message's own rows. An unauthenticated message is kept apart: it cannot write into a contact's
        thread.
        """
        tenant, recipient, message, uuid = incoming.tenant, incoming.recipient, incoming.message, incoming.uuid
        now, digest = self._services.now(), tenant.records.fingerprint(what_it_says(message))
        connection, at = author.connection if author else None, changed_at(uuid, now)
        scope = connection.uuid if connection else dedup_scope
        # Equal messages without an id are the same only if they came in one envelope.
        name = message.id or tenant.records.fingerprint(incoming.envelope_id)
        action = Action(
            uuid=action_uuid(scope, message.thid or name),
            reference_id=message.thid,
            direction="IN",
            identity_did=recipient.identity_did,
            contact_did=connection.contact_did if connection else "",
            contact_uuid=connection.contact_uuid if connection else "",
            connection_uuid=connection.uuid if connection else "",
            parent_id=author.parent_id if isinstance(author, Enclosed) else "",
            created_at=at,
            updated_at=at,
        )
        sealed = tenant.records.seal_body(uuid, message.raw)
        stored = StoredMessage(
            uuid=uuid,
            status=MessageStatus.RECEIVED,
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
            created_at=now,
            updated_at=now,
        )
        dedup = Entry(
            uuid=entry_id(action_uuid(dedup_scope, message.thid or name), "in", name),
            message_uuid=uuid,
            digest=digest,
            created_at=now,
        )
        listed = None if scope == dedup_scope else replace(dedup, uuid=entry_id(action.uuid, "in", name))
        receipt = Receipt(stored, sealed, action, dedup, listed, begins=action.uuid != message.thid)
        if not message.id:
            receipt.before = entry_id(action_uuid(dedup_scope, message.thid or digest), "in", digest)
        receipt.assets = assets_of(message, stored, now)
        stored.asset_data = [asset.uuid for asset in receipt.assets]
        return receipt

    async def _add(self, incoming: Incoming, author: Author | None, transition: Transition, receipt: Receipt) -> None:
        """Adds webhook calls, answers, and the threads that the message reports as failed."""
        tenant, recipient, message = incoming.tenant, incoming.recipient, incoming.message
        effect, now = receipt.effect, receipt.stored.created_at
        if receipt.stored.status != MessageStatus.REJECTED:
            receipt.deliveries = await self._deliveries(incoming, receipt.stored, now)
        if isinstance(effect, Effect) and effect.tells(recipient.connection):
            before = recipient.connection
            begun = before is None or before.state != COMPLETED
            for task in connection_tasks(effect.connection, rejected=effect.rejects, begun=begun):
                receipt.tasks += await task_deliveries(tenant, task, source=receipt.stored.uuid, now=now)
        if isinstance(effect, Notice):
            receipt.tasks += await task_deliveries(tenant, effect.task, source=receipt.stored.uuid, now=now)
        replies: list[Mapping[str, Any]] = [*effect.replies] if isinstance(effect, Effect) else []
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
                    write_json(reply.message),
                    message_uuid=reply.message_uuid,
                    now=now,
                    to_previous=isinstance(effect, Effect) and effect.to_previous,
                )
                for reply in answers
            ]
        elif isinstance(effect, Refusal) and effect.report is not None:
            receipt.answers = await self._report(tenant, recipient, effect, receipt)
        receipt.failures = await self._failed_actions(tenant, recipient, message, transition.failed_threads)
        receipt.name_effects()

    async def _report(self, tenant: Tenant, recipient: Recipient, refusal: Refusal, receipt: Receipt) -> list[Outgoing]:
        """Makes the problem report about a refused message. Returns none if there were too many lately: an attacker
        could make us send them to any address.
        """
        if not self._refusals.take(recipient.scope):
            self._services.meter.count("inbound.unanswered")
            return []
        plaintext, now = write_json(refusal.report), receipt.stored.created_at
        message_uuid = delivery_uuid(receipt.stored.uuid, "answer/0")
        connection = recipient.connection
        if refusal.stranger is not None:
            return [await write_to(tenant, recipient, refusal.stranger, plaintext, message_uuid=message_uuid, now=now)]
        if connection is None:
            return []
        thread = Action(uuid=action_uuid(connection.uuid, connection.thid))
        return [await write(tenant.records, connection, thread, plaintext, message_uuid=message_uuid, now=now)]

    async def _deliveries(self, incoming: Incoming, stored: StoredMessage, now: int) -> list[Delivery]:
        return [
            Delivery(
                uuid=delivery_uuid(stored.uuid, entry.id),
                status=DeliveryStatus.PENDING,
                kind="webhook",
                message_uuid=stored.uuid,
                action_uuid=stored.action_uuid,
                connection_uuid=stored.connection_uuid,
                contact_uuid=stored.contact_uuid,
                entry_id=entry.id,
                type=incoming.message.type,
                trace=traceparent(),
                next_attempt_at=now,
                created_at=now,
                updated_at=now,
            )
            for entry in await self._matching(incoming)
        ]

    async def _matching(self, incoming: Incoming) -> list[WebhookEntry]:
        """Returns the webhooks that match the message. Raises `TakesLong`."""
        entries, message = (await incoming.tenant.webhooks(DIDCOMM_WEBHOOK)).entries, incoming.message
        if not takes_long(entries, message):
            return select(entries, message)
        if not incoming.long:
            raise TakesLong
        texts = matched_texts(message)
        return [entry for entry in entries if await self._matches(entry, texts)]

    async def _matches(self, entry: WebhookEntry, texts: tuple[str, ...]) -> bool:
        """Whether an entry matches a message with these texts, tried in another process. One whose expression takes too
        long gets the message.
        """
        try:
            return await self._services.workers.run(within, MATCH_SECONDS, search, entry.match, texts)
        except (TooLongError, WorkTimeout):
            return True

    async def _failed_actions(
        self, tenant: Tenant, recipient: Recipient, message: Message, failed: Sequence[str]
    ) -> dict[str, dict[str, Value]]:
        """Returns the actions that the message makes fail, and the columns to write in each."""
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


def _author(sender: Sender | Enclosed, effect: Reaction | None) -> Author | None:
    """Returns the connection that the message belongs to, after its effect on the connection; None if there is none."""
    if effect is None:
        return sender if isinstance(sender, Author) else None
    return other_side(effect.connection, kid_of(sender)) if isinstance(effect, Effect) else None
