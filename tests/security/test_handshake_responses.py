"""Responses that the inviter did not make are not believed."""

from __future__ import annotations

import pytest

from tests.security.agents import Agent, Json, new_id
from tests.security.handshakes import (
    DIALECT,
    refused,
    report,
    requested,
    state_of,
    stored,
    until_state,
)
from tests.stack import Client
from tntcore.envelope.signatures import sign_field
from tntcore.protocols.did_exchange import CONNECTIONS_1_0, DID_EXCHANGE_1_0, DID_EXCHANGE_1_1


def forged_responses(agent: Agent, mallory: Agent, protocol: str, thid: str) -> dict[str, tuple[Agent, Json, str]]:
    """By what is wrong with it: who sends it, the message, and why it is refused. `agent` is the inviter."""
    unsigned = {"data": {"base64": agent.signed(agent.legacy())["data"]["base64"]}}
    bad = {
        # Mallory has the thread and both keys, from wherever.
        "signed and sent by another": (
            mallory,
            mallory.response(protocol, thid, mallory.keys.ed25519),
            "response-not-accepted",
        ),
        "another's key, under the inviter's envelope": (
            agent,
            mallory.response(protocol, thid, mallory.keys.ed25519),
            "response-not-accepted",
        ),
        "the inviter's signature, another's envelope": (
            mallory,
            agent.response(protocol, thid, agent.keys.ed25519),
            "response-not-accepted",
        ),
    }
    if protocol == DID_EXCHANGE_1_1:
        by_inviter = agent.signed(agent.peer_2)
        bad |= {
            "a signature over another DID": (
                mallory,
                mallory.response(protocol, thid, agent.keys.ed25519, did_rotate__attach=by_inviter),
                "response-not-accepted",
            ),
            "a signature over a document, for a DID": (
                mallory,
                mallory.response(protocol, thid, mallory.keys.ed25519, did_rotate__attach=agent.signed(agent.legacy())),
                "response-not-accepted",
            ),
            "no signature and another's envelope": (
                mallory,
                mallory.response(protocol, thid, mallory.keys.ed25519, did_rotate__attach=None),
                "response-not-accepted",
            ),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            "a signed DID, and a document by another": (
                mallory,
                mallory.response(
                    protocol,
                    thid,
                    agent.keys.ed25519,
                    did=mallory.sov,
                    did_rotate__attach=agent.signed(mallory.sov),
                    did_doc__attach=mallory.signed(mallory.legacy()),
                ),
                "response-not-accepted",
            ),
            "no did": (agent, agent.response(protocol, thid, agent.keys.ed25519, did=None), "response-not-accepted"),
        }
    elif protocol == DID_EXCHANGE_1_0:
        bad |= {
            "a signature over the document of another DID": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did=mallory.sov),
                "document-mismatch",
            ),
            "no document": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did_doc__attach=None),
                "message-malformed",
            ),
            "a document without signature": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, did_doc__attach=unsigned),
                "malformed",
            ),
            "signed by two others": (mallory, _twice_signed(agent, mallory, protocol, thid), "response-not-accepted"),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            # As in a request, where it is right.
            "signed by a key of the document": (
                agent,
                mallory.response(protocol, thid, mallory.keys.ed25519),
                "response-not-accepted",
            ),
        }
    else:
        plain = {"DID": agent.sov, "DIDDoc": agent.legacy()}
        bad |= {
            "no signature": (
                agent,
                agent.response(protocol, thid, agent.keys.ed25519, connection=plain, connection__sig=None),
                "message-malformed",
            ),
            "a signature that was altered": (agent, _altered(agent, protocol, thid), "bad-signature"),
            "a DID that is not its document's": (
                agent,
                agent.response(
                    protocol,
                    thid,
                    agent.keys.ed25519,
                    connection__sig=_field({"DID": mallory.sov, "DIDDoc": agent.legacy()}, agent),
                ),
                "document-mismatch",
            ),
        }
    return bad


