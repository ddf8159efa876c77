"""DID documents, as far as messaging needs them (DID Core 1.0, sections 5.2 to 5.4; RFC 0067 for DIDComm services)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Curve = Literal["Ed25519", "X25519", "P-256", "P-384", "P-521", "secp256k1"]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key. `raw` is 32 bytes for Ed25519 and X25519, else the uncompressed point (0x04, x, y)."""

    curve: Curve
    raw: bytes


@dataclass(frozen=True, slots=True)
class VerificationMethod:
    """`id` is an absolute DID URL, whatever form the document had."""

    id: str
    controller: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Service:
    """A DIDComm service. `recipient_keys` and `routing_keys` as the document has them: verkeys, did:key or DID URLs."""

    id: str
    type: str
    endpoint: str
    recipient_keys: tuple[str, ...] = ()
    routing_keys: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class DidDocument:
    """What was understood of a document. Methods of unknown type and services that are not DIDComm are left out.

    Attributes:
        id: the DID.
        methods: by absolute id, in the document's order.
        authentication, key_agreement: absolute ids, in the document's order.
        services: DIDComm services by ascending priority.
        also_known_as: other DIDs of the same subject, as claimed.
        raw: the document as received or made.
    """

    id: str
    methods: Mapping[str, VerificationMethod]
    authentication: tuple[str, ...] = ()
    key_agreement: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    also_known_as: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
