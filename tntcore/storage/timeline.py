"""Lists of records by time, newest or oldest first.

Table Storage reads rows forwards by key, and no other way. A page is therefore found in two steps: first the keys of
the records in a window of time, which grows while it has too few and shrinks while it has too many; then the records
of the page. See decision 0016.

Where keys do not sort by time, each window makes storage look at all records of the kind. There, the first records read
are a sample of all times, and tell how small the next window must be.

Threads are found by their messages, connections and exchanges by their pointers, if all have them: see decision 0022.

A record's position is a UUIDv7: its own uuid or, where that is derived from something else, one made of its time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar
from uuid import UUID

from tntcore.messaging.ids import first_uuid, uuid_at
from tntcore.storage.queries import ANY, Where, between
from tntcore.storage.records import END, Action, Indexed, Message, Pointer, Record
from tntcore.storage.repository import COUNT_CAP, Repository

R = TypeVar("R", bound=Record)
_Place = tuple[str, str]  # position and uuid of a record
MOST_READS: Final = 40
"""Windows of a page. A page that took as many ends early."""
# A page of records that are wanted takes so many pages of records that are looked at, each by a call, and about so many
# records. One that took as many ends early.
_SIFTED_PAGES, _SIFTED, _SIFTED_AT_ONCE = 4, 200, 50
_READ: Final = 999  # keys in a window: one more, which tells that there are more, still is one storage call
_DAY: Final = 24 * 3_600_000
_CHANGE: Final = 8  # how much a window grows or shrinks
_FEWEST: Final = 50  # messages of a window in which threads are looked for
_OF_TIME: Final = 13  # characters of a UUIDv7 that are its time
_EARLIEST: Final = 1 << 40  # milliseconds since 1970: before every record
_LATEST: Final = 1 << 47


@dataclass(frozen=True, slots=True)
class TimedPage(Generic[R]):
    """A page; `next` is the position of the next one's first record, None at the end."""

    records: Sequence[R]
    next: str | None


@dataclass(frozen=True, slots=True)
class Places(Generic[R]):
    """The places of all records that a list may want.

    Attributes:
        beginnings: of their uuids. None is the beginning of another.
        read: returns the records whose uuids begin with one of those given.
        exact: each of the beginnings is the whole uuid of a record that is wanted.
    """

    beginnings: Collection[str]
    read: Callable[[Sequence[str]], Awaitable[Sequence[R]]]
    exact: bool = False

    def count(self, start: str, end: str) -> int | None:
        """Counts the records from a uuid to before another; None if that takes reading all of them."""
        if not self.exact:
            return None
        return min(sum(start <= one < (end or END) for one in self.beginnings), COUNT_CAP)


