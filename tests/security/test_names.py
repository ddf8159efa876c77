"""Names: under which DID a sender, a contact and a connection are shown, and who can be reached by it.

Every test is an attacker's: Mallory wants to be taken for the bank, or wants what is meant for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.scenarios.agent import MEDIA_TYPE
from tests.scenarios.agent import Agent as AgentOfV2
from tests.scenarios.common import assert_problem, basic
from tests.security.agents import Agent, Json, new_id, verkey_of
from tests.security.handshakes import (
    complete,
    connected,
    connections,
    did_web,
    invited,
    public,
    requested,
    rotate,
    stored,
    until_state,
)
from tests.stack import Client, Hook, Receiver, Stack
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.envelope import pack_v2
from tntcore.envelope.keys import verkey_to_did_key
from tntcore.envelope.signatures import sign_field
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1

LEGACY = pytest.mark.parametrize(
    "protocol", [DID_EXCHANGE_1_0, CONNECTIONS_1_0], ids=["didexchange-1.0", "connections"]
)
OFFER = "https://example.org/trade/1.0/offer"


@pytest.fixture
def bank(agent: Agent) -> Agent:
    return agent


def named(agent: Agent, protocol: str, pthid: str | None, did: str, document: Json | None = None) -> Json:
    """A request under this DID, with a document that has the agent's key."""
    document = agent.legacy(did) if document is None else document
    if protocol == CONNECTIONS_1_0:
        message = agent.request(protocol, "", connection={"DID": did, "DIDDoc": document})
    else:
        message = agent.request(protocol, "", did=did, did_doc__attach=agent.signed(document))
    thread = {"thid": message["@id"], **({"pthid": pthid} if pthid else {})}
    return {**message, "~thread": thread}


async def joins(client: Client, agent: Agent, message: Json, key: str) -> tuple[Json, str]:
    """The completed connection that follows from a request: the tenant's side, and our key."""
    before = {connection["uuid"] for connection in await connections(client)}
    heard = len(agent.heard("/response"))
    await agent.send(message, key)
    _, ours = await agent.hears("/response", heard + 1)
    [uuid] = {connection["uuid"] for connection in await connections(client)} - before
    protocol = message["@type"].rpartition("/")[0]
    await agent.send(complete(protocol, {**message, "~thread": {"pthid": None, **message["~thread"]}}), ours)
    return await until_state(client, uuid, "completed"), ours


async def says(hook: Receiver, agent: Agent, ours: str, **members: Any) -> Json:
    """What the webhook is told of a message by the agent."""
    said = basic("hello", **{"@id": new_id()}, **members)
    await agent.send(said, ours)
    return (await hook.until(lambda got: got.json()["message"].get("@id") == said["@id"])).json()  # type: ignore[no-any-return]


async def is_nobody(client: Client, connection: Json, claimed: str | None = None) -> None:
    """That neither the connection nor its contact has a DID; what it says is said to be claimed."""
    shown = await client.get(f"connection/{connection['uuid']}")
    contact = await client.get(f"contact/{connection['contactUuid']}")
    assert (shown["theirDid"], shown["contactDid"], contact["did"]) == (None, None, None)
    assert shown["claimedDid"] == contact["claimedDid"] == claimed
    if claimed:
        answer = await client.call("GET", f"contact/{quote(claimed)}")
        assert_problem(answer, 404, "contact-unknown")
        body = {"type": "DIDCOMM", "to": claimed, "data": {"message": basic("SECRET")}}
        assert_problem(await client.call("POST", "action", body), 404, "contact-unknown")
        assert (await client.get(f"contact?did={quote(claimed)}"))["hits"] == []


async def is_somebody(client: Client, connection: Json, did: str) -> None:
    shown = await client.get(f"connection/{connection['uuid']}")
    contact = await client.get(f"contact/{connection['contactUuid']}")
    assert (shown["theirDid"], shown["contactDid"], shown["claimedDid"]) == (did, did, None)
    assert (contact["did"], contact["claimedDid"]) == (did, None)
    assert (await client.get(f"contact/{quote(did)}"))["uuid"] == contact["uuid"]


