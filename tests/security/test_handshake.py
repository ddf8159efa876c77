"""What attackers do with the messages of a handshake: packed by hand, sent from outside."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic
from tests.security.agents import Agent, Json, new_id
from tests.security.handshakes import (
    DIALECT,
    ROTATE,
    complete,
    connected,
    connections,
    did_web,
    invited,
    public,
    refused,
    report,
    requested,
    state_of,
    stored,
    told,
    until_state,
)
from tests.stack import Client, Receiver, Stack
from tntcore.dids.multiformats import encode_base58
from tntcore.dids.parse import parse_document
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.envelope.signatures import sign_field
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1
from tntcore.storage.records import Identity
from tntcore.tenancy.recipients import verkeys

# Responses that the inviter did not make.


def forged_responses(agent: Agent, mallory: Agent, protocol: str, thid: str) -> dict[str, tuple[Agent, Json, str]]:
    """By what is wrong with it: who sends it, the message, and why it is refused. `agent` is the inviter."""
    unsigned = {"data": {"base64": agent.signed(agent.legacy())["data"]["base64"]}}
    bad = {
        # Mallory has the thread and both keys, from wherever.
        "signed and sent by another": (
            mallory,
            mallory.response(protocol, thid, mallory.keys.ed25519),
            "response-not-accepted",
        ),
        "another's key, under the inviter's envelope": (
            agent,
            mallory.response(protocol, thid, mallory.keys.ed25519),
            "response-not-accepted",
        ),
        "the inviter's signature, another's envelope": (
            mallory,
            agent.response(protocol, thid, agent.keys.ed25519),
            "response-not-accepted",
        ),
    }
    if protocol == DID_EXCHANGE_1_1:
        by_inviter = agent.signed(agent.peer_2)
        bad |= {
            "a signature over another DID": (
                mallory,
                mallory.response(protocol, thid, agent.keys.ed25519, did_rotate__attach=by_inviter),
                "response-not-accepted",
            ),
            "a signature over a document, for a DID": (
                mallory,
                mallory.response(protocol, thid, mallory.keys.ed25519, did_rotate__attach=agent.signed(agent.legacy())),
                "response-not-accepted",
            ),
            "no signature and another's envelope": (
                mallory,
                mallory.response(protocol, thid, mallory.keys.ed25519, did_rotate__attach=None),
                "response-not-accepted",
            ),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            "a signed DID, and a document by another": (
                mallory,
                mallory.response(
                    protocol,
                    thid,
                    agent.keys.ed25519,
                    did=mallory.sov,
                    did_rotate__attach=agent.signed(mallory.sov),
                    did_doc__attach=mallory.signed(mallory.legacy()),
                ),
                "response-not-accepted",
            ),
            "no did": (agent, agent.response(protocol, thid, agent.keys.ed25519, did=None), "response-not-accepted"),
        }
    elif protocol == DID_EXCHANGE_1_0:
        bad |= {
            "a signature over the document of another DID": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did=mallory.sov),
                "document-mismatch",
            ),
            "no document": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did_doc__attach=None),
                "message-malformed",
            ),
            "a document without signature": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did_doc__attach=unsigned),
                "malformed",
            ),
            "signed by two others": (mallory, _twice_signed(agent, mallory, protocol, thid), "response-not-accepted"),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            # As in a request, where it is right.
            "signed by a key of the document": (
                agent,
                mallory.response(protocol, thid, mallory.keys.ed25519),
                "response-not-accepted",
            ),
        }
    else:
        plain = {"DID": agent.sov, "DIDDoc": agent.legacy()}
        bad |= {
            "no signature": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, connection=plain, connection__sig=None),
                "message-malformed",
            ),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            "a DID that is not its document's": (
                agent,
                agent.response(
                    protocol,
                    thid,
                    agent.keys.ed25519,
                    connection__sig=_field({"DID": mallory.sov, "DIDDoc": agent.legacy()}, agent),
                ),
                "document-mismatch",
            ),
        }
    return bad


def _field(value: Json, agent: Agent) -> Json:
    return sign_field(value, agent.keys.ed25519, 1_700_000_000)


def _altered(agent: Agent, protocol: str, thid: str) -> Json:
    """What is signed is another's by one letter."""
    message = agent.response(protocol, thid, agent.keys.ed25519)
    name = {DID_EXCHANGE_1_1: "did_rotate~attach", DID_EXCHANGE_1_0: "did_doc~attach"}.get(protocol, "connection~sig")
    part = message[name] if protocol == CONNECTIONS_1_0 else message[name]["data"]["jws"]
    flipped = "B" if part["signature"][10] != "B" else "C"
    part["signature"] = part["signature"][:10] + flipped + part["signature"][11:]
    return message


