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


class Pace:
    """So many a minute for each key, and a minute's worth at once. For this process alone: several instances allow
    several times as much, since a counter that they shared would cost a storage call a message.

    Args:
        now: monotonic seconds.
        maximum: keys that are remembered; the one that was used longest ago is forgotten first.
    """

    def __init__(self, now: Callable[[], float], *, maximum: int = 50_000) -> None:
        self._now = now
        self._maximum = maximum
        # Until when each has used up what it may: one that is a minute behind may use a minute's worth.
        self._used_until: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, per_minute: int) -> float:
        """Takes one, if there is one left; else answers the seconds until there is. `per_minute` 0 is no limit."""
        if not per_minute:
            return 0.0
        now = self._now()
        until = max(self._used_until.get(key, 0.0), now - 60) + 60 / per_minute
        if until > now:
            return until - now
        self._put(key, until)
        return 0.0

    def wait(self, key: str, per_minute: int) -> float:
        """Seconds until there is one left; none is taken."""
        if not per_minute or key not in self._used_until:
            return 0.0
        now = self._now()
        return max(max(self._used_until[key], now - 60) + 60 / per_minute - now, 0.0)

    def reserve(self, key: str, per_minute: int, amount: int = 1) -> float:
        """Takes `amount` in any case; answers in how many seconds it is their turn, 0 if it is now. Those who come
        later stand behind."""
        if not per_minute:
            return 0.0
        now = self._now()
        until = max(self._used_until.get(key, 0.0), now - 60) + 60 * amount / per_minute
        self._put(key, until)
        return max(until - now, 0.0)

    def _put(self, key: str, until: float) -> None:
        self._used_until[key] = until
        self._used_until.move_to_end(key)
        if len(self._used_until) > self._maximum:
            self._used_until.popitem(last=False)
