"""Connects two identities without a DID exchange, for the demo, the benchmark and tests: neither tenant is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tntcore.connections.connection import pairwise, start
from tntcore.delivery.outbound import Outbound
from tntcore.dids.document import DidDocument, Version
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.lookups import Found
from tntcore.storage.records import Connection, Contact, Identity
from tntcore.storage.states import COMPLETED, ContactStatus
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant


async def complete(
    services: Services,
    outbound: Outbound,
    tenant: Tenant,
    connection: Connection,
    *,
    keys: KeyPairs,
    mine: DidDocument,
    theirs: Mapping[str, Any],
    version: Version,
) -> None:
    """What a finished DID exchange does: the connection has both documents, its keys are found at the door, its contact
    is accepted, and what was held for it goes out.

    Args:
        keys, mine: our keys for this connection and their document.
        theirs: the other side's document.
    """
    await _complete(services, tenant, connection, keys=keys, mine=mine, theirs=theirs, version=version)
    await outbound.drain(tenant.uuid, connection.uuid)


async def _complete(
    services: Services,
    tenant: Tenant,
    connection: Connection,
    *,
    keys: KeyPairs,
    mine: DidDocument,
    theirs: Mapping[str, Any],
    version: Version,
) -> None:
    now = services.now()
    owner = Found(tenant.uuid, "connection", connection.uuid)
    for kid in keys.by_kid(mine):
        await services.lookups.add("key", kid, owner)
    connection.my_did = mine.id
    connection.my_document = dict(mine.raw)
    connection.keys = tenant.records.seal(keys.serialise(), connection.key)
    connection.their_did = str(theirs["id"])
    connection.their_document = dict(theirs)
    connection.version = version
    connection.state = COMPLETED
    connection.created_at = connection.created_at or now
    connection.updated_at = now
    while True:
        unit = Unit()
        if connection.etag:
            unit.merge(connection.key, connection.values(), connection.etag)
        else:
            unit.create(connection)
        unit.upsert_row(Contact.row_key(connection.contact_uuid), {"status": "ACCEPTED", "updatedAt": now})
        try:
            await tenant.records.commit(unit)
            break
        except (Changed, Exists):
            # A message was held meanwhile.
            current = await tenant.records.get(Connection, connection.uuid)
            if current is None:
                raise
            connection.etag = current.etag
    services.tenants.forget_recipient(tenant, connection.uuid)


async def connect_tenants(
    services: Services,
    outbound: Outbound,
    one: tuple[Tenant, Identity],
    other: tuple[Tenant, Identity],
    *,
    version: Version = "v1",
) -> tuple[Connection, Connection]:
    """Connects two identities of this service without a DID exchange: each becomes the other's contact, with a pairwise
    DID for it, as if one had just been completed. Their messages travel as envelopes through the public endpoint.

    Internal: neither tenant is asked. For demonstrations, tests and an operator who speaks for both.
    """
    sides = []
    for (tenant, identity), (_, partner) in ((one, other), (other, one)):
        tenant, contact = await _contact(services, tenant, partner)
        connection = await tenant.records.get(Connection, Connection.uuid_of(identity.uuid, contact.uuid))
        keys = KeyPairs.generate()
        mine = pairwise(services, keys)
        sides.append((tenant, connection or start(identity, contact, services.now()), keys, mine))
    for (tenant, connection, keys, mine), (_, _, _, theirs) in zip(sides, reversed(sides), strict=True):
        await _complete(services, tenant, connection, keys=keys, mine=mine, theirs=theirs.raw, version=version)
    # Only now: what reached the second side before its keys were known would be refused, and tried again later.
    for tenant, connection, _, _ in sides:
        await outbound.drain(tenant.uuid, connection.uuid)
    return sides[0][1], sides[1][1]


async def _contact(services: Services, tenant: Tenant, partner: Identity) -> tuple[Tenant, Contact]:
    """Returns the contact, and the tenant in the shard that it is in."""
    hits = await tenant.whole.records.list(Contact, limit=1, where=queries.of_did(partner.did))
    if hits.records:
        return tenant.at(hits.records[0]), hits.records[0]
    now = services.now()
    contact = Contact(
        uuid=services.uuid7(),
        status=ContactStatus.REQUESTED,
        did=partner.did,
        display_name=partner.display_name,
        created_at=now,
        updated_at=now,
    )
    tenant = await tenant.birthplace(Contact, contact.uuid, now)
    unit = Unit()
    unit.create(contact)
    await tenant.records.commit(unit)
    return tenant, contact
