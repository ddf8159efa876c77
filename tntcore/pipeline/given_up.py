"""Inbound items that were given up, as their tenant sees them: a message, FAILED, until the item is handled after all.

An item may be on its way in more than one queue message, so that one of them is given up although another one is, or
was, handled: what comes of the handling then takes the place of what was shown, and is never replaced by it.
"""

from __future__ import annotations

from tntcore.delivery.items import InboundItem
from tntcore.storage.commit import Exists, Unit
from tntcore.storage.records import Entry, Message, entry_id
from tntcore.storage.repository import MAX_INLINE, Repository
from tntcore.storage.retrying import retrying
from tntcore.storage.states import MessageStatus

ERROR = "handling-failed"


async def show(records: Repository, item: InboundItem, now: int) -> bool:
    """Has the tenant see the item as FAILED; False if it is known already, however it ended.

    The envelope goes with it where it fits in the row. The message's blob is left alone: it may be that of the message
    which the item has become.
    """
    raw = (item.envelope or "").encode()
    sealed = records.seal_body(item.uuid, raw) if raw else b""
    message = Message(
        uuid=item.uuid,
        status=MessageStatus.FAILED,
        direction="IN",
        error=ERROR,
        body=sealed if len(sealed) <= MAX_INLINE else b"",
        created_at=now,
        updated_at=now,
    )
    entry = _entry(item.uuid)
    unit = Unit()
    unit.create(entry)
    unit.create(message)
    try:
        await records.commit(unit)
    except Exists:
        return False
    return True


async def take_back(records: Repository, uuid: str) -> bool:
    """Undoes `show` for the item of this uuid. False if there is a message that something else has become of.

    Raises:
        Contended: others change it all the time.
    """

    async def attempt() -> bool:
        message = await records.get(Message, uuid)
        if message is None:
            return True
        if not shows(message):
            return False
        unit = Unit()
        unit.delete(message.key, message.etag)
        if await records.get(Entry, _entry(uuid).uuid) is not None:
            unit.delete(_entry(uuid).key)
        await records.commit(unit)
        return True

    return await retrying(attempt)


async def is_stored(records: Repository, uuid: str) -> bool:
    """Returns whether there is a message of the item's uuid."""
    return await records.get(Message, uuid) is not None


async def settle(records: Repository, uuid: str) -> None:
    """Notes that the item was handled and is never to be shown, although no message of its uuid has become of it."""
    unit = Unit()
    unit.upsert(_entry(uuid))
    await records.commit(unit)


async def is_shown(records: Repository, uuid: str) -> bool:
    """Whether the item of this uuid is one that was given up, and not yet handled after all."""
    message = await records.get(Message, uuid)
    return message is not None and shows(message)


async def was_erased(records: Repository, uuid: str) -> bool:
    """Whether the tenant saw the item as FAILED and erased it, or it is settled."""
    shown = await records.get(Entry, _entry(uuid).uuid) is not None
    return shown and await records.get(Message, uuid) is None


def shows(message: Message) -> bool:
    """Whether the message is what `show` has written."""
    return (message.status, message.error) == ("FAILED", ERROR)


def _entry(uuid: str) -> Entry:
    return Entry(uuid=entry_id("failed", "in", uuid), message_uuid=uuid)