def _twice_signed(agent: Agent, mallory: Agent, protocol: str, thid: str) -> Json:
    message = mallory.response(protocol, thid, mallory.keys.ed25519)
    data = message["did_doc~attach"]["data"]
    other = mallory.another().signed(mallory.legacy())["data"]["jws"]
    data["jws"] = {"signatures": [data["jws"], other]}
    return message


@DIALECT
async def test_a_response_is_believed_by_the_invitations_key_alone(
    tenant: Client, agent: Agent, mallory: Agent, protocol: str
) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    before = await tenant.get(f"connection/{uuid}")
    for what, (by, message, code) in forged_responses(agent, mallory, protocol, request["@id"]).items():
        await by.send(message, ours)
        try:
            await refused(tenant, message["@id"], code)
        except AssertionError as error:
            raise AssertionError(what, *error.args) from error
    anonymous = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(anonymous, ours, anonymous=True)
    await refused(tenant, anonymous["@id"], "sender-unknown")
    elsewhere = agent.response(protocol, new_id(), agent.keys.ed25519)
    await agent.send(elsewhere, ours)
    await refused(tenant, elsewhere["@id"], "thread-unknown")
    after = await tenant.get(f"connection/{uuid}")
    assert {**after, "updatedAt": None} == {**before, "updatedAt": None}
    assert after["state"] == "request-sent"
    assert mallory.heard() == []

    honest = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(honest, ours)
    done = await until_state(tenant, uuid, "completed")
    assert done["theirDid"].removeprefix("did:sov:") in (agent.peer_2, agent.sov)
    await agent.hears("/ping" if protocol == CONNECTIONS_1_0 else "/complete")
    # And once is enough.
    again = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(again, ours)
    await refused(tenant, again["@id"], "out-of-turn")


