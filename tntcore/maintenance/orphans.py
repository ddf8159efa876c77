"""Finds large envelopes left behind: a process may die after writing the blob and before queueing it, or after handling
it and before deleting it.

The service cannot tell whether the queue message still exists. So an old envelope is queued once more rather than
deleted, and its handler deletes it; only envelopes that their tenant erased are deleted here. Handling one twice has no
effect.
"""

from __future__ import annotations

import logging
from typing import Final

from tntcore.messaging.ids import time_of
from tntcore.pipeline.given_up import is_shown, was_erased
from tntcore.services import Services
from tntcore.storage.blobs import Blob
from tntcore.storage.items import InboundItem, queue_message
from tntcore.storage.storage import INBOUND

log = logging.getLogger(__name__)

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

        Raises:
            ExceptionGroup: errors of some envelopes, after all others were handled.
        """
        envelopes, before = self._services.storage.envelopes, self._services.now() - LONG
        page = await envelopes.page(self._marker, _PART)
        self._marker = page.next
        queued = 0
        errors: list[Exception] = []
        for blob in page.blobs:
            item = InboundItem.of_blob(blob.name, blob.metadata)
            if item is None:
                continue  # not one of ours
            if time_of(blob.name) >= before:
                self._marker = None
                break
            if blob.modified >= before:
                continue  # touched when it was queued last
            try:
                queued += await self._see_to(blob, item)
            except Exception as error:
                log.exception("the sweeper could not see to envelope %s", blob.name)
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} envelopes could not be seen to", errors)
        return queued

    async def _see_to(self, blob: Blob, item: InboundItem) -> bool:
        """Returns whether the envelope was queued."""
        envelopes, tenant = self._services.storage.envelopes, await self._services.tenants.get(item.principal)
        if tenant is not None and (tenant.is_suspended or await is_shown(tenant.records, blob.name)):
            return False
        if tenant is not None and await was_erased(tenant.records, blob.name):
            await envelopes.delete(blob.name)
            return False
        if not await envelopes.touch(blob.name, blob.metadata):
            return False
        await self._services.storage.queues[INBOUND].put(queue_message([item]))
        self._services.meter.count("sweep.envelopes")
        return True
