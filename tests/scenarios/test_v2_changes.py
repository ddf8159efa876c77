"""DIDComm v2: our own DID changes, a relationship ends, and public DIDs are written to without an invitation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.scenarios.agent import _V2, BASIC_2, PING, Agent
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.scenarios.v2 import answering, invite, inviter, received, refused
from tests.stack import Client, Receiver, Stack
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import DidDocument
from tntcore.dids.multiformats import encode_multikey
from tntcore.dids.parse import parse_document
from tntcore.envelope import from_prior, pack_v2

Json = dict[str, Any]


@pytest.fixture
async def web(stack: Stack) -> AsyncIterator[Receiver]:
    """The host of a did:web document."""
    running = Receiver()
    await running.start()
    yield running
    await running.stop()


async def met(acme: Client, agent: Agent) -> Json:
    """The connection with the agent, which has heard from it and answered."""
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    first = await agent.got(lambda message: True)
    await agent.send({"id": "met", "body": {"content": "met"}}, first["from"])
    await received(acme, "met")
    return await only_connection(acme)


def containing(content: str) -> Any:
    return lambda message: message["body"].get("content") == content


def ending(agent: Agent, *, sub: str = "", **claims: Any) -> str:
    kid, key = agent.document.authentication[0], agent.keys.ed25519
    return from_prior.sign(iss=claims.get("iss", agent.did), sub=sub, kid=kid, key=key, issued_at=1_700_000_000)


async def end(agent: Agent, to: str, content: str, proof: str) -> None:
    """As the specification has it: from nobody."""
    document = await agent._stack.app.services.resolver.resolve(to)
    message = {"id": content, "type": BASIC_2, "to": [to], "body": {"content": content}, "from_prior": proof}
    assert (await agent.deliver(pack_v2(message, to=document))).status == 202


# Our own DID.


async def test_a_tenants_did_changes_and_changes_again(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    ours, theirs = await stack.connect(acme, bolt, "v2")
    former = []
    for number in range(3):
        before = await acme.get(f"connection/{ours.uuid}")
        after = await acme.post(f"connection/{ours.uuid}/rotate", {}, 200)
        former.append(before["myDid"])
        assert after["myDid"] not in former

        async def learnt(did: str = after["myDid"]) -> bool:
            return bool((await bolt.get(f"connection/{theirs.uuid}"))["theirDid"] == did)

        await stack.eventually(learnt)
        await bolt.act(theirs.contact_uuid, basic(f"to {number}"))
        got = (await hook_a.until(lambda hook: f"to {number}".encode() in hook.body)).json()  # noqa: B023
        assert (got["connectionUuid"], got["authenticated"]) == (ours.uuid, True)
        await acme.act(ours.contact_uuid, basic(f"from {number}"))
        got = (await hook_b.until(lambda hook: f"from {number}".encode() in hook.body)).json()  # noqa: B023
        assert (got["connectionUuid"], got["authenticated"]) == (theirs.uuid, True)
        # It has been written to.
        assert "from_prior" not in got["message"]
    # And both sides at once.
    await asyncio.gather(
        acme.post(f"connection/{ours.uuid}/rotate", {}, 200), bolt.post(f"connection/{theirs.uuid}/rotate", {}, 200)
    )

    async def agreed() -> bool:
        one, other = await acme.get(f"connection/{ours.uuid}"), await bolt.get(f"connection/{theirs.uuid}")
        return (one["myDid"], one["theirDid"]) == (other["theirDid"], other["myDid"])

    await stack.eventually(agreed)


async def test_our_new_did_is_proven_until_it_is_written_to(acme: Client, agent: Agent) -> None:
    connection = await met(acme, agent)
    uuid, contact, former = connection["uuid"], connection["contactUuid"], connection["myDid"]
    after = await acme.post(f"connection/{uuid}/rotate", {}, 200)
    new = after["myDid"]
    for number in range(2):
        await acme.act(contact, basic(f"{number}"))
        message = await agent.got(containing(f"{number}"))
        prior = from_prior.read(message["from_prior"])
        assert (prior.iss, prior.sub, message["from"]) == (former, new, new)
        from_prior.verify(prior, await acme.stack.app.services.resolver.resolve(former), 1_700_000_000)
        # An agent that has not learnt it writes to the former, which is read, and ends nothing.
        content = f"late {number}"
        await agent.send({"id": content, "body": {"content": content}}, former)
        assert (await received(acme, content))["contactUuid"] == contact
    # Until then it is announced again, and no third DID.
    assert (await acme.post(f"connection/{uuid}/rotate", {}, 200))["myDid"] == new
    await agent.send({"id": "new", "body": {"content": "to the new one"}}, new)
    await received(acme, "to the new one")
    await acme.act(contact, basic("after"))
    assert "from_prior" not in await agent.got(containing("after"))


async def test_what_cannot_be_rotated(acme: Client, agent: Agent) -> None:
    invitation = {
        "type": "https://didcomm.org/out-of-band/2.0/invitation",
        "id": "invitation-1",
        "from": agent.did,
        "body": {"accept": ["didcomm/v2"]},
    }
    contact = await acme.post("contact", {"invitation": invitation})
    path = f"connection/{contact['connectionUuid']}"
    assert_problem(await acme.call("POST", f"{path}/rotate", {}), 409, "not-rotatable")
    await acme.post(f"{path}/hangup", {}, 200)
    for verb, code in (("rotate", "not-rotatable"), ("hangup", "not-connected")):
        assert_problem(await acme.call("POST", f"{path}/{verb}", {}), 409, code)


# The end.


async def test_a_tenant_hangs_up_on_another(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    ours, theirs = await stack.connect(acme, bolt, "v2")
    assert (await acme.post(f"connection/{ours.uuid}/hangup", {}, 200))["state"] == "abandoned"

    async def over() -> bool:
        return bool((await bolt.get(f"connection/{theirs.uuid}"))["state"] == "abandoned")

    await stack.eventually(over)
    for client, side in ((acme, ours), (bolt, theirs)):
        body = {"type": "DIDCOMM", "from": side.identity_uuid, "to": side.contact_uuid, "data": {"message": basic("x")}}
        assert_problem(await client.call("POST", "action", body), 409, "connection-ended")


async def test_what_the_other_side_sees_of_a_hangup(acme: Client, agent: Agent) -> None:
    connection = await met(acme, agent)
    await acme.post(f"connection/{connection['uuid']}/hangup", {}, 200)
    await agent.inbox.count(2)
    last = agent.anonymous(agent.inbox.got[-1].body)
    assert "from" not in last
    prior = from_prior.read(last["from_prior"])
    assert (prior.iss, prior.sub) == (connection["myDid"], "")
    from_prior.verify(prior, await acme.stack.app.services.resolver.resolve(prior.iss), 1_700_000_000)


@pytest.mark.parametrize("by", ["nobody", "the DID itself"])
async def test_the_other_side_ends_it(acme: Client, agent: Agent, by: str) -> None:
    connection = await met(acme, agent)
    proof = ending(agent)
    if by == "nobody":
        await end(agent, connection["myDid"], "bye", proof)
    else:
        await agent.send({"id": "bye", "body": {"content": "bye"}, "from_prior": proof}, connection["myDid"])
    got = await received(acme, "bye")
    assert (got["status"], got["authenticated"], got["connectionUuid"]) == ("RECEIVED", True, connection["uuid"])
    assert (await acme.get(f"connection/{connection['uuid']}"))["state"] == "abandoned"
    await agent.send({"id": "more", "body": {"content": "more"}}, connection["myDid"])
    assert await refused(acme, "more") == "connection-abandoned"


async def test_nobody_else_ends_it(acme: Client, agent: Agent) -> None:
    connection = await met(acme, agent)
    mallory = Agent(agent._stack, agent.inbox)
    former = ending(agent)
    proof = agent.rotate()
    await agent.send({"id": "new", "body": {"content": "new"}, "from_prior": proof}, connection["myDid"])
    await received(acme, "new")
    kid = agent.document.authentication[0]
    forged = {
        "her own DID": (ending(mallory), "from-prior-issuer"),
        "a DID before": (former, "from-prior-issuer"),
        "another's signature": (
            from_prior.sign(iss=agent.did, sub="", kid=kid, key=mallory.keys.ed25519, issued_at=1),
            "from-prior-signature",
        ),
    }
    for what, (claim, code) in forged.items():
        await end(mallory, connection["myDid"], what, claim)
        assert await refused(acme, what) == code, what
    await end(mallory, connection["myDid"], "about another", ending(agent, sub=mallory.did))
    assert not (await received(acme, "about another"))["authenticated"]
    assert (await acme.get(f"connection/{connection['uuid']}"))["state"] == "completed"


# Public DIDs.


def public(agent: Agent, web: Receiver) -> DidDocument:
    """A did:web of the agent's that offers v2 alone."""
    did = f"did:web:127.0.0.1%3A{web.url.rpartition(':')[2]}:agent"
    raw = {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": [
            {"id": f"{did}#{name}", "type": "Multikey", "controller": did, "publicKeyMultibase": encode_multikey(key)}
            for name, key in (("sign", agent.keys.ed25519.public), ("agree", agent.keys.x25519.public))
        ],
        "authentication": [f"{did}#sign"],
        "keyAgreement": [f"{did}#agree"],
        "service": didcomm_services(agent.inbox.url, None, versions=_V2),
    }
    web.text = orjson.dumps(raw).decode()
    agent.document = parse_document(raw)
    return agent.document


