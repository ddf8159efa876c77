"""The outbox: each effect of a commit has a delivery row, written in the commit, and a queue message, put after it.

The row is the truth, the queue message only makes it fast. The sweeper finds principals whose queue messages may be
lost in the `due` table; their names are written there before the commit, from time to time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from tntcore.caching import SharedCache
from tntcore.delivery.pulse import Pulse
from tntcore.messaging.ids import time_of
from tntcore.services import Services
from tntcore.storage.items import DeliveryItem, InboundItem, MessageCall, RelayItem, SendItem, queue_message
from tntcore.storage.queues import MAX_MESSAGE, ListQueue
from tntcore.storage.records import AttachedMessage, Delivery, Message
from tntcore.together import together

BUCKET = 600_000  # deliveries received within this many milliseconds share a row of the due table
GRACE = 600_000  # milliseconds after which the queue message of a late delivery counts as lost
MARK_SECONDS = 120.0
"""After so long a mark is renewed; the sweeper removes none younger than several times that."""
DUE = "due"
UNQUEUED = "unqueued"
"""Partition of the `due` table: deliveries whose queue message could not be put after their commit, and processes that
may have died before they put one (`Pulse`)."""
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each repetition of a put that storage refused


def due_key(bucket: int, principal: str) -> str:
    return f"{bucket:012d}~{principal}"


def message_call(principal: str, delivery: Delivery, message: Message, sealed: bytes) -> MessageCall:
    """Returns the item with everything that the relay needs, so that it reads no row.

    Args:
        sealed: the message's body.
    """
    columns = message.values()
    columns.pop("body", None)
    return MessageCall(
        principal=principal,
        delivery=delivery.uuid,
        entry=delivery.entry_id,
        message=message.uuid,
        columns=columns,
        body=sealed,
    )


def send_item(principal: str, delivery: Delivery, sealed: bytes) -> SendItem:
    """Returns the item with everything that the sender needs.

    Args:
        sealed: the message's body; b"" if the sender is to read it.
    """
    return SendItem(
        principal=principal,
        delivery=delivery.uuid,
        message=delivery.message_uuid,
        action=delivery.action_uuid,
        connection=delivery.connection_uuid,
        previous=bool(delivery.to_previous),
        body=sealed,
    )


def attached_item(principal: str, attached: AttachedMessage, message_uuid: str) -> InboundItem:
    """Returns the item for queue `inbound` that receives a message attached to an invitation."""
    connection = attached.uuid.partition(".")[0]
    return InboundItem(
        uuid=message_uuid, principal=principal, owner="connection", owner_uuid=connection, attached=attached.uuid
    )


def reuse_item(principal: str, connection: str, reuse: str, uuid: str) -> InboundItem:
    """Returns the item for queue `inbound` that answers an invitation by a new connection, unless the other side has
    agreed to reuse the present one. `reuse`: uuid of the `PendingReuse`.
    """
    return InboundItem(uuid=uuid, principal=principal, owner="connection", owner_uuid=connection, reuse=reuse)


def begin_item(principal: str, connection: str, uuid: str) -> InboundItem:
    """Returns the item for queue `inbound` that begins a connection by its contact's DID."""
    return InboundItem(uuid=uuid, principal=principal, owner="connection", owner_uuid=connection, begin=True)


def _again(items: Sequence[DeliveryItem]) -> bytes:
    """Returns the queue message of items that may have been attempted, without their bodies if they do not fit."""
    again = [replace(item, again=True) for item in items]
    data = queue_message(again)
    return data if len(data) <= MAX_MESSAGE else queue_message([item.without_body() for item in again])


class Outbox:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._repeating: set[asyncio.Task[None]] = set()
        # When each was written. Of both clocks the one that went further tells its age: the service's may be set back.
        self._marks: SharedCache[int] = SharedCache(time.monotonic, 50_000)
        self._pulse = Pulse(services.storage.due, UNQUEUED, services.random(8).hex(), services.now)

    async def close(self, *, finished: bool) -> None:
        """Ends puts that are repeated: the sweeper makes them.

        Args:
            finished: no commit is under way whose deliveries are yet to be queued.
        """
        finished &= not self._repeating
        for task in self._repeating:
            task.cancel()
        await asyncio.gather(*self._repeating, return_exceptions=True)
        await self._pulse.stop(finished=finished)

    async def mark(self, principal: str, deliveries: Iterable[str]) -> None:
        """Makes the sweeper look at these deliveries (uuids). Called before their commit."""
        keys = {due_key(time_of(delivery) // BUCKET, principal) for delivery in deliveries}
        if keys:
            unmarked = [key for key in keys if not self._is_marked(key)]
            await together([self._pulse.beat(), *(self._mark_once(key) for key in unmarked)])

    def _is_marked(self, key: str) -> bool:
        written = self._marks.peek(key)
        if written is not None and abs(self._services.now() - written) >= MARK_SECONDS * 1000:
            self._marks.drop(key)
            return False
        return written is not None

    async def _mark_once(self, key: str) -> None:
        await self._marks.get(key, lambda: self._mark(key))

    async def _mark(self, key: str) -> tuple[int, float]:
        now = self._services.now()
        await self._services.storage.due.put(DUE, key, {"markedAt": now})
        return now, MARK_SECONDS

    async def relay(self, item: RelayItem) -> None:
        """Queues a webhook call; returns when it is queued."""
        await self._put(self._services.storage.relay, item)

    async def outbound(self, item: SendItem) -> None:
        """Queues a send; returns when it is queued."""
        await self._put(self._services.storage.outbound, item)

    async def put(self, item: SendItem | RelayItem) -> None:
        """Queues a send, or a webhook call."""
        await (self.outbound(item) if isinstance(item, SendItem) else self.relay(item))

    async def _put(self, queue: ListQueue, item: DeliveryItem) -> None:
        item = item.traced()
        data = item.data()
        if len(data) > queue.room:
            data = item.without_body().data()
        await queue.add(data)

    def try_again(self, principal: str, deliveries: Sequence[str], put: Callable[[], Awaitable[None]]) -> None:
        """Repeats a put that storage refused, in the background, until it succeeds or half a minute has passed. If this
        process dies meanwhile, the sweeper finds the deliveries within two minutes.

        Args:
            deliveries: uuids.
            put: queues what is committed; raises if it cannot.
        """
        due, keys = self._services.storage.due, [f"{principal}~{uuid}" for uuid in deliveries]

        async def repeat() -> None:
            with suppress(Exception):
                for key in keys:
                    await due.put(UNQUEUED, key, {"markedAt": self._services.now()})
            for seconds in _PAUSES:
                await asyncio.sleep(seconds)
                with suppress(Exception):
                    await put()
                    for key in keys:
                        await due.delete(UNQUEUED, key)
                    return

        task = asyncio.create_task(repeat())
        self._repeating.add(task)
        task.add_done_callback(self._repeating.discard)

    async def put_back(self, queue: str, lists: Iterable[Sequence[DeliveryItem]], *, delay: int = 0) -> None:
        """Puts parts of a list back, each as its own message, visible after `delay` seconds. If that list is delivered
        again as well, the records tell what was attempted.
        """
        target = self._services.storage.queues[queue]
        await asyncio.gather(*(target.put(_again(items), delay=delay) for items in lists))

    async def later(self, queue: str, item: DeliveryItem, delay: int) -> None:
        """Puts one item back, alone, visible after `delay` seconds."""
        body = queue_message([item.without_body()])
        await self._services.storage.queues[queue].put(body, delay=delay)
