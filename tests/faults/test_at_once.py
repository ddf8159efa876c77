"""A process that handles what it puts, where its host would poll: the same faults at each call, and what is spared."""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.faults.exchanges import Issued
from tests.faults.flows import Answered, Connected, ConnectedV2, Flow, Received, Retried, Sent
from tests.faults.process import Fault
from tests.faults.test_every_call import KINDS, every_call
from tests.faults.test_storage_calls import (
    OUTCOME,
    Records,
    Send,
    a_message,
    an_action,
    one_that_is_answered,
    spent,
    warmed,
)
from tests.faults.world import World, run
from tntcore import process
from tntcore.process import Service
from tntcore.services import Services

CASES = [
    *itertools.product((Received, Answered, Retried, Sent), KINDS),
    (Connected, "kill"),
    (ConnectedV2, "lost"),
    (Issued, "kill"),
]


@pytest.mark.usefixtures("logs_are_watched_alone")
@pytest.mark.parametrize(("flow", "kind"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_nothing_is_lost_and_nothing_happens_twice(flow: type[Flow], kind: Fault, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.at_once = True
    world.restart()
    run(lambda: every_call(world, flow, kind))


@pytest.mark.parametrize(
    ("send", "calls"),
    [
        (a_message, ["inbound.put", "records.transact", "POST acme", OUTCOME, "inbound.delete"]),
        (
            one_that_is_answered,
            ["inbound.put", "records.transact", "POST acme", "POST partner-2", OUTCOME, "inbound.delete"],
        ),
        (
            an_action,
            [
                "records.scan",
                "records.get",
                "records.transact",
                "outbound.put",
                "POST partner-2",
                OUTCOME,
                "outbound.delete",
            ],
        ),
    ],
)
def test_a_message_alone_needs_no_other_invocation(tmp_path: Path, send: Send, calls: list[str]) -> None:
    async def work() -> None:
        world, acme, partner = await warmed(tmp_path, at_once=True)
        for _ in range(2):
            await spent(world, lambda: send(acme, partner))
        records, service = Records(), logging.getLogger("tntcore")
        service.addHandler(records)
        try:
            assert await spent(world, lambda: send(acme, partner)) == calls
        finally:
            service.removeHandler(records)
        assert records.texts == []
        assert not world.durable.queue

    run(work)


@pytest.mark.parametrize(
    ("call", "kind"),
    [("outbound.delete", "kill"), ("outbound.delete", "fail"), (OUTCOME, "lost"), ("outbound.put", "twice")],
)
def test_what_was_sent_is_not_sent_again(call: str, kind: Fault, tmp_path: Path) -> None:
    """The host gives such a message out for the first time, and it was handled before."""

    async def work() -> None:
        world, acme, partner = await warmed(tmp_path, at_once=True)
        faults = iter([kind])
        is_sent = False

        def plan(name: str, writes: bool) -> Fault | None:
            nonlocal is_sent
            is_sent |= name.startswith("POST partner")
            return next(faults, None) if name == call and (is_sent or call == "outbound.put") else None

        world.trace.clear()
        world.plan = plan
        await an_action(acme, partner)
        await world.settle()
        assert next(faults, None) is None, "there was no fault"
        assert [name for name in world.trace if name.startswith("POST ")] == ["POST partner-2.example"]
        await world.assert_at_rest(acme)

    run(work)


@pytest.mark.parametrize("answers", [True, False], ids=["in time", "too late"])
def test_the_end_of_a_process_waits_a_little_and_cuts_off_the_rest(
    answers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        world, acme, partner = await warmed(tmp_path, at_once=True)
        app, ask = world.process.app, world.ask
        service = Service(world.config)
        service._opened = asyncio.get_running_loop(), app
        is_asked, go_on = asyncio.Event(), asyncio.Event()
        closed: list[str] = []

        async def slow(*request: Any) -> Any:
            is_asked.set()
            await go_on.wait()
            return await ask(*request)

        async def close(_: Services) -> None:
            closed.append("services")

        monkeypatch.setattr(world, "ask", slow)
        monkeypatch.setattr(Services, "close", close)
        monkeypatch.setattr(process, "_FINISH_SECONDS", 60.0 if answers else 0.01)
        await an_action(acme, partner)
        await is_asked.wait()
        ending = asyncio.create_task(service.end())
        await asyncio.sleep(0)
        if answers:
            go_on.set()
        await ending
        assert closed == ["services"]
        assert len(world.durable.queue) == (0 if answers else 1)
        assert all(one.visible <= world.durable.now + 5_000 for one in world.durable.queue.values())
        go_on.set()
        world.restart()
        await world.settle()
        assert len(partner.messages) == 1
        await world.assert_at_rest(acme)

    run(work)