async def test_a_public_did_of_v2_alone_is_written_to(acme: Client, agent: Agent, web: Receiver) -> None:
    public(agent, web)
    contact = await acme.post("contact", {"contact": {"did": agent.did, "displayName": "Agent"}})
    assert (contact["status"], contact["unreachable"]) == ("ACCEPTED", None)
    connection = await completed(acme, contact["connectionUuid"])
    assert (connection["version"], connection["role"], connection["theirDid"]) == ("v2", "requester", agent.did)
    ping = await agent.got(lambda message: message["type"] == PING)
    assert (ping["from"], ping["to"]) == (connection["myDid"], [agent.did])
    await agent.send({"id": "pong", "thid": ping["id"], "body": {"content": "pong"}}, ping["from"])
    assert (await received(acme, "pong"))["contactUuid"] == contact["uuid"]
    # It goes on by a DID for this relationship.
    proof = agent.rotate()
    await agent.send({"id": "pairwise", "body": {"content": "pairwise"}, "from_prior": proof}, ping["from"])
    assert (await received(acme, "pairwise"))["contactUuid"] == contact["uuid"]
    again = await acme.call("POST", "contact", {"contact": {"did": contact["did"]}})
    assert_problem(again, 409, "contact-exists")


async def test_nobody_hands_on_the_end_of_a_public_did(acme: Client, agent: Agent, web: Receiver) -> None:
    """What it told another, to end what it had with that one."""
    public(agent, web)
    contact = await acme.post("contact", {"contact": {"did": agent.did}})
    ping = await agent.got(lambda message: message["type"] == PING)
    overheard = ending(agent)
    await end(Agent(agent._stack, agent.inbox), ping["from"], "overheard", overheard)
    assert await refused(acme, "overheard") == "sender-unknown"
    assert (await acme.get(f"connection/{contact['connectionUuid']}"))["state"] == "completed"
    await agent.send({"id": "bye", "body": {"content": "bye"}, "from_prior": overheard}, ping["from"])
    await received(acme, "bye")
    assert (await acme.get(f"connection/{contact['connectionUuid']}"))["state"] == "abandoned"


