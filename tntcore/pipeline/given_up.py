"""Poison inbound items as their tenant sees them: a message, FAILED, until the item is handled after all.

Several queue messages may carry one item, so one of them may be given up while another is, or was, handled. The result
of handling then replaces the FAILED message, and is never replaced by it.
"""

from __future__ import annotations

from tntcore.storage.commit import Exists, Unit
from tntcore.storage.items import InboundItem
from tntcore.storage.records import Entry, Message, entry_id
from tntcore.storage.repository import MAX_INLINE, Repository
from tntcore.storage.retrying import retrying
from tntcore.storage.states import MessageStatus

ERROR = "handling-failed"


async def show(records: Repository, item: InboundItem, now: int) -> bool:
    """Shows the item to the tenant as FAILED. Returns False if its result is known already.

    The envelope is stored with it if it fits in the row. The message's blob is left alone: it may belong to the message
    that the item became.
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
    """Undoes `show` for the item of this uuid. Returns False if the item has become a message.

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
    """Records that the item was handled without becoming a message, so that it is never shown as FAILED."""
    unit = Unit()
    unit.upsert(_entry(uuid))
    await records.commit(unit)


async def is_shown(records: Repository, uuid: str) -> bool:
    """Whether the item of this uuid is shown as FAILED, and was not handled since."""
    message = await records.get(Message, uuid)
    return message is not None and shows(message)


async def was_erased(records: Repository, uuid: str) -> bool:
    """Whether the tenant saw the item as FAILED and erased it, or it is settled."""
    shown = await records.get(Entry, _entry(uuid).uuid) is not None
    return shown and await records.get(Message, uuid) is None


def shows(message: Message) -> bool:
    """Whether `show` wrote the message."""
    return (message.status, message.error) == ("FAILED", ERROR)


def _entry(uuid: str) -> Entry:
    return Entry(uuid=entry_id("failed", "in", uuid), message_uuid=uuid)
