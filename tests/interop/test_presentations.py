"""Proofs by DIF Presentation Exchange, asked for and given by ACA-Py and by a tenant (RFC 0454, RFC 0510)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.interop.acapy import DIDEXCHANGE_1_1, ISSUE_2_0, PROOF_2_0, Acapy, Record
from tests.interop.conftest import Agents
from tests.interop.credentials import SUITES, Sides, detail, held, sides
from tests.interop.tenant import (
    Entity,
    accept,
    accept_exchange,
    automatic,
    connect,
    exchange_of,
    reject_exchange,
)
from tests.stack import Client

pytestmark = pytest.mark.interop

CHALLENGE = {"challenge": "3fa85f64-5717-4562-b3fc-2c963f66afa7"}
CHECKS = {"signature", "issuer", "expiry", "challenge", "holder-binding", "request"}


def definition(suite: str, issuer: str) -> Record:
    """Of a card by this issuer: agents are shared, and hold the cards of others."""
    return {
        "id": "32f54163-7166-48f1-93d8-ff217bdb0654",
        "format": {"ldp_vp": {"proof_type": [suite]}},
        "input_descriptors": [
            {
                "id": "citizenship",
                "name": "Citizenship",
                "schema": [
                    {"uri": "https://www.w3.org/2018/credentials#VerifiableCredential"},
                    {"uri": "https://w3id.org/citizenship#PermanentResident"},
                ],
                "constraints": {
                    "fields": [
                        {"path": ["$.issuer", "$.issuer.id"], "filter": {"const": issuer}},
                        {"path": ["$.credentialSubject.familyName"], "purpose": "name", "filter": {"const": "SMITH"}},
                    ]
                },
            }
        ],
    }


def asked_of_us(side: Sides, suite: str, **options: str) -> Record:
    """What the agent asks for. It needs a challenge of its admin's."""
    asked = {"options": {**CHALLENGE, **options}, "presentation_definition": definition(suite, side.their_did)}
    return {"dif": asked}


async def given_to_us(side: Sides, suite: str) -> Entity:
    """A card by the agent."""
    filter_ = {"ld_proof": detail(suite, side.their_did)}
    begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter=filter_)
    await accept_exchange(side.tenant, await exchange_of(side.tenant, begun["thread_id"], "offer-received"))
    return await held(side, await exchange_of(side.tenant, begun["thread_id"], "done"))


