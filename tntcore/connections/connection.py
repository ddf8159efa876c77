"""Connections: one identity connected with one contact."""

from __future__ import annotations

from typing import Any, Literal

from tntcore.dids import peer
from tntcore.dids.build import add_agreement_keys, didcomm_services
from tntcore.dids.document import DidDocument, PublicKey
from tntcore.services import Services
from tntcore.storage.records import Connection, Contact, Identity
from tntcore.tenancy.recipients import KeyPairs

DidMethod = Literal["did:peer:2", "did:peer:4", "did:sov"]
"""The method of our DID for one connection. did:sov stands for a DID without a method, sent with its document."""


def pairwise(services: Services, keys: KeyPairs, method: str | None = None) -> DidDocument:
    """Makes a did:peer for one connection, with this service as its endpoint for both wire versions.

    Args:
        method: `did:peer:4`; any other makes a did:peer:2.
    """
    if method == "did:peer:4":
        return _pairwise_4(services, keys)
    others: list[tuple[peer.Purpose, PublicKey]] = [("E", key.public) for key in keys.others]
    did = peer.create_2(
        [("E", keys.x25519.public), ("V", keys.ed25519.public), *others],
        didcomm_services(services.config.endpoint, "#key-2"),
    )
    return peer.resolve(did)


def _pairwise_4(services: Services, keys: KeyPairs) -> DidDocument:
    public = {"key-1": keys.ed25519.public, "key-2": keys.x25519.public}
    document: dict[str, Any] = peer.input_document(public, services.config.endpoint)
    add_agreement_keys(document, [key.public for key in keys.others])
    return peer.resolve(peer.create_4(document))


def start(identity: Identity, contact: Contact, now: int, did_method: str | None = None) -> Connection:
    """Makes a connection whose DID exchange has not begun: messages for it are held.

    Args:
        did_method: `DidMethod` of our DIDs on it, if the tenant chose one.
    """
    return Connection(
        uuid=Connection.uuid_of(identity.uuid, contact.uuid),
        identity_uuid=identity.uuid,
        identity_did=identity.did,
        contact_uuid=contact.uuid,
        contact_did=contact.did,
        named=True,
        state="start",
        did_method=did_method,
        created_at=now,
        updated_at=now,
    )
