"""Credentials with linked-data proofs, issued by ACA-Py to a tenant and by a tenant to ACA-Py (RFC 0453, RFC 0593)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.interop.acapy import ISSUE_2_0, Acapy, Record
from tests.interop.conftest import Agents
from tests.interop.tenant import (
    Entity,
    accept_exchange,
    automatic,
    connect,
    credential_of,
    did_key,
    exchange_of,
)
from tests.stack import Client

pytestmark = pytest.mark.interop

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


# We issue.


@pytest.mark.parametrize("suite", SUITES)
async def test_we_offer(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    data = detail(suite, side.did)
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": data, "comment": "yours"})
    got = await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "offer-received")
    await side.agent.go_on(ISSUE_2_0, got, "send-request", holder_did=side.their_did)
    # What was offered is issued without asking.
    got = await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "credential-received")
    await side.agent.go_on(ISSUE_2_0, got, "store")
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    done = await exchange_of(tenant, begun["thid"], "done")
    await taken(side, done, suite)


@pytest.mark.parametrize("suite", SUITES)
async def test_we_offer_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    begun = await tenant.post(
        "credential", {"from": side.did, "to": side.contact, "data": detail(suite, side.did, side.their_did)}
    )
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    await taken(side, await exchange_of(tenant, begun["thid"], "done"), suite)


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_proposes_and_we_offer(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    filter_ = {"ld_proof": detail(suite, side.did)}
    begun = await side.agent.begin(ISSUE_2_0, "send-proposal", connection_id=side.connection, filter=filter_)
    thread = begun["thread_id"]
    proposed = await exchange_of(tenant, thread, "proposal-received")
    assert (proposed["status"], proposed["role"], proposed["format"]) == ("WAITING", "issuer", "ld-proof")
    await accept_exchange(tenant, proposed)
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "offer-received")
    await side.agent.go_on(ISSUE_2_0, got, "send-request", holder_did=side.their_did)
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "credential-received")
    await side.agent.go_on(ISSUE_2_0, got, "store")
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
    await taken(side, await exchange_of(tenant, thread, "done"), suite)


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_proposes_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoOffer=True)
    filter_ = {"ld_proof": detail(suite, side.did, side.their_did)}
    begun = await side.agent.begin(ISSUE_2_0, "send-proposal", connection_id=side.connection, filter=filter_)
    await side.agent.wait_exchange(ISSUE_2_0, begun["thread_id"], "done")
    await taken(side, await exchange_of(tenant, begun["thread_id"], "done"), suite)


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_requests_what_nobody_offered(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    filter_ = {"ld_proof": detail(suite, side.did)}
    begun = await side.agent.begin(
        ISSUE_2_0, "send-request", connection_id=side.connection, filter=filter_, holder_did=side.their_did
    )
    thread = begun["thread_id"]
    requested = await exchange_of(tenant, thread, "request-received")
    assert (requested["status"], requested["role"]) == ("WAITING", "issuer")
    await accept_exchange(tenant, requested)
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "credential-received")
    await side.agent.go_on(ISSUE_2_0, got, "store")
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
    await taken(side, await exchange_of(tenant, thread, "done"), suite)


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_requests_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoIssue=True)
    filter_ = {"ld_proof": detail(suite, side.did, side.their_did)}
    begun = await side.agent.begin(ISSUE_2_0, "send-request", connection_id=side.connection, filter=filter_)
    await side.agent.wait_exchange(ISSUE_2_0, begun["thread_id"], "done")
    await taken(side, await exchange_of(tenant, begun["thread_id"], "done"), suite)


# ACA-Py issues.


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_offers(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    await automatic(tenant, autoStore=False)
    begun = await side.agent.begin(
        ISSUE_2_0,
        "send-offer",
        connection_id=side.connection,
        filter={"ld_proof": detail(suite, side.their_did)},
        auto_issue=False,
    )
    thread = begun["thread_id"]
    offered = await exchange_of(tenant, thread, "offer-received")
    assert (offered["status"], offered["role"], offered["format"]) == ("WAITING", "holder", "ld-proof")
    await accept_exchange(tenant, offered)
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "request-received")
    await side.agent.go_on(ISSUE_2_0, got, "issue", comment="here")
    received = await exchange_of(tenant, thread, "credential-received")
    assert received["status"] == "WAITING"
    await accept_exchange(tenant, received)
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
    await held(side, await exchange_of(tenant, thread, "done"))


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_offers_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoRequest=True)
    filter_ = {"ld_proof": detail(suite, side.their_did)}
    begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter=filter_)
    await side.agent.wait_exchange(ISSUE_2_0, begun["thread_id"], "done")
    await held(side, await exchange_of(tenant, begun["thread_id"], "done"))


@pytest.mark.parametrize("suite", SUITES)
async def test_we_propose_and_acapy_offers(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    data = detail(suite, side.their_did)
    begun = await tenant.post("credential", {"command": "propose", "from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "proposal-received")
    await side.agent.go_on(ISSUE_2_0, got, "send-offer")
    await accept_exchange(tenant, await exchange_of(tenant, thread, "offer-received"))
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "request-received")
    await side.agent.go_on(ISSUE_2_0, got, "issue")
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
    await held(side, await exchange_of(tenant, thread, "done"))


@pytest.mark.parametrize("suite", SUITES)
async def test_we_propose_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoRequest=True)
    data = detail(suite, side.their_did)
    begun = await tenant.post("credential", {"command": "propose", "from": side.did, "to": side.contact, "data": data})
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    await held(side, await exchange_of(tenant, begun["thid"], "done"))


@pytest.mark.parametrize("suite", SUITES)
async def test_we_request_what_nobody_offered(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    data = detail(suite, side.their_did)
    begun = await tenant.post("credential", {"command": "request", "from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "request-received")
    await side.agent.go_on(ISSUE_2_0, got, "issue")
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
    await held(side, await exchange_of(tenant, thread, "done"))


@pytest.mark.parametrize("suite", SUITES)
async def test_we_request_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    data = detail(suite, side.their_did)
    begun = await tenant.post("credential", {"command": "request", "from": side.did, "to": side.contact, "data": data})
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    await held(side, await exchange_of(tenant, begun["thid"], "done"))
