"""Queue Storage: JSON messages, base64 as the Functions host expects them, without expiry."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

import orjson
from azure.core.exceptions import (
    DecodeError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.storage.queue import StorageErrorCode
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from tntcore.shares import Shares, party
from tntcore.storage.at_once import AtOnce, Handle, PopReceipt, as_tried, tries_of
from tntcore.storage.batching import Batcher
from tntcore.telemetry import Meter

MAX_MESSAGE = 48 * 1024  # bytes before base64; 64 KiB after
_SMALL = 16 * 1024  # bytes of an item
_LARGE_AT_ONCE = 16
MAX_DELAY = 7 * 24 * 3600  # seconds
_MISSING_QUEUE = b"QueueNotFound"
_NEVER = "-1"  # how long a message is kept
_RECEIPT = re.compile(rb"<MessageId>([^<]+)</MessageId>.*<PopReceipt>([^<]+)</PopReceipt>", re.DOTALL)

OnPut = Callable[[str, int], None]
"""Called after each put, with the name of the queue and the seconds until the message can be seen."""


class Queue:
    """One queue. Every put is counted as `queue.put`."""

    _at_once: AtOnce | None = None

    def __init__(self, service: QueueServiceClient, name: str, meter: Meter, on_put: OnPut) -> None:
        self.name = name
        self._client: QueueClient = service.get_queue_client(name)
        self._version: str = self._client.api_version
        self._meter = meter
        self._on_put = on_put

    def handle_at_once(self, handle: Handle) -> AtOnce:
        """From now on, `put` also handles messages, while this process has little else to do."""
        self._at_once = AtOnce(self, handle)
        return self._at_once

    @contextmanager
    def handling(self, body: bytes, dequeue_count: int) -> Iterator[int]:
        """Encloses the work for a message. Yields how often it was tried, now included."""
        with self._at_once.handling() if self._at_once is not None else nullcontext():
            yield tries_of(body, dequeue_count)

    async def put(self, body: bytes, *, delay: int = 0) -> None:
        """Puts a message of at most 48 KiB, visible after `delay` seconds (at most 7 days).

        Raises:
            HttpResponseError: the service refused it, or to make the queue.
            ServiceResponseError: the answer is not the service's, or the queue is missing again.
        """
        if len(body) > MAX_MESSAGE:
            raise ValueError(f"a queue message of {len(body)} bytes")
        at_once = self._at_once
        if at_once is not None and not delay and at_once.may_take() and len(as_tried(body)) <= MAX_MESSAGE:
            await at_once.put(body)
        else:
            await self.store(body, delay)

    async def store(self, body: bytes, delay: int) -> PopReceipt:
        """Puts a message for the host. Raises what `put` does."""
        self._meter.count("queue.put")
        content = b"<QueueMessage><MessageText>%b</MessageText></QueueMessage>" % base64.b64encode(body)
        response = await self._post(content, delay)
        if response.status_code == 404 and _MISSING_QUEUE in response.content:
            await self.ensure()
            response = await self._post(content, delay)
        if response.status_code == 404:
            raise ServiceResponseError(f"queue {self.name} is missing")
        response.raise_for_status()
        found = _RECEIPT.search(response.content)
        if response.status_code != 201 or found is None:
            raise _not_the_services()
        self._on_put(self.name, delay)
        return PopReceipt(found[1].decode(), found[2].decode())

    async def delete(self, receipt: PopReceipt) -> None:
        """Deletes a message, unless the host has given it out meanwhile."""
        self._meter.count("queue.delete")
        with _unless_given_out():
            await self._client.delete_message(receipt.message, receipt.pop)

    async def show(self, receipt: PopReceipt, delay: int) -> None:
        """Lets the host see a message after `delay` seconds, unless the host has given it out meanwhile."""
        self._meter.count("queue.update")
        with _unless_given_out():
            await self._client.update_message(receipt.message, receipt.pop, visibility_timeout=delay)

    async def _post(self, content: bytes, delay: int) -> AsyncHttpResponse:
        """Posts by the SDK's pipeline. `QueueClient.send_message` makes objects of the request and the answer, which is
        a third of what a put costs. Source: "Put Message" of the Queue service's REST reference.
        """
        parameters = {"messagettl": _NEVER} | ({"visibilitytimeout": str(delay)} if delay else {})
        headers = {"x-ms-version": self._version, "Content-Type": "application/xml", "Accept": "application/xml"}
        request = HttpRequest("POST", "/messages", params=parameters, headers=headers, content=content)
        try:
            response: AsyncHttpResponse = await self._client._client.send_request(request)
        except DecodeError:
            raise _not_the_services() from None
        return response

    async def peek(self) -> tuple[Sequence[bytes], int]:
        """The next messages that can be seen, at most 32, which stay as they are; and about how many there are."""
        self._meter.count("queue.peek")
        try:
            messages = await self._client.peek_messages(max_messages=32)
            properties = await self._client.get_queue_properties()
        except ResourceNotFoundError:
            return [], 0
        return [base64.b64decode(message.content) for message in messages], properties.approximate_message_count or 0

    async def backlog(self) -> tuple[int, int]:
        """Returns about how many messages there are, and since when the next one waits that can be seen, in
        milliseconds since 1970; 0 if none can.
        """
        self._meter.count("queue.backlog")
        try:
            properties = await self._client.get_queue_properties()
            messages = await self._client.peek_messages(max_messages=1)
        except ResourceNotFoundError:
            return 0, 0
        oldest = [message.inserted_on for message in messages if message.inserted_on]
        return properties.approximate_message_count or 0, int(oldest[0].timestamp() * 1000) if oldest else 0

    async def ensure(self) -> None:
        """Creates the queue if it is missing."""
        self._meter.count("queue.ensure")
        with suppress(ResourceExistsError):
            await self._client.create_queue()


def fit(items: Sequence[bytes], room: int) -> int:
    """Returns how many of the items, each followed by a comma, fit in one message of `room` bytes; at least one."""
    total = 0
    for count, item in enumerate(items):
        total += len(item) + 1
        if total > room:
            return max(count, 1)
    return len(items)


class ListQueue:
    """A queue whose messages are lists, `{<head>, "items": [...]}`. Items that arrive while a put is under way share
    the next. Large items are put alone, some at a time: few of them would share a message, and none delays small ones.
    The parties that work is done for (`shares.party`) take turns.

    Args:
        put: `Queue.put`.
        head: JSON members of every message beside its items; part of the 48 KiB.
    """

    def __init__(self, put: Callable[[bytes], Awaitable[None]], head: dict[str, object] | None = None) -> None:
        self._put = put
        self._head = orjson.dumps({**(head or {}), "items": 0})[:-2]
        self._room = MAX_MESSAGE - len(self._head) - 3
        self._batcher: Batcher[bytes, None] = Batcher(self._write)
        self._large = Shares(_LARGE_AT_ONCE)

    @property
    def room(self) -> int:
        """The bytes that one item may have."""
        return self._room - 1

    @property
    def idle(self) -> bool:
        return self._batcher.idle and self._large.free == _LARGE_AT_ONCE

    async def add(self, item: bytes) -> None:
        """Returns when the item (JSON) is durably in the queue. Raises `batching.Full`, or the error of the put."""
        if len(item) > self.room:
            raise ValueError(f"a queue item of {len(item)} bytes")
        group = f"{party().tenant}/{party().sender}"
        if len(item) <= _SMALL:
            await self._batcher.add(item, group)
            return
        async with self._large.place(group):
            await self._put(self._message([item]))

    async def _write(self, items: Sequence[bytes]) -> Sequence[None]:
        count = fit(items, self._room)
        await self._put(self._message(items[:count]))
        return [None] * count

    def _message(self, items: Sequence[bytes]) -> bytes:
        return self._head + b"[" + b",".join(items) + b"]}"


@contextmanager
def _unless_given_out() -> Iterator[None]:
    """Passes over the errors that mean that a receipt is no longer valid."""
    try:
        yield
    except ResourceNotFoundError:
        pass
    except HttpResponseError as error:
        if getattr(error, "error_code", None) != StorageErrorCode.POP_RECEIPT_MISMATCH:
            raise


def _not_the_services() -> ServiceResponseError:
    return ServiceResponseError("this is no answer of the Queue service")
