"""DID methods whose documents have to be fetched: one interface, and the methods that come with the service.

To add a method, name a factory of a `Method` in the setting `TNT_DID_METHODS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from tntcore.dids import web
from tntcore.dids.document import MAX_DOCUMENT_BYTES, DidDocument
from tntcore.dids.parse import parse_document, read_document
from tntcore.errors import UNRESOLVABLE, DidError
from tntcore.strict_json import JsonError, read_json

RESOLUTION_TYPES: Final = (
    "application/did-resolution, "
    'application/ld+json;profile="https://w3id.org/did-resolution", '
    "application/did+json, application/did+ld+json"
)
"""The header `Accept` for a universal resolver."""

MAX_RESOLUTION_BYTES: Final = 2 * MAX_DOCUMENT_BYTES
"""The most bytes of a universal resolver's answer: a document, and as much again around it."""


class Method(Protocol):
    """Resolves the DIDs of some methods. Results and failures are cached by the `Resolver`."""

    def reads(self, did: str) -> bool:
        """Whether it resolves DIDs of this method. `did`: a well-formed DID."""

    async def resolve(self, did: str) -> DidDocument:
        """Returns the document, whose `id` is the DID.

        Raises:
            DidError: see `Resolver.resolve`. Any other error counts as `unresolvable`.
        """


class Web:
    """did:web.

    Args:
        fetch: the body at a URL.
        allow_http: see `web.document_url`.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[bytes]], *, allow_http: bool = False) -> None:
        self._fetch = fetch
        self._allow_http = allow_http

    def reads(self, did: str) -> bool:
        return did.startswith("did:web:")

    async def resolve(self, did: str) -> DidDocument:
        url = web.document_url(did, allow_http=self._allow_http)
        try:
            return read_document(await self._fetch(url), did)
        except DidError:
            raise
        except Exception as error:
            raise DidError(UNRESOLVABLE, f"fetching {url} failed: {type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class Resolution:
    """The answer of a universal resolver.

    Attributes:
        status: of HTTP. media_type: the header `Content-Type`; "" if there is none.
        body: None if it was longer than `MAX_RESOLUTION_BYTES`.
    """

    status: int
    media_type: str
    body: bytes | None


class Universal:
    """Asks a universal resolver (W3C, Decentralized Identifier Resolution, "HTTP(S) Binding") for every method that is
    not resolved here.

    Args:
        url: what a DID is appended to, e.g. `https://resolver.example/1.0/identifiers`.
        get: the answer at a URL, asked for with `Accept: RESOLUTION_TYPES`. It bounds size and time.
    """

    def __init__(self, url: str, get: Callable[[str], Awaitable[Resolution]]) -> None:
        self._url = url.rstrip("/")
        self._get = get

    def reads(self, did: str) -> bool:
        return did.startswith("did:") and not did.startswith(("did:key:", "did:peer:", "did:web:"))

    async def resolve(self, did: str) -> DidDocument:
        try:
            # A percent sign in the DID is part of it.
            answer = await self._get(f"{self._url}/{quote(did, safe=':')}")
        except Exception as error:
            detail = f"the universal resolver cannot be reached: {type(error).__name__}"
            raise DidError(UNRESOLVABLE, detail) from error
        return parse_document(read_resolution(answer), did)


def read_resolution(answer: Resolution) -> dict[str, Any]:
    """Returns the DID document in a universal resolver's answer, not checked.

    Raises:
        DidError: `not-found`, `unsupported-method`, `malformed-did`, `deactivated` or `unresolvable`, as the resolver
            says; `malformed-document` or `document-too-large` for an answer that cannot be read.
    """
    value = _object_in(answer)
    metadata = _member(value, "didDocumentMetadata")
    document = value.get("didDocument") if "didDocument" in value or metadata else value
    if answer.status == 410 or metadata.get("deactivated") is True:
        raise DidError("deactivated", "the DID was deactivated by its owner")
    error = _error_in(value)
    if answer.status == 404 or error == "notfound":
        raise DidError("not-found", "the universal resolver knows no such DID")
    if answer.status == 501 or error in ("methodnotsupported", "unsupporteddidmethod"):
        raise DidError("unsupported-method", "the universal resolver does not know this DID method")
    if error == "invaliddid":
        raise DidError("malformed-did", "the universal resolver says that the DID is malformed")
    if answer.status != 200 or error:
        raise DidError(UNRESOLVABLE, f"the universal resolver answered {answer.status}")
    if not isinstance(document, dict):
        raise DidError("malformed-document", "the universal resolver's answer has no DID document")
    return document


def _object_in(answer: Resolution) -> dict[str, Any]:
    """Returns the answer's JSON object; an empty one for an error without JSON."""
    media_type = answer.media_type.partition(";")[0].strip().lower()
    readable = media_type in ("application/did", "application/did-resolution") or media_type.endswith("json")
    if answer.body is None:
        raise DidError("document-too-large", f"an answer has at most {MAX_RESOLUTION_BYTES} bytes")
    if answer.status == 200 and not readable:
        raise DidError("malformed-document", "the universal resolver answered no DID document, but another media type")
    try:
        value = read_json(answer.body) if readable else {}
    except JsonError as error:
        if answer.status == 200:
            raise DidError("malformed-document", f"the universal resolver's answer: {error}") from None
        value = {}
    return value if isinstance(value, dict) else {}


def _error_in(value: dict[str, Any]) -> str:
    """Returns the error code in the resolution's metadata, in lower case: the specification has changed from `notFound`
    to an object whose `type` is a URL that ends in `#NOT_FOUND`.
    """
    error = _member(value, "didResolutionMetadata").get("error")
    if isinstance(error, dict):
        error = error.get("type")
    if not error:
        return ""
    return str(error).rpartition("#")[2].replace("_", "").lower()


def _member(value: dict[str, Any], name: str) -> dict[str, Any]:
    member = value.get(name)
    return member if isinstance(member, dict) else {}
