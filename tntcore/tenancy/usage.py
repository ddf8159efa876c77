"""Storage used by each principal, and its quota.

The figure is an estimate, so that no message costs a storage call for it: bytes written are added up in the process,
and added to the principal's row from time to time. Changes that are not counted are small: columns added to a row
later. `recount` finds the true figure.

The acts of a principal in each month are counted in the same way, and written with the same figure: a process that dies
loses its counts since the last write, of a minute or a megabyte. If a principal falls silent, its counts are written
with its next message, or when the process ends.

Figures are added once, even if the answer to a write is lost and the write is repeated: each has an id, and the row has
the ids of the latest ones.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tntcore.caching import SharedCache
from tntcore.storage.commit import Unit
from tntcore.storage.records import Principal
from tntcore.storage.repository import row_bytes
from tntcore.storage.retrying import retrying
from tntcore.storage.storage import Storage
from tntcore.storage.transactions import Value
from tntcore.strict_json import write_json

log = logging.getLogger(__name__)

Months = dict[str, dict[str, int]]
"""By month, such as `2026-01` (UTC), and by name: see `made_by`."""
MOST_MONTHS = 36
FLUSH_BYTES = 1024 * 1024
FLUSH_SECONDS = 60.0
_PAGE = 1000
_KNOWN_SECONDS = 60.0  # longer than a principal is kept in memory after its row was read
# By then a message is stored, its bytes are in the principal's row (`FLUSH_SECONDS`), and the row was read again.
_EXPECTED_SECONDS = 100.0
# Processes may each accept messages that the others do not know of: each uses this part of what is left.
_PROCESSES = 4
_MAX_EXPECTED = 100_000
_FLUSHES = 16  # ids that a row keeps: more than processes write it while one of them repeats a write


@dataclass(slots=True)
class _Flush:
    """Figures on their way to the principal's row."""

    id: str
    amount: int
    months: Months