async def public_key(client: Client) -> str:
    """That of the tenant's public DID."""
    document = await client.stack.app.services.resolver.resolve(client.identity["did"])
    return didcomm_endpoint(document, "v1").recipient_verkeys[0]


# A DID of which the document came with the request.


@LEGACY
@pytest.mark.parametrize("qualified", [True, False])
@pytest.mark.parametrize("uninvited", [True, False])
async def test_a_did_sov_is_its_keys_alone(
    tenant: Client, bank: Agent, mallory: Agent, protocol: str, qualified: bool, uninvited: bool
) -> None:
    hook = await tenant.webhook("basicmessage")
    did = f"did:sov:{bank.sov}"
    written = did if qualified else bank.sov
    _, pthid, key = await invited(tenant, multiUse=True)
    honest, ours = await joins(tenant, bank, named(bank, protocol, pthid, written), key)
    await is_somebody(tenant, honest, did)
    if uninvited:
        pthid, key = "", await public_key(tenant)
    forged, hers = await joins(tenant, mallory, named(mallory, protocol, pthid, written), key)
    assert forged["contactUuid"] != honest["contactUuid"]
    told = await says(hook, mallory, hers)
    assert (told["from"], told["authenticated"], told["contactUuid"]) == (None, True, forged["contactUuid"])
    told = await says(hook, bank, ours)
    assert (told["from"], told["authenticated"], told["contactUuid"]) == (did, True, honest["contactUuid"])
    shown = await tenant.get(f"connection/{forged['uuid']}")
    assert (shown["theirDid"], shown["contactDid"], shown["claimedDid"]) == (None, None, did)
    contact = await tenant.get(f"contact/{forged['contactUuid']}")
    assert (contact["did"], contact["claimedDid"]) == (None, did)
    assert [hit["uuid"] for hit in (await tenant.get(f"contact?did={quote(did)}"))["hits"]] == [honest["contactUuid"]]
    for name in (did, bank.sov):
        await tenant.act(name, basic(f"SECRET {name}"))
        await bank.stack.eventually(partial(_heard, bank, f"SECRET {name}"))
    assert mallory.heard("basicmessage/1.0/message") == []
    # She can be answered all the same: as who she is on her own connection.
    await tenant.act(forged["contactUuid"], basic("who are you?"))
    await mallory.hears("basicmessage/1.0/message")


async def _heard(agent: Agent, content: str) -> bool:
    return any(message["content"] == content for message, _ in agent.heard("basicmessage/1.0/message"))


@LEGACY
@pytest.mark.parametrize(
    "did",
    [
        "did:sov:did:web:bank.example",
        "did:sov:WgWxqztrNooG92RXvxSTWv",
        "did:sov:sandbox:WgWxqztrNooG92RXvxSTWv",
        "did:sov:bank.example",
        "WgWxqztrNooG92RXvxSTWv",
    ],
)
async def test_a_did_that_no_key_makes_is_claimed(tenant: Client, mallory: Agent, protocol: str, did: str) -> None:
    _, pthid, key = await invited(tenant)
    forged, _ = await joins(tenant, mallory, named(mallory, protocol, pthid, did), key)
    await is_nobody(tenant, forged, did if did.startswith("did:") else f"did:sov:{did}")


@LEGACY
async def test_the_key_of_another_in_the_document_lends_no_name(
    tenant: Client, bank: Agent, mallory: Agent, protocol: str
) -> None:
    """Mallory's document has the bank's key first, and her own."""
    hook = await tenant.webhook("basicmessage")
    did = f"did:sov:{bank.sov}"
    document = bank.legacy()
    document["publicKey"].append({**mallory.legacy(did)["publicKey"][0], "id": f"{did}#2"})
    document["service"] = mallory.legacy(did)["service"]
    _, pthid, key = await invited(tenant)
    forged, hers = await joins(tenant, mallory, named(mallory, protocol, pthid, did, document), key)
    await is_nobody(tenant, forged, did)
    assert (await says(hook, mallory, hers))["from"] is None


