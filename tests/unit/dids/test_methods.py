"""DIDs of other methods: the plug, and a universal resolver as it answers by HTTP."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web as http
from aiohttp.test_utils import TestServer

from tntcore.config import Config
from tntcore.dids.document import DidDocument
from tntcore.dids.methods import MAX_RESOLUTION_BYTES, Method, Universal, Web
from tntcore.dids.parse import parse_document, read_document
from tntcore.dids.resolver import Resolver
from tntcore.egress import Egress
from tntcore.errors import DidError
from tntcore.services import did_methods
from tntcore.workers import Workers

DID = "did:webplus:QmScid:partner.example%3A8443:a"
RESOLUTION = "application/did-resolution"


@dataclass
class Universe:
    """A universal resolver: it answers everything by `status`, `type` and `body`."""

    resolver: Resolver
    asked: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    type: str = RESOLUTION
    body: Any = None

    async def handle(self, request: http.Request) -> http.Response:
        self.asked.append((request.raw_path, request.headers["Accept"]))
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return http.Response(status=self.status, body=body, headers={"Content-Type": self.type})

    async def code(self) -> str:
        with pytest.raises(DidError) as caught:
            await self.resolver.resolve(DID)
        return caught.value.code


@pytest.fixture
async def universe() -> AsyncIterator[Universe]:
    app = http.Application()
    server = TestServer(app)
    egress = Egress([ipaddress.ip_network("127.0.0.0/8")])
    universe = Universe(Resolver([], lambda: 0.0))
    app.router.add_get("/1.0/identifiers/{did}", universe.handle)
    await server.start_server()
    url = str(server.make_url("/1.0/identifiers"))
    config = Config("", "https://a.example", "", universal_resolver=url)
    universe.resolver = Resolver(did_methods(config, egress, Workers()), lambda: 0.0)
    yield universe
    await egress.close()
    await server.close()


def resolution(document: object, error: object = None, **metadata: object) -> dict[str, Any]:
    said = {} if error is None else {"error": error}
    return {"didDocument": document, "didResolutionMetadata": said, "didDocumentMetadata": metadata}


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (RESOLUTION, resolution({"id": DID})),
        ('application/ld+json;profile="https://w3id.org/did-resolution";charset=utf-8', resolution({"id": DID})),
        ("application/did+json", {"id": DID}),
        ("application/did", {"id": DID}),
    ],
)
async def test_a_universal_resolver_is_asked_for_what_is_not_resolved_here(
    universe: Universe, type_: str, body: object
) -> None:
    universe.type, universe.body = type_, body
    document = await universe.resolver.resolve(DID)
    assert document.id == DID
    assert await universe.resolver.resolve(DID) is document
    [(path, accept)] = universe.asked
    assert path == "/1.0/identifiers/did:webplus:QmScid:partner.example%253A8443:a"
    assert RESOLUTION in accept
    assert "application/did+json" in accept


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, resolution({"id": f"{DID}b"}), "document-mismatch"),
        (200, resolution({"id": DID}, deactivated=True), "deactivated"),
        (410, resolution(None, deactivated=True), "deactivated"),
        (410, b"gone", "deactivated"),
        (404, b"no such thing", "not-found"),
        (200, resolution(None, "notFound"), "not-found"),
        (400, resolution(None, {"type": "https://www.w3.org/ns/did#INVALID_DID"}), "malformed-did"),
        (501, resolution(None, "methodNotSupported"), "unsupported-method"),
        (200, resolution({"id": DID}, "internalError"), "unresolvable"),
        (500, b"<html>", "unresolvable"),
        (302, b"", "unresolvable"),
        (200, resolution(None), "malformed-document"),
        (200, resolution([DID]), "malformed-document"),
        (200, b"{", "malformed-document"),
        (200, b" " * (MAX_RESOLUTION_BYTES + 1), "document-too-large"),
    ],
)
async def test_what_a_universal_resolver_refuses_or_answers_wrongly(
    universe: Universe, status: int, body: object, code: str
) -> None:
    universe.status, universe.body = status, body
    assert await universe.code() == code


async def test_an_answer_of_another_media_type_is_no_document(universe: Universe) -> None:
    universe.type, universe.body = "text/html", {"id": DID}
    assert await universe.code() == "malformed-document"


async def test_a_universal_resolver_is_not_asked_for_what_is_resolved_here(universe: Universe) -> None:
    for did in ("did:web:127.0.0.1", "did:key:z6Mk", "did:peer:5"):
        with pytest.raises(DidError):
            await universe.resolver.resolve(did)
    assert universe.asked == []


async def test_a_universal_resolver_that_is_away() -> None:
    egress = Egress([ipaddress.ip_network("127.0.0.0/8")])
    config = Config("", "https://a.example", "", universal_resolver="http://127.0.0.1:1/")
    try:
        with pytest.raises(DidError, match="unresolvable"):
            await Resolver(did_methods(config, egress, Workers()), lambda: 0.0).resolve(DID)
    finally:
        await egress.close()


async def test_without_one_other_methods_are_unsupported() -> None:
    egress = Egress()
    resolver = Resolver(did_methods(Config("", "https://a.example", ""), egress, Workers()), lambda: 0.0)
    assert not resolver.fetches(DID)
    with pytest.raises(DidError, match="unsupported-method"):
        await resolver.resolve(DID)
    await egress.close()


class Example:
    """A method of somebody else's."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def reads(self, did: str) -> bool:
        return did.startswith("did:example:")

    async def resolve(self, did: str) -> DidDocument:
        if isinstance(self.answer, Exception):
            raise self.answer
        return parse_document({"id": self.answer})


