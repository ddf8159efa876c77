"""A partner with a public did:web on a server of its own, which is resolved over HTTPS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.scenarios.common import basic
from tests.scenarios.test_beginnings import tasks
from tests.scenarios.test_did_exchange import completed
from tests.stack import Client, Receiver, Stack
from tests.unit.egress.servers import make_certificate
from tntcore.api.http import Request, Response
from tntcore.app import App
from tntcore.config import Config
from tntcore.dids import peer
from tntcore.dids import web as did_web
from tntcore.dids.build import didcomm_services
from tntcore.dids.multiformats import encode_verkey
from tntcore.egress import Egress
from tntcore.envelope import pack_v1, unpack
from tntcore.envelope.signatures import sign_attachment
from tntcore.errors import DidError
from tntcore.services import open_services
from tntcore.tenancy.recipients import KeyPairs

HOST = "partner.example"


@dataclass
class Partner:
    """The partner's agent: its endpoint is `receiver`."""

    did: str
    keys: KeyPairs
    receiver: Receiver
    app: App

    async def invite(self, client: Client) -> Response:
        """The tenant's `POST /contact` with the partner's DID, in a process that reaches the partner's server."""
        body = orjson.dumps({"contact": {"did": self.did}})
        headers = {"tnt-subscription-key": client.key, "content-type": "application/json"}
        return await self.app.http(Request("POST", "contact", {}, headers, body))

    async def read(self, kind: str) -> dict[str, Any]:
        """The first message of a kind that came, opened."""
        secrets = {self.keys.verkey: self.keys.ed25519, **self.later}
        hook = await self.receiver.until(lambda hook: kind.encode() in unpack(hook.body, secrets, {}).plaintext)
        message: dict[str, Any] = orjson.loads(unpack(hook.body, secrets, {}).plaintext)
        return message

    def __post_init__(self) -> None:
        self.later: dict[str, Any] = {}

    def respond(self, request: dict[str, Any], signer: KeyPairs) -> bytes:
        """A response with a pairwise DID, whose DID `signer` signs."""
        pairwise = KeyPairs.generate()
        self.later[pairwise.verkey] = pairwise.ed25519
        did = peer.create_2(
            [("E", pairwise.x25519.public), ("V", pairwise.ed25519.public)],
            didcomm_services(self.receiver.url, "#key-2"),
        )
        response = {
            "@type": request["@type"].replace("/request", "/response"),
            "@id": "r-1",
            "~thread": {"thid": request["@id"], "pthid": request["~thread"]["pthid"]},
            "did": did,
            "did_rotate~attach": sign_attachment(did.encode(), signer.ed25519, mime_type="text/string", id="a"),
        }
        theirs = peer.resolve(request["did"])
        verkey = next(method for method in theirs.methods.values() if method.key.curve == "Ed25519")
        return pack_v1(orjson.dumps(response), recipients=[encode_verkey(verkey.key)], sender=pairwise.ed25519)


@asynccontextmanager
async def partner_at(stack: Stack, folder: Path) -> AsyncIterator[Partner]:
    keys, receiver = KeyPairs.generate(), Receiver()
    await receiver.start()
    server_tls, client_tls = make_certificate(folder, HOST)
    documents: dict[str, Any] = {}
    site = web.Application()

    async def document(_: web.Request) -> web.Response:
        return web.json_response(documents)

    site.router.add_get("/agents/one/did.json", document)
    server = TestServer(site, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=server_tls)
    did = did_web.did_web_for(f"https://{HOST}:{server.port}", "agents", "one")
    documents |= did_web.identity_document(
        did, {"key-1": keys.ed25519.public, "key-2": keys.x25519.public}, receiver.url
    )

    async def lookup(name: str) -> list[str]:
        if name != HOST:
            raise OSError(name)
        return ["127.0.0.1"]

    config = Config.read(stack.environment)
    egress = Egress(config.egress_allow, lookup=lookup, tls=client_tls)
    app = App(open_services(config, stack.host.wake, egress))
    yield Partner(did, keys, receiver, app)
    await app.close()
    await server.close()
    await receiver.stop()


async def test_a_did_web_on_another_server_is_an_invitation(stack: Stack, tmp_path: Path) -> None:
    acme = await stack.register("Acme")
    async with partner_at(stack, tmp_path) as partner:
        made = await partner.invite(acme)
        assert made.status == 201, made.body
        contact = orjson.loads(made.body)
        assert contact["unreachable"] is None
        request = await partner.read("didexchange/1.1/request")
        assert request["~thread"]["pthid"] == f"{partner.did}#did-communication"
        assert (await stack.deliver(partner.respond(request, partner.keys))).status == 202
        done = await partner.read("didexchange/1.1/complete")
        assert done["~thread"] == {"thid": request["@id"], "pthid": request["~thread"]["pthid"]}
        await completed(acme, contact["connectionUuid"])


