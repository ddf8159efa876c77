"""A limit on what others may make this process do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Allowance:
    """`burst` at once for each key, and one more for every `seconds` that pass.

    Args:
        now: monotonic seconds.
        maximum: keys that are remembered; the one that was used longest ago is forgotten first.
    """

    def __init__(self, now: Callable[[], float], *, burst: int, seconds: float, maximum: int = 10_000) -> None:
        self._now = now
        self._burst = burst
        self._seconds = seconds
        self._maximum = maximum
        # What is left of each, and when that was true.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Whether one is left for `key`, which then is used."""
        now = self._now()
        left, since = self._left.pop(key, (float(self._burst), now))
        left = min(left + (now - since) / self._seconds, self._burst)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > self._maximum:
            self._left.popitem(last=False)
        return left >= 1
