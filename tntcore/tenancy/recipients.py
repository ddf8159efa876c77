"""Recipients of messages: the key pairs of one of our DIDs, and the known documents of both sides."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tntcore.dids import peer
from tntcore.dids.document import AGREEMENT_CURVES, Curve, DidDocument, PublicKey, VerificationMethod
from tntcore.dids.multiformats import encode_verkey
from tntcore.dids.parse import parse_document
from tntcore.envelope import same_did
from tntcore.envelope.keys import PrivateKey, verkey_to_did_key
from tntcore.errors import DidError
from tntcore.storage.records import Connection, Invitation

OTHER_CURVES: Final = tuple(curve for curve in AGREEMENT_CURVES if curve != "X25519")
"""The curves that a partner of DIDComm v2 may have in place of X25519."""


@dataclass(frozen=True, slots=True)
class KeyPairs:
    """The private keys of one DID of ours: Ed25519 to sign and for v1 envelopes, X25519 for v2 envelopes.

    Attributes:
        others: for v2 envelopes too, of curves that a partner may have in place of X25519; one of each at most.
    """

    ed25519: PrivateKey
    x25519: PrivateKey
    others: tuple[PrivateKey, ...] = ()

    @staticmethod
    def generate(*others: Curve) -> KeyPairs:
        """Makes new keys, also of these `OTHER_CURVES`."""
        return KeyPairs(
            PrivateKey.generate("Ed25519"), PrivateKey.generate("X25519"), tuple(map(PrivateKey.generate, others))
        )

    @property
    def all(self) -> tuple[PrivateKey, ...]:
        return (self.ed25519, self.x25519, *self.others)

    def serialise(self) -> bytes:
        """Returns the keys as bytes, for sealing."""
        return orjson.dumps({key.curve: base64.b64encode(key.raw).decode() for key in self.all})

    @staticmethod
    def deserialise(data: bytes) -> KeyPairs:
        keys = {curve: PrivateKey(curve, base64.b64decode(raw)) for curve, raw in orjson.loads(data).items()}
        return KeyPairs(keys.pop("Ed25519"), keys.pop("X25519"), tuple(keys.values()))

    @property
    def verkey(self) -> str:
        return encode_verkey(self.ed25519.public)

    def by_kid(self, document: DidDocument) -> dict[str, PrivateKey]:
        """Returns the keys by each name that an envelope may use for them: the verkey, and the ids in our document."""
        public: dict[PublicKey, PrivateKey] = {key.public: key for key in self.all}
        named = {kid: public[method.key] for kid, method in document.methods.items() if method.key in public}
        old = {alias: named[kid] for alias, kid in document.aliases.items() if kid in named}
        return {self.verkey: self.ed25519, **named, **old}


@dataclass(frozen=True, slots=True)
class Recipient:
    """The owner of the key that a message was sent to: an identity, an invitation or a connection.

    Attributes:
        scope: uuid of the connection, invitation or identity: thread ids are relative to it.
        secrets: our private keys by kid.
        document: ours. theirs: the contact's; None for an identity or invitation.
        previous: the document that the contact had before. announced: the one that it is about to take.
        signer: our present Ed25519 key.
        at_invitation: of a connection: the message came to the invitation, or the identity's public DID, by which the
            connection was made, or in v2 to our DID before the present one.
        their_verkeys, their_dids: those that may authenticate a v1, or v2, message of this connection.
    """

    scope: str
    identity_uuid: str
    identity_did: str
    connection: Connection | None
    invitation: Invitation | None
    document: DidDocument
    secrets: Mapping[str, PrivateKey]
    theirs: DidDocument | None
    previous: DidDocument | None
    announced: DidDocument | None
    signer: PrivateKey
    their_verkeys: frozenset[str]
    their_dids: frozenset[str]
    at_invitation: bool = False

    def is_their_key(self, key: str) -> bool:
        """Whether the key, a verkey or for DIDComm v2 a DID URL, is one of the present document's."""
        if key.startswith("did:"):
            return key.partition("#")[0] in dids_of(self.theirs)
        return key in verkeys(self.theirs)

    @property
    def documents(self) -> dict[str, DidDocument]:
        """Returns the known documents of the other side, by each DID that stands for it."""
        known = [document for document in (self.previous, self.theirs) if document]
        return {did: document for document in known for did in dids_of(document)}


def curves_for(theirs: DidDocument) -> tuple[Curve, ...]:
    """Returns the curves besides X25519 that keys for the subject of the document need: the one of its first key for
    key agreement, if X25519 is not among them.
    """
    curves = [theirs.methods[kid].key.curve for kid in theirs.key_agreement]
    if "X25519" in curves:
        return ()
    return tuple(curve for curve in curves if curve in OTHER_CURVES)[:1]


def document_id(kept: Mapping[str, Any]) -> str:
    """Returns the DID of a stored document; "" for none."""
    return str(kept.get("id", ""))


def document_of(did: str, kept: Mapping[str, Any]) -> DidDocument:
    """Returns the document of one side of a connection: derived from the DID if the DID contains it, so that the key
    ids of older implementations are understood too, else as stored.
    """
    if did.startswith(("did:peer:2", "did:peer:4")):
        # The short form of a did:peer:4 does not contain it.
        with suppress(DidError):
            return peer.resolve(did)
    return parse_document(kept)


def names_in(document: DidDocument) -> frozenset[str]:
    """Returns the names that envelopes may use for our keys in a document of ours; see `KeyPairs.by_kid`."""
    return frozenset({*verkeys(document), *document.methods, *document.aliases})


def verkeys(document: DidDocument | None) -> frozenset[str]:
    """Returns the Ed25519 keys in the document that may authenticate a v1 message of its subject.

    Old documents list keys without a purpose. But a key that the document lists for assertions alone, or that another
    DID controls, speaks for the subject only if it is listed for authentication, too, or receives its messages.
    """
    methods = document.methods.values() if document else ()
    return frozenset(
        encode_verkey(method.key)
        for method in methods
        if method.key.curve == "Ed25519" and document is not None and _speaks(document, method)
    )


def _speaks(document: DidDocument, method: VerificationMethod) -> bool:
    foreign = method.controller.startswith("did:") and not same_did(method.controller, document.id)
    if not foreign and (method.id not in document.assertion or not document.authentication):
        return True
    verkey = encode_verkey(method.key)
    receives = {verkey, verkey_to_did_key(verkey), method.id, method.id.removeprefix(document.id)}
    return method.id in document.authentication or any(
        not receives.isdisjoint(service.recipient_keys) for service in document.services
    )


def dids_of(document: DidDocument | None) -> frozenset[str]:
    """Returns the DID, and for a did:peer:4 its other form. All other `alsoKnownAs` claims are unproven."""
    if document is None:
        return frozenset()
    return frozenset(
        {document.id}
        | {
            other
            for other in document.also_known_as
            if other.startswith("did:peer:4")
            and (document.id.startswith(other + ":") or other.startswith(document.id + ":"))
        }
    )
