"""Which calls the function that committed makes itself."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tntcore.delivery import slow_receivers
from tntcore.delivery.slow_receivers import PATIENCE, SlowReceivers


@dataclass(frozen=True)
class Item:
    tenant: str
    endpoint: str


HOOK = Item("acme", "acme/hook")


def is_at_once(receivers: SlowReceivers, item: Item) -> bool:
    with receivers.at_once(item) as pending:
        return pending is not None


@pytest.mark.parametrize(
    ("seconds", "at_once"), [(0.001, True), (0.1, True), (slow_receivers._AT_ONCE, True), (0.3, False)]
)
async def test_a_receiver_is_called_at_once_if_its_last_answer_was_soon(seconds: float, at_once: bool) -> None:
    receivers = SlowReceivers()
    receivers.mark_prompt(HOOK, seconds)
    assert is_at_once(receivers, HOOK) == at_once


async def test_one_that_was_slow_is_not() -> None:
    receivers = SlowReceivers()
    receivers.mark_prompt(HOOK, 0.001)
    receivers.mark_slow(HOOK)
    assert not is_at_once(receivers, HOOK)


async def test_quick_ones_need_no_place_and_the_others_leave_some_to_everyone() -> None:
    receivers = SlowReceivers()
    quick = Item("quick", "quick/hook")
    receivers.mark_prompt(quick, 0.001)
    with ExitStack() as held:
        greedy = [Item("greedy", f"greedy/{number}") for number in range(20)]
        taken = [held.enter_context(receivers.at_once(item)) is not None for item in greedy]
        assert sum(taken) == slow_receivers._PLACES_AT_ONCE // 2
        for number in range(20):
            held.enter_context(receivers.at_once(Item(f"tenant {number}", f"{number}/hook")))
        assert not is_at_once(receivers, HOOK)
        assert is_at_once(receivers, quick)
    assert is_at_once(receivers, HOOK)


async def test_one_that_was_let_go_is_called_by_its_queue_and_patiently() -> None:
    receivers = SlowReceivers()
    receivers.mark_prompt(HOOK, 0.001)
    with receivers.at_once(HOOK) as pending:
        assert pending is not None
        pending.sent = True
        task = asyncio.create_task(asyncio.sleep(60))
        receivers.let_go(task, HOOK, pending)
    assert not is_at_once(receivers, HOOK)
    assert receivers.call(HOOK)._patience == PATIENCE
    await receivers.close()


async def test_a_tenant_whose_quick_receiver_fell_silent_is_called_by_its_queue() -> None:
    receivers = SlowReceivers()
    other = Item(HOOK.tenant, "acme/other")
    for item in (HOOK, other):
        receivers.mark_prompt(item, 0.001)
    with receivers.at_once(HOOK) as pending:
        assert pending is not None
        pending.sent = True
        receivers.let_go(asyncio.create_task(asyncio.sleep(60)), HOOK, pending)
    assert not is_at_once(receivers, other)
    assert is_at_once(receivers, Item("bolt", "bolt/hook"))
    await receivers.close()


def test_a_slow_one_is_not_tried_while_its_tenant_has_no_place_for_a_request() -> None:
    receivers = SlowReceivers()
    assert receivers.busy_for(HOOK, 0.0, has_place=False) == 0
    receivers.mark_slow(HOOK)
    assert receivers.busy_for(HOOK, 0.0) == 0
    assert receivers.busy_for(HOOK, 0.0, has_place=False) == slow_receivers._BUSY
