"""The time, kept in step with the storage account's clock.

Processes on several machines order messages and attempts by time, and share nothing but storage. Its answers say what
time it is there, to the second (`Date`, RFC 9110, section 6.6.1). If a machine's clock differs by more than two
seconds, the times are corrected by that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

log = logging.getLogger(__name__)

TOLERANCE: Final = 2_000
"""Milliseconds by which the machine's clock may differ."""
REFUSED: Final = 900_000
"""Milliseconds from which on the storage account refuses what the machine signs with its time."""
_LONGEST = 5_000  # milliseconds: an answer that took longer says too little
_AGREEING = 3  # answers in a row that correct a clock which others have confirmed
_EVERY = 5.0  # seconds between two answers that are looked at, unless one did not fit


@dataclass(frozen=True, slots=True)
class Offset:
    """The milliseconds to add to the machine's time.

    Attributes:
        low, high: what the latest answers leave, if they contradict `value`. seen: how many did, in a row.
        confirmed: an answer has agreed with `value`.
    """

    value: int = 0
    low: int = 0
    high: int = 0
    seen: int = 0
    confirmed: bool = False


def learn(offset: Offset, low: int, high: int) -> Offset:
    """Returns the offset after an answer by which it is from `low` to `high`."""
    if low - TOLERANCE <= offset.value <= high + TOLERANCE:
        return Offset(offset.value, confirmed=True)
    seen = 1
    if offset.seen and max(low, offset.low) <= min(high, offset.high):
        low, high, seen = max(low, offset.low), min(high, offset.high), offset.seen + 1
    if seen < _AGREEING and offset.confirmed:
        return Offset(offset.value, low, high, seen, confirmed=True)
    return Offset((low + high) // 2, confirmed=True)


class Clock:
    """Milliseconds since 1970.

    Args:
        machine: the machine's clock, in the same unit. elapsed: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        machine: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.machine = machine
        self._elapsed = elapsed
        self._offset = Offset()
        self._looks_at = 0.0

    def __call__(self) -> int:
        return self.machine() + self._offset.value

    @property
    def offset(self) -> int:
        """Milliseconds that are added to the machine's time."""
        return self._offset.value

    @property
    def is_due(self) -> bool:
        """Whether the next answer is worth a look."""
        return self._elapsed() >= self._looks_at

    def answered(self, date: str, sent: int) -> None:
        """Learns from an answer that has just come.

        Args:
            date: its header `Date`; anything else is ignored.
            sent: the machine's time when the request was sent.
        """
        now = self.machine()
        try:
            said = int(parsedate_to_datetime(date).timestamp() * 1000)
        except (TypeError, ValueError, OverflowError):
            return
        if not 0 <= now - sent <= _LONGEST:
            return
        before, self._offset = self._offset, learn(self._offset, said - now, said + 999 - sent)
        self._looks_at = 0.0 if self._offset.seen else self._elapsed() + _EVERY
        if self._offset.value != before.value:
            self._tell()

    def _tell(self) -> None:
        seconds = -self._offset.value / 1000
        if abs(seconds) * 1000 <= TOLERANCE:
            log.warning("this machine's clock agrees with the storage account's again")
            return
        way = "ahead of" if seconds > 0 else "behind"
        log.warning(
            "this machine's clock is %.0f s %s the storage account's: the service corrects its times by that. Set the "
            "machine's clock.%s",
            abs(seconds),
            way,
            " From 15 minutes on, storage refuses what it signs." if abs(seconds) * 1000 >= REFUSED else "",
            extra={"code": "clock-wrong"},
        )
