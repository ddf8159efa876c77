"""Documents that are too much, and places where nobody may be sent."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.common import basic
from tests.security.agents import DIALECTS, Agent, Json, new_id
from tests.security.handshakes import (
    connected,
    connections,
    did_web,
    invited,
    placed,
    public,
    refused,
    rotate,
    rotated_to,
    stored,
)
from tests.stack import Client, Receiver, Stack
from tntcore.dids import peer
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1
from tntcore.storage.queries import Where
from tntcore.storage.records import Message


def services(number: int) -> list[Json]:
    return [
        {"id": f"#{count}", "type": "did-communication", "serviceEndpoint": f"https://example.com/{count}"}
        for count in range(number)
    ]


async def test_documents_that_are_too_much(tenant: Client, agent: Agent, web: Receiver) -> None:
    """In a message, in a DID, and at a did:web: each is refused, and nobody waits for it."""
    did = did_web(web)
    made, pthid, key = await invited(tenant)
    padding = {"note": "x" * 1_000_000}
    many, large = {**agent.legacy(), "service": services(1000)}, {**agent.legacy(), **padding}
    long = f"{agent.peer_4}{'2' * 1_400_000}"
    keys = [("V", agent.keys.ed25519.public)]
    crowded = peer.create_2(keys, services(1000))  # type: ignore[arg-type]
    started = asyncio.get_running_loop().time()
    for message in (
        agent.request(DID_EXCHANGE_1_0, pthid, did_doc__attach=agent.signed(many)),
        agent.request(DID_EXCHANGE_1_0, pthid, did_doc__attach=agent.signed(large)),
        agent.request(CONNECTIONS_1_0, pthid, connection={"DID": agent.sov, "DIDDoc": many}),
        agent.request(CONNECTIONS_1_0, pthid, connection={"DID": agent.sov, "DIDDoc": large}),
    ):
        await refused(tenant, await agent.send(message, key), "document-too-large")
    for much in (long, crowded):
        message = agent.request(DID_EXCHANGE_1_1, pthid, did=much)
        await refused(tenant, await agent.send(message, key), "malformed-did")
    for document in (public(agent, did, service=services(1000)), public(agent, did, **padding)):
        web.text = orjson.dumps(document).decode()
        tenant.stack.app.services.resolver._failed.drop(f"{tenant.uuid}/{did}")
        message = agent.request(DID_EXCHANGE_1_1, pthid, did=did)
        await agent.send(message, key)
        if "note" not in document:
            await refused(tenant, message["@id"], "document-too-large")
        else:
            await settled_without(tenant, message["@id"])
    assert asyncio.get_running_loop().time() - started < 10
    assert await connections(tenant) == []
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    assert agent.heard() == []


async def settled_without(client: Client, message_id: str) -> None:
    """That a message whose sender's document cannot be had is refused or still waited for, but does nothing."""
    await asyncio.sleep(0.5)
    records = (await client.tenant()).records
    found = (await records.list(Message, limit=1, where=Where("messageId eq @id", {"id": message_id}))).records
    assert [(one.status, one.error) for one in found] in ([], [("REJECTED", "unresolvable")])


PRIVATE = [
    "http://10.0.0.1/didcomm",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]:7071/",
    "https://192.168.0.1",
]


async def test_nobody_is_sent_to_an_address_inside(stack: Stack, tenant: Client, agent: Agent) -> None:
    """A connection with such an endpoint costs who made it its answers, and nobody else anything."""
    honest, ours = await connected(tenant, agent)
    _, pthid, key = await invited(tenant, multiUse=True)
    started = asyncio.get_running_loop().time()
    for endpoint in PRIVATE:
        inside = agent.another(endpoint=endpoint)
        for protocol in DIALECTS:
            request = inside.request(protocol, pthid)
            await inside.send(request, key)
            assert (await stored(tenant, request["@id"])).status == "RECEIVED"
        invitation = agent.another(endpoint=endpoint).invitation(DID_EXCHANGE_1_1)
        await tenant.post("contact", {"invitation": invitation})
        for before, after in ((agent, inside), (inside, agent)):
            announced = rotate(after.peer_2)
            await before.send(announced, ours)
            assert (await stored(tenant, announced["@id"])).status == "RECEIVED"
            # The new DID counts when its key has spoken.
            await after.send(basic("it is me", **{"@id": new_id()}), ours)
            await rotated_to(tenant, honest["uuid"], after.peer_2)
    assert asyncio.get_running_loop().time() - started < 20

    async def tried() -> list[Json] | None:
        hits = (await tenant.get("delivery?limit=200"))["hits"]
        failed = [hit for hit in hits if hit["error"] == "refused-address"]
        return failed if len(failed) >= 4 * len(PRIVATE) else None

    for hit in await stack.eventually(tried):
        assert hit["responseStatus"] in (None, 0)
    await tenant.act(honest["contactUuid"], basic("still there"))
    await agent.hears("basicmessage/1.0/message")


