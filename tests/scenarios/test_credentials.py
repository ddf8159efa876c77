"""Credentials that are signed and checked, between two tenants: issued, kept, shown, verified."""

from typing import Any

import pytest

from tests.scenarios.test_exchanges import connected, only, state
from tests.stack import Client, Stack
from tntcore.dids.document import Version

DIPLOMA = {
    "@context": ["https://www.w3.org/2018/credentials/v1", "https://w3id.org/citizenship/v1"],
    "type": ["VerifiableCredential", "PermanentResident"],
    "credentialSubject": {"type": "PermanentResident", "givenName": "ALICE", "familyName": "SMITH"},
}


def offer(format_: str, contact: str, **more: Any) -> dict[str, Any]:
    options = {"proofType": format_.partition("/")[2]} if "/" in format_ else {}
    return {
        "command": "offer",
        "to": contact,
        "format": format_.partition("/")[0],
        "data": {"credential": DIPLOMA, "options": options},
        **more,
    }


FORMATS = [
    "jwt-vc",
    "ld-proof/Ed25519Signature2018",
    "ld-proof/Ed25519Signature2020",
    "ld-proof/eddsa-rdfc-2022",
    "ld-proof/eddsa-jcs-2022",
]


async def issued(stack: Stack, issuer: Client, holder: Client, contact: str, format_: str, **more: Any) -> Any:
    """The holder's credential of a new exchange that the issuer began."""
    begun = await issuer.post("credential", offer(format_, contact, **more))

    async def offered() -> Any:
        hits = (await holder.get("exchange?state=offer-received"))["hits"]
        return hits[0] if hits else None

    received = await stack.eventually(offered)
    await holder.post(f"exchange/{received['uuid']}/accept", {}, 200)
    await state(stack, issuer, begun["uuid"], "done")
    done = await state(stack, holder, received["uuid"], "done")
    return await holder.get(f"credential/{done['credentialUuids'][0]}")


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("format_", FORMATS)
async def test_an_offer_that_is_accepted_ends_in_a_verified_credential(
    stack: Stack, version: Version, format_: str
) -> None:
    issuer, holder, mine, _ = await connected(stack, version)
    credential = await issued(stack, issuer, holder, mine.contact_uuid, format_)
    assert (credential["status"], credential["verified"]) == ("HELD", True)
    [made] = (await issuer.get("credential?role=issuer"))["hits"]
    for one in (credential, made):
        assert one["type"] == ["PermanentResident"]
        assert one["issuer"] == credential["summary"]["issuer"]
        assert one["subject"] == credential["summary"].get("subject")
        assert one["summary"]["claims"]["familyName"] == "SMITH"
    assert {check["name"] for check in credential["checks"]} >= {"signature", "issuer", "holder-binding"}
    assert all(check["passed"] for check in credential["checks"])
    again = await holder.post(f"credential/{credential['uuid']}/verify", None, 200)
    assert again["verified"]


