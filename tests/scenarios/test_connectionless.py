"""Invitations with requests: answered without a handshake, over a connection that is there, and in DIDComm v2."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.agent import PING, Agent
from tests.scenarios.common import assert_problem, by_queue
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.scenarios.test_redelivery import once
from tests.scenarios.v2 import FORM, answering, received, refused
from tests.stack import Client, Receiver, Stack
from tntcore.dids import peer
from tntcore.storage.queues import ListQueue

OFFER = "https://example.org/trade/1.0/offer"
ANSWER = "https://example.org/trade/1.0/answer"
OUT_OF_BAND_1 = "https://didcomm.org/out-of-band/1.1"


async def asks(client: Client, **more: Any) -> Any:
    """An invitation to answer an offer, without a handshake unless told otherwise."""
    wanted = {"handshakeProtocols": [], "requests": [{"@type": OFFER, "price": 3}], **more}
    return await client.post("invitation", wanted)


async def got(hook: Receiver, content: str) -> dict[str, Any]:
    """The webhook's body for the answer with this content."""

    def fits(message: Any) -> bool:
        return isinstance(message, dict) and message.get("body", message).get("content") == content

    return dict((await hook.until(lambda got: fits(got.json()["message"]))).json())


async def answer(client: Client, action: str, content: str) -> None:
    message = {"@type": ANSWER, "content": content}
    await client.post(f"action/{action}", {"data": {"message": message}}, 200)


# Without a handshake.


