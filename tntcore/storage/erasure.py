"""Erases a stored message and everything that belongs to it."""

from __future__ import annotations

from tntcore.storage import queries
from tntcore.storage.commit import Unit
from tntcore.storage.records import AssetData, Attempt, Delivery, Entry, Message
from tntcore.storage.repository import Repository
from tntcore.storage.states import DeliveryStatus


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
    await records.commit(unit)
    records.erased(message)
    await records.delete_body(message.uuid)
    for delivery in deliveries:
        failures = Unit()
        for attempt in (await records.list(Attempt, limit=90, under=f"{delivery.uuid}.")).records:
            failures.delete(attempt.key)
        if failures.operations:
            await records.commit(failures)
    return True
