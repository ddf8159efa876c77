"""Effects of a message on a connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tntcore.storage.commit import Unit
from tntcore.storage.records import AttachedMessage, Connection, Contact, Invitation, Record
from tntcore.storage.states import COMPLETED, ContactStatus
from tntcore.storage.transactions import Value


class Refused(Exception):
    """A message of the exchange must not move it.

    Args:
        code: for the tenant, in kebab-case.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Refusal:
    """The message is refused and has no effect.

    Attributes:
        code: the reason, for the tenant, in kebab-case.
        report: a problem report about the message: on the connection that it came on, or to `stranger`.
        stranger: the document of a sender without a connection.
        of_handshake: the message is one of those that establish a connection.
    """

    code: str
    report: Mapping[str, Any] | None = None
    stranger: Mapping[str, Any] | None = None
    of_handshake: bool = True


@dataclass(frozen=True, slots=True)
class Notice:
    """The message changes no connection, but causes an event for the tenant's system: `task`."""

    of_handshake: ClassVar[bool] = True

    task: dict[str, Any]


@dataclass(slots=True)
class Effect:
    """The effect of a message, or of a tenant's decision, on a connection.

    Attributes:
        connection: its new state; its other side has proved to be the message's sender.
        contact: to create. invitation: to mark as used.
        replies: complete messages to send on the connection.
        keys: our new kids, to add to the lookups.
        to_previous: the replies go to the DID that the other side had before.
        rejects: the contact is rejected.
        attached: messages of the invitation, to be handled once the connection is completed.
        ordinary: the message is one of an established connection, whose sender is known whatever its effect.
        reopens: the contact, decided before, waits again.
        makes: records to create. ends: a record to delete, which must be as it was read.
        names: columns with the DIDs of the contact, which exists. named: the contact as it was read for them.
    """

    connection: Connection
    contact: Contact | None = None
    invitation: Invitation | None = None
    replies: list[dict[str, Any]] = field(default_factory=list)
    keys: Sequence[str] = ()
    ordinary: bool = False
    attached: list[AttachedMessage] = field(default_factory=list)
    to_previous: bool = False
    rejects: bool = False
    reopens: bool = False
    names: dict[str, Value] = field(default_factory=dict)
    named: Contact | None = None
    makes: list[Record] = field(default_factory=list)
    ends: Record | None = None

    @property
    def completed(self) -> bool:
        return self.connection.state == COMPLETED

    def tells(self, before: Connection | None) -> bool:
        """Whether the tenant's system gets an event: the connection now waits for its decision, or has ended."""
        state = self.connection.state
        return state in ("request-received", COMPLETED, "abandoned") and (before is None or before.state != state)

    @property
    def of_handshake(self) -> bool:
        """Whether the message is one of those that establish the connection."""
        return not self.ordinary

    @property
    def _contact_status(self) -> ContactStatus:
        if self.rejects:
            return ContactStatus.REJECTED
        return ContactStatus.REQUESTED if self.reopens else ContactStatus.ACCEPTED

    def add_to(self, unit: Unit) -> None:
        """Adds all changes except the message. A lost race is reported for the connection, the invitation or the
        contact.
        """
        connection = self.connection
        change: dict[str, Value]
        if self.invitation is not None:
            change = {"status": self.invitation.status, "updatedAt": self.invitation.updated_at}
            unit.merge(self.invitation.key, change, self.invitation.etag)
        if connection.etag:
            unit.change(connection)
        else:
            unit.create(connection)
        for attached in self.attached:
            unit.upsert(attached)
        for made in self.makes:
            unit.create(made)
        if self.ends is not None:
            unit.delete(self.ends.key, self.ends.etag)
        if self.contact is not None:
            unit.create(self.contact)
        elif connection.state == COMPLETED or self.rejects or self.reopens or self.names:
            change = {**self.names, "updatedAt": connection.updated_at}
            if connection.state == COMPLETED or self.rejects or self.reopens:
                change["status"] = self._contact_status
            if self.named is not None:
                unit.merge(self.named.key, {**change, **unit.point(self.named)}, self.named.etag)
            else:
                unit.upsert_row(Contact.row_key(connection.contact_uuid), change)


Reaction = Effect | Refusal | Notice
"""The result of a message for connections."""
