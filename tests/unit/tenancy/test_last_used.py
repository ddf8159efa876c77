"""When keys were last used, where storage does not always answer."""

from __future__ import annotations

from typing import cast

from tntcore.storage.commit import Committer, Unit
from tntcore.storage.records import Operator
from tntcore.telemetry import Meter
from tntcore.tenancy.last_used import EVERY, LastUsed


class Storage:
    def __init__(self) -> None:
        self.is_down = True
        self.commits = 0

    async def commit(self, partition: str, unit: Unit) -> None:
        if self.is_down:
            raise OSError("storage is down")
        self.commits += 1


async def test_a_write_that_failed_does_not_hide_the_next_use() -> None:
    storage = Storage()
    used = LastUsed(cast("Committer", storage), Meter(0))
    record = Operator(uuid="019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b")
    now = EVERY
    used.saw("operators", record, now)
    await used.flush()
    assert storage.commits == 0
    storage.is_down = False
    for _ in range(3):
        used.saw("operators", record, now + 1)
    await used.flush()
    assert storage.commits == 1
    used.saw("operators", record, now + 2)
    await used.flush()
    assert storage.commits == 1
