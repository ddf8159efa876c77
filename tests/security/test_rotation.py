"""DIDs that change: by whom, when, and what is heard of the old one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.scenarios.common import basic
from tests.security.agents import Agent, Json, new_id
from tests.security.handshakes import (
    ROTATE,
    connected,
    connections,
    placed,
    refused,
    requested,
    rotate,
    rotated_to,
    stored,
    until_state,
)
from tests.stack import Client, Stack
from tntcore.dids import peer
from tntcore.protocols.did_exchange import DID_EXCHANGE_1_1
from tntcore.storage.records import Connection
from tntcore.tenancy.recipients import verkeys


async def test_a_did_is_changed_by_its_owner_alone(tenant: Client, agent: Agent, mallory: Agent) -> None:
    connection, ours = await connected(tenant, agent)
    _, hers = await connected(tenant, mallory)
    heard = len(agent.heard()), len(mallory.heard())
    for name in ("rotate", "hangup"):
        message = {**rotate(mallory.peer_2), "@type": f"{ROTATE}{name}"}
        await refused(tenant, await mallory.send(message, ours), "sender-not-connection")
        nobodys = {**message, "@id": new_id()}
        await mallory.send(nobodys, ours, anonymous=True)
        assert not (await stored(tenant, nobodys["@id"])).authenticated
        # On her own connection she may, and that changes no other.
        await mallory.send({**rotate(agent.peer_2), "~thread": {"thid": connection["uuid"]}}, hers)
    assert await tenant.get(f"connection/{connection['uuid']}") == connection
    await asyncio.sleep(0.3)
    assert len(agent.heard()) == heard[0]


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("did:peer:2.Ez6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc", "e.did.doc_unsupported"),
        ("did:peer:4zQmXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", "e.did.unresolvable"),
        ("did:peer:2.nothing", "e.did.unresolvable"),
        ("did:web:127.0.0.1%3A9:nobody", "e.did.unresolvable"),
        ("did:web:10.0.0.1", "e.did.unresolvable"),
        ("did:key:z6MkqRYqQiSgvZQdnBytw86Qbs2ZWUkGv22od935YF4s8M7V", "e.did.doc_unsupported"),
        ("did:example:123", "e.did.method_unsupported"),
        ("WgWxqztrNooG92RXvxSTWv", "e.did.method_unsupported"),
        ("", "e.did.method_unsupported"),
        (None, "e.did.method_unsupported"),
        (["did:example:123"], "e.did.method_unsupported"),
        ("did:peer:2" + "." * 100_000, "e.did.unresolvable"),
    ],
)
@pytest.mark.parametrize("root", ["https://didcomm.org/", "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/"])
async def test_a_did_that_cannot_be_used_changes_nothing(
    tenant: Client, agent: Agent, did: Any, code: str, root: str
) -> None:
    connection, ours = await placed(tenant.stack, tenant, agent, "responder", "completed", DID_EXCHANGE_1_1)
    records = (await tenant.tenant()).records
    before = await records.get(Connection, connection.uuid)
    assert before is not None
    message = {**rotate(did), "@type": f"{root}did-rotate/1.0/rotate"}
    await agent.send(message, ours.verkey)
    answer, _ = await agent.hears("/problem-report")
    assert answer["@type"] == f"{root}did-rotate/1.0/problem-report"
    assert answer["description"]["code"] == code
    assert answer["~thread"]["pthid"] == message["@id"]
    after = await records.get(Connection, connection.uuid)
    assert after is not None
    assert (after.their_did, after.their_document, after.previous_document, after.state) == (
        before.their_did,
        before.their_document,
        before.previous_document,
        before.state,
    )


async def test_a_did_that_was_given_up_is_heard_but_decides_nothing(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Mallory has stolen the keys that the agent gave up for that reason."""
    hook = await tenant.webhook("basicmessage")
    connection, ours = await connected(tenant, agent)
    new = agent.another()
    await agent.send(first := rotate(new.peer_2), ours)
    ack, _ = await agent.hears("/did-rotate/1.0/ack")
    assert (ack["~thread"]["thid"], new.heard()) == (first["@id"], [])
    late = basic("sent before, come after", **{"@id": new_id()})
    await agent.send(late, ours)
    assert (await hook.until(lambda got: got.json()["message"]["@id"] == late["@id"])).json()["authenticated"]
    for message in (rotate(mallory.peer_2), {"@type": f"{ROTATE}hangup", "@id": new_id()}):
        await refused(tenant, await agent.send(message, ours), "sender-retired")
    for key in (new, agent):
        await key.send({**late, "@id": (said := new_id())}, ours)
        assert (await stored(tenant, said)).authenticated
    await rotated_to(tenant, connection["uuid"], new.peer_2)
    for message in (rotate(mallory.peer_2), {"@type": f"{ROTATE}hangup", "@id": new_id()}):
        await refused(tenant, await agent.send(message, ours), "sender-retired")
    # An ack that was lost is asked for again in the same words, or by a new message that says the same.
    await new.send(again := rotate(new.peer_2), ours)
    ack, _ = await agent.hears("/did-rotate/1.0/ack", 2)
    assert ack["~thread"]["thid"] == again["@id"]
    await agent.send({**late, "@id": (later := new_id())}, ours)
    assert (await stored(tenant, later)).authenticated
    shown = await tenant.get(f"connection/{connection['uuid']}")
    assert (shown["state"], shown["theirDid"]) == ("completed", new.peer_2)
    await tenant.act(connection["contactUuid"], basic("to the new one"))
    await new.hears("basicmessage/1.0/message")
    assert mallory.heard() == []


