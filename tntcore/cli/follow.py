"""Follows a list that grows: yields each entry once, in order, even if the service restarts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from tntcore.cli.errors import ServiceRefused, Unreachable

OVERLAP = 60.0
"""Seconds. A message has its place in the order when it is received and is seen when it has been handled, which may be
after one that came later."""

_PAUSE = 2.0  # seconds between two looks
_LONGEST_PAUSE = 30.0  # while the service is away
WINDOWS = (600.0, 7_200.0, 86_400.0, 604_800.0, 2_592_000.0)

Hit = Mapping[str, Any]
FetchHits = Callable[[float], Iterable[Hit]]
"""Everything since a time, in seconds since 1970."""


def time_of(hit: Hit) -> float:
    """The time in a version 7 uuid, in seconds since 1970; 0.0 for any other uuid."""
    try:
        return (uuid.UUID(str(hit["uuid"])).int >> 80) / 1000
    except ValueError:
        return 0.0


def latest(fetch: FetchHits, now: float, number: int | None) -> list[Hit]:
    """Returns the newest entries, oldest first. The service lists oldest first, so this asks for the last ten minutes,
    then for longer and longer periods. `number`: None for all.
    """
    if number is None:
        return list(fetch(0))
    for window in (*WINDOWS, now):
        found = list(fetch(now - window))
        if len(found) >= number:
            break
    return found[-number:]


class News:
    """Finds the new entries in overlapping answers. Forgets uuids that no later answer can contain.

    Args:
        begun: seconds since 1970; older entries are not new.
    """

    def __init__(self, begun: float, seen: Iterable[Hit] = ()) -> None:
        self._newest = begun
        self._seen = {str(hit["uuid"]): time_of(hit) for hit in seen}

    @property
    def since(self) -> float:
        """The time from which to ask next."""
        return self._newest - OVERLAP

    def among(self, hits: Iterable[Hit]) -> list[Hit]:
        found = {str(hit["uuid"]): hit for hit in hits}
        new = sorted((hit for name, hit in found.items() if name not in self._seen), key=lambda hit: str(hit["uuid"]))
        for hit in new:
            at = time_of(hit)
            self._seen[str(hit["uuid"])] = at
            self._newest = max(self._newest, at)
        # Uuids are remembered for longer than looks overlap: by the service's own overlap, twice.
        oldest = self.since - 10
        self._seen = {name: at for name, at in self._seen.items() if at >= oldest}
        return new


def patiently(
    ask: Callable[[], Any], sleep: Callable[[float], None], note: Callable[[str], None], pause: float = _PAUSE
) -> Any:
    """Calls `ask` until the service answers, and returns the answer. Calls `note` when the service goes away and when
    it is back.
    """
    told = False
    while True:
        try:
            answer = ask()
        except (Unreachable, ServiceRefused) as error:
            if isinstance(error, ServiceRefused) and not _passes(error):
                raise
            if not told:
                note(f"the service cannot be reached ({error}); retrying until it answers, Ctrl-C stops")
                told = True
            sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            if told:
                note("the service answers again")
            return answer


def _passes(error: ServiceRefused) -> bool:
    """Whether a later call may succeed: the service is busy or away, or the tenant is suspended, which may end."""
    return error.problem["status"] in (429, 500, 502, 503, 504) or error.code == "tenant-suspended"


def follow_pages(
    fetch: Callable[[float, str | None], Mapping[str, Any]],
    news: News,
    sleep: Callable[[float], None],
    note: Callable[[str], None],
) -> Iterator[Hit]:
    """Yields new entries, for ever, and holds no more than a page of them.

    Args:
        fetch: takes a time, in seconds since 1970, and the `next` of the page before; returns a page.
    """
    while True:
        since, following = news.since, None
        while True:
            page = patiently(partial(fetch, since, following), sleep, note)
            yield from news.among(page["hits"])
            following = page["next"]
            if following is None:
                break
        sleep(_PAUSE)


def follow(fetch: FetchHits, news: News, sleep: Callable[[float], None], note: Callable[[str], None]) -> Iterator[Hit]:
    """Yields new entries, for ever."""
    while True:
        hits = patiently(lambda: list(fetch(news.since)), sleep, note)
        yield from news.among(hits)
        sleep(_PAUSE)
