"""What is published as AnonCreds definitions by those who want something else to be believed, or this service to be
busy. Everything is fetched as the service does it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import base58
import orjson
import pytest
from aiohttp import web

from tests.stack import Client, Stack
from tests.unit.credentials.anoncreds_world import NoSigner
from tntcore import fetches
from tntcore.credentials.anoncreds.registry import (
    MAX_CREDENTIALS,
    Registries,
    TailsFiles,
    WebRegistry,
    egress_fetch,
    resource_id,
    resource_url,
    tails_size,
)
from tntcore.credentials.anoncreds.setup import open_anoncreds
from tntcore.credentials.formats import FormatError, Issuing, Party
from tntcore.egress import Egress
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.shares import on_behalf_of


@dataclass
class Host:
    """A publisher: `answers` by path; 404 for the rest. `hits` counts."""

    runner: web.ServerRunner
    port: int
    answers: dict[str, web.Response] = field(default_factory=dict)
    wait: float = 0
    hits: int = 0

    @property
    def did(self) -> str:
        return f"did:web:127.0.0.1%3A{self.port}:issuer"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def publish(self, content: bytes, did: str = "") -> str:
        identifier = resource_id(did or self.did, content)
        self.answers[f"/issuer/resources/{identifier.rpartition('/')[2]}"] = web.Response(body=content)
        return identifier


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async def handle(request: web.BaseRequest) -> web.Response:
        made.hits += 1
        await asyncio.sleep(made.wait)
        return made.answers.get(request.path, web.Response(status=404))

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made = Host(runner, runner.addresses[0][1])
    yield made
    await runner.cleanup()


@pytest.fixture
def registry(stack: Stack) -> Registries:
    return Registries([WebRegistry(egress_fetch(stack.app.services.egress), time.monotonic, allow_http=True)])


def schema(issuer: str, **more: Any) -> bytes:
    return orjson.dumps({"issuerId": issuer, "name": "s", "version": "1", "attrNames": ["a"], **more})


async def refused(wanted: Any) -> str:
    with pytest.raises(FormatError) as error:
        await wanted
    return error.value.code


async def test_the_control_is_had(host: Host, registry: Registries) -> None:
    identifier = host.publish(schema(host.did))
    assert (await registry.schema(identifier))["name"] == "s"
    await registry.schema(identifier)
    assert host.hits == 1


async def test_nobody_publishes_in_the_name_of_another_did(host: Host, registry: Registries, tenant: Client) -> None:
    assert await refused(registry.schema(host.publish(schema(tenant.identity["did"])))) == "issuer-mismatch"
    assert await refused(registry.schema(host.publish(orjson.dumps({"name": "s"})))) == "issuer-mismatch"


async def test_content_cannot_be_changed_once_it_has_an_identifier(host: Host, registry: Registries) -> None:
    identifier = host.publish(schema(host.did))
    path = f"/issuer/resources/{identifier.rpartition('/')[2]}"
    host.answers[path] = web.Response(body=schema(host.did, version="2"))
    assert await refused(registry.schema(identifier)) == "definition-mismatch"


async def test_what_is_inside_is_not_reached(host: Host) -> None:
    async def inside(name: str) -> list[str]:
        return ["127.0.0.1"] if name == "issuer.example" else ["10.0.0.1"]

    egress = Egress(lookup=inside)
    strict = Registries([WebRegistry(egress_fetch(egress), time.monotonic)])
    content = schema("did:web:issuer.example")
    try:
        for did in ("did:web:issuer.example", f"did:web:issuer.example%3A{host.port}:issuer", "did:web:intranet"):
            assert await refused(strict.schema(resource_id(did, content))) == "definition-unreachable"
        for did in (host.did, "did:web:127.0.0.1", "did:web:169.254.169.254:metadata", "did:web:[::1]", "did:web:a:.."):
            assert await refused(strict.schema(resource_id(did, content))) == "identifier-unsupported"
        definition = {"value": {"tailsHash": "x", "tailsLocation": host.url("/tails"), "maxCredNum": 5}}
        tails = TailsFiles(egress_fetch(egress), time.monotonic)
        assert await refused(tails.get(definition)) == "definition-unreachable"
    finally:
        await egress.close()
    assert host.hits == 0


async def test_identifiers_lead_nowhere_else(registry: Registries, host: Host) -> None:
    digest = "0" * 64
    for identifier in (
        f"{host.did}/resources/{digest}/../../admin",
        f"{host.did}/resources/{digest}?x=y",
        f"{host.did}#/resources/{digest}",
        f"{host.did}/other/{digest}",
        f"did:web:127.0.0.1%3A{host.port}@evil/resources/{digest}",
        f"{host.did}%2F..%2Fx/resources/{digest}",
        f"https://127.0.0.1/resources/{digest}",
        "",
    ):
        assert await refused(registry.schema(identifier)) == "identifier-unsupported", identifier
    assert host.hits == 0


async def test_a_definition_of_five_megabytes(host: Host, registry: Registries) -> None:
    huge = schema(host.did, attrNames=["a" * 5_000_000])
    assert await refused(registry.schema(host.publish(huge))) == "definition-too-large"


async def test_what_is_no_definition(host: Host, registry: Registries) -> None:
    for content in (b"{", b"[]", b'{"a":' * 5000, b"\xff\xfe"):
        assert await refused(registry.schema(host.publish(content))) == "definition-invalid"
    for names in ([], ["a", "A"], [1], ["a"] * 126, ["x" * 257], "a"):
        assert await refused(registry.schema(host.publish(schema(host.did, attrNames=names)))) == "schema-invalid"
    identifier = host.publish(schema(host.did))
    assert await refused(registry.credential_definition(identifier)) == "credential-definition-invalid"
    assert await refused(registry.revocation_registry_definition(identifier)) == "revocation-registry-invalid"


async def test_a_redirect_is_not_followed(host: Host, registry: Registries) -> None:
    identifier = host.publish(schema(host.did))
    path = f"/issuer/resources/{identifier.rpartition('/')[2]}"
    host.answers["/elsewhere"] = host.answers.pop(path)
    host.answers[path] = web.Response(status=302, headers={"location": host.url("/elsewhere")})
    with pytest.raises(DidError) as error:
        await registry.schema(identifier)
    assert error.value.code == UNRESOLVABLE
    assert host.hits == 1


async def test_a_host_that_does_not_answer_holds_up_few(host: Host, registry: Registries) -> None:
    host.wait = 8

    async def one(number: int) -> float:
        before = time.monotonic()
        with pytest.raises(DidError):
            await registry.schema(resource_id(host.did, str(number).encode()))
        return time.monotonic() - before

    with on_behalf_of("tenant", "stranger"):
        waiting = [asyncio.create_task(one(number)) for number in range(30)]
    done, pending = await asyncio.wait(waiting, timeout=3)
    assert 0 < len(pending) <= fetches.PATIENT // 2
    assert all(task.result() < 3 for task in done)
    # As long as it takes, still: others have places.
    with on_behalf_of("tenant", "partner"):
        other = asyncio.create_task(one(30))
    assert (await asyncio.wait([other], timeout=2 * fetches.BRIEFLY))[1] == {other}
    for task in (*pending, other):
        task.cancel()
    await asyncio.gather(*pending, other, return_exceptions=True)


async def test_tails_files_that_are_not_the_one_named(stack: Stack, host: Host) -> None:
    content = b"\0\2" + bytes(tails_size(5) - 2)
    right = base58.b58encode(hashlib.sha256(content).digest()).decode()
    tails = TailsFiles(egress_fetch(stack.app.services.egress), time.monotonic)

    def named(tails_hash: str, path: str = "/tails", size: int = 5) -> Any:
        return {"value": {"tailsHash": tails_hash, "tailsLocation": host.url(path), "maxCredNum": size}}

    host.answers["/tails"] = web.Response(body=content)
    host.answers["/other"] = web.Response(body=content[:-1] + b"x")
    host.answers["/large"] = web.Response(body=content + b"x")
    assert await refused(tails.get(named(right, "/other"))) == "tails-mismatch"
    assert await refused(tails.get(named(right, "/large"))) == "definition-too-large"
    assert await refused(tails.get(named(right, "/none"))) == "not-published"
    assert await tails.get(named(right)) == content


async def test_a_status_list_of_another_registry_or_time(host: Host, registry: Registries) -> None:
    value = {"tailsHash": "x", "tailsLocation": "x", "maxCredNum": 5, "publicKeys": {}}
    definition = {"issuerId": host.did, "credDefId": "x", "tag": "0", "revocDefType": "CL_ACCUM", "value": value}
    identifier = host.publish(orjson.dumps(definition))
    await registry.revocation_registry_definition(identifier)
    huge = {**definition, "value": {**value, "maxCredNum": MAX_CREDENTIALS + 1}}
    assert (
        await refused(registry.revocation_registry_definition(host.publish(orjson.dumps(huge))))
        == "revocation-registry-invalid"
    )
    path = resource_url(identifier, allow_http=True).removeprefix(host.url("")) + "/status/1000"
    right = {
        "issuerId": host.did,
        "revRegDefId": identifier,
        "revocationList": [0] * 5,
        "currentAccumulator": "1",
        "timestamp": 900,
    }
    host.answers[path] = web.Response(body=orjson.dumps(right))
    assert await registry.revocation_status_list(identifier, 1000) == right
    for wrong, code in (
        ({"issuerId": "did:web:other.example"}, "issuer-mismatch"),
        ({"revRegDefId": f"{host.did}/resources/{'0' * 64}"}, "status-list-invalid"),
        ({"timestamp": 1001}, "status-list-invalid"),
        ({"timestamp": "900"}, "status-list-invalid"),
        ({"revocationList": [2]}, "status-list-invalid"),
    ):
        host.answers[path] = web.Response(body=orjson.dumps({**right, **wrong}))
        assert await refused(registry.revocation_status_list(identifier, 1000)) == code


async def test_an_offer_that_breaks_what_computes_harms_nobody_else(stack: Stack, tenant: Client, host: Host) -> None:
    """Numbers that are none, in all the places where the cryptography expects some."""
    parts = open_anoncreds(stack.app.services)
    holder = Party(tenant.identity["did"], NoSigner(), (await tenant.tenant()).records)
    schema_id = host.publish(schema(host.did))
    for number in ("", "x", "-1", "0", "1", "9" * 1_299, "9" * 1_301, "1\0", 5):
        primary = {"n": number, "s": number, "r": {"a": number, "master_secret": number}, "rctxt": number, "z": number}
        definition = {
            "issuerId": host.did,
            "schemaId": schema_id,
            "type": "CL",
            "tag": "t",
            "value": {"primary": primary, "revocation": None},
        }
        offer = {
            "schema_id": schema_id,
            "cred_def_id": host.publish(orjson.dumps(definition)),
            "key_correctness_proof": {"c": number, "xz_cap": number, "xr_cap": [["a", number]]},
            "nonce": number,
        }
        assert await refused(parts.credentials.request(holder, Issuing(offer=offer), None)) == "offer-invalid"
