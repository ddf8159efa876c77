"""The proven sender of a message: one type for each case, so that code which needs a sender must require one.

    Anonymous   no key authenticated it
    Stranger    a key without a connection did
    Applicant   a key of the connection's other side did, whom the tenant has not accepted yet
    Partner     a key of the connection's other side did
    Enclosed    it came inside an invitation, whose maker is the other side, but may not have written it

Claims in the message itself do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from tntcore.storage.records import Connection


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No key authenticated the message."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """The owner of a key that is not of the connection's other side, or belongs to no connection.

    Attributes:
        kid: the key that authenticated: a base58 verkey (v1) or a DID URL (v2).
        reason: why it is not a connection's: `sender-unknown`, `sender-not-connection` or `connection-abandoned`.
    """

    kid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Applicant:
    """The other side of a connection that waits for the tenant's decision. Attributes: see `Partner`."""

    connection: Connection
    kid: str


@dataclass(frozen=True, slots=True)
class Partner:
    """The other side of a connection.

    Attributes:
        connection: the connection.
        kid: the key that authenticated; "" if `from_prior` alone proved the sender.
    """

    connection: Connection
    kid: str


@dataclass(frozen=True, slots=True)
class Enclosed:
    """The maker of an invitation, who passed the message on inside it.

    Attributes:
        connection: the one that the invitation led to. parent_id: of the invitation.
    """

    connection: Connection
    parent_id: str


OtherSide = Applicant | Partner
"""The connection's other side, proven."""

Sender = Anonymous | Stranger | OtherSide
"""The sender, as far as an envelope proves it."""

Author = OtherSide | Enclosed
"""The sender of a message that belongs to a connection: its other side, or the maker of its invitation."""


def other_side(connection: Connection, kid: str) -> OtherSide:
    """Returns the other side of the connection, authenticated by one of its keys."""
    waits = connection.state == "request-received"
    return Applicant(connection, kid) if waits else Partner(connection, kid)


def kid_of(sender: Sender | Enclosed) -> str:
    """Returns the key that authenticated the message; "" if none did."""
    return "" if isinstance(sender, Anonymous | Enclosed) else sender.kid
