"""Erases a stored message and everything that belongs to it."""

from __future__ import annotations

from contextlib import suppress

from tntcore.messaging.ids import time_of
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.records import Action, AssetData, Attempt, Delivery, Entry, HeldMessage, Message, Pointer
from tntcore.storage.repository import Repository
from tntcore.storage.states import DeliveryStatus
from tntcore.storage.transactions import MAX_OPERATIONS


async def erase(records: Repository, message: Message, *, under_way: bool = True) -> bool:
    """Deletes the message, its body, its deliveries and its attachments' records. Returns whether it did. A delivery
    under way is not recalled.

    The message's `@id` stays known: the same message, sent again, is still a duplicate.

    Args:
        under_way: erase even a message that is not delivered yet.
    """
    where = queries.about_message(message.uuid)
    deliveries = (await records.list(Delivery, limit=100, under=message.uuid[:13], where=where)).records
    if not under_way and any(
        delivery.status in (DeliveryStatus.PENDING, DeliveryStatus.HELD) for delivery in deliveries
    ):
        return False
    entries = (await records.list(Entry, limit=10, under=f"{message.action_uuid}.", where=where)).records
    unit = Unit()
    unit.delete(message.key)
    for asset in await records.many(AssetData, message.asset_data):
        unit.delete(asset.key)
    for delivery in deliveries:
        unit.delete(delivery.key)
    for entry in entries:
        unit.merge(entry.key, {"messageUuid": ""})
    thread = await records.get(Action, message.action_uuid)
    if thread is not None and time_of(message.uuid) == thread.updated_at:
        unit.upsert(Pointer(uuid=thread.pointer, record_uuid=thread.uuid))
    await records.commit(unit)
    records.erased(message)
    await records.delete_body(message.uuid)
    for delivery in deliveries:
        await erase_attempts(records, delivery)
        if delivery.status == DeliveryStatus.HELD:
            held = await records.get(HeldMessage, f"{delivery.connection_uuid}.{message.uuid}")
            if held is not None:
                unit = Unit()
                unit.delete(held.key)
                # A drain may be faster.
                with suppress(Changed):
                    await records.commit(unit)
    return True


async def erase_attempts(records: Repository, delivery: Delivery) -> None:
    """Deletes the records of a delivery's attempts, however often it was replayed."""
    start: str | None = ""
    while start is not None:
        hits = await records.list(Attempt, limit=MAX_OPERATIONS, start=start, under=f"{delivery.uuid}.", columns=())
        start = hits.next
        unit = Unit()
        for attempt in hits.records:
            unit.delete(attempt.key)
        if unit.operations:
            await records.commit(unit)
