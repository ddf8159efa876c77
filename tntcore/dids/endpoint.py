"""Chooses the endpoint and the keys for messages to the subject of a DID document (RFC 0067; DIDComm Messaging 2.1,
"Service Endpoint"). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tntcore.dids.document import MAX_MEDIATORS, DidDocument, DidService, Version
from tntcore.dids.key import did_key_to_verkey
from tntcore.dids.multiformats import decode_verkey, encode_verkey
from tntcore.dids.parse import absolute_id
from tntcore.errors import DidError

V1_PROFILES: Final = ("didcomm/aip1", "didcomm/aip2;env=rfc19")
V2_PROFILES: Final = ("didcomm/v2",)
# RFC 0044. The media types are what RFC 0434 had in `accept` before there were profiles.
_VERSIONS: Final[Mapping[str, Version]] = {
    "didcomm/aip1": "v1",
    "didcomm/aip2": "v1",
    "didcomm/aip2;env=rfc19": "v1",
    "application/didcomm-envelope-enc": "v1",
    "application/ssi-agent-wire": "v1",
    "didcomm/v2": "v2",
    "application/didcomm-encrypted+json": "v2",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint for messages.

    Attributes:
        uri: http(s), or the DID of a mediator, whose own endpoint is then used and whose key joins `routing_keys`.
        recipient_verkeys: v1: base58, at least one. v2: empty, as a v2 message is for the document's `key_agreement`.
        routing_keys: v1: base58 verkeys, the innermost forward's first. v2: DIDs or DID URLs as in the document, the
            outermost forward's first. (RFC 0067 and DIDComm v2 have opposite orders.)
        accept: media type profiles, as in the document.
    """

    uri: str
    recipient_verkeys: tuple[str, ...]
    routing_keys: tuple[str, ...]
    accept: tuple[str, ...]


def didcomm_endpoint(document: DidDocument, version: Version) -> Endpoint:
    """Returns the document's first usable service for that version of DIDComm, by priority.

    A service's list of accepted profiles decides its version. Without one it is v2 if its type is `DIDCommMessaging`,
    else v1.

    A service with more than `MAX_MEDIATORS` routing keys is not usable.

    Raises:
        DidError: `no-endpoint`.
    """
    for service in document.services:
        if not service.endpoint.startswith(("https://", "http://", "did:")) or not _speaks(service, version):
            continue
        if len(service.routing_keys) > MAX_MEDIATORS:
            continue
        if version == "v2":
            return Endpoint(service.endpoint, (), service.routing_keys, service.accept)
        recipients = _verkeys(document, service.recipient_keys or document.authentication)
        routing = _verkeys(document, service.routing_keys)
        # Without one of its mediators a message would not arrive.
        if recipients and len(routing) == len(service.routing_keys):
            return Endpoint(service.endpoint, recipients, routing, service.accept)
    raise DidError("no-endpoint", f"the DID document has no usable service for DIDComm {version}")


def versions_of(accept: Iterable[str]) -> frozenset[Version]:
    """Returns the versions of DIDComm that media type profiles name (RFC 0044), without regard to case and spaces.
    Unknown profiles and parameters are ignored, but for the envelope of `didcomm/aip2`."""
    return frozenset(version for version in map(_version, accept) if version is not None)


def _version(profile: str) -> Version | None:
    name, *parameters = (part.strip() for part in profile.lower().split(";"))
    envelope = next((text for text in parameters if text.startswith("env=")), "").replace('"', "")
    return _VERSIONS.get(f"{name};{envelope}" if envelope and name == "didcomm/aip2" else name)


def _speaks(service: DidService, version: Version) -> bool:
    if service.accept:
        return version in versions_of(service.accept)
    return (service.type == "DIDCommMessaging") == (version == "v2")


def _verkeys(document: DidDocument, references: Iterable[str]) -> tuple[str, ...]:
    return tuple(verkey for verkey in (_verkey(document, reference) for reference in references) if verkey)


def _verkey(document: DidDocument, reference: str) -> str | None:
    """Returns the verkey of a did:key or of a method of this document, or the text itself; None if it is no Ed25519
    key.
    """
    try:
        if reference.startswith("did:key:"):
            return did_key_to_verkey(reference)
        method = document.method(absolute_id(document.id, reference))
        return encode_verkey(method.key if method else decode_verkey(reference))
    except DidError:
        return None
