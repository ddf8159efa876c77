"""Presentations of linked-data credentials between ACA-Py and a tenant (RFC 0454, RFC 0510), either way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.acapy import ISSUE_2_0, PROOF_2_0
from tests.interop.conftest import Agents
from tests.interop.credentials import SUITES, Sides, detail, held, sides
from tests.interop.tenant import accept_exchange, automatic, exchange_of
from tests.stack import Client

pytestmark = pytest.mark.interop


def definition(suite: str) -> dict[str, Any]:
    """Asks for a permanent resident card, as ACA-Py reads and writes it."""
    field = {"path": ["$.credentialSubject.familyName"], "filter": {"const": "SMITH"}}
    return {
        "id": "32f54163-7166-48f1-93d8-ff217bdb0654",
        "format": {"ldp_vp": {"proof_type": [suite]}},
        "input_descriptors": [
            {
                "id": "citizenship_input_1",
                "name": "Residence",
                "schema": [
                    {"uri": "https://www.w3.org/2018/credentials#VerifiableCredential"},
                    {"uri": "https://w3id.org/citizenship#PermanentResident"},
                ],
                "constraints": {"fields": [field]},
            }
        ],
    }


async def theirs_to_show(side: Sides, suite: str) -> None:
    """The agent holds a credential that we issued."""
    data = detail(suite, side.did, side.their_did)
    begun = await side.tenant.post("credential", {"from": side.did, "to": side.contact, "data": data})
    await side.agent.wait_exchange(ISSUE_2_0, begun["thid"], "done")


async def ours_to_show(side: Sides, suite: str) -> None:
    """We hold a credential that the agent issued."""
    await automatic(side.tenant, autoRequest=True)
    filter_ = {"ld_proof": detail(suite, side.their_did)}
    begun = await side.agent.begin(ISSUE_2_0, "send", connection_id=side.connection, filter=filter_)
    await held(side, await exchange_of(side.tenant, begun["thread_id"], "done"))


async def verified(side: Sides, thread: str) -> None:
    done = await exchange_of(side.tenant, thread, "done")
    shown = await side.tenant.get(f"presentation/{done['presentationUuids'][0]}")
    assert (shown["status"], shown["verified"], shown["role"]) == ("VERIFIED", True, "verifier"), shown
    assert {check["name"] for check in shown["checks"]} >= {"signature", "issuer", "holder-binding", "challenge"}
    assert shown["summary"]["claims"]["citizenship_input_1"]["familyName"] == "SMITH"


@pytest.mark.parametrize("domain", [{}, {"domain": "verifier.example"}])
@pytest.mark.parametrize("suite", SUITES)
async def test_we_ask(agents: Agents, tenant: Client, suite: str, domain: dict[str, str]) -> None:
    side = await sides(agents, tenant, auto=True)
    await theirs_to_show(side, suite)
    data = {"presentation_definition": definition(suite), "options": domain}
    begun = await tenant.post("proof-request", {"from": side.did, "to": side.contact, "format": "dif", "data": data})
    await verified(side, begun["thid"])
    await side.agent.wait_exchange(PROOF_2_0, begun["thid"], "done")


async def test_acapy_proposes_what_to_show(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await theirs_to_show(side, SUITES[0])
    proposal = {"input_descriptors": definition(SUITES[0])["input_descriptors"]}
    begun = await side.agent.begin(
        PROOF_2_0, "send-proposal", connection_id=side.connection, presentation_proposal={"dif": proposal}
    )
    proposed = await exchange_of(tenant, begun["thread_id"], "proposal-received")
    await accept_exchange(tenant, proposed)
    await verified(side, begun["thread_id"])


@pytest.mark.parametrize("domain", [{}, {"domain": "verifier.example"}])
@pytest.mark.parametrize("suite", SUITES)
async def test_acapy_asks(agents: Agents, tenant: Client, suite: str, domain: dict[str, str]) -> None:
    side = await sides(agents, tenant, auto=True)
    await ours_to_show(side, suite)
    request = {
        "options": {"challenge": "3fa85f64-5717-4562-b3fc-2c963f66afa7", **domain},
        "presentation_definition": definition(suite),
    }
    begun = await side.agent.begin(
        PROOF_2_0, "send-request", connection_id=side.connection, presentation_request={"dif": request}
    )
    asked = await exchange_of(tenant, begun["thread_id"], "request-received")
    await accept_exchange(tenant, asked)
    theirs = await side.agent.wait_exchange(PROOF_2_0, begun["thread_id"], "done")
    assert theirs["verified"] == "true"
    await exchange_of(tenant, begun["thread_id"], "done")


async def test_we_propose_what_to_show(agents: Agents, tenant: Client) -> None:
    side = await sides(agents, tenant, auto=True)
    await ours_to_show(side, SUITES[1])
    await automatic(tenant, autoPresent=True)
    data = {"input_descriptors": definition(SUITES[1])["input_descriptors"]}
    begun = await tenant.post(
        "presentation", {"command": "propose", "from": side.did, "to": side.contact, "data": data}
    )
    theirs = await side.agent.wait_exchange(PROOF_2_0, begun["thid"], "done")
    assert theirs["verified"] == "true"
