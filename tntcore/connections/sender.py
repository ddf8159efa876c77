"""Who sent a message, as far as that is proven: one type for each case, so that code which needs a sender asks for it.

    Anonymous   no key authenticated it
    Stranger    a key did, of nobody that it was sent by before
    Applicant   a key of the connection's other side did, whom the tenant has not accepted yet
    Partner     a key of the connection's other side did
    Enclosed    it came inside an invitation, whose maker is the other side, but may not have written it

What the message itself says of its sender counts for nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tntcore.storage.records import Connection


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody: no key authenticated the message."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """The owner of a key that is not of the connection's other side, or to which no connection belongs.

    Attributes:
        kid: the key that authenticated: a base58 verkey (v1) or a DID URL (v2).
        reason: why it is no other side's: `sender-unknown`, `sender-not-connection` or `connection-abandoned`.
    """

    kid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Applicant:
    """The other side of a connection that waits for the tenant's word. Attributes as `Partner` has them."""

    connection: Connection
    kid: str


@dataclass(frozen=True, slots=True)
class Partner:
    """The other side of a connection.

    Attributes:
        connection: with whom.
        kid: the key that authenticated; "" where `from_prior` alone proved who it is.
    """

    connection: Connection
    kid: str


@dataclass(frozen=True, slots=True)
class Enclosed:
    """The maker of an invitation, who handed the message on inside of it.

    Attributes:
        connection: the one that the invitation led to. parent_id: of the invitation.
    """

    connection: Connection
    parent_id: str


OtherSide = Applicant | Partner
"""The connection's other side, proven."""

Sender = Anonymous | Stranger | OtherSide
"""What an envelope proves of its sender."""

Author = OtherSide | Enclosed
"""Whose connection the message belongs to."""


def other_side(connection: Connection, kid: str) -> OtherSide:
    """The other side of the connection, for whom a key of its own vouches."""
    waits = connection.state == "request-received"
    return Applicant(connection, kid) if waits else Partner(connection, kid)


def kid_of(sender: Sender | Enclosed) -> str:
    """The key that authenticated the message; "" if none did."""
    return "" if isinstance(sender, Anonymous | Enclosed) else sender.kid
