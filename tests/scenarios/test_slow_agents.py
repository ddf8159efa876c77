"""Agents that are slow to take what was held for them: nobody else's messages wait for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from devtools.connect import complete
from tests.scenarios.common import basic, contact_out_of_reach
from tests.scenarios.silent import Silent
from tests.stack import Client, Stack
from tntcore.connections.connection import pairwise
from tntcore.delivery import outbound, slow_receivers
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import DidDocument, Version
from tntcore.envelope import Authcrypt, base64url, unpack
from tntcore.errors import DidError
from tntcore.shares import party
from tntcore.storage.records import Connection
from tntcore.tenancy.recipients import KeyPairs


class Agent(Silent):
    """One endpoint for many DIDs."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[bytes] = []
        self.keys: list[KeyPairs] = []

    async def take(self, request: web.BaseRequest) -> None:
        self.got.append(await request.read())

    def contents(self, keys: KeyPairs) -> list[str]:
        """What came for these keys, in its order."""
        found = []
        for packed in self.got:
            recipient = orjson.loads(packed)["protected"]
            if keys.verkey in text_of(recipient):
                unpacked = unpack(packed, {keys.verkey: keys.ed25519}, {})
                assert isinstance(unpacked, Authcrypt)
                found.append(orjson.loads(unpacked.plaintext)["content"])
        return found


def text_of(protected: str) -> str:
    return base64url.decode(protected).decode()


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    agent = Agent()
    await agent.start()
    yield agent
    await agent.stop()


async def connection_with(
    stack: Stack, client: Client, endpoint: str, held: list[str], version: Version = "v1"
) -> KeyPairs:
    """A new connection, for which these messages were held until it was completed; the keys of the agent there."""
    keys, ours = KeyPairs.generate(), KeyPairs.generate()
    did = peer.create_2([("E", keys.x25519.public), ("V", keys.ed25519.public)], didcomm_services(endpoint, "#key-2"))
    contact = await contact_out_of_reach(client, did)
    for content in held:
        await client.act(contact["uuid"], basic(content))
    tenant = await client.tenant()
    connection = await tenant.records.get(Connection, contact["connectionUuid"])
    assert connection is not None
    services = stack.app.services
    await complete(
        services,
        stack.app.outbound,
        tenant,
        connection,
        keys=ours,
        mine=pairwise(services, ours),
        theirs=peer.resolve(did).raw,
        version=version,
    )
    return keys


async def test_nobody_waits_for_agents_for_which_messages_were_held(
    stack: Stack, pair: tuple[Client, Client], agent: Agent
) -> None:
    """More of them than the host handles queue messages at a time."""
    acme, bolt = pair
    slow = await stack.register("Slow")
    contents = ["first", "second", "third"]
    keys = [await connection_with(stack, slow, agent.url, contents) for _ in range(30)]
    mine, _ = await stack.connect(acme, bolt)
    hook = await bolt.webhook()
    begun = time.monotonic()
    await acme.act(mine.contact_uuid, basic("x"))
    await hook.until(lambda got: True, 30)
    took = time.monotonic() - begun
    print(f"another tenant's message took {took:.2f} s")
    assert took < 2 * slow_receivers.PATIENCE + 1
    agent.go_on.set()

    async def all_sent() -> Any:
        hits = (await slow.get("delivery?status=DELIVERED&limit=200"))["hits"]
        return hits if len(hits) == len(keys) * len(contents) else None

    hits = await stack.eventually(all_sent, 40)
    # In their order, and each once: more often only if no answer came in time, as on a slow machine.
    got = [agent.contents(one) for one in keys]
    assert [list(dict.fromkeys(one)) for one in got] == [contents] * len(keys)
    assert sum(map(len, got)) <= sum(hit["attempts"] for hit in hits)


async def test_a_mediator_whose_document_comes_slowly_holds_no_queue_message(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partner chooses its mediators, and these theirs."""
    acme, _ = pair
    monkeypatch.setattr(outbound, "_PACKING", 0.2)
    asked: list[str] = []

    async def never(asked_for: str) -> DidDocument:
        asked.append(asked_for)
        await asyncio.sleep(60)
        raise AssertionError("it never answers")

    resolver = stack.app.services.resolver
    monkeypatch.setattr(resolver, "resolve", never)
    await connection_with(stack, acme, "did:web:slow.example", ["x"], "v2")

    async def retried() -> bool:
        [delivery] = (await acme.get("delivery"))["hits"]
        return (delivery["status"], delivery["error"]) == ("PENDING", "unresolvable")

    await stack.eventually(retried)
    assert "did:web:slow.example" in asked


async def test_mediators_share_with_the_entrance_of_their_agent(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those of strangers are tried no longer than their endpoints."""
    acme, _ = pair
    mediator = "did:web:mediators-share.example"
    asked: list[str] = []

    async def unresolvable(asked_for: str) -> DidDocument:
        if asked_for == mediator:
            asked.append(party().sender)
        raise DidError("unresolvable", "it is slow")

    monkeypatch.setattr(stack.app.services.resolver, "resolve", unresolvable)
    monkeypatch.setattr(outbound, "_UNPROVEN_ATTEMPTS", 1)
    await connection_with(stack, acme, mediator, ["x"], "v2")

    async def tried(status: str) -> bool:
        return any(hit["status"] == status and hit["attempts"] for hit in (await acme.get("delivery"))["hits"])

    await stack.eventually(lambda: tried("PENDING"))
    monkeypatch.setattr(outbound, "_is_unproven", lambda connection: True)
    await connection_with(stack, acme, mediator, ["x"], "v2")
    await stack.eventually(lambda: tried("FAILED"))
    tenant = await acme.tenant()
    stored = await tenant.records.list(Connection, limit=10)
    assert asked
    assert set(asked) <= {connection.entrance for connection in stored.records}


async def test_a_mediator_whose_document_never_comes_is_let_go_like_a_slow_receiver(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, _ = pair
    let_go: list[bool] = []
    receivers, let = stack.app.outbound._receivers, stack.app.outbound._receivers.let_go

    def watched(task: asyncio.Task[None], item: slow_receivers.Called, call: slow_receivers.PendingCall) -> None:
        let_go.append(task.done())
        let(task, item, call)

    async def never(asked_for: str) -> DidDocument:
        await asyncio.Event().wait()
        raise AssertionError("it never answers")

    monkeypatch.setattr(receivers, "let_go", watched)
    monkeypatch.setattr(stack.app.services.resolver, "resolve", never)
    monkeypatch.setattr(outbound, "_PACKING", 60.0)
    monkeypatch.setattr(slow_receivers, "_CAUTION", 0.1)
    monkeypatch.setattr(outbound, "PATIENCE", 0.1)
    await connection_with(stack, acme, "did:web:slow.example", ["x"], "v2")

    async def went_on() -> bool:
        return let_go[:1] == [False]

    await stack.eventually(went_on)
    await receivers.close()
