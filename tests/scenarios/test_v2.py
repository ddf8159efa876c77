"""Contacts of DIDComm v2: invitations with a DID, first messages, and DIDs that change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.scenarios.agent import BASIC_2, PING, Agent, named_as_before
from tests.scenarios.common import assert_problem, basic, expire
from tests.scenarios.library_agent import LibraryAgent
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.stack import Client, Receiver, Stack
from tntcore.dids import key as did_key
from tntcore.dids import peer
from tntcore.dids.build import BOTH, didcomm_services
from tntcore.dids.document import Curve, DidDocument, PublicKey
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import forward_v2, from_prior, pack_v2, peek
from tntcore.envelope.keys import PrivateKey
from tntcore.messaging.invitations import (
    inline_service,
    make_invitation_1,
    make_invitation_2,
    read_invitation_url,
)
from tntcore.storage.commit import Unit
from tntcore.storage.records import Connection, Invitation
from tntcore.tenancy.recipients import KeyPairs

FORM = {"form": "out-of-band/2"}


@pytest.fixture
async def acme(stack: Stack) -> Client:
    return await stack.register("Acme")


@pytest.fixture
async def agent(stack: Stack) -> AsyncIterator[Agent]:
    inbox = Receiver()
    await inbox.start()
    yield Agent(stack, inbox)
    await inbox.stop()


async def other_agent(agent: Agent) -> Agent:
    """Another one, with the same inbox."""
    return Agent(agent._stack, agent.inbox)


async def invite(client: Client, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await client.post("invitation", {**FORM, **more})
    return made


def inviter(invited: dict[str, Any]) -> DidDocument:
    return peer.resolve(invited["invitation"]["from"])


def answering(invited: dict[str, Any], content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"id": content, "pthid": invited["invitation"]["id"], "body": {"content": content}, **more}


async def received(client: Client, content: str) -> dict[str, Any]:
    """The stored message with that content."""

    async def check() -> dict[str, Any] | None:
        for hit in (await client.get("message?direction=IN"))["hits"]:
            shown: dict[str, Any] = await client.get(f"message/{hit['uuid']}")
            message = shown["message"]
            if isinstance(message, dict) and message.get("body", {}).get("content") == content:
                return shown
        return None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


async def refused(client: Client, content: str) -> str:
    found = await received(client, content)
    assert (found["status"], found["authenticated"]) == ("REJECTED", False)
    assert found["actionUuid"] is None
    return str(found["error"])


async def kept(client: Client) -> Connection:
    """The only connection of a tenant, as it is stored."""
    shown = await only_connection(client)
    connection = await (await client.tenant()).records.get(Connection, shown["uuid"])
    assert connection is not None
    return connection


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


# Attackers.


@pytest.mark.parametrize("multi_use", [False, True])
async def test_several_first_messages_at_once_make_one_contact(
    acme: Client, agent: Agent, multi_use: bool, caplog: pytest.LogCaptureFixture
) -> None:
    invited = await invite(acme, multiUse=multi_use)
    packed = [agent.pack(answering(invited, str(number)), inviter(invited)) for number in range(6)]
    await asyncio.gather(*(agent.deliver(one) for one in packed))
    got = [await received(acme, str(number)) for number in range(6)]
    assert {message["status"] for message in got} == {"RECEIVED"}
    assert len({message["connectionUuid"] for message in got}) == 1
    assert len((await acme.get("contact"))["hits"]) == 1
    # Who loses the race tries again at once, and not when the queue gives it out again.
    assert "goes back to the queue" not in caplog.text


async def test_one_of_two_senders_gets_a_single_use_invitation(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    rivals = {name: agent if name == "one" else await other_agent(agent) for name in ("one", "two", "three")}
    packed = [rival.pack(answering(invited, name), inviter(invited)) for name, rival in rivals.items()]
    await asyncio.gather(*(agent.deliver(one) for one in packed))
    got = {name: await received(acme, name) for name in rivals}
    assert sorted(message["status"] for message in got.values()) == ["RECEIVED", "REJECTED", "REJECTED"]
    assert {message["error"] for message in got.values()} == {None, "invitation-not-valid"}
    winner = next(rivals[name] for name, message in got.items() if message["status"] == "RECEIVED")
    assert (await only_connection(acme))["theirDid"] == winner.did
    assert len((await acme.get("contact"))["hits"]) == len((await acme.get("connection"))["hits"]) == 1


async def test_a_first_message_has_to_name_its_invitation(acme: Client, agent: Agent) -> None:
    invited, other = await invite(acme), await invite(acme)
    await agent.send({**answering(invited, "none"), "pthid": None}, inviter(invited))
    assert await refused(acme, "none") == "sender-unknown"
    await agent.send(answering(other, "other"), inviter(invited))
    assert await refused(acme, "other") == "invitation-unknown"
    assert (await acme.get("contact"))["hits"] == []
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "ACTIVE"


async def test_an_invitation_that_no_longer_holds(acme: Client, agent: Agent) -> None:
    expired = await invite(acme)
    await expire(acme, expired["uuid"])
    revoked = await invite(acme)
    assert (await acme.call("DELETE", f"invitation/{revoked['uuid']}")).status == 204
    v1 = await acme.post("invitation", {})
    tenant = await acme.tenant()
    its_key = await tenant.records.get(Invitation, v1["uuid"])
    assert its_key is not None
    for invited, content in ((expired, "expired"), (revoked, "revoked")):
        await agent.send(answering(invited, content), inviter(invited))
        assert await refused(acme, content) == "invitation-not-valid"
    # An invitation of another form is answered by a DID exchange, whoever knows its key.
    await agent.send({**answering(expired, "v1"), "pthid": v1["invitation"]["@id"]}, its_key.did)
    assert await refused(acme, "v1") == "sender-unknown"
    assert (await acme.get("contact"))["hits"] == []


async def test_a_sender_that_nobody_knows_anything_of(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    stranger = agent.pack(answering(invited), inviter(invited))
    short = peer.short_form(agent.peer_4().id)
    agent.document = peer.resolve_4(agent.peer_4().id, short=True)
    assert agent.did == short
    await agent.send(answering(invited, "short"), inviter(invited))

    async def unresolvable() -> bool:
        hits = (await acme.get("message?direction=IN"))["hits"]
        return any(hit["error"] == "sender-unresolvable" for hit in hits)

    await acme.stack.eventually(unresolvable)
    assert (await acme.get("contact"))["hits"] == []
    # It took nothing from who may answer.
    assert (await agent.deliver(stranger)).status == 202
    await only_connection(acme)


async def test_forged_proofs_change_nothing(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    before = await kept(acme)
    mallory = await other_agent(agent)
    kid = agent.document.authentication[0]
    victim, own = agent.did, mallory.did

    def proof(iss: str = victim, sub: str = own, kid: str = kid, key: PrivateKey | None = None) -> str:
        key = key or mallory.keys.ed25519
        return from_prior.sign(iss=iss, sub=sub, kid=kid, key=key, issued_at=1_700_000_000)

    own_kid = mallory.document.authentication[0]
    overheard = proof(sub="did:example:new", key=agent.keys.ed25519)
    for number, (forged, code) in enumerate(
        [
            (proof(), "from-prior-signature"),
            (proof(iss=own, kid=own_kid), "from-prior-issuer"),
            (proof(kid=own_kid, iss=victim), "from-prior-malformed"),
            (overheard, "from-prior-subject"),
            ("a.b.c", "from-prior-malformed"),
            ({"iss": victim, "sub": own}, "from-prior-malformed"),
        ]
    ):
        # To our DID, and to the invitation: who has rotated may write to either.
        for where, target in (("did", to), ("invitation", invited["invitation"]["from"])):
            content = f"{where} {number}"
            await mallory.send({"id": content, "body": {"content": content}, "from_prior": forged}, target)
            error = await refused(acme, content)
            unknown = where == "invitation" and code in ("from-prior-malformed", "from-prior-issuer")
            assert error == ("sender-unknown" if unknown else code)
    assert await kept(acme) == before
    # The connection's own sender is held to it, too.
    await agent.send({"id": "x", "body": {"content": "x"}, "from_prior": proof(iss=own, sub=victim, kid=own_kid)}, to)
    assert await refused(acme, "x") == "from-prior-issuer"
    assert (await kept(acme)).their_did == victim


async def test_a_did_that_was_given_up_long_ago_proves_nothing(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    stolen, stolen_document = agent.keys, agent.document
    for number in ("1", "2"):
        await agent.send({"id": number, "body": {"content": number}, "from_prior": agent.rotate()}, to)
        assert (await received(acme, number))["authenticated"] is True
    thief = await other_agent(agent)
    thief.keys, thief.document = stolen, stolen_document
    await thief.send({"id": "old", "body": {"content": "old"}}, to)
    assert await refused(acme, "old") == "sender-not-connection"
    await thief.send({"id": "older", "body": {"content": "older"}, "from_prior": thief.rotate()}, to)
    assert await refused(acme, "older") == "from-prior-issuer"
    assert (await only_connection(acme))["theirDid"] == agent.did


async def test_the_did_before_cannot_be_rotated_a_second_time(acme: Client, agent: Agent) -> None:
    """Its messages are still read, for those that were under way; its word on who follows it is not."""
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    thief = await other_agent(agent)
    thief.keys, thief.document = agent.keys, agent.document
    await agent.send({"id": "1", "body": {"content": "1"}, "from_prior": agent.rotate()}, to)
    await received(acme, "1")
    await thief.send({"id": "2", "body": {"content": "2"}, "from_prior": thief.rotate()}, to)
    assert await refused(acme, "2") == "from-prior-issuer"


async def test_a_deleted_contact_is_not_heard_any_more(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    connection = await only_connection(acme)
    assert (await acme.call("DELETE", f"contact/{connection['contactUuid']}")).status == 204
    assert_problem(await agent.deliver(agent.pack({}, peer.resolve(to))), 404, "recipient-unknown")
    await agent.send(answering(invited, "again"), inviter(invited))
    assert await refused(acme, "again") == "invitation-not-valid"


async def test_another_tenants_connection_is_not_found_by_a_did(pair: tuple[Client, Client], agent: Agent) -> None:
    acme, bolt = pair
    first, second = await invite(acme), await invite(bolt)
    await agent.send(answering(first, "to acme"), inviter(first))
    await agent.send(answering(second, "to bolt"), inviter(second))
    one, other = await received(acme, "to acme"), await received(bolt, "to bolt")
    assert (one["authenticated"], other["authenticated"]) == (True, True)
    assert one["connectionUuid"] != other["connectionUuid"]
    await completed(bolt, other["connectionUuid"])


# Partners that do things differently.


@pytest.mark.parametrize("curve", ["P-256", "P-384"])
async def test_a_partner_without_x25519_is_answered_by_a_key_of_its_curve(
    acme: Client, agent: Agent, curve: Curve
) -> None:
    agent.keys = KeyPairs.generate(curve)
    keys: list[tuple[peer.Purpose, PublicKey]] = [("E", agent.keys.others[0].public), ("V", agent.keys.ed25519.public)]
    agent.document = peer.resolve(
        peer.create_2(keys, didcomm_services(agent.inbox.url, None, versions=("v2",)))  # type: ignore[arg-type]
    )
    content = make_invitation_2(id="curve", from_did=agent.did)
    contact = await acme.post("contact", {"invitation": content})
    ping = await agent.got(lambda message: message["type"] == PING)
    assert ping["pthid"] == "curve"
    mine = peer.resolve(ping["from"])
    await agent.send({"type": BASIC_2, "body": {"content": "by my curve"}}, mine)
    shown = await received(acme, "by my curve")
    assert (shown["contactUuid"], shown["authenticated"]) == (contact["uuid"], True)


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("public", [False, True], ids=["invitation's DID", "public DID"])
async def test_a_partner_without_x25519_answers_an_invitation(
    acme: Client, agent: Agent, curve: Curve, public: bool
) -> None:
    """Both sides by the didcomm library, which knows no other curve here."""
    partner = LibraryAgent(acme.stack, agent.inbox, curve)
    invited = await invite(acme, publicDid=public)
    content = invited["invitation"]
    ping = {"id": "first", "type": PING, "pthid": content["id"], "body": {"response_requested": True}}
    assert (await partner.send(ping, content["from"])).status == 202
    answer = await partner.got("https://didcomm.org/trust-ping/2.0/ping-response")
    assert answer["thid"] == "first"
    second = {"id": "second", "type": BASIC_2, "body": {"content": "second"}}
    assert (await partner.send(second, answer["from"])).status == 202
    shown = await received(acme, "second")
    assert (shown["status"], shown["authenticated"]) == ("RECEIVED", True)
    await acme.act(shown["contactUuid"], basic("by your curve"))
    got = await partner.got("https://didcomm.org/basicmessage/1.0/message")
    assert got["body"]["content"] == "by your curve"


def unencryptable(agent: Agent) -> DidDocument:
    """A DID with a key to sign with, and none that anybody could encrypt for."""
    keys: list[tuple[peer.Purpose, PublicKey]] = [
        ("V", agent.keys.ed25519.public),
        ("E", PrivateKey.generate("secp256k1").public),
    ]
    return peer.resolve(peer.create_2(keys, didcomm_services(agent.inbox.url, None, versions=BOTH)))


async def test_an_invitation_of_a_did_that_nobody_can_encrypt_for_is_refused(acme: Client, agent: Agent) -> None:
    content = make_invitation_2(id="curve", from_did=unencryptable(agent).id)
    answer = await acme.call("POST", "contact", {"invitation": content})
    problem = assert_problem(answer, 400, "invitation-unreachable")
    assert "keyAgreement needs one of X25519, P-256" in problem["detail"]


async def test_a_first_message_of_a_did_that_nobody_can_encrypt_for_is_refused(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    agent.document = unencryptable(agent)
    message = {"id": "x", "type": BASIC_2, "from": agent.did, "to": [inviter(invited).id], "body": {"content": "x"}}
    packed = pack_v2(
        {**message, "pthid": invited["invitation"]["id"]},
        to=inviter(invited),
        sign_with=(agent.document.authentication[0], agent.keys.ed25519),
    )
    assert (await agent.deliver(packed)).status == 202
    assert await refused(acme, "x") == "no-key-agreement"


async def test_a_partner_that_changes_to_another_curve_is_answered_by_a_key_of_it(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    await agent.send({"id": "met", "body": {"content": "met"}}, to)
    await received(acme, "met")
    iss, kid, key = agent.did, agent.document.authentication[0], agent.keys.ed25519
    agent.keys = KeyPairs.generate("P-256")
    keys: list[tuple[peer.Purpose, PublicKey]] = [("V", agent.keys.ed25519.public), ("E", agent.keys.others[0].public)]
    agent.document = peer.resolve(
        peer.create_2(keys, didcomm_services(agent.inbox.url, None, versions=("v2",)))  # type: ignore[arg-type]
    )
    proof = from_prior.sign(iss=iss, sub=agent.did, kid=kid, key=key, issued_at=1_700_000_000)
    # Signed by the new DID, which has no key that could authenticate an encryption for ours.
    message = {"id": "curve", "type": BASIC_2, "from": agent.did, "to": [to], "body": {"content": "curve"}}
    packed = pack_v2(
        {**message, "from_prior": proof},
        to=peer.resolve(to),
        sign_with=(agent.document.authentication[0], agent.keys.ed25519),
    )
    assert (await agent.deliver(packed)).status == 202
    await received(acme, "curve")
    await acme.act((await only_connection(acme))["contactUuid"], basic("by your curve"))
    got = await agent.got(lambda message: message["body"].get("content") == "by your curve")
    assert from_prior.read(got["from_prior"]).iss == to
    await agent.send({"id": "back", "body": {"content": "back"}}, got["from"])
    assert (await received(acme, "back"))["authenticated"] is True


async def test_a_partner_is_written_to_by_the_key_id_that_it_uses(acme: Client, agent: Agent) -> None:
    invited = await invite(acme)
    agent.document = named_as_before(agent.document)
    skid = agent.document.key_agreement[0]
    await agent.send(answering(invited), inviter(invited))
    mine = await only_connection(acme)
    await acme.act(mine["contactUuid"], basic("by the old name"))

    def is_for_the_old_name(hook: Any) -> bool:
        return peek(hook.body).recipient_kids == (skid,)

    await agent.inbox.until(is_for_the_old_name)


async def test_whoever_invites_reads_the_first_message_by_either_name(acme: Client, agent: Agent) -> None:
    now, before = agent.document.key_agreement[0], named_as_before(agent.document).key_agreement[0]
    await acme.post("contact", {"invitation": make_invitation_2(id="names", from_did=agent.did)})
    got = await agent.inbox.until(lambda hook: True)
    assert peek(got.body).recipient_kids == (now, before)


async def test_a_padded_did_is_as_good_as_another(acme: Client, agent: Agent) -> None:
    services = [{"type": "DIDCommMessaging", "serviceEndpoint": {"uri": agent.inbox.url, "accept": ["didcomm/v2"]}}]
    keys: list[tuple[peer.Purpose, PublicKey]] = [("E", agent.keys.x25519.public), ("V", agent.keys.ed25519.public)]
    did = peer.create_2(keys, services)
    agent.document = peer.resolve(did + "=" * (-len(did.rpartition(".S")[2]) % 4 or 1))
    invited = await invite(acme)
    await agent.send(answering(invited, "padded"), inviter(invited))
    shown = await received(acme, "padded")
    assert (shown["status"], shown["authenticated"]) == ("RECEIVED", True)
    assert (await acme.get(f"contact/{shown['contactUuid']}"))["did"] == agent.did
    await acme.act(shown["contactUuid"], basic("back"))
    await agent.got(lambda message: message["body"].get("content") == "back")


@pytest.mark.parametrize("times", [1, 3])
async def test_what_is_forwarded_to_the_receiver_itself_is_opened(acme: Client, agent: Agent, times: int) -> None:
    invited = await invite(acme)
    to = inviter(invited)
    packed = agent.pack(answering(invited, "wrapped"), to)
    for _ in range(times):
        packed = forward_v2(packed, to=to.id, routing_keys=[to.id], documents={to.id: to}, new_id=lambda: "f")
    assert (await agent.deliver(packed)).status == 202
    shown = await received(acme, "wrapped")
    assert (shown["status"], shown["authenticated"]) == ("RECEIVED", True)
    assert len((await acme.get("message?direction=IN"))["hits"]) == 1