async def given_to_acapy(side: Sides, suite: str) -> None:
    """A card by the tenant."""
    data = detail(suite, side.did, side.their_did)
    begun = await side.tenant.post("credential", {"from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    if "auto" not in side.agent.name:
        got = await side.agent.wait_exchange(ISSUE_2_0, thread, "offer-received")
        await side.agent.go_on(ISSUE_2_0, got, "send-request")
        got = await side.agent.wait_exchange(ISSUE_2_0, thread, "credential-received")
        await side.agent.go_on(ISSUE_2_0, got, "store")
    await side.agent.wait_exchange(ISSUE_2_0, thread, "done")


async def believed(agent: Acapy, thread: str) -> None:
    """The agent, as verifier, has found nothing wrong."""
    assert (await agent.wait_exchange(PROOF_2_0, thread, "done"))["verified"] == "true"


async def shown(tenant: Client, thread: str) -> Entity:
    """The presentation that an agent gave us, for which every check was made and passed."""
    exchange = await exchange_of(tenant, thread, "done")
    assert exchange["role"] == "verifier"
    [uuid] = exchange["presentationUuids"]
    presentation: Entity = await tenant.get(f"presentation/{uuid}")
    assert (presentation["status"], presentation["verified"]) == ("VERIFIED", True)
    assert {check["name"] for check in presentation["checks"]} >= CHECKS
    assert all(check["passed"] for check in presentation["checks"])
    assert presentation["summary"]["claims"]["citizenship"]["familyName"] == "SMITH"
    return presentation


# We prove.


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_asks(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    card = await given_to_us(side, suite)
    request = asked_of_us(side, suite)
    begun = await side.agent.begin(
        PROOF_2_0, "send-request", connection_id=side.connection, presentation_request=request
    )
    thread = begun["thread_id"]
    asked = await exchange_of(tenant, thread, "request-received")
    assert (asked["status"], asked["role"], asked["format"]) == ("WAITING", "prover", "dif")
    found = (await tenant.get(f"exchange/{asked['uuid']}/candidates"))["candidates"]
    assert [(one["name"], one["credentials"]) for one in found] == [("citizenship", [card["uuid"]])]
    await accept_exchange(tenant, asked, credentials={"citizenship": card["uuid"]})
    got = await side.agent.wait_exchange(PROOF_2_0, thread, "presentation-received")
    await side.agent.go_on(PROOF_2_0, got, "verify-presentation")
    await believed(side.agent, thread)


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_asks_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await given_to_us(side, suite)
    await automatic(tenant, autoPresent=True)
    request = asked_of_us(side, suite, domain="4jt78h47fh47")
    begun = await side.agent.begin(
        PROOF_2_0, "send-request", connection_id=side.connection, presentation_request=request, auto_verify=True
    )
    await believed(side.agent, begun["thread_id"])
    done = await exchange_of(tenant, begun["thread_id"], "done")
    [uuid] = done["presentationUuids"]
    assert (await tenant.get(f"presentation/{uuid}"))["status"] == "ACCEPTED"


@pytest.mark.parametrize("suite", SUITES)
async def test_we_propose(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    await given_to_us(side, suite)
    data = definition(suite, side.their_did)
    begun = await tenant.post(
        "presentation", {"command": "propose", "from": side.did, "to": side.contact, "data": data}
    )
    thread = begun["thid"]
    got = await side.agent.wait_exchange(PROOF_2_0, thread, "proposal-received")
    await side.agent.go_on(PROOF_2_0, got, "send-request", auto_verify=True)
    await accept_exchange(tenant, await exchange_of(tenant, thread, "request-received"))
    await believed(side.agent, thread)
    await exchange_of(tenant, thread, "done")


async def test_we_propose_and_all_else_goes_by_itself(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await given_to_us(side, "Ed25519Signature2020")
    await automatic(tenant, autoPresent=True)
    data = definition("Ed25519Signature2020", side.their_did)
    begun = await tenant.post(
        "presentation", {"command": "propose", "from": side.did, "to": side.contact, "data": data}
    )
    await believed(side.agent, begun["thid"])
    await exchange_of(tenant, begun["thid"], "done")


async def test_what_acapy_issued_is_shown_to_others(
    agents: Agents, new_tenant: Callable[[str], Awaitable[Client]]
) -> None:
    tenant, verifier = await new_tenant("Acme"), await new_tenant("Bolt")
    side = await sides(agents, tenant)
    await given_to_us(side, "Ed25519Signature2018")
    await automatic(tenant, autoPresent=True)
    asked = definition("Ed25519Signature2018", side.their_did)
    # Another tenant.
    invited = await tenant.post("invitation", {"identityId": side.did})
    contact = await accept(verifier, invited["invitationUrl"])
    begun = await verifier.post("proof-request", {"to": contact["uuid"], "data": {"presentation_definition": asked}})
    presentation = await shown(verifier, begun["thid"])
    assert presentation["summary"]["credentials"][0]["issuer"] == side.their_did
    # Another agent.
    bob = await agents("1.7.0", "bob")
    _, theirs = await connect(tenant, bob, identityId=side.did)
    request = asked_of_us(side, "Ed25519Signature2018")
    record = await bob.begin(
        PROOF_2_0, "send-request", connection_id=theirs, presentation_request=request, auto_verify=True
    )
    await believed(bob, record["thread_id"])


# ACA-Py proves.


@pytest.mark.parametrize("suite", SUITES)
async def test_we_ask(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant)
    await given_to_acapy(side, suite)
    data = {"presentation_definition": definition(suite, side.did)}
    begun = await tenant.post("proof-request", {"from": side.did, "to": side.contact, "data": data})
    thread = begun["thid"]
    got = await side.agent.wait_exchange(PROOF_2_0, thread, "request-received")
    await side.agent.go_on(PROOF_2_0, got, "send-presentation", dif={})
    await shown(tenant, thread)
    await side.agent.wait_exchange(PROOF_2_0, thread, "done")


@pytest.mark.parametrize("suite", SUITES)
async def test_we_ask_and_all_else_goes_by_itself(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await given_to_acapy(side, suite)
    options = {**CHALLENGE, "domain": "acme.example"}
    data = {"presentation_definition": definition(suite, side.did), "options": options}
    begun = await tenant.post("proof-request", {"from": side.did, "to": side.contact, "data": data})
    await shown(tenant, begun["thid"])
    await side.agent.wait_exchange(PROOF_2_0, begun["thid"], "done")


@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_proposes(agents: Agents, tenant: Client, suite: str) -> None:
    side = await sides(agents, tenant, auto=True)
    await given_to_acapy(side, suite)
    proposal = {"dif": {"input_descriptors": definition(suite, side.did)["input_descriptors"]}}
    begun = await side.agent.begin(
        PROOF_2_0, "send-proposal", connection_id=side.connection, presentation_proposal=proposal
    )
    thread = begun["thread_id"]
    proposed = await exchange_of(tenant, thread, "proposal-received")
    assert (proposed["status"], proposed["role"], proposed["format"]) == ("WAITING", "verifier", "dif")
    await accept_exchange(tenant, proposed)
    await shown(tenant, thread)
    await side.agent.wait_exchange(PROOF_2_0, thread, "done")


async def test_we_decide_on_a_presentation(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await given_to_acapy(side, "Ed25519Signature2020")
    await automatic(tenant, autoVerify=False)
    for accepted in (True, False):
        data = {"presentation_definition": definition("Ed25519Signature2020", side.did)}
        begun = await tenant.post("proof-request", {"from": side.did, "to": side.contact, "data": data})
        received = await exchange_of(tenant, begun["thid"], "presentation-received")
        assert received["status"] == "WAITING"
        if accepted:
            await accept_exchange(tenant, received)
        else:
            await reject_exchange(tenant, received, "Not today")
        theirs = await side.agent.wait_exchange(PROOF_2_0, begun["thid"], "done" if accepted else "abandoned")
        assert accepted or "Not today" in theirs["error_msg"]


async def test_several_on_one_connection(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await given_to_acapy(side, "Ed25519Signature2018")
    await given_to_us(side, "Ed25519Signature2020")
    await automatic(tenant, autoPresent=True)
    data = {"presentation_definition": definition("Ed25519Signature2018", side.did)}
    ours = [await tenant.post("proof-request", {"from": side.did, "to": side.contact, "data": data}) for _ in range(2)]
    theirs = [
        await side.agent.begin(
            PROOF_2_0,
            "send-request",
            connection_id=side.connection,
            presentation_request=asked_of_us(side, "Ed25519Signature2020"),
        )
        for _ in range(2)
    ]
    for begun in ours:
        await shown(tenant, begun["thid"])
    for begun in theirs:
        await believed(side.agent, begun["thread_id"])


# It comes to nothing.


async def asked_by_acapy(side: Sides) -> str:
    request = asked_of_us(side, "Ed25519Signature2020")
    begun = await side.agent.begin(
        PROOF_2_0, "send-request", connection_id=side.connection, presentation_request=request
    )
    return str(begun["thread_id"])


async def told_us(tenant: Client, thread: str) -> None:
    ours = await exchange_of(tenant, thread, "abandoned")
    assert (ours["status"], ours["error"].partition(":")[0]) == ("ABANDONED", "abandoned")
    action = await tenant.get(f"action/{ours['actionUuid']}")
    assert action["status"] == "ERROR"
    assert "Not today" in str(action["config"]["error"])


@pytest.mark.parametrize("state", ["request-sent", "presentation-received"])
async def test_acapy_gives_up_asking(agents: Agents, tenant: Client, state: str) -> None:
    side = await sides(agents, tenant)
    if state == "presentation-received":
        await given_to_us(side, "Ed25519Signature2020")
    thread = await asked_by_acapy(side)
    exchange = await exchange_of(tenant, thread, "request-received")
    if state == "presentation-received":
        await accept_exchange(tenant, exchange)
    got = await side.agent.wait_exchange(PROOF_2_0, thread, state)
    await side.agent.go_on(PROOF_2_0, got, "problem-report", description="Not today")
    await told_us(tenant, thread)
    shown = [] if state == "request-sent" else ["REJECTED"]
    assert [one["status"] for one in (await tenant.get("presentation"))["hits"]] == shown


async def test_acapy_does_not_believe_what_is_shown_twice(agents: Agents, tenant: Client) -> None:
    """It acknowledges it all the same, and does not say more."""
    side = await sides(agents, tenant, auto=True)
    await given_to_us(side, "Ed25519Signature2020")
    begun = []
    for challenge in (CHALLENGE["challenge"], "7cd4ae4e-1b9a-4e2c-9a3b-0b9f4a6c1d11"):
        request = asked_of_us(side, "Ed25519Signature2020", challenge=challenge)
        begun.append(
            await side.agent.begin(
                PROOF_2_0, "send-request", connection_id=side.connection, presentation_request=request
            )
        )
    first, second = [await exchange_of(tenant, one["thread_id"], "request-received") for one in begun]
    first = await accept_exchange(tenant, first)
    await believed(side.agent, first["thid"])
    message = (await tenant.get(f"message/{first['messages']['present']}"))["message"]
    again = {name: value for name, value in message.items() if name not in ("@id", "~thread")}
    await tenant.post(f"action/{second['actionUuid']}", {"data": {"message": again}}, 200)
    assert (await side.agent.wait_exchange(PROOF_2_0, second["thid"], "done"))["verified"] == "false"


async def test_acapy_declines_to_prove(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    data = {"presentation_definition": definition("Ed25519Signature2020", side.did)}
    begun = await tenant.post("proof-request", {"from": side.did, "to": side.contact, "data": data})
    got = await side.agent.wait_exchange(PROOF_2_0, begun["thid"], "request-received")
    await side.agent.go_on(PROOF_2_0, got, "problem-report", description="Not today")
    await told_us(tenant, begun["thid"])


async def test_acapy_declines_our_proposal(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    data = definition("Ed25519Signature2020", side.their_did)
    begun = await tenant.post(
        "presentation", {"command": "propose", "from": side.did, "to": side.contact, "data": data}
    )
    got = await side.agent.wait_exchange(PROOF_2_0, begun["thid"], "proposal-received")
    await side.agent.go_on(PROOF_2_0, got, "problem-report", description="Not today")
    await told_us(tenant, begun["thid"])


async def test_we_decline_to_prove(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant)
    thread = await asked_by_acapy(side)
    asked = await exchange_of(tenant, thread, "request-received")
    answer = await tenant.call("POST", f"exchange/{asked['uuid']}/accept", {})
    assert (answer.status, answer.json()["type"]) == (409, "urn:tnt:problem:nothing-to-present")
    await reject_exchange(tenant, asked, "Not today")
    theirs = await side.agent.wait_exchange(PROOF_2_0, thread, "abandoned")
    assert theirs["error_msg"] == "abandoned: Not today"


@pytest.mark.parametrize("state", ["proposal-received", "request-sent"])
async def test_we_give_up_asking(agents: Agents, tenant: Client, state: str) -> None:
    side = await sides(agents, tenant)
    proposal = {"dif": {"input_descriptors": definition("", side.did)["input_descriptors"]}}
    begun = await side.agent.begin(
        PROOF_2_0, "send-proposal", connection_id=side.connection, presentation_proposal=proposal
    )
    thread = begun["thread_id"]
    exchange = await exchange_of(tenant, thread, "proposal-received")
    if state == "request-sent":
        exchange = await accept_exchange(tenant, exchange)
        await side.agent.wait_exchange(PROOF_2_0, thread, "request-received")
    await reject_exchange(tenant, exchange, "Not today")
    theirs = await side.agent.wait_exchange(PROOF_2_0, thread, "abandoned")
    assert theirs["error_msg"] == "abandoned: Not today"


async def test_acapy_has_nothing_to_show(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    data = {"presentation_definition": definition("Ed25519Signature2020", side.did)}
    begun = await tenant.post("proof-request", {"from": side.did, "to": side.contact, "data": data})
    ours = await exchange_of(tenant, begun["thid"], "abandoned")
    assert ours["error"].startswith("abandoned")


# Inside invitations.


@pytest.mark.parametrize("handshake", [True, False])
async def test_we_ask_inside_an_invitation(agents: Agents, tenant: Client, handshake: bool) -> None:
    side = await sides(agents, tenant)
    await given_to_acapy(side, "Ed25519Signature2020")
    invitation: Record = {} if handshake else {"handshakeProtocols": []}
    data = {"presentation_definition": definition("Ed25519Signature2020", side.did)}
    made = await tenant.post("proof-request", {"invitation": invitation, "data": data})
    thread = made["invitation"]["requests~attach"][0]["data"]["json"]["@id"]
    await side.agent.answer_invitation(made["invitation"])
    got = await side.agent.wait_exchange(PROOF_2_0, thread, "request-received")
    await side.agent.go_on(PROOF_2_0, got, "send-presentation", dif={})
    await shown(tenant, thread)
    await side.agent.wait_exchange(PROOF_2_0, thread, "done")


@pytest.mark.parametrize("handshake", [True, False])
async def test_acapy_asks_inside_an_invitation(agents: Agents, tenant: Client, handshake: bool) -> None:
    side = await sides(agents, tenant)
    await given_to_us(side, "Ed25519Signature2020")
    request = asked_of_us(side, "Ed25519Signature2020")
    begun = await side.agent.begin(PROOF_2_0, "create-request", presentation_request=request, auto_verify=True)
    thread = begun["thread_id"]
    invitation = await side.agent.invite_to(PROOF_2_0, begun, *([DIDEXCHANGE_1_1] if handshake else []))
    await accept(tenant, invitation, identityId=side.did)
    await accept_exchange(tenant, await exchange_of(tenant, thread, "request-received"))
    await believed(side.agent, thread)
    await exchange_of(tenant, thread, "done")
