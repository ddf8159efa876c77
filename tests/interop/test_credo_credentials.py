"""Credentials between Credo and a tenant, and what is shown of them: with linked-data proofs (RFC 0453, RFC 0593) and
DIF Presentation Exchange (RFC 0454, RFC 0510), on connections and without."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.interop.acapy import Record
from tests.interop.credentials import detail
from tests.interop.credo import Credo
from tests.interop.tenant import (
    Entity,
    accept,
    accept_exchange,
    automatic,
    credential_of,
    did_key,
    exchange_of,
    reject_exchange,
    until_state,
)
from tests.stack import Client

pytestmark = pytest.mark.interop

ALWAYS = {"autoAcceptCredential": "always"}
# Credo has a did:key's document describe its key by the type of 2018, and takes that for this suite alone. A key of the
# type of 2020, as in a tenant's did:web, it takes for Ed25519Signature2020 alone: its conversion for this one keeps the
# multicodec prefix.
SUITE = "Ed25519Signature2018"


@dataclass
class Sides:
    """A tenant and the agent with a connection, and the DID that each of them issues with or holds for."""

    tenant: Client
    contact: str
    did: str
    agent: Credo
    connection: str
    their_did: str


async def connected(tenant: Client, credo: Credo, did: str) -> Sides:
    invitation = await credo.create_invitation()
    contact = await accept(tenant, invitation["invitation"], identityId=did)
    theirs = await credo.wait_invited(invitation)
    await until_state(tenant, contact["connectionUuid"], "completed")
    return Sides(tenant, contact["uuid"], did, credo, theirs["id"], await credo.did_key())


@pytest.fixture
async def sides(credo: Credo, tenant: Client) -> Sides:
    return await connected(tenant, credo, await did_key(tenant))


def card(issuer: str, subject: str, suite: str = SUITE) -> Record:
    made = detail(suite, issuer, subject)
    made["options"]["proofPurpose"] = "assertionMethod"
    return made


def definition(issuer: str) -> Record:
    """Asks for a card by this issuer: the agent is shared, and holds others' cards."""
    fields = [
        {"path": ["$.issuer", "$.issuer.id"], "filter": {"type": "string", "const": issuer}},
        {"path": ["$.credentialSubject.familyName"]},
    ]
    descriptor = {"id": "card", "name": "Card", "constraints": {"fields": fields}}
    return {"id": "32f54163-7166-48f1-93d8-ff217bdb0654", "input_descriptors": [descriptor]}


def offer_of(data: Record, **more: str) -> Record:
    return {"protocolVersion": "v2", "credentialFormats": {"jsonld": data}, **more}


def request_of(issuer: str, **more: str) -> Record:
    asked = {"presentationDefinition": definition(issuer)}
    return {
        "protocolVersion": "v2",
        "proofFormats": {"presentationExchange": asked},
        "autoAcceptProof": "always",
        **more,
    }


async def we_offer(sides: Sides, data: Record) -> str:
    begun = await sides.tenant.post("credential", {"from": sides.did, "to": sides.contact, "data": data})
    return str(begun["thid"])


async def credo_takes(credo: Credo, thread: str) -> None:
    """What is offered on a thread, to the end: it has verified the credential, and stored it."""
    got = await credo.wait_credential(thread, "offer-received")
    await credo.call("credentials.acceptOffer", {"credentialExchangeRecordId": got, **ALWAYS})
    await credo.wait_credential(thread, "done")


async def credo_offers(sides: Sides) -> str:
    offer = offer_of(card(sides.their_did, sides.did), connectionId=sides.connection, **ALWAYS)
    return str((await sides.agent.call("credentials.offerCredential", offer))["threadId"])


async def held(tenant: Client, thread: str, issuer: str) -> Entity:
    """The credential that we took from the agent, for which every check was made and passed."""
    credential = await credential_of(tenant, await exchange_of(tenant, thread, "done"))
    assert (credential["status"], credential["verified"]) == ("HELD", True), credential
    assert all(check["passed"] for check in credential["checks"])
    assert credential["summary"]["issuer"] == issuer
    return credential


