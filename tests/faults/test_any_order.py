"""Two tenants and partners of theirs in every protocol, with queue messages in any order, duplicates, and faults at any
call: in the end each message was stored and told of once, both sides agree, and nobody got anything of another's."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from devtools.memory import Waiting
from tests.faults.flows import PING, PING_2, basic
from tests.faults.process import Fault
from tests.faults.sites import Client, Partner
from tests.faults.world import World
from tntcore.storage.shards import principal_of

SIDES = st.sampled_from([0, 1])
_MOST = 2  # invitations, and offers


class AnyOrder(RuleBasedStateMachine):
    shards: ClassVar[int] = 1

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(lambda loop, context: None)
        self.folder = tempfile.TemporaryDirectory()
        self.run(self._begin())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def _begin(self) -> None:
        self.world = world = World(Path(self.folder.name), self.shards)
        self.clients = [await world.register(name) for name in ("Acme", "Bolt")]
        self.partners: list[Partner] = [
            await world.partner(client, version) for client in self.clients for version in ("v1", "v2")
        ]
        self.contacts = [
            connection.contact_uuid for connection in await world.connect(self.clients[0], self.clients[1])
        ]
        automatic = {"autoRequest": True, "autoIssue": True, "autoStore": True}
        for client in self.clients:
            await client.post("settings/PRINCIPAL_SETTINGS", {"setting": automatic})
        await world.settle()
        self.expected: list[list[str]] = [[], []]
        self.at_partners: dict[int, list[str]] = {number: [] for number in range(len(self.partners))}
        self.packed: list[tuple[Partner, bytes]] = []
        self.pings, self.invited, self.offered = 0, 0, 0
        self.rotated = False

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                if hasattr(self, "rotated"):
                    self.run(self._end())
            finally:
                self.runner.close()
                self.folder.cleanup()

    # What is done.

    @rule(side=SIDES)
    def send(self, side: int) -> None:
        content = self.world.name("between")
        self.expected[1 - side].append(content)
        self.run(self.clients[side].act(self.contacts[side], basic(content)))

    @rule(number=st.integers(0, 3))
    def send_to_partner(self, number: int) -> None:
        partner, content = self.partners[number], self.world.name("out")
        self.at_partners[number].append(content)
        self.run(self.clients[number // 2].act(partner.connection.contact_uuid, basic(content)))

    @rule(number=st.integers(0, 3), ping=st.booleans())
    def receive(self, number: int, ping: bool) -> None:
        partner = self.partners[number]
        content = self.world.name("in")
        self.expected[number // 2].append(content)
        message = partner.basic(content)
        if ping:
            kind = {"@type": PING, "content": content} if partner.version == "v1" else {"type": PING_2}
            message = {**message, **kind}
            self.at_partners[number].append("ping")
        packed = partner.pack(message)
        self.packed.append((partner, packed))
        self.run(partner.deliver(packed))

    @precondition(lambda self: self.packed)
    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        partner, packed = data.draw(st.sampled_from(self.packed))
        self.run(partner.deliver(packed))

    @precondition(lambda self: self.invited < _MOST)
    @rule(side=SIDES, form=st.sampled_from(["out-of-band/1", "out-of-band/2", "connections/1"]))
    def meet(self, side: int, form: str) -> None:
        """The other accepts an invitation, and writes before the connection is completed."""
        self.invited += 1
        content = self.world.name("held")
        self.expected[side].append(content)
        self.run(self._meet(self.clients[side], self.clients[1 - side], form, content))

    async def _meet(self, inviter: Client, invited: Client, form: str, content: str) -> None:
        made = await inviter.post("invitation", {"form": form})
        contact = await invited.post("contact", {"invitation": made["invitation"]})
        await invited.act(contact["uuid"], basic(content))

    @precondition(lambda self: self.offered < _MOST)
    @rule(side=SIDES, what=st.sampled_from(["credential", "proof-request"]), minor=st.sampled_from(["1.0", "2.0"]))
    def offer(self, side: int, what: str, minor: str) -> None:
        """A credential, or a request for a proof."""
        self.offered += 1
        name = "issue-credential" if what == "credential" else "present-proof"
        wanted = {"to": self.contacts[side], "format": "plain", "protocol": f"{name}/{minor}"}
        self.run(self.clients[side].post(what, {**wanted, "data": {"attachment": {"grade": "A"}}}))

    @rule(side=SIDES)
    def accept(self, side: int) -> None:
        self.run(self._accept(self.clients[side]))

    async def _accept(self, client: Client) -> None:
        """Everything that waits for the client's word."""
        for exchange in (await client.get("exchange"))["hits"]:
            if exchange["status"] == "WAITING":
                body = {"data": {"attachment": {"x": 1}}}
                answer = await client.call("POST", f"exchange/{exchange['uuid']}/accept", body)
                assert answer.status in (200, 409), answer.body

    @precondition(lambda self: not self.rotated)
    @rule(side=SIDES)
    def rotate(self, side: int) -> None:
        self.rotated = True
        self.run(self._rotate(self.clients[side], self.contacts[side]))

    async def _rotate(self, client: Client, contact: str) -> None:
        for connection in (await client.get("connection"))["hits"]:
            if connection["contactUuid"] == contact:
                await client.post(f"connection/{connection['uuid']}/rotate", {})

    # What happens.

    @rule(places=st.lists(st.integers(0, 9), min_size=1, max_size=6))
    def give_out(self, places: list[int]) -> None:
        """Queue messages, not in their order."""
        for place in places:
            self.world.choose = functools.partial(_at, place)
            self.run(self.world.step())

    @rule(place=st.integers(0, 9))
    def give_up(self, place: int) -> None:
        """As after too many attempts; to be replayed in the end."""
        queued = [one for one in self.world.durable.queue.values() if not one.queue.endswith("-poison")]
        if queued:
            self.world.give_up(_at(place, queued))

    @rule(kind=st.sampled_from(["kill", "fail", "lost", "twice"]), after=st.integers(1, 12))
    def fault(self, kind: Fault, after: int) -> None:
        """At one of the calls to come that change something."""
        left = after

        def plan(name: str, writes: bool) -> Fault | None:
            nonlocal left
            left -= writes
            return kind if writes and left == 0 else None

        self.world.plan = plan

    @rule(seconds=st.sampled_from([5, 60, 700]))
    def wait(self, seconds: int) -> None:
        self.world.durable.now += seconds * 1000

    @rule()
    def sweep(self) -> None:
        self.run(self.world.sweep())

    # What must be true.

    async def _end(self) -> None:
        world = self.world
        world.choose = lambda visible: visible[0]
        for _ in range(4):
            await world.settle()
            await world.replay()
            await world.settle()
            for client in self.clients:
                await self._accept(client)
        world.plan = lambda name, writes: None
        for _ in range(4):
            await world.settle()
            for client in self.clients:
                await self._accept(client)
        await world.settle()
        if self.rotated:
            # A new DID counts once its key has spoken.
            for side in (0, 1):
                content = world.name("between")
                self.expected[1 - side].append(content)
                await self.clients[side].act(self.contacts[side], basic(content))
            await world.settle()
        world.restart()
        await world.assert_at_rest(*self.clients)
        for client, expected in zip(self.clients, self.expected, strict=True):
            assert [content for content in client.contents() if "-" in content] == sorted(expected)
            await self._assert_own(client)
        for number, partner in enumerate(self.partners):
            found = [(one.get("body") or one).get("content", "ping") for one in partner.messages.values()]
            assert sorted(found) == sorted(self.at_partners[number])
        await self._assert_agreed()

    async def _assert_own(self, client: Client) -> None:
        """That each thread, message and delivery is of a connection of the tenant's own."""
        own = {connection["uuid"] for connection in (await client.get("connection?limit=200"))["hits"]}
        for (partition, key), row in self.world.durable.tables["records"].items():
            if principal_of(partition) == client.uuid and key.partition("~")[0] in ("action", "message", "delivery"):
                assert row.values.get("connectionUuid") in own, (key, row.values)

    async def _assert_agreed(self) -> None:
        """That both sides of each exchange and connection say the same."""
        sides = [(await client.get("exchange"))["hits"] for client in self.clients]
        assert [len(exchanges) for exchanges in sides] == [self.offered] * 2
        assert {exchange["state"] for exchanges in sides for exchange in exchanges} <= {"done"}
        pairs = []
        for client in self.clients:
            connections = (await client.get("connection"))["hits"]
            assert {connection["state"] for connection in connections} == {"completed"}
            partners = {partner.document.id for partner in self.partners}
            own = [connection for connection in connections if connection["theirDid"] not in partners]
            assert len(own) == 1 + self.invited
            pairs.append([(_bare(one["myDid"]), _bare(one["theirDid"])) for one in own])
        assert sorted(pairs[0]) == sorted((mine, theirs) for theirs, mine in pairs[1])
        for client in self.clients:
            statuses = {hit["status"] for hit in (await client.get("message?limit=200"))["hits"]}
            assert statuses <= {"RECEIVED", "SENT"}


def _at(place: int, visible: list[Waiting]) -> Waiting:
    return visible[place % len(visible)]


def _bare(did: str) -> str:
    """Connections 1.0 has DIDs without their method."""
    return did.removeprefix("did:sov:")


class InShards(AnyOrder):
    shards = 4


@pytest.mark.parametrize(("machine", "examples"), [(AnyOrder, 50), (InShards, 10)])
def test_any_order(machine: type[AnyOrder], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
