"""DIDComm v2: partners with other keys, other names for them, and other spellings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.agent import BASIC_2, PING, Agent, named_as_before
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.library_agent import LibraryAgent
from tests.scenarios.test_did_exchange import only_connection
from tests.scenarios.v2 import answering, invite, inviter, received, refused
from tests.stack import Client
from tntcore.dids import peer
from tntcore.dids.build import BOTH, didcomm_services
from tntcore.dids.document import Curve, DidDocument, PublicKey
from tntcore.envelope import forward_v2, from_prior, pack_v2, peek
from tntcore.envelope.keys import PrivateKey
from tntcore.messaging.invitations import (
    make_invitation_2,
)
from tntcore.tenancy.recipients import KeyPairs


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
