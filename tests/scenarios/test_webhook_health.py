"""Webhooks that fail for days, or say that they are gone: they are disabled, the tenant is told, nothing is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.clock import DAY, HOUR, Clock
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_deliveries import body, kept_back, received
from tests.stack import Receiver, Stack
from tntcore.app import App
from tntcore.config import Config
from tntcore.storage.commit import Committer
from tntcore.storage.items import DeliveryItem, SendItem

DIDCOMM, TASK = "settings/DIDCOMM_WEBHOOK", "settings/TASK_WEBHOOK"


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Failing"))


@pytest.fixture
def clock(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(stack.app, monkeypatch)


async def deliver(foreign: Foreign, message_id: str) -> None:
    packed = foreign.v1(orjson.dumps(basic(message_id, **{"@id": message_id})))
    assert (await foreign.stack.deliver(packed)).status == 202


async def receiver_of(foreign: Foreign, key: str, name: str, **entry: Any) -> Receiver:
    """The only entry of a setting."""
    receiver = Receiver()
    await receiver.start()
    foreign.client.receivers.append(receiver)
    await foreign.client.post(key, {"setting": [{"id": name, "url": receiver.url, **entry}]}, 200)
    return receiver


async def state(foreign: Foreign, key: str = DIDCOMM) -> tuple[str, str | None]:
    [entry] = (await foreign.client.get(key))["setting"]
    return entry["status"], entry["disabledBy"]


async def statuses(foreign: Foreign) -> list[tuple[str, str | None, int]]:
    hits = (await foreign.client.get("delivery?kind=webhook"))["hits"]
    return [(hit["status"], hit["error"], hit["attempts"]) for hit in hits]


async def settle(foreign: Foreign, expected: list[tuple[str, str | None, int]]) -> None:
    async def check() -> bool:
        return await statuses(foreign) == expected

    try:
        await foreign.stack.eventually(check)
    except TimeoutError:
        assert await statuses(foreign) == expected


async def test_gone_disables_at_once_and_nothing_is_lost(foreign: Foreign) -> None:
    client = foreign.client
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    tasks = await receiver_of(foreign, TASK, "tasks", match="webhook|delivery")
    erp.answer = lambda hook: (410, {})
    erp.text = "I have moved"
    await deliver(foreign, "1")
    told = (await tasks.until(lambda hook: hook.json()["type"] == "webhook")).json()
    assert {"time", "sequence"} <= told.keys()
    assert {name: value for name, value in told.items() if name not in ("time", "sequence")} == {
        "type": "webhook",
        "uuid": "erp",
        "status": "DISABLED",
        "error": "http-410",
        "key": "DIDCOMM_WEBHOOK",
    }
    await tasks.until(lambda hook: hook.json()["type"] == "delivery")
    await settle(foreign, [("FAILED", "http-410", 1)])
    assert await state(foreign) == ("DISABLED", "http-410")

    for number in ("2", "3"):
        await deliver(foreign, number)
    withheld = ("WITHHELD", "webhook-disabled", 0)
    await settle(foreign, [("FAILED", "http-410", 1), withheld, withheld])
    assert len(erp.got) == 1
    # Once is enough: what is withheld is not told of one by one.
    assert sorted(hook.json()["type"] for hook in tasks.got) == ["delivery", "webhook"]
    hits = (await client.get("delivery?status=WITHHELD"))["hits"]
    assert (await client.get(f"delivery/{hits[0]['uuid']}"))["log"] == []
    assert_problem(await client.call("POST", f"delivery/{hits[0]['uuid']}/replay"), 409, "webhook-disabled")

    # A test shows whether it would do now, and enables nothing.
    erp.answer = lambda hook: (200, {})
    assert (await client.post(f"{DIDCOMM}/erp/test", None, 200))["status"] == "DELIVERED"
    assert await state(foreign) == ("DISABLED", "http-410")
    enabled = await client.post(f"{DIDCOMM}/erp/enable", None, 200)
    assert [entry["status"] for entry in enabled["setting"]] == ["ACTIVE"]
    await deliver(foreign, "4")
    await erp.until(lambda hook: hook.json().get("message", {}).get("@id") == "4")
    erp.got.clear()
    await client.post("delivery/replay", {"since": hits[0]["createdAt"]}, 202)
    await erp.count(3)
    await settle(foreign, [("DELIVERED", None, 2), *[("DELIVERED", None, 1)] * 3])
    assert sorted(hook.json()["message"]["@id"] for hook in erp.got) == ["1", "2", "3"]


async def test_saving_the_setting_enables(foreign: Foreign) -> None:
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    erp.answer = lambda hook: (410, {})
    await deliver(foreign, "1")
    await settle(foreign, [("FAILED", "http-410", 1)])
    assert await state(foreign) == ("DISABLED", "http-410")
    entry = (await foreign.client.get(DIDCOMM))["setting"][0]
    await foreign.client.post(DIDCOMM, {"setting": [entry]}, 200)
    assert await state(foreign) == ("ACTIVE", None)


async def test_a_redirect_is_a_failure(foreign: Foreign) -> None:
    other = Receiver()
    await other.start()
    foreign.client.receivers.append(other)
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    erp.answer = lambda hook: (307, {"location": other.url, "retry-after": "3000"})
    await deliver(foreign, "1")
    await settle(foreign, [("PENDING", "http-307", 1)])
    assert other.got == []


class Ladder:
    """The relay, and what it would put back for later, at a clock's time."""

    def __init__(self, foreign: Foreign, clock: Clock, patch: pytest.MonkeyPatch) -> None:
        self.foreign = foreign
        self.clock = clock
        self.later: list[tuple[int, dict[str, Any]]] = []
        stack = foreign.stack

        later = stack.app.outbox.later

        async def keep(queue: str, item: DeliveryItem, delay: int) -> None:
            if item.principal != foreign.client.uuid or isinstance(item, SendItem):
                # Of a test before, whose deliveries are still tried.
                await later(queue, item, delay)
                return
            self.later.append((self.clock.ahead + delay * 1000, item.write()))

        patch.setattr(stack.app.outbox, "later", keep)

    async def receive(self, content: str) -> None:
        stack = self.foreign.stack
        with kept_back(stack, "relay") as items:
            await stack.app.inbound.handle(received(self.foreign, content), 1)
        await stack.app.relay.handle(body(*items), 1)

    async def climb(self, until: int) -> None:
        """Makes all attempts that come before that time."""
        while self.later and min(at for at, _ in self.later) <= until:
            self.later.sort(key=lambda entry: entry[0])
            self.clock.ahead, item = self.later.pop(0)
            await self.foreign.stack.app.relay.handle(body(item), 1)
        self.clock.ahead = until


