"""A process dies between a commit and the first put to a queue. The timer, which runs every minute, finds it soon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from tests.faults.flows import BASIC, basic
from tests.faults.process import Fault
from tests.faults.sites import Client, Partner
from tests.faults.world import World, run
from tntcore.api.http import KEY_HEADER, Response
from tntcore.delivery.outbox import UNQUEUED
from tntcore.delivery.pulse import PROCESS

MINUTE = 60_000


class Scene:
    """A tenant with a partner. The timer has just looked at everything, and does so again in five minutes only."""

    acme: Client
    partner: Partner

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)

    async def begin(self) -> None:
        self.acme = await self.world.register("Acme")
        self.partner = await self.world.partner(self.acme)
        await self.world.settle()
        self.world.keep()
        self.world.rewind()
        self.world.durable.now += MINUTE

    def die_before(self, name: str, number: int = 1) -> None:
        """The process dies before its next call of this name, or before that many."""
        calls = 0

        def plan(call: str, writes: bool) -> Fault | None:
            nonlocal calls
            calls += call == name
            if call != name or calls < number:
                return None
            self.world.plan = lambda name, writes: None
            return "kill"

        self.world.plan = plan

    async def send(self, content: str) -> bool:
        """Returns whether there was an answer. Nobody repeats the call."""
        message = {"type": "DIDCOMM", "to": self.partner.connection.contact_uuid, "data": {"message": basic(content)}}
        headers = {KEY_HEADER: self.acme.key}
        return await self.world._http("POST", "action", orjson.dumps(message), headers) is not None

    async def wait(self, minutes: int) -> None:
        """The timer runs each minute, and queue messages are handled, which takes time."""
        self.world.process.app.sweep._runs_at = self.world.durable.now + (minutes + 1) * MINUTE
        for _ in range(minutes):
            self.world.durable.now += MINUTE
            await self.world.process.app.sweep.tick()
            while await self.world.step():
                pass

    @property
    def shown(self) -> list[str]:
        """The rows of processes that may have died."""
        return [
            key
            for partition, key in self.world.durable.tables["due"]
            if partition == UNQUEUED and key.startswith(PROCESS)
        ]


def test_what_a_dead_process_did_not_queue_is_sent_within_two_minutes(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        scene.die_before("outbound.put")
        assert not await scene.send("out")
        assert not scene.world.durable.queue
        assert await scene.send("after")
        await scene.wait(2)
        texts = [message["content"] for message in scene.partner.messages.values()]
        assert sorted(texts) == ["after", "out"]
        assert len(scene.partner.got) == 2
        await scene.wait(2)
        assert len(scene.partner.got) == 2
        assert scene.shown == []

    run(work)


def test_what_a_dead_process_received_is_relayed_before_its_queue_message_comes_again(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        await scene.partner.send(scene.partner.basic("in"))
        scene.die_before("POST acme.example")
        await scene.world.step()
        assert scene.world.deaths == 1
        await scene.wait(2)
        assert scene.acme.contents() == ["in"]
        await scene.world.settle()
        assert len(scene.acme.hooks.got) == 1
        await scene.world.assert_at_rest(scene.acme)

    run(work)


def test_what_a_replay_did_not_queue_is_sent_soon(tmp_path: Path) -> None:
    """The delivery is older than what the process did lately."""

    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        assert await scene.send("out")
        await scene.wait(1)
        [sent] = (await scene.acme.get("delivery?kind=didcomm"))["hits"]
        scene.world.durable.now += 30 * MINUTE
        scene.die_before("outbound.put")
        path = f"delivery/{sent['uuid']}/replay"
        assert await scene.world._http("POST", path, b"{}", {KEY_HEADER: scene.acme.key}) is None
        await scene.wait(2)
        assert len(scene.partner.got) == 2

    run(work)


def test_what_waits_in_a_queue_is_not_queued_again_while_its_process_lives(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        assert await scene.send("out")
        assert len(scene.shown) == 1
        scene.world.process.app.sweep._runs_at = scene.world.durable.now + 10 * MINUTE
        scene.world.durable.now += 35_000
        await scene.world.process.app.sweep.tick()
        assert [message.queue for message in scene.world.durable.queue.values()] == ["outbound"]
        # It ends, and all that it began is done.
        await scene.world.process.app.outbox.close(finished=True)
        assert scene.shown == []
        scene.world.durable.now += 2 * MINUTE
        await scene.world.process.app.sweep.tick()
        assert len(scene.world.durable.queue) == 1

    run(work)


def test_a_process_that_is_cut_off_leaves_its_row(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        assert await scene.send("out")
        await scene.world.process.app.outbox.close(finished=False)
        assert len(scene.shown) == 1

    run(work)


def test_a_fault_while_looking_leaves_the_row_for_the_next_run(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Scene(tmp_path)
        await scene.begin()
        scene.die_before("outbound.put")
        assert not await scene.send("out")
        scene.world.durable.now += 2 * MINUTE
        scene.world.process.app.sweep._runs_at = scene.world.durable.now + 10 * MINUTE
        scene.world.plan = lambda name, writes: "fail" if name == "outbound.put" else None
        with pytest.raises(ExceptionGroup):
            await scene.world.process.app.sweep.tick()
        assert len(scene.shown) == 1
        scene.world.plan = lambda name, writes: None
        await scene.world.settle()
        assert [message["content"] for message in scene.partner.messages.values()] == ["out"]
        assert scene.shown == []

    run(work)


class Waiting(Scene):
    """Acme keeps an invitation, and a message is held until it decides. Its partner is silent from then on."""

    async def begin(self) -> None:
        world = self.world
        self.acme, bolt = await world.register("Acme"), await world.register("Bolt")
        invited = await bolt.post("invitation", {"form": "out-of-band/2"})
        await self.acme.post("contact", {"invitation": invited["invitation"], "accept": False})
        await world.settle()
        [self.connection] = (await self.acme.get("connection"))["hits"]
        await self.acme.act(self.connection["contactUuid"], basic("held"))
        await world.settle()
        world.keep()
        world.rewind()
        world.durable.now += MINUTE
        self.calls, self._call = 0, world._http
        world._http = self._http  # type: ignore[method-assign]

    async def _http(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Response | None:
        if path != "didcomm":
            return await self._call(method, path, body, headers)
        self.calls += 1
        return Response(202)

    async def decide(self, method: str, path: str) -> None:
        """Nobody repeats the call if there is no answer."""
        await self.world._http(method, path, b"{}", {KEY_HEADER: self.acme.key})
        self.world.plan = lambda name, writes: None

    async def outgoing(self) -> str:
        """The status of the message that was held."""
        [sent] = [hit for hit in (await self.acme.get("message"))["hits"] if hit["type"] == BASIC]
        return str(sent["status"])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_held_messages_follow_the_decision_of_a_process_that_died(tmp_path: Path, number: int) -> None:
    async def work() -> None:
        scene = Waiting(tmp_path)
        await scene.begin()
        assert await scene.outgoing() == "HELD"
        path = f"connection/{scene.connection['uuid']}"
        scene.die_before("outbound.put", number)
        await scene.decide("POST", f"{path}/accept")
        assert scene.world.deaths == 1
        if (await scene.acme.get(path))["state"] != "completed":
            await scene.decide("POST", f"{path}/accept")
        await scene.wait(2)
        assert await scene.outgoing() == "SENT"
        assert scene.calls == 2

    run(work)


def test_held_messages_do_not_follow_a_decision_that_was_not_made(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Waiting(tmp_path)
        await scene.begin()
        path = f"connection/{scene.connection['uuid']}"
        scene.die_before("records.transact")
        await scene.decide("POST", f"{path}/accept")
        assert scene.world.deaths == 1
        await scene.wait(2)
        assert await scene.outgoing() == "HELD"
        await scene.decide("POST", f"{path}/accept")
        await scene.wait(2)
        assert await scene.outgoing() == "SENT"

    run(work)


@pytest.mark.parametrize("number", [1, 2])
def test_held_messages_fail_with_the_contact_that_a_dead_process_deleted(tmp_path: Path, number: int) -> None:
    async def work() -> None:
        scene = Waiting(tmp_path)
        await scene.begin()
        path = f"contact/{scene.connection['contactUuid']}"
        scene.die_before("outbound.put", number)
        await scene.decide("DELETE", path)
        assert scene.world.deaths == 1
        if (await scene.acme.call("GET", path)).status == 200:
            assert await scene.outgoing() == "HELD"
            await scene.decide("DELETE", path)
        await scene.wait(2)
        assert await scene.outgoing() == "FAILED"

    run(work)
