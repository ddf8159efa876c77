"""Lists by time where much is stored: storage calls, and rows that storage looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

import pytest

from devtools.memory import Durable, MemoryStorage
from tntcore.keys.custody import DataKey
from tntcore.messaging.ids import uuid_at
from tntcore.storage.records import Action, Contact, Record
from tntcore.storage.repository import Repository
from tntcore.storage.tables import Row
from tntcore.storage.timeline import Timeline

T = TypeVar("T")
NOW, DAY = 1_800_000_000_000, 24 * 3_600_000


class Stored:
    """The records of one tenant. `calls`: of storage, so far."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.durable = Durable(NOW)
        self.calls = 0
        self.durable.rows("records").fill(Row("p", record.key, record.values(), "1") for record in records)
        self.records = Repository(MemoryStorage(self.durable, self._point), "p", DataKey(bytes(32)))

    async def _point(self, name: str, effect: Callable[[], T], *, writes: bool) -> T:
        self.calls += 1
        return effect()

    async def newest(self, kind: type[Any], limit: int) -> list[Any]:
        page = await Timeline(self.records, kind).page(limit, newest=True, now=NOW)
        return list(page.records)


def hashed(number: int) -> str:
    """A uuid whose order says nothing of time."""
    return str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))


@pytest.mark.parametrize("apart", [10, 100, 1000])
async def test_newest_first_where_many_come(apart: int) -> None:
    """Milliseconds from one to the next."""
    ages = [apart * number for number in range(20_000)]
    stored = Stored(Contact(uuid=uuid_at(NOW - age, str(age)), created_at=NOW - age) for age in ages)
    assert [NOW - record.created_at for record in await stored.newest(Contact, 50)] == ages[:50]
    assert stored.calls <= 4
    assert stored.durable.rows_read <= 3_000


@pytest.mark.parametrize("lately", [0, 2_000])
async def test_newest_first_where_keys_say_nothing_of_time(lately: int) -> None:
    """Some over a year, and so many just now."""
    ages = sorted([*range(lately), *(365 * DAY // 10_000 * number for number in range(10_000))])
    stored = Stored(Action(uuid=hashed(number + 1), updated_at=NOW - age) for number, age in enumerate(ages))
    found = await stored.newest(Action, 50)
    assert [NOW - record.updated_at for record in found] == ages[:50]
    assert stored.calls <= 4 + 50
    assert stored.durable.rows_read <= 1_000 + 2 * len(ages) + 50
