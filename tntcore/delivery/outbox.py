"""Effects of commits: each has a delivery row, written in the commit, and a queue message, put after it.

The queue message is the fast way; the row is what counts. A principal with rows that might have lost their queue
message is found by the sweeper through the `due` table, where its name is written down before the commit, once in a
while.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

import orjson

from tntcore.caching import SharedCache
from tntcore.messaging.ids import time_of
from tntcore.services import Services
from tntcore.storage.queues import MAX_MESSAGE, ListQueue
from tntcore.storage.records import Attached, Delivery, Message
from tntcore.telemetry import carried

BUCKET = 600_000  # milliseconds of receipt that share a row of the due table
GRACE = 600_000  # milliseconds that a delivery may be late before its queue message counts as lost
_MARK_SECONDS = 120.0  # a mark is renewed after this long; the sweeper removes none younger than several times that
DUE = "due"

Item = dict[str, Any]


def due_key(bucket: int, principal: str) -> str:
    return f"{bucket:012d}~{principal}"


def relay_item(principal: str, delivery: Delivery, message: Message, sealed: bytes) -> Item:
    """What the relay needs, so that it reads no row: `{p, d, e, u, m, b?}`. `m` has the message's columns but its body,
    which is `b`, sealed, in base64."""
    columns = message.values()
    columns.pop("body", None)
    item: Item = {"p": principal, "d": delivery.uuid, "e": delivery.entry_id, "u": message.uuid, "m": columns}
    return _with_body(item, sealed)


def outbound_item(principal: str, delivery: Delivery, sealed: bytes) -> Item:
    """What the sender needs: `{p, d, u, a, n, previous?, b?}`: delivery, message, action, connection, and whether it
    goes to the DID that the other side had before."""
    item: Item = {
        "p": principal,
        "d": delivery.uuid,
        "u": delivery.message_uuid,
        "a": delivery.action_uuid,
        "n": delivery.connection_uuid,
    }
    if delivery.to_previous:
        item["previous"] = True
    return _with_body(item, sealed)


def attached_item(principal: str, attached: Attached, message_uuid: str) -> Item:
    """What queue `inbound` needs to have a message received that came inside an invitation: `{id, p, o, u, r}`."""
    connection = attached.uuid.partition(".")[0]
    return {"id": message_uuid, "p": principal, "o": "connection", "u": connection, "r": attached.uuid}


def _with_body(item: Item, sealed: bytes) -> Item:
    if sealed:
        item["b"] = base64.b64encode(sealed).decode()
    return item


def without_body(item: Item) -> Item:
    """The item as it travels when it may wait long: the body stays where it is stored."""
    return {name: value for name, value in item.items() if name != "b"}


def _again(items: list[Item]) -> bytes:
    """The queue message of items that may have been attempted, without their bodies if they do not fit."""
    again = [{**item, "again": True} for item in items]
    data = orjson.dumps({"items": again})
    return data if len(data) <= MAX_MESSAGE else orjson.dumps({"items": [without_body(item) for item in again]})


class Outbox:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._marks: SharedCache[bool] = SharedCache(lambda: services.now() / 1000, 50_000)

    async def mark(self, principal: str, deliveries: Iterable[str]) -> None:
        """Makes sure that the sweeper will look at these deliveries (uuids). Called before their commit."""
        for bucket in {time_of(delivery) // BUCKET for delivery in deliveries}:
            key = due_key(bucket, principal)
            if self._marks.peek(key) is None:
                await self._marks.get(key, lambda key=key: self._mark(key))  # type: ignore[misc]

    async def _mark(self, key: str) -> tuple[bool, float]:
        await self._services.storage.due.put(DUE, key, {"markedAt": self._services.now()})
        return True, _MARK_SECONDS

    async def relay(self, item: Item) -> None:
        """Answers when the webhook call is queued."""
        await self._put(self._services.storage.relay, item)

    async def outbound(self, item: Item) -> None:
        """Answers when the send is queued."""
        await self._put(self._services.storage.outbound, item)

    async def _put(self, queue: ListQueue, item: Item) -> None:
        item = carried(item)
        data = orjson.dumps(item)
        if len(data) > queue.room:
            data = orjson.dumps(without_body(item))
        await queue.add(data)

    async def put_back(self, queue: str, lists: Iterable[list[Item]], *, delay: int = 0) -> None:
        """Puts parts of a list back, each as a message of its own, to be seen after `delay` seconds. Should that list
        come again, too, their records tell what was attempted."""
        target = self._services.storage.queues[queue]
        await asyncio.gather(*(target.put(_again(items), delay=delay) for items in lists))

    async def later(self, queue: str, item: Item, delay: int) -> None:
        """Puts one item back, alone, to be seen after `delay` seconds."""
        body = orjson.dumps({"items": [without_body(item)]})
        await self._services.storage.queues[queue].put(body, delay=delay)
