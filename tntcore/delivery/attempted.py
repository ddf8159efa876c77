"""Outcomes of an attempt at a delivery: one type each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tntcore.storage.commit import Unit
from tntcore.storage.records import Attempt, Delivery
from tntcore.storage.repository import Repository
from tntcore.storage.states import DeliveryStatus
from tntcore.storage.transactions import Value


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver accepted it.

    Attributes:
        status: of HTTP. duration: milliseconds. answer: the first bytes of the answer.
        slow: the answer was slow.
    """

    error: ClassVar[str] = ""

    status: int
    duration: int
    answer: bytes = b""
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """The receiver did not accept it, and may the next time.

    Attributes:
        error: a stable code. status: of HTTP, 0 if there was no answer. duration, answer: see `Delivered`.
        retry_after: the receiver's `Retry-After`, in seconds.
        slow: there was no answer, or a slow one.
    """

    error: str
    status: int = 0
    duration: int = 0
    answer: bytes = b""
    retry_after: str | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The receiver did not accept it, and retrying is pointless. Attributes: see `Retry`."""

    error: str
    status: int = 0
    duration: int = 0
    answer: bytes = b""
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nothing was attempted, because the webhook is disabled."""

    error: ClassVar[str] = "webhook-disabled"
    status: ClassVar[int] = 0
    slow: ClassVar[bool] = False


Attempted = Delivered | Retry | Failed | Withheld


def write_attempt(
    unit: Unit,
    records: Repository,
    attempted: Attempted,
    delivery: str,
    number: int,
    status: DeliveryStatus,
    now: int,
    next_at: int = 0,
) -> None:
    """Adds to the unit the outcome of attempt `number` at a delivery (uuid).

    A first attempt that succeeds changes one row only; a failed attempt has a row of its own.

    Args:
        status: the delivery's new status.
        next_at: the time of the next attempt; 0 for never.
    """
    key = Delivery.row_key(delivery)
    if isinstance(attempted, Withheld):
        unit.merge(key, {"status": status, "error": attempted.error, "nextAttemptAt": 0, "updatedAt": now})
        return
    outcome: dict[str, Value] = {
        "status": status,
        "attempts": number,
        "responseStatus": attempted.status,
        "duration": attempted.duration,
        "error": attempted.error,
        "nextAttemptAt": next_at,
        "updatedAt": now,
    }
    if isinstance(attempted, Delivered):
        if attempted.answer:
            outcome["answer"] = records.seal(attempted.answer, key)
        unit.merge(key, outcome)
        return
    unit.merge(key, outcome)
    failure = attempt_of(delivery, number, attempted.status, attempted.duration, attempted.error, now)
    if attempted.answer:
        failure.answer = records.seal(attempted.answer, failure.key)
    unit.upsert(failure)


def attempt_of(delivery: str, number: int, response_status: int, duration: int, error: str, now: int) -> Attempt:
    """Returns the row of attempt `number` at a delivery (uuid)."""
    return Attempt(
        uuid=f"{delivery}.{number:02d}",
        status="FAILED" if error else "DELIVERED",
        response_status=response_status,
        duration=duration,
        error=error,
        created_at=now,
        updated_at=now,
    )
