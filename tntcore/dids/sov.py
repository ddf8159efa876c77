"""Unqualified and did:sov DIDs, with the documents that legacy agents attach (RFC 0160; RFC 0023 1.0). Pure.

No ledger is consulted: for the receiver of an attached document, such a DID means what that document says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tntcore.dids.multiformats import decode_verkey, encode_base58
from tntcore.dids.parse import qualify


def create(verkey: str) -> str:
    """The unqualified DID of a base58 verkey: base58 of the key's first 16 bytes.

    Raises:
        DidError: `bad-key`.
    """
    return encode_base58(decode_verkey(verkey).raw[:16])


def is_of_key(did: str, verkey: str) -> bool:
    """Whether `did` is the did:sov that agents derive from this key: base58 of its first 16 bytes. Any other did:sov
    proves nothing about keys, as no ledger is consulted.
    """
    return did == f"did:sov:{create(verkey)}"


def legacy_document(did: str, verkey: str, endpoint: str, *, routing_keys: Sequence[str] = ()) -> dict[str, Any]:
    """Returns our document in answer to a legacy agent.

    Args:
        did: unqualified or did:sov.
        verkey: base58.
        routing_keys: base58 verkeys, from recipient to sender.
    """
    did = qualify(did)
    key_id = f"{did}#1"
    return {
        "@context": "https://w3id.org/did/v1",
        "id": did,
        "publicKey": [
            {"id": key_id, "type": "Ed25519VerificationKey2018", "controller": did, "publicKeyBase58": verkey},
        ],
        "authentication": [{"type": "Ed25519SignatureAuthentication2018", "publicKey": key_id}],
        "service": [
            {
                "id": f"{did};indy",
                "type": "IndyAgent",
                "priority": 0,
                "recipientKeys": [verkey],
                "routingKeys": list(routing_keys),
                "serviceEndpoint": endpoint,
            }
        ],
    }
