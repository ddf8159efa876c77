"""Who is told that a message of a handshake was refused, and what can be made of that."""

from __future__ import annotations

import asyncio

import pytest

from tests.scenarios.common import assert_problem, basic
from tests.security.agents import Agent, Json, new_id
from tests.security.handshakes import (
    DIALECT,
    all_of,
    complete,
    connected,
    connections,
    invited,
    refused,
    report,
    requested,
    state_of,
    stored,
    told,
    until_state,
)
from tests.stack import Client, Receiver
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.messaging import times
from tntcore.messaging.ids import time_of
from tntcore.pipeline.consequences import _REFUSALS
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1
from tntcore.storage.records import Connection, Contact, Delivery, Identity, Message


async def public_key(tenant: Client) -> str:
    """The identity's own, to which an implicit invitation is answered."""
    owner = await tenant.tenant()
    known = await owner.records.get(Identity, tenant.identity["uuid"])
    assert known is not None
    opened = await tenant.stack.app.services.tenants.open_recipient(owner, known)
    return encode_verkey(opened.signer.public)


async def used(tenant: Client, agent: Agent, protocol: str) -> tuple[str, str]:
    """An invitation that was answered by the agent: its id and key."""
    _, pthid, key = await invited(tenant)
    request = agent.request(protocol, pthid)
    await agent.send(request, key)
    _, ours = await agent.hears("/response")
    await agent.send(complete(protocol, request), ours)
    return pthid, key


@DIALECT
async def test_a_refused_request_is_reported_by_the_invitations_key(
    tenant: Client, agent: Agent, protocol: str
) -> None:
    pthid, key = await used(tenant, agent, protocol)
    late = agent.another()
    request = late.request(protocol, pthid)
    await refused(tenant, await late.send(request, key), "invitation-not-valid")
    await told(late, request, protocol, key)
    # In the log as any other message, but of no contact and no connection.
    [outgoing] = [one for one in await all_of(tenant, Message) if one.type == f"{protocol}/problem_report"]

    async def sent() -> bool:
        return bool((await tenant.get(f"message/{outgoing.uuid}"))["status"] == "SENT")

    await tenant.stack.eventually(sent)
    shown = await tenant.get(f"message/{outgoing.uuid}")
    assert (shown["direction"], shown["connectionUuid"], shown["actionUuid"]) == ("OUT", None, None)
    [delivery] = [one for one in await all_of(tenant, Delivery) if one.message_uuid == outgoing.uuid]
    assert (delivery.status, delivery.attempts, delivery.kind) == ("DELIVERED", 1, "didcomm")
    assert late.verkey.encode() not in (delivery.stranger or b"")
    assert (await tenant.get(f"delivery/{delivery.uuid}"))["status"] == "DELIVERED"
    assert len(await all_of(tenant, Connection)) == len(await all_of(tenant, Contact)) == 1
    # In the spelling that was asked in, and once for the same request.
    old = {**late.request(protocol, pthid), "@type": f"did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/{protocol[20:]}/request"}
    for _ in range(2):
        await late.send(old, key)
    await told(late, old, f"did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/{protocol[20:]}", key)
    await late.hears_nothing_more(2)


async def test_a_report_that_cannot_be_delivered_is_tried_again(tenant: Client, agent: Agent, web: Receiver) -> None:
    pthid, key = await used(tenant, agent, DID_EXCHANGE_1_1)
    gone = agent.another(endpoint=f"{web.url}/agent")
    web.answer = lambda hook: (503 if len(web.got) < 2 else 200, {})
    request = gone.request(DID_EXCHANGE_1_1, pthid)
    await gone.send(request, key)

    async def delivered() -> Delivery | None:
        found = [one for one in await all_of(tenant, Delivery) if one.stranger and one.status == "DELIVERED"]
        return found[0] if found else None

    delivery = await tenant.stack.eventually(delivered, 30)
    assert delivery.attempts == len(web.got) == 2
    got = gone.opened(web.got[-1].body)
    assert got is not None
    assert (got[0]["~thread"], got[1]) == ({"thid": request["@id"]}, key)


async def test_a_request_to_a_public_did_is_refused_by_its_key(tenant: Client, agent: Agent) -> None:
    key = await public_key(tenant)
    request = agent.request(DID_EXCHANGE_1_1, new_id())
    await refused(tenant, await agent.send(request, key), "invitation-unknown")
    await told(agent, request, DID_EXCHANGE_1_1, key)
    assert await connections(tenant) == []