async def test_before_the_exchange_is_over_there_is_no_did_to_change(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Or else a key that is not the invitation's could vouch for the response."""
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    before = await tenant.get(f"connection/{uuid}")
    await agent.send(message := rotate(mallory.peer_2), ours)
    await stored(tenant, str(message["@id"]))
    response = mallory.response(DID_EXCHANGE_1_1, request["@id"], mallory.keys.ed25519)
    await refused(tenant, await mallory.send(response, ours), "response-not-accepted")
    assert await tenant.get(f"connection/{uuid}") == before
    await agent.hears_nothing_more(1)


async def test_an_ack_counts_once_and_for_its_own_rotation(tenant: Client, agent: Agent) -> None:
    connection, old = await connected(tenant, agent)
    path = f"connection/{connection['uuid']}"
    await tenant.post(f"{path}/rotate", {}, 200)
    message, _ = await agent.hears("/rotate")
    for thread in ({"thid": new_id()}, {"thid": "done"}, {"thid": ""}, {}):
        stray = {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": thread}
        await agent.send(stray, old)
        await stored(tenant, str(stray["@id"]))
    assert (await tenant.get(path))["myDid"] == connection["myDid"]
    acked = {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": message["@id"]}, "status": "OK"}
    await agent.send(acked, old)

    async def adopted() -> bool:
        return bool((await tenant.get(path))["myDid"] == message["to_did"])

    await tenant.stack.eventually(adopted)
    # Nothing that comes after it turns the former DID away.
    for thid in (message["@id"], "done", ""):
        again = {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": thid}}
        await agent.send(again, old)
        assert (await stored(tenant, str(again["@id"]))).status == "RECEIVED"
    new = next(iter(verkeys(peer.resolve(message["to_did"]))))
    for key in (old, new):
        await agent.send(said := basic("still read", **{"@id": new_id()}), key)
        assert (await stored(tenant, str(said["@id"]))).authenticated


async def test_a_rotation_that_is_refused_is_over(tenant: Client, agent: Agent) -> None:
    connection, ours = await connected(tenant, agent)
    path = f"connection/{connection['uuid']}"
    await tenant.post(f"{path}/rotate", {}, 200)
    message, _ = await agent.hears("/rotate")
    no = {
        "@type": f"{ROTATE}problem-report",
        "@id": new_id(),
        "~thread": {"thid": message["@id"], "pthid": message["@id"]},
        "description": {"code": "e.did.doc_unsupported"},
    }
    await agent.send(no, ours)
    await stored(tenant, str(no["@id"]))
    await agent.send(late := {"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": message["@id"]}}, ours)
    await stored(tenant, str(late["@id"]))
    assert (await tenant.get(path))["myDid"] == connection["myDid"]
    await tenant.post(f"{path}/rotate", {}, 200)
    second, _ = await agent.hears("/rotate", 2)
    assert second["to_did"] != message["to_did"]


async def test_a_rotation_that_is_asked_for_twice_is_one(tenant: Client, agent: Agent) -> None:
    """What the other side sends to the DID that it learned first must be read, whichever message it got."""
    connection, ours = await connected(tenant, agent)
    path = f"connection/{connection['uuid']}"
    for _ in range(2):
        await tenant.post(f"{path}/rotate", {}, 200)
    first, _ = await agent.hears("/rotate")
    second, _ = await agent.hears("/rotate", 2)
    assert first["to_did"] == second["to_did"]
    assert first["@id"] != second["@id"]
    new = next(iter(verkeys(peer.resolve(first["to_did"]))))
    await agent.send(said := basic("to the new DID", **{"@id": new_id()}), new)
    assert (await stored(tenant, str(said["@id"]))).authenticated
    for message in (first, second):
        await agent.send({"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": {"thid": message["@id"]}}, ours)

    async def adopted() -> bool:
        return bool((await tenant.get(path))["myDid"] == first["to_did"])

    await tenant.stack.eventually(adopted)


async def test_a_flood_of_messages_while_both_sides_rotate_loses_none(stack: Stack) -> None:
    acme, bolt = await stack.register("Acme"), await stack.register("Bolt")
    hooks = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    invitation = await acme.post("invitation", {})
    contact = await bolt.post("contact", {"invitation": invitation["invitation"]})
    theirs = await until_state(bolt, contact["connectionUuid"], "completed")
    [mine] = await connections(acme)
    await until_state(acme, mine["uuid"], "completed")
    sides = (acme, mine), (bolt, theirs)
    number, rotations = 60, 3

    async def talk(client: Client, connection: Json) -> None:
        for count in range(number):
            await client.act(connection["contactUuid"], basic(count))

    async def turn(client: Client, connection: Json) -> None:
        path = f"connection/{connection['uuid']}"
        for _ in range(rotations):
            before = (await client.get(path))["myDid"]
            while (await client.call("POST", f"{path}/rotate", {})).status == 409:
                pass

            async def changed(path: str = path, before: str = before) -> bool:
                return bool((await client.get(path))["myDid"] != before)

            await stack.eventually(changed, 20)

    await asyncio.gather(*(talk(*side) for side in sides), *(turn(*side) for side in sides))
    for hook in hooks:
        await hook.count(number, 30)
        assert sorted(got.json()["message"]["content"] for got in hook.got) == list(range(number))
        assert all(got.json()["authenticated"] for got in hook.got)
    for client, _ in sides:
        assert (await client.get("message?status=REJECTED"))["hits"] == []
