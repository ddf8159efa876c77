"""DID documents of the other side, from the messages of a DID exchange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tntcore.connections.effect import Refused
from tntcore.dids import peer
from tntcore.dids.document import DidDocument
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.dids.parse import parse_document, qualify
from tntcore.errors import DidError
from tntcore.strict_json import JsonError, read_json, write_json

MAX_DOCUMENT = 30_000  # characters of a document that a connection keeps; a column holds 32,768


def resolvable(did: str) -> bool:
    """Whether the DID's method requires its document to be resolved; one in a message is then ignored."""
    return did.startswith(("did:peer:0", "did:peer:2", "did:peer:4", "did:key:", "did:web:"))


def legacy(value: Any) -> DidDocument:
    """Parses `{DID, DIDDoc}`, or `{did, did_doc}`, which RFC 0160 wrote at another time."""
    connection = object_in(value)
    did, raw = connection.get("DID", connection.get("did")), connection.get("DIDDoc", connection.get("did_doc"))
    if not isinstance(did, str) or not isinstance(raw, dict):
        raise Refused("request-not-accepted", "connection must be {DID, DIDDoc}")
    return _named(raw, did)


def attached(payload: bytes, did: str) -> DidDocument:
    try:
        raw = read_json(payload)
    except JsonError as error:
        raise Refused("document-malformed", str(error)) from None
    return _named(object_in(raw), did)


def _named(raw: Mapping[str, Any], did: str) -> DidDocument:
    if did.startswith("did:peer:1"):
        return peer.check_1(did, raw)
    if did.startswith("did:") and not did.startswith("did:sov:"):
        raise Refused("did-unsupported", "a document may be attached only for a DID that cannot be resolved")
    return parse_document(raw, qualify(did))


def checked(document: DidDocument) -> DidDocument:
    """Returns the document, if a message can be sent to it and a connection can store it."""
    didcomm_endpoint(document, "v1")
    if len(write_json(kept(document))) > MAX_DOCUMENT:
        raise DidError("document-too-large", f"a document may have {MAX_DOCUMENT} bytes")
    return document


def kept(document: DidDocument) -> dict[str, Any]:
    """Returns the form of a document that a connection stores."""
    return {**document.raw, "id": document.id}


def object_in(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refused("message-malformed", "an object is missing")
    return value
