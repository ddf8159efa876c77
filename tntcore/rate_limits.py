"""Rate limits for outside callers, in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Allowance:
    """A token bucket per key: `burst` at once, and one more every `seconds`.

    Args:
        now: monotonic seconds.
        maximum: number of keys remembered; the one used longest ago is forgotten first.
    """

    def __init__(self, now: Callable[[], float], *, burst: int, seconds: float, maximum: int = 10_000) -> None:
        self._now = now
        self._burst = burst
        self._seconds = seconds
        self._maximum = maximum
        # By key, the tokens that are left, and the time of that figure.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Takes one token of `key`. Returns False if none is left."""
        now = self._now()
        left, since = self._left.pop(key, (float(self._burst), now))
        left = min(left + (now - since) / self._seconds, self._burst)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > self._maximum:
            self._left.popitem(last=False)
        return left >= 1


class Pace:
    """A rate per minute for each key, with a minute's worth as burst. For this process alone: several instances allow
    several times as much, since a shared counter would cost a storage call per message.

    Args:
        now: monotonic seconds.
        maximum: number of keys remembered; the one used longest ago is forgotten first.
    """

    def __init__(self, now: Callable[[], float], *, maximum: int = 50_000) -> None:
        self._now = now
        self._maximum = maximum
        # By key, the time until which its allowance is used. A key that is a minute behind may use a minute's worth.
        self._used_until: OrderedDict[str, float] = OrderedDict()

    def take(self, key: str, per_minute: int) -> float:
        """Takes one if there is one left and returns 0; otherwise returns the seconds until there is. `per_minute` 0 is
        no limit.
        """
        if not per_minute:
            return 0.0
        now = self._now()
        until = max(self._used_until.get(key, 0.0), now - 60) + 60 / per_minute
        if until > now:
            return until - now
        self._put(key, until)
        return 0.0

    def wait(self, key: str, per_minute: int) -> float:
        """Returns the seconds until there is one left; takes none."""
        if not per_minute or key not in self._used_until:
            return 0.0
        now = self._now()
        return max(max(self._used_until[key], now - 60) + 60 / per_minute - now, 0.0)

    def reserve(self, key: str, per_minute: int, amount: int = 1) -> float:
        """Takes `amount` in any case; returns the seconds until their turn, 0 if it is now. Later callers queue
        behind.
        """
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
