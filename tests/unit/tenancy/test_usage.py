"""Quotas: what several processes accept together, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError

from devtools.memory import Durable, MemoryStorage
from tntcore.storage.records import Principal
from tntcore.storage.tables import Row
from tntcore.tenancy.usage import Usage

QUOTA, SIZE = 20_000_000, 300_000


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def tenant(stored: int = 0) -> Principal:
    return Principal(
        uuid="acme", display_name="Acme", data_key=b"", data_key_version="", created_at=0, updated_at=0,
        limits={"storedBytes": QUOTA}, stored_bytes=stored,
    )  # fmt: skip


def accept(usage: Usage, principal: Principal, prefix: str = "") -> int:
    """Accepts messages that nobody stores, until there is no room. Returns the bytes."""
    number = 0
    while usage.may_accept(principal, SIZE):
        usage.expect(principal.uuid, f"{prefix}{number}", SIZE)
        number += 1
    return number * SIZE


def usage(clock: Clock) -> Usage:
    storage: Any = None  # nothing is written
    return Usage(storage, 0, clock)


def test_processes_that_do_not_know_of_each_other_keep_the_quota() -> None:
    clock = Clock()
    assert 0.8 * QUOTA < sum(accept(usage(clock), tenant()) for _ in range(4)) <= 1.1 * QUOTA


def test_what_other_processes_stored_or_lost_counts_for_less_than_two_minutes() -> None:
    clock = Clock()
    process = usage(clock)
    accept(process, tenant())
    clock.now += 60
    assert not process.may_accept(tenant(), SIZE), "the row may not show it yet"
    clock.now += 50
    assert process.may_accept(tenant(stored=QUOTA // 2), SIZE)
    assert process.is_full(tenant(stored=QUOTA))


def test_a_message_that_arrived_makes_room_at_once() -> None:
    process, principal = usage(Clock()), tenant()
    accept(process, principal)
    process.arrived("0")
    process.arrived("0")
    process.arrived("never accepted")
    assert process.may_accept(principal, SIZE)


def test_messages_of_strangers_do_not_stop_the_tenants_own_calls() -> None:
    process, principal = usage(Clock()), tenant()
    accept(process, principal)
    assert not process.is_full(principal)


def test_one_large_message() -> None:
    process = usage(Clock())
    assert process.may_accept(tenant(stored=QUOTA - 1), QUOTA // 10)
    assert not process.may_accept(tenant(stored=QUOTA // 2), QUOTA)
    assert not process.may_accept(tenant(stored=QUOTA), 1)


class Account:
    """A storage account with the row of one principal. `faults`: what happens to the next writes."""

    def __init__(self) -> None:
        self.durable = Durable(0)
        row = tenant()
        self.durable.tables["records"] = {("acme", row.key): Row("acme", row.key, row.values(), "1")}
        self.faults: list[str] = []

    def process(self, clock: Clock) -> Usage:
        return Usage(MemoryStorage(self.durable, self.point), 0, clock)

    async def point(self, name: str, effect: Callable[[], Any], *, writes: bool) -> Any:
        fault = self.faults.pop(0) if writes and self.faults else ""
        if fault == "not written":
            raise ServiceRequestError("the call did not get there")
        if fault == "repeated":
            effect()
        found = effect()
        if fault == "answer lost":
            raise ServiceResponseError("the answer did not come back")
        return found

    @property
    def principal(self) -> Principal:
        [row] = self.durable.tables["records"].values()
        return Principal.read(row)


@pytest.mark.parametrize("fault", ["not written", "repeated", "answer lost"])
async def test_figures_are_added_once_whatever_happens_to_the_write(fault: str) -> None:
    account, clock = Account(), Clock()
    process, other = account.process(clock), account.process(clock)
    for faults in ([], [fault], [fault, fault], []):
        process.count("acme", {"messagesIn": 1})
        process.add("acme", 100)
        other.count("acme", {"messagesIn": 1})
        other.add("acme", 1_000)
        account.faults = list(faults)
        await process.flush()
        shown = process.months(account.principal)
        await other.flush()
        assert [counts["messagesIn"] >= 1 for counts in shown.values()] == [True]
    await process.flush()
    [month] = account.principal.months.values()
    assert month == {"messagesIn": 8}
    assert account.principal.stored_bytes == 4_400
    clock.now += 100
    assert process.stored(account.principal) == other.stored(account.principal) == 4_400
    assert process.months(account.principal) == account.principal.months


async def test_a_recount_takes_what_may_have_been_written() -> None:
    account, clock = Account(), Clock()
    process = account.process(clock)
    process.count("acme", {"messagesIn": 1})
    process.add("acme", 1_000_000)
    account.faults = ["answer lost"]
    await process.flush()
    total = await process.recount("acme")
    await process.flush()
    assert account.principal.stored_bytes == total < 10_000
    assert [*account.principal.months.values()] == [{"messagesIn": 1}]


async def test_a_row_keeps_few_ids_of_figures() -> None:
    account, clock = Account(), Clock()
    process = account.process(clock)
    for _ in range(50):
        process.add("acme", 1)
        await process.flush()
    assert account.principal.stored_bytes == 50
    assert len(account.principal.flushes) <= 20


async def test_counts_are_written_at_the_end_even_if_no_bytes_are_pending() -> None:
    """As after `recount`, which takes the pending bytes alone."""
    account = Account()
    process = account.process(Clock())
    process.count("acme", {"messagesIn": 1})
    await process.flush()
    assert [*account.principal.months.values()] == [{"messagesIn": 1}]