@pytest.mark.parametrize(
    "written", ["did:key:{0}#{0}", "did:KEY:{0}", "DID:key:{0}", "did:key:{0}?a=b", " did:key:{0}"]
)
async def test_a_did_has_one_spelling(tenant: Client, mallory: Agent, written: str) -> None:
    _, pthid, key = await invited(tenant)
    multikey = verkey_to_did_key(mallory.verkey).removeprefix("did:key:")
    message = named(mallory, DID_EXCHANGE_1_0, pthid, written.format(multikey), mallory.legacy())
    record = await stored(tenant, await mallory.send(message, key))
    assert record.status == "REJECTED"
    assert await connections(tenant) == []


async def test_a_did_web_is_where_it_is_published(
    stack: Stack, tenant: Client, bank: Agent, mallory: Agent, web: Receiver
) -> None:
    """Spellings of the bank's DID under which its document can be had, too, but is not published."""
    did = did_web(web)
    web.text = orjson.dumps(public(bank, did)).decode()
    variants = [did, did.replace("%3A", "%3a"), did.replace("127.0.0.1", "localhost"), did.replace("agent", "%61gent")]
    for variant in variants:
        _, pthid, key = await invited(tenant)
        message = {**mallory.request(DID_EXCHANGE_1_1, pthid), "did": variant}
        record = await stored(tenant, await mallory.send(message, key))
        assert record.status == "REJECTED"
    assert await connections(tenant) == []
    _, pthid, key = await invited(tenant)
    honest, _ = await joins(tenant, bank, {**bank.request(DID_EXCHANGE_1_1, pthid), "did": did}, key)
    await is_somebody(tenant, honest, did)


@pytest.mark.parametrize("controller", ["{}", "did:web:mallory.example"])
async def test_a_key_for_something_else_in_the_banks_document_lends_no_name(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver, controller: str
) -> None:
    """Mallory issues credentials for the bank, which lists her key for that."""
    did = did_web(web)
    document = public(bank, did)
    method = {
        "id": f"{did}#issuer",
        "type": "Multikey",
        "controller": controller.format(did),
        "publicKeyMultibase": verkey_to_did_key(mallory.verkey).removeprefix("did:key:"),
    }
    document["verificationMethod"].append(method)
    document["assertionMethod"] = [*document.get("assertionMethod", ()), method["id"]]
    web.text = orjson.dumps(document).decode()
    _, pthid, key = await invited(tenant)
    record = await stored(tenant, await mallory.send({**mallory.request(DID_EXCHANGE_1_1, pthid), "did": did}, key))
    assert (record.status, record.error) == ("REJECTED", "request-not-accepted")
    assert await connections(tenant) == []
    honest, _ = await joins(tenant, bank, {**bank.request(DID_EXCHANGE_1_1, pthid), "did": did}, key)
    await is_somebody(tenant, honest, did)


async def test_a_document_says_also_known_as_the_bank(tenant: Client, bank: Agent, mallory: Agent) -> None:
    hook = await tenant.webhook("basicmessage")
    document = {**mallory.legacy(), "alsoKnownAs": [bank.sov, f"did:sov:{bank.sov}", bank.peer_2, bank.peer_4]}
    _, pthid, key = await invited(tenant)
    own, hers = await joins(tenant, mallory, named(mallory, DID_EXCHANGE_1_0, pthid, mallory.sov, document), key)
    await is_somebody(tenant, own, f"did:sov:{mallory.sov}")
    assert (await says(hook, mallory, hers, **{"from": bank.peer_2}))["from"] == f"did:sov:{mallory.sov}"


async def test_both_sides_spell_a_did_alike(stack: Stack, tenant: Client) -> None:
    partner = await stack.register("Partner")
    for protocol in (DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0):
        made = await tenant.post("invitation", {"handshakeProtocols": [protocol]})
        contact = await partner.post("contact", {"invitation": made["invitation"]})
        theirs = await until_state(partner, contact["connectionUuid"], "completed")
        [mine] = [one for one in await connections(tenant) if one["invitationUuid"] == made["uuid"]]
        mine = await until_state(tenant, mine["uuid"], "completed")
        assert (mine["myDid"], mine["theirDid"]) == (theirs["theirDid"], theirs["myDid"])
        await is_somebody(partner, theirs, mine["myDid"])
        await is_somebody(tenant, mine, theirs["myDid"])