class Usage:
    """Counts the bytes that principals store.

    Args:
        quota: bytes that a principal without a limit of its own may keep; 0 is no limit.
        now: monotonic seconds. clock: seconds since 1970. random: returns so many random bytes.
    """

    def __init__(
        self,
        storage: Storage,
        quota: int,
        now: Callable[[], float],
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._clock = clock
        self._random = random
        # By principal and month, not yet in the principal's row.
        self._months: dict[str, Months] = {}
        self._storage = storage
        self._quota = quota
        self._now = now
        # Bytes not yet in the principal's row, and since when.
        self._pending: dict[str, tuple[int, float]] = {}
        self._flushing: dict[str, asyncio.Task[None]] = {}
        # Figures that may or may not be in the principal's row.
        self._unsure: dict[str, list[_Flush]] = {}
        # The last known figure of rows.
        self._known: SharedCache[int] = SharedCache(now, 10_000)
        # Messages that are accepted and not yet stored: id -> principal, bytes, expiry.
        self._expected: OrderedDict[str, tuple[str, int, float]] = OrderedDict()
        self._expected_bytes: Counter[str] = Counter()

    def expect(self, principal: str, message: str, amount: int) -> None:
        """Counts an accepted message (uuid) as stored until it has `arrived`, so that many at once cannot exceed the
        quota. A message that another process stores, or drops because it crashes, counts for 100 seconds.
        """
        if len(self._expected) >= _MAX_EXPECTED:
            self.arrived(next(iter(self._expected)))
        self._expected[message] = principal, amount, self._now() + _EXPECTED_SECONDS
        self._expected_bytes[principal] += amount

    def _expire(self) -> None:
        now = self._now()
        while self._expected and next(iter(self._expected.values()))[2] <= now:
            self.arrived(next(iter(self._expected)))

    def arrived(self, message: str) -> None:
        """Ends the count of `expect`: the message is stored, or never will be."""
        principal, amount, _ = self._expected.pop(message, ("", 0, 0.0))
        self._expected_bytes[principal] -= amount
        if not self._expected_bytes[principal]:
            del self._expected_bytes[principal]

    def add(self, principal: str, amount: int) -> None:
        """Counts bytes that were written, or deleted if negative."""
        now = self._now()
        pending, since = self._pending.get(principal, (0, now))
        self._pending[principal] = pending + amount, since
        due = abs(pending + amount) >= FLUSH_BYTES or now - since >= FLUSH_SECONDS
        if due and principal not in self._flushing:
            task = asyncio.get_running_loop().create_task(self._flush(principal))
            self._flushing[principal] = task
            task.add_done_callback(lambda _: self._flushing.pop(principal, None))

    def count(self, principal: str, counts: Mapping[str, int]) -> None:
        """Counts what the principal did now. Called before `add`, which sees to it that it is written."""
        if counts:
            month = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m")
            _add(self._months.setdefault(principal, {}), {month: counts})

    def months(self, principal: Principal) -> Months:
        """Returns the principal's counts of each month: those in its row, and those that are not written yet.

        Args:
            principal: just read.
        """
        months: Months = {}
        _add(months, principal.months)
        for flush in self._unsure.get(principal.uuid, ()):
            if flush.id not in principal.flushes:
                _add(months, flush.months)
        _add(months, self._months.get(principal.uuid, {}))
        return months

    def quota(self, principal: Principal) -> int:
        """The bytes that the principal may keep, 0 if there is no limit."""
        own = principal.limits.get("storedBytes")
        return self._quota if own is None else own

    def stored(self, principal: Principal) -> int:
        """The bytes that the principal keeps: its row's figure, plus the bytes that this process wrote since."""
        written = self._known.peek(principal.uuid)
        known = principal.stored_bytes if written is None else written
        unsure = sum(flush.amount for flush in self._unsure.get(principal.uuid, ()))
        return max(known + self._pending.get(principal.uuid, (0, 0.0))[0] + unsure, 0)

    def kept(self, principal: Principal) -> int:
        """The bytes that the principal keeps, for showing: its row's figure, and what is not written yet.

        Args:
            principal: just read.
        """
        unsure = sum(
            flush.amount for flush in self._unsure.get(principal.uuid, ()) if flush.id not in principal.flushes
        )
        return max(principal.stored_bytes + self._pending.get(principal.uuid, (0, 0.0))[0] + unsure, 0)

    def is_full(self, principal: Principal) -> bool:
        """Whether the principal's quota is used up, counting messages that are accepted and not yet stored."""
        quota = self.quota(principal)
        return quota > 0 and self._taken(principal, 1) >= quota

    def may_accept(self, principal: Principal, amount: int, *, by_anybody: bool = False) -> bool:
        """Whether a message of so many bytes may be accepted: there is room, and it exceeds the quota by a tenth at
        most. Other processes may have accepted as much as this one.

        Args:
            by_anybody: it is of a kind that anybody can send, and a fifth of the quota is kept for other messages.
        """
        quota, taken = self.quota(principal), self._taken(principal, _PROCESSES)
        if by_anybody and taken + amount > quota - quota // 5:
            return not quota
        return not quota or (taken < quota and taken + amount <= quota + quota // 10)

    def _taken(self, principal: Principal, processes: int) -> int:
        self._expire()
        return self.stored(principal) + self._expected_bytes.get(principal.uuid, 0) * processes

    def is_over(self, principal: Principal) -> bool:
        """Whether the principal exceeds its quota by a tenth, or a megabyte: then even accepted messages wait."""
        quota = self.quota(principal)
        return quota > 0 and self.stored(principal) >= quota + max(quota // 10, FLUSH_BYTES)

    async def flush(self) -> None:
        """Writes all pending figures."""
        await asyncio.gather(*(self._flush(principal) for principal in [*self._unsure]))
        await asyncio.gather(*(self._flush(principal) for principal in {*self._pending, *self._months}))

    async def _flush(self, principal: str) -> None:
        flushes = self._unsure.pop(principal, None) or [self._take(principal)]
        try:
            while flushes:
                await self._add_once(principal, flushes[0])
                del flushes[0]
        except Exception:
            log.exception("what a principal stored could not be written down yet")
            self._unsure.setdefault(principal, []).extend(flushes)
            # This keeps the next message from retrying at once.
            self._pending[principal] = self._pending.get(principal, (0, 0.0))[0], self._now()

    def _take(self, principal: str) -> _Flush:
        amount, _ = self._pending.pop(principal, (0, 0.0))
        return _Flush(self._random(6).hex(), amount, self._months.pop(principal, {}))

    async def _add_once(self, principal: str, flush: _Flush) -> None:
        def change(record: Principal) -> dict[str, Value]:
            if flush.id in record.flushes:
                return {}
            changed: dict[str, Value] = {
                "storedBytes": max(record.stored_bytes + flush.amount, 0),
                "flushes": write_json([*record.flushes, flush.id][-_FLUSHES:]).decode(),
            }
            if flush.months:
                _add(record.months, flush.months)
                kept = dict(sorted(record.months.items())[-MOST_MONTHS:])
                changed["months"] = write_json(kept).decode()
            return changed

        await self._write(principal, change)

    async def recount(self, principal: str) -> int:
        """Counts the bytes that the principal keeps: reads all of its rows, and lists its blobs."""
        total = 0
        self._pending.pop(principal, None)
        for flush in self._unsure.get(principal, ()):
            flush.amount = 0
        row = await self._storage.records.get(principal, Principal.row_key(principal))
        for partition in Principal.read(row).shard_names if row is not None else ():
            start: str | None = ""
            while start is not None:
                page = await self._storage.records.scan(partition, start, "~~~", limit=_PAGE)
                total += sum(row_bytes(row.values) for row in page.rows)
                start = page.next
        total += await self._storage.bodies.size_under(f"{principal}/")
        await self._write(principal, lambda _: {"storedBytes": total})
        return total

    async def _write(self, principal: str, change: Callable[[Principal], dict[str, Value]]) -> None:
        """Writes the changed columns, if there are any."""

        async def attempt() -> None:
            row = await self._storage.records.get(principal, Principal.row_key(principal))
            if row is None:
                return
            record = Principal.read(row)
            changed = change(record)
            if changed:
                unit = Unit()
                unit.merge(record.key, changed, record.etag)
                await self._storage.committer.commit(principal, unit)
            total = changed.get("storedBytes", record.stored_bytes)
            if isinstance(total, int):
                self._known.put(principal, total, _KNOWN_SECONDS)

        await retrying(attempt)


def _add(months: Months, more: Mapping[str, Mapping[str, int]]) -> None:
    for month, counts in more.items():
        of_month = months.setdefault(month, {})
        for name, number in counts.items():
            of_month[name] = of_month.get(name, 0) + number
