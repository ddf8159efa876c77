"""Credentials with linked-data proofs, issued by ACA-Py to a tenant and by a tenant to ACA-Py (RFC 0453, RFC 0593)."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.acapy import DIDEXCHANGE_1_1, ISSUE_2_0, AcapyError, Record
from tests.interop.conftest import Agents
from tests.interop.credentials import SUITES, Sides, detail, held, sides, taken
from tests.interop.tenant import (
    Entity,
    accept,
    accept_exchange,
    automatic,
    connect,
    credential_of,
    did_key,
    exchange_of,
    reject_exchange,
)
from tests.stack import Client

pytestmark = pytest.mark.interop


# We issue.


@pytest.mark.parametrize("suite", SUITES)
async def test_we_offer(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    data = detail(suite, side.did)
    said = {
        "comment": "yours",
        "replacementId": "card-1",
        "attributes": [{"name": "photo", "value": "aGk=", "mimeType": "image/png"}],
    }
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": data, **said})
    got = await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "offer-received")
    heard = (await side.agent.exchange(ISSUE_2_0, got))["cred_ex_record"]["cred_offer"]
    assert (heard["comment"], heard["replacement_id"]) == ("yours", "card-1")
    assert heard["credential_preview"]["attributes"] == [{"name": "photo", "mime-type": "image/png", "value": "aGk="}]
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


# What both can say beside that.

# It makes a counter-offer only with one.
PREVIEW = {"attributes": [{"name": "givenName", "value": "ALICE"}]}


async def test_acapy_answers_our_proposal_by_another_offer(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    data = detail("Ed25519Signature2018", side.their_did)
    begun = await tenant.post("credential", {"command": "propose", "from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "proposal-received")
    offer = detail("Ed25519Signature2020", side.their_did, id="https://credential.example.com/another")
    await side.agent.go_on(ISSUE_2_0, got, "send-offer", filter={"ld_proof": offer}, counter_preview=PREVIEW)
    await accept_exchange(tenant, await exchange_of(tenant, thread, "offer-received"))
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "request-received")
    await side.agent.go_on(ISSUE_2_0, got, "issue")
    credential = await held(side, await exchange_of(tenant, thread, "done"))
    assert credential["credential"]["id"] == "https://credential.example.com/another"


async def test_we_answer_acapys_proposal_by_another_offer(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    filter_ = {"ld_proof": detail("Ed25519Signature2018", side.did)}
    begun = await side.agent.begin(ISSUE_2_0, "send-proposal", connection_id=side.connection, filter=filter_)
    thread = begun["thread_id"]
    offer = detail("Ed25519Signature2020", side.did, side.their_did, id="https://credential.example.com/another")
    await accept_exchange(tenant, await exchange_of(tenant, thread, "proposal-received"), data=offer)
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
    await taken(side, await exchange_of(tenant, thread, "done"), "Ed25519Signature2020")


async def test_what_a_tenant_leaves_out_is_filled_in(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    credential = detail("", "")["credential"]
    for name in ("issuer", "issuanceDate", "id"):
        del credential[name]
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": {"credential": credential}})
    got = await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "offer-received")
    await side.agent.go_on(ISSUE_2_0, got, "send-request", holder_did=side.their_did)
    got = await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "credential-received")
    await side.agent.go_on(ISSUE_2_0, got, "store")
    await taken(side, await exchange_of(tenant, begun["thid"], "done"), "Ed25519Signature2020")


async def test_a_credential_about_nobody(agents: Agents, tenant: Client) -> None:
    """Its connection's DID is no did:key, and nobody names another."""
    side = await sides(agents, tenant, auto=True)
    data = detail("Ed25519Signature2020", side.did)
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": data})
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    await taken(side, await exchange_of(tenant, begun["thid"], "done"), "Ed25519Signature2020")


async def test_a_did_web_holds(agents: Agents, tenant: Client) -> None:
    agent = await agents("1.7.0", "auto", automatic=True)
    mine, theirs = await connect(tenant, agent)
    side = Sides(tenant, mine["contactUuid"], tenant.identity["did"], agent, theirs, await agent.did_key())
    assert side.did.startswith("did:web:")
    filter_ = {"ld_proof": detail("Ed25519Signature2020", side.their_did)}
    begun = await agent.begin(ISSUE_2_0, "send", connection_id=theirs, filter=filter_)
    await accept_exchange(tenant, await exchange_of(tenant, begun["thread_id"], "offer-received"))
    await held(side, await exchange_of(tenant, begun["thread_id"], "done"))


OPTIONS = {
    "created": "2021-02-03T04:05:06Z",
    "domain": "example.com",
    "challenge": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    "proofPurpose": "assertionMethod",
}


