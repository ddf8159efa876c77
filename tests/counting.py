"""Counts what one test does, leaving out what runs beside it in the same process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tntcore.telemetry.meter import Meter

_counts: ContextVar[Counter[str] | None] = ContextVar("counts", default=None)


@contextmanager
def counting(meter: Meter) -> Iterator[Counter[str]]:
    """Yields the counts of what the calling task, and the tasks that it starts, do meanwhile."""
    mine: Counter[str] = Counter()
    token, count = _counts.set(mine), meter.count

    def both(name: str, amount: int = 1) -> None:
        count(name, amount)
        if (counts := _counts.get()) is not None:
            counts[name] += amount

    meter.count = both  # type: ignore[method-assign]
    try:
        yield mine
    finally:
        meter.count = count  # type: ignore[method-assign]
        _counts.reset(token)
