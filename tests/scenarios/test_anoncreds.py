"""AnonCreds between two tenants: offered, requested, issued, shown and verified, in each version of the protocols."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.scenarios.test_exchanges import connected, state
from tests.stack import Client, Stack
from tntcore.dids.document import Version

VALUES = {"name": "Alice", "age": "24"}


async def one_in(stack: Stack, client: Client, wanted: str) -> Any:
    """The client's exchange that is in that state, once there is one."""

    async def check() -> Any:
        hits = (await client.get(f"exchange?state={wanted}"))["hits"]
        return hits[0] if hits else None

    return await stack.eventually(check)


@pytest.mark.parametrize(("version", "minor"), [("v1", "1.0"), ("v1", "2.0"), ("v2", "3.0")])
async def test_issued_shown_and_verified(stack: Stack, version: Version, minor: str) -> None:
    issuer, holder, mine, _ = await connected(stack, version)
    schema = await issuer.post("schema", {"name": "id", "version": "1.0", "attributes": list(VALUES)})
    definition = await issuer.post("credential-definition", {"schemaId": schema["uuid"]})
    data = {"credentialDefinitionId": definition["uuid"], "attributes": VALUES}
    begun = await issuer.post(
        "credential",
        {"command": "offer", "to": mine.contact_uuid, "format": "anoncreds", "data": data, **_in("issue", minor)},
    )
    offered = await one_in(stack, holder, "offer-received")
    await holder.post(f"exchange/{offered['uuid']}/accept", {}, 200)
    await state(stack, issuer, begun["uuid"], "done")
    done = await state(stack, holder, offered["uuid"], "done")
    credential = await holder.get(f"credential/{done['credentialUuids'][0]}")
    assert (credential["status"], credential["verified"], credential["format"]) == ("HELD", True, "anoncreds")
    assert credential["summary"]["claims"] == VALUES
    assert (await holder.post(f"credential/{credential['uuid']}/verify", None, 200))["verified"]
    [issued] = (await issuer.get("credential"))["hits"]
    assert_problem(await issuer.call("POST", f"credential/{issued['uuid']}/verify"), 409, "own-credential")

    restrictions = [{"cred_def_id": definition["credentialDefinitionId"]}]
    asked = {
        "requested_attributes": {"who": {"name": "name", "restrictions": restrictions}},
        "requested_predicates": {"adult": {"name": "age", "p_type": ">=", "p_value": 18, "restrictions": restrictions}},
    }
    request = await issuer.post(
        "proof-request",
        {"to": mine.contact_uuid, "format": "anoncreds", "data": asked, **_in("present", minor)},
    )
    received = await one_in(stack, holder, "request-received")
    candidates = (await holder.get(f"exchange/{received['uuid']}/candidates"))["candidates"]
    assert [(one["name"], one["credentials"]) for one in candidates] == [
        ("who", [credential["uuid"]]),
        ("adult", [credential["uuid"]]),
    ]
    await holder.post(f"exchange/{received['uuid']}/accept", {}, 200)
    verified = await state(stack, issuer, request["uuid"], "done")
    shown = await issuer.get(f"presentation/{verified['presentationUuids'][0]}")
    assert (shown["status"], shown["verified"]) == ("VERIFIED", True)
    assert shown["summary"]["claims"] == {"who": {"name": "Alice"}}
    assert shown["summary"]["predicates"] == {"adult": "age >= 18"}


def _in(name: str, minor: str) -> dict[str, Any]:
    protocol = {"issue": "issue-credential", "present": "present-proof"}[name]
    return {"protocol": f"https://didcomm.org/{protocol}/{minor}"}


