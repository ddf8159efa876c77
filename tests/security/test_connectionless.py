"""What attackers do with requests that are answered without a handshake: packed by hand, sent from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.common import expire
from tests.security.agents import Agent, Json, new_id, verkey_of
from tests.security.handshakes import (
    PING,
    ROTATE,
    all_of,
    connected,
    connections,
    refused,
    rotate,
    rotated_to,
    stored,
    until_state,
)
from tests.stack import Client
from tntcore.dids import peer
from tntcore.dids.key import verkey_to_did_key
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1
from tntcore.storage.records import Connection, Contact, Message
from tntcore.tenancy.recipients import verkeys

OFFER = "https://example.org/trade/1.0/offer"
ANSWER = "https://example.org/trade/1.0/answer"


async def asked(tenant: Client, **wanted: Any) -> tuple[Json, str, str]:
    """A new invitation with a request: as it was answered, the request's `@id`, and the invitation's key."""
    body = {"handshakeProtocols": [], "requests": [{"@type": OFFER}], **wanted}
    made = await tenant.post("invitation", body)
    [attached] = made["invitation"]["requests~attach"]
    return made, attached["data"]["json"]["@id"], verkey_of(made["invitation"])


def service(agent: Agent, **members: Any) -> Json:
    return {"recipientKeys": [agent.verkey], "serviceEndpoint": agent.endpoint, "routingKeys": [], **members}


def answering(agent: Agent, made: Json, thid: str, **members: Any) -> Json:
    """None takes a member away."""
    message = {
        "@type": ANSWER,
        "@id": new_id(),
        "~thread": {"thid": thid, "pthid": made["invitation"]["@id"]},
        "~service": service(agent),
        **{name.replace("__", "~"): value for name, value in members.items()},
    }
    return {name: value for name, value in message.items() if value is not None}


def pinging(**members: Any) -> Json:
    return {"@type": PING, "@id": new_id(), **members}


async def test_the_answer_goes_to_who_answered(tenant: Client, agent: Agent) -> None:
    made, thid, key = await asked(tenant)
    for spelt in (agent.verkey, verkey_to_did_key(agent.verkey), verkey_to_did_key(agent.verkey, fragment=True)):
        made, thid, key = await asked(tenant)
        await agent.send(
            answering(agent, made, thid, **{"@type": PING}, __service=service(agent, recipientKeys=[spelt])), key
        )
        number = len(agent.heard("/ping_response")) + 1
        pong, sender = await agent.hears("/ping_response", number)
        assert (pong["~thread"]["thid"], sender) == (thid, key)


def unanswers(agent: Agent, mallory: Agent, made: Json, thid: str) -> dict[str, tuple[Json, str]]:
    """By what is wrong with it: a message of Mallory's, and why it is refused. `agent` is another."""
    other_thread = {"thid": new_id(), "pthid": made["invitation"]["@id"]}
    return {
        "another thread": (answering(mallory, made, thid, __thread=other_thread), "sender-unknown"),
        "no thread": (answering(mallory, made, thid, __thread=None), "sender-unknown"),
        "another invitation": (
            answering(mallory, made, thid, __thread={"thid": thid, "pthid": new_id()}),
            "invitation-unknown",
        ),
        "no service": (answering(mallory, made, thid, __service=None), "service-not-accepted"),
        "a service of another's": (answering(mallory, made, thid, __service=service(agent)), "service-not-accepted"),
        "a service that is none": (answering(mallory, made, thid, __service="here"), "service-not-accepted"),
        "no keys": (
            answering(mallory, made, thid, __service=service(mallory, recipientKeys=[])),
            "service-not-accepted",
        ),
        "too many keys": (
            answering(mallory, made, thid, __service=service(mallory, recipientKeys=[mallory.verkey] * 100)),
            "service-not-accepted",
        ),
        "a routing key that is none": (
            answering(mallory, made, thid, __service=service(mallory, routingKeys=["x"])),
            "service-not-accepted",
        ),
        "no place": (
            answering(mallory, made, thid, __service=service(mallory, serviceEndpoint=None)),
            "service-not-accepted",
        ),
        "a place that is no URL": (
            answering(mallory, made, thid, __service=service(mallory, serviceEndpoint="file:///etc/passwd")),
            "service-not-accepted",
        ),
        "a place that is a DID": (
            answering(mallory, made, thid, __service=service(mallory, serviceEndpoint="did:web:mediator.example")),
            "service-not-accepted",
        ),
        "a place that is too long": (
            answering(mallory, made, thid, __service=service(mallory, serviceEndpoint="https://" + "a" * 100_000)),
            "service-not-accepted",
        ),
        "a handshake of 1.1": (mallory.request(DID_EXCHANGE_1_1, made["invitation"]["@id"]), "handshake-not-offered"),
        "a handshake of 1.0": (mallory.request(DID_EXCHANGE_1_0, made["invitation"]["@id"]), "handshake-not-offered"),
        "a handshake of old": (mallory.request(CONNECTIONS_1_0, made["invitation"]["@id"]), "handshake-not-offered"),
        "a handshake on the thread": (
            mallory.request(
                DID_EXCHANGE_1_1, made["invitation"]["@id"], **{"@id": thid, "__service": service(mallory)}
            ),
            "handshake-not-offered",
        ),
    }


