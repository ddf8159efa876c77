"""How an attempt at a delivery went: one type for each way."""

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
    """The receiver took it.

    Attributes:
        status: of HTTP. duration: milliseconds. answer: the first bytes of what was answered.
        slow: the answer did not come soon.
    """

    error: ClassVar[str] = ""

    status: int
    duration: int
    answer: bytes = b""
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """It was not taken, and may be the next time.

    Attributes:
        error: a stable code. status: of HTTP, 0 if there was no answer. duration, answer: as `Delivered` has them.
        retry_after: what the receiver said of the next time.
        slow: there was no answer, or none soon.
    """

    error: str
    status: int = 0
    duration: int = 0
    answer: bytes = b""
    retry_after: str | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """It was not taken, and trying again is pointless. Attributes as `Retry` has them."""

    error: str
    status: int = 0
    duration: int = 0
    answer: bytes = b""
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nothing was attempted, because its webhook is disabled."""

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
    """Adds to the unit how attempt `number` at a delivery (uuid) went.

    A first attempt that succeeds is one change of one row: there is a row of its own for an attempt that failed.

    Args:
        status: that the delivery now has.
        next_at: when it is attempted again; 0 for never.
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
    """The row of attempt `number` at a delivery (uuid)."""
    return Attempt(
        uuid=f"{delivery}.{number:02d}",
        status="FAILED" if error else "DELIVERED",
        response_status=response_status,
        duration=duration,
        error=error,
        created_at=now,
        updated_at=now,
    )
