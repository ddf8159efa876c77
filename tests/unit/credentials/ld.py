"""What the tests of linked-data proofs share: DIDs whose documents are made up, keys, and one pool of workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from tntcore.dids import key as did_key
from tntcore.dids.document import DidDocument, PublicKey, VerificationMethod
from tntcore.errors import DidError
from tntcore.messaging import times

VECTORS = Path(__file__).parents[2] / "vectors" / "credentials"
V1 = "https://www.w3.org/2018/credentials/v1"
V2 = "https://www.w3.org/ns/credentials/v2"
EXAMPLES_V2 = "https://www.w3.org/ns/credentials/examples/v2"
CITIZENSHIP = "https://w3id.org/citizenship/v1"
NOW = times.read("2026-12-01T00:00:00Z")


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


class Key:
    """A signer of a did:key, or of another DID given. Notes what it was asked to sign."""

    def __init__(self, seed: int, did: str = "", fragment: str = "") -> None:
        self.private = SigningKey(bytes([seed]) * 32)
        self.key = PublicKey("Ed25519", bytes(self.private.verify_key))
        own = did_key.create(self.key)
        self.did = did or own
        self.kid = f"{self.did}#{fragment or own.removeprefix('did:key:')}"
        self.asked: list[bytes] = []

    async def sign(self, data: bytes) -> bytes:
        self.asked.append(data)
        return bytes(self.private.sign(data).signature)


class Dids:
    """Resolves did:key, and the documents that are put in."""

    def __init__(self) -> None:
        self.documents: dict[str, DidDocument | DidError] = {}

    def put(
        self,
        key: Key,
        *,
        assertion: bool = True,
        authentication: bool = True,
        controller: str = "",
        others: Sequence[Key] = (),
    ) -> None:
        methods = {each.kid: VerificationMethod(each.kid, controller or key.did, each.key) for each in (key, *others)}
        ids = tuple(methods)
        self.documents[key.did] = DidDocument(
            key.did, methods, assertion=ids if assertion else (), authentication=ids if authentication else ()
        )

    async def resolve(self, did: str) -> DidDocument:
        found = self.documents.get(did)
        if isinstance(found, DidError):
            raise found
        return found or did_key.resolve(did)


def credential(issuer: str, **more: Any) -> dict[str, Any]:
    return {
        "@context": [V1, CITIZENSHIP],
        "type": ["VerifiableCredential", "PermanentResident"],
        "issuer": issuer,
        "issuanceDate": "2020-01-01T12:00:00Z",
        "credentialSubject": {"id": "did:example:alice", "type": "PermanentResident", "givenName": "ALICE"},
        **more,
    }