async def test_a_request_is_answered_and_the_answer_answered(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook(), await bolt.webhook()
    invited = await asks(acme)
    assert "handshake_protocols" not in invited["invitation"]
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    assert contact["status"] == "ACCEPTED"
    theirs = await bolt.get(f"connection/{contact['connectionUuid']}")
    assert (theirs["state"], theirs["role"], theirs["protocol"]) == ("completed", "requester", OUT_OF_BAND_1)
    offer = (await hook_b.until(lambda hook: True)).json()
    assert (offer["message"]["price"], offer["contactUuid"], offer["authenticated"]) == (3, contact["uuid"], False)
    thid, pthid = offer["message"]["@id"], invited["invitation"]["@id"]
    await answer(bolt, offer["actionUuid"], "one")
    await answer(bolt, offer["actionUuid"], "two")
    for content in ("one", "two"):
        taken = await got(hook_a, content)
        assert taken["authenticated"] is True
        assert taken["message"]["~thread"] == {"thid": thid, "pthid": pthid}
    mine = await only_connection(acme)
    assert (mine["state"], mine["role"], mine["protocol"]) == ("completed", "responder", OUT_OF_BAND_1)
    assert mine["theirDid"] == taken["from"]
    assert taken["message"]["~service"]["serviceEndpoint"] == f"{acme.stack.url}/api/didcomm"
    assert (await acme.get(f"contact/{mine['contactUuid']}"))["status"] == "ACCEPTED"
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "USED"
    await answer(acme, taken["actionUuid"], "three")
    back = await got(hook_b, "three")
    assert (back["authenticated"], back["actionUuid"]) == (True, offer["actionUuid"])
    assert "~service" not in back["message"]
    # Now it is known that the other side has the key.
    await answer(bolt, offer["actionUuid"], "four")
    last = await got(hook_a, "four")
    assert "~service" not in last["message"]
    assert (last["connectionUuid"], last["actionUuid"]) == (mine["uuid"], taken["actionUuid"])
    # A thread of its own.
    await acme.act(mine["contactUuid"], {"@type": ANSWER, "content": "five"})
    assert (await got(hook_b, "five"))["authenticated"] is True
    assert len((await acme.get("connection"))["hits"]) == 1
    assert len((await bolt.get("connection"))["hits"]) == 1


async def test_a_protocol_answers_without_being_told(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_b = await bolt.webhook()
    contact = await bolt.post("contact", {"invitation": (await asks(acme))["invitation"]})
    offer = (await hook_b.until(lambda hook: True)).json()
    ping = {"@type": "https://didcomm.org/trust_ping/1.0/ping"}
    await bolt.post(f"action/{offer['actionUuid']}", {"data": {"message": ping}}, 200)
    pong = (await hook_b.until(lambda hook: hook.json()["type"].endswith("ping_response"))).json()
    assert (pong["contactUuid"], pong["authenticated"]) == (contact["uuid"], True)


async def test_everybody_answers_a_multi_use_one(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    carl = await stack.register("Carl")
    hook_a = await acme.webhook()
    invited = await asks(acme, multiUse=True)
    for client in (bolt, carl):
        hook = await client.webhook()
        await client.post("contact", {"invitationId": invited["invitationId"]})
        offer = (await hook.until(lambda hook: True)).json()
        await answer(client, offer["actionUuid"], client.uuid)
    answers = [await got(hook_a, client.uuid) for client in (bolt, carl)]
    assert len({answer["connectionUuid"] for answer in answers}) == 2
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "ACTIVE"
    for client, taken in zip((bolt, carl), answers, strict=True):
        await answer(acme, taken["actionUuid"], f"back to {client.uuid}")
        assert (await got(client.receivers[0], f"back to {client.uuid}"))["authenticated"] is True


async def test_dids_change_on_such_a_connection(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("answer"), await bolt.webhook("offer|answer")
    contact = await bolt.post("contact", {"invitation": (await asks(acme))["invitation"]})
    offer = (await hook_b.until(lambda hook: True)).json()
    await answer(bolt, offer["actionUuid"], "hello")
    taken = await got(hook_a, "hello")
    # At first the inviter has its invitation's key, and who answered is known by its own.
    sides = (acme, taken["connectionUuid"]), (bolt, contact["connectionUuid"])
    for client, uuid in sides:
        before = (await client.get(f"connection/{uuid}"))["myDid"]
        await client.post(f"connection/{uuid}/rotate", {}, 200)

        async def changed(client: Client = client, uuid: str = uuid) -> bool:
            return bool((await client.get(f"connection/{uuid}"))["myDid"] != before)  # noqa: B023

        await client.stack.eventually(changed)
    await answer(bolt, offer["actionUuid"], "after")
    assert (await got(hook_a, "after"))["authenticated"] is True
    await answer(acme, taken["actionUuid"], "after, too")
    assert (await got(hook_b, "after, too"))["authenticated"] is True
    mine, theirs = [await client.get(f"connection/{uuid}") for client, uuid in sides]
    assert (mine["myDid"], mine["theirDid"]) == (theirs["theirDid"], theirs["myDid"])


async def test_what_is_attached_is_received_although_the_process_dies(
    pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, bolt = pair
    hook_b = await bolt.webhook()
    invited = await asks(acme)

    async def away(queue: ListQueue, item: bytes) -> None:
        raise ConnectionError("as if the process had died here")

    monkeypatch.setattr("tntcore.connections.changes.COMMIT_SECONDS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(ListQueue, "add", away)
        await bolt.post("contact", {"invitation": invited["invitation"]})
    assert hook_b.got == []
    await hook_b.until(lambda hook: True)
    # Where it does not die, nothing is received twice.
    await bolt.post("contact", {"invitation": invited["invitation"]})
    await hook_b.count(2)
    await asyncio.sleep(1.5)
    assert len(hook_b.got) == 2
    assert len((await bolt.get("message"))["hits"]) == 2


async def test_an_answer_of_which_nothing_was_told_yet_when_the_process_died(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook(), await bolt.webhook()
    await bolt.post("contact", {"invitation": (await asks(acme))["invitation"]})
    offer = (await hook_b.until(lambda hook: True)).json()
    outbox = stack.app.outbox
    by_queue(monkeypatch)
    monkeypatch.setattr(outbox, "relay", once(outbox.relay))
    await answer(bolt, offer["actionUuid"], "hello")
    assert (await got(hook_a, "hello"))["authenticated"] is True
    assert len((await acme.get("message"))["hits"]) == 1
    assert len((await acme.get("connection"))["hits"]) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"requests": []}, "invitation-incomplete"),
        ({"publicDid": True}, "handshake-required"),
        ({"requests": [{"type": OFFER, "id": "1"}]}, "message-invalid"),
    ],
)
async def test_one_that_cannot_be_made_says_why(pair: tuple[Client, Client], body: dict[str, Any], code: str) -> None:
    acme, _ = pair
    wanted = {"handshakeProtocols": [], "requests": [{"@type": OFFER}], **body}
    assert_problem(await acme.call("POST", "invitation", wanted), 400, code)


# Over a connection that is there.


async def test_a_request_is_received_on_the_connection_with_that_did(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("answer"), await bolt.webhook("offer|reuse")
    first = await acme.post("invitation", {"publicDid": True})
    contact = await bolt.post("contact", {"invitation": first["invitation"]})
    await completed(bolt, contact["connectionUuid"])
    await completed(acme, (await only_connection(acme))["uuid"])
    for content in ("one", "two"):
        invited = await acme.post("invitation", {"publicDid": True, "requests": [{"@type": OFFER, "content": content}]})
        again = await bolt.post("contact", {"invitation": invited["invitation"]}, 200)
        assert again["reused"] is True
        offer = await got(hook_b, content)
        assert offer["connectionUuid"] == contact["connectionUuid"]
        await answer(bolt, offer["actionUuid"], f"answer to {content}")
        taken = await got(hook_a, f"answer to {content}")
        assert taken["message"]["~thread"] == {
            "thid": offer["message"]["@id"],
            "pthid": invited["invitation"]["@id"],
        }
    assert len((await acme.get("connection"))["hits"]) == 1
    # What was offered was received when the inviter had agreed to use the connection.
    kinds = [hook.json()["type"].rpartition("/")[2] for hook in hook_b.got]
    assert sorted(kinds) == ["handshake-reuse-accepted"] * 2 + ["offer"] * 2


# DIDComm v2.


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("shape", ["v1", "v2"])
async def test_a_request_inside_an_invitation_of_v2(pair: tuple[Client, Client], shape: str, public: bool) -> None:
    acme, bolt = pair
    hook_a, hook_b = await acme.webhook("answer"), await bolt.webhook("offer|answer")
    request = {"@type": OFFER, "@id": "offer-1", "price": 3} if shape == "v1" else {"type": OFFER, "body": {"price": 3}}
    invited = await acme.post("invitation", {**FORM, "publicDid": public, "requests": [request]})
    content = invited["invitation"]
    [attached] = content["attachments"]
    message = attached["data"]["json"]
    assert (message["pthid"], message["from"], message["body"]) == (content["id"], content["from"], {"price": 3})
    assert (content["from"] == acme.identity["did"]) is public
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    offer = (await hook_b.until(lambda hook: True)).json()
    assert (offer["message"], offer["contactUuid"], offer["authenticated"]) == (message, contact["uuid"], False)

    async def introduced() -> bool:
        """Until who was invited knows the DID that is for it alone."""
        known = (await bolt.get(f"connection/{contact['connectionUuid']}"))["theirDid"]
        return known not in (None, content["from"])

    await bolt.stack.eventually(introduced)
    await answer(bolt, offer["actionUuid"], "hello")
    taken = await got(hook_a, "hello")
    assert taken["authenticated"] is True
    assert (taken["message"]["thid"], taken["message"]["pthid"]) == (message["id"], content["id"])
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "USED"
    await answer(acme, taken["actionUuid"], "and back")
    assert (await got(hook_b, "and back"))["actionUuid"] == offer["actionUuid"]
    assert len((await acme.get("connection"))["hits"]) == len((await bolt.get("connection"))["hits"]) == 1


async def test_an_agent_is_invited_by_a_public_did(pair: tuple[Client, Client], agent: Agent) -> None:
    acme, _ = pair
    invited = await acme.post("invitation", {**FORM, "publicDid": True})
    did = invited["invitation"]["from"]
    assert did == acme.identity["did"]
    public = await acme.stack.app.services.resolver.resolve(did)
    await agent.send({"id": "1", "thid": "0", "body": {"content": "too early"}}, public)
    assert await refused(acme, "too early") == "sender-unknown"
    await agent.send(answering(invited, "first"), public)
    first = await received(acme, "first")
    # It has not heard our new DID yet, and does not name the invitation any more.
    await agent.send({"id": "2", "body": {"content": "second"}}, public)
    second = await received(acme, "second")
    assert first["authenticated"]
    assert second["authenticated"]
    assert first["connectionUuid"] == second["connectionUuid"]
    await agent.send({"id": "3", "type": PING, "body": {"response_requested": True}}, public)
    pong = await agent.got(lambda message: "from_prior" in message)
    assert pong["from"] != did
    await agent.send({"id": "4", "body": {"content": "third"}}, peer.resolve(pong["from"]))
    assert (await received(acme, "third"))["connectionUuid"] == first["connectionUuid"]
    assert (await acme.get(f"invitation/{invited['uuid']}"))["status"] == "USED"
    other = Agent(acme.stack, agent.inbox)
    await other.send(answering(invited, "late"), public)
    assert await refused(acme, "late") == "invitation-not-valid"


async def test_another_identitys_invitation_does_not_count(pair: tuple[Client, Client], agent: Agent) -> None:
    acme, bolt = pair
    sales = await acme.post("identity", {"displayName": "Sales"})
    public = await acme.stack.app.services.resolver.resolve(acme.identity["did"])
    for number, client in enumerate((acme, bolt)):
        more = {"identityId": sales["uuid"]} if client is acme else {}
        invited = await client.post("invitation", {**FORM, "publicDid": True, **more})
        await agent.send(answering(invited, f"{number}"), public)
        assert await refused(acme, f"{number}") == "sender-unknown"
    assert (await acme.get("connection"))["hits"] == []


async def test_webhooks_match_what_v1_calls_the_attachments(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    await acme.stack.connect(acme, bolt, "v2")
    hook = await bolt.webhook("^requests~attach$")
    contact = (await only_connection(acme))["contactUuid"]
    credential = "https://didcomm.org/issue-credential/2.0"
    attached = [{"@id": "1", "data": {"json": {}}}]
    await acme.act(contact, {"@type": f"{credential}/offer-credential", "offers~attach": attached})
    await acme.act(contact, {"@type": f"{credential}/request-credential", "requests~attach": attached})
    seen = (await hook.until(lambda hook: True)).json()
    assert seen["type"] == f"{credential}/request-credential"
    assert orjson.dumps(seen["message"]["attachments"])
    assert len(hook.got) == 1