@pytest.mark.parametrize("multi_use", [False, True])
async def test_what_is_no_answer_is_refused(tenant: Client, agent: Agent, mallory: Agent, multi_use: bool) -> None:
    made, thid, key = await asked(tenant, multiUse=multi_use)
    wrong = unanswers(agent, mallory, made, thid)
    for message, _ in wrong.values():
        await mallory.send(message, key)
    outcomes = {}
    for name, (message, _) in wrong.items():
        record = await stored(tenant, message["@id"])
        outcomes[name] = (record.status, record.error, record.authenticated, record.contact_uuid)
    assert outcomes == {name: ("REJECTED", code, False, "") for name, (_, code) in wrong.items()}
    unsigned = answering(mallory, made, thid)
    await mallory.send(unsigned, key, anonymous=True)
    assert not (await stored(tenant, unsigned["@id"])).authenticated
    assert await connections(tenant) == []
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    # Of a handshake that is not to be had it is told so.
    handshakes = sum(code == "handshake-not-offered" for _, code in wrong.values())
    await mallory.hears("/problem_report", handshakes)
    await mallory.hears_nothing_more(handshakes)
    assert agent.heard() == []
    await agent.send(answering(agent, made, thid), key)
    await until_connected(tenant)


async def test_who_declines_with_a_service_has_answered(tenant: Client, agent: Agent, mallory: Agent) -> None:
    hook = await tenant.webhook()
    made, thid, key = await asked(tenant)
    declined = {"@type": "https://didcomm.org/present-proof/2.0/problem-report", "description": {"code": "abandoned"}}
    unsigned = answering(mallory, made, thid, **declined, __service=None)
    await mallory.send(unsigned, key)
    assert not (await stored(tenant, unsigned["@id"])).authenticated
    assert await connections(tenant) == []
    await agent.send(answering(agent, made, thid, **declined), key)
    [connection] = await until_connected(tenant)
    got = await hook.until(lambda got: got.json()["authenticated"])
    assert (got.json()["connectionUuid"], got.json()["actionUuid"] is None) == (connection["uuid"], False)
    assert connection["theirDid"] == verkey_to_did_key(agent.verkey)


async def until_connected(tenant: Client, number: int = 1) -> list[Json]:
    async def check() -> list[Json] | None:
        found = await connections(tenant)
        return found if len(found) >= number else None

    found: list[Json] = await tenant.stack.eventually(check)
    assert len(found) == number
    return found


async def test_a_handshake_at_the_identity_is_none_either(tenant: Client, mallory: Agent) -> None:
    """The invitation named by its id, at a key that is known from elsewhere."""
    made, _, _ = await asked(tenant)
    document = await tenant.stack.app.services.resolver.resolve(tenant.identity["did"])
    [key] = verkeys(document)
    await refused(
        tenant,
        await mallory.send(mallory.request(DID_EXCHANGE_1_1, made["invitation"]["@id"]), key),
        "handshake-not-offered",
    )


async def test_one_of_ten_answers_gets_a_single_use_invitation(tenant: Client, agent: Agent) -> None:
    agents = [agent.another() for _ in range(10)]
    made, thid, key = await asked(tenant)
    messages = [answering(one, made, thid, **{"@type": PING}) for one in agents]
    await asyncio.gather(*(one.send(message, key) for one, message in zip(agents, messages, strict=True)))
    records = [await stored(tenant, message["@id"]) for message in messages]
    assert sorted(record.error for record in records) == ["", *["invitation-not-valid"] * 9]
    [winner] = [one for one, record in zip(agents, records, strict=True) if record.authenticated]
    await winner.hears("/ping_response")
    [connection] = await connections(tenant)
    assert connection["theirDid"] == verkey_to_did_key(winner.verkey)
    assert len(await all_of(tenant, Contact)) == 1
    assert sum(len(one.heard()) for one in agents) == 1


