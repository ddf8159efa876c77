"""Requests inside invitations that are answered without a handshake (RFC 0434, RFC 0056), with ACA-Py: its own flows
for credentials and proofs, of which the tenant's system writes every message itself."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.interop.acapy import Acapy, AcapyVersion, Record
from tests.interop.conftest import Agents
from tests.interop.tenant import accept, heard, until_connected
from tests.stack import Client

pytestmark = pytest.mark.interop

VERSIONS: list[AcapyVersion] = ["1.7.0", "1.2.7"]
CREDENTIAL = "https://didcomm.org/issue-credential/2.0"
PROOF = "https://didcomm.org/present-proof/2.0"
DETAIL = "aries/ld-proof-vc-detail@v1.0"
DEFINITION = {
    "id": "32f54163-7166-48f1-93d8-ff217bdb0654",
    "input_descriptors": [
        {
            "id": "citizenship",
            "name": "Citizenship",
            "schema": [{"uri": "https://www.w3.org/2018/credentials#VerifiableCredential"}],
            "constraints": {"fields": [{"path": ["$.credentialSubject.familyName"]}]},
        }
    ],
}


async def did_key(agent: Acapy) -> str:
    made = await agent.call("POST", "wallet/did/create", {"method": "key", "options": {"key_type": "ed25519"}})
    return str(made["result"]["did"])


def detail(issuer: str, subject: str) -> Record:
    return {
        "credential": {
            "@context": ["https://www.w3.org/2018/credentials/v1"],
            "id": "https://credential.example.com/1",
            "type": ["VerifiableCredential"],
            "issuer": issuer,
            "issuanceDate": "2020-01-01T12:00:00Z",
            "credentialSubject": {"id": subject},
        },
        "options": {"proofType": "Ed25519Signature2018"},
    }


async def invited(agent: Acapy, kind: str, record: str) -> Record:
    """An invitation with what the record begins with, and no handshake."""
    attachments = [{"id": record, "type": kind}]
    made = await agent.call("POST", "out-of-band/create-invitation", {"attachments": attachments})
    assert not made["invitation"].get("handshake_protocols")
    return dict(made["invitation"])


async def receive(agent: Acapy, invitation: Record) -> None:
    await agent.call("POST", "out-of-band/receive-invitation", invitation, auto_accept=True)


async def state(agent: Acapy, topic: str, thread: str, name: str) -> Record:
    return await agent.event(topic, lambda record: record["thread_id"] == thread and record["state"] == name)


async def reply(tenant: Client, hook: Record, type_: str, **members: Any) -> None:
    await tenant.post(f"action/{hook['actionUuid']}", {"data": {"message": {"@type": type_, **members}}}, 200)


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapys_offer_ends_in_a_credential(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    issuer = await did_key(alice)
    filter_ = {"ld_proof": detail(issuer, issuer)}
    offered = await alice.call("POST", "issue-credential-2.0/create-offer", {"auto_issue": True, "filter": filter_})
    invitation = await invited(alice, "credential-offer", offered["cred_ex_id"])
    contact = await accept(tenant, invitation)
    offer = await heard(tenant, f"{CREDENTIAL}/offer-credential")
    assert (offer["contactUuid"], offer["authenticated"]) == (contact["uuid"], False)
    message = offer["message"]
    attached = {"formats": message["formats"], "requests~attach": message["offers~attach"]}
    await reply(tenant, offer, f"{CREDENTIAL}/request-credential", **attached)
    issued = await heard(tenant, f"{CREDENTIAL}/issue-credential", thid=message["@id"])
    assert (issued["contactUuid"], issued["actionUuid"]) == (contact["uuid"], offer["actionUuid"])
    assert issued["authenticated"]
    await reply(tenant, issued, f"{CREDENTIAL}/ack", status="OK")
    await state(alice, "issue_credential_v2_0", message["@id"], "done")


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapy_answers_our_offer_and_hears_us(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    holder = await did_key(alice)
    offer = {
        "@type": f"{CREDENTIAL}/offer-credential",
        "formats": [{"attach_id": "ld_proof", "format": DETAIL}],
        "offers~attach": [
            {"@id": "ld_proof", "mime-type": "application/json", "data": {"json": detail(holder, holder)}}
        ],
    }
    made = await tenant.post("invitation", {"handshakeProtocols": [], "requests": [offer]})
    await receive(alice, made["invitation"])
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    got = await state(alice, "issue_credential_v2_0", thread, "offer-received")
    path = f"issue-credential-2.0/records/{got['cred_ex_id']}/send-request"
    await alice.call("POST", path, {"holder_did": holder})
    request = await heard(tenant, f"{CREDENTIAL}/request-credential", thid=thread)
    assert request["authenticated"]
    [connection] = await until_connected(tenant)
    assert (connection["uuid"], connection["role"]) == (request["connectionUuid"], "responder")
    assert (await tenant.get(f"invitation/{made['uuid']}"))["status"] == "USED"
    # It looks at the proof only when it stores the credential.
    proof = {
        "type": "Ed25519Signature2018",
        "proofPurpose": "assertionMethod",
        "verificationMethod": f"{holder}#{holder.removeprefix('did:key:')}",
        "created": "2026-01-01T00:00:00Z",
        "jws": "eyJhbGciOiAiRWREU0EifQ..c2lnbmVk",
    }
    issued = {
        "formats": [{"attach_id": "ld_proof", "format": "aries/ld-proof-vc@v1.0"}],
        "credentials~attach": [
            {
                "@id": "ld_proof",
                "mime-type": "application/json",
                "data": {"json": {**detail(holder, holder)["credential"], "proof": proof}},
            }
        ],
    }
    await reply(tenant, request, f"{CREDENTIAL}/issue-credential", **issued)
    await state(alice, "issue_credential_v2_0", thread, "credential-received")


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapys_proof_request_is_declined(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    dif = {"presentation_definition": DEFINITION, "options": {"challenge": "3fa85f64-5717-4562-b3fc-2c963f66afa7"}}
    made = await alice.call("POST", "present-proof-2.0/create-request", {"presentation_request": {"dif": dif}})
    await accept(tenant, await invited(alice, "present-proof", made["pres_ex_id"]))
    request = await heard(tenant, f"{PROOF}/request-presentation")
    description = {"code": "abandoned", "en": "Nothing to show"}
    await reply(tenant, request, f"{PROOF}/problem-report", description=description)
    ended = await state(alice, "present_proof_v2_0", request["message"]["@id"], "abandoned")
    assert "Nothing to show" in orjson.dumps(ended).decode()


@pytest.mark.parametrize("version", VERSIONS)
async def test_acapy_declines_our_proof_request(agents: Agents, tenant: Client, version: AcapyVersion) -> None:
    alice = await agents(version, "alice")
    dif = {"presentation_definition": DEFINITION, "options": {"challenge": "3fa85f64-5717-4562-b3fc-2c963f66afa7"}}
    request = {
        "@type": f"{PROOF}/request-presentation",
        "formats": [{"attach_id": "dif", "format": "dif/presentation-exchange/definitions@v1.0"}],
        "request_presentations~attach": [{"@id": "dif", "mime-type": "application/json", "data": {"json": dif}}],
    }
    made = await tenant.post("invitation", {"handshakeProtocols": [], "requests": [request]})
    await receive(alice, made["invitation"])
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    got = await state(alice, "present_proof_v2_0", thread, "request-received")
    path = f"present-proof-2.0/records/{got['pres_ex_id']}/problem-report"
    await alice.call("POST", path, {"description": "Not for you"})
    report = await heard(tenant, f"{PROOF}/problem-report", thid=thread)
    assert report["authenticated"]
    assert report["message"]["~service"]["serviceEndpoint"] == alice.endpoint
    [connection] = await until_connected(tenant)
    assert connection["uuid"] == report["connectionUuid"]