async def test_an_answer_is_of_the_family_of_formats_that_it_answers(stack: Stack) -> None:
    """`hlindy/*` (RFC 0592) here, for what would be `anoncreds/*` (RFC 0771) if we began."""
    issuer, holder, _, theirs = await connected(stack, "v1")
    schema = await issuer.post("schema", {"name": "id", "version": "1.0", "attributes": list(VALUES)})
    definition = await issuer.post("credential-definition", {"schemaId": schema["uuid"]})
    identifier = definition["credentialDefinitionId"]
    preview = {
        "@type": "https://didcomm.org/issue-credential/2.0/credential-preview",
        "attributes": [{"name": name, "value": value} for name, value in VALUES.items()],
    }
    begun = await holder.act(
        theirs.contact_uuid,
        {
            "@type": "https://didcomm.org/issue-credential/2.0/propose-credential",
            "credential_preview": preview,
            "formats": [{"attach_id": "1", "format": "hlindy/cred-filter@v2.0"}],
            "filters~attach": [{"@id": "1", "data": {"json": {"cred_def_id": identifier}}}],
        },
    )
    proposed = await one_in(stack, issuer, "proposal-received")
    await issuer.post(f"exchange/{proposed['uuid']}/accept", {}, 200)
    await state(stack, holder, begun["uuid"], "offer-received")
    await holder.post(f"exchange/{begun['uuid']}/accept", {}, 200)
    done = await state(stack, holder, begun["uuid"], "done")
    assert (await holder.get(f"credential/{done['credentialUuids'][0]}"))["status"] == "HELD"
    assert await formats(holder, begun["uuid"]) == [
        *("hlindy/cred-filter@v2.0", "hlindy/cred-abstract@v2.0", "hlindy/cred-req@v2.0", "hlindy/cred@v2.0")
    ]

    wanted = {"who": {"name": "name", "restrictions": [{"cred_def_id": identifier}]}}
    asked = {"name": "proof", "version": "1.0", "requested_attributes": wanted, "requested_predicates": {}}
    begun = await holder.act(
        theirs.contact_uuid,
        {
            "@type": "https://didcomm.org/present-proof/2.0/propose-presentation",
            "formats": [{"attach_id": "1", "format": "hlindy/proof-req@v2.0"}],
            "proposals~attach": [{"@id": "1", "data": {"json": asked}}],
        },
    )
    proposed = await one_in(stack, issuer, "proposal-received")
    await issuer.post(f"exchange/{proposed['uuid']}/accept", {}, 200)
    await state(stack, holder, begun["uuid"], "request-received")
    await holder.post(f"exchange/{begun['uuid']}/accept", {}, 200)
    await state(stack, issuer, proposed["uuid"], "done")
    assert await formats(holder, begun["uuid"]) == [
        *("hlindy/proof-req@v2.0", "hlindy/proof-req@v2.0", "hlindy/proof@v2.0")
    ]


async def formats(client: Client, action: str) -> list[str]:
    """Of the attachments of a thread's messages, in their order."""
    messages = [await client.get(f"message/{uuid}") for uuid in (await client.get(f"action/{action}"))["messages"]]
    return [one["format"] for message in messages for one in message["message"].get("formats", ())]


async def test_a_proposal_in_1_0_becomes_an_offer_and_a_request(stack: Stack) -> None:
    issuer, holder, _, theirs = await connected(stack, "v1")
    schema = await issuer.post("schema", {"name": "id", "version": "1.0", "attributes": list(VALUES)})
    definition = await issuer.post("credential-definition", {"schemaId": schema["uuid"]})
    identifier = definition["credentialDefinitionId"]
    data = {"credentialDefinitionId": identifier, "attributes": VALUES}
    begun = await holder.post(
        "credential",
        {"command": "propose", "to": theirs.contact_uuid, "format": "anoncreds", "data": data, **_in("issue", "1.0")},
    )
    proposed = await one_in(stack, issuer, "proposal-received")
    await issuer.post(f"exchange/{proposed['uuid']}/accept", {}, 200)
    await state(stack, holder, begun["uuid"], "offer-received")
    await holder.post(f"exchange/{begun['uuid']}/accept", {}, 200)
    done = await state(stack, holder, begun["uuid"], "done")
    assert (await holder.get(f"credential/{done['credentialUuids'][0]}"))["verified"]

    proposal = {
        "attributes": [{"name": "name", "cred_def_id": identifier}],
        "predicates": [{"name": "age", "cred_def_id": identifier, "predicate": ">=", "threshold": 18}],
    }
    wanted = await holder.post(
        "presentation",
        {
            "command": "propose",
            "to": theirs.contact_uuid,
            "format": "anoncreds",
            "data": proposal,
            **_in("present", "1.0"),
        },
    )
    received = await one_in(stack, issuer, "proposal-received")
    await issuer.post(f"exchange/{received['uuid']}/accept", {}, 200)
    await state(stack, holder, wanted["uuid"], "request-received")
    await holder.post(f"exchange/{wanted['uuid']}/accept", {}, 200)
    verified = await state(stack, issuer, received["uuid"], "done")
    shown = await issuer.get(f"presentation/{verified['presentationUuids'][0]}")
    assert shown["verified"], shown["checks"]
