"""Deletes connections, in steps that can be repeated where they broke off.

A connection is abandoned first, so that it shows its state. Then its keys can no longer be found. Its row is deleted
last, because it has everything that is needed to continue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tntcore.delivery.outbound import drain, drain_later
from tntcore.errors import DidError
from tntcore.services import Services
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.records import AttachedMessage, Connection
from tntcore.storage.states import ABANDONED
from tntcore.storage.transactions import MAX_OPERATIONS
from tntcore.tenancy.recipients import document_of, names_in
from tntcore.tenancy.tenants import Tenant

MOST: Final = 23
"""Connections in one transaction, each with its three pointers, which leaves room for what else is in it."""
_AT_ONCE = 8


def key_names(connection: Connection) -> frozenset[str]:
    """Returns the names that envelopes may use for the keys of our side: the present, the next and the former ones."""
    names: set[str] = set()
    for did, kept, keys in (
        (connection.my_did, connection.my_document, connection.keys),
        (connection.next_did, connection.next_document, connection.next_keys),
        (connection.former_did, connection.former_document, connection.former_keys),
    ):
        # A document that cannot be read has no keys that anybody writes to.
        with suppress(DidError):
            names |= names_in(document_of(did, kept)) if keys else set()
    return frozenset(names)


async def remove(services: Services, tenant: Tenant, connections: Sequence[Connection], unit: Unit) -> None:
    """Ends connections and deletes them, in one transaction with the unit. Messages held for them fail.

    Args:
        connections: at most `MOST`.

    Raises:
        Changed: another call has deleted one of them. The unit was not committed.
    """
    now = services.now()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def announce(connection: Connection) -> None:
        async with gate:
            await drain_later(services, tenant.uuid, connection.uuid)

    await asyncio.gather(*map(announce, connections))
    ending = Unit()
    for connection in connections:
        if connection.state != ABANDONED or not connection.is_pointed:
            # With pointers that are sure to be there, whatever others do to the row until it is deleted.
            ended = replace(connection, state=ABANDONED)
            ending.merge(connection.key, {"state": ABANDONED, "updatedAt": now, **ending.point(ended)})
            connection = replace(ended, indexed=ended.pointer, indexed_by=" ".join(ended.filed))
        unit.remove(connection)
    if ending.operations:
        await tenant.records.commit(ending)

    async def close(connection: Connection) -> None:
        async with gate:
            services.tenants.forget_recipient(tenant, connection.uuid)
            for name in sorted(key_names(connection)):
                await services.lookups.remove("key", name, connection.uuid)
            await _drop_attached(tenant, connection)

    await asyncio.gather(*map(close, connections))
    await tenant.records.commit(unit)
    for connection in connections:
        services.tenants.forget_recipient(tenant, connection.uuid)
        await drain(services, tenant.uuid, connection.uuid)


async def _drop_attached(tenant: Tenant, connection: Connection) -> None:
    """Deletes the messages that came inside the invitation and wait for the connection to be completed."""
    start: str | None = ""
    while start is not None:
        hits = await tenant.records.list(
            AttachedMessage, limit=MAX_OPERATIONS, start=start, under=f"{connection.uuid}.", columns=()
        )
        start = hits.next
        unit = Unit()
        for attached in hits.records:
            unit.delete(attached.key)
        if unit.operations:
            # Another call, or their receipt, may be faster.
            with suppress(Changed):
                await tenant.records.commit(unit)
