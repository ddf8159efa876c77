"""Contexts that a tenant gives: issued by, held, shown and filtered; for that tenant alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.test_exchanges import connected, state
from tests.stack import Client, Stack

URL = "https://acme.example/terms/v1"
CONTEXT = {
    "@context": {
        "@version": 1.1,
        "@protected": True,
        "id": "@id",
        "type": "@type",
        "ex": "https://acme.example/terms#",
        "Membership": {"@id": "ex:Membership", "@context": {"@protected": True, "level": "ex:level"}},
    }
}
CREDENTIAL = {
    "@context": ["https://www.w3.org/2018/credentials/v1", URL],
    "type": ["VerifiableCredential"],
    "credentialSubject": {"type": "Membership", "level": "gold"},
}
INLINE = {
    "@context": [
        "https://www.w3.org/2018/credentials/v1",
        {"ex": "https://acme.example/terms#", "Membership": "ex:Membership", "level": "ex:level"},
    ],
    "type": ["VerifiableCredential", "Membership"],
    "credentialSubject": {"level": "gold"},
}
GOLD = {
    "id": "gold",
    "constraints": {"fields": [{"path": ["$.credentialSubject.level"], "filter": {"const": "gold"}}]},
}


async def offered(client: Client, contact: str, credential: dict[str, Any]) -> Any:
    body = {"to": contact, "format": "ld-proof", "data": {"credential": credential}}
    return await client.call("POST", "credential", body)


async def waiting(stack: Stack, client: Client, wanted: str) -> Any:
    async def check() -> Any:
        hits = (await client.get(f"exchange?state={wanted}"))["hits"]
        return hits[0] if hits else None

    return await stack.eventually(check)


async def accepted(stack: Stack, holder: Client, ends: str) -> None:
    received = await waiting(stack, holder, "offer-received")
    await holder.post(f"exchange/{received['uuid']}/accept", {}, 200)
    await state(stack, holder, received["uuid"], ends)


async def proven(stack: Stack, verifier: Client, prover: Client, contact: str) -> Any:
    definition = {"input_descriptors": [GOLD]}
    asked = await verifier.post("proof-request", {"to": contact, "data": {"presentation_definition": definition}})
    request = await waiting(stack, prover, "request-received")
    await prover.post(f"exchange/{request['uuid']}/accept", {}, 200)
    done = await state(stack, verifier, asked["uuid"], "done")
    return await verifier.get(f"presentation/{done['presentationUuids'][0]}")


async def test_a_context_by_url_is_the_tenants_own(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    answer = await offered(issuer, mine.contact_uuid, CREDENTIAL)
    assert answer.status == 400
    assert URL in answer.json()["detail"]
    given = await issuer.post("context", {"url": URL, "document": CONTEXT})
    assert (await offered(issuer, mine.contact_uuid, CREDENTIAL)).status == 201
    # The holder does not know what the words mean: nothing is fetched, and nothing is another tenant's.
    await accepted(stack, holder, "abandoned")
    [refused] = (await holder.get("credential"))["hits"]
    assert refused["status"] == "REJECTED"
    assert any(URL in check["detail"] for check in refused["checks"])
    assert (await holder.get("context"))["hits"] == []

    await holder.post("context", {"url": URL, "document": CONTEXT})
    assert (await offered(issuer, mine.contact_uuid, CREDENTIAL)).status == 201
    await accepted(stack, holder, "done")
    shown = await proven(stack, issuer, holder, mine.contact_uuid)
    assert (shown["status"], shown["verified"]) == ("VERIFIED", True)
    assert shown["summary"]["claims"]["gold"]["level"] == "gold"

    [listed] = (await issuer.get("context"))["hits"]
    assert listed["uuid"] == given["uuid"]
    assert (await issuer.get(f"context/{given['uuid']}"))["document"] == CONTEXT
    assert (await issuer.call("DELETE", f"context/{given['uuid']}")).status == 204
    assert (await offered(issuer, mine.contact_uuid, CREDENTIAL)).status == 400
    assert (await issuer.call("GET", f"context/{given['uuid']}")).status == 404


async def test_the_same_url_with_another_meaning(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v1")
    await issuer.post("context", {"url": URL, "document": CONTEXT})
    other = {"@context": {"Membership": "https://other.example/Membership", "level": "https://other.example/level"}}
    await holder.post("context", {"url": URL, "document": other})
    assert (await offered(issuer, mine.contact_uuid, CREDENTIAL)).status == 201
    await accepted(stack, holder, "abandoned")


async def test_terms_inside_a_credential_need_nothing_else(stack: Stack) -> None:
    issuer, holder, mine, _ = await connected(stack, "v2")
    assert (await offered(issuer, mine.contact_uuid, INLINE)).status == 201
    await accepted(stack, holder, "done")
    shown = await proven(stack, issuer, holder, mine.contact_uuid)
    assert shown["verified"]


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": URL, "document": {"@context": {"level": "https://acme.example/terms#other"}}}, "context-invalid"),
        ({"url": URL, "document": {"@context": "https://acme.example/other"}}, "context-invalid"),
        ({"url": URL, "document": {"context": {}}}, "context-invalid"),
        ({"url": URL, "document": []}, "context-invalid"),
        ({"url": URL}, "context-invalid"),
        ({"url": URL, "document": {"@context": {}, "note": "x" * 200_000}}, "context-invalid"),
        ({"url": URL, "document": {"@context": {}, "deep": deep(40)}}, "context-invalid"),
        ({"document": CONTEXT}, "url-invalid"),
        ({"url": "acme.example/terms", "document": CONTEXT}, "url-invalid"),
        ({"url": URL + "#fragment", "document": CONTEXT}, "url-invalid"),
        ({"url": "https://w3id.org/citizenship/v1", "document": CONTEXT}, "context-exists"),
    ],
)
async def test_contexts_that_are_not_taken(stack: Stack, body: dict[str, Any], code: str) -> None:
    client = await stack.register("Acme")
    answer = await client.call("POST", "context", body)
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (409 if "exists" in code else 400, code)


async def test_a_context_does_not_change_under_its_url(stack: Stack) -> None:
    client = await stack.register("Acme")
    await client.post("context", {"url": URL, "document": CONTEXT})
    answer = await client.call("POST", "context", {"url": URL, "document": {"@context": {}}})
    assert answer.status == 409


async def test_how_many_contexts(stack: Stack) -> None:
    client = await stack.register("Acme")
    for number in range(50):
        await client.post("context", {"url": f"{URL}/{number}", "document": {"@context": {}}})
    answer = await client.call("POST", "context", {"url": URL, "document": CONTEXT})
    assert (answer.status, answer.json()["type"].rpartition(":")[2]) == (409, "context-limit")
