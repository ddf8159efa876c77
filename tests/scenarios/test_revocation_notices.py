"""An issuer tells the holder that it revoked a credential: RFC 0183 and RFC 0721."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.test_contexts import accepted
from tests.scenarios.test_credentials import DIPLOMA, offer
from tests.scenarios.test_exchanges import connected
from tests.stack import Client, Stack
from tntcore.dids.document import Version

STATUS = {"credentialStatus": {"type": "BitstringStatusListEntry"}}


async def held(stack: Stack, version: Version, **more: Any) -> tuple[Client, Client, Any, Any]:
    """Issuer and holder, and their sides of a credential that can be revoked."""
    issuer, holder, mine, _ = await connected(stack, version)
    body = {"to": mine.contact_uuid, "data": {"credential": DIPLOMA, "options": STATUS}, **more}
    await issuer.post("credential", body)
    await accepted(stack, holder, "done")
    [theirs] = (await holder.get("credential"))["hits"]
    [ours] = (await issuer.get("credential"))["hits"]
    assert (ours["status"], theirs["status"], theirs["revocationNotice"]) == ("ISSUED", "HELD", None)
    return issuer, holder, ours, theirs


async def noticed(stack: Stack, holder: Client, uuid: str) -> Any:
    async def check() -> Any:
        credential = await holder.get(f"credential/{uuid}")
        return credential if credential["revocationNotice"] else None

    return await stack.eventually(check)


@pytest.mark.parametrize(
    ("version", "protocol"),
    [("v1", "issue-credential/1.0"), ("v1", "issue-credential/2.0"), ("v2", "issue-credential/3.0")],
)
async def test_the_holder_is_told(stack: Stack, version: Version, protocol: str) -> None:
    issuer, holder, ours, theirs = await held(stack, version, protocol=protocol)
    hook = await holder.webhook()
    body = {"notify": True, "comment": "It was stolen."}
    assert (await issuer.post(f"credential/{ours['uuid']}/revoke", body, 200))["status"] == "REVOKED"
    credential = await noticed(stack, holder, theirs["uuid"])
    assert (credential["status"], credential["revocationNotice"]["comment"]) == ("HELD", "It was stolen.")
    told = (await hook.until(lambda got: "revocation_notification" in got.json()["type"])).json()
    assert told["type"].endswith("/revoke")
    assert told["contactUuid"] == theirs["contactUuid"]
    checked = await holder.post(f"credential/{theirs['uuid']}/verify", None, 200)
    assert (checked["verified"], bool(checked["revocationNotice"])) == (False, True)


async def test_by_the_setting(stack: Stack) -> None:
    issuer, holder, ours, theirs = await held(stack, "v1")
    await issuer.post(f"credential/{ours['uuid']}/revoke", {"notify": False}, 200)
    issuer2, holder2, ours2, theirs2 = await held(stack, "v1")
    await issuer2.post("settings/PRINCIPAL_SETTINGS", {"setting": {"notifyRevocation": True}}, 200)
    await issuer2.post(f"credential/{ours2['uuid']}/revoke", None, 200)
    await noticed(stack, holder2, theirs2["uuid"])
    # Once is enough.
    sent = len((await issuer2.get("message?direction=OUT"))["hits"])
    await issuer2.post(f"credential/{ours2['uuid']}/revoke", None, 200)
    assert len((await issuer2.get("message?direction=OUT"))["hits"]) == sent
    assert (await holder.get(f"credential/{theirs['uuid']}"))["revocationNotice"] is None


async def test_an_anoncreds_credential_is_named_by_its_registry(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    schema = await issuer.post("schema", {"name": "id", "version": "1.0", "attributes": ["name"]})
    definition = {"schemaId": schema["uuid"], "supportRevocation": True, "maxCredentials": 4}
    made = await issuer.post("credential-definition", definition)
    data = {"credentialDefinitionId": made["uuid"], "attributes": {"name": "Alice"}}
    for _ in range(2):
        await issuer.post("credential", {"to": mine.contact_uuid, "format": "anoncreds", "data": data})
        await accepted(stack, holder, "done")
    ours = (await issuer.get("credential"))["hits"]
    await issuer.post(f"credential/{ours[0]['uuid']}/revoke", {"notify": True}, 200)
    hits = (await holder.get("credential"))["hits"]
    first = await noticed(
        stack, holder, next(one["uuid"] for one in hits if one["createdAt"] == min(h["createdAt"] for h in hits))
    )
    [other] = [one for one in (await holder.get("credential"))["hits"] if one["uuid"] != first["uuid"]]
    assert other["revocationNotice"] is None
    [message] = (await issuer.get("message?type=https://didcomm.org/revocation_notification"))["hits"]
    sent = (await issuer.get(f"message/{message['uuid']}"))["message"]
    assert sent["revocation_format"] == "anoncreds"
    assert sent["credential_id"].endswith("::1")


V2_CREDENTIAL = {
    "@context": ["https://www.w3.org/ns/credentials/v2"],
    "type": ["VerifiableCredential"],
    "credentialSubject": {},
}


@pytest.mark.parametrize(
    ("credential", "kind"), [(DIPLOMA, "StatusList2021Entry"), (V2_CREDENTIAL, "BitstringStatusListEntry")]
)
async def test_offers_that_say_nothing_can_be_revoked(stack: Stack, credential: Any, kind: str) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await issuer.post("settings/PRINCIPAL_SETTINGS", {"setting": {"offerRevocable": True}}, 200)
    for options in ({}, {"credentialStatus": None}):
        data = {"credential": credential, "options": options}
        await issuer.post("credential", {"to": mine.contact_uuid, "data": data})
        await accepted(stack, holder, "done")
    hits = (await holder.get("credential?status=HELD"))["hits"]
    assert all(one["verified"] for one in hits)
    found = [(await holder.get(f"credential/{one['uuid']}"))["credential"] for one in hits]
    assert [one.get("credentialStatus", {}).get("type") for one in found] in ([kind, None], [None, kind])
    jwt = await issuer.call("POST", "credential", offer("jwt-vc", mine.contact_uuid))
    assert jwt.status == 201


async def test_what_cannot_be_revoked(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await issuer.post("credential", offer("jwt-vc", mine.contact_uuid))
    await accepted(stack, holder, "done")
    [ours] = (await issuer.get("credential"))["hits"]
    answer = await issuer.call("POST", f"credential/{ours['uuid']}/revoke", {"notify": True})
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (409, "credential-not-revocable")
    for body in ({"notify": "yes"}, {"comment": 5}):
        assert (await issuer.call("POST", f"credential/{ours['uuid']}/revoke", body)).status == 400


async def test_it_is_among_the_features(stack: Stack) -> None:
    issuer, _, mine, _ = await connected(stack, "v1")
    hook = await issuer.webhook()
    query = {
        "@type": "https://didcomm.org/discover-features/2.0/queries",
        "queries": [{"feature-type": "protocol", "match": "https://didcomm.org/revocation_notification/*"}],
    }
    await issuer.act(mine.contact_uuid, query)
    told = (await hook.until(lambda got: "disclosures" in got.json()["type"])).json()
    assert {one["id"].rpartition("/")[2] for one in told["message"]["disclosures"]} == {"1.0", "2.0"}


# Attackers.


@pytest.mark.parametrize("named", ["thread", "registry", "nothing", "garbage"])
async def test_somebody_elses_word_is_nothing(stack: Stack, named: str) -> None:
    _, holder, _, theirs = await held(stack, "v1")
    exchange = await holder.get(f"exchange/{theirs['exchangeUuid']}")
    mallory = await stack.register("Mallory")
    invited = await holder.post("invitation", {})
    await mallory.post("contact", {"invitation": invited["invitation"]})

    async def joined() -> Any:
        hits = (await mallory.get("connection?state=completed"))["hits"]
        return hits[0] if hits else None

    connection = await stack.eventually(joined)
    name = {"thread": exchange["thid"], "registry": "indy::x::1", "nothing": None, "garbage": ["x"]}[named]
    notice = {"@type": "https://didcomm.org/revocation_notification/1.0/revoke", "thread_id": name, "comment": "Ha"}
    await mallory.act(connection["contactUuid"], notice)

    async def came() -> Any:
        hits = (await holder.get("message?type=https://didcomm.org/revocation_notification"))["hits"]
        return hits[0] if hits else None

    message = await stack.eventually(came)
    assert (message["status"], message["error"]) == ("RECEIVED", "credential-unknown")
    assert (await holder.get(f"credential/{theirs['uuid']}"))["revocationNotice"] is None
