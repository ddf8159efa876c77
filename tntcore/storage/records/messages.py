"""Records of messages: threads, what was sent and received, and its deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from tntcore.messaging.ids import time_of, uuid_at
from tntcore.storage.records.record import Record, short_hash
from tntcore.storage.states import DeliveryStatus, MessageStatus, ReplayStatus
from tntcore.storage.transactions import Value

LATE: Final = 3_000
"""Milliseconds after its message, from which on a change of a thread has a time of its own. It is less than what lists
since a time overlap by, so that these miss nothing.
"""


@dataclass(kw_only=True, slots=True)
class Action(Record):
    """A thread."""

    KIND: ClassVar[str] = "action"
    IN_SHARDS: ClassVar[bool] = True
    TIME: ClassVar[str] = "updatedAt"
    reference_id: str = ""
    direction: str = ""
    identity_did: str = ""
    contact_did: str = ""
    contact_uuid: str = ""
    connection_uuid: str = ""
    type_status: str = ""
    parent_id: str = ""  # of the invitation that its first message was attached to
    error: bytes = b""  # the problem report, sealed

    @property
    def pointer(self) -> str:
        """The uuid of the pointer that sorts it by its latest change, if no message does: see decision 0022."""
        return self.pointer_at(self.updated_at, self.uuid)

    @staticmethod
    def pointer_at(milliseconds: int, uuid: str) -> str:
        return f"{Action.KIND}.{uuid_at(milliseconds, uuid)}"

    def values_of_any_thread(self) -> dict[str, Value]:
        """The columns that can be written without knowing how the thread began."""
        own = ("status", "createdAt", "direction", "error")
        return {column: value for column, value in self.values().items() if column not in own}


@dataclass(kw_only=True, slots=True)
class Message(Record):
    """One DIDComm message. `body` is the sealed plaintext; for a message that could not be opened, the envelope.

    A body too large for a row is in the blob named after the message; `body` is then empty.
    """

    KIND: ClassVar[str] = "message"
    IN_SHARDS: ClassVar[bool] = True
    UNUSUAL: ClassVar[frozenset[str]] = frozenset(
        {MessageStatus.FAILED, MessageStatus.REJECTED, MessageStatus.CONFLICT}
    )
    status: MessageStatus = MessageStatus.RECEIVED
    direction: str = ""
    type: str = ""
    version: str = ""
    message_id: str = ""
    action_uuid: str = ""
    contact_uuid: str = ""
    connection_uuid: str = ""
    identity_did: str = ""
    contact_did: str = ""
    authenticated: bool = False
    asset_data: list[str] = field(default_factory=list)
    error: str = ""
    body: bytes = b""


@dataclass(kw_only=True, slots=True)
class AssetData(Record):
    """A value found in an attachment: attachment number `index` of message `message_uuid`."""

    KIND: ClassVar[str] = "asset-data"
    IN_SHARDS: ClassVar[bool] = True
    message_uuid: str = ""
    action_uuid: str = ""
    name: str = ""
    format: str = ""
    mime_type: str = ""
    index: int = 0


@dataclass(kw_only=True, slots=True)
class Entry(Record):
    """An entry of a thread. Its key comes from the message's `@id`, so that a duplicate collides; `digest` tells
    whether the content differs.
    """

    KIND: ClassVar[str] = "entry"
    IN_SHARDS: ClassVar[bool] = True
    message_uuid: str = ""
    digest: str = ""
    deliveries: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Sent(Record):
    """The thread of a message that we sent on a connection, found by its `@id`."""

    KIND: ClassVar[str] = "sent"
    IN_SHARDS: ClassVar[bool] = True
    action_uuid: str = ""


@dataclass(kw_only=True, slots=True)
class HeldMessage(Record):
    """A message that waits for its connection, in order of `uuid`: `<connection uuid>.<message uuid>`."""

    KIND: ClassVar[str] = "held"
    IN_SHARDS: ClassVar[bool] = True
    message_uuid: str = ""
    delivery_uuid: str = ""
    action_uuid: str = ""


@dataclass(kw_only=True, slots=True)
class Delivery(Record):
    """One webhook call or outbound message on its way; also the outbox row.

    Status HELD (its connection is not completed), PENDING, DELIVERED, FAILED (no more attempts) or WITHHELD (its
    webhook is disabled). `answer` is the sealed answer of the attempt that succeeded. `replayed_from` is the number of
    attempts made before the manual replay at `replayed_at`. `to_previous`: it goes to the DID that the other side had
    before. `trace` is the `traceparent` of the span that made it.
    """

    KIND: ClassVar[str] = "delivery"
    IN_SHARDS: ClassVar[bool] = True
    UNUSUAL: ClassVar[frozenset[str]] = frozenset({DeliveryStatus.FAILED, DeliveryStatus.WITHHELD})
    status: DeliveryStatus = DeliveryStatus.PENDING
    kind: str = ""
    message_uuid: str = ""
    action_uuid: str = ""
    connection_uuid: str = ""
    entry_id: str = ""
    type: str = ""
    task: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    next_attempt_at: int = 0
    response_status: int = 0
    duration: int = 0
    error: str = ""
    stranger: bytes | None = None  # of a message on no connection: its receiver, sealed
    contact_uuid: str = ""
    answer: bytes | None = None
    replayed_from: int | None = None
    replayed_at: int | None = None
    to_previous: bool | None = None
    trace: str = ""


@dataclass(kw_only=True, slots=True)
class Attempt(Record):
    """A delivery attempt that failed, or was followed by another. Its uuid is `<delivery uuid>.<number>`."""

    KIND: ClassVar[str] = "attempt"
    IN_SHARDS: ClassVar[bool] = True
    response_status: int = 0
    duration: int = 0
    error: str = ""
    answer: bytes = b""


@dataclass(kw_only=True, slots=True)
class Replay(Record):
    """A replay of the deliveries in a range of uuids that have one of some statuses. Status ACTIVE or DONE; `position`
    is the uuid to continue from.
    """

    KIND: ClassVar[str] = "replay"
    status: ReplayStatus = ReplayStatus.ACTIVE
    position: str = ""
    end: str = ""
    statuses: list[str] = field(default_factory=list)
    entry_id: str = ""
    replayed: int = 0
    skipped: int = 0


def changed_at(message_uuid: str, now: int) -> int:
    """Returns the time at which a message that is handled now changes its thread: that of the message itself, so that
    the thread needs no pointer, unless it is `LATE`.
    """
    at = time_of(message_uuid)
    return at if now - LATE <= at <= now else now


def entry_id(action_uuid: str, direction: str, message_id: str) -> str:
    return f"{action_uuid}.{direction}.{short_hash(message_id)}"


def sent_id(connection_uuid: str, message_id: str) -> str:
    return f"{connection_uuid}.{short_hash(message_id)}"
