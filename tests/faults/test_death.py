"""A process dies between a commit and the first put to a queue. The timer, which runs every minute, finds it soon."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.faults.flows import basic
from tests.faults.process import Fault
from tests.faults.sites import Client, Partner
from tests.faults.world import World, run
from tntcore.api.http import KEY_HEADER
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

    def die_before(self, name: str) -> None:
        """The process dies before its next call of this name."""

        def plan(call: str, writes: bool) -> Fault | None:
            if call != name:
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
        """The timer runs each minute, and queue messages are handled."""
        self.world.process.app.sweep._runs_at = self.world.durable.now + minutes * MINUTE + 1
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
