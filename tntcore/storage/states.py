"""The states that records are in: as their rows keep them, and as the API shows them."""

from __future__ import annotations

from enum import StrEnum


class ContactStatus(StrEnum):
    REQUESTED = "REQUESTED"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class InvitationStatus(StrEnum):
    ACTIVE = "ACTIVE"
    USED = "USED"
    REVOKED = "REVOKED"


class MessageStatus(StrEnum):
    """RECEIVED, REJECTED, CONFLICT and FAILED (its handling) are of incoming messages, FAILED (its sending) and the
    others of outgoing ones."""

    RECEIVED = "RECEIVED"
    REJECTED = "REJECTED"
    CONFLICT = "CONFLICT"
    FAILED = "FAILED"
    HELD = "HELD"
    SENDING = "SENDING"
    SENT = "SENT"


class DeliveryStatus(StrEnum):
    """HELD: its connection is not completed. FAILED: no attempt is made any more. WITHHELD: its webhook is disabled."""

    HELD = "HELD"
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    WITHHELD = "WITHHELD"


class ReplayStatus(StrEnum):
    ACTIVE = "ACTIVE"
    DONE = "DONE"


class ExchangeStatus(StrEnum):
    """WAITING: for the tenant's word."""

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
