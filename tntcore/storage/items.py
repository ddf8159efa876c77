"""Items of queue messages, as types. Only this module knows their short keys on the wire.

A queue message is `{"items": [item, ...]}`; on queue `outbound` it may be a `Drain`, on queue `relay` a `ReplayPart`. A
later version that writes what this one would misread adds `"v": 2`: then nothing is read, and the queue gives it up.

    inbound     InboundItem
    outbound    SendItem
    relay       RelayItem: a MessageCall or a TaskCall

Unknown members are kept when an item is put back: a newer process may have written them.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeVar

import orjson

from tntcore.storage.shards import principal_of
from tntcore.telemetry import Span, Tracing, traceparent

_FORM = 1  # of queue messages; a message that says none has the first
_BINARY = "b"  # in base64
_Members = tuple[tuple[str, str, Any], ...]  # name, key, default


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The members that every item has.

    Attributes:
        principal: the name of the tenant's shard (`storage.shards`), mostly the tenant's uuid.
        rests: how often it was put off because its tenant is suspended.
        trace: `traceparent` of its parent span; "" if there is none yet.
        link: `traceparent` of a related span.
        rest: unknown members.
    """

    KEYS: ClassVar[Mapping[str, str]]

    principal: str
    rests: int = 0
    trace: str = ""
    link: str = ""
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Self:
        """Reads an item of a queue message. Raises `TypeError` if a member is missing, `ValueError` for malformed
        base64.
        """
        names = _names_of(cls)
        known: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for key, said in value.items():
            if key in names:
                known[names[key]] = base64.b64decode(said) if key == _BINARY else said
            else:
                rest[key] = said
        return cls(**known, rest=rest)

    def write(self) -> dict[str, Any]:
        """Returns the item in the form that `read` takes, without members that have their default."""
        out: dict[str, Any] = {}
        for name, key, default in _members_of(type(self)):
            said = getattr(self, name)
            if said != default:
                out[key] = base64.b64encode(said).decode() if key == _BINARY else said
        return {**out, **self.rest}

    def data(self) -> bytes:
        """Returns the item as JSON."""
        return orjson.dumps(self.write())

    @property
    def tenant(self) -> str:
        """The uuid of the tenant."""
        return principal_of(self.principal)

    def follow(self, tracing: Tracing, name: str, queue: str) -> Span:
        """Opens the span of handling the item, which came from `queue`."""
        return tracing.follow(name, queue, tenant=self.tenant, parent=self.trace, link=self.link)

    def traced(self) -> Self:
        """Returns the item with the current span as parent, unless it has a parent already."""
        if not self.trace and (parent := traceparent()):
            return replace(self, trace=parent)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundItem(Item):
    """An envelope for one of our keys, a message attached to an invitation, an invitation to be answered by a new
    connection, or a contact that could not be asked yet.

    Attributes:
        uuid: the message's, given on receipt and so the same at every delivery.
        owner, owner_uuid: kind and uuid of the record that has the key.
        envelope: as text; None if it is in a blob named by `uuid`.
        attached: uuid of the `AttachedMessage` record to receive instead of an envelope.
        reuse: uuid of the `PendingReuse` of an invitation that is to be answered by a new connection, unless that is
            settled.
        begin: the connection is to be begun by its contact's DID, which could not be resolved before.
        put_off: how often it was put off; None if it never was.
        limits_passed: how many of the limits, the sender's, the entrance's and the tenant's, have let it through.
        waited: how often there was no place for it.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "uuid": "id",
        "principal": "p",
        "owner": "o",
        "owner_uuid": "u",
        "envelope": "e",
        "attached": "r",
        "reuse": "y",
        "begin": "i",
        "put_off": "n",
        "limits_passed": "l",
        "rests": "s",
        "waited": "w",
        "trace": "tp",
        "link": "tl",
    }

    uuid: str
    owner: str
    owner_uuid: str
    envelope: str | None = None
    attached: str = ""
    reuse: str = ""
    begin: bool = False
    put_off: int | None = None
    limits_passed: int = 0
    waited: int = 0

    @property
    def in_blob(self) -> bool:
        """Whether the envelope is in a blob."""
        return self.envelope is None and not (self.attached or self.reuse or self.begin)

    def metadata(self) -> dict[str, str]:
        """Returns the metadata of an envelope's blob."""
        return {"p": self.principal, "o": self.owner, "u": self.owner_uuid}

    @staticmethod
    def of_blob(uuid: str, metadata: Mapping[str, str]) -> InboundItem | None:
        """Returns the item of an envelope in a blob; None if the blob is not one of ours."""
        if not {"p", "o", "u"} <= metadata.keys():
            return None
        return InboundItem(uuid=uuid, principal=metadata["p"], owner=metadata["o"], owner_uuid=metadata["u"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryItem(Item):
    """A delivery to attempt.

    Attributes:
        delivery: uuid of its record.
        attempts: how many were made.
        again: it may have been attempted since: its record is looked at first.
    """

    delivery: str
    attempts: int = 0
    again: bool = False

    @property
    def endpoint(self) -> str:
        """A name for the receiver."""
        raise NotImplementedError

    def without_body(self) -> Self:
        """Returns the item without the body, which stays in storage: for an item that may wait long."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCall(DeliveryItem):
    """A webhook call about a message.

    Attributes:
        entry: id of the webhook's entry.
        message: uuid. columns: of its row, except the body. body: sealed; without it, the row is read.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "principal": "p",
        "delivery": "d",
        "entry": "e",
        "message": "u",
        "columns": "m",
        "body": "b",
        "rests": "s",
        "trace": "tp",
        "link": "tl",
        "again": "again",
        "attempts": "t",
    }

    entry: str
    message: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    @property
    def endpoint(self) -> str:
        return f"{self.tenant}/{self.entry}"

    def without_body(self) -> Self:
        return replace(self, body=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCall(DeliveryItem):
    """A call of a task webhook.

    Attributes:
        entry: id of the webhook's entry. task: the event.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "principal": "p",
        "delivery": "d",
        "entry": "e",
        "task": "k",
        "rests": "s",
        "trace": "tp",
        "link": "tl",
        "again": "again",
        "attempts": "t",
    }

    entry: str
    task: Mapping[str, Any]

    @property
    def endpoint(self) -> str:
        return f"{self.tenant}/{self.entry}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendItem(DeliveryItem):
    """A message to send.

    Attributes:
        message, action, connection: uuids; "" for action and connection of a message to a stranger.
        previous: it goes to the DID that the other side had before.
        body: sealed; without it, the row is read.
        held: uuid of its `HeldMessage`, if it was held.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "principal": "p",
        "delivery": "d",
        "message": "u",
        "action": "a",
        "connection": "n",
        "previous": "previous",
        "body": "b",
        "held": "held",
        "rests": "s",
        "trace": "tp",
        "link": "tl",
        "again": "again",
        "attempts": "t",
    }

    message: str
    action: str
    connection: str
    previous: bool = False
    body: bytes = field(default=b"", repr=False)
    held: str = ""

    @property
    def endpoint(self) -> str:
        return f"{self.principal}/{self.connection or self.delivery}"

    def without_body(self) -> Self:
        return replace(self, body=b"")


RelayItem = MessageCall | TaskCall
T = TypeVar("T", bound=Item)
I = TypeVar("I", bound=DeliveryItem)  # noqa: E741


@dataclass(frozen=True, slots=True)
class Drain:
    """A connection whose held messages are to be sent, or failed if the connection has ended."""

    principal: str
    connection: str

    @property
    def tenant(self) -> str:
        return principal_of(self.principal)

    @property
    def endpoint(self) -> str:
        """A name for the receiver, as in `SendItem`."""
        return f"{self.principal}/{self.connection}"

    @staticmethod
    def read(body: bytes) -> Drain | None:
        """Reads a queue message; None if it is not a drain."""
        said = parsed(body).get("drain")
        return Drain(said["p"], said["n"]) if said is not None else None

    def data(self) -> bytes:
        """The queue message."""
        return orjson.dumps({"drain": {"p": self.principal, "n": self.connection}})


@dataclass(frozen=True, slots=True)
class ReplayPart:
    """The part of a replay (uuid) that begins at `position`."""

    principal: str
    replay: str
    position: str

    @staticmethod
    def read(body: bytes) -> ReplayPart | None:
        """Reads a queue message; None if it is not a part of a replay."""
        said = parsed(body).get("replay")
        return ReplayPart(said["p"], said["r"], said["at"]) if said is not None else None

    def data(self) -> bytes:
        """The queue message."""
        return orjson.dumps({"replay": {"p": self.principal, "r": self.replay, "at": self.position}})


def parsed(body: bytes) -> dict[str, Any]:
    """Returns a queue message as JSON. Raises `ValueError` if it is none, or has a form that is not known here."""
    value: dict[str, Any] = orjson.loads(body)
    form = value.get("v", _FORM)
    if form != _FORM:
        raise ValueError(f"the queue message has form {form!r}, and this version reads {_FORM}")
    return value


def relay_item(value: Mapping[str, Any]) -> RelayItem:
    """Returns the item of a message of queue `relay`."""
    return TaskCall.read(value) if "k" in value else MessageCall.read(value)


def items_of(body: bytes, read: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """Returns the items of a queue message; `read` is the method of their type."""
    return [read(value) for value in parsed(body)["items"]]


def queue_message(items: Iterable[Item]) -> bytes:
    """Returns the queue message with these items."""
    return b'{"items":[' + b",".join([item.data() for item in items]) + b"]}"


_known_members: dict[type[Item], _Members] = {}
_known_names: dict[type[Item], Mapping[str, str]] = {}


def _members_of(kind: type[Item]) -> _Members:
    members = _known_members.get(kind)
    if members is None:
        defaults: dict[str, Any] = {}
        for one in dataclasses.fields(kind):
            made = one.default_factory
            defaults[one.name] = one.default if made is dataclasses.MISSING else made()
        members = _known_members[kind] = tuple((name, key, defaults[name]) for name, key in kind.KEYS.items())
    return members


def _names_of(kind: type[Item]) -> Mapping[str, str]:
    names = _known_names.get(kind)
    if names is None:
        names = _known_names[kind] = {key: name for name, key in kind.KEYS.items()}
    return names