async def test_no_did_leads_inside(
    stack: Stack, tenant: Client, agent: Agent, web: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in production: nothing but public addresses may be reached, whatever name or number leads there."""
    connection, ours = await placed(stack, tenant, agent, "responder", "completed", DID_EXCHANGE_1_1)
    _, pthid, key = await invited(tenant)
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        return {"public.example": ["10.0.0.1"], "both.example": ["1.1.1.1", "127.0.0.1"]}.get(host, ["127.0.0.1"])

    egress = stack.app.services.egress
    monkeypatch.setattr(egress, "_lookup", lookup)
    sessions: dict[str, Any] = {}
    monkeypatch.setattr(egress, "_sessions", sessions)
    for gate in egress._gates.values():
        monkeypatch.setattr(gate, "_allow", ())
    port = web.url.rpartition(":")[2]
    web.text = orjson.dumps(public(agent, did_web(web))).decode()
    dids = [
        did_web(web),
        f"did:web:localhost%3A{port}:agent",
        f"did:web:inside.example%3A{port}:agent",
        "did:web:public.example",
        "did:web:both.example",
        "did:web:10.0.0.1",
        "did:web:169.254.169.254:latest:meta-data",
        "did:web:[::1]",
        "did:web:%5B::1%5D",
        "did:web:2130706433",
        "did:web:0x7f000001",
        "did:web:user@inside.example",
        "did:web:inside.example%2F..%2Fx",
    ]
    for did in dids:
        message = agent.request(DID_EXCHANGE_1_1, pthid, did=did)
        await agent.send(message, key)
        await agent.send(rotate(did), ours.verkey)
        made = await tenant.call("POST", "contact", {"contact": {"did": did}})
        assert made.status in (201, 400), made.body
        if made.status == 201:
            assert made.json()["unreachable"]
        answer = await tenant.call(
            "POST", "contact", {"invitation": agent.invitation(DID_EXCHANGE_1_1, services=[did])}
        )
        assert answer.status == 400, answer.body
    await asyncio.sleep(0.5)
    monkeypatch.undo()
    for session in sessions.values():
        await session.close()
    assert web.got == []
    # Others' messages may be tried again meanwhile, to names under .example as well.
    names = {name for name in asked if not name.endswith(".example") or not set(name).isdisjoint("@/%:")}
    assert names <= {"localhost"}
    assert {"inside.example", "public.example", "both.example"} <= set(asked)
    shown = await tenant.get(f"connection/{connection.uuid}")
    assert (shown["theirDid"], shown["state"]) == (agent.peer_2, "completed")
    assert [one["role"] for one in await connections(tenant) if one["state"] != "start"] == ["responder"]


async def test_a_host_that_never_answers_holds_up_nobody(stack: Stack, tenant: Client, agent: Agent) -> None:
    """The document of a did:web is waited for; what came with that message, or after it, is not."""
    hook = await tenant.webhook("basicmessage")
    _, ours = await connected(tenant, agent)
    _, pthid, key = await invited(tenant)
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for number in range(20):
        did = f"did:web:127.0.0.1%3A{port}:agent-{number}"
        await agent.send(agent.request(DID_EXCHANGE_1_1, pthid, did=did), key)
    await asyncio.wait_for(reached.wait(), 60)
    await agent.send(said := basic("meanwhile", **{"@id": new_id()}), ours)
    await hook.until(lambda got: got.json()["message"]["@id"] == said["@id"], 5)
    server.close()
    assert len(await connections(tenant)) == 1
