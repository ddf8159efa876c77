"""Adds an outgoing message to a unit of work: its rows, and the items that are queued once they are committed."""

from __future__ import annotations

from dataclasses import dataclass

from tntcore.delivery.outbox import send_item
from tntcore.messaging.ids import delivery_uuid
from tntcore.messaging.message import Message as Plaintext
from tntcore.storage.commit import Unit
from tntcore.storage.items import SendItem
from tntcore.storage.records import Action, Connection, Delivery, Entry, HeldMessage, Message, Sent, entry_id, sent_id
from tntcore.storage.repository import Repository
from tntcore.storage.states import DeliveryStatus, MessageStatus
from tntcore.telemetry import traceparent


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An outgoing message; made by `write`.

    Attributes:
        sealed: the body, for the queue message; the row may have it in a blob.
    """

    connection: Connection
    message: Message
    delivery: Delivery
    digest: str
    sealed: bytes

    @property
    def entry(self) -> Entry:
        """Returns the thread entry with which a second message of the same `@id` on the same thread collides."""
        return Entry(
            uuid=entry_id(self.message.action_uuid, "out", self.message.message_id),
            message_uuid=self.message.uuid,
            digest=self.digest,
            deliveries=[self.delivery.uuid],
            created_at=self.message.created_at,
        )

    def add_to(self, unit: Unit) -> None:
        """Adds the message, but not its action. A held message also requires the connection to be unchanged: if it is
        completed at this very moment, the message must not be held.
        """
        for record in (self.entry, self.message, self.delivery):
            unit.create(record)
        if self.connection.uuid:
            sent = sent_id(self.connection.uuid, self.message.message_id)
            unit.upsert_row(Sent.row_key(sent), Sent(uuid=sent, action_uuid=self.message.action_uuid).values())
        if self.message.status == MessageStatus.HELD:
            waiting = HeldMessage(
                uuid=f"{self.connection.uuid}.{self.message.uuid}",
                message_uuid=self.message.uuid,
                delivery_uuid=self.delivery.uuid,
                action_uuid=self.message.action_uuid,
            )
            unit.create(waiting)
            unit.merge(self.connection.key, {"updatedAt": self.message.created_at}, self.connection.etag)

    def item(self, principal: str) -> SendItem:
        return send_item(principal, self.delivery, self.sealed)


async def write(
    records: Repository,
    connection: Connection,
    action: Action,
    plaintext: bytes,
    *,
    message_uuid: str,
    now: int,
    held: bool = False,
    to_previous: bool = False,
) -> Outgoing:
    """Makes the rows of a message on a connection. Writes a large body to a blob before it returns.

    Args:
        plaintext: complete, with its id and thread.
        held: it waits until the connection is completed.
        to_previous: it goes to the DID that the other side had before.
    """
    read = Plaintext.read(plaintext)
    sealed = records.seal_body(message_uuid, plaintext)
    message = Message(
        uuid=message_uuid,
        status=MessageStatus.HELD if held else MessageStatus.SENDING,
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
        body=await records.put_body(message_uuid, sealed),
        created_at=now,
        updated_at=now,
    )
    delivery = Delivery(
        uuid=delivery_uuid(message_uuid, "didcomm"),
        status=DeliveryStatus.HELD if held else DeliveryStatus.PENDING,
        kind="didcomm",
        message_uuid=message_uuid,
        action_uuid=action.uuid,
        connection_uuid=connection.uuid,
        contact_uuid=connection.contact_uuid,
        type=read.type,
        trace=traceparent(),
        next_attempt_at=now,
        to_previous=to_previous or None,
        created_at=now,
        updated_at=now,
    )
    return Outgoing(connection, message, delivery, records.fingerprint(plaintext), sealed)
