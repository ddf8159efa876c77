"""Retry delays: the ladders of webhook deliveries and of outbound DIDComm messages."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

_MINUTE, _HOUR = 60, 3600

# Seconds before each attempt, the first included. A webhook's spans three days: a weekend and its Monday.
WEBHOOK_LADDER: Final = (
    0, 5, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR,
)  # fmt: skip
# Agents are restarted more often than they are gone, and someone waits for the answer: closer together at first.
SEND_LADDER: Final = (0, 2, 10, _MINUTE, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR)

_JITTER = 0.2
_LONGEST_WAIT = 24 * _HOUR


def retry_delay(
    attempt: int, random: float, *, ladder: Sequence[int] = WEBHOOK_LADDER, retry_after: int | None = None
) -> int | None:
    """Returns the seconds to wait before the next attempt, or None if there is none left.

    Args:
        attempt: how many attempts were made: 0 gives the wait before the first one, which is 0.
        random: from 0 up to 1; lengthens the wait by up to a fifth, so that simultaneous failures are retried apart.
        retry_after: seconds that the receiver asked for. A wait is never shorter; more than a day counts as a day.
    """
    if attempt >= len(ladder):
        return None
    delay = round(ladder[attempt] * (1 + _JITTER * random))
    return max(delay, min(retry_after or 0, _LONGEST_WAIT))


def send_delay(attempt: int, random: float, *, retry_after: int | None = None) -> int | None:
    """`retry_delay` for an outbound DIDComm message."""
    return retry_delay(attempt, random, ladder=SEND_LADDER, retry_after=retry_after)


def read_retry_after(value: str | None, now: float) -> int | None:
    """Reads `Retry-After` (RFC 9110, section 10.2.3), in seconds from `now` (seconds since 1970); None if it is absent,
    past or malformed.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return int(value) if len(value) <= 9 else 10**9
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return round(seconds) if seconds > 0 else None