async def test_a_response_that_another_key_signed_completes_nothing(stack: Stack, tmp_path: Path) -> None:
    acme = await stack.register("Acme")
    async with partner_at(stack, tmp_path) as partner:
        contact = orjson.loads((await partner.invite(acme)).body)
        request = await partner.read("didexchange/1.1/request")
        assert (await stack.deliver(partner.respond(request, KeyPairs.generate()))).status == 202

        async def refused() -> Any:
            return (await acme.get("message?status=REJECTED"))["hits"]

        (message,) = await stack.eventually(refused)
        assert message["error"] == "response-not-accepted"
        assert (await acme.get(f"connection/{contact['connectionUuid']}"))["state"] == "request-sent"


@pytest.mark.parametrize("did", ["did:web:unknown.example", "did:web:partner.example%3A1:x"])
async def test_a_did_that_cannot_be_reached_leaves_a_contact_to_be_invited(
    stack: Stack, tmp_path: Path, did: str
) -> None:
    acme = await stack.register("Acme")
    async with partner_at(stack, tmp_path) as partner:
        partner.did = did
        contact = orjson.loads((await partner.invite(acme)).body)
        assert contact["unreachable"]
        assert (await acme.get(f"connection/{contact['connectionUuid']}"))["state"] == "start"


async def test_a_did_that_cannot_be_resolved_now_is_asked_as_soon_as_it_can(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tntcore.connections.acceptance._BEGIN_AGAIN", 1)
    monkeypatch.setattr("tntcore.pipeline.inbound._LATER", (1,) * 20)
    acme, bolt = await stack.register("Acme"), await stack.register("Bolt")
    resolver, resolve = stack.app.services.resolver, stack.app.services.resolver.resolve
    away = True

    async def fail(did: str) -> Any:
        if away:
            raise DidError("unresolvable", "its host is away")
        return await resolve(did)

    monkeypatch.setattr(resolver, "resolve", fail)
    hook = await bolt.webhook("basicmessage")
    contact = await acme.post("contact", {"contact": {"did": bolt.identity["did"]}, "didMethod": "did:peer:2"})
    assert (contact["status"], contact["unreachable"]) == ("REQUESTED", "its host is away")
    await acme.act(contact["uuid"], basic("held"))
    assert (await acme.get(f"connection/{contact['connectionUuid']}"))["state"] == "start"
    away = False
    connection = await completed(acme, contact["connectionUuid"])
    assert connection["myDid"].startswith("did:peer:2")
    assert (await hook.until(lambda hook: True)).json()["message"]["content"] == "held"
    assert (await acme.get(f"contact/{contact['uuid']}"))["status"] == "ACCEPTED"


async def test_a_did_that_can_never_be_resolved_ends_the_contact(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tntcore.connections.acceptance._BEGIN_AGAIN", 1)
    monkeypatch.setattr("tntcore.pipeline.inbound._LATER", (1,))
    acme = await stack.register("Acme")
    told_of = await tasks(acme)
    contact = await acme.post("contact", {"contact": {"did": "did:web:unknown.example"}})
    await acme.act(contact["uuid"], basic("held"))
    path = f"connection/{contact['connectionUuid']}"

    async def over() -> Any:
        connection = await acme.get(path)
        return connection if connection["state"] == "abandoned" else None

    connection = await stack.eventually(over)
    assert connection["error"].startswith("unresolvable: ")
    assert (await acme.get(f"contact/{contact['uuid']}"))["status"] == "REJECTED"
    told = await told_of.until(lambda hook: hook.json()["type"] == "contact")
    assert (told.json()["status"], told.json()["error"]) == ("REJECTED", connection["error"])
    # Waiting is no fault, so the log has its reason and no traceback.
    waits = [record for record in caplog.records if "the DID of a contact: unresolvable" in record.getMessage()]
    assert waits
    assert not [record for record in waits if record.exc_info]

    async def failed() -> Any:
        return (await acme.get("message?status=FAILED"))["hits"]

    assert await stack.eventually(failed)
    # It can be asked again.
    again = await acme.post(f"{path}/accept", {}, 200)
    assert (again["state"], again["error"]) == ("start", None)
    await stack.eventually(over)


@pytest.mark.parametrize("did", ["did:example:1", "did:web:partner.example:x.y?", "did:peer:4zQmNobodyHasShownThisOne"])
async def test_a_did_that_can_never_be_reached_makes_no_contact(stack: Stack, did: str) -> None:
    acme = await stack.register("Acme")
    answer = await acme.call("POST", "contact", {"contact": {"did": did}})
    assert answer.status == 400, answer.body
    assert answer.json()["detail"]
    assert (await acme.get("contact"))["hits"] == []
