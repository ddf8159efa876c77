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
POINTERS: Final = "pointers"
"""The row in which the timer says it."""
_SECONDS: Final = 60.0
_OFTEN: Final = 50_000  # milliseconds for which a word of the timer is enough


@dataclass(frozen=True, slots=True)
class Reign:
    """The time in which only versions with pointers have run, in milliseconds since 1970.

    Attributes:
        since: its beginning.
        seen: the last word of the timer.
        filed_since: since when they have also written the pointers for filters (`Indexed.filed`, `Record.UNUSUAL`);
            None if they do not.
    """

    since: int
    seen: int
    filed_since: int | None


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
        """Whether all records of a tenant have the pointers by which they are found by time and DID.

        Args:
            indexed_at: `Principal.indexed_at`.
        """
        reign = await self._known() if indexed_at else None
        return reign is not None and indexed_at >= reign.since + SETTLES

    async def cover_filters(self, filed_at: int) -> bool:
        """Whether all records of a tenant have their pointers for filters.

        Args:
            filed_at: `Principal.filed_at`.
        """
        reign = await self._known() if filed_at else None
        since = reign.filed_since if reign is not None else None
        return since is not None and filed_at >= since + SETTLES

    async def _known(self) -> Reign | None:
        """Returns the reign, unless the timer has been silent."""
        reign = self._cache.peek("") or await self._cache.get("", self._load)
        return reign if reign is not None and self._now() < reign.seen + SILENCE else None

    async def renew(self) -> Reign:
        """Says that this version runs, and returns since when. Called by the timer every minute, and again and again
        while it works.
        """
        now, reign = self._now(), self._reign
        if reign is not None and now < reign.seen + _OFTEN:
            return reign
        if reign is None or reign.seen + SILENCE <= now:
            reign, _ = await self._load()
        since = filed_since = now
        if reign is not None and now < reign.seen + SILENCE:
            # A later time was said by a clock that was wrong.
            since = min(reign.since, now)
            filed_since = min(reign.filed_since if reign.filed_since is not None else now, now)
        await self._table.put(PARTITION, POINTERS, {"since": since, "seen": now, "filedSince": filed_since})
        self._reign = Reign(since, now, filed_since)
        return self._reign

    async def _load(self) -> tuple[Reign | None, float]:
        row = await self._table.get(PARTITION, POINTERS)
        if row is None:
            return None, _SECONDS
        return Reign(row.values["since"], row.values["seen"], row.values.get("filedSince")), _SECONDS
