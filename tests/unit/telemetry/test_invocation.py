"""Which log lines reach an operator: the real host throws away those that belong to no running invocation."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from tntcore.telemetry import Span
from tntcore.telemetry import invocation as module
from tntcore.telemetry.invocation import MAX_KEPT, in_invocation, invocation, keep_late_lines
from tntcore.telemetry.logs import JsonFormatter

log = logging.getLogger("tests.invocation")


class Seen(logging.Handler):
    """Keeps each line, and whether the host would have kept it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        assert in_invocation(), record.getMessage()
        self.lines.append(self.format(record))

    @property
    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.lines]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    monkeypatch.setattr(module, "_late", [])
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [Seen()]
    monkeypatch.setattr(log, "propagate", True)
    keep_late_lines()
    [handler] = root.handlers
    assert isinstance(handler, Seen)
    yield handler
    root.handlers = handlers


async def test_a_line_of_an_invocation_passes_at_once(seen: Seen) -> None:
    with invocation():
        log.warning("inside")
        assert seen.messages == ["inside"]
        await asyncio.create_task(said_in_a_task())
        assert seen.messages == ["inside", "in a task"]


async def said_in_a_task() -> None:
    log.warning("in a task")


async def test_what_is_said_after_an_invocation_waits_for_the_next(seen: Seen) -> None:
    go_on = asyncio.Event()

    async def late() -> None:
        await go_on.wait()
        log.warning("late")

    with invocation():
        task = asyncio.create_task(late())
    go_on.set()
    await task
    thread = threading.Thread(target=log.warning, args=("of a thread",))
    thread.start()
    thread.join()
    called = asyncio.Event()

    def call_back() -> None:
        log.warning("of a callback")
        called.set()

    with invocation():
        asyncio.get_running_loop().call_soon(call_back)
        await called.wait()
        assert seen.messages == []
    assert seen.messages == ["late", "of a thread", "of a callback"]
    with invocation():
        pass
    assert len(seen.messages) == 3


async def test_a_late_line_says_what_it_would_have_said_then(seen: Seen) -> None:
    step = Span("process relay", "consumer", None)
    step.trace_id, step.tenant = 0xABC, "a tenant"
    with step:
        try:
            raise KeyError("quoted")
        except KeyError:
            log.exception("it %s", "failed")
    with Span("another", "consumer", None), invocation():
        pass
    [line] = map(json.loads, seen.lines)
    assert (line["message"], line["tenant"], line["code"]) == ("it failed", "a tenant", "KeyError")
    assert line["traceId"].endswith("abc")
    assert "in test_a_late_line" in line["exception"]


async def test_late_lines_are_bounded_and_the_rest_is_counted(seen: Seen) -> None:
    for number in range(MAX_KEPT + 5):
        log.warning("line %d", number)
    with invocation():
        pass
    assert len(seen.lines) == MAX_KEPT + 1
    assert seen.messages[-1].startswith("5 more log lines")


async def test_the_workers_own_lines_need_no_invocation(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(Seen, "emit", lambda self, record: lines.append(record.getMessage()))
    logging.getLogger("azure_functions_worker").warning("detached")
    assert lines == ["detached"]
