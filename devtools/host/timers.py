"""Timer triggers: NCRONTAB schedules, and the loop that runs one."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from azure.functions.timer import TimerRequest

from devtools.host.functions import Invoke, LoadedFunction
from devtools.host.settings import SettingsError

log = logging.getLogger("devtools.host")

_FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


class Schedule:
    """An NCRONTAB expression: second minute hour day month weekday (0 is Sunday), in UTC.

    Each field is `*`, a number, a range `a-b`, a list, or either with a step `/n`; months and weekdays may be
    three-letter names. A day must satisfy both day and weekday. Raises `SettingsError` for anything else.
    """

    def __init__(self, expression: str) -> None:
        parts = expression.split()
        if len(parts) == 5:
            parts.insert(0, "0")
        if len(parts) != 6:
            raise SettingsError(f"schedule {expression!r}: an NCRONTAB expression has six fields, the first the second")
        self._sets = [
            _field(part, name, low, high, expression) for part, (name, low, high) in zip(parts, _FIELDS, strict=True)
        ]

    def next_after(self, moment: datetime) -> datetime:
        """The first time strictly after `moment` (aware, UTC) that fits; raises `SettingsError` if none ever does."""
        seconds, minutes, hours, days, months, weekdays = self._sets
        first = moment.replace(microsecond=0) + timedelta(seconds=1)
        day = first.replace(hour=0, minute=0, second=0)
        # February 29th on a given weekday returns after 28 years, or 40 across a century without a leap day.
        for _ in range(366 * 41):
            if day.month in months and day.day in days and day.isoweekday() % 7 in weekdays:
                for hour in sorted(hours):
                    for minute in sorted(minutes):
                        for second in sorted(seconds):
                            found = day.replace(hour=hour, minute=minute, second=second)
                            if found >= first:
                                return found
            day += timedelta(days=1)
        raise SettingsError("this schedule never comes")


def _field(text: str, name: str, low: int, high: int, expression: str) -> frozenset[int]:
    values: set[int] = set()
    sound = True
    try:
        for item in text.split(","):
            span, _, step = item.partition("/")
            first, dash, last = span.partition("-")
            start = low if span == "*" else _number(first, name)
            end = high if span == "*" or (step and not dash) else _number(last, name) if dash else start
            jump = int(step) if "/" in item else 1
            sound = sound and low <= start <= end <= high and jump >= 1
            values.update(range(start, end + 1, max(jump, 1)))
    except ValueError:
        sound = False
    if not sound:
        raise SettingsError(
            f"schedule {expression!r}: the {name} field {text!r} is not understood; "
            f"use *, numbers from {low} to {high}, ranges, lists and steps"
        )
    return frozenset(values)


def _number(text: str, name: str) -> int:
    names = _NAMES.get(name, ())
    if text.lower() in names:
        return names.index(text.lower()) + (1 if name == "month" else 0)
    return int(text)


def utc_now() -> datetime:
    """The clock of the real host."""
    return datetime.now(UTC)


class Timer:
    """Runs one timer function at its times, never twice at once: what falls into a run is skipped."""

    def __init__(
        self, function: LoadedFunction, schedule: Schedule, invoke: Invoke, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._function = function
        self._schedule = schedule
        self._invoke = invoke
        self._now = now
        self._stopping = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to wait for the first occurrence."""
        self._loop = asyncio.create_task(self._run(), name=f"timer {self._function.name}")

    async def _run(self) -> None:
        if self._function.trigger.run_on_startup:
            await self._fire()
        last = self._now()
        while not self._stopping.is_set():
            # Counted from the last occurrence too, for a clock that is read a moment early would find it once more.
            last = self._schedule.next_after(max(last, self._now()))
            wait = (last - self._now()).total_seconds()
            try:
                await asyncio.wait_for(self._stopping.wait(), max(wait, 0))
            except TimeoutError:
                await self._fire()

    async def _fire(self) -> None:
        try:
            await self._invoke(self._function, TimerRequest(past_due=False))
        except Exception:
            log.exception("Executed 'Functions.%s' (Failed)", self._function.name)

    async def stop(self, grace: float) -> None:
        """Wait up to `grace` seconds for a run under way, then cancel it."""
        self._stopping.set()
        if self._loop is not None:
            _, late = await asyncio.wait({self._loop}, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