def _field(value: Json, agent: Agent) -> Json:
    return sign_field(value, agent.keys.ed25519, 1_700_000_000)


def _altered(agent: Agent, protocol: str, thid: str) -> Json:
    """What is signed is another's by one letter."""
    message = agent.response(protocol, thid, agent.keys.ed25519)
    name = {DID_EXCHANGE_1_1: "did_rotate~attach", DID_EXCHANGE_1_0: "did_doc~attach"}.get(protocol, "connection~sig")
    part = message[name] if protocol == CONNECTIONS_1_0 else message[name]["data"]["jws"]
    flipped = "B" if part["signature"][10] != "B" else "C"
    part["signature"] = part["signature"][:10] + flipped + part["signature"][11:]
    return message


def _twice_signed(agent: Agent, mallory: Agent, protocol: str, thid: str) -> Json:
    message = mallory.response(protocol, thid, mallory.keys.ed25519)
    data = message["did_doc~attach"]["data"]
    other = mallory.another().signed(mallory.legacy())["data"]["jws"]
    data["jws"] = {"signatures": [data["jws"], other]}
    return message


@DIALECT
async def test_a_response_is_believed_by_the_invitations_key_alone(
    tenant: Client, agent: Agent, mallory: Agent, protocol: str
) -> None:
    uuid, request, ours = await requested(tenant, agent, protocol)
    before = await tenant.get(f"connection/{uuid}")
    for what, (by, message, code) in forged_responses(agent, mallory, protocol, request["@id"]).items():
        await by.send(message, ours)
        try:
            await refused(tenant, message["@id"], code)
        except AssertionError as error:
            raise AssertionError(what, *error.args) from error
    anonymous = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(anonymous, ours, anonymous=True)
    await refused(tenant, anonymous["@id"], "sender-unknown")
    elsewhere = agent.response(protocol, new_id(), agent.keys.ed25519)
    await agent.send(elsewhere, ours)
    await refused(tenant, elsewhere["@id"], "thread-unknown")
    after = await tenant.get(f"connection/{uuid}")
    assert {**after, "updatedAt": None} == {**before, "updatedAt": None}
    assert after["state"] == "request-sent"
    assert mallory.heard() == []

    honest = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(honest, ours)
    done = await until_state(tenant, uuid, "completed")
    assert done["theirDid"].removeprefix("did:sov:") in (agent.peer_2, agent.sov)
    await agent.hears("/ping" if protocol == CONNECTIONS_1_0 else "/complete")
    # And once is enough.
    again = agent.response(protocol, request["@id"], agent.keys.ed25519)
    await agent.send(again, ours)
    await refused(tenant, again["@id"], "out-of-turn")


async def test_the_envelope_alone_vouches_only_if_it_is_the_invitations_own(
    tenant: Client, agent: Agent, mallory: Agent
) -> None:
    """Agents that answer with a DID that can be resolved may leave the signature out."""
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    for by, code in ((mallory, "response-not-accepted"), (agent, "")):
        message = by.response(DID_EXCHANGE_1_1, request["@id"], by.keys.ed25519, did_rotate__attach=None)
        await by.send(message, ours)
        assert (await stored(tenant, str(message["@id"]))).error == code
    assert (await until_state(tenant, uuid, "completed"))["theirDid"] == agent.peer_2


@pytest.mark.parametrize(
    ("asked", "answered"), [(DID_EXCHANGE_1_1, CONNECTIONS_1_0), (CONNECTIONS_1_0, DID_EXCHANGE_1_0)]
)
async def test_a_request_is_answered_in_its_protocol(tenant: Client, agent: Agent, asked: str, answered: str) -> None:
    uuid, request, ours = await requested(tenant, agent, asked)
    for message in (
        agent.response(answered, request["@id"], agent.keys.ed25519),
        report(answered, request["@id"]),
    ):
        await agent.send(message, ours)
        await refused(tenant, message["@id"], "protocol-mismatch")
    assert await state_of(tenant, uuid) == "request-sent"
