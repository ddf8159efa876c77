"""Poison queues: a poison message is stored in a table at once, shown to its tenant, and can be replayed.

A replay restores the tenant's records to their state before the failure, and puts the items back on their queue, each
alone. Items handled meanwhile are not handled twice: their uuids are known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tntcore.delivery.outbound import write_outcome
from tntcore.delivery.outbox import Outbox
from tntcore.pipeline import given_up
from tntcore.services import Services
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.items import (
    DeliveryItem,
    InboundItem,
    Item,
    SendItem,
    items_of,
    parsed,
    queue_message,
    relay_item,
)
from tntcore.storage.records import Action, Delivery, Message
from tntcore.storage.states import DeliveryStatus, MessageStatus
from tntcore.storage.storage import EXCHANGE, INBOUND, OUTBOUND, RELAY
from tntcore.storage.tables import Row
from tntcore.telemetry.meter import POISON
from tntcore.tenancy.tenants import Tenant

log = logging.getLogger(__name__)

QUEUES = (INBOUND, EXCHANGE, OUTBOUND, RELAY)
FAILED = given_up.ERROR
_READERS: Mapping[str, Callable[[Mapping[str, Any]], Item]] = {
    INBOUND: InboundItem.read,
    EXCHANGE: InboundItem.read,
    OUTBOUND: SendItem.read,
    RELAY: relay_item,
}
_MAX_COLUMN = 64 * 1024  # bytes: a queue message has no more


class Replayed(StrEnum):
    """The result of a replay."""

    REPLAYED = "replayed"
    SENSELESS = "senseless"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Given:
    """A poison message: a queue message that failed too often.

    Attributes:
        id: the queue's own. at: milliseconds.
    """

    queue: str
    id: str
    at: int
    body: bytes

    @property
    def items(self) -> Sequence[Item]:
        """Returns its items, without malformed ones."""
        return _items(self.queue, self.body)

    @property
    def replayable(self) -> bool:
        """Whether its queue could handle it."""
        return bool(self.items) or _is_part(self.queue, self.body)

    @staticmethod
    def read(row: Row) -> Given:
        return Given(row.partition, row.key, row.values.get("at", 0), row.values.get("body", b""))


def _items(queue: str, body: bytes) -> list[Item]:
    """Returns the items that have the queue's type and a known tenant."""
    try:
        return [item for item in items_of(body, _READERS[queue]) if isinstance(item.principal, str)]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _again(item: Item) -> Item:
    """Returns the item as it is put back: never put off, and possibly attempted."""
    if isinstance(item, InboundItem):
        return replace(item, put_off=0, waited=0)
    return replace(item.without_body(), again=True) if isinstance(item, DeliveryItem) else item


def _is_part(queue: str, body: bytes) -> bool:
    """Whether it is a drain, or a part of a replay: it has no items, and handling it twice has no effect."""
    name = {OUTBOUND: "drain", RELAY: "replay"}.get(queue)
    try:
        return isinstance(parsed(body)[name or ""], dict)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