# Several with one DID.


async def test_a_did_never_chooses_among_several(tenant: Client, bank: Agent) -> None:
    _, pthid, key = await invited(tenant, multiUse=True)
    one, two = [(await joins(tenant, bank, bank.request(DID_EXCHANGE_1_1, pthid), key))[0] for _ in range(2)]
    did = bank.peer_2
    assert one["contactUuid"] != two["contactUuid"]
    for method, path, body in (
        ("POST", "action", {"type": "DIDCOMM", "to": did, "data": {"message": basic("SECRET")}}),
        ("GET", f"contact/{quote(did)}", None),
        ("PUT", f"contact/{quote(did)}", {"contact": {"displayName": "Bank"}}),
        ("DELETE", f"contact/{quote(did)}", None),
    ):
        problem = assert_problem(await tenant.call(method, path, body), 409, "contact-ambiguous")
        assert all(one_of["contactUuid"] in problem["detail"] for one_of in (one, two))
    assert bank.heard("basicmessage/1.0/message") == []
    await tenant.call("POST", f"connection/{one['uuid']}/hangup", {})
    # Only one of them can be written to.
    await tenant.act(did, basic("to the other"))
    await bank.hears("basicmessage/1.0/message")


async def test_a_second_exchange_for_a_did_takes_nothing_over(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver
) -> None:
    """Somebody got hold of the bank's did:web: the connection that there is stays the bank's."""
    hook = await tenant.webhook("basicmessage")
    did = f"did:sov:{bank.sov}"
    _, pthid, key = await invited(tenant, multiUse=True)
    honest, ours = await joins(tenant, bank, named(bank, DID_EXCHANGE_1_0, pthid, did), key)
    for _ in range(2):
        await joins(tenant, mallory, named(mallory, DID_EXCHANGE_1_0, pthid, did), key)
    assert await tenant.get(f"connection/{honest['uuid']}") == honest
    assert (await says(hook, bank, ours))["connectionUuid"] == honest["uuid"]
    record = await stored(tenant, await mallory.send(basic("x", **{"@id": new_id()}), ours))
    assert (record.status, record.error) == ("REJECTED", "sender-not-connection")


# Who answers an invitation that a contact got.


async def test_who_answers_a_contacts_invitation_is_who_it_proves_to_be(
    tenant: Client, bank: Agent, mallory: Agent
) -> None:
    """Mallory has read the bank's mail."""
    for did, proven in ((f"did:sov:{bank.sov}", None), (f"did:sov:{mallory.sov}", f"did:sov:{mallory.sov}")):
        contact = await tenant.post("contact", {"contact": {"email": "orders@bank.example"}})
        pthid, key = contact["invitation"]["@id"], verkey_of(contact["invitation"])
        request = named(mallory, DID_EXCHANGE_1_0, pthid, did)
        heard = len(mallory.heard("/response"))
        await mallory.send(request, key)
        _, ours = await mallory.hears("/response", heard + 1)
        await mallory.send(complete(DID_EXCHANGE_1_0, request), ours)
        connection = await until_state(tenant, contact["connectionUuid"], "completed")
        assert connection["contactUuid"] == contact["uuid"]
        if proven:
            await is_somebody(tenant, connection, did)
        else:
            await is_nobody(tenant, connection, did)


async def test_an_invitation_that_is_expected_to_be_the_banks(tenant: Client, bank: Agent, mallory: Agent) -> None:
    did = f"did:sov:{bank.sov}"
    body = {"invitation": mallory.invitation(DID_EXCHANGE_1_1), "contact": {"did": did, "displayName": "Bank"}}
    contact = await tenant.post("contact", body)
    assert (contact["did"], contact["claimedDid"]) == (None, did)
    request, ours = await mallory.hears("/request")
    await mallory.send(mallory.response(DID_EXCHANGE_1_1, request["@id"], mallory.keys.ed25519), ours)
    connection = await until_state(tenant, contact["connectionUuid"], "completed")
    shown = await tenant.get(f"contact/{contact['uuid']}")
    assert (connection["contactDid"], shown["did"], shown["claimedDid"]) == (mallory.peer_2, mallory.peer_2, did)
    assert_problem(await tenant.call("GET", f"contact/{did}"), 404, "contact-unknown")


