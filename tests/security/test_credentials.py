"""Attackers who issue, hold and prove: the other side of the connection is theirs, with keys of its own."""

import base64
from typing import Any

import orjson
import pytest

from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_exchanges import only, state
from tests.stack import Client, Stack
from tests.unit.credentials.ld import Key
from tntcore.credentials.linked_data import LinkedData

ISSUE = "https://didcomm.org/issue-credential/2.0/issue-credential"
OFFER = "https://didcomm.org/issue-credential/2.0/offer-credential"
V1, CITIZENSHIP = "https://www.w3.org/2018/credentials/v1", "https://w3id.org/citizenship/v1"
ISSUER, MALLORY = Key(1), Key(2)


@pytest.fixture
async def holder(stack: Stack) -> Client:
    return await stack.register("Holder")


@pytest.fixture
async def issuer(stack: Stack, holder: Client) -> Foreign:
    return await connect_foreign(stack, holder)


def wish(**subject: Any) -> dict[str, Any]:
    """What the holder asks for, of ISSUER."""
    return {
        "@context": [V1, CITIZENSHIP],
        "type": ["VerifiableCredential", "PermanentResident"],
        "issuer": ISSUER.did,
        "issuanceDate": "2020-01-01T12:00:00Z",
        "credentialSubject": {"type": "PermanentResident", "givenName": "ALICE", **subject},
    }


async def ask(holder: Client, issuer: Foreign, credential: dict[str, Any]) -> Any:
    """The holder's new exchange, in which it has asked for the credential."""
    return await holder.post(
        "credential",
        {
            "command": "request",
            "to": issuer.connection.contact_uuid,
            "data": {"credential": credential, "options": {"proofType": "Ed25519Signature2020"}},
        },
    )


async def sign(stack: Stack, credential: dict[str, Any], key: Key) -> dict[str, Any]:
    services = stack.app.services
    linked_data = LinkedData(services.workers, services.resolver.resolve, services.now)
    return await linked_data.sign(
        credential,
        key,
        suite="Ed25519Signature2020",
        purpose="assertionMethod",
        created_ms=services.now() - 1000,
    )


def message(type_: str, thid: str, value: Any, *, id_: str = "issued") -> bytes:
    key, format_ = ("credentials~attach", "aries/ld-proof-vc@v1.0")
    if type_ == OFFER:
        key, format_ = ("offers~attach", "aries/ld-proof-vc-detail@v1.0")
    data = base64.b64encode(orjson.dumps(value)).decode()
    return orjson.dumps(
        {
            "@type": type_,
            "@id": id_,
            "~thread": {"thid": thid},
            "formats": [{"attach_id": "0", "format": format_}],
            key: [{"@id": "0", "mime-type": "application/json", "data": {"base64": data}}],
        }
    )


async def answered(stack: Stack, holder: Client, issuer: Foreign, exchange: Any, value: Any, expected: str) -> Any:
    """The exchange after the issuer has sent the credential."""
    sent = await stack.deliver(issuer.v1(message(ISSUE, exchange["thid"], value)))
    assert sent.status == 202
    return await state(stack, holder, exchange["uuid"], expected)


async def failed_checks(holder: Client, exchange: Any) -> set[str]:
    [uuid] = exchange["credentialUuids"]
    credential = await holder.get(f"credential/{uuid}")
    assert (credential["status"], credential["verified"]) == ("REJECTED", False)
    return {check["name"] for check in credential["checks"] if check["passed"] is False}


