"""Counts of messages and deliveries, by status and by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypedDict

from tntcore.api.http import Call, Response, answer
from tntcore.api.json_schema import Words
from tntcore.api.views import Time, moment
from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.messaging.ids import first_uuid, time_of
from tntcore.storage.queries import Where
from tntcore.storage.records import Delivery, Message
from tntcore.storage.repository import Repository

_DAY: Final = 24 * 3_600_000
BY_DEFAULT: Final = 7
MOST_DAYS: Final = 92
MOST_COUNTED: Final = 20_000
_READ: Final = 999  # one storage call


class Period(TypedDict, total=False):
    since: Annotated[str, f"a time, or a `sequence`; by default {BY_DEFAULT} days before `until`"]
    until: Annotated[str, "likewise; by default now"]


class DayView(TypedDict):
    """The count of one day, in UTC."""

    day: Annotated[str, Words(format="date", examples=["2026-01-31"])]
    total: int
    byStatus: dict[str, int]


class CountView(TypedDict):
    """Counts by status and by day, the latest day first. Days without any are left out."""

    since: Time
    until: Time
    total: int
    relation: Annotated[
        Literal["eq", "gte"], f"`gte`: only the latest {MOST_COUNTED:,} or a few more were counted; there are more"
    ]
    byStatus: dict[str, int]
    byDay: list[DayView]


async def counted(call: Call, kind: type[Message] | type[Delivery], where: Where) -> Response:
    """Counts the records of a period. Raises `Problem` 400 if it is longer than `MOST_DAYS`."""
    now = call.services.now()
    end = moment(call.query["until"], "until") if call.query.get("until") else now
    first = moment(call.query["since"], "since") if call.query.get("since") else max(end - BY_DEFAULT * _DAY, 0)
    if end - first > MOST_DAYS * _DAY:
        raise Problem(
            400, "since-invalid", f"The period is longer than {MOST_DAYS} days. Count it in parts, by since and until."
        )
    by_day: dict[int, Counter[str]] = {}
    left = MOST_COUNTED
    rows, complete = await _read(call.tenant.records, kind, where, first, end, _READ)
    if complete:
        _add(by_day, rows)
    else:
        # The latest days first, so that it is the oldest ones that are not counted.
        for day in range((end - 1) // _DAY, first // _DAY - 1, -1):
            bounds = max(day * _DAY, first), min(day * _DAY + _DAY, end)
            rows, complete = await _read(call.tenant.records, kind, where, *bounds, left)
            _add(by_day, rows)
            left -= len(rows)
            if not complete or left <= 0:
                complete = False
                break
    total: Counter[str] = sum(by_day.values(), Counter())
    return answer(
        {
            "since": times.iso(first),
            "until": times.iso(end),
            "total": total.total(),
            "relation": "eq" if complete else "gte",
            "byStatus": dict(total),
            "byDay": [
                {
                    "day": datetime.fromtimestamp(day * _DAY / 1000, UTC).date().isoformat(),
                    "total": counts.total(),
                    "byStatus": dict(counts),
                }
                for day, counts in sorted(by_day.items(), reverse=True)
            ],
        }
    )


_Row = tuple[int, str]


async def _read(
    records: Repository, kind: type[Message] | type[Delivery], where: Where, first: int, end: int, most: int
) -> tuple[list[_Row], bool]:
    """Returns day and status of the records from `first` to before `end`, and whether these are all. It stops after
    `most`, rounded up to a whole storage call.
    """
    start: str | None = first_uuid(first)
    found: list[_Row] = []
    while start is not None and len(found) < most:
        hits: Any = await records.list(
            kind, limit=_READ, start=start, end=first_uuid(end), where=where, columns=("status",)
        )
        found += ((time_of(record.uuid) // _DAY, str(record.status)) for record in hits.records)
        start = hits.next
    return found, start is None


def _add(by_day: dict[int, Counter[str]], rows: Iterable[_Row]) -> None:
    for day, status in rows:
        by_day.setdefault(day, Counter())[status] += 1