# What is said in invitations.


@pytest.mark.parametrize("way", ["inline", "did"])
@pytest.mark.parametrize("requests", [0, 1])
async def test_an_invitation_in_the_banks_name_is_the_invitations(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver, way: str, requests: int
) -> None:
    """Without a handshake: nothing is the bank's before the bank has said anything."""
    did = did_web(web) if way == "did" else verkey_to_did_key(bank.verkey)
    web.text = orjson.dumps(public(bank, did)).decode() if way == "did" else ""
    hook = await tenant.webhook()
    services = [did] if way == "did" else bank.invitation()["services"]
    attached = [{"@id": "1", "data": {"json": {"@type": OFFER, "@id": new_id()}}}]
    invitation = mallory.invitation(services=services, handshake_protocols=[], requests__attach=attached)
    made = await tenant.post("contact", {"invitation": invitation})
    told = (await hook.until(lambda got: True)).json()
    assert (told["from"], told["authenticated"], told["contactUuid"]) == (None, False, made["uuid"])
    connection = await tenant.get(f"connection/{made['connectionUuid']}")
    await is_nobody(tenant, connection, did)
    # Now the bank speaks.
    await tenant.post(f"action/{told['actionUuid']}", {"data": {"message": {"@type": f"{OFFER}er"}}}, 200)
    _, ours = await bank.hears("/offerer")
    told = await says(hook, bank, ours)
    assert (told["from"], told["authenticated"]) == (did, True)
    await is_somebody(tenant, connection, did)


async def test_an_invitation_of_v2_in_the_banks_name(
    stack: Stack, tenant: Client, receiver: Receiver, mallory: Agent
) -> None:
    hook = await tenant.webhook()
    bank = AgentOfV2(stack, receiver)
    offer = {"id": new_id(), "type": OFFER, "body": {}, "from": bank.did}
    invitation = {
        "type": "https://didcomm.org/out-of-band/2.0/invitation",
        "id": new_id(),
        "from": bank.did,
        "body": {"accept": ["didcomm/v2"]},
        "attachments": [{"id": "1", "data": {"json": offer}}],
    }
    made = await tenant.post("contact", {"invitation": invitation})
    told = (await hook.until(lambda got: got.json()["type"] == OFFER)).json()
    assert (told["from"], told["authenticated"], told["contactUuid"]) == (None, False, made["uuid"])
    connection = await tenant.get(f"connection/{made['connectionUuid']}")
    await is_nobody(tenant, connection, bank.did)
    await bank.send({"id": (said := new_id())}, connection["myDid"])
    told = (await hook.until(lambda got: got.json()["message"].get("id") == said)).json()
    assert (told["from"], told["authenticated"]) == (bank.did, True)
    await is_somebody(tenant, connection, bank.did)


@pytest.mark.parametrize("protocol", [DID_EXCHANGE_1_1, DID_EXCHANGE_1_0, CONNECTIONS_1_0])
async def test_before_the_inviter_has_answered_nobody_is_known(
    tenant: Client, bank: Agent, mallory: Agent, protocol: str
) -> None:
    invitation = mallory.invitation(protocol, services=bank.invitation()["services"])
    made = await tenant.post("contact", {"invitation": invitation})
    await bank.hears("/request")
    connection = await tenant.get(f"connection/{made['connectionUuid']}")
    await is_nobody(tenant, connection, verkey_to_did_key(bank.verkey))


