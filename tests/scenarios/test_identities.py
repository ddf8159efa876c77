"""Identities by other DIDs: a did:key made here, and one whose key the tenant's own signer holds."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from urllib.parse import quote

import orjson
import pytest
from nacl.signing import SigningKey, VerifyKey

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.signer import ExternalSigner, bind, external_signer, signer_of
from tests.scenarios.test_did_exchange import completed, only_connection
from tests.stack import Client, Stack
from tntcore.credentials.formats import SigningError
from tntcore.dids import key as did_key
from tntcore.dids import peer
from tntcore.dids.document import PublicKey
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import pack_v1, pack_v2
from tntcore.storage.records import Identity


@pytest.fixture
async def signer() -> AsyncIterator[ExternalSigner]:
    async with external_signer() as running:
        yield running


async def test_a_did_key_signs_and_connects(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    made = await acme.post("identity", {"method": "did:key", "displayName": "Signs"})
    did = made["did"]
    assert (made["method"], made["status"], made["ownDid"], made["external"]) == ("did:key", "ACTIVE", did, False)
    assert (await acme.get(f"identity/{did}"))["uuid"] == made["uuid"]
    assert_problem(await stack.call("GET", f"identity/{made['uuid']}/did.json"), 404, "identity-unknown")

    signer = await signer_of(acme, made["uuid"])
    document = did_key.resolve(did)
    assert signer.kid == document.assertion[0]
    VerifyKey(document.methods[signer.kid].key.raw).verify(b"claims", await signer.sign(b"claims"))

    # It invites, and is connected, as any other identity.
    invited = await acme.post("invitation", {"identityId": did})
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    hook = await acme.webhook("basicmessage")
    await completed(bolt, contact["connectionUuid"])
    assert (await only_connection(acme))["identityDid"] == did
    await bolt.act(contact["uuid"], basic("hello"))
    assert (await hook.until(lambda hook: True)).json()["to"] == did


async def test_a_did_key_cannot_be_reached_by_its_did(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    made = await acme.post("identity", {"method": "key"})
    invitation = {"identityId": made["uuid"], "publicDid": True}
    assert_problem(await acme.call("POST", "invitation", invitation), 400, "public-did-unreachable")
    assert_problem(await bolt.call("POST", "contact", {"contact": {"did": made["did"]}}), 400, "did-unusable")
    # Who has its key and knows the service is heard.
    public = did_key.resolve(made["did"]).methods[did_key.resolve(made["did"]).assertion[0]].key
    packed = pack_v1(orjson.dumps(basic("x", **{"@id": "1"})), recipients=[encode_verkey(public)], sender=None)
    assert (await acme.stack.deliver(packed)).status == 202

    async def heard() -> object:
        return (await acme.get("message"))["hits"]

    [message] = await acme.stack.eventually(heard)
    assert message["to"] == made["did"]


async def test_binding_a_did_whose_key_is_elsewhere(
    stack: Stack, pair: tuple[Client, Client], signer: ExternalSigner
) -> None:
    acme, bolt = pair
    own, uuid = acme.identity["did"], acme.identity["uuid"]
    before, _ = await stack.connect(acme, bolt)
    hook = await acme.webhook("basicmessage")
    sent = await acme.act(before.contact_uuid, basic("before"))
    invited = await acme.post("invitation", {})
    published = (await stack.call("GET", f"identity/{uuid}/did.json")).body

    await signer.serve(acme)
    changed = await acme.call("PUT", f"identity/{quote(own)}", {"did": signer.web_did, "displayName": "Acme Ltd"})
    assert changed.status == 200, changed.body
    identity = changed.json()
    assert (identity["did"], identity["ownDid"], identity["external"]) == (signer.web_did, own, True)
    assert (identity["method"], identity["displayName"]) == ("did:web", "Acme Ltd")
    for name in (uuid, own.replace("%", "%25"), signer.web_did.replace("%", "%25")):
        assert await acme.get(f"identity/{name}") == identity
    assert (await stack.call("GET", f"identity/{uuid}/did.json")).body == published

    # A connection from before goes on, as one of the identity by its new DID; what was said stays as it was said.
    query = quote(signer.web_did)
    assert [hit["uuid"] for hit in (await acme.get(f"connection?identityDid={query}"))["hits"]] == [before.uuid]
    theirs = (await bolt.get("contact"))["hits"][0]["uuid"]
    await bolt.act(theirs, basic("after"))
    assert (await hook.until(lambda hook: hook.json()["message"]["content"] == "after")).json()["to"] == signer.web_did
    after = await acme.act(before.contact_uuid, basic("answer"), **{"from": signer.web_did})
    assert after["from"] == signer.web_did
    assert (await acme.get(f"message/{sent['messages'][0]}"))["from"] == own
    # So does one by an invitation from before.
    other = await stack.register("Cory")
    await other.post("contact", {"invitationUrl": invited["invitationUrl"]})

    async def joined() -> bool:
        hits = (await acme.get(f"connection?identityDid={query}"))["hits"]
        return len(hits) == 2 and all(hit["state"] == "completed" for hit in hits)

    await stack.eventually(joined)
    public = {"publicDid": True}
    assert_problem(await acme.call("POST", "invitation", public), 400, "public-did-unreachable")

    # What it signs, its signer signs.
    asked = len(signer.asked)
    remote = await signer_of(acme)
    assert (remote.kid, remote.key) == (f"{signer.web_did}#k", signer.public)
    signer.key.verify_key.verify(b"claims", await remote.sign(b"claims"))
    assert len(signer.asked) == asked + 1

    # And back.
    await bind(acme, own)
    identity = await acme.get(f"identity/{uuid}")
    assert (identity["did"], identity["ownDid"], identity["external"]) == (own, own, False)
    local = await signer_of(acme)
    assert local.kid == f"{own}#key-1"
    VerifyKey(local.key.raw).verify(b"claims", await local.sign(b"claims"))
    assert len(signer.asked) == asked + 1
    assert len((await acme.get(f"connection?identityDid={quote(own)}"))["hits"]) == 2


@pytest.mark.parametrize("external", ["did:key", "did:peer"])
async def test_requests_to_the_did_that_was_made_here_are_still_read(
    pair: tuple[Client, Client], signer: ExternalSigner, external: str
) -> None:
    acme, bolt = pair
    invited = await acme.post("invitation", {"publicDid": True})
    # One that contains its document, with other keys than are here.
    peer_did = peer.create_2([("V", signer.public), ("A", signer.public)], [])
    did = signer.did if external == "did:key" else peer_did
    await bind(acme, did)
    contact = await bolt.post("contact", {"invitationUrl": invited["invitationUrl"]})
    await completed(bolt, contact["connectionUuid"])
    assert (await only_connection(acme))["identityDid"] == did

    own = await acme.stack.app.services.resolver.resolve(acme.identity["did"])
    message = {"id": "1", "type": "https://example.com/1.0/hello", "body": {}}
    packed = pack_v2(message, to=own)
    assert (await acme.stack.deliver(packed, "application/didcomm-encrypted+json")).status == 202

    async def read() -> object:
        hits = (await acme.get("message"))["hits"]
        return [hit["to"] for hit in hits if hit["type"] == message["type"]]

    assert await acme.stack.eventually(read) == [did]


async def test_a_did_is_bound_once(stack: Stack, pair: tuple[Client, Client], signer: ExternalSigner) -> None:
    acme, bolt = pair
    second = await acme.post("identity", {})
    path = f"identity/{second['uuid']}"
    await bind(acme, signer.did)
    await bind(acme, signer.did)
    assert_problem(await acme.call("PUT", path, {"did": signer.did}), 409, "did-bound")
    # Nor that which the other identity had, and may have again.
    assert_problem(await acme.call("PUT", path, {"did": acme.identity["did"]}), 409, "did-bound")
    # Another tenant may name it: it proves nothing, and nothing is signed by it without its key.
    await bind(bolt, signer.did)
    await bind(acme, signer.web_did)
    assert (await acme.call("PUT", path, {"did": signer.did})).status == 200


async def test_two_identities_take_one_did_at_once(pair: tuple[Client, Client], signer: ExternalSigner) -> None:
    acme, _ = pair
    tenant = await acme.tenant()
    uuids = [acme.identity["uuid"], *[(await acme.post("identity", {}))["uuid"] for _ in range(3)]]
    answers = await asyncio.gather(*(acme.call("PUT", f"identity/{uuid}", {"did": signer.did}) for uuid in uuids))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    stored = await tenant.records.many(Identity, uuids)
    assert [identity.did for identity in stored].count(signer.did) == 1


@pytest.mark.parametrize(
    ("did", "status", "code"),
    [
        ("", 400, "did-invalid"),
        (7, 400, "did-invalid"),
        (None, 400, "display-name-invalid"),
        ("acme", 400, "did-invalid"),
        ("did:key:z6Mk", 400, "did-invalid"),
        ("did:web:10.0.0.1:x", 400, "did-invalid"),
        ("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK#x", 400, "did-invalid"),
        ("did:web:" + "x" * 3000, 400, "did-invalid"),
        ("did:indy:sovrin:x", 400, "did-unusable"),
        ("did:web:unknown.invalid", 502, "did-unresolvable"),
        # It is an X25519 key.
        ("did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc", 400, "did-unusable"),
    ],
)
async def test_a_did_that_cannot_be_bound(stack: Stack, did: object, status: int, code: str) -> None:
    acme = await stack.register("Acme")
    path = f"identity/{acme.identity['uuid']}"
    assert_problem(await acme.call("PUT", path, {"did": did}), status, code)
    assert (await acme.get(path))["did"] == acme.identity["did"]


async def test_settings_that_are_known_are_checked(stack: Stack) -> None:
    acme = await stack.register("Acme")
    for setting, named in (
        ([], "object"),
        ("text", "object"),
        ({"autoOffer": "yes"}, "autoOffer"),
        ({"autoAcceptConnections": 0}, "autoAcceptConnections"),
        ({"autoAcceptConnection": False}, "'autoAcceptConnections'"),
        ({"RetentionDays": 30}, "'retentionDays'"),
        ({"retentionDays": 0}, "retentionDays"),
        ({"retentionDays": True}, "retentionDays"),
        ({"retentionDays": "30"}, "retentionDays"),
        ({"retentionDays": 36_501}, "retentionDays"),
        ({"externalSigningUrl": ["https://a.example"]}, "externalSigningUrl"),
        ({"externalSigningUrl": "ftp://a.example"}, "https"),
        ({"externalSigningUrl": "https://user:secret@a.example"}, "user name"),
        ({"externalSigningUrl": "https://a.example/" + "x" * 3000}, "externalSigningUrl"),
        ({"externalSigningUrl": "https://a.example/\n"}, "externalSigningUrl"),
    ):
        problem = assert_problem(
            await acme.call("PUT", "settings/PRINCIPAL_SETTINGS", {"setting": setting}), 400, "setting-invalid"
        )
        assert named in problem["detail"], problem
        assert "secret" not in problem["detail"]
    tenant = await acme.tenant()
    assert (await tenant.automatic("autoOffer", True), await tenant.automatic("autoOffer", False)) == (True, False)
    for value in (True, False):
        preferences = {"autoOffer": value, "autoVerify": None, "erpUrl": None}
        saved = await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": preferences}, 200)
        assert saved["setting"] == {"autoOffer": value, "erpUrl": None}
        assert (await tenant.automatic("autoOffer", True), await tenant.automatic("autoOffer", False)) == (value, value)
        assert await tenant.auto_accept()
    assert (await acme.call("DELETE", "settings/PRINCIPAL_SETTINGS")).status == 204
    assert await tenant.automatic("autoOffer", True)


async def test_the_secret_of_a_signer(stack: Stack) -> None:
    acme = await stack.register("Acme")

    async def save(url: str | None) -> str | None:
        setting = {"externalSigningUrl": url} if url else {}
        saved = await acme.post("settings/PRINCIPAL_SETTINGS", {"setting": setting}, 200)
        found: str | None = saved.get("secrets", {}).get("externalSigningUrl")
        return found

    first = await save("https://a.example/sign")
    assert first is not None
    assert first.startswith("whsec_")
    assert await save("https://a.example/sign") is None
    assert first.encode() not in (await acme.call("GET", "settings/PRINCIPAL_SETTINGS")).body
    second = await save("https://b.example/sign")
    assert second not in (None, first)
    assert await save(None) is None
    assert await save("https://b.example/sign") not in (None, first, second)


async def test_an_external_did_without_a_signer(stack: Stack, signer: ExternalSigner) -> None:
    acme = await stack.register("Acme")
    await bind(acme, signer.did)
    with pytest.raises(SigningError) as refused:
        await signer_of(acme)
    assert "externalSigningUrl" in refused.value.detail
    await signer.serve(acme)
    signer.reply = lambda hook: (200, {}, _padded(signer.key, hook.json()["message"]))
    signature = await (await signer_of(acme)).sign(b"\xff\xfe" * 50)
    VerifyKey(PublicKey("Ed25519", signer.key.verify_key.encode()).raw).verify(b"\xff\xfe" * 50, signature)


def _padded(key: SigningKey, message: str) -> str:
    signature = key.sign(base64.urlsafe_b64decode(message + "==")).signature
    return orjson.dumps({"signature": base64.urlsafe_b64encode(signature).decode(), "more": []}).decode()
