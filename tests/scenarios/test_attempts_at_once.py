"""First attempts by the function that committed: nothing is lost, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.silent import SilentReceiver
from tests.scenarios.test_deliveries import received
from tests.scenarios.test_redelivery import once
from tests.scenarios.test_slow_receivers import foreigner
from tests.stack import Stack
from tntcore.delivery import slow_receivers
from tntcore.storage.repository import Repository


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    client = await stack.register("At once")
    await client.webhook()
    return await connect_foreign(stack, client)


async def statuses(foreign: Foreign) -> list[tuple[str, int]]:
    return [(hit["status"], hit["attempts"]) for hit in (await foreign.client.get("delivery"))["hits"]]


async def delivered(foreign: Foreign, number: int) -> bool:
    return await statuses(foreign) == [("DELIVERED", 1)] * number


async def test_a_crash_between_commit_and_attempt(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    message, relay = received(foreign, "x"), stack.app.relay
    with monkeypatch.context() as patch:
        patch.setattr(relay, "first", once(relay.first))
        with pytest.raises(ConnectionError):
            await stack.app.inbound.handle(message, 1)
    assert await statuses(foreign) == [("PENDING", 0)]
    # The queue gives the message out again.
    await stack.app.inbound.handle(message, 2)
    await foreign.client.receivers[0].count(1)
    await stack.eventually(lambda: delivered(foreign, 1))


async def test_an_outcome_that_is_not_written(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    message = received(foreign, "x")
    commit, failed = Repository.commit, list[bool]()

    async def fails(self: Repository, unit: Any) -> Any:
        if not failed and all(operation.kind == "merge" for operation in unit.operations):
            failed.append(True)
            raise ConnectionError("storage is away")
        return await commit(self, unit)

    monkeypatch.setattr(Repository, "commit", fails)
    with pytest.raises(ConnectionError):
        await stack.app.inbound.handle(message, 1)
    await stack.app.inbound.handle(message, 2)
    [hook] = foreign.client.receivers
    await hook.count(2)
    await stack.eventually(lambda: delivered(foreign, 1))
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1


async def test_a_receiver_that_does_not_answer_is_let_go_soon_and_then_called_by_its_queue(
    stack: Stack, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = await foreigner(stack, "Silent", silent.url)
    put: list[tuple[int, list[dict[str, Any]]]] = []

    async def keep(data: bytes, *, delay: int = 0) -> None:
        put.append((delay, orjson.loads(data)["items"]))

    queued: list[bytes] = []

    async def add(data: bytes) -> None:
        queued.append(data)

    storage = stack.app.services.storage
    monkeypatch.setattr(storage.queues["relay"], "put", keep)
    monkeypatch.setattr(storage.relay, "add", add)
    begun = time.monotonic()
    await stack.app.inbound.handle(received(foreign, "x"), 1)
    assert time.monotonic() - begun < slow_receivers.PATIENCE
    [(delay, [insured])] = put
    assert (delay, insured["again"]) == (slow_receivers.INSURANCE, True)
    assert silent.got == [insured["d"]]
    assert queued == []
    await stack.app.inbound.handle(received(foreign, "y"), 1)
    assert len(silent.got) == len(queued) == 1
    silent.go_on.set()
    await stack.eventually(lambda: one_delivered(foreign))


async def one_delivered(foreign: Foreign) -> bool:
    return sorted(await statuses(foreign)) == [("DELIVERED", 1), ("PENDING", 0)]


async def test_what_comes_before_the_call_may_not_take_long_either(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a mediator's DID document."""
    call, relay = stack.app.relay._call, stack.app.relay
    before = list[str]()

    async def waits(tenant: Any, item: Any, now: int) -> Any:
        before.append(item.delivery)
        if len(before) == 1:
            await asyncio.Event().wait()
        return await call(tenant, item, now)

    monkeypatch.setattr(relay, "_call", waits)
    async with asyncio.timeout(slow_receivers.PATIENCE):
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    # Its queue message needs no insurance, and has no delay.
    await stack.eventually(lambda: delivered(foreign, 1))
    assert before == before[:1] * 2
    assert len(foreign.client.receivers[0].got) == 1


async def test_unknown_receivers_hold_few_places(stack: Stack, silent: SilentReceiver) -> None:
    foreign = await foreigner(stack, "Many", *(f"{silent.url}/{number}" for number in range(10)))
    meter = stack.app.services.meter
    before = meter.counts["relay.at-once"]
    await stack.app.inbound.handle(received(foreign, "x"), 1)
    assert 1 <= meter.counts["relay.at-once"] - before <= slow_receivers._PLACES_AT_ONCE // 2
    silent.go_on.set()
    await stack.eventually(lambda: delivered(foreign, 10))
    # They are free again.
    assert stack.app.relay._receivers._at_once.free == slow_receivers._PLACES_AT_ONCE
