"""What attackers do with the messages of a handshake: packed by hand, sent from outside."""

from __future__ import annotations

import asyncio
import hashlib

import orjson

from tests.scenarios.common import basic
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
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1

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