async def test_the_right_credential_is_kept(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    done = await answered(stack, holder, issuer, asked, await sign(stack, credential, ISSUER), "done")
    kept = await holder.get(f"credential/{done['credentialUuids'][0]}")
    assert (kept["status"], kept["verified"]) == ("HELD", True)


async def test_a_valid_signature_by_another_key(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    ended = await answered(stack, holder, issuer, asked, await sign(stack, credential, MALLORY), "abandoned")
    assert "issuer" in await failed_checks(holder, ended)


async def test_a_credential_for_another_holder(stack: Stack, holder: Client, issuer: Foreign) -> None:
    asked = await ask(holder, issuer, wish(id=holder.identity["did"]))
    other = await sign(stack, wish(id=MALLORY.did), ISSUER)
    ended = await answered(stack, holder, issuer, asked, other, "abandoned")
    assert await failed_checks(holder, ended) & {"holder-binding", "request"}


async def test_an_altered_claim(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    signed = await sign(stack, credential, ISSUER)
    signed["credentialSubject"]["givenName"] = "MALLORY"
    ended = await answered(stack, holder, issuer, asked, signed, "abandoned")
    assert "signature" in await failed_checks(holder, ended)


async def test_a_claim_that_the_signature_would_not_cover(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    signed = await sign(stack, credential, ISSUER)
    signed["credentialSubject"]["accountBalance"] = 1_000_000
    ended = await answered(stack, holder, issuer, asked, signed, "abandoned")
    assert "signature" in await failed_checks(holder, ended)


async def test_a_credential_that_nobody_asked_for(stack: Stack, holder: Client, issuer: Foreign) -> None:
    signed = await sign(stack, wish(id=holder.identity["did"]), ISSUER)
    assert (await stack.deliver(issuer.v1(message(ISSUE, "unheard-of", signed)))).status == 202

    async def stored() -> Any:
        hits = (await holder.get("message"))["hits"]
        return next((hit for hit in hits if hit["type"] == ISSUE), None)

    received = await stack.eventually(stored)
    # It is kept and relayed like any message, and does nothing.
    assert (received["status"], received["error"]) == ("RECEIVED", "out-of-turn")
    assert (await holder.get("credential"))["hits"] == []
    assert (await holder.get("exchange"))["hits"] == []


async def test_a_credential_on_somebody_elses_thread(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    mallory = await connect_foreign(stack, holder)
    signed = await sign(stack, credential, ISSUER)
    assert (await stack.deliver(mallory.v1(message(ISSUE, asked["thid"], signed)))).status == 202
    # The true one, sent after it, is still awaited.
    done = await answered(stack, holder, issuer, asked, signed, "done")
    assert len(done["credentialUuids"]) == 1
    assert len((await holder.get("credential"))["hits"]) == 1


async def test_the_same_credential_message_twice(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    signed = await sign(stack, credential, ISSUER)
    await answered(stack, holder, issuer, asked, signed, "done")
    again = message(ISSUE, asked["thid"], signed, id_="again")
    assert (await stack.deliver(issuer.v1(again))).status == 202

    async def refused() -> Any:
        hits = (await holder.get("message"))["hits"]
        return next((hit for hit in hits if hit["error"] == "out-of-turn"), None)

    await stack.eventually(refused)
    assert len((await holder.get("credential"))["hits"]) == 1


async def test_a_credential_of_megabytes(stack: Stack, holder: Client, issuer: Foreign) -> None:
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    large = {**credential, "credentialSubject": {**credential["credentialSubject"], "familyName": "X" * 2_500_000}}
    ended = await answered(stack, holder, issuer, asked, {**large, "proof": {}}, "abandoned")
    assert ended["status"] == "ABANDONED"
    envelope = orjson.loads(issuer.v1(b"{}"))
    envelope["ciphertext"] = "A" * 11_000_000
    assert (await stack.deliver(orjson.dumps(envelope))).status == 413
    # Whatever becomes of it, the service goes on.
    await ask(holder, issuer, credential)


async def test_a_context_at_a_private_address(stack: Stack, holder: Client, issuer: Foreign) -> None:
    """The stack allows loopback for webhooks: nothing may be fetched for a context all the same."""
    hook = await holder.webhook()
    credential = wish(id=holder.identity["did"])
    asked = await ask(holder, issuer, credential)
    signed = await sign(stack, credential, ISSUER)
    signed["@context"] = [*signed["@context"], hook.url + "/context"]
    ended = await answered(stack, holder, issuer, asked, signed, "abandoned")
    assert ended["error"]
    assert not [got for got in hook.got if got.path == "/context"]


async def test_a_hostile_offer_leaves_the_service_alone(stack: Stack, holder: Client, issuer: Foreign) -> None:
    deep: Any = {}
    for _ in range(60):
        deep = {"x": [deep]}
    values: list[Any] = [[], "text", 1, None, {}, {"credential": 1}, {"credential": deep, "options": {}}]
    for number, value in enumerate(values):
        sent = await stack.deliver(issuer.v1(message(OFFER, f"offer-{number}", value, id_=f"offer-{number}")))
        assert sent.status == 202

    async def settled() -> Any:
        hits = (await holder.get("exchange?limit=50"))["hits"]
        return hits if len(hits) == 7 else None

    for exchange in await stack.eventually(settled):
        answer = await holder.call("POST", f"exchange/{exchange['uuid']}/accept", {})
        assert answer.status in (400, 409), (exchange, answer.body)


async def test_a_request_for_more_than_an_invitation_offers(stack: Stack, holder: Client) -> None:
    """What is offered in an invitation is issued to whoever answers it, without asking: that, and nothing else."""
    issuer = await stack.register("Issuer")
    offered = {"credential": {name: value for name, value in wish().items() if name != "issuer"}}
    made = await issuer.post("credential", {"invitation": {}, "data": offered})
    await holder.post("contact", {"invitationUrl": made["invitationUrl"]})
    received = await only(stack, holder, "offer-received")
    stored = await holder.get(f"message/{received['messages']['offer']}")
    detail = orjson.loads(base64.b64decode(stored["message"]["offers~attach"][0]["data"]["base64"]))
    detail["credential"]["credentialSubject"]["givenName"] = "MALLORY"
    request = {
        "@type": "https://didcomm.org/issue-credential/2.0/request-credential",
        "formats": [{"attach_id": "0", "format": "aries/ld-proof-vc-detail@v1.0"}],
        "requests~attach": [{"@id": "0", "data": {"json": detail}}],
    }
    await holder.post(f"action/{received['actionUuid']}", {"data": {"message": request}}, 200)
    ended = await only(stack, issuer, "abandoned")
    assert ended["error"].startswith("request-differs")
    assert (await issuer.get("credential"))["hits"] == []
