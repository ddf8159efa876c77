"""Receivers that are slow, or that never answer: nobody else waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sized
from functools import partial
from typing import Any

import orjson
import pytest

from tests.scenarios.common import basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.silent import SilentReceiver
from tests.scenarios.test_deliveries import body, kept_back, received
from tests.scenarios.test_slow_agents import Agent, connection_with
from tests.stack import Receiver, Stack
from tntcore.app import App
from tntcore.config import Config
from tntcore.delivery import attempts, outbound, slow_receivers, webhook_calls
from tntcore.shares import Shares
from tntcore.storage.commit import Unit
from tntcore.storage.items import relay_item
from tntcore.storage.repository import Repository

SETTING = "settings/DIDCOMM_WEBHOOK"


async def foreigner(stack: Stack, name: str, *urls: str) -> Foreign:
    client = await stack.register(name)
    await client.post(SETTING, {"setting": [{"id": f"e{number}", "url": url} for number, url in enumerate(urls)]}, 200)
    return await connect_foreign(stack, client)


@pytest.fixture
async def fast() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


async def deliver(foreign: Foreign, content: str) -> None:
    packed = foreign.v1(orjson.dumps(basic(content, **{"@id": content})))
    assert (await foreign.stack.deliver(packed)).status == 202


async def test_nobody_waits_for_a_receiver_that_never_answers(
    stack: Stack, silent: SilentReceiver, fast: Receiver
) -> None:
    """More calls than the host handles queue messages at a time go unanswered; other webhooks, of the same tenant and
    of another one, are called all the same."""
    hung = await foreigner(stack, "Hung", silent.url, fast.url + "/same-tenant")
    well = await foreigner(stack, "Well", fast.url + "/other-tenant")
    number = 60
    for count in range(number):
        await deliver(hung, str(count))
    begun = time.monotonic()
    await deliver(well, "x")
    await fast.until(lambda hook: hook.path == "/other-tenant")
    other_tenant = time.monotonic() - begun
    await fast.count(number + 1)
    same_tenant = time.monotonic() - begun
    # And while it hangs: what comes now finds it known as slow.
    begun = time.monotonic()
    await deliver(hung, "later")
    await deliver(well, "later")
    await fast.count(number + 3)
    later = time.monotonic() - begun
    print(f"other tenant {other_tenant:.2f} s, same tenant {same_tenant:.2f} s, later {later:.2f} s")
    # Before any of the calls that hang has ended.
    assert max(other_tenant, same_tenant, later) < webhook_calls._TIMEOUT
    assert len(silent.got) <= slow_receivers._MAX_OF_ONE + number
    silent.go_on.set()

    async def over() -> bool:
        hits = (await hung.client.get("delivery?status=DELIVERED&limit=200"))["hits"]
        return len(hits) >= number + len(set(silent.got))

    await stack.eventually(over, 20)
    assert len(silent.got) == len(set(silent.got))


async def test_a_tenant_whose_receivers_all_hang_has_a_share_and_no_more(
    stack: Stack, silent: SilentReceiver, fast: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tenant's share of calls that go on unanswered is used up, and what comes then is put off. Another tenant's
    webhooks are called as before."""
    for shared in (stack.app.relay._receivers, stack.app.services.egress):
        monkeypatch.setattr(shared, "_places", Shares(32))
    urls = [silent.url.replace("127.0.0.1", "localhost") + f"/{number}" for number in range(18)]
    greedy = await foreigner(stack, "Greedy", *urls, fast.url + "/greedy")
    modest = await foreigner(stack, "Modest", fast.url + "/modest")
    for count in range(8):
        await deliver(greedy, f"greedy {count}")
    took = []
    for count in range(4):
        begun = time.monotonic()
        await deliver(modest, f"modest {count}")
        await stack.eventually(partial(_called, fast, "/modest", count + 1), 10)
        took.append(time.monotonic() - begun)
        await asyncio.sleep(0.5)
    assert min(took) < slow_receivers.PATIENCE
    assert max(took) < 2 * slow_receivers.PATIENCE + 1
    # The calls of one message are let go together.
    assert len(stack.app.relay._receivers._under_way) <= 32 + len(urls) + 1
    silent.go_on.set()
    await stack.eventually(lambda: _idle(stack), 20)


