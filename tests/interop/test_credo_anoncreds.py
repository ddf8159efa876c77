"""AnonCreds between Credo and a tenant, who both issue by the same stand-in for a ledger, the tenant beside its did:web
document as well: Issue Credential and Present Proof 1.0 (RFC 0036, RFC 0037) and 2.0 (RFC 0453, RFC 0454)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.interop.credo import Credo
from tests.interop.file_ledger import enter_issuer
from tests.interop.indy import VALUES, asked_for, held, shown
from tests.interop.tenant import accept, accept_exchange, exchange_of, until_state
from tests.stack import Client, Stack

pytestmark = pytest.mark.interop

OUR_ISSUER, THEIR_ISSUER = "WgWxqztrNooG92RXvxSTWv", "did:indy:file:TL1EaPFCZ8Si5aUrqScBDt"
DIALECTS = [("v1", "indy"), ("v2", "indy"), ("v2", "anoncreds")]
dialects = pytest.mark.parametrize(("version", "format_"), DIALECTS)


@dataclass
class World:
    """A connection of a tenant with the agent, and their credential definitions: on the ledger, on the web."""

    tenant: Client
    contact: str
    connection: str
    ours: dict[str, str]
    theirs: dict[str, str]


@pytest.fixture(scope="module")
async def world(stack: Stack, credo_agent: Credo) -> AsyncIterator[World]:
    os.environ["LEDGER_FILE"] = str(credo_agent.ledger)
    tenant = await stack.register("Acme")
    enter_issuer(tenant.identity["did"], OUR_ISSUER)
    ledger = await define(tenant)
    # Nothing on the ledger is its issuer's.
    enter_issuer(tenant.identity["did"], "")
    web = await define(tenant)
    assert web.startswith("did:web:")
    invitation = await credo_agent.create_invitation()
    contact = await accept(tenant, invitation["invitation"])
    theirs = await credo_agent.wait_invited(invitation)
    await until_state(tenant, contact["connectionUuid"], "completed")
    their_web = f"did:web:{credo_agent.endpoint.removeprefix('http://').replace(':', '%3A')}:issuer"
    yield World(
        tenant,
        contact["uuid"],
        theirs["id"],
        {"indy": ledger, "anoncreds": web},
        {
            "indy": await define_theirs(credo_agent, THEIR_ISSUER),
            "anoncreds": await define_theirs(credo_agent, their_web),
        },
    )
    del os.environ["LEDGER_FILE"]


async def define(tenant: Client) -> str:
    schema = await tenant.post("schema", {"name": "person", "version": "1.0", "attributes": list(VALUES)})
    made = await tenant.post("credential-definition", {"schemaId": schema["uuid"]})
    return str(made["credentialDefinitionId"])


async def define_theirs(credo: Credo, issuer: str) -> str:
    schema = {"issuerId": issuer, "name": "person", "version": "1.0", "attrNames": list(VALUES)}
    made = await credo.ask("call", "modules.anoncreds.registerSchema", {"schema": schema, "options": {}})
    definition = {"issuerId": issuer, "schemaId": made["schemaState"]["schemaId"], "tag": "default"}
    options = {"credentialDefinition": definition, "options": {"supportRevocation": False}}
    made = await credo.ask("call", "modules.anoncreds.registerCredentialDefinition", options)
    return str(made["credentialDefinitionState"]["credentialDefinitionId"])


def unqualified(definition: str) -> str:
    did, _, rest = definition.removeprefix("did:indy:file:").partition("/anoncreds/v0/CLAIM_DEF/")
    return f"{did}:3:CL:{rest.replace('/', ':')}"


def protocol(name: str, version: str) -> str:
    return f"https://didcomm.org/{name}/{version.removeprefix('v')}.0"


@dialects
async def test_we_issue_and_credo_shows(credo: Credo, world: World, version: str, format_: str) -> None:
    definition = world.ours[format_]
    data = {"credentialDefinitionId": definition, "attributes": VALUES}
    body = {"to": world.contact, "format": "anoncreds", "data": data}
    begun = await world.tenant.post("credential", {"protocol": protocol("issue-credential", version), **body})
    got = await credo.wait_credential(begun["thid"], "offer-received")
    options = {"credentialExchangeRecordId": got, "autoAcceptCredential": "always"}
    await credo.call("credentials.acceptOffer", options)
    await credo.wait_credential(begun["thid"], "done")
    await exchange_of(world.tenant, begun["thid"], "done")
    body = {"to": world.contact, "format": "anoncreds", "data": asked_for(definition)}
    asked = await world.tenant.post("proof-request", {"protocol": protocol("present-proof", version), **body})
    found = (await credo.wait_proof(asked["thid"], "request-received"))["id"]
    await credo.call("proofs.acceptRequest", {"proofExchangeRecordId": found, "autoAcceptProof": "always"})
    presentation = await shown(world.tenant, asked["thid"])
    assert presentation["summary"]["claims"] == {"who": {"name": VALUES["name"]}}
    await credo.wait_proof(asked["thid"], "done")


@dialects
async def test_credo_issues_and_we_show(credo: Credo, world: World, version: str, format_: str) -> None:
    attributes = [{"name": name, "value": value} for name, value in VALUES.items()]
    definition = world.theirs[format_]
    if format_ == "indy":
        # As it is called on the wire.
        definition = unqualified(definition)
    offer = {"credentialDefinitionId": definition, "attributes": attributes}
    options = {"connectionId": world.connection, "protocolVersion": version}
    begun = await credo.call(
        "credentials.offerCredential",
        {**options, "credentialFormats": {format_: offer}, "autoAcceptCredential": "always"},
    )
    thread = begun["threadId"]
    await accept_exchange(world.tenant, await exchange_of(world.tenant, thread, "offer-received"))
    await credo.wait_credential(thread, "done")
    await held(world.tenant, thread)
    asked = await credo.call(
        "proofs.requestProof",
        {**options, "proofFormats": {format_: asked_for(definition)}, "autoAcceptProof": "always"},
    )
    thread = asked["threadId"]
    await accept_exchange(world.tenant, await exchange_of(world.tenant, thread, "request-received"))
    assert (await credo.wait_proof(thread, "done"))["isVerified"]
    await exchange_of(world.tenant, thread, "done")
