"""Queue triggers: what the real host's queue listener does with a queue.

A message is received under a lease that is renewed at half its life while the function runs. Success deletes it.
Failure makes it visible again, until at `maxDequeueCount` it goes to the queue NAME-poison. A message whose host was
killed comes back when its lease ends. Poison queues have no poison queue of their own: their messages come back for
ever.
"""

import asyncio
import base64
import binascii
import contextlib
import logging
from collections import Counter
from collections.abc import Callable

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.queue import QueueMessage
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devtools.host.functions import Invoke, LoadedFunction
from devtools.host.settings import QueueOptions
from devtools.host.stored_messages import StoredMessage, StoredMessages

log = logging.getLogger("devtools.host")

MISSING_AFTER = 3.0  # seconds
POISON = "-poison"


class _Lease:
    """Keeps one message invisible, and knows its current pop receipt."""

    def __init__(self, client: QueueClient, message: StoredMessage, seconds: float, operations: Counter[str]) -> None:
        self._client = client
        self._id = message.id
        self._receipt = message.pop_receipt
        self._seconds = seconds
        self._operations = operations
        self._renewal: asyncio.Task[None] | None = None
        self._timer = self._plan()

    def _plan(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._seconds / 2, self._begin)

    def _begin(self) -> None:
        self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        self._operations["queue.renew"] += 1
        try:
            renewed = await self._client.update_message(self._id, self._receipt, visibility_timeout=int(self._seconds))
        except AzureError as problem:
            log.warning("The lease of message %s was not renewed: %s", self._id, type(problem).__name__)
            return
        self._receipt = str(renewed.pop_receipt)
        self._timer = self._plan()

    async def end(self) -> str:
        """Stop renewing; answers the receipt that deletes or releases the message."""
        if self._renewal is not None:
            # Cut short it might have changed the receipt at the service and not here.
            await asyncio.wait({self._renewal})
        self._timer.cancel()
        return self._receipt


