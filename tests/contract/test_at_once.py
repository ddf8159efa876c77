"""Queue messages that are handled by the process that puts them, in a real queue."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from azure.storage.queue.aio import QueueServiceClient

from devtools.azurite import Azurite
from devtools.host.stored_messages import StoredMessages
from tests.contract.test_bindings import ROOT
from tntcore.shares import on_behalf_of, party
from tntcore.storage import at_once
from tntcore.storage.at_once import AtOnce, as_tried
from tntcore.storage.queues import MAX_MESSAGE, Queue
from tntcore.telemetry import Meter

BODY, FAILS = b'{"items":[1]}', b'{"items":["fails"]}'


@pytest.fixture
async def service(azurite: Azurite) -> AsyncIterator[QueueServiceClient]:
    async with QueueServiceClient.from_connection_string(azurite.connection_string) as opened:
        yield opened


@pytest.fixture
def queue(service: QueueServiceClient) -> Queue:
    return Queue(service, "once-" + uuid.uuid4().hex, Meter(), lambda queue, delay: None)


def handled_by(queue: Queue, work: Callable[[bytes], Awaitable[None]]) -> AtOnce:
    async def handle(body: bytes, dequeue_count: int) -> None:
        with queue.handling(body, dequeue_count) as count:
            assert count == 1
            await work(body)

    return queue.handle_at_once(handle)


async def waiting(queue: Queue) -> int:
    """How many messages there are, that can be seen or not."""
    return (await queue.backlog())[0]


async def test_what_was_handled_is_gone(queue: Queue) -> None:
    handled: list[bytes] = []

    async def work(body: bytes) -> None:
        assert await queue.peek() == ([], 1), "stored, and nobody else sees it"
        assert party().tenant == "", "whoever put it is not who it is for"
        handled.append(body)

    once = handled_by(queue, work)
    with on_behalf_of("acme", "whoever called"):
        await queue.put(BODY)
    await once.settle()
    assert handled == [BODY]
    assert await waiting(queue) == 0


@pytest.mark.parametrize("error", [RuntimeError("cannot be done now"), asyncio.CancelledError()], ids=repr)
async def test_what_fails_is_the_hosts(queue: Queue, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that the work waits for may be cancelled, too."""
    monkeypatch.setattr(at_once, "_AGAIN", 0)

    async def work(body: bytes) -> None:
        raise error

    once = handled_by(queue, work)
    await queue.put(BODY)
    await once.settle()
    [body], _ = await queue.peek()
    with queue.handling(body, 1) as count:
        assert count == 2, "the host delivers it for the second time"
    assert once.may_take()


async def test_what_is_cut_off_is_the_hosts(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "_AGAIN", 0)
    begun = asyncio.Event()

    async def work(body: bytes) -> None:
        begun.set()
        await asyncio.Event().wait()

    once = handled_by(queue, work)
    await queue.put(BODY)
    await begun.wait()
    assert not await once.close()
    assert len((await queue.peek())[0]) == 1
    await queue.put(BODY)
    await once.settle()
    assert len((await queue.peek())[0]) == 2, "of a process that ends, all is the host's"


async def test_what_the_host_has_meanwhile_is_the_hosts(
    service: QueueServiceClient, queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(at_once, "LEASE", 0)
    messages = StoredMessages(service, queue.name)

    async def work(body: bytes) -> None:
        [given] = await messages.receive(1, 600)
        assert given.dequeue_count == 1
        if body == FAILS:
            raise RuntimeError("cannot be done now")

    once = handled_by(queue, work)
    for body in (BODY, FAILS):
        await queue.put(body)
        await once.settle()
    assert await queue.peek() == ([], 2)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [f"a message goes back to queue {queue.name}"]


async def test_only_few_are_and_none_beside_what_the_host_gave_out(queue: Queue) -> None:
    handled = 0
    go_on = asyncio.Event()

    async def work(body: bytes) -> None:
        nonlocal handled
        handled += 1
        await go_on.wait()

    once = handled_by(queue, work)
    for _ in range(at_once._MOST + 2):
        await queue.put(BODY)
    await queue.put(BODY, delay=600)
    await asyncio.sleep(0)
    assert handled == at_once._MOST
    assert len((await queue.peek())[0]) == 2
    go_on.set()
    await once.settle()
    assert await waiting(queue) == 3
    with queue.handling(BODY, 1):
        await queue.put(BODY)
    await once.settle()
    assert await waiting(queue) == 4
    await queue.put(BODY)
    await once.settle()
    assert await waiting(queue) == 4


async def test_what_has_no_room_to_say_that_it_was_tried_is_the_hosts(queue: Queue) -> None:
    handled: list[int] = []

    async def work(body: bytes) -> None:
        handled.append(len(body))

    once = handled_by(queue, work)
    full, fits = b'{"items":["', MAX_MESSAGE - len(as_tried(b"{}")) + 2
    for length in (MAX_MESSAGE, fits):
        await queue.put(full + b"x" * (length - len(full) - 3) + b'"]}')
        await once.settle()
    assert handled == [fits]
    [body], _ = await queue.peek()
    assert len(body) == MAX_MESSAGE


async def test_what_could_not_be_put_is_told_and_takes_no_place(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise ConnectionError

    async def work(body: bytes) -> None:
        raise AssertionError("it was not stored")

    once = handled_by(queue, work)
    monkeypatch.setattr(queue, "_post", away)
    for _ in range(at_once._MOST + 1):
        with pytest.raises(ConnectionError):
            await queue.put(BODY)
    assert once.may_take()


def test_what_fails_is_seen_again_as_soon_as_what_fails_at_the_host() -> None:
    text = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]["visibilityTimeout"]
    hours, minutes, seconds = map(int, text.split(":"))
    assert hours * 3600 + minutes * 60 + seconds == at_once._AGAIN