async def shown(tenant: Client, thread: str) -> None:
    """The agent has shown us a card, for which every check was made and passed."""
    exchange = await exchange_of(tenant, thread, "done")
    [uuid] = exchange["presentationUuids"]
    presentation: Entity = await tenant.get(f"presentation/{uuid}")
    assert (presentation["status"], presentation["verified"]) == ("VERIFIED", True), presentation
    assert all(check["passed"] for check in presentation["checks"])
    assert presentation["summary"]["claims"]["card"]["familyName"] == "SMITH"


@pytest.mark.parametrize(("method", "suite"), [("key", SUITE), ("web", "Ed25519Signature2020")])
async def test_we_issue_and_credo_shows(credo: Credo, tenant: Client, method: str, suite: str) -> None:
    did = await did_key(tenant) if method == "key" else tenant.identity["did"]
    sides = await connected(tenant, credo, did)
    thread = await we_offer(sides, card(did, sides.their_did, suite))
    await credo_takes(credo, thread)
    await exchange_of(tenant, thread, "done")
    data = {"presentation_definition": definition(did)}
    asked = await tenant.post("proof-request", {"from": did, "to": sides.contact, "data": data})
    got = (await credo.wait_proof(asked["thid"], "request-received"))["id"]
    await credo.call("proofs.acceptRequest", {"proofExchangeRecordId": got, "autoAcceptProof": "always"})
    await shown(tenant, asked["thid"])
    await credo.wait_proof(asked["thid"], "done")


async def test_credo_issues_and_we_show(sides: Sides) -> None:
    thread = await credo_offers(sides)
    await accept_exchange(sides.tenant, await exchange_of(sides.tenant, thread, "offer-received"))
    await sides.agent.wait_credential(thread, "done")
    card = await held(sides.tenant, thread, sides.their_did)
    asked = await sides.agent.call("proofs.requestProof", request_of(sides.their_did, connectionId=sides.connection))
    got = await exchange_of(sides.tenant, asked["threadId"], "request-received")
    found = (await sides.tenant.get(f"exchange/{got['uuid']}/candidates"))["candidates"]
    assert [one["credentials"] for one in found] == [[card["uuid"]]]
    await accept_exchange(sides.tenant, got)
    assert (await sides.agent.wait_proof(asked["threadId"], "done"))["isVerified"]
    await exchange_of(sides.tenant, asked["threadId"], "done")


async def test_credo_proposes(sides: Sides) -> None:
    data = card(sides.did, sides.their_did)
    begun = await sides.agent.call(
        "credentials.proposeCredential", offer_of(data, connectionId=sides.connection, **ALWAYS)
    )
    thread = begun["threadId"]
    await accept_exchange(sides.tenant, await exchange_of(sides.tenant, thread, "proposal-received"))
    await sides.agent.wait_credential(thread, "done")
    await exchange_of(sides.tenant, thread, "done")
    proposal = {"presentationExchange": {"presentationDefinition": definition(sides.did)}}
    options = {"connectionId": sides.connection, "protocolVersion": "v2", "proofFormats": proposal}
    begun = await sides.agent.call("proofs.proposeProof", {**options, "autoAcceptProof": "always"})
    thread = begun["threadId"]
    await accept_exchange(sides.tenant, await exchange_of(sides.tenant, thread, "proposal-received"))
    await shown(sides.tenant, thread)
    await sides.agent.wait_proof(thread, "done")


async def test_we_propose(sides: Sides) -> None:
    await automatic(sides.tenant, autoRequest=True, autoPresent=True)
    body = {"from": sides.did, "to": sides.contact, "data": card(sides.their_did, sides.did)}
    thread = (await sides.tenant.post("credential", {"command": "propose", **body}))["thid"]
    got = await sides.agent.wait_credential(thread, "proposal-received")
    await sides.agent.call("credentials.acceptProposal", {"credentialExchangeRecordId": got, **ALWAYS})
    await sides.agent.wait_credential(thread, "done")
    await held(sides.tenant, thread, sides.their_did)
    body = {"from": sides.did, "to": sides.contact, "data": definition(sides.their_did)}
    thread = (await sides.tenant.post("presentation", {"command": "propose", **body}))["thid"]
    found = (await sides.agent.wait_proof(thread, "proposal-received"))["id"]
    await sides.agent.call("proofs.acceptProposal", {"proofExchangeRecordId": found, "autoAcceptProof": "always"})
    assert (await sides.agent.wait_proof(thread, "done"))["isVerified"]