@dataclass(frozen=True, slots=True)
class Timeline(Generic[R]):
    """The records of a kind that are wanted.

    Attributes:
        start, end: the positions from which, and before which; "" for no bound. They may be beginnings of a position.
        keep: a condition that storage cannot check, on the columns `needs`.
        columns: the columns to read; None for all.
        by_pointers: all records have a pointer that sorts them by time, or for a thread a message that does. These are
            read instead of all records.
        under: with `by_pointers`, the beginning of the uuids of the pointers to read; the position follows it. Records
            without such a pointer are not wanted.
        sift: a condition on records that were read whole, because pointers or `Places` lead to them.
        exact: all of these meet it.
    """

    records: Repository
    kind: type[R]
    start: str = ""
    end: str = ""
    where: Where = ANY
    keep: Callable[[R], bool] | None = None
    needs: Sequence[str] = ()
    columns: Sequence[str] | None = None
    by_pointers: bool = False
    under: str = ""
    sift: Callable[[R], bool] | None = None
    exact: bool = False
    _threads: dict[str, R] = field(default_factory=dict)  # that were read on the way
    _partitions: dict[str, str] = field(default_factory=dict)  # of records that others lead to, which are in the same

    async def page(self, limit: int, *, newest: bool, now: int, position: str = "") -> TimedPage[R]:
        """Returns a page of at most `limit` records.

        It takes one storage call for each window, mostly one to three, and one for the records; where positions are
        made of a time, one for each record. There, unless they have pointers, storage looks at all records of the kind
        for each window.

        Args:
            now: milliseconds since 1970. position: `next` of the page before.
        """
        if self.sift is None:
            return await self._page(limit, newest=newest, now=now, position=position)
        found: list[R] = []
        following: str | None = position
        looked_at, read = limit if self.exact else max(limit, _SIFTED_AT_ONCE), 0
        for _ in range(_SIFTED_PAGES):
            page = await self._page(looked_at, newest=newest, now=now, position=following or "")
            found += filter(self.sift, page.records)
            following, read = page.next, read + len(page.records)
            if following is None or len(found) > limit or read >= _SIFTED:
                break
        if len(found) > limit:
            return TimedPage(found[:limit], self.position(found[limit]))
        return TimedPage(found, following)

    async def _page(self, limit: int, *, newest: bool, now: int, position: str) -> TimedPage[R]:
        start, end = self.start, self.end
        if position and newest:
            end = f"{position}~"
        elif position:
            start = position
        if not newest and not self._column and not self._by_messages:
            return await self._oldest(limit, start, end)
        low, high = _time(start) if start else _EARLIEST, _time(end) + 1 if end else now + _DAY
        edge, width = (high if newest else low), (high - low if self._column else _DAY)
        if not newest and self._by_messages:
            edge = await self._first_of_threads(start[:_OF_TIME], edge)
        threads = max(2 * limit, _FEWEST)
        most = threads if self._by_messages else _READ
        found: list[_Place] = []
        for _ in range(MOST_READS):
            first, last = (max(low, edge - width), edge) if newest else (edge, min(high, edge + width))
            # The outermost windows have no other bounds than those that were given.
            lower = max(start, first_uuid(first)) if first > low else start
            upper = min(end or END, first_uuid(last)) if last < high else end
            known = set(self._threads)
            rows, read = await self._window(lower, upper, first, last, most, threads)
            if self._by_messages:
                # Many messages of few threads that are to be read may be read at once.
                most = _READ if len({thread for _, thread in read} - known) < len(read) // _CHANGE else threads
            if rows is None:
                width = self._narrower(read, first, last, newest=newest)
                continue
            found += sorted(rows, reverse=newest)
            edge = first if newest else last
            if len(found) > limit or edge == (low if newest else high):
                break
            # It grows to half of what may be read.
            width *= max(min(most // (2 * len(read)), _CHANGE), 1) if read else _CHANGE**2
        else:
            return TimedPage(await self._read(found), str(UUID(int=(edge << 80) - newest)))
        return TimedPage(await self._read(found[:limit]), found[limit][0] if len(found) > limit else None)

    def within(self, record: R) -> bool:
        """Whether the record is between the bounds."""
        return self.start <= self.position(record) < (self.end or END)

    async def among(self, places: Places[R], limit: int, *, newest: bool, position: str) -> TimedPage[R]:
        """Returns a page of the records at these places, whose uuids sort by time."""
        start, end = self.start, self.end or END
        if position and newest:
            end = f"{position}~"
        elif position:
            start = position
        wanted = sorted({one for one in places.beginnings if start <= f"{one}~" and one < end}, reverse=newest)
        found: list[R] = []
        for number in range(0, len(wanted), limit + 1):
            read = await places.read(wanted[number : number + limit + 1])
            kept = [record for record in read if start <= record.uuid < end]
            found += sorted(filter(self.sift, kept), key=lambda record: record.uuid, reverse=newest)
            if len(found) > limit:
                return TimedPage(found[:limit], found[limit].uuid)
        return TimedPage(found, None)

    def part(self, records: Sequence[R], limit: int, *, newest: bool, position: str) -> TimedPage[R]:
        """Returns the page of a list that has no other records than these."""
        places = sorted([(self.position(record), record.uuid, record) for record in records], reverse=newest)
        if position:
            places = [one for one in places if (one[0] <= position if newest else one[0] >= position)]
        following = places[limit][0] if len(places) > limit else None
        return TimedPage([record for *_, record in places[:limit]], following)

    async def _oldest(self, limit: int, start: str, end: str) -> TimedPage[R]:
        """Returns a page from `start` on, where keys sort by time: they are read in their order."""
        found: list[_Place] = []
        position: str | None = start
        for _ in range(MOST_READS):
            rows, position = await self._keys(position or "", end, _READ if self.keep is not None else limit + 1)
            found += rows
            if len(found) > limit or position is None:
                return TimedPage(await self._read(found[:limit]), found[limit][0] if len(found) > limit else None)
        return TimedPage(await self._read(found), position)

    async def count(self) -> int | None:
        """Counts the records, up to `COUNT_CAP`. One storage call; with `keep`, up to ten. None for threads of a part
        of time, and for records that are sifted: that takes reading all of them.
        """
        if self._by_messages:
            return None if self.start or self.end else await self.records.count(self.kind)
        if self.sift is not None and not self.exact:
            return None
        if self.by_pointers:
            first, last = self._pointer(self.start), self._pointer(self.end or END)
            return await self.records.count(Pointer, start=first, end=last)
        if self.keep is None:
            return await self.records.count(self.kind, start=self._first, end=self._last, where=self._condition)
        count, start = 0, self._first
        for _ in range(10):
            hits = await self.records.list(
                self.kind, limit=_READ, start=start, end=self._last, where=self._condition, columns=self.needs
            )
            count += sum(map(self.keep, hits.records))
            if hits.next is None or count >= COUNT_CAP:
                break
            start = hits.next
        return min(count, COUNT_CAP)

    @property
    def _first(self) -> str:
        return "" if self.kind.TIME else self.start

    @property
    def _last(self) -> str:
        return "" if self.kind.TIME else self.end

    @property
    def _condition(self) -> Where:
        """The condition for rows whose keys say nothing of time."""
        if not self.kind.TIME or not (self.start or self.end):
            return self.where
        first = _time(self.start) if self.start else _EARLIEST
        return self.where & between(self.kind.TIME, first, _time(self.end) if self.end else _LATEST)

    async def _window(
        self, lower: str, upper: str, first: int, last: int, most: int, threads: int
    ) -> tuple[list[_Place] | None, list[_Place]]:
        """Returns the records in a window, and all that were read. Instead of the first, None if there are more than
        `most`, unless the window cannot be smaller.

        Args:
            threads: how many may be found by messages, and by pointers.
            lower, upper: the positions from which, and before which. first, last: the same in milliseconds.
        """
        if self._by_messages:
            return await self._window_of_threads(lower, upper, most, threads, may_be_smaller=last - first > 1)
        kept: list[_Place] = []
        read: list[_Place] = []
        where = between(self._column, first, last) if self._column else ANY
        start: str | None = "" if self._column else lower
        while start is not None:
            found, start = await self._keys(start, "" if self._column else upper, most, where, read)
            if start is not None and last - first > 1:
                return None, read
            kept += [place for place in found if lower <= place[0] < (upper or END)]
        return kept, read

    async def _window_of_threads(
        self, lower: str, upper: str, most: int, most_threads: int, *, may_be_smaller: bool
    ) -> tuple[list[_Place] | None, list[_Place]]:
        """Returns what `_window` does. A thread's time is that of one of its messages, or it has a pointer."""
        # A message and its thread have other positions in the same millisecond.
        first, last = lower[:_OF_TIME], first_uuid(_time(upper) + 1) if upper else END
        read: list[_Place] = []
        uuids: dict[str, None] = {}
        for kind in (Message, Pointer):
            of_pointer = kind is Pointer
            start: str | None = self._pointer(first) if of_pointer else first
            while start is not None:
                end = self._pointer(last) if of_pointer else last
                columns = ("recordUuid" if of_pointer else "actionUuid",)
                hits = await self.records.list(kind, limit=most, start=start, end=end, columns=columns)
                found = [self._leads_to(record) for record in hits.records]
                if hits.next is not None and may_be_smaller:
                    return None, found
                read += found
                uuids |= dict.fromkeys(uuid for _, uuid in found if uuid)
                start = hits.next
        # One that was read has its place in this page, even if it has changed since.
        new = [uuid for uuid in uuids if uuid not in self._threads]
        if len(new) > 2 * most_threads and may_be_smaller:
            return None, sorted(read)
        threads = await self.records.many(self.kind, new, self._partitions)
        self._threads.update({thread.uuid: thread for thread in threads})
        places = [(self.position(self._threads[uuid]), uuid) for uuid in uuids if uuid in self._threads]
        return [place for place in places if lower <= place[0] < (upper or END)], read

    async def _first_of_threads(self, start: str, edge: int) -> int:
        """Returns `edge`, or a later time before all threads from the position `start` on: that of the first message or
        pointer, in milliseconds.
        """
        messages = await self.records.list(Message, limit=1, start=start, columns=())
        pointers = await self.records.list(
            Pointer, limit=1, start=self._pointer(start), end=self._pointer(END), columns=()
        )
        found = [self._leads_to(record)[0] for record in (*messages.records, *pointers.records)]
        return max(edge, min(map(_time, found), default=edge))

    async def _keys(
        self, start: str, end: str, limit: int, where: Where = ANY, read: list[_Place] | None = None
    ) -> tuple[list[_Place], str | None]:
        """Returns the places of wanted records among the next ones, in the order of their keys, and where to go on.

        Args:
            where: a further condition. read: all places that were read are added to it.
        """
        if self.by_pointers:
            hits = await self.records.list(
                Pointer, limit=limit, start=self._pointer(start), end=self._pointer(end or END)
            )
            places = [self._leads_to(pointer) for pointer in hits.records]
            following = hits.next.rpartition(".")[2] if hits.next is not None else None
            kept = places
        else:
            columns = (*self.needs, *([self._column] if self._column else []))
            found = await self.records.list(
                self.kind, limit=limit, start=start, end=end, where=self.where & where, columns=columns
            )
            places = [(self.position(record), record.uuid) for record in found.records]
            following = found.next
            keep = self.keep
            kept = [place for place, record in zip(places, found.records, strict=True) if keep is None or keep(record)]
        if read is not None:
            read += places
        return kept, following

    def _leads_to(self, record: Record) -> _Place:
        """Returns the position of a message or pointer, and the uuid of the record that it leads to."""
        uuid = record.record_uuid if isinstance(record, Pointer) else ""
        uuid = record.action_uuid if isinstance(record, Message) else uuid
        self._partitions[uuid] = record.partition
        return record.uuid.rpartition(".")[2], uuid

    def _pointer(self, position: str) -> str:
        return f"{self.under or f'{self.kind.KIND}.'}{position}"

    @property
    def _by_messages(self) -> bool:
        """Whether messages sort the records by time."""
        return self.by_pointers and issubclass(self.kind, Action)

    @property
    def _column(self) -> str:
        """The column to sort by; "" if keys that are read sort by time."""
        return "" if self.by_pointers else self.kind.TIME

    def _narrower(self, read: Sequence[_Place], first: int, last: int, *, newest: bool) -> int:
        """Returns the width for the next window, after one from `first` to `last` had too many records.

        Args:
            read: its first records, in the order of their uuids.
        """
        if self._column:
            edge = _likely_edge(read, newest=newest)
            return min(max(last - edge if newest else edge + 1 - first, 1), (last - first) // 2)
        # If they come to the end as densely as the last of these, four times the time of an eighth has half as many.
        eighth = _time(read[-1][0]) - _time(read[-len(read) // 8][0])
        return max(min(4 * eighth, (last - first) // _CHANGE), 1)

    def position(self, record: R) -> str:
        """Returns the record's place in time."""
        if not self.kind.TIME:
            return record.uuid
        at = record.updated_at if self.kind.TIME == "updatedAt" else record.created_at
        return uuid_at(at, record.uuid)

    async def _read(self, found: Sequence[_Place]) -> list[R]:
        """Returns the records at these positions, in this order."""
        uuids = [uuid for _, uuid in found]
        if self._by_messages:
            return [self._threads[uuid] for uuid in uuids]
        if not uuids or self.kind.TIME or self.keep is not None or self.by_pointers:
            return await self.records.many(self.kind, uuids, self._partitions)
        hits = await self.records.list(
            self.kind, limit=_READ, start=min(uuids), end=f"{max(uuids)}~", where=self.where, columns=self.columns
        )
        by_uuid = {record.uuid: record for record in hits.records}
        return [by_uuid[uuid] for uuid in uuids if uuid in by_uuid]


def sorts_by_pointers(kind: type[Record]) -> bool:
    """Whether pointers sort records of this kind by time, because their own keys do not."""
    return bool(kind.TIME) and issubclass(kind, Indexed | Action)


def _likely_edge(read: Sequence[_Place], *, newest: bool) -> int:
    """Returns a time, in milliseconds since 1970. After it, or before it unless `newest`, there are about half as many
    records as one storage call reads.

    Args:
        read: the first records in the order of their uuids, which is that of a hash.
    """
    share = int(read[-1][1][:8], 16) / 2**32  # of all records, those that were read
    times = sorted((_time(position) for position, _ in read), reverse=newest)
    return times[round(share * _READ / 2)]


def _time(position: str) -> int:
    """Returns the time of a position, or of its beginning, in milliseconds since 1970."""
    return int(position[:8] + position[9:13], 16)