@pytest.mark.parametrize("multi_use", [False, True])
async def test_an_answer_counts_once(tenant: Client, agent: Agent, multi_use: bool) -> None:
    """The same message, in the same envelope and in others, at once and later; and others of the same sender."""
    hook = await tenant.webhook()
    made, thid, key = await asked(tenant, multiUse=multi_use)
    message = answering(agent, made, thid, **{"@type": PING})
    packed = agent.pack(message, key)
    others = [answering(agent, made, thid) for _ in range(5)]
    await asyncio.gather(
        *(agent.stack.deliver(packed) for _ in range(5)),
        *(agent.send(message, key) for _ in range(5)),
        *(agent.send(other, key) for other in others),
    )
    for one in (message, *others):
        assert (await stored(tenant, one["@id"])).authenticated
    await agent.hears("/ping_response")
    await agent.stack.deliver(packed)
    await agent.send(message, key)
    await asyncio.sleep(0.5)
    assert len(agent.heard()) == 1
    assert len(await connections(tenant)) == len(await all_of(tenant, Contact)) == 1
    received = [one for one in await all_of(tenant, Message) if one.direction == "IN"]
    assert sorted(one.message_id for one in received) == sorted(one["@id"] for one in (message, *others))
    assert {one.connection_uuid for one in received} == {(await connections(tenant))[0]["uuid"]}
    assert len({got.headers["webhook-id"] for got in hook.got}) == 6
    # Other content under an id that was used is kept, and does nothing.
    await agent.send({**message, "comment": "another"}, key)

    async def conflict() -> bool:
        return any(one.status == "CONFLICT" for one in await all_of(tenant, Message))

    await agent.stack.eventually(conflict)