@pytest.mark.parametrize("method", ["web", "peer-2", "peer-4"])
async def test_a_response_in_the_banks_name(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver, method: str
) -> None:
    """Mallory, who invites, answers with the bank's DID, by the key of her invitation, and with an offer inside."""
    hook = await tenant.webhook()
    did = {"web": did_web(web), "peer-2": bank.peer_2, "peer-4": bank.peer_4}[method]
    web.text = orjson.dumps(public(bank, did)).decode()
    attached = [{"@id": "1", "data": {"json": {"@type": OFFER, "@id": new_id()}}}]
    uuid, request, ours = await requested(tenant, mallory, DID_EXCHANGE_1_1, requests__attach=attached)
    response = mallory.response(
        DID_EXCHANGE_1_1,
        request["@id"],
        mallory.keys.ed25519,
        did=did,
        did_rotate__attach=mallory.signed(did),
    )
    await mallory.send(response, ours)
    connection = await until_state(tenant, uuid, "completed")
    told = (await hook.until(lambda got: got.json()["type"] == OFFER)).json()
    assert (told["from"], told["authenticated"]) == (None, False)
    await is_nobody(tenant, connection, did)
    record = await stored(tenant, await mallory.send(basic("me", **{"@id": new_id()}), ours))
    assert (record.status, record.contact_did) == ("REJECTED", "")
    # The bank's own key proves it.
    told = await says(hook, bank, ours)
    assert (told["from"], told["authenticated"]) == (did, True)
    await is_somebody(tenant, connection, did)


@LEGACY
async def test_a_response_under_another_ones_did_sov(
    tenant: Client, bank: Agent, mallory: Agent, protocol: str
) -> None:
    hook = await tenant.webhook("basicmessage")
    uuid, request, ours = await requested(tenant, mallory, protocol)
    document = mallory.legacy(bank.sov)
    if protocol == CONNECTIONS_1_0:
        signed = sign_field({"DID": bank.sov, "DIDDoc": document}, mallory.keys.ed25519, 1_700_000_000)
        response = mallory.response(protocol, request["@id"], mallory.keys.ed25519, connection__sig=signed)
    else:
        response = mallory.response(
            protocol,
            request["@id"],
            mallory.keys.ed25519,
            did=bank.sov,
            did_doc__attach=mallory.signed(document),
        )
    await mallory.send(response, ours)
    connection = await until_state(tenant, uuid, "completed")
    await is_nobody(tenant, connection, f"did:sov:{bank.sov}")
    assert (await says(hook, mallory, ours))["from"] is None


# DIDs that change.


@pytest.mark.parametrize("method", ["web", "peer-2", "peer-4"])
async def test_a_rotation_to_the_banks_did_moves_no_name(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver, method: str
) -> None:
    hook = await tenant.webhook("basicmessage")
    did = {"web": did_web(web), "peer-2": bank.peer_2, "peer-4": bank.peer_4}[method]
    web.text = orjson.dumps(public(bank, did)).decode()
    connection, ours = await connected(tenant, mallory)
    await mallory.send(message := rotate(did), ours)
    ack, _ = await mallory.hears("/did-rotate/1.0/ack")
    assert ack["~thread"]["thid"] == message["@id"]
    told = await says(hook, mallory, ours)
    assert (told["from"], told["authenticated"]) == (mallory.peer_2, True)
    await is_somebody(tenant, connection, mallory.peer_2)
    assert_problem(await tenant.call("GET", f"contact/{quote(did)}"), 404, "contact-unknown")
    # Had it been the bank all along, its key would say so.
    await says(hook, bank, ours)
    assert (await tenant.get(f"connection/{connection['uuid']}"))["theirDid"] == did


async def test_a_new_did_counts_when_its_key_has_spoken(tenant: Client, agent: Agent) -> None:
    hook = await tenant.webhook("basicmessage")
    connection, ours = await connected(tenant, agent)
    new = agent.another()
    await agent.send(rotate(new.peer_2), ours)
    await agent.hears("/did-rotate/1.0/ack")
    assert (await says(hook, agent, ours))["from"] == agent.peer_2
    # What is sent goes to the new DID, which is all that the other side may listen to by now.
    await tenant.act(connection["contactUuid"], basic("before"))
    await new.hears("basicmessage/1.0/message")
    assert (await says(hook, new, ours))["authenticated"]
    shown = await tenant.get(f"connection/{connection['uuid']}")
    assert shown["theirDid"] == new.peer_2
    assert (await says(hook, agent, ours))["authenticated"]