async def fetch(url: str) -> bytes:
    raise AssertionError(url)


async def ask(url: str) -> Any:
    raise AssertionError(url)


async def test_a_method_is_plugged_in_before_the_universal_resolver() -> None:
    methods: list[Method] = [Web(fetch), Example("did:example:1"), Universal("https://u.example", ask)]
    resolver = Resolver(methods, lambda: 0.0)
    assert (await resolver.resolve("did:example:1")).id == "did:example:1"
    with pytest.raises(DidError, match="document-mismatch"):
        await resolver.resolve("did:example:2")


async def test_whatever_a_plugged_in_method_raises_is_a_failure_to_resolve() -> None:
    resolver = Resolver([Example(KeyError("bug"))], lambda: 0.0)
    with pytest.raises(DidError, match="unresolvable"):
        await resolver.resolve("did:example:1")


class Small:
    """A method as an operator may plug one in."""

    def __init__(self, fetch: Callable[[str], Awaitable[bytes]]) -> None:
        self._fetch = fetch

    def reads(self, did: str) -> bool:
        return did.startswith("did:small:")

    async def resolve(self, did: str) -> DidDocument:
        return read_document(await self._fetch(f"https://small.example/{did}"), did)


async def test_a_method_is_plugged_in_by_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def fetch(url: str, accept: str = "") -> bytes:
        asked.append(url)
        return json.dumps({"id": "did:small:one"}).encode()

    egress = Egress()
    monkeypatch.setattr(egress, "fetch", fetch)
    config = Config("", "https://a.example", "", did_methods=("tests.unit.dids.test_methods:Small",))
    resolver = Resolver(did_methods(config, egress, Workers()), lambda: 0.0)
    try:
        assert (await resolver.resolve("did:small:one")).id == "did:small:one"
        with pytest.raises(DidError, match="document-mismatch"):
            await resolver.resolve("did:small:two")
        with pytest.raises(DidError, match="DIDs of method other are not resolved here"):
            await resolver.resolve("did:other:one")
    finally:
        await egress.close()
    assert asked == ["https://small.example/did:small:one", "https://small.example/did:small:two"]