class Poison:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        self._table = services.storage.poisoned

    async def handle(self, queue: str, message_id: str, body: bytes) -> None:
        """Stores a message of the poison queue of `queue`.

        Args:
            message_id: the queue's own id of it, so that a second delivery overwrites the first.
        """
        # infra/app/alerts.bicep looks for these words.
        log.error("a message of queue %s was given up after too many attempts", queue, extra={"code": FAILED})
        self._services.meter.count(f"poison.{queue}")
        self._services.meter.add(POISON, queue)
        await self._table.put(queue, message_id, {"body": body[:_MAX_COLUMN], "at": self._services.now()})
        for item in _items(queue, body):
            with item.follow(self._services.tracing, f"give up {queue}", f"{queue}-poison") as span:
                span.attributes["tnt.outcome"], span.error = "failed", FAILED
                await self._show(queue, item)

    async def list(self, queue: str, *, limit: int, start: str) -> tuple[Sequence[Given], str | None]:
        """Returns one page of the poison messages of `queue`, in the order of their ids, and the start of the next
        page.
        """
        page = await self._table.scan(queue, start, "~", limit=limit)
        return [Given.read(row) for row in page.rows], page.next

    async def get(self, queue: str, message_id: str) -> Given | None:
        row = await self._table.get(queue, message_id)
        return None if row is None else Given.read(row)

    async def replay(self, given: Given) -> Replayed:
        """Puts its items back on their queue. If no queue could handle it, or an envelope is missing, it stays where it
        is. Repeating a replay, even one that broke off, has no further effect.
        """
        if not given.replayable:
            return Replayed.SENSELESS
        if await self._is_missing(given):
            return Replayed.MISSING
        queue = self._services.storage.queues[given.queue]
        if _is_part(given.queue, given.body):
            await queue.put(given.body)
        for item in given.items:
            tenant = await self._services.tenants.get(item.principal)
            if tenant is not None and await self._revive(given.queue, tenant, item):
                await queue.put(queue_message([_again(item)]))
        await self._table.delete(given.queue, given.id)
        self._services.meter.count(f"poison.{given.queue}.replayed")
        return Replayed.REPLAYED

    async def _is_missing(self, given: Given) -> bool:
        """Whether the envelope of an item that its tenant sees as failed is gone."""
        for item in given.items:
            if not isinstance(item, InboundItem) or not item.in_blob:
                continue
            tenant = await self._services.tenants.get(item.principal)
            if tenant is None or not await given_up.is_shown(tenant.records, item.uuid):
                continue
            if not await self._services.storage.envelopes.size(item.uuid):
                return True
        return False

    async def discard(self, given: Given) -> None:
        """Deletes the poison message. The tenant's records still say that it failed."""
        if given.queue in (INBOUND, EXCHANGE):
            envelopes = self._services.storage.envelopes
            await asyncio.gather(
                *(envelopes.delete(item.uuid) for item in given.items if isinstance(item, InboundItem) and item.in_blob)
            )
        await self._table.delete(given.queue, given.id)

    async def _show(self, queue: str, item: Item) -> None:
        tenant = await self._services.tenants.get(item.principal)
        if tenant is None:
            return
        now = self._services.now()
        if isinstance(item, InboundItem):
            if not await given_up.show(tenant.records, item, now):
                self._services.meter.count(f"poison.{queue}.known")
            return
        if not isinstance(item, DeliveryItem):
            return
        delivery = await tenant.records.get(Delivery, item.delivery)
        if delivery is None or delivery.status != DeliveryStatus.PENDING:
            # Others in the list failed: this one is finished.
            self._services.meter.count(f"poison.{queue}.known")
            return
        unit = Unit()
        unit.merge(delivery.key, {"status": DeliveryStatus.FAILED, "error": FAILED, "updatedAt": now}, delivery.etag)
        if isinstance(item, SendItem):
            write_outcome(unit, item, DeliveryStatus.FAILED, now)
        try:
            await tenant.records.commit(unit)
        except Changed:
            self._services.meter.count(f"poison.{queue}.known")

    async def _revive(self, queue: str, tenant: Tenant, item: Item) -> bool:
        """Undoes the change of `_show`. Returns whether anything is left to do."""
        records, now = tenant.records, self._services.now()
        if isinstance(item, InboundItem):
            return not await given_up.was_erased(records, item.uuid) and await given_up.take_back(records, item.uuid)
        if not isinstance(item, DeliveryItem):
            return False
        delivery = await records.get(Delivery, item.delivery)
        if delivery is None or (delivery.status, delivery.error) not in (("FAILED", FAILED), ("PENDING", "")):
            return False
        if delivery.status == DeliveryStatus.PENDING:
            return True
        # If its queue message is lost, the sweeper finds it.
        await self._outbox.mark(tenant.uuid, [delivery.uuid])
        unit = Unit()
        unit.merge(
            delivery.key,
            {"status": DeliveryStatus.PENDING, "error": "", "nextAttemptAt": now, "updatedAt": now},
            delivery.etag,
        )
        if isinstance(item, SendItem):
            unit.merge(Message.row_key(item.message), {"status": MessageStatus.SENDING, "updatedAt": now})
            if item.action:
                unit.upsert_row(Action.row_key(item.action), {"typeStatus": "SENDING", "updatedAt": now})
        try:
            await records.commit(unit)
        except Changed:
            # Another replay has just done it, or the tenant has erased the message.
            self._services.meter.count(f"poison.{queue}.known")
        return True