async def test_webhooks_that_hang_stop_no_message_to_the_same_tenants_agents(
    stack: Stack, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.app.services.egress, "_places", Shares(32))
    acme = await foreigner(stack, "Acme", *(f"{silent.url}/{number}" for number in range(18)))
    bolt = await stack.register("Bolt")
    mine, _ = await stack.connect(acme.client, bolt)
    for count in range(8):
        await deliver(acme, f"hangs {count}")
    await stack.eventually(partial(_took, silent.got, 10))
    hook = await bolt.webhook()
    await acme.client.act(mine.contact_uuid, basic("to an agent"))
    # Sooner than what finds no place is tried again.
    await hook.until(lambda got: b"to an agent" in got.body, attempts.NO_PLACE / 2)
    # What was put off calls nobody in the tests that follow.
    await acme.client.post(SETTING, {"setting": []}, 200)
    silent.go_on.set()
    await stack.eventually(lambda: _idle(stack), 20)


async def _took(got: Sized, number: int) -> bool:
    return len(got) >= number


async def test_agents_that_hang_stop_no_webhook_of_the_same_tenant(
    stack: Stack, fast: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.app.services.egress, "_places", Shares(32))
    acme = await foreigner(stack, "Acme", fast.url)
    agent = Agent()
    await agent.start()
    for _ in range(20):
        await connection_with(stack, acme.client, agent.url, ["hangs"])
    await stack.eventually(partial(_took, agent.got, 10), 20)
    await deliver(acme, "to a webhook")
    await fast.until(lambda hook: b"to a webhook" in hook.body, attempts.NO_PLACE / 2)
    await agent.stop()