async def test_a_rotation_to_a_did_with_the_same_key_counts_at_once(tenant: Client, agent: Agent) -> None:
    connection, ours = await connected(tenant, agent)
    moved = Agent(agent.stack, agent.receiver, keys=agent.keys, endpoint=f"{agent.endpoint}/moved")
    await agent.send(rotate(moved.peer_2), ours)
    await agent.hears("/did-rotate/1.0/ack")
    assert (await tenant.get(f"connection/{connection['uuid']}"))["theirDid"] == moved.peer_2


async def test_an_announced_did_is_announced_by_its_owner_alone(tenant: Client, agent: Agent, mallory: Agent) -> None:
    """Mallory has the key that the agent is about to give up for that reason."""
    connection, ours = await connected(tenant, agent)
    new = agent.another()
    await agent.send(rotate(new.peer_2), ours)
    await agent.hears("/did-rotate/1.0/ack")
    record = await stored(tenant, await agent.send(rotate(mallory.peer_2), ours))
    assert (record.status, record.error) == ("REJECTED", "sender-retired")
    await agent.send(again := rotate(new.peer_2), ours)
    ack, _ = await agent.hears("/did-rotate/1.0/ack", 2)
    assert ack["~thread"]["thid"] == again["@id"]
    await tenant.act(connection["contactUuid"], basic("SECRET"))
    await new.hears("basicmessage/1.0/message")
    assert mallory.heard() == []


# What a message says of itself.


async def test_what_a_message_says_of_itself_is_no_name(
    stack: Stack, tenant: Client, receiver: Receiver, bank: Agent, mallory: Agent
) -> None:
    hook = await tenant.webhook("basicmessage")
    _, ours = await connected(tenant, mallory)
    said = {**basic("hello"), "@id": new_id(), "from": bank.peer_2, "did": bank.peer_2}
    await mallory.send(said, ours, anonymous=True)
    told = (await hook.until(lambda got: got.json()["message"]["@id"] == said["@id"])).json()
    assert (told["from"], told["authenticated"], told["contactUuid"]) == (None, False, None)
    to = await stack.app.services.resolver.resolve(tenant.identity["did"])
    said_2 = {"id": new_id(), "type": f"{OFFER}/basicmessage", "from": bank.peer_2, "to": [to.id], "body": {}}
    await stack.deliver(pack_v2(said_2, to=to), MEDIA_TYPE)
    told = (await hook.until(lambda got: got.json()["message"].get("id") == said_2["id"])).json()
    assert (told["from"], told["authenticated"], told["contactUuid"]) == (None, False, None)


async def reusable(client: Client, bank: Agent, did: str) -> tuple[Json, str]:
    """A connection that came about by an invitation with the bank's public DID, and our key."""
    made = await client.post("contact", {"invitation": bank.invitation(DID_EXCHANGE_1_1, services=[did])})
    request, ours = await bank.hears("/request")
    await bank.send(bank.response(DID_EXCHANGE_1_1, request["@id"], bank.keys.ed25519), ours)
    connection = await until_state(client, made["connectionUuid"], "completed")
    assert (connection["contactDid"], connection["theirDid"]) == (did, bank.peer_2)
    return connection, ours


