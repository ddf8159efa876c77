"""Following a list that grows: each entry once, in order, through restarts of the service."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tntcore.cli.errors import Refused, Unreachable

OVERLAP = 60.0
"""Seconds. A message has its place in the order when it is received and is seen when it has been handled, which may be
after one that came later."""

_PAUSE = 2.0  # seconds between two looks
_LONGEST_PAUSE = 30.0  # while the service is away
_WINDOWS = (600.0, 7_200.0, 86_400.0, 604_800.0, 2_592_000.0)

Hit = Mapping[str, Any]
Fetch = Callable[[float], Iterable[Hit]]
"""Everything since a time, in seconds since 1970."""


def time_of(hit: Hit) -> float:
    """Seconds since 1970, as its uuid of version 7 has them; 0.0 for another uuid."""
    try:
        return (uuid.UUID(str(hit["uuid"])).int >> 80) / 1000
    except ValueError:
        return 0.0


def latest(fetch: Fetch, now: float, number: int | None) -> list[Hit]:
    """The newest entries, oldest first. The service lists from the oldest on, so it is asked for the last ten minutes,
    and then for longer and longer. `number` None is all."""
    if number is None:
        return list(fetch(0))
    for window in (*_WINDOWS, now):
        found = list(fetch(now - window))
        if len(found) >= number:
            break
    return found[-number:]


class News:
    """Tells what was not seen yet from overlapping looks, and forgets what no look can answer again.

    Args:
        begun: seconds since 1970; what is older is not news.
    """

    def __init__(self, begun: float, seen: Iterable[Hit] = ()) -> None:
        self._newest = begun
        self._seen = {str(hit["uuid"]): time_of(hit) for hit in seen}

    @property
    def since(self) -> float:
        """Where the next look has to begin."""
        return self._newest - OVERLAP

    def among(self, hits: Iterable[Hit]) -> list[Hit]:
        found = {str(hit["uuid"]): hit for hit in hits}
        new = sorted((hit for name, hit in found.items() if name not in self._seen), key=lambda hit: str(hit["uuid"]))
        for hit in new:
            at = time_of(hit)
            self._seen[str(hit["uuid"])] = at
            self._newest = max(self._newest, at)
        # The service's own overlap, and as much again, is kept in mind beyond ours.
        oldest = self.since - 10
        self._seen = {name: at for name, at in self._seen.items() if at >= oldest}
        return new


def patiently(
    ask: Callable[[], Any], sleep: Callable[[float], None], note: Callable[[str], None], pause: float = _PAUSE
) -> Any:
    """What `ask` answers, as soon as the service is there. `note` is told when it is away, and when it is back."""
    told = False
    while True:
        try:
            answer = ask()
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.problem["status"] not in (429, 500, 502, 503, 504):
                raise
            if not told:
                note(f"the service is away ({error}); trying again until it is back, Ctrl-C ends it")
                told = True
            sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            if told:
                note("the service is back")
            return answer


def follow(fetch: Fetch, news: News, sleep: Callable[[float], None], note: Callable[[str], None]) -> Iterator[Hit]:
    """What is new, for ever."""
    while True:
        hits = patiently(lambda: list(fetch(news.since)), sleep, note)
        yield from news.among(hits)
        sleep(_PAUSE)