async def test_a_call_that_has_no_place_keeps_no_queue_message_waiting(
    stack: Stack, fast: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All places of the way out are taken: nothing is sent, and all calls of the list are put off together."""
    monkeypatch.setattr(stack.app.services.egress, "_places", Shares(0))
    foreign = await foreigner(stack, "No place", *(f"{fast.url}/{number}" for number in range(3)))
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    put = queue_of(foreign, monkeypatch)
    async with asyncio.timeout(slow_receivers.PATIENCE + 2):
        await stack.app.relay.handle(body(*items), 1)
    [(delay, later)] = put
    assert delay == attempts.NO_PLACE
    assert {item["d"] for item in later} == {item["d"] for item in items}
    assert not stack.app.relay._receivers._under_way
    assert await status(foreign) == [("PENDING", 0)] * 3
    monkeypatch.undo()
    await stack.app.relay.handle(body(*later), 1)
    assert await status(foreign) == [("DELIVERED", 1)] * 3


@pytest.mark.parametrize("calls", [1, 5])
async def test_a_pause_of_storage_is_not_taken_for_slow_receivers(
    stack: Stack, fast: Receiver, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    monkeypatch.setattr(slow_receivers, "PATIENCE", 0.2)
    foreign = await foreigner(stack, "Paused", *(f"{fast.url}/{number}" for number in range(calls)))
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    receivers = slow_receivers.SlowReceivers()
    monkeypatch.setattr(stack.app.relay, "_receivers", receivers)
    monkeypatch.setattr(stack.app.relay._attempts, "_receivers", receivers)
    put = queue_of(foreign, monkeypatch)
    answered = asyncio.Event()

    async def pause(records: Repository, unit: Unit) -> None:
        answered.set()
        await asyncio.sleep(0.5)
        await commit(records, unit)

    commit = Repository.commit
    monkeypatch.setattr(Repository, "commit", pause)
    await stack.app.relay.handle(body(*items), 1)
    assert answered.is_set()
    assert put == []
    assert not receivers._under_way
    assert not any(receivers._slow.peek(relay_item(item).endpoint) for item in items)
    assert await status(foreign) == [("DELIVERED", 1)] * calls


def queue_of(foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[dict[str, Any]]]]:
    """What is put in the queue for this tenant, instead of there."""
    put: list[tuple[int, list[dict[str, Any]]]] = []
    queue = foreign.stack.app.services.storage.queues["relay"]
    put_there = queue.put

    async def keep(data: bytes, *, delay: int = 0) -> None:
        items = orjson.loads(data)["items"]
        if items[0]["p"] == foreign.client.uuid:
            put.append((delay, items))
        else:
            await put_there(data, delay=delay)

    monkeypatch.setattr(queue, "put", keep)
    return put


async def status(foreign: Foreign) -> list[tuple[str, int]]:
    return [(hit["status"], hit["attempts"]) for hit in (await foreign.client.get("delivery"))["hits"]]


async def let_go(
    stack: Stack, foreign: Foreign, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A call that was let go, and the item by which it is made up for."""
    monkeypatch.setattr(slow_receivers, "PATIENCE", 0.1)
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    put = queue_of(foreign, monkeypatch)
    await stack.app.relay.handle(body(*items), 1)
    [(delay, [again])] = put
    assert (delay, again["d"], again["again"]) == (slow_receivers.INSURANCE, items[0]["d"], True)
    assert set(await status(foreign)) == {("PENDING", 0)}
    assert silent.got == [again["d"]]
    return again


async def test_a_call_that_was_let_go_is_not_made_twice(
    stack: Stack, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = await foreigner(stack, "Let go", silent.url)
    again = await let_go(stack, foreign, silent, monkeypatch)
    silent.go_on.set()

    async def over() -> bool:
        return await status(foreign) == [("DELIVERED", 1)]

    await stack.eventually(over)
    await stack.app.relay.handle(body(again), 1)
    assert len(silent.got) == 1


async def test_a_call_whose_process_ended_is_made_again(
    stack: Stack, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = await foreigner(stack, "Ended", silent.url)
    again = await let_go(stack, foreign, silent, monkeypatch)
    await stack.app.relay.close()
    assert await status(foreign) == [("PENDING", 0)]
    silent.go_on.set()
    other = App.open(Config.read(stack.environment))

    async def over() -> bool:
        return await status(foreign) == [("DELIVERED", 1)]

    try:
        await other.relay.handle(body(again), 1)
        # Where the machine is busy, this one may be let go, too, and end by itself.
        await stack.eventually(over)
    finally:
        await other.close()
    assert silent.got == [again["d"]] * 2


async def test_a_receiver_with_many_calls_under_way_gets_no_more(
    stack: Stack, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_receivers, "_MAX_OF_ONE", 1)
    foreign = await foreigner(stack, "Busy", silent.url)
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "y"), 1)
    await let_go(stack, foreign, silent, monkeypatch)
    put = queue_of(foreign, monkeypatch)
    await stack.app.relay.handle(body(*items), 1)
    [(delay, [later])] = put
    assert slow_receivers._BUSY <= delay <= 2 * slow_receivers._BUSY
    assert later["d"] == items[0]["d"]
    assert len(silent.got) == 1
    silent.go_on.set()
    await stack.eventually(lambda: _idle(stack))
    await stack.app.relay.handle(body(later), 1)
    assert await status(foreign) == [("DELIVERED", 1)] * 2


async def _called(receiver: Receiver, path: str, times: int) -> bool:
    return sum(hook.path == path for hook in receiver.got) >= times


async def _idle(stack: Stack) -> bool:
    return not stack.app.relay._receivers._under_way


async def test_a_host_that_stops_takes_its_calls_back(
    stack: Stack, silent: SilentReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = await foreigner(stack, "Stopped", silent.url)
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "x"), 1)
    handling = asyncio.create_task(stack.app.relay.handle(body(*items), 1))
    await stack.eventually(lambda: _got(silent))
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    silent.go_on.set()
    await asyncio.sleep(0.2)
    assert await status(foreign) == [("PENDING", 0)]
    await stack.app.relay.handle(body(*items), 2)
    assert await status(foreign) == [("DELIVERED", 1)]


async def _got(silent: SilentReceiver) -> bool:
    return bool(silent.got)


async def test_the_insurance_comes_after_the_longest_call() -> None:
    assert max(webhook_calls._TIMEOUT, outbound._TIMEOUT) + slow_receivers.PATIENCE < slow_receivers.INSURANCE