async def test_a_public_did_that_is_written_to(stack: Stack, acme: Client, agent: Agent) -> None:
    hook = await acme.webhook("basicmessage")
    to = await stack.app.services.resolver.resolve(acme.identity["did"])
    for content in ("1", "2"):
        await agent.send({"id": content, "body": {"content": content}}, to)
        got = (await hook.until(lambda hook: f'"content":"{content}"'.encode() in hook.body)).json()  # noqa: B023
        assert got["authenticated"]
    connection = await only_connection(acme)
    assert (connection["version"], connection["role"], connection["state"]) == ("v2", "responder", "completed")
    assert connection["theirDid"] == agent.did
    assert got["contactUuid"] == connection["contactUuid"]
    await acme.act(connection["contactUuid"], basic("hello"))
    answer = await agent.got(containing("hello"))
    prior = from_prior.read(answer["from_prior"])
    assert (prior.iss, prior.sub) == (acme.identity["did"], answer["from"])
    from_prior.verify(prior, to, 1_700_000_000)
    await agent.send({"id": "3", "body": {"content": "3"}}, answer["from"])
    await received(acme, "3")
    await acme.act(connection["contactUuid"], basic("known"))
    assert "from_prior" not in await agent.got(containing("known"))
    by_did = await acme.get(f"contact/{quote(agent.did, safe='')}")
    assert (by_did["uuid"], by_did["status"]) == (connection["contactUuid"], "ACCEPTED")


async def test_who_writes_uninvited_waits_where_nothing_is_accepted_by_itself(
    stack: Stack, acme: Client, agent: Agent
) -> None:
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    to = await stack.app.services.resolver.resolve(acme.identity["did"])
    await agent.send({"id": "1", "type": PING, "body": {"response_requested": True}}, to)
    connection = await only_connection(acme)
    assert connection["state"] == "request-received"
    assert (await acme.get(f"contact/{connection['contactUuid']}"))["status"] == "REQUESTED"
    await asyncio.sleep(0.3)
    assert agent.inbox.got == []
    await acme.post(f"connection/{connection['uuid']}/reject", {}, 200)
    report = await agent.got(lambda message: "problem-report" in message["type"])
    assert report["pthid"] == "1"
    await agent.send({"id": "2", "body": {"content": "again"}}, to)
    assert await refused(acme, "again") == "connection-abandoned"


async def test_what_begins_no_contact(stack: Stack, acme: Client, agent: Agent) -> None:
    """Answers, reports, what is under way still, and who cannot be answered."""
    to = await stack.app.services.resolver.resolve(acme.identity["did"])
    report = "https://didcomm.org/report-problem/2.0/problem-report"
    for content, message in (
        ("answer", {"thid": "another"}),
        ("report", {"type": report}),
        ("parent", {"pthid": "unknown"}),
    ):
        await agent.send({"id": content, "body": {"content": content}, **message}, to)
        assert await refused(acme, content) == "sender-unknown"
    agent.document = agent.key()
    await agent.send({"id": "key", "body": {"content": "key"}}, to)
    assert await refused(acme, "key") == "no-endpoint"
    assert (await acme.get("contact"))["hits"] == []
    # Nor does a report begin one by an invitation.
    other = Agent(agent._stack, agent.inbox)
    invited = await invite(acme)
    await other.send(answering(invited, "declined", type=report), inviter(invited))
    got = await received(acme, "declined")
    assert (got["status"], got["authenticated"], got["contactUuid"]) == ("RECEIVED", False, None)
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "ACTIVE"
