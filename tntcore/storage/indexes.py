"""Whether pointers can be relied on: all records have theirs, and whoever writes records now writes theirs.

Versions before there were pointers write records without. The timer of a version that knows them says so every minute,
in a row of the table `lookups`. If it has been silent for some minutes, an older version may have run, and every tenant
is looked at again. See docs/decisions/0022-pointers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tntcore.caching import SharedCache
from tntcore.storage.layout import PARTITION
from tntcore.storage.tables import Table

SILENCE: Final = 600_000
"""Milliseconds without a word of the timer, after which an older version may have run."""
SETTLES: Final = 3_600_000
"""Milliseconds after which no older version runs beside this one any more, as during an upgrade."""
POINTERS: Final = "pointers-2"
"""The row in which the timer says it. Versions that knew fewer pointers said it in the row `pointers`."""
_SECONDS: Final = 60.0
_OFTEN: Final = 50_000  # milliseconds for which a word of the timer is enough


@dataclass(frozen=True, slots=True)
class Reign:
    """The time in which only versions with pointers have run. `since`, `seen`: its beginning, and the last word of the
    timer, in milliseconds since 1970.
    """

    since: int
    seen: int


class Indexes:
    """
    Args:
        table: the lookups. now: milliseconds since 1970.
    """

    def __init__(self, table: Table, now: Callable[[], int]) -> None:
        self._table = table
        self._now = now
        self._cache: SharedCache[Reign | None] = SharedCache(lambda: now() / 1000, 1)
        self._reign: Reign | None = None

    async def cover(self, indexed_at: int) -> bool:
        """Whether all records of a tenant have their pointers.

        Args:
            indexed_at: `Principal.indexed_at`.
        """
        if not indexed_at:
            return False
        reign = self._cache.peek("") or await self._cache.get("", self._load)
        return reign is not None and self._now() < reign.seen + SILENCE and indexed_at >= reign.since + SETTLES

    async def renew(self) -> Reign:
        """Says that this version runs, and returns since when. Called by the timer every minute, and again and again
        while it works.
        """
        now, reign = self._now(), self._reign
        if reign is not None and now < reign.seen + _OFTEN:
            return reign
        if reign is None or reign.seen + SILENCE <= now:
            reign, _ = await self._load()
        # A later time was said by a clock that was wrong.
        since = min(reign.since, now) if reign is not None and now < reign.seen + SILENCE else now
        await self._table.put(PARTITION, POINTERS, {"since": since, "seen": now})
        self._reign = Reign(since, now)
        return self._reign

    async def _load(self) -> tuple[Reign | None, float]:
        row = await self._table.get(PARTITION, POINTERS)
        if row is None:
            return None, _SECONDS
        return Reign(row.values["since"], row.values["seen"]), _SECONDS