# It comes to nothing.


async def told_us(tenant: Client, thread: str) -> None:
    ours = await exchange_of(tenant, thread, "abandoned")
    assert ours["status"] == "ABANDONED"
    action = await tenant.get(f"action/{ours['actionUuid']}")
    assert "Not today" in str(action["config"]["error"])


async def test_credo_declines(sides: Sides) -> None:
    thread = await we_offer(sides, card(sides.did, sides.their_did))
    got = await sides.agent.wait_credential(thread, "offer-received")
    reason = {"sendProblemReport": True, "problemReportDescription": "Not today"}
    await sides.agent.call("credentials.declineOffer", {"credentialExchangeRecordId": got, **reason})
    await told_us(sides.tenant, thread)
    data = {"presentation_definition": definition(sides.did)}
    asked = await sides.tenant.post("proof-request", {"from": sides.did, "to": sides.contact, "data": data})
    found = (await sides.agent.wait_proof(asked["thid"], "request-received"))["id"]
    await sides.agent.call("proofs.declineRequest", {"proofExchangeRecordId": found, **reason})
    await told_us(sides.tenant, asked["thid"])


async def test_we_decline(sides: Sides) -> None:
    thread = await credo_offers(sides)
    await reject_exchange(sides.tenant, await exchange_of(sides.tenant, thread, "offer-received"), "Not today")
    await sides.agent.wait_credential(thread, "abandoned")
    asked = await sides.agent.call("proofs.requestProof", request_of(sides.their_did, connectionId=sides.connection))
    thread = asked["threadId"]
    await reject_exchange(sides.tenant, await exchange_of(sides.tenant, thread, "request-received"), "Not today")
    found = await sides.agent.wait_proof(thread, "abandoned")
    assert "Not today" in found["errorMessage"]


# Inside invitations.


@pytest.mark.parametrize("handshake", [True, False])
async def test_our_invitations_to_take_and_to_show(credo: Credo, tenant: Client, handshake: bool) -> None:
    did, their_did = await did_key(tenant), await credo.did_key()
    invitation: Record = {} if handshake else {"handshakeProtocols": []}
    made = await tenant.post("credential", {"invitation": invitation, "from": did, "data": card(did, their_did)})
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    await credo.ask("receive", made["invitationUrl"], {})
    await credo_takes(credo, thread)
    await exchange_of(tenant, thread, "done")
    data = {"presentation_definition": definition(did)}
    made = await tenant.post("proof-request", {"invitation": invitation, "from": did, "data": data})
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    await credo.ask("receive", made["invitationUrl"], {})
    got = (await credo.wait_proof(thread, "request-received"))["id"]
    await credo.call("proofs.acceptRequest", {"proofExchangeRecordId": got, "autoAcceptProof": "always"})
    await shown(tenant, thread)
    await credo.wait_proof(thread, "done")


@pytest.mark.parametrize("handshake", [True, False])
async def test_credos_invitations_to_take_and_to_show(credo: Credo, tenant: Client, handshake: bool) -> None:
    did, their_did = await did_key(tenant), await credo.did_key()
    offer = await credo.call("credentials.createOffer", offer_of(card(their_did, did), **ALWAYS))
    thread = offer["credentialExchangeRecord"]["threadId"]
    invitation = await credo.create_invitation(requests=[offer["message"]["@id"]], handshake=handshake)
    contact = await accept(tenant, invitation["url"], identityId=did)
    offered = await exchange_of(tenant, thread, "offer-received")
    assert offered["contactUuid"] == contact["uuid"]
    await accept_exchange(tenant, offered)
    await credo.wait_credential(thread, "done")
    await held(tenant, thread, their_did)
    asked = await credo.call("proofs.createRequest", request_of(their_did))
    thread = asked["proofRecord"]["threadId"]
    invitation = await credo.create_invitation(requests=[asked["message"]["@id"]], handshake=handshake)
    await accept(tenant, invitation["url"], identityId=did)
    await accept_exchange(tenant, await exchange_of(tenant, thread, "request-received"))
    assert (await credo.wait_proof(thread, "done"))["isVerified"]
    await exchange_of(tenant, thread, "done")
