"""Large envelopes that nobody came for: a process may die after it wrote one and before it queued it, or after it
handled it and before it deleted it.

Whether its queue message is still somewhere, nobody can tell. So none is deleted here, but for what its tenant has
erased: what has lain for long is queued once more, and deleted by whoever handles it, as any other. To handle one twice
does nothing twice.
"""

from __future__ import annotations

from typing import Final

from tntcore.delivery.items import InboundItem, queue_message
from tntcore.messaging.ids import time_of
from tntcore.pipeline.given_up import is_shown, was_erased
from tntcore.services import Services
from tntcore.storage.storage import INBOUND

LONG: Final = 3 * 24 * 3_600_000
"""Milliseconds: more than an item is put off for."""
_PART = 100  # blobs that are looked at in one run


class Orphans:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._marker: str | None = None

    async def sweep(self) -> int:
        """Looks at the next of the envelopes, oldest first, and begins again where they become young; how many were
        queued. What was given up waits for the operator, and is left alone."""
        envelopes, before = self._services.storage.envelopes, self._services.now() - LONG
        page = await envelopes.page(self._marker, _PART)
        self._marker = page.next
        queued = 0
        for blob in page.blobs:
            item = InboundItem.of_blob(blob.name, blob.metadata)
            if item is None:
                continue  # none of ours
            if time_of(blob.name) >= before:
                self._marker = None
                break
            if blob.modified >= before:
                continue  # touched when it was queued last
            tenant = await self._services.tenants.get(item.principal)
            if tenant is not None and tenant.is_suspended:
                continue
            if tenant is not None and await is_shown(tenant.records, blob.name):
                continue
            if tenant is not None and await was_erased(tenant.records, blob.name):
                await envelopes.delete(blob.name)
                continue
            if await envelopes.touch(blob.name, blob.metadata):
                await self._services.storage.queues[INBOUND].put(queue_message([item]))
                self._services.meter.count("sweep.envelopes")
                queued += 1
        return queued
