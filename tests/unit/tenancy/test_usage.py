"""Quotas: what several processes accept together, and what a crash leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tntcore.storage.records import Principal
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


async def test_counts_are_written_at_the_end_even_if_no_bytes_are_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `recount`, which takes the pending bytes alone."""
    process, written = usage(Clock()), {}

    async def write(principal: str, change: Any, months: Any) -> None:
        written[principal] = [*months.values()]

    monkeypatch.setattr(process, "_write", write)
    process.count("acme", {"messagesIn": 1})
    await process.flush()
    assert written == {"acme": [{"messagesIn": 1}]}