class QueueListener:
    """The listener of one queue function.

    `operations` counts storage calls by kind, for whoever measures. `wake` is called with the name of another queue,
    and the seconds until what was put there can be seen.
    """

    def __init__(
        self,
        function: LoadedFunction,
        queue_name: str,
        service: QueueServiceClient,
        options: QueueOptions,
        invoke: Invoke,
        operations: Counter[str],
        wake: Callable[[str, float], None],
    ) -> None:
        self.queue_name = queue_name
        self._function = function
        self._options = options
        self._invoke = invoke
        self._operations = operations
        self._wake_other = wake
        self._client = service.get_queue_client(queue_name)
        self._messages = StoredMessages(service, queue_name)
        self._poison: QueueClient | None = None
        if not queue_name.endswith(POISON):
            self._poison = service.get_queue_client(queue_name + POISON)
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._wake = asyncio.Event()
        self._missing_since: float | None = None
        self._said_missing = False
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to receive."""
        self._loop = asyncio.create_task(self._run(), name=f"queue {self.queue_name}")

    def wake(self, delay: float = 0) -> None:
        """Look into the queue after `delay` seconds, if no poll is due before."""
        asyncio.get_running_loop().call_later(delay, self._wake.set)

    async def _create(self, client: QueueClient) -> None:
        self._operations["queue.create"] += 1
        with contextlib.suppress(ResourceExistsError):
            await client.create_queue()

    async def _run(self) -> None:
        first = delay = self._options.min_polling_interval
        while not self._stopping:
            self._wake.clear()
            if received := await self._fetch():
                delay = first
                await self._wait_for_room()
                # Fewer than asked for were all; who puts another says so.
                if not self._options.woken or received == self._options.batch_size:
                    continue
            try:
                await asyncio.wait_for(self._wake.wait(), delay)
                delay = first
            except TimeoutError:
                delay = min(delay * 2, self._options.max_polling_interval)

    async def _fetch(self) -> int:
        """Receives messages and begins to process them. Returns how many."""
        try:
            messages = await self._receive()
        except ResourceNotFoundError:
            self._say_missing()
            return 0
        except AzureError as problem:
            log.warning("Queue %s cannot be read: %s", self.queue_name, type(problem).__name__)
            return 0
        self._missing_since, self._said_missing = None, False
        for message in messages:
            task = asyncio.create_task(self._hand_back(message) if self._stopping else self._process(message))
            self._running.add(task)
            task.add_done_callback(self._finished)
        return len(messages)

    async def _receive(self) -> list[StoredMessage]:
        self._operations["queue.get"] += 1
        messages = await self._messages.receive(self._options.batch_size, int(self._options.lease))
        if not messages:
            self._operations["queue.get_empty"] += 1
        return messages

    def _say_missing(self) -> None:
        """The real host warns at each poll. Here an app has some seconds to make its queues, and is told of once."""
        now = asyncio.get_running_loop().time()
        if self._missing_since is None:
            self._missing_since = now
        elif not self._said_missing and now - self._missing_since > MISSING_AFTER:
            self._said_missing = True
            log.warning("Queue %s does not exist. The app has to create it.", self.queue_name)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if len(self._running) <= self._options.new_batch_threshold:
            self._room.set()

    async def _wait_for_room(self) -> None:
        while len(self._running) > self._options.new_batch_threshold and not self._stopping:
            self._room.clear()
            await self._room.wait()

    async def _process(self, message: StoredMessage) -> None:
        lease = _Lease(self._client, message, self._options.lease, self._operations)
        succeeded = False
        poisonous = self._poison is not None and message.dequeue_count > self._options.max_dequeue_count
        try:
            if not poisonous:
                try:
                    body = _decode(message.content, self._options.base64)
                except ValueError:
                    log.warning("Queue %s: message %s is not base64", self.queue_name, message.id)
                    poisonous = True
                else:
                    succeeded = await self._call(message, body)
                    last = message.dequeue_count >= self._options.max_dequeue_count
                    poisonous = not succeeded and last and self._poison is not None
        finally:
            await self._settle(message, await lease.end(), succeeded, poisonous)

    async def _call(self, message: StoredMessage, body: bytes) -> bool:
        argument = QueueMessage(  # type: ignore[no-untyped-call]
            id=message.id,
            body=body,
            dequeue_count=message.dequeue_count,
            expiration_time=message.expires_on,
            insertion_time=message.inserted_on,
            time_next_visible=message.next_visible_on,
            pop_receipt=message.pop_receipt,
        )
        try:
            answer = await self._invoke(self._function, argument)
        except Exception:
            log.exception("Executed 'Functions.%s' (Failed, attempt %s)", self._function.name, message.dequeue_count)
            return False
        if answer is not None:
            log.error("Function %s returned %s, with no return binding", self._function.name, type(answer).__name__)
        return answer is None

    async def _settle(self, message: StoredMessage, receipt: str, succeeded: bool, poisonous: bool) -> None:
        try:
            if poisonous and self._poison is None:
                log.error("Queue %s: message %s is unreadable, and left to its lease", self.queue_name, message.id)
                return
            if poisonous and self._poison is not None:
                log.error("Message %s moves to queue %s", message.id, self._poison.queue_name)
                await self._put_poison(self._poison, message)
            elif not succeeded:
                await self._release(message, receipt)
                return
            self._operations["queue.delete"] += 1
            await self._messages.delete(message.id, receipt)
        except AzureError as problem:
            log.warning(
                "Queue %s: message %s comes again when its lease ends: %s",
                self.queue_name,
                message.id,
                type(problem).__name__,
            )

    async def _put_poison(self, poison: QueueClient, message: StoredMessage) -> None:
        self._operations["queue.put_poison"] += 1
        try:
            await poison.send_message(message.content)
        except ResourceNotFoundError:
            await self._create(poison)
            await poison.send_message(message.content)
        self._wake_other(poison.queue_name, 0)

    async def _release(self, message: StoredMessage, receipt: str) -> None:
        self._operations["queue.release"] += 1
        await self._client.update_message(message.id, receipt, visibility_timeout=int(self._options.visibility_timeout))
        self.wake(self._options.visibility_timeout)

    async def _hand_back(self, message: StoredMessage) -> None:
        await self._settle(message, message.pop_receipt, succeeded=False, poisonous=False)

    async def stop(self, grace: float) -> None:
        """Receive no more, let what runs finish within `grace` seconds, then cancel it: that counts as a failure."""
        self._stopping = True
        self._wake.set()
        self._room.set()
        if self._loop is not None:
            # A receive under way may hold messages already: they are put back, not left to their lease.
            await _finish({self._loop}, min(grace, 5.0))
        await _finish(set(self._running), grace)


async def _finish(tasks: set[asyncio.Task[None]], grace: float) -> None:
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _decode(content: str | None, is_base64: bool) -> bytes:
    if not is_base64:
        return (content or "").encode()
    try:
        return base64.b64decode(content or "", validate=True)
    except binascii.Error as problem:
        raise ValueError("not base64") from problem