async def test_a_service_on_an_established_connection_takes_nothing_over(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    made, thid, key = await asked(tenant)
    await agent.send(answering(agent, made, thid), key)
    [connection] = await until_connected(tenant)
    handshaken, ours = await connected(tenant, agent.another())
    before = {one.uuid: one.their_document for one in await all_of(tenant, Connection)}
    # Mallory's key is not the connection's, whatever she says, at any key that she may know.
    for to in (key, ours):
        for thread in (thid, new_id()):
            message = answering(mallory, made, thread)
            await mallory.send(message, to)
            assert not (await stored(tenant, message["@id"])).authenticated
    # And who has the connection's key is believed, but is not followed to another place.
    moved = pinging(**{"~service": service(mallory)})
    await agent.send(moved, key)
    assert (await stored(tenant, moved["@id"])).authenticated
    pong, _ = await agent.hears("/ping_response")
    assert pong["~thread"]["thid"] == moved["@id"]
    assert mallory.heard() == []
    assert {one.uuid: one.their_document for one in await all_of(tenant, Connection)} == before
    assert {one["uuid"] for one in await connections(tenant)} == {connection["uuid"], handshaken["uuid"]}


async def test_the_key_of_others_in_the_service_does_not_count(tenant: Client, agent: Agent, mallory: Agent) -> None:
    """Mallory names the agent's key beside her own, so that the agent's messages would be taken for hers."""
    made, thid, key = await asked(tenant, multiUse=True)
    both = service(mallory, recipientKeys=[agent.verkey, mallory.verkey])
    await mallory.send(answering(mallory, made, thid, **{"@type": PING}, __service=both), key)
    await mallory.hears("/ping_response")
    await agent.send(answering(agent, made, thid), key)
    found = await until_connected(tenant, 2)
    assert {one["theirDid"] for one in found} == {verkey_to_did_key(one.verkey) for one in (agent, mallory)}
    assert agent.heard() == []


async def test_each_answer_to_a_multi_use_invitation_has_its_own_thread(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    made, thid, key = await asked(tenant, multiUse=True)
    for one in (agent, mallory):
        await one.send(answering(one, made, thid), key)
    await until_connected(tenant, 2)
    actions = (await tenant.get("action"))["hits"]
    assert [action["referenceID"] for action in actions] == [thid, thid]
    assert len({action["uuid"] for action in actions}) == 2


@pytest.mark.parametrize("multi_use", [False, True])
async def test_a_did_is_changed_where_its_messages_can_be_told_from_others(
    tenant: Client, agent: Agent, mallory: Agent, multi_use: bool
) -> None:
    """At a key that many write to, a sender is told by its key; and Mallory's new DID would have the agent's, too."""
    made, thid, key = await asked(tenant, multiUse=multi_use)
    await mallory.send(answering(mallory, made, thid), key)
    [connection] = await until_connected(tenant)
    await mallory.send(rotate(agent.peer_2), key)
    report, _ = await mallory.hears("/problem-report")
    assert report["description"]["code"] == "e.did.doc_unsupported"
    answered = await stored(tenant, await agent.send(answering(agent, made, thid), key))
    assert answered.connection_uuid != connection["uuid"]
    dids = {one["theirDid"] for one in await until_connected(tenant, 1 + multi_use)}
    assert dids == {verkey_to_did_key(one.verkey) for one in ((agent, mallory) if multi_use else (mallory,))}
    # With a key of its own there is nothing to mistake.
    await tenant.post(f"connection/{connection['uuid']}/rotate", {}, 200)
    announced, _ = await mallory.hears("/rotate")
    thread = {"thid": announced["@id"]}
    await mallory.send({"@type": f"{ROTATE}ack", "@id": new_id(), "~thread": thread, "status": "OK"}, key)

    async def own_key() -> bool:
        return bool((await tenant.get(f"connection/{connection['uuid']}"))["myDid"] == announced["to_did"])

    await tenant.stack.eventually(own_key)
    [ours] = verkeys(peer.resolve(announced["to_did"]))
    await mallory.send(rotate(mallory.peer_2), ours)
    await mallory.hears("/ack")
    await rotated_to(tenant, connection["uuid"], mallory.peer_2)


@pytest.mark.parametrize("how", ["revoked", "expired", "used"])
async def test_invitations_that_are_good_no_longer(tenant: Client, agent: Agent, mallory: Agent, how: str) -> None:
    made, thid, key = await asked(tenant)
    if how == "revoked":
        assert (await tenant.call("DELETE", f"invitation/{made['uuid']}")).status == 204
    elif how == "expired":
        await expire(tenant, made["uuid"])
    elif how == "used":
        await agent.send(answering(agent, made, thid), key)
        await until_connected(tenant)
    await refused(tenant, await mallory.send(answering(mallory, made, thid), key), "invitation-not-valid")
    assert len(await connections(tenant)) == (how == "used")


async def test_a_deleted_contact_is_not_heard_any_more(tenant: Client, agent: Agent) -> None:
    made, thid, key = await asked(tenant)
    await agent.send(answering(agent, made, thid), key)
    [connection] = await until_connected(tenant)
    assert (await tenant.call("DELETE", f"contact/{connection['contactUuid']}")).status == 204
    await refused(tenant, await agent.send(answering(agent, made, thid), key), "invitation-not-valid")
    await refused(tenant, await agent.send(pinging(), key), "sender-unknown")


async def test_another_tenants_request_is_answered_by_its_owner_alone(tenant: Client, agent: Agent) -> None:
    other = await tenant.stack.register("Other")
    made, thid, _ = await asked(tenant)
    _, _, key = await asked(other)
    await refused(other, await agent.send(answering(agent, made, thid), key), "sender-unknown")
    assert await connections(tenant) == await connections(other) == []


# Who is invited.


async def invites(tenant: Client, agent: Agent, *requests: Json, **members: Any) -> tuple[Json, Json]:
    """An invitation of the agent's, and what became of it."""
    attached = [{"@id": f"request-{number}", "data": {"json": request}} for number, request in enumerate(requests)]
    invitation = agent.invitation(requests__attach=attached, handshake_protocols=[], **members)
    return invitation, await tenant.post("contact", {"invitation": invitation})


async def test_an_inviter_is_whoever_has_its_key(tenant: Client, agent: Agent, mallory: Agent) -> None:
    hook = await tenant.webhook()
    request: Json = {"@type": OFFER, "@id": new_id(), "~service": service(mallory)}
    invitation, contact = await invites(tenant, agent, request)
    assert agent.heard() == []
    got = (await hook.until(lambda got: True)).json()
    assert not got["authenticated"]
    await tenant.post(f"action/{got['actionUuid']}", {"data": {"message": {"@type": ANSWER}}}, 200)
    answer, ours = await agent.hears("/answer")
    assert answer["~thread"] == {"thid": request["@id"], "pthid": invitation["@id"]}
    assert answer["~service"]["recipientKeys"] == [ours]
    assert mallory.heard() == []
    # Mallory has seen the answer's plaintext, from wherever.
    for message in (
        pinging(**{"~service": service(mallory)}),
        rotate(mallory.peer_2),
        answering(mallory, {"invitation": invitation}, request["@id"]),
    ):
        await refused(tenant, await mallory.send(message, ours), "sender-not-connection")
    moved = pinging(**{"~service": service(mallory)})
    await agent.send(moved, ours)
    pong, _ = await agent.hears("/ping_response")
    assert pong["~thread"]["thid"] == moved["@id"]
    assert "~service" not in pong
    assert mallory.heard() == []
    shown = await until_state(tenant, contact["connectionUuid"], "completed")
    assert shown["theirDid"] == verkey_to_did_key(agent.verkey)


async def test_a_rotation_as_the_first_word_is_followed_and_ends_the_introduction(tenant: Client, agent: Agent) -> None:
    hook = await tenant.webhook("offer")
    _, contact = await invites(tenant, agent, {"@type": OFFER, "@id": new_id()})
    got = (await hook.until(lambda got: True)).json()
    await tenant.post(f"action/{got['actionUuid']}", {"data": {"message": {"@type": ANSWER}}}, 200)
    _, ours = await agent.hears("/answer")
    await agent.send(rotate(agent.peer_2), ours)
    ack, _ = await agent.hears("/ack")
    assert "~service" not in ack
    [connection] = await all_of(tenant, Connection)
    assert (connection.uuid, connection.their_did, connection.introduction) == (
        contact["connectionUuid"],
        agent.peer_2,
        {},
    )


async def test_many_first_words_at_once(tenant: Client, agent: Agent) -> None:
    hook = await tenant.webhook("offer")
    await invites(tenant, agent, {"@type": OFFER, "@id": new_id()})
    got = (await hook.until(lambda got: True)).json()
    await tenant.post(f"action/{got['actionUuid']}", {"data": {"message": {"@type": ANSWER}}}, 200)
    _, ours = await agent.hears("/answer")
    pings = [pinging() for _ in range(10)]
    packed = [agent.pack(ping, ours) for ping in pings]
    await asyncio.gather(*(agent.stack.deliver(envelope) for envelope in packed + packed))
    await agent.hears("/ping_response", 10)
    await agent.hears_nothing_more(11)
    threads = [pong["~thread"]["thid"] for pong, _ in agent.heard("/ping_response")]
    assert sorted(threads) == sorted(ping["@id"] for ping in pings)


async def test_what_is_attached_does_nothing_to_the_connection(tenant: Client, agent: Agent, mallory: Agent) -> None:
    hook = await tenant.webhook()
    requests: list[Json] = [
        rotate(mallory.peer_2),
        {"@type": "https://didcomm.org/did-rotate/1.0/hangup", "@id": new_id()},
        pinging(),
        answering(mallory, {"invitation": {"@id": new_id()}}, new_id()),
    ]
    _, contact = await invites(tenant, agent, *requests)
    await hook.count(len(requests))
    for request in requests:
        assert not (await stored(tenant, request["@id"])).authenticated
    shown = await tenant.get(f"connection/{contact['connectionUuid']}")
    assert (shown["state"], shown["theirDid"]) == ("completed", None)
    assert shown["claimedDid"] == verkey_to_did_key(agent.verkey)
    await agent.hears_nothing_more()
    assert mallory.heard() == []


async def test_an_invitation_that_leads_inside_or_nowhere(tenant: Client, agent: Agent) -> None:
    for endpoint in ("file:///etc/passwd", "gopher://x"):
        inviter = agent.another(endpoint=endpoint)
        body = inviter.invitation(handshake_protocols=[], requests__attach=[{"data": {"json": {"@type": OFFER}}}])
        answer = await tenant.call("POST", "contact", {"invitation": body})
        assert (answer.status, orjson.loads(answer.body)["type"]) == (400, "urn:tnt:problem:invitation-service")
    assert await connections(tenant) == []
