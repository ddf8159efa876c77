"""DIDComm v2: whoever sends what is not theirs to send changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.agent import BASIC_2, PING, Agent
from tests.scenarios.common import assert_problem, expire
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.scenarios.v2 import answering, invite, inviter, kept, other_agent, received, refused
from tests.stack import Client
from tntcore.dids import peer
from tntcore.envelope import base64url, from_prior, pack_v2
from tntcore.envelope.keys import PrivateKey
from tntcore.envelope.v2 import sign_bytes
from tntcore.storage.records import Invitation


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


def compact(header: dict[str, Any], claims: dict[str, Any], key: PrivateKey | None) -> str:
    """A JWT with any header and claims."""
    signed = b".".join(base64url.encode(orjson.dumps(part)) for part in (header, claims))
    return (signed + b"." + (base64url.encode(sign_bytes(signed, key)) if key is not None else b"")).decode()


async def test_a_proof_that_is_not_good_any_more_or_made_otherwise(acme: Client, agent: Agent) -> None:
    """All are by the partner itself, or say that they are, and lead to Mallory's DID."""
    invited = await invite(acme)
    await agent.send(answering(invited, type=PING), inviter(invited))
    to = (await agent.got(lambda message: True))["from"]
    before = await kept(acme)
    mallory = await other_agent(agent)
    kid, key = agent.document.authentication[0], agent.keys.ed25519
    header = {"typ": "JWT", "alg": "EdDSA", "kid": kid}
    claims = {"iss": agent.did, "sub": mallory.did, "iat": 1_700_000_000}
    good = compact(header, claims, key)
    body, _, signature = good.rpartition(".")
    later = acme.stack.app.services.now() // 1000 + 10_000
    for name, (proof, code) in {
        "expired": (compact(header, {**claims, "exp": 1_700_000_001}, key), "from-prior-expired"),
        "not yet": (compact(header, {**claims, "nbf": later}, key), "from-prior-expired"),
        "no time": (compact(header, {**claims, "exp": True}, key), "from-prior-malformed"),
        "unsigned": (compact({**header, "alg": "none"}, claims, None), "from-prior-signature"),
        "no signature": (body + ".", "from-prior-signature"),
        "other algorithm": (compact({**header, "alg": "HS256"}, claims, key), "from-prior-signature"),
        "critical": (compact({**header, "crit": ["exp"]}, claims, key), "from-prior-malformed"),
        "padded": (f"{body}.{signature}==", "from-prior-malformed"),
        "padded header": (good.replace(".", "=.", 1), "from-prior-malformed"),
        "other use of the key": (
            compact({**header, "kid": agent.document.key_agreement[0]}, claims, key),
            "from-prior-signature",
        ),
        "a key and no DID": (compact(header, {**claims, "sub": f"{mallory.did}#key-1"}, key), "from-prior-subject"),
        "about nobody": (compact(header, {**claims, "sub": 7}, key), "from-prior-malformed"),
        "two issuers": (compact(header, {**claims, "iss": [agent.did, mallory.did]}, key), "from-prior-malformed"),
    }.items():
        await mallory.send({"id": name, "body": {"content": name}, "from_prior": proof}, to)
        assert (name, await refused(acme, name)) == (name, code)
    # From nobody it is a message of nobody, whoever it is about.
    document = peer.resolve(to)
    anonymous = {"id": "anonymous", "type": BASIC_2, "to": [to], "body": {"content": "anonymous"}, "from_prior": good}
    assert (await agent.deliver(pack_v2(anonymous, to=document))).status == 202
    got = await received(acme, "anonymous")
    assert (got["authenticated"], got["from"]) == (False, None)
    # Nor does a proof inside the body, or inside an attachment, count.
    within = {"from_prior": good, "content": "within"}
    await mallory.send({"id": "within", "body": within, "attachments": [{"data": {"json": within}}]}, to)
    assert await refused(acme, "within") == "sender-not-connection"
    assert await kept(acme) == before