async def test_ten_thousand_requests_make_no_contacts_and_few_reports(tenant: Client, agent: Agent) -> None:
    pthid, key = await used(tenant, agent, DID_EXCHANGE_1_1)
    many = [agent.another() for _ in range(3 * _REFUSALS)]
    requests = [one.request(DID_EXCHANGE_1_1, pthid) for one in many]
    await asyncio.gather(*(one.send(request, key) for one, request in zip(many, requests, strict=True)))
    for request in requests:
        await refused(tenant, request["@id"], "invitation-not-valid")
    assert len(await all_of(tenant, Connection)) == len(await all_of(tenant, Contact)) == 1

    async def all_told() -> bool:
        return sum(len(one.heard()) for one in many) >= _REFUSALS

    await tenant.stack.eventually(all_told)
    await asyncio.sleep(0.3)
    # A slow machine earns another one meanwhile.
    assert sum(len(one.heard()) for one in many) <= _REFUSALS + 2
    # Another invitation of the same tenant is not silenced by that.
    other, other_key = await used(tenant, agent.another(), DID_EXCHANGE_1_1)
    late = agent.another()
    request = late.request(DID_EXCHANGE_1_1, other)
    await late.send(request, other_key)
    await told(late, request, DID_EXCHANGE_1_1, other_key)


@DIALECT
async def test_a_bad_response_is_reported_and_may_be_sent_again(
    tenant: Client, agent: Agent, mallory: Agent, protocol: str
) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    signed_by_another = mallory.response(protocol, request["@id"], mallory.keys.ed25519)
    await mallory.send(signed_by_another, ours)
    await refused(tenant, signed_by_another["@id"], "response-not-accepted")
    assert agent.heard("/problem_report") == mallory.heard() == []
    # The same under the envelope of the inviter itself, who is told, on the thread, and by the request's DID.
    bad = mallory.response(protocol, request["@id"], mallory.keys.ed25519)
    await agent.send(bad, ours)
    await refused(tenant, bad["@id"], "response-not-accepted")
    await told(agent, request, protocol, ours, "response_not_accepted")
    assert await state_of(tenant, uuid) == "request-sent"
    [action] = (await tenant.get(f"action?connection={uuid}"))["hits"]
    sent = (await tenant.get(f"message?action={action['uuid']}"))["hits"]
    assert [one["type"].rpartition("/")[2] for one in sent] == ["request", "problem_report"]
    # Whoever follows the list of threads sees that the thread goes on.
    assert times.read(action["updatedAt"]) >= time_of(sent[-1]["uuid"])
    assert mallory.heard() == []
    good = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(good, ours)
    await until_state(tenant, uuid, "completed")


async def test_a_signed_did_that_leads_nowhere_is_reported_to_the_invitations_place(
    tenant: Client, agent: Agent
) -> None:
    """Who has the key of the DID that the inviter signed is known, though its document has no place to send to."""
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    new = agent.another()
    did = verkey_to_did_key(new.verkey)
    bad = new.response(
        DID_EXCHANGE_1_1, request["@id"], agent.keys.ed25519, did=did, did_rotate__attach=agent.signed(did)
    )
    await new.send(bad, ours)
    await refused(tenant, bad["@id"], "no-endpoint")
    await told(agent, request, DID_EXCHANGE_1_1, ours, "response_not_accepted")
    assert new.heard() == []
    assert await state_of(tenant, uuid) == "request-sent"