async def test_an_ack_that_is_none_moves_nothing(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoStore": False}}, 200)
    begun = await issuer.post("credential", offer("jwt-vc", mine.contact_uuid))
    received = await only(stack, holder, "offer-received")
    await holder.post(f"exchange/{received['uuid']}/accept", {}, 200)
    waiting = await state(stack, holder, received["uuid"], "credential-received")
    assert waiting["status"] == "WAITING"
    for number, (status, expected) in enumerate((("PENDING", "credential-issued"), ("FAIL", "abandoned"))):
        ack = {"@type": "https://didcomm.org/notification/1.0/ack", "status": status}
        await holder.post(f"action/{received['uuid']}", {"data": {"message": ack}}, 200)

        async def arrived(wanted: int = number + 1) -> bool:
            hits = (await issuer.get("message"))["hits"]
            return len([hit for hit in hits if hit["direction"] == "IN" and hit["type"].endswith("/ack")]) == wanted

        await stack.eventually(arrived)
        await state(stack, issuer, begun["uuid"], expected)


DEFINITION = {
    "id": "32f54163-7166-48f1-93d8-ff217bdb0653",
    "input_descriptors": [
        {
            "id": "residence",
            "name": "Residence",
            "schema": [{"uri": "https://w3id.org/citizenship#PermanentResident"}],
            "constraints": {
                "is_holder": [{"directive": "required", "field_id": ["holder"]}],
                "fields": [
                    {"id": "holder", "path": ["$.credentialSubject.id"]},
                    {"path": ["$.credentialSubject.familyName"], "filter": {"const": "SMITH"}},
                ],
            },
        }
    ],
}


def asking(contact: str, format_: str, **more: Any) -> dict[str, Any]:
    kind = {"jwt_vp": {"alg": ["EdDSA"]}} if format_ == "jwt-vc" else {"ldp_vp": {"proof_type": [format_[9:]]}}
    definition = {**DEFINITION, "format": kind}
    return {"to": contact, "format": "dif", "data": {"presentation_definition": definition}, **more}


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("format_", FORMATS)
async def test_what_is_held_is_shown_to_somebody_else(stack: Stack, version: Version, format_: str) -> None:
    issuer, holder, mine, _ = await connected(stack, version)
    credential = await issued(stack, issuer, holder, mine.contact_uuid, format_)
    verifier = await stack.register("Verifier")
    with_holder, _ = await stack.connect(verifier, holder, version)
    begun = await verifier.post("proof-request", asking(with_holder.contact_uuid, format_))

    async def asked() -> Any:
        hits = (await holder.get("proof-request?state=request-received"))["hits"]
        return hits[0] if hits else None

    received = await stack.eventually(asked)
    assert received["status"] == "WAITING"
    candidates = (await holder.get(f"exchange/{received['uuid']}/candidates"))["candidates"]
    assert candidates == [{"name": "residence", "required": True, "credentials": [credential["uuid"]]}]
    await holder.post(f"exchange/{received['uuid']}/accept", {"credentials": {"residence": credential["uuid"]}}, 200)
    done = await state(stack, verifier, begun["uuid"], "done")
    await state(stack, holder, received["uuid"], "done")
    shown = await verifier.get(f"presentation/{done['presentationUuids'][0]}")
    assert (shown["status"], shown["verified"]) == ("VERIFIED", True)
    names = {check["name"] for check in shown["checks"]}
    assert names >= {"signature", "challenge", "holder-binding", "issuer", "request"}
    assert all(check["passed"] for check in shown["checks"])
    assert (await verifier.post(f"presentation/{shown['uuid']}/verify", None, 200))["verified"]


async def test_nothing_is_shown_that_is_not_held(stack: Stack) -> None:
    verifier, holder, mine, _ = await connected(stack, "v1")
    await verifier.post("proof-request", asking(mine.contact_uuid, "jwt-vc"))
    received = await only(stack, holder, "request-received")
    answer = await holder.call("POST", f"exchange/{received['uuid']}/accept", {})
    assert (answer.status, answer.json()["type"]) == (409, "urn:tnt:problem:nothing-to-present")
    await holder.post(f"exchange/{received['uuid']}/reject", {}, 200)


async def test_proof_is_given_by_itself_where_the_tenant_wants_it(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    automatic = {"autoRequest": True, "autoPresent": True}
    await holder.post("settings/PRINCIPAL_SETTINGS", {"setting": automatic}, 200)
    tasks = await holder.webhook()
    await holder.post("settings/TASK_WEBHOOK", {"setting": [{"url": tasks.url + "/task", "match": ".*"}]}, 200)
    offered = await issuer.post("credential", offer("jwt-vc", mine.contact_uuid))
    await state(stack, issuer, offered["uuid"], "done")
    begun = await issuer.post("proof-request", asking(mine.contact_uuid, "jwt-vc"))
    await state(stack, issuer, begun["uuid"], "done")
    stored = (await tasks.until(lambda hook: hook.json().get("type") == "credential")).json()
    assert (stored["status"], stored["verified"]) == ("HELD", True)


async def test_a_revoked_credential_is_verified_no_more(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    wanted = offer("ld-proof/Ed25519Signature2020", mine.contact_uuid)
    wanted["data"]["options"]["credentialStatus"] = {"type": "BitstringStatusListEntry"}
    begun = await issuer.post("credential", wanted)
    offered = await only(stack, holder, "offer-received")
    await holder.post(f"exchange/{offered['uuid']}/accept", {}, 200)
    done = await state(stack, issuer, begun["uuid"], "done")
    [kept] = (await holder.get("credential"))["hits"]
    assert (kept["verified"], "status" in {check["name"] for check in kept["checks"]}) == (True, True)
    refused = await holder.call("POST", f"credential/{kept['uuid']}/revoke")
    assert (refused.status, refused.json()["type"]) == (409, "urn:tnt:problem:not-issued-here")
    for _ in range(2):
        revoked = await issuer.post(f"credential/{done['credentialUuids'][0]}/revoke", None, 200)
        assert revoked["status"] == "REVOKED"
    again = await holder.post(f"credential/{kept['uuid']}/verify", None, 200)
    assert not again["verified"]
    assert [check["name"] for check in again["checks"] if not check["passed"]] == ["status"]


async def test_what_cannot_be_revoked_says_so(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await issued(stack, issuer, holder, mine.contact_uuid, "jwt-vc")
    [made] = (await issuer.get("credential"))["hits"]
    answer = await issuer.call("POST", f"credential/{made['uuid']}/revoke")
    assert (answer.status, answer.json()["type"]) == (409, "urn:tnt:problem:credential-not-revocable")


async def test_all_that_may_follow_from_a_message_fits(stack: Stack) -> None:
    """As many webhooks, events and attachments as there may be, and a credential with them."""
    issuer, holder, _, _ = await connected(stack, "v1")
    hook = await holder.webhook()
    webhooks = [{"url": f"{hook.url}/{number}"} for number in range(20)]
    await holder.post("settings/DIDCOMM_WEBHOOK", {"setting": webhooks}, 200)
    refused = await holder.call("POST", "settings/TASK_WEBHOOK", {"setting": webhooks})
    assert (refused.status, refused.json()["type"]) == (400, "urn:tnt:problem:setting-invalid")
    await holder.post("settings/TASK_WEBHOOK", {"setting": webhooks[:8]}, 200)
    contact = (await holder.get("contact"))["hits"][0]["uuid"]
    asked = {
        "@type": "https://didcomm.org/issue-credential/1.0/request-credential",
        "requests~attach": [{"@id": "0", "data": {"json": {}}}],
    }
    action = await holder.act(contact, asked)
    await only(stack, issuer, "request-received")
    answer = {
        "@type": "https://didcomm.org/issue-credential/1.0/issue-credential",
        "~please_ack": {"on": ["OUTCOME"]},
        "credentials~attach": [{"@id": str(number), "data": {"json": {"n": number}}} for number in range(20)],
    }
    await issuer.post(f"action/{(await issuer.get('action'))['hits'][0]['uuid']}", {"data": {"message": answer}}, 200)
    await state(stack, holder, action["uuid"], "credential-received")
    await hook.count(20 + 8 * 2)
