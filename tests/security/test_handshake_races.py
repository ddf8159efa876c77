"""Handshakes: races, replays, and invitations that are good no longer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.scenarios.common import assert_problem
from tests.security.agents import Agent, Json, new_id
from tests.security.handshakes import (
    DIALECT,
    complete,
    connections,
    invited,
    refused,
    requested,
    stored,
    told,
    until_state,
)
from tests.stack import Client, Stack
from tntcore.dids.parse import parse_document
from tntcore.storage.records import Identity
from tntcore.tenancy.recipients import verkeys


@DIALECT
@pytest.mark.parametrize("same", [False, True], ids=["ten-agents", "one-agent"])
async def test_one_of_ten_requests_gets_a_single_use_invitation(
    tenant: Client, agent: Agent, protocol: str, same: bool
) -> None:
    made, pthid, key = await invited(tenant)
    agents = [agent if same else agent.another() for _ in range(10)]
    requests = [one.request(protocol, pthid) for one in agents]
    await asyncio.gather(*(one.send(request, key) for one, request in zip(agents, requests, strict=True)))
    records = [await stored(tenant, request["@id"]) for request in requests]
    outcomes = sorted((record.status, record.error) for record in records)
    assert outcomes == [("RECEIVED", ""), *[("REJECTED", "invitation-not-valid")] * 9]
    [connection] = await connections(tenant)
    assert len((await tenant.get("contact"))["hits"]) == 1
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "USED"
    won = next(number for number, record in enumerate(records) if record.status == "RECEIVED")
    response, ours = await agents[won].hears("/response")
    assert response["~thread"]["thid"] == requests[won]["@id"]
    for number, one in enumerate(agents):
        if number != won:
            await told(one, requests[number], protocol, key)
    for one in agents:
        await one.hears_nothing_more(10 if same else 1)
    await agents[won].send(complete(protocol, requests[won]), ours)
    await until_state(tenant, connection["uuid"], "completed")


@DIALECT
@pytest.mark.parametrize("multi_use", [False, True])
async def test_a_request_counts_once(tenant: Client, agent: Agent, protocol: str, multi_use: bool) -> None:
    _, pthid, key = await invited(tenant, multiUse=multi_use)
    request = agent.request(protocol, pthid)
    packed = agent.pack(request, key)
    for _ in range(2):
        # Byte for byte, packed anew, and at once.
        again = [packed, packed, agent.pack(request, key), agent.pack(request, key)]
        await asyncio.gather(*(tenant.stack.deliver(one) for one in again))
        _, ours = await agent.hears("/response")
        await agent.hears_nothing_more(1)
        assert len(await connections(tenant)) == 1
        assert len((await tenant.get("contact"))["hits"]) == 1
        assert len((await tenant.get("message?direction=IN"))["hits"]) == 1
    # Nor does it bring a completed connection back to its beginning.
    [connection] = await connections(tenant)
    await agent.send(complete(protocol, request), ours)
    done = await until_state(tenant, connection["uuid"], "completed")
    await tenant.stack.deliver(packed)
    other = {**request, "label": "another text under the same id"}
    await agent.send(other, key)
    await agent.hears_nothing_more(1)
    assert await connections(tenant) == [done]


@DIALECT
async def test_a_response_and_a_complete_count_once(tenant: Client, agent: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    response = agent.response(protocol, request["@id"], agent.keys.ed25519)
    packed = agent.pack(response, ours)
    for _ in range(2):
        await asyncio.gather(*(tenant.stack.deliver(one) for one in (packed, packed, agent.pack(response, ours))))
        await until_state(tenant, uuid, "completed")
        await agent.hears_nothing_more(2)  # the request and the complete
    for message in (await tenant.get("message?direction=IN"))["hits"]:
        assert (message["messageId"], message["status"]) == (response["@id"], "RECEIVED")


@DIALECT
async def test_invitations_that_are_good_no_longer(tenant: Client, agent: Agent, protocol: str) -> None:
    used, _, _ = first = await invited(tenant)
    await agent.send(agent.request(protocol, first[1]), first[2])
    await agent.hears("/response")
    soon = datetime.now(UTC) + timedelta(milliseconds=200)
    expired = await invited(tenant, multiUse=True, expiresAt=soon.isoformat())
    revoked = await invited(tenant, multiUse=True)
    await answered_once(tenant, agent, protocol, revoked)
    assert (await tenant.call("DELETE", f"invitation/{revoked[0]['uuid']}")).status == 204
    await asyncio.sleep(0.3)
    before = len(await connections(tenant))
    for _, pthid, key in (first, expired, revoked):
        for one in (agent, agent.another()):
            await refused(tenant, await one.send(one.request(protocol, pthid), key), "invitation-not-valid")
    # Nor by way of the identity's own key, or of another invitation's.
    identity = await (await tenant.tenant()).records.get(Identity, tenant.identity["uuid"])
    assert identity is not None
    public_key = next(iter(verkeys(parse_document(identity.document))))
    _, _, good = await invited(tenant, multiUse=True)
    for made, pthid, _ in (first, expired, revoked):
        await refused(tenant, await agent.send(agent.request(protocol, pthid), public_key), "invitation-not-valid")
        await refused(tenant, await agent.send(agent.request(protocol, pthid), good), "invitation-unknown")
        other = await tenant.stack.register("Other")
        body = {"invitationId": made["uuid"]}
        answer = await other.call("POST", "contact", body)
        assert answer.status == (400 if made is expired[0] else 404), answer.body
    assert len(await connections(tenant)) == before
    assert (await tenant.get(f"invitation/{used['uuid']}"))["status"] == "USED"


async def answered_once(tenant: Client, agent: Agent, protocol: str, invitation: tuple[Json, str, str]) -> None:
    """Answers an invitation once, so that this process knows it."""
    one = agent.another()
    await one.send(one.request(protocol, invitation[1]), invitation[2])
    await one.hears("/response")


async def test_another_tenants_invitation_is_answered_by_its_owner_alone(stack: Stack, tenant: Client) -> None:
    """Its id is what its maker hands out: who has it may answer it, as itself, and learns nothing else."""
    owner = await stack.register("Owner")
    made, _, _ = await invited(owner, multiUse=True)
    for call, path in (("GET", ""), ("GET", "/qr.svg"), ("GET", "/qr.png"), ("DELETE", "")):
        assert_problem(await tenant.call(call, f"invitation/{made['uuid']}{path}"), 404, "invitation-unknown")
    for guess in (new_id(), made["uuid"][:-1], made["invitation"]["@id"], "", owner.uuid, "../invitation"):
        answer = await tenant.call("POST", "contact", {"invitationId": guess})
        assert answer.status in (400, 404), answer.body
    assert (await owner.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    assert await connections(owner) == []
    contact = await tenant.post("contact", {"invitationId": made["uuid"]})
    await until_state(tenant, contact["connectionUuid"], "completed")
    [connection] = await connections(owner)
    for verb in ("accept", "reject", "rotate", "hangup"):
        answer = await tenant.call("POST", f"connection/{connection['uuid']}/{verb}", {})
        assert_problem(answer, 404, "connection-unknown")
    await until_state(owner, connection["uuid"], "completed")
