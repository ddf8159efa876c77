"""Contacts of DIDComm v2: invitations with a DID, first messages, and DIDs that change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.scenarios.agent import BASIC_2, PING, Agent, named_as_before
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.test_did_exchange import only_connection
from tests.scenarios.v2 import answering, invite, inviter, kept, received, refused
from tests.stack import Client, Stack
from tntcore.dids import key as did_key
from tntcore.dids import peer
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import from_prior
from tntcore.messaging.invitations import (
    inline_service,
    make_invitation_1,
    read_invitation_url,
)
from tntcore.storage.commit import Unit
from tntcore.storage.records import Invitation

# The invitation.


async def test_the_invitation_has_a_did_and_nothing_to_shake_hands_about(acme: Client) -> None:
    invited = await invite(acme, goal="To talk", goalCode="talk")
    content = invited["invitation"]
    assert content["type"] == "https://didcomm.org/out-of-band/2.0/invitation"
    assert content["from"].startswith("did:peer:2")
    assert content["body"] == {"goal": "To talk", "goal_code": "talk", "accept": ["didcomm/v2"]}
    assert "?_oob=" in invited["invitationUrl"]
    assert read_invitation_url(invited["invitationUrl"]).raw == content
    for kind, magic in (("svg", b"<svg"), ("png", b"\x89PNG")):
        answer = await acme.call("GET", f"invitation/{invited['uuid']}/qr.{kind}")
        assert answer.status == 200
        assert magic in answer.body[:100]


# Between two tenants.


@pytest.mark.parametrize("by", ["invitation", "invitationUrl", "invitationId"])
async def test_an_invitation_is_accepted_and_messages_go_both_ways(pair: tuple[Client, Client], by: str) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("basicmessage"), await bolt.webhook("basicmessage")
    invited = await invite(acme)
    contact = await bolt.post("contact", {by: invited[by]})
    assert contact["status"] == "ACCEPTED"
    theirs = await bolt.get(f"connection/{contact['connectionUuid']}")
    assert (theirs["state"], theirs["version"], theirs["role"]) == ("completed", "v2", "requester")
    assert theirs["protocol"] == "https://didcomm.org/out-of-band/2.0"
    # Sent at once: it may be there before the ping that introduces its sender.
    v2 = {"type": BASIC_2, "body": {"content": "from bolt"}}
    await bolt.act(contact["uuid"], v2)
    mine = await only_connection(acme)
    assert (mine["state"], mine["version"], mine["role"]) == ("completed", "v2", "responder")
    assert mine["protocol"] == "https://didcomm.org/out-of-band/2.0"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "ACCEPTED"
    got = (await hook_a.until(lambda hook: True)).json()
    assert (got["message"]["body"], got["contactUuid"], got["authenticated"]) == (v2["body"], mine["contactUuid"], True)
    await acme.act(mine["contactUuid"], basic("from acme"))
    got = (await hook_b.until(lambda hook: True)).json()
    assert (got["message"]["body"]["content"], got["contactUuid"]) == ("from acme", contact["uuid"])
    assert got["message"]["type"] == "https://didcomm.org/basicmessage/1.0/message"
    # Each writes to the other's own DID, and says no more where it came from.
    await bolt.act(contact["uuid"], basic("again"))
    again = (await hook_a.until(lambda hook: b"again" in hook.body)).json()["message"]
    assert "pthid" not in again
    await acme.act(mine["contactUuid"], basic("and again"))
    and_again = (await hook_b.until(lambda hook: b"and again" in hook.body)).json()["message"]
    assert "from_prior" not in and_again
    mine, theirs = await only_connection(acme), await bolt.get(f"connection/{theirs['uuid']}")
    assert (mine["myDid"], mine["theirDid"]) == (theirs["theirDid"], theirs["myDid"])
    assert invited["invitation"]["from"] not in (mine["myDid"], theirs["theirDid"])
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "USED"


async def test_an_invitation_for_many_connects_each_with_its_own_did(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    carl = await stack.register("Carl")
    invited = await invite(acme, multiUse=True)
    for client in (bolt, carl, bolt):
        await client.post("contact", {"invitationId": invited["uuid"]})

    async def three() -> list[dict[str, Any]] | None:
        hits: list[dict[str, Any]] = (await acme.get("connection?state=completed"))["hits"]
        return hits if len(hits) == 3 else None

    hits = await stack.eventually(three)
    assert len({hit["myDid"] for hit in hits}) == len({hit["contactUuid"] for hit in hits}) == 3
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "ACTIVE"


async def test_a_first_message_waits_for_the_tenants_word(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    hook_a, hook_b = await acme.webhook("."), await bolt.webhook(".")
    invited = await invite(acme)
    contact = await bolt.post("contact", {"invitation": invited["invitation"]})
    await bolt.act(contact["uuid"], basic("hello"))
    mine = await only_connection(acme)
    assert mine["state"] == "request-received"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "REQUESTED"
    await hook_a.count(2)
    assert {hook.json()["contactUuid"] for hook in hook_a.got} == {mine["contactUuid"]}
    assert (await acme.act(mine["contactUuid"], basic("held")))["typeStatus"] == "HELD"
    # Whom the tenant does not know yet is not answered, not even its ping.
    await asyncio.sleep(0.5)
    assert hook_b.got == []
    assert (await acme.post(f"connection/{mine['uuid']}/accept", {}, 200))["state"] == "completed"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "ACCEPTED"
    await hook_b.until(lambda hook: b"held" in hook.body)
    first = (await hook_b.until(lambda hook: b"empty/1.0" in hook.body)).json()["message"]
    assert first["from_prior"]
    assert_problem(await acme.call("POST", f"connection/{mine['uuid']}/accept", {}), 409, "nothing-to-decide")


async def test_who_is_rejected_is_told_and_no_longer_heard(acme: Client, agent: Agent) -> None:
    await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    mine = await only_connection(acme)
    assert (await acme.post(f"connection/{mine['uuid']}/reject", {}, 200))["state"] == "abandoned"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "REJECTED"
    report = await agent.got(lambda message: "problem-report" in message["type"])
    assert (report["pthid"], report["body"]["code"]) == ("hello", "e.p.req.not-accepted")
    await agent.send(answering(invited, "please"), inviter(invited))
    assert await refused(acme, "please") == "connection-abandoned"


async def test_a_contact_that_was_made_before_it_was_invited(acme: Client, agent: Agent) -> None:
    """What was held for it goes out, in order, when it writes."""
    contact = await acme.post("contact", {"contact": {"email": "someone@example.org", "displayName": "Someone"}})
    invited = await invite(acme)
    tenant = await acme.tenant()
    invitation = await tenant.records.get(Invitation, invited["uuid"])
    assert invitation is not None
    invitation.contact_uuid = contact["uuid"]
    unit = Unit()
    unit.merge(invitation.key, invitation.values())
    await tenant.records.commit(unit)
    for number in range(3):
        assert (await acme.act(contact["uuid"], basic(number)))["typeStatus"] == "HELD"
    await agent.send(answering(invited), inviter(invited))
    await agent.inbox.count(3)
    assert [agent.open(hook.body)["body"]["content"] for hook in agent.inbox.got] == [0, 1, 2]
    known = await acme.get(f"contact/{contact['uuid']}")
    assert (known["status"], known["displayName"]) == ("ACCEPTED", "Someone")
    assert len((await acme.get("contact"))["hits"]) == 1


# With agents that are not of this service.


@pytest.mark.parametrize("method", ["peer_2", "peer_4", "key", "old key ids", "web"])
async def test_senders_of_every_method(stack: Stack, acme: Client, agent: Agent, method: str) -> None:
    invited = await invite(acme)
    to = inviter(invited)
    if method == "old key ids":
        agent.document, to = named_as_before(agent.document), named_as_before(to)
    elif method == "web":
        await _as_identity(stack, agent)
    else:
        agent.document = getattr(agent, method)()
    await agent.send(answering(invited), to)
    got = await received(acme, "hello")
    connection = await only_connection(acme)
    assert (got["status"], got["authenticated"], got["connectionUuid"]) == ("RECEIVED", True, connection["uuid"])
    assert (connection["theirDid"], connection["state"]) == (agent.did, "completed")
    await agent.send(answering(invited, "more"), to)
    assert (await received(acme, "more"))["actionUuid"] != got["actionUuid"]
    assert len((await acme.get("contact"))["hits"]) == 1


async def _as_identity(stack: Stack, agent: Agent) -> None:
    carl = await stack.register("Carl")
    known = await stack.app.services.tenants.recipient(await carl.tenant(), "identity", carl.identity["uuid"])
    assert known is not None
    by_curve = {key.curve: key for key in known.secrets.values()}
    agent.keys = type(agent.keys)(by_curve["Ed25519"], by_curve["X25519"])
    agent.document = known.document


async def test_our_new_did_is_proven_until_it_is_written_to(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    for number in ("1", "2"):
        # An agent that has not heard from us writes to the invitation, again and again.
        await agent.send(answering(invited, number, type=PING), inviter(invited))
        answer = await agent.got(lambda message: message.get("thid") == number)  # noqa: B023
        prior = from_prior.read(answer["from_prior"])
        from_prior.verify(prior, inviter(invited), 1_700_000_000)
        assert (prior.iss, prior.sub) == (invited["invitation"]["from"], answer["from"])
        assert answer["skid"].partition("#")[0] == answer["from"]
    await agent.send({"id": "3", "type": PING}, answer["from"])
    await agent.got(lambda message: message.get("thid") == "3")
    await agent.send({"id": "4", "type": PING}, answer["from"])
    assert "from_prior" not in await agent.got(lambda message: message.get("thid") == "4")


async def test_a_did_peer_4_may_be_shortened_once_it_is_known(stack: Stack, acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    long = agent.document = agent.peer_4()
    await agent.send(answering(invited, type=PING), inviter(invited))
    answer = await agent.got(lambda message: True)
    agent.document = peer.resolve_4(long.id, short=True)
    await agent.send(answering(invited, "shortened"), inviter(invited))
    assert (await received(acme, "shortened"))["authenticated"] is True
    # As in a process that has never seen the long form.
    stack.app.services.resolver._found.drop(agent.did)
    await agent.send({"id": "short", "body": {"content": "short"}}, answer["from"])
    assert (await received(acme, "short"))["authenticated"] is True
    proof = agent.rotate()
    await agent.send({"body": {"content": "rotated"}, "from_prior": proof}, answer["from"])
    assert (await received(acme, "rotated"))["authenticated"] is True
    assert (await only_connection(acme))["theirDid"] == agent.did


async def test_a_short_form_that_somebody_has_shown_before(stack: Stack, acme: Client, agent: Agent) -> None:
    """The connection keeps the long one: the short one alone says nothing to the next process."""
    invited = await invite(acme)
    long = agent.peer_4()
    agent.document = peer.resolve_4(long.id, short=True)
    await stack.app.services.resolver.resolve(long.id)
    await agent.send(answering(invited, type=PING), inviter(invited))
    answer = await agent.got(lambda message: True)
    assert (await only_connection(acme))["theirDid"] == long.id
    stack.app.services.resolver._found.drop(agent.did)
    await agent.send({"id": "later", "body": {"content": "later"}}, answer["from"])
    assert (await received(acme, "later"))["authenticated"] is True


async def test_the_other_side_takes_a_new_did(acme: Client, agent: Agent) -> None:
    hook = await acme.webhook("basicmessage")
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    before = await only_connection(acme)
    late = agent.pack({"id": "late", "body": {"content": "late"}}, peer.resolve(to))
    proof = agent.rotate()
    await agent.send({"id": "new", "body": {"content": "new"}, "from_prior": proof}, to)
    assert (await received(acme, "new"))["contactUuid"] == before["contactUuid"]
    # What was under way when the DID changed.
    assert (await agent.deliver(late)).status == 202
    assert (await received(acme, "late"))["authenticated"] is True
    # The proof goes on until the agent hears from us under its new DID.
    await agent.send({"id": "newer", "body": {"content": "newer"}, "from_prior": proof}, to)
    await hook.count(3)
    assert {hook.json()["contactUuid"] for hook in hook.got} == {before["contactUuid"]}
    after = await only_connection(acme)
    assert (after["uuid"], after["theirDid"], after["myDid"]) == (before["uuid"], agent.did, before["myDid"])
    await acme.act(before["contactUuid"], basic("to the new one"))
    await agent.got(lambda message: message["body"].get("content") == "to the new one")


async def test_the_other_side_takes_a_new_did_before_it_learns_ours(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    await agent.send(answering(invited, "first"), inviter(invited))
    await received(acme, "first")
    proof = agent.rotate()
    await agent.send({"body": {"content": "second"}, "from_prior": proof}, inviter(invited))
    assert (await received(acme, "second"))["authenticated"] is True
    assert (await only_connection(acme))["theirDid"] == agent.did
    assert (await kept(acme)).introduction


async def test_an_agent_invites(acme: Client, agent: Agent) -> None:
    """It answers from the DID of the invitation, or from a new one."""
    invitation = {
        "type": "https://didcomm.org/out-of-band/2.0/invitation",
        "id": "invitation-1",
        "from": agent.did,
        "body": {"accept": ["didcomm/v2"]},
    }
    contact = await acme.post("contact", {"invitation": invitation})
    ping = await agent.got(lambda message: message["type"] == PING)
    assert (ping["pthid"], ping["body"], ping["to"]) == ("invitation-1", {"response_requested": True}, [agent.did])
    await acme.act(contact["uuid"], basic("more"))
    assert (await agent.got(lambda message: "basicmessage" in message["type"]))["pthid"] == "invitation-1"
    await agent.send({"id": "a", "thid": ping["id"], "body": {"content": "as invited"}}, ping["from"])
    assert (await received(acme, "as invited"))["contactUuid"] == contact["uuid"]
    await acme.act(contact["uuid"], basic("and more"))
    assert "pthid" not in await agent.got(lambda message: message["body"].get("content") == "and more")
    proof = agent.rotate()
    await agent.send({"id": "b", "body": {"content": "renamed"}, "from_prior": proof}, ping["from"])
    assert (await received(acme, "renamed"))["contactUuid"] == contact["uuid"]
    assert (await acme.get(f"connection/{contact['connectionUuid']}"))["theirDid"] == agent.did


@pytest.mark.parametrize("profile", ["didcomm/v2", "DIDComm/V2; x=1"])
async def test_an_invitation_of_v1_that_accepts_v2_alone_is_answered_by_it(
    acme: Client, agent: Agent, profile: str
) -> None:
    content = make_invitation_1(
        id="v2-alone",
        services=[did_key.create(agent.keys.ed25519.public), agent.did],
        handshake_protocols=["https://didcomm.org/didexchange/1.1"],
        accept=[profile],
    )
    contact = await acme.post("contact", {"invitation": content})
    assert (await acme.get(f"connection/{contact['connectionUuid']}"))["version"] == "v2"
    assert (await agent.got(lambda message: message["type"] == PING))["pthid"] == "v2-alone"


async def test_an_invitation_that_accepts_v2_alone_and_names_no_such_did_is_refused(acme: Client, agent: Agent) -> None:
    service = inline_service(agent.inbox.url, encode_verkey(agent.keys.ed25519.public))
    protocols = ["https://didcomm.org/didexchange/1.1"]
    content = make_invitation_1(id="inline", services=[service], handshake_protocols=protocols, accept=["didcomm/v2"])
    answer = await acme.call("POST", "contact", {"invitation": content})
    assert "DIDComm v2" in assert_problem(answer, 400, "invitation-unsupported")["detail"]
    assert agent.inbox.got == []


async def test_an_invitation_that_leads_nowhere(acme: Client, agent: Agent) -> None:
    agent.document = agent.key()
    for did in (agent.did, "did:example:unknown", peer.short_form(agent.peer_4().id)):
        invitation = {"type": "https://didcomm.org/out-of-band/2.0/invitation", "id": "1", "from": did, "body": {}}
        assert_problem(await acme.call("POST", "contact", {"invitation": invitation}), 400, "invitation-unreachable")
    assert (await acme.get("contact"))["hits"] == []


async def test_a_message_that_is_delivered_twice_is_there_once(acme: Client, agent: Agent) -> None:
    hook = await acme.webhook("basicmessage")
    invited = await invite(acme)
    packed = agent.pack(answering(invited), inviter(invited))
    for _ in range(3):
        await agent.deliver(packed)
    await received(acme, "hello")
    await agent.deliver(packed)
    await asyncio.sleep(0.7)
    assert len(hook.got) == 1
    assert (await acme.get("message"))["total"]["value"] == 1
