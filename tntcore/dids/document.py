"""DID documents, as far as messaging needs them (DID Core 1.0, sections 5.2 to 5.4; RFC 0067 for DIDComm services)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tntcore.strict_json import write_json

Version = Literal["v1", "v2"]
"""A version of DIDComm."""

Curve = Literal["Ed25519", "X25519", "P-256", "P-384", "P-521", "secp256k1"]

AGREEMENT_CURVES: Final[tuple[Curve, ...]] = ("X25519", "P-256", "P-384", "P-521")
"""The curves of keys that DIDComm v2 encrypts for (2.1, "ECDH-1PU key wrapping and common protected headers")."""

MAX_DOCUMENT_BYTES: Final = 128 * 1024
MAX_METHODS: Final = 64
MAX_SERVICES: Final = 32
MAX_KEYS: Final = 32  # of a service, of each kind
MAX_MEDIATORS: Final = 8  # routing keys of a service: a message is packed once for each, and grows by a third each time
MAX_DID_CHARACTERS: Final = 8 * 1024
_VALUE: Final = 64  # bytes of memory of a small value in a document, besides those that it is written in


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
class DidService:
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
    """The supported parts of a document. Methods of unknown type and services other than DIDComm are left out.

    Attributes:
        id: the DID; unqualified ones are written `did:sov:...`.
        methods: by absolute id, in the document's order; all ids are of this DID.
        authentication, assertion, key_agreement: absolute ids, in the document's order; each is in `methods`.
        services: DIDComm services by ascending priority.
        also_known_as: other DIDs of the same subject, as claimed.
        aliases: other absolute ids by which the DID's method names a key of `methods`, to that key's id there.
        raw: the document as received or made.
    """

    id: str
    methods: Mapping[str, VerificationMethod]
    authentication: tuple[str, ...] = ()
    assertion: tuple[str, ...] = ()
    key_agreement: tuple[str, ...] = ()
    services: tuple[DidService, ...] = ()
    also_known_as: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    def method(self, kid: str) -> VerificationMethod | None:
        """The method that `kid` names: an absolute id, an alias, or relative (`#key-1`)."""
        if kid.startswith("#"):
            kid = self.id + kid
        return self.methods.get(self.aliases.get(kid, kid))

    def weight(self) -> int:
        """Returns about how many bytes of memory the document takes. Each name of a key repeats the DID."""
        written = write_json(self.raw)
        names = sum(len(name) for name in (*self.methods, *self.aliases))
        return 2 * (len(written) + names) + _VALUE * (written.count(b",") + written.count(b"[") + written.count(b"{"))