@pytest.mark.parametrize("suite", SUITES)
async def test_options_of_the_proof(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoRequest=True)
    theirs = detail(suite, side.their_did)
    theirs["options"] |= OPTIONS
    begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter={"ld_proof": theirs})
    await held(side, await exchange_of(tenant, begun["thread_id"], "done"))
    ours = detail(suite, side.did, side.their_did)
    ours["options"] |= OPTIONS
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": ours})
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    await taken(side, await exchange_of(tenant, begun["thid"], "done"), suite)


async def test_credentials_of_data_model_2(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoRequest=True)

    def of_2(issuer: str, subject: str) -> Record:
        return {
            "credential": {
                "@context": ["https://www.w3.org/ns/credentials/v2"],
                "type": ["VerifiableCredential"],
                "issuer": issuer,
                "validFrom": "2023-01-01T00:00:00Z",
                "credentialSubject": {"id": subject, "name": "ALICE"},
            },
            "options": {"proofType": "Ed25519Signature2020"},
        }

    filter_ = {"ld_proof": of_2(side.their_did, side.did)}
    begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter=filter_)
    await held(side, await exchange_of(tenant, begun["thread_id"], "done"))
    begun = await tenant.post(
        "credential", {"from": side.did, "to": side.contact, "data": of_2(side.did, side.their_did)}
    )
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")
    await taken(side, await exchange_of(tenant, begun["thid"], "done"), "Ed25519Signature2020")


async def test_many_at_once_on_one_connection(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoRequest=True)

    async def theirs(number: int) -> str:
        filter_ = {
            "ld_proof": detail(SUITES[number % 2], side.their_did, id=f"https://credential.example.com/{number}")
        }
        begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter=filter_)
        return str(begun["thread_id"])

    async def ours(number: int) -> str:
        data = detail(SUITES[number % 2], side.did, side.their_did, id=f"https://credential.example.com/{number}")
        begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": data})
        return str(begun["thid"])

    threads = await asyncio.gather(*(begin(number) for number in range(3) for begin in (theirs, ours)))
    for thread in threads:
        await side.agent.wait_exchange(ISSUE_2_0, thread, "done")
        await exchange_of(tenant, thread, "done")
    credentials = (await tenant.get("credential"))["hits"]
    assert sorted((one["status"], one["verified"]) for one in credentials) == [
        *[("HELD", True)] * 3,
        *[("ISSUED", False)] * 3,
    ]


# It comes to nothing.


async def ended(side: Sides, thread: str, reason: str) -> Entity:
    """Both sides have given up; the agent was told, or told, the reason."""
    theirs = await side.agent.wait_exchange(ISSUE_2_0, thread, "abandoned")
    assert reason in theirs["error_msg"]
    ours = await exchange_of(side.tenant, thread, "abandoned")
    assert ours["status"] == "ABANDONED"
    return ours


async def told_us(side: Sides, thread: str) -> None:
    ours = await ended(side, thread, "Not today")
    assert ours["error"].startswith("issuance-abandoned")
    action = await side.tenant.get(f"action/{ours['actionUuid']}")
    assert action["status"] == "ERROR"
    assert "Not today" in str(action["config"]["error"])


@pytest.mark.parametrize("state", ["offer-received", "request-sent", "credential-received"])
async def test_acapy_declines_what_we_issue(agents: Agents, tenant: Client, state: str) -> None:
    side = await sides(agents, tenant)
    await automatic(tenant, autoIssue=state == "credential-received")
    data = detail("Ed25519Signature2020", side.did, side.their_did)
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "offer-received")
    if state != "offer-received":
        await side.agent.go_on(ISSUE_2_0, got, "send-request")
        got = await side.agent.wait_exchange(ISSUE_2_0, thread, state)
    await side.agent.go_on(ISSUE_2_0, got, "problem-report", description="Not today")
    await told_us(side, thread)