async def test_the_envelope_alone_vouches_only_if_it_is_the_invitations_own(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Agents that answer with a DID that can be resolved may leave the signature out."""
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    for by, code in ((mallory, "response-not-accepted"), (agent, "")):
        message = by.response(DID_EXCHANGE_1_1, request["@id"], by.keys.ed25519, did_rotate__attach=None)
        await by.send(message, ours)
        assert (await stored(tenant, str(message["@id"]))).error == code
    assert (await until_state(tenant, uuid, "completed"))["theirDid"] == agent.peer_2


@pytest.mark.parametrize(
    ("asked", "answered"), [(DID_EXCHANGE_1_1, CONNECTIONS_1_0), (CONNECTIONS_1_0, DID_EXCHANGE_1_0)]
)
async def test_a_request_is_answered_in_its_protocol(tenant: Client, agent: Agent, asked: str, answered: str) -> None:
    uuid, request, ours = await requested(tenant, agent, asked)
    for message in (
        agent.response(answered, request["@id"], agent.keys.ed25519),
        report(answered, request["@id"]),
    ):
        await agent.send(message, ours)
        await refused(tenant, message["@id"], "protocol-mismatch")
    assert await state_of(tenant, uuid) == "request-sent"


# Requests that are not the sender's to make.


@DIALECT
async def test_a_request_is_its_senders_own(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    made, pthid, key = await invited(tenant)
    forged: dict[str, tuple[Agent, Json, str]] = {
        # The document of an innocent agent, sent by another.
        "the sender is not in the document": (mallory, agent.request(protocol, pthid), "request-not-accepted"),
        "another invitation": (agent, agent.request(protocol, new_id()), "invitation-unknown"),
    }
    if protocol == DID_EXCHANGE_1_0:
        forged |= {
            "signed by a key not in the document": (
                agent,
                agent.request(protocol, pthid, did_doc__attach=mallory.signed(agent.legacy())),
                "request-not-accepted",
            ),
            "the document of another DID": (
                mallory,
                mallory.request(protocol, pthid, did=agent.sov),
                "document-mismatch",
            ),
            "a document that names the DID, with another's keys": (
                mallory,
                mallory.request(protocol, pthid, did=agent.sov, did_doc__attach=agent.signed(agent.legacy())),
                "request-not-accepted",
            ),
            "no document": (agent, agent.request(protocol, pthid, did_doc__attach=None), "message-malformed"),
            "not signed": (
                agent,
                agent.request(
                    protocol,
                    pthid,
                    did_doc__attach={"data": {"base64": agent.signed(agent.legacy())["data"]["base64"]}},
                ),
                "malformed",
            ),
            "a DID that is looked up nowhere": (
                agent,
                agent.request(protocol, pthid, did="did:example:1"),
                "did-unsupported",
            ),
        }
    elif protocol == CONNECTIONS_1_0:
        forged |= {
            "the document of another DID": (
                mallory,
                mallory.request(protocol, pthid, connection={"DID": agent.sov, "DIDDoc": mallory.legacy()}),
                "document-mismatch",
            ),
            "a resolvable DID": (
                mallory,
                mallory.request(
                    protocol,
                    pthid,
                    connection={"DID": agent.peer_2, "DIDDoc": {**mallory.legacy(), "id": agent.peer_2}},
                ),
                "did-unsupported",
            ),
            "no document": (
                agent,
                agent.request(protocol, pthid, connection={"DID": agent.sov}),
                "request-not-accepted",
            ),
        }
    else:
        forged |= {
            "no DID": (agent, agent.request(protocol, pthid, did=None), "request-not-accepted"),
            "a DID without place": (
                agent,
                agent.request(protocol, pthid, did=verkey_to_did_key(agent.verkey)),
                "no-endpoint",
            ),
        }
    for what, (by, message, code) in forged.items():
        await by.send(message, key)
        try:
            await refused(tenant, message["@id"], code)
        except AssertionError as error:
            raise AssertionError(what, *error.args) from error
    anonymous = agent.request(protocol, pthid)
    await agent.send(anonymous, key, anonymous=True)
    await refused(tenant, anonymous["@id"], "sender-unknown")
    assert await connections(tenant) == []
    assert (await tenant.get("contact"))["hits"] == []
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "ACTIVE"
    # Only who named another invitation is known by then.
    await told(agent, forged["another invitation"][1], protocol, key)
    await agent.hears_nothing_more(1)
    assert mallory.heard() == []

    await agent.send(agent.request(protocol, pthid), key)
    await agent.hears("/response")
    assert len(await connections(tenant)) == 1


async def test_what_is_attached_for_a_did_that_can_be_resolved_counts_for_nothing(
    tenant: Client, agent: Agent, mallory: Agent, web: Receiver
) -> None:
    did = did_web(web)
    web.text = orjson.dumps(public(agent, did)).decode()
    _, pthid, key = await invited(tenant, multiUse=True)
    # Mallory has a document of the agent's DIDs with her own key, signed by it.
    for claimed in (did, agent.peer_4, agent.peer_2):
        attached = mallory.signed({**public(mallory, claimed), "id": claimed})
        for protocol in (DID_EXCHANGE_1_0, DID_EXCHANGE_1_1):
            message = mallory.request(protocol, pthid, did=claimed, did_doc__attach=attached)
            await mallory.send(message, key)
            await refused(tenant, message["@id"], "request-not-accepted")
    assert await connections(tenant) == []
    # The agent itself may attach whatever it likes: it is answered where its DID says.
    elsewhere = agent.another(keys=agent.keys, endpoint="http://127.0.0.1:9/elsewhere")
    for number, claimed in enumerate((did, agent.peer_4), start=1):
        attached = agent.signed({**public(elsewhere, claimed), "id": claimed})
        await agent.send(agent.request(DID_EXCHANGE_1_1, pthid, did=claimed, did_doc__attach=attached), key)
        await agent.hears("/response", number)
    assert {connection["theirDid"] for connection in await connections(tenant)} == {did, agent.peer_4}


async def test_what_is_attached_to_a_response_for_a_resolvable_did_counts_for_nothing(
    tenant: Client, agent: Agent, mallory: Agent, web: Receiver
) -> None:
    did = did_web(web)
    web.text = orjson.dumps(public(agent, did)).decode()
    for number, claimed in enumerate((did, agent.peer_4), start=1):
        uuid, request, ours = await requested(tenant, inviter := agent.another(), DID_EXCHANGE_1_1)
        attached = inviter.signed({**public(mallory, claimed), "id": claimed})
        message = inviter.response(
            DID_EXCHANGE_1_1,
            request["@id"],
            inviter.keys.ed25519,
            did=claimed,
            did_rotate__attach=inviter.signed(claimed),
            did_doc__attach=attached,
        )
        await inviter.send(message, ours)
        done = await until_state(tenant, uuid, "completed")
        assert (done["theirDid"], done["claimedDid"]) == (None, claimed)
        await agent.hears("/complete", number)
    assert mallory.heard() == []


async def test_a_did_peer_1_is_the_hash_of_its_document(tenant: Client, agent: Agent, mallory: Agent) -> None:
    _, pthid, key = await invited(tenant)
    document = {name: value for name, value in agent.legacy().items() if name != "id"}
    document["publicKey"] = [{**document["publicKey"][0], "id": "#1", "controller": "#id"}]
    document["authentication"] = ["#1"]
    did = "did:peer:1z" + encode_base58(b"\x12\x20" + hashlib.sha256(orjson.dumps(document)).digest())
    forged = {**document, "service": [{**document["service"][0], "serviceEndpoint": "https://example.com"}]}
    stolen = {**document, "publicKey": [{**document["publicKey"][0], "publicKeyBase58": mallory.verkey}]}
    for by, raw in ((agent, forged), (mallory, stolen)):
        for attached in (raw, {**raw, "id": did}):
            message = by.request(DID_EXCHANGE_1_0, pthid, did=did, did_doc__attach=by.signed(attached))
            await by.send(message, key)
            await refused(tenant, message["@id"], "document-mismatch")
    await agent.send(
        agent.request(DID_EXCHANGE_1_0, pthid, did=did, did_doc__attach=agent.signed({"id": did, **document})), key
    )
    await agent.hears("/response")
    assert [connection["theirDid"] for connection in await connections(tenant)] == [did]


# Threads that are somebody else's.


@DIALECT
async def test_nobody_else_ends_an_exchange(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    """Mallory has an exchange of her own under way, and knows the thread and the key of the agent's."""
    sides = {}
    for one in (agent, mallory):
        _, pthid, key = await invited(tenant)
        request = one.request(protocol, pthid)
        await one.send(request, key)
        _, ours = await one.hears("/response")
        sides[one.verkey] = request, ours
    request, ours = sides[agent.verkey]
    _, hers = sides[mallory.verkey]
    states = {connection["uuid"]: connection["state"] for connection in await connections(tenant)}
    assert set(states.values()) == {"response-sent"}
    reports = [report(protocol, request["@id"]), report(protocol, request["@id"], "abandoned")]
    if protocol != CONNECTIONS_1_0:
        for message in (complete(protocol, request), *reports):
            await refused(tenant, await mallory.send(message, hers), "thread-unknown")
        await refused(tenant, await mallory.send(complete(protocol, request), ours), "sender-not-connection")
        anonymous = await mallory.send(complete(protocol, request), ours, anonymous=True)
        await refused(tenant, anonymous, "sender-unknown")
    else:
        # Here any message would do: of the other side.
        for hidden in (True, False):
            ping = complete(protocol, request)
            await mallory.send(ping, ours, anonymous=hidden)
            assert not (await stored(tenant, ping["@id"])).authenticated
    for message in (report(protocol, request["@id"]), report(protocol, request["@id"], "abandoned")):
        await refused(tenant, await mallory.send(message, ours), "sender-not-connection")
    assert {connection["uuid"]: connection["state"] for connection in await connections(tenant)} == states
    await agent.send(complete(protocol, request), ours)

    async def ended() -> bool:
        return sorted(connection["state"] for connection in await connections(tenant)) == ["completed", "response-sent"]

    await tenant.stack.eventually(ended)


@DIALECT
async def test_nobody_else_gives_up_a_request(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    for code in ("request_not_accepted", "abandoned"):
        await refused(tenant, await mallory.send(report(protocol, request["@id"], code), ours), "sender-not-connection")
        by_nobody = report(protocol, request["@id"], code)
        await refused(tenant, await mallory.send(by_nobody, ours, anonymous=True), "sender-unknown")
        await refused(tenant, await agent.send(report(protocol, new_id(), code), ours), "thread-unknown")
    assert await state_of(tenant, uuid) == "request-sent"
    # The inviter's own word counts. The tenant may ask again, on a thread of its own.
    await agent.send(report(protocol, request["@id"]), ours)
    await until_state(tenant, uuid, "abandoned")
    await tenant.post(f"connection/{uuid}/accept", {}, 200)
    second, _ = await agent.hears("/request", 2)
    assert second["@id"] != request["@id"]
    await refused(
        tenant,
        await agent.send(agent.response(protocol, request["@id"], agent.keys.ed25519), ours),
        "thread-unknown",
    )
    await agent.send(agent.response(protocol, second["@id"], agent.keys.ed25519), ours)
    await until_state(tenant, uuid, "completed")


@DIALECT
async def test_a_problem_report_is_never_answered(tenant: Client, agent: Agent, mallory: Agent, protocol: str) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    _, pthid, key = await invited(tenant)
    _, connection_key = await connected(tenant, mallory, protocol)
    heard = len(agent.heard()), len(mallory.heard())
    reports = [
        (by, to, {"@type": type_, "@id": new_id(), "~thread": thread, "description": {"code": "request_not_accepted"}})
        for by, to, thid in ((agent, ours, request["@id"]), (agent, key, pthid), (mallory, connection_key, new_id()))
        for thread in ({"thid": thid}, {"thid": thid, "pthid": uuid}, {})
        for type_ in (
            f"{protocol}/problem_report",
            "https://didcomm.org/report-problem/1.0/problem-report",
            "https://didcomm.org/notification/1.0/problem-report",
            f"{ROTATE}problem-report",
            "https://didcomm.org/out-of-band/1.1/problem-report",
        )
    ]
    wanted = {"~please_ack": {}, "response_requested": True}
    await asyncio.gather(*(by.send({**message, **wanted}, to) for by, to, message in reports))
    for _, _, message in reports:
        await stored(tenant, str(message["@id"]))
    await asyncio.sleep(0.3)
    assert (len(agent.heard()), len(mallory.heard())) == heard


# Races and replays.


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


# Invitations that say more than their maker did.


async def test_what_is_attached_to_an_invitation_does_nothing_to_the_connection(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """An invitation is not signed: Mallory hands on the agent's, with messages of hers inside."""
    hook = await tenant.webhook()
    single, pthid, _ = await invited(tenant)
    attached: list[Json] = [
        {"@type": f"{ROTATE}rotate", "@id": new_id(), "to_did": mallory.peer_2},
        {"@type": f"{ROTATE}hangup", "@id": new_id()},
        {"@type": "https://didcomm.org/out-of-band/1.1/handshake-reuse", "@id": new_id(), "~thread": {"pthid": pthid}},
        {"@type": f"{DID_EXCHANGE_1_1}/complete", "@id": new_id()},
        basic("an offer", **{"@id": new_id()}),
    ]
    requests = [{"@id": f"request-{number}", "data": {"json": message}} for number, message in enumerate(attached)]
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1, requests__attach=requests)
    await agent.send(agent.response(DID_EXCHANGE_1_1, request["@id"], agent.keys.ed25519), ours)
    done = await until_state(tenant, uuid, "completed")
    got = await hook.until(lambda got: got.json()["message"]["@id"] == attached[-1]["@id"])
    assert not got.json()["authenticated"]
    for message in attached:
        assert not (await stored(tenant, str(message["@id"]))).authenticated
    assert (await tenant.get(f"connection/{uuid}"))["theirDid"] == done["theirDid"] == agent.peer_2
    assert await state_of(tenant, uuid) == "completed"
    assert (await tenant.get(f"invitation/{single['uuid']}"))["status"] == "ACTIVE"
    await agent.hears_nothing_more(2)
    assert mallory.heard() == []


async def test_naming_a_did_that_cannot_be_reached_makes_nobody_its_owner(
    stack: Stack, tenant: Client, agent: Agent, mallory: Agent, web: Receiver
) -> None:
    """Mallory's invitation names the agent's DID, which is out of reach just then, and her own key beside it."""
    did = did_web(web)
    inline = mallory.invitation(DID_EXCHANGE_1_1)["services"]
    web.answer = lambda hook: (503, {})
    first, _, _ = await requested(tenant, mallory, DID_EXCHANGE_1_1, services=[did, *inline])
    request, ours = mallory.heard("/request")[0]
    await mallory.send(mallory.response(DID_EXCHANGE_1_1, request["@id"], mallory.keys.ed25519), ours)
    await until_state(tenant, first, "completed")
    web.answer, web.text = lambda hook: (200, {}), orjson.dumps(public(agent, did)).decode()
    await asyncio.sleep(3.1)  # until the failure is forgotten
    invitation = agent.invitation(DID_EXCHANGE_1_1, services=[did])
    made = await tenant.call("POST", "contact", {"invitation": invitation})
    assert made.status == 201, made.body
    assert made.json()["connectionUuid"] != first
    await agent.hears("/request")
    assert [one["@type"].rpartition("/")[2] for one, _ in mallory.heard()] == ["request", "complete"]