@DIALECT
async def test_a_response_to_a_request_that_was_given_up(tenant: Client, agent: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    await tenant.post(f"connection/{uuid}/reject", {}, 200)
    await agent.hears_nothing_more(1)
    response = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(response, ours)
    await refused(tenant, response["@id"], "connection-abandoned")
    await told(agent, request, protocol, ours, "response_not_accepted")
    assert await state_of(tenant, uuid) == "abandoned"


# Reports about our own messages.


@DIALECT
@pytest.mark.parametrize("by", ["response", "parent", "parent-response"])
async def test_a_report_is_found_by_the_message_that_it_is_about(
    tenant: Client, agent: Agent, mallory: Agent, protocol: str, by: str
) -> None:
    _, pthid, key = await invited(tenant)
    request = agent.request(protocol, pthid)
    await agent.send(request, key)
    response, ours = await agent.hears("/response")
    [connection] = await connections(tenant)
    threads: dict[str, Json] = {
        "response": {"thid": response["@id"]},
        "parent": {"thid": new_id(), "pthid": request["@id"]},
        "parent-response": {"pthid": response["@id"]},
    }
    about = {**report(protocol, "", "response_not_accepted"), "~thread": threads[by]}
    await refused(tenant, await mallory.send({**about, "@id": new_id()}, ours), "thread-unknown")
    assert await state_of(tenant, connection["uuid"]) == "response-sent"
    await agent.send(about, ours)
    await until_state(tenant, connection["uuid"], "request-received")
    # One about a message on another thread of the connection is none of the exchange.
    _, other = await connected(tenant, mallory, protocol)
    stray = {**report(protocol, "", "response_not_accepted"), "~thread": {"thid": response["@id"]}}
    await refused(tenant, await mallory.send(stray, other), "thread-unknown")


# Asking again.


@DIALECT
@pytest.mark.parametrize("implicit", [False, True], ids=["invitation", "public DID"])
async def test_who_was_rejected_may_ask_again_and_is_the_same_contact(
    tenant: Client, agent: Agent, protocol: str, implicit: bool
) -> None:
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    _, pthid, key = await invited(tenant, multiUse=True)
    if implicit:
        key, pthid = await public_key(tenant), tenant.identity["did"]
    first = agent.request(protocol, pthid)
    await agent.send(first, key)
    await stored(tenant, first["@id"])
    [mine] = await connections(tenant)
    await tenant.post(f"connection/{mine['uuid']}/reject", {}, 200)
    await told(agent, first, protocol, key)
    contact = mine["contactUuid"]
    assert (await tenant.get(f"contact/{contact}"))["status"] == "REJECTED"
    second = agent.request(protocol, pthid)
    await agent.send(second, key)
    assert (await stored(tenant, second["@id"])).status == "RECEIVED"
    [again] = await connections(tenant)
    assert (again["uuid"], again["state"], again["contactUuid"]) == (mine["uuid"], "request-received", contact)
    assert again["myDid"] is None
    assert (await tenant.get(f"contact/{contact}"))["status"] == "REQUESTED"
    await tenant.post(f"connection/{mine['uuid']}/accept", {}, 200)
    response, ours = await agent.hears("/response")
    assert response["~thread"]["thid"] == second["@id"]
    await agent.send(complete(protocol, second), ours)
    await until_state(tenant, mine["uuid"], "completed")
    assert (await tenant.get(f"contact/{contact}"))["status"] == "ACCEPTED"


@DIALECT
async def test_who_was_rejected_at_a_single_use_invitation_is_told_again(
    tenant: Client, agent: Agent, protocol: str
) -> None:
    await tenant.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    _, pthid, key = await invited(tenant)
    first, second = agent.request(protocol, pthid), agent.request(protocol, pthid)
    await agent.send(first, key)
    await stored(tenant, first["@id"])
    [mine] = await connections(tenant)
    await tenant.post(f"connection/{mine['uuid']}/reject", {}, 200)
    await agent.send(second, key)
    await told(agent, second, protocol, key)
    assert [one["state"] for one in await connections(tenant)] == ["abandoned"]


@DIALECT
async def test_a_request_that_is_sent_again_takes_the_place_of_the_one_before(
    tenant: Client, agent: Agent, protocol: str
) -> None:
    _, pthid, key = await invited(tenant, multiUse=True)
    first, second = agent.request(protocol, pthid), agent.request(protocol, pthid)
    await agent.send(first, key)
    _, former = await agent.hears("/response")
    await agent.send(second, key)
    response, ours = await agent.hears("/response", 2)
    assert response["~thread"]["thid"] == second["@id"]
    [mine] = await connections(tenant)
    # What belongs to the one before does nothing to this one.
    await agent.send({**complete(DID_EXCHANGE_1_1, first)}, ours)
    await agent.send({**complete(DID_EXCHANGE_1_1, first)}, former)
    await asyncio.sleep(0.3)
    if protocol != CONNECTIONS_1_0:
        assert await state_of(tenant, mine["uuid"]) == "response-sent"
    await agent.send(complete(protocol, second), ours)
    await until_state(tenant, mine["uuid"], "completed")
    await tenant.act(mine["contactUuid"], basic("hello"))
    assert (await agent.hears("/message"))[1] == ours
    # A finished one stays as it is: who asks again then becomes another contact.
    third = agent.request(protocol, pthid)
    await agent.send(third, key)
    await agent.hears("/response", 3)
    assert {one["uuid"]: one["state"] for one in await connections(tenant)}[mine["uuid"]] == "completed"
    assert len(await connections(tenant)) == len((await tenant.get("contact"))["hits"]) == 2
    # Neither of the two that have its DID is chosen by that.
    body = {"type": "DIDCOMM", "to": mine["contactDid"], "data": {"message": basic("1")}}
    assert_problem(await tenant.call("POST", "action", body), 409, "contact-ambiguous")


async def test_nobody_takes_the_place_of_another_by_its_name(tenant: Client, agent: Agent, mallory: Agent) -> None:
    """A DID that cannot be resolved is anybody's to claim, with a document of their own."""
    _, pthid, key = await invited(tenant, multiUse=True)
    request = agent.request(DID_EXCHANGE_1_0, pthid)
    await agent.send(request, key)
    _, ours = await agent.hears("/response")
    document = mallory.legacy(agent.sov)
    claimed = mallory.request(DID_EXCHANGE_1_0, pthid, did=agent.sov, did_doc__attach=mallory.signed(document))
    await mallory.send(claimed, key)
    await stored(tenant, claimed["@id"])
    await agent.send(complete(DID_EXCHANGE_1_0, request), ours)

    async def ended() -> bool:
        return any(one["state"] == "completed" for one in await connections(tenant))

    await tenant.stack.eventually(ended)
    assert len(await connections(tenant)) == 2
