"""Connections: one identity connected with one contact."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

from tntcore.dids import peer
from tntcore.dids.build import add_agreement_keys, didcomm_services
from tntcore.dids.document import DidDocument, PublicKey
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.records import Connection, Contact, Identity
from tntcore.storage.repository import Hits, Repository
from tntcore.tenancy.recipients import KeyPairs

FEW_IDENTITIES: Final = 4
_IN_A_FILTER: Final = 10  # contacts
_LISTED: Final = 999  # connections, which one storage call reads
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


def in_place_of(before: Connection | None, connection: Connection) -> Connection:
    """Makes a connection take the place of the same one that has not begun or has come to nothing, if there is one.
    Returns it.
    """
    if before is not None:
        connection.etag, connection.created_at = before.etag, before.created_at
        connection.indexed, connection.indexed_by = before.indexed, before.indexed_by
    return connection


async def connections_of(
    records: Repository, contacts: Sequence[str], *, columns: Sequence[str] | None = None
) -> list[Connection]:
    """Returns the connections of contacts (uuids), at most 999 for ten contacts.

    It takes one storage call and, for a tenant with up to four identities, one for each of them and each contact; for
    tenants with more, one for each contact and each of its connections. While not all of these have pointers, storage
    looks at all connections.

    Args:
        columns: all that the caller needs, read where storage looks at all connections; None for everything.
    """
    identities = (await records.list(Identity, limit=FEW_IDENTITIES + 1, columns=("status",))).records
    if len(identities) <= FEW_IDENTITIES:
        # A connection's uuid follows from both sides.
        pairs = [Connection.uuid_of(identity.uuid, contact) for identity in identities for contact in contacts]
        return await records.many(Connection, pairs)
    found: list[Connection] = []
    if await records.is_filed():
        pages = await asyncio.gather(*(all_of_contact(records, contact, limit=_LISTED) for contact in contacts))
        return [connection for page in pages for connection in page.records]
    for place in range(0, len(contacts), _IN_A_FILTER):
        where = queries.connections_of_contacts(contacts[place : place + _IN_A_FILTER])
        found += (await records.list(Connection, limit=_LISTED, where=where, columns=columns)).records
    return found


async def all_of_contact(records: Repository, contact: str, *, limit: int) -> Hits[Connection]:
    """Returns connections of a contact (uuid), those with identities that were deleted included."""
    if await records.is_filed():
        return await records.pointed(Connection, Connection.with_contact(contact), limit=limit)
    return await records.list(Connection, limit=limit, where=queries.connections_of_contact(contact))
