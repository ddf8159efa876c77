"""A tenant and an agent that issue credentials with linked-data proofs to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.interop.acapy import Acapy, Record
from tests.interop.conftest import Agents
from tests.interop.tenant import Entity, connect, credential_of, did_key
from tests.stack import Client

SUITES = ["Ed25519Signature2018", "Ed25519Signature2020"]


@dataclass
class Sides:
    """A tenant and an agent with a connection, and the did:key that each of them issues with or holds for."""

    tenant: Client
    contact: str
    did: str
    agent: Acapy
    connection: str
    their_did: str


async def sides(agents: Agents, tenant: Client, *, auto: bool = False) -> Sides:
    agent = await agents("1.7.0", "auto", automatic=True) if auto else await agents("1.7.0", "alice")
    did = await did_key(tenant)
    mine, theirs = await connect(tenant, agent, identityId=did)
    return Sides(tenant, mine["contactUuid"], did, agent, theirs, await agent.did_key())


def detail(suite: str, issuer: str, subject: str = "", **members: Any) -> Record:
    """A permanent resident card to be issued."""
    credential = {
        "@context": ["https://www.w3.org/2018/credentials/v1", "https://w3id.org/citizenship/v1"],
        "id": "https://credential.example.com/residents/1234567890",
        "type": ["VerifiableCredential", "PermanentResident"],
        "issuer": issuer,
        "issuanceDate": "2020-01-01T12:00:00Z",
        "credentialSubject": {
            **({"id": subject} if subject else {}),
            "type": ["PermanentResident"],
            "givenName": "ALICE",
            "familyName": "SMITH",
            "birthDate": "1958-07-17",
        },
        **members,
    }
    return {"credential": credential, "options": {"proofType": suite}}


async def held(side: Sides, exchange: Entity) -> Entity:
    """The credential that we took from the agent, for which every check was made and passed."""
    credential = await credential_of(side.tenant, exchange)
    assert (credential["status"], credential["verified"], credential["role"]) == ("HELD", True, "holder"), credential
    checks = {check["name"]: check["passed"] for check in credential["checks"]}
    assert checks == dict.fromkeys(("signature", "issuer", "expiry", "request", "holder-binding"), True)
    assert credential["summary"]["issuer"] == side.their_did
    assert credential["summary"]["subject"] == side.did
    return credential


async def taken(side: Sides, exchange: Entity, suite: str) -> None:
    """The agent has verified what we issued, and stored it."""
    issued = await credential_of(side.tenant, exchange)
    assert (issued["status"], issued["role"]) == ("ISSUED", "issuer")
    stored = [one for one in await side.agent.w3c_credentials() if one["issuer"] == side.did]
    assert [one["proof"]["type"] for one in stored] == [suite]
    assert stored == [issued["credential"]]