async def test_an_invitation_puts_nothing_under_the_partner_it_names(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver
) -> None:
    """Mallory's invitation names the bank's public DID, by which there is a connection, and has an offer inside."""
    hook = await tenant.webhook()
    did = did_web(web)
    web.text = orjson.dumps(public(bank, did)).decode()
    honest, ours = await reusable(tenant, bank, did)
    attached = [{"@id": "1", "data": {"json": {"@type": OFFER, "@id": new_id(), "~thread": {"thid": new_id()}}}}]
    invitation = mallory.invitation(DID_EXCHANGE_1_1, services=[did], requests__attach=attached)
    made = await tenant.post("contact", {"invitation": invitation}, 200)
    assert (made["uuid"], made["reused"]) == (honest["contactUuid"], True)
    reuse, _ = await bank.hears("/handshake-reuse")
    assert reuse["~thread"]["pthid"] == invitation["@id"]
    # Nothing of it is the bank's, as long as the bank says nothing, or something else.
    await says(hook, bank, ours)
    wrong: Json = {"@type": f"{reuse['@type']}-accepted", "@id": new_id(), "~thread": {"thid": new_id()}}
    await bank.send(wrong, ours)
    wrong = {**wrong, "@id": new_id(), "~thread": {"thid": reuse["@id"], "pthid": new_id()}}
    await bank.send(wrong, ours)
    await stored(tenant, wrong["@id"])
    hers: Json = {**wrong, "@id": new_id(), "~thread": {"thid": reuse["@id"], "pthid": invitation["@id"]}}
    record = await stored(tenant, await mallory.send(hers, ours))
    assert record.error == "sender-not-connection"
    assert [got for got in hook.got if got.json()["type"] == OFFER] == []
    assert (await tenant.get(f"message?type={OFFER}"))["hits"] == []
    # The bank made it after all.
    await bank.send({**hers, "@id": new_id()}, ours)
    told = (await hook.until(lambda got: got.json()["type"] == OFFER)).json()
    assert (told["connectionUuid"], told["authenticated"]) == (honest["uuid"], False)
    await bank.send({**hers, "@id": new_id()}, ours)
    await says(hook, bank, ours)
    assert len([got for got in hook.got if got.json()["type"] == OFFER]) == 1


@pytest.mark.parametrize("gone", [True, False])
async def test_a_connection_that_is_not_reused_is_not_touched(
    tenant: Client, bank: Agent, mallory: Agent, web: Receiver, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    hook = await tenant.webhook()
    monkeypatch.setattr("tntcore.connections.acceptance.REUSE_SECONDS", 30 if gone else 1)
    did = did_web(web)
    web.text = orjson.dumps(public(bank, did)).decode()
    honest, ours = await reusable(tenant, bank, did)
    if gone:
        bank.receiver.answer = lambda hook: (404 if _is_reuse(bank, hook) else 200, {})
    attached = [{"@id": "1", "data": {"json": {"@type": OFFER, "@id": new_id()}}}]
    invitation = mallory.invitation(DID_EXCHANGE_1_1, services=[did], requests__attach=attached, label="Bank")
    body = {"invitation": invitation, "contact": {"internalRef": "4711"}}
    assert (await tenant.post("contact", body, 200))["reused"]
    request, again = await bank.hears("/request", 2)
    bank.receiver.answer = lambda hook: (200, {})
    assert request["~thread"]["pthid"] == invitation["@id"]
    assert {**await tenant.get(f"connection/{honest['uuid']}"), "updatedAt": honest["updatedAt"]} == honest
    [other] = [one for one in await connections(tenant) if one["uuid"] != honest["uuid"]]
    await is_nobody_of(tenant, other, did)
    assert (await says(hook, bank, ours))["connectionUuid"] == honest["uuid"]
    assert (await tenant.get(f"message?type={OFFER}"))["hits"] == []
    # What was attached follows the new connection.
    await bank.send(bank.response(DID_EXCHANGE_1_1, request["@id"], bank.keys.ed25519), again)
    await until_state(tenant, other["uuid"], "completed")
    told = (await hook.until(lambda got: got.json()["type"] == OFFER)).json()
    assert (told["connectionUuid"], told["from"], told["authenticated"]) == (other["uuid"], did, False)
    contact = await tenant.get(f"contact/{other['contactUuid']}")
    assert (contact["internalRef"], contact["displayName"], contact["did"]) == ("4711", "Bank", did)


def _is_reuse(agent: Agent, hook: Hook) -> bool:
    opened = agent.opened(hook.body)
    return opened is not None and opened[0]["@type"].endswith("/handshake-reuse")


async def is_nobody_of(client: Client, connection: Json, claimed: str) -> None:
    """As `is_nobody`, where the DID is another contact's."""
    contact = await client.get(f"contact/{connection['contactUuid']}")
    assert (connection["theirDid"], connection["contactDid"], contact["did"]) == (None, None, None)
    assert connection["claimedDid"] == contact["claimedDid"] == claimed
