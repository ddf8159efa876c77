"""What a tenant publishes to issue AnonCreds by is served to anybody; what another publishes is fetched and used."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import replace
from typing import Any

import base58
import pytest

from tests.stack import Client, Stack
from tests.unit.credentials.anoncreds_world import NoSigner
from tntcore.credentials.anoncreds.credential import preview_of
from tntcore.credentials.anoncreds.issuer import revocation_of
from tntcore.credentials.anoncreds.registry import resource_url, tails_size
from tntcore.credentials.anoncreds.setup import AnonCredsParts, open_anoncreds
from tntcore.credentials.formats import Issuing, Party

ATTRIBUTES = ["name", "age"]


@pytest.fixture
async def parts(stack: Stack) -> AnonCredsParts:
    """Another process, in effect: with caches of its own."""
    return open_anoncreds(stack.app.services)


async def party(client: Client) -> Party:
    return Party(client.identity["did"], NoSigner(), (await client.tenant()).records)


async def fetch(stack: Stack, url: str) -> Any:
    """As anybody would, without a key."""
    answer = await stack.call("GET", url.removeprefix(f"{stack.url}/api/"))
    assert answer.status == 200, answer.body
    return answer


async def test_a_schema_is_published_under_its_content(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    schema = await acme.post("schema", {"name": "degree", "version": "1.0", "attributes": ATTRIBUTES})
    assert schema["issuerId"] == acme.identity["did"]
    assert schema["schemaId"].startswith(f"{acme.identity['did']}/resources/")
    published = await fetch(stack, resource_url(schema["schemaId"], allow_http=True))
    assert published.json() == {
        "issuerId": acme.identity["did"],
        "name": "degree",
        "version": "1.0",
        "attrNames": ATTRIBUTES,
    }
    assert hashlib.sha256(published.body).hexdigest() == schema["schemaId"].rpartition("/")[2]
    assert "immutable" in published.headers["Cache-Control"]
    assert await acme.get(f"schema/{schema['uuid']}") == schema
    assert (await acme.get("schema"))["hits"] == [schema]
    again = await acme.call("POST", "schema", {"name": "degree", "version": "1.0", "attributes": ATTRIBUTES})
    assert (again.status, again.json()["type"]) == (409, "urn:tnt:problem:schema-exists")
    assert (await bolt.call("GET", f"schema/{schema['uuid']}")).status == 404
    assert (await bolt.get("schema"))["hits"] == []


async def test_one_tenant_issues_by_anothers_schema_and_revokes(
    stack: Stack, pair: tuple[Client, Client], parts: AnonCredsParts
) -> None:
    acme, bolt = pair
    schema = await acme.post("schema", {"name": "id", "version": "1.0", "attributes": ATTRIBUTES})
    definition = await bolt.post(
        "credential-definition",
        {"schemaId": schema["schemaId"], "tag": "t", "supportRevocation": True, "maxCredentials": 5},
    )
    assert definition["issuerId"] == bolt.identity["did"]
    assert (definition["attributes"], definition["maxCredentials"]) == (ATTRIBUTES, 5)
    assert await bolt.get(f"credential-definition/{definition['uuid']}") == definition
    public = (await fetch(stack, resource_url(definition["credentialDefinitionId"], allow_http=True))).json()
    assert (public["schemaId"], public["issuerId"]) == (schema["schemaId"], bolt.identity["did"])
    registry = (await fetch(stack, resource_url(definition["revocationRegistryId"], allow_http=True))).json()
    tails = await fetch(stack, registry["value"]["tailsLocation"])
    assert len(tails.body) == tails_size(registry["value"]["maxCredNum"])
    assert base58.b58encode(hashlib.sha256(tails.body).digest()).decode() == registry["value"]["tailsHash"]

    issuer, holder = await party(bolt), await party(acme)
    content = {"credentialDefinitionId": definition["uuid"], "attributes": {"name": "Alice", "age": "24"}}
    preview = preview_of(content)
    offer = await parts.credentials.offer(issuer, Issuing(), content)
    request = await parts.credentials.request(holder, Issuing(offer=offer.value, preview=preview), None)
    known = Issuing(offer=offer.value, request=request.value, preview=preview)
    issued = await parts.credentials.issue(issuer, known, None)
    received = await parts.credentials.receive(holder, replace(known, secret=request.secret), issued.value)
    assert received.verification.verified, received.verification.checks
    assert (await bolt.get(f"credential-definition/{definition['uuid']}"))["issuedCredentials"] == 1

    asked = {
        "requested_attributes": {
            "who": {"name": "name", "restrictions": [{"cred_def_id": definition["credentialDefinitionId"]}]}
        },
        "requested_predicates": {"adult": {"name": "age", "p_type": ">=", "p_value": 18}},
        "non_revoked": {},
    }
    proof_request = (await parts.proofs.request(issuer, None, asked)).value
    held = replace(received.held, uuid="one")
    shown = await parts.proofs.present(holder, proof_request, [held], None)
    verified = await parts.proofs.verify(issuer, proof_request, shown.value)
    assert verified.verification.verified, verified.verification.checks

    number = revocation_of(issued.value)
    assert number is not None
    await parts.issuer.revoke(issuer.records, *number)
    await asyncio.sleep(1.1)  # Status lists have seconds.
    assert [check.name for check in (await parts.credentials.verify(held)).checks if not check.passed] == ["status"]
    url = resource_url(definition["revocationRegistryId"], allow_http=True)
    lists = [(await fetch(stack, f"{url}/status/{time}")).json() for time in ("9999999999",)]
    assert lists[0]["revocationList"][number[1]] == 1
    before = await stack.call("GET", f"{url.removeprefix(stack.url + '/api/')}/status/1000")
    assert before.status == 404


@pytest.mark.parametrize("attributes", [1, 80])
async def test_what_is_kept_of_a_definition_is_sealed(
    stack: Stack, pair: tuple[Client, Client], parts: AnonCredsParts, attributes: int
) -> None:
    """In the row, or in a blob where it is too large for one."""
    acme, _ = pair
    names = [f"a{number}" for number in range(attributes)]
    schema = await acme.post("schema", {"name": "s", "version": "1", "attributes": names})
    made = await acme.post("credential-definition", {"schemaId": schema["uuid"]})
    assert "private" not in made
    assert made["revocationRegistryId"] is None
    records = (await acme.tenant()).records
    row = await stack.app.services.storage.records.get(acme.uuid, f"credential-definition~{made['uuid']}")
    assert row is not None
    in_row = row.values.get("private", b"")
    assert bool(in_row) == (attributes == 1)
    kept = in_row or await records.stored_body(f"credential-definition~{made['uuid']}")
    assert kept
    assert b"p_key" not in kept
    content = {"credentialDefinitionId": made["uuid"], "attributes": dict.fromkeys(names, "x")}
    assert (await parts.credentials.offer(await party(acme), Issuing(), content)).value["schema_id"] == schema[
        "schemaId"
    ]


async def test_requests_that_make_nothing(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    name = {"name": "n", "version": "1"}
    key = {"method": "did:key"}
    other = await acme.post("identity", key)
    for path, body, status, code in (
        ("schema", {**name, "attributes": []}, 400, "attributes-invalid"),
        ("schema", {**name, "attributes": ["a", "A "]}, 400, "attributes-invalid"),
        ("schema", {**name, "attributes": ["a\0"]}, 400, "attributes-invalid"),
        ("schema", {**name, "attributes": [f"a{n}" for n in range(126)]}, 400, "attributes-invalid"),
        ("schema", {"version": "1", "attributes": ["a"]}, 400, "name-invalid"),
        ("schema", {**name, "attributes": ["a"], "identityId": other["uuid"]}, 400, "identity-unsuitable"),
        ("schema", {**name, "attributes": ["a"], "identityId": "none"}, 400, "identity-id-invalid"),
        ("schema", {**name, "attributes": ["a"], "identityId": "did:example:none"}, 404, "identity-unknown"),
        ("credential-definition", {}, 400, "schema-id-invalid"),
        ("credential-definition", {"schemaId": "nothing"}, 400, "schema-unusable"),
        ("credential-definition", {"schemaId": "x", "supportRevocation": "yes"}, 400, "support-revocation-invalid"),
        ("credential-definition", {"schemaId": "x", "maxCredentials": 5}, 400, "max-credentials-invalid"),
        (
            "credential-definition",
            {"schemaId": "x", "supportRevocation": True, "maxCredentials": 5001},
            400,
            "max-credentials-invalid",
        ),
        (
            "credential-definition",
            {"schemaId": f"{acme.identity['did']}/resources/{'0' * 64}"},
            400,
            "schema-unusable",
        ),
    ):
        answer = await acme.call("POST", path, body)
        assert (answer.status, answer.json()["type"]) == (status, f"urn:tnt:problem:{code}"), (body, answer.body)


async def test_nothing_else_is_served_there(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    uuid = acme.identity["uuid"]
    message = base64.b16encode(b"x" * 32).decode().lower()
    for path in (
        f"identity/{uuid}/resources/{message}",
        f"identity/{uuid}/resources/..%2F..",
        f"identity/{uuid}/resources/{'0' * 63}",
        f"identity/none/resources/{'0' * 64}",
        f"identity/{uuid}/resources/{'0' * 64}/status/1",
        f"identity/{uuid}/resources/{'0' * 64}/status/-1",
        f"identity/{uuid}/resources/{'0' * 64}/status/99999999999",
    ):
        assert (await stack.call("GET", path)).status == 404, path


async def test_an_address_of_a_deleted_tenants_has_nothing(stack: Stack) -> None:
    gone = await stack.register("Gone")
    schema = await gone.post("schema", {"name": "s", "version": "1", "attributes": ["a"]})
    path = resource_url(schema["schemaId"], allow_http=True).removeprefix(f"{stack.url}/api/")
    assert (await stack.call("GET", path)).status == 200
    assert (await stack.call("DELETE", f"principal/{gone.uuid}", **stack.operator)).status == 204
    assert (await stack.call("GET", path)).status == 404
