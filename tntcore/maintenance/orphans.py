"""Finds large envelopes left behind: a process may die after writing the blob and before queueing it, or after handling
it and before deleting it.

The service cannot tell whether the queue message still exists. So an old envelope is queued once more rather than
deleted, and its handler deletes it; only envelopes that their tenant erased are deleted here. Handling one twice has no
effect.
"""

from __future__ import annotations

from typing import Final

from tntcore.messaging.ids import time_of
from tntcore.pipeline.given_up import is_shown, was_erased
from tntcore.services import Services
from tntcore.storage.items import InboundItem, queue_message
from tntcore.storage.storage import INBOUND

LONG: Final = 3 * 24 * 3_600_000
"""Milliseconds: more than an item is put off for."""
_PART = 100  # blobs that are looked at in one run


class Orphans:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._marker: str | None = None

    async def sweep(self) -> int:
        """Looks at the next envelopes, oldest first, and starts over when they become young. Returns how many were
        queued. Poison messages are left to the operator.
        """
        envelopes, before = self._services.storage.envelopes, self._services.now() - LONG
        page = await envelopes.page(self._marker, _PART)
        self._marker = page.next
        queued = 0
        for blob in page.blobs:
            item = InboundItem.of_blob(blob.name, blob.metadata)
            if item is None:
                continue  # not one of ours
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