@pytest.fixture
def ladder(foreign: Foreign, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Ladder:
    return Ladder(foreign, clock, monkeypatch)


async def test_five_days_of_nothing_but_failures(foreign: Foreign, ladder: Ladder) -> None:
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    tasks = await receiver_of(foreign, TASK, "tasks", match="webhook")
    erp.answer = lambda hook: (503, {})
    for day in range(5):
        await ladder.receive(str(day))
        await ladder.climb((day + 1) * DAY - 1)
        assert await state(foreign) == ("ACTIVE", None)
    # Ten attempts over more than three days, then the first is given up.
    first = (await foreign.client.get("delivery?kind=webhook"))["hits"][0]
    assert (first["status"], first["attempts"]) == ("FAILED", 10)
    await ladder.receive("last")
    await ladder.climb(5 * DAY + HOUR)
    assert await state(foreign) == ("DISABLED", "failing")
    told = (await tasks.until(lambda hook: True)).json()
    assert (told["type"], told["uuid"], told["status"], told["error"]) == ("webhook", "erp", "DISABLED", "failing")
    # What was on the ladder is withheld when its time comes, and not called.
    calls = len(erp.got)
    await ladder.climb(20 * DAY)
    assert len(erp.got) == calls
    found = [status for status, *_ in await statuses(foreign)]
    assert set(found) == {"FAILED", "WITHHELD"}
    assert found[-1] == "WITHHELD"
    assert len(tasks.got) == 1


async def test_one_success_begins_the_five_days_anew(foreign: Foreign, ladder: Ladder) -> None:
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    erp.answer = lambda hook: (200, {}) if hook.json()["message"]["content"] == "fine" else (503, {})
    for day in range(7):
        await ladder.receive(str(day))
        if day == 3:
            await ladder.receive("fine")
        await ladder.climb((day + 1) * DAY - 1)
    assert await state(foreign) == ("ACTIVE", None)
    await ladder.receive("last")
    await ladder.climb(9 * DAY)
    assert await state(foreign) == ("DISABLED", "failing")


async def test_failures_far_apart_are_not_days_of_failures(foreign: Foreign, ladder: Ladder) -> None:
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    erp.answer = lambda hook: (503, {})
    await ladder.receive("1")
    await ladder.climb(8 * DAY)
    assert [status for status, *_ in await statuses(foreign)] == ["FAILED"]
    await ladder.receive("2")
    await ladder.climb(8 * DAY + HOUR)
    assert await state(foreign) == ("ACTIVE", None)


async def test_a_task_webhook_that_is_gone_is_told_of_to_the_others(foreign: Foreign) -> None:
    client = foreign.client
    gone, other = Receiver(), Receiver()
    for receiver in (gone, other):
        await receiver.start()
        client.receivers.append(receiver)
    gone.answer = lambda hook: (410, {})
    entries = [{"id": "gone", "url": gone.url}, {"id": "other", "url": other.url}]
    await client.post(TASK, {"setting": entries}, 200)
    await client.post(DIDCOMM, {"setting": [{"id": "erp", "url": gone.url}]}, 200)
    await deliver(foreign, "1")
    for name in ("erp", "gone"):
        await other.until(lambda hook, name=name: hook.json()["uuid"] == name)  # type: ignore[misc]
    assert {entry["id"]: entry["status"] for entry in (await client.get(TASK))["setting"]} == {
        "gone": "DISABLED",
        "other": "ACTIVE",
    }
    assert "gone" not in {hook.json().get("uuid") for hook in gone.got}


async def test_another_process_learns_that_a_webhook_was_enabled(stack: Stack, foreign: Foreign) -> None:
    other = App.open(Config.read(stack.environment))
    try:
        erp = await receiver_of(foreign, DIDCOMM, "erp")
        erp.answer = lambda hook: (410, {})
        with kept_back(stack, "relay") as items:
            await stack.app.inbound.handle(received(foreign, "1"), 1)
            await stack.app.inbound.handle(received(foreign, "2"), 1)
        await other.relay.handle(body(items[0]), 1)
        erp.answer = lambda hook: (200, {})
        await foreign.client.post(f"{DIDCOMM}/erp/enable", None, 200)
        await other.relay.handle(body(items[1]), 1)
        await settle(foreign, [("FAILED", "http-410", 1), ("DELIVERED", None, 1)])
    finally:
        await other.close()


async def test_what_success_and_failure_cost(
    stack: Stack, foreign: Foreign, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that succeeds costs one change of one row, however the one before fared; failures write down that there
    are any once an hour."""
    erp = await receiver_of(foreign, DIDCOMM, "erp")
    erp.text = "an answer, which is kept"
    with kept_back(stack, "relay") as items:
        for number in range(10):
            await stack.app.inbound.handle(received(foreign, str(number)), 1)
    tenant = await foreign.client.tenant()
    await tenant.webhooks("DIDCOMM_WEBHOOK")
    calls: list[str] = []
    counted = stack.app.services.storage.records
    for name in ("get", "scan", "transact", "put"):
        real = getattr(counted, name)

        async def count(partition: str, *given: Any, name: str = name, real: Any = real, **named: Any) -> Any:
            if partition == foreign.client.uuid:
                calls.append(name)
            return await real(partition, *given, **named)

        monkeypatch.setattr(counted, name, count)
    assert isinstance(stack.app.services.storage.committer, Committer)

    async def cost(item: dict[str, Any]) -> list[str]:
        calls.clear()
        await stack.app.relay.handle(body(item), 1)
        return list(calls)

    assert await cost(items[0]) == ["transact"]
    erp.answer = lambda hook: (503, {"retry-after": "3000"})
    assert await cost(items[1]) == ["transact"]
    # The second attempt at one writes down that the webhook fails: the setting is read and changed.
    assert await cost({**items[2], "t": 1}) == ["get", "transact", "transact"]
    assert await cost({**items[3], "t": 1}) == ["get", "transact"]  # what was changed is read once again
    assert await cost({**items[4], "t": 1}) == ["transact"]
    erp.answer = lambda hook: (200, {})
    assert await cost(items[5]) == ["get", "transact", "transact"]
    assert await cost(items[6]) == ["get", "transact"]
    assert await cost(items[7]) == ["transact"]
    assert await state(foreign) == ("ACTIVE", None)
    await asyncio.sleep(0)
