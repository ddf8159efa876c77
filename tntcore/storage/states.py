"""The states of records, in rows and in the API."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

COMPLETED: Final = "completed"
ABANDONED: Final = "abandoned"
"""States (RFC 0023) of a connection on which both sides can write, and of one that has ended."""


class ContactStatus(StrEnum):
    REQUESTED = "REQUESTED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class InvitationStatus(StrEnum):
    ACTIVE = "ACTIVE"
    USED = "USED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"  # shown, never stored


class MessageStatus(StrEnum):
    """RECEIVED, REJECTED, CONFLICT and FAILED (not handled) apply to incoming messages; FAILED (not sent) and the
    others to outgoing ones.
    """

    RECEIVED = "RECEIVED"
    REJECTED = "REJECTED"
    CONFLICT = "CONFLICT"
    FAILED = "FAILED"
    HELD = "HELD"
    SENDING = "SENDING"
    SENT = "SENT"


class DeliveryStatus(StrEnum):
    """HELD: its connection is not completed. FAILED: no more attempts. WITHHELD: its webhook is disabled."""

    HELD = "HELD"
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    WITHHELD = "WITHHELD"


class ReplayStatus(StrEnum):
    ACTIVE = "ACTIVE"
    DONE = "DONE"


class ExchangeStatus(StrEnum):
    """WAITING: for the tenant's decision."""

    ACTIVE = "ACTIVE"
    WAITING = "WAITING"
    DONE = "DONE"
    ABANDONED = "ABANDONED"


class CredentialStatus(StrEnum):
    """RECEIVED: not accepted yet."""

    HELD = "HELD"
    RECEIVED = "RECEIVED"
    REJECTED = "REJECTED"
    ISSUED = "ISSUED"
    REVOKED = "REVOKED"


class PresentationStatus(StrEnum):
    VERIFIED = "VERIFIED"
    REJECTED = "REJECTED"
    UNDECIDED = "UNDECIDED"
    ACCEPTED = "ACCEPTED"
    SENT = "SENT"
