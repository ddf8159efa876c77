"""Poison queues: what was given up is kept in a table at once, and shown to its tenant."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from tntcore.pipeline.outbound import write_outcome
from tntcore.pipeline.outbox import Item
from tntcore.records import Delivery, Entry, Message, entry_id
from tntcore.services import Services
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.storage import INBOUND, OUTBOUND

log = logging.getLogger(__name__)

_MAX_COLUMN = 48 * 1024


class Poison:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def handle(self, queue: str, message_id: str, body: bytes) -> None:
        """Keeps a message of the poison queue of `queue`.

        Args:
            message_id: the queue's own id of it, so that a second delivery overwrites the first.
        """
        log.error("a message of queue %s was given up after too many attempts", queue)
        self._services.meter.count(f"poison.{queue}")
        await self._services.storage.poisoned.put(
            queue, message_id, {"body": body[:_MAX_COLUMN], "at": self._services.now()}
        )
        try:
            items: list[Item] = orjson.loads(body)["items"]
            references = [item for item in items if isinstance(item["p"], str)]
        except (ValueError, TypeError, KeyError):
            return
        for item in references:
            await self._show(queue, item)

    async def _show(self, queue: str, item: dict[str, Any]) -> None:
        tenant = await self._services.tenants.get(item["p"])
        if tenant is None:
            return
        now = self._services.now()
        unit = Unit()
        if queue == INBOUND:
            raw = item["e"].encode() if "e" in item else await self._services.storage.envelopes.get(item["id"]) or b""
            message = Message(
                uuid=item["id"],
                status="FAILED",
                direction="IN",
                error="handling-failed",
                body=await tenant.records.put_body(item["id"], tenant.records.seal_body(item["id"], raw)),
                created_at=now,
                updated_at=now,
            )
            entry = Entry(uuid=entry_id("failed", "in", item["id"]), message_uuid=message.uuid)
            unit.create(entry.key, entry.values())
            unit.create(message.key, message.values())
        else:
            delivery = await tenant.records.get(Delivery, item["d"])
            if delivery is None or delivery.status != "PENDING":
                # Its neighbours in the list were the trouble: this one has come to its end.
                self._services.meter.count(f"poison.{queue}.known")
                return
            unit.merge(delivery.key, {"status": "FAILED", "error": "handling-failed", "updatedAt": now}, delivery.etag)
            if queue == OUTBOUND:
                write_outcome(unit, item, "FAILED", now)
        try:
            await tenant.records.commit(unit)
        except (Exists, Changed):
            self._services.meter.count(f"poison.{queue}.known")