@pytest.mark.parametrize("state", ["proposal-received", "offer-sent", "request-received"])
async def test_acapy_declines_to_issue(agents: Agents, tenant: Client, state: str) -> None:
    side = await sides(agents, tenant)
    data = detail("Ed25519Signature2020", side.their_did)
    command = "request" if state == "request-received" else "propose"
    begun = await tenant.post("credential", {"command": command, "from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    if state == "offer-sent":
        got = await side.agent.wait_exchange(ISSUE_2_0, thread, "proposal-received")
        await side.agent.go_on(ISSUE_2_0, got, "send-offer")
        await exchange_of(tenant, thread, "offer-received")
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, state)
    await side.agent.go_on(ISSUE_2_0, got, "problem-report", description="Not today")
    await told_us(side, thread)


@pytest.mark.parametrize("state", ["offer-received", "request-sent", "credential-received"])
async def test_we_decline_what_acapy_issues(agents: Agents, tenant: Client, state: str) -> None:
    side = await sides(agents, tenant)
    await automatic(tenant, autoStore=False)
    begun = await side.agent.begin(
        ISSUE_2_0,
        "send-offer",
        connection_id=side.connection,
        filter={"ld_proof": detail("Ed25519Signature2020", side.their_did)},
        auto_issue=state == "credential-received",
    )
    thread = begun["thread_id"]
    exchange = await exchange_of(tenant, thread, "offer-received")
    if state != "offer-received":
        await accept_exchange(tenant, exchange)
        await side.agent.wait_exchange(ISSUE_2_0, thread, "request-received")
        exchange = await exchange_of(tenant, thread, state)
    await reject_exchange(tenant, exchange, "Not today")
    await ended(side, thread, "issuance-abandoned: Not today")
    # A credential that was not taken is not held.
    assert [one for one in (await tenant.get("credential"))["hits"] if one["status"] == "HELD"] == []


@pytest.mark.parametrize("state", ["proposal-received", "offer-sent", "request-received", "credential-issued"])
async def test_we_decline_to_issue(agents: Agents, tenant: Client, state: str) -> None:
    side = await sides(agents, tenant)
    command = "send-request" if state in ("request-received", "credential-issued") else "send-proposal"
    filter_ = {"ld_proof": detail("Ed25519Signature2020", side.did, side.their_did)}
    begun = await side.agent.begin(ISSUE_2_0, command, connection_id=side.connection, filter=filter_)
    thread = begun["thread_id"]
    if state == "offer-sent":
        await accept_exchange(tenant, await exchange_of(tenant, thread, "proposal-received"))
        await side.agent.wait_exchange(ISSUE_2_0, thread, "offer-received")
    elif state == "credential-issued":
        await accept_exchange(tenant, await exchange_of(tenant, thread, "request-received"))
        await side.agent.wait_exchange(ISSUE_2_0, thread, "credential-received")
    await reject_exchange(tenant, await exchange_of(tenant, thread, state), "Not today")
    await ended(side, thread, "issuance-abandoned: Not today")


async def test_a_credential_that_has_expired_is_refused(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await automatic(tenant, autoRequest=True)
    expired = detail("Ed25519Signature2020", side.their_did, expirationDate="2021-01-01T00:00:00Z")
    begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter={"ld_proof": expired})
    ours = await ended(side, begun["thread_id"], "The credential was not accepted: expiry.")
    credential = await credential_of(tenant, ours)
    assert (credential["status"], credential["verified"]) == ("REJECTED", False)
    assert [check["name"] for check in credential["checks"] if not check["passed"]] == ["expiry"]


async def test_acapy_refuses_a_proof_that_is_none(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    await automatic(tenant, autoIssue=False)
    data = detail("Ed25519Signature2018", side.did, side.their_did)
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "offer-received")
    await side.agent.go_on(ISSUE_2_0, got, "send-request")
    requested = await exchange_of(tenant, thread, "request-received")
    # The tenant writes the message itself, and signs nothing.
    proof = {
        "type": "Ed25519Signature2018",
        "proofPurpose": "assertionMethod",
        "verificationMethod": f"{side.did}#{side.did.removeprefix('did:key:')}",
        "created": "2026-01-01T00:00:00Z",
        "jws": "eyJhbGciOiJFZERTQSIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..c2lnbmVk",
    }
    message = {
        "@type": "https://didcomm.org/issue-credential/2.0/issue-credential",
        "formats": [{"attach_id": "it", "format": "aries/ld-proof-vc@v1.0"}],
        "credentials~attach": [{"@id": "it", "data": {"json": {**data["credential"], "proof": proof}}}],
    }
    await tenant.post(f"action/{requested['actionUuid']}", {"data": {"message": message}}, 200)
    got = await side.agent.wait_exchange(ISSUE_2_0, thread, "credential-received")
    with pytest.raises(AcapyError):
        await side.agent.go_on(ISSUE_2_0, got, "store")
    assert side.did not in {one["issuer"] for one in await side.agent.w3c_credentials()}
    # It leaves it at that, unless its own controller says something.
    await side.agent.go_on(ISSUE_2_0, got, "problem-report", description="Not today")
    await told_us(side, thread)


async def test_acapy_refuses_an_offer_of_another_format(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    data = {"attachment": {"some": "thing"}, "format": "example/thing@v1.0"}
    begun = await tenant.post("credential", {"from": side.did, "to": side.contact, "format": "plain", "data": data})
    ours = await exchange_of(tenant, begun["thid"], "abandoned")
    assert ours["error"].startswith("issuance-abandoned")


async def test_a_proposal_that_acapy_cannot_read_ends_with_its_report(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    data = detail("Ed25519Signature2020", side.their_did)
    del data["credential"]["issuer"]
    begun = await tenant.post("credential", {"command": "propose", "from": side.did, "to": side.contact, "data": data})
    ours = await exchange_of(tenant, begun["thid"], "abandoned")
    assert ours["error"].startswith("message-parse-failure")
    report = (await tenant.get(f"action/{ours['actionUuid']}"))["config"]["error"]
    assert report["@type"] == "https://didcomm.org/notification/1.0/problem-report"


# Inside invitations.


@pytest.mark.parametrize("handshake", [True, False])
async def test_our_offer_inside_an_invitation(agents: Agents, tenant: Client, handshake: bool) -> None:
    alice = await agents("1.7.0", "alice")
    did, their_did = await did_key(tenant), await alice.did_key()
    invitation: Record = {} if handshake else {"handshakeProtocols": []}
    data = detail("Ed25519Signature2020", did)
    made = await tenant.post("credential", {"invitation": invitation, "from": did, "data": data})
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    await alice.answer_invitation(made["invitation"])
    got = await alice.wait_exchange(ISSUE_2_0, thread, "offer-received")
    await alice.go_on(ISSUE_2_0, got, "send-request", holder_did=their_did)
    got = await alice.wait_exchange(ISSUE_2_0, thread, "credential-received")
    await alice.go_on(ISSUE_2_0, got, "store")
    await alice.wait_exchange(ISSUE_2_0, thread, "done")
    done = await exchange_of(tenant, thread, "done")
    await taken(Sides(tenant, done["contactUuid"], did, alice, "", their_did), done, "Ed25519Signature2020")


@pytest.mark.parametrize("handshake", [True, False])
async def test_acapys_offer_inside_an_invitation(agents: Agents, tenant: Client, handshake: bool) -> None:
    alice = await agents("1.7.0", "alice")
    did, their_did = await did_key(tenant), await alice.did_key()
    filter_ = {"ld_proof": detail("Ed25519Signature2018", their_did)}
    begun = await alice.begin(ISSUE_2_0, "create-offer", filter=filter_, auto_issue=True)
    invitation = await alice.invite_to(ISSUE_2_0, begun, *([DIDEXCHANGE_1_1] if handshake else []))
    contact = await accept(tenant, invitation, identityId=did)
    thread = begun["thread_id"]
    offered = await exchange_of(tenant, thread, "offer-received")
    assert offered["contactUuid"] == contact["uuid"]
    await accept_exchange(tenant, offered)
    await alice.wait_exchange(ISSUE_2_0, thread, "done")
    await held(Sides(tenant, contact["uuid"], did, alice, "", their_did), await exchange_of(tenant, thread, "done"))


@pytest.mark.parametrize("handshake", [True, False])
async def test_acapy_declines_our_offer_inside_an_invitation(agents: Agents, tenant: Client, handshake: bool) -> None:
    alice = await agents("1.7.0", "alice")
    did = await did_key(tenant)
    invitation: Record = {} if handshake else {"handshakeProtocols": []}
    data = detail("Ed25519Signature2020", did)
    made = await tenant.post("credential", {"invitation": invitation, "from": did, "data": data})
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    await alice.answer_invitation(made["invitation"])
    got = await alice.wait_exchange(ISSUE_2_0, thread, "offer-received")
    await alice.go_on(ISSUE_2_0, got, "problem-report", description="Not today")
    ours = await exchange_of(tenant, thread, "abandoned")
    assert (ours["status"], ours["error"].partition(":")[0]) == ("ABANDONED", "issuance-abandoned")


async def test_we_decline_acapys_offer_inside_an_invitation(agents: Agents, tenant: Client) -> None:
    """With a handshake: without one it takes no problem report."""
    alice = await agents("1.7.0", "alice")
    filter_ = {"ld_proof": detail("Ed25519Signature2018", await alice.did_key())}
    begun = await alice.begin(ISSUE_2_0, "create-offer", filter=filter_)
    contact = await accept(tenant, await alice.invite_to(ISSUE_2_0, begun, DIDEXCHANGE_1_1))
    offered = await exchange_of(tenant, begun["thread_id"], "offer-received")
    assert offered["contactUuid"] == contact["uuid"]
    await reject_exchange(tenant, offered, "Not today")
    await exchange_of(tenant, begun["thread_id"], "abandoned")
