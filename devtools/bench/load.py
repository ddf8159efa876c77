"""The load: numbered messages over N connections, each sending its next as soon as its last is answered.

An answer says that a message is in a queue, not that it has arrived: a bound on those under way closes the loop around
the whole way, or the queue would grow and nothing but its length be measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from urllib.parse import urlsplit

import orjson

from devtools.agent import BASIC_MESSAGE
from devtools.bench.wire import Receiver, Sender, request
from tntcore.envelope import PrivateKey, pack_v1

MEDIA_TYPE = "application/didcomm-envelope-enc"
SIZE = 1024  # bytes of a plaintext
ACCEPTED, CLOSED = 202, 0
_ID = b'"@id":"'
_ID_LENGTH = 36
_LATEST = 60.0  # seconds


def plaintext(number: int, size: int = SIZE) -> bytes:
    """A basic message (RFC 0095) of so many bytes on a thread of its own. Its `@id` is `number` in a uuid's form."""
    message = {
        "@type": BASIC_MESSAGE,
        "@id": f"00000000-0000-4000-8000-{number:012x}",
        "sent_time": "2026-01-01T00:00:00Z",
        "content": "",
    }
    message["content"] = "x" * (size - len(orjson.dumps(message)))
    return orjson.dumps(message)


def number_of(body: bytes) -> int:
    """The number of the message in a webhook's body. Raises `ValueError` if there is none."""
    start = body.index(_ID) + len(_ID)
    return int(body[start : start + _ID_LENGTH].rpartition(b"-")[2], 16)


def prepare(url: str, targets: Sequence[tuple[PrivateKey, str]], count: int) -> list[bytes]:
    """`count` requests to `url`, packed for each of the targets (sender's key, recipient's verkey) in turn."""
    parts = urlsplit(url)
    requests = []
    for number in range(count):
        sender, verkey = targets[number % len(targets)]
        packed = pack_v1(plaintext(number), recipients=[verkey], sender=sender)
        requests.append(request(parts.path, parts.netloc, MEDIA_TYPE, packed))
    return requests


class Load:
    """
    Args:
        requests: what is sent, in this order, each once.
        under_way: how many may be sent and not yet at their webhook; 0 for any number.

    Attributes:
        posted, answered, arrived: when each message was sent, accepted, and first got to its webhook; 0 for not yet.
        refused: answers other than 202, by status; 0 is a connection that was closed.
        twice: webhook calls beyond the first of their message.
    """

    def __init__(
        self,
        requests: Sequence[bytes],
        *,
        under_way: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._requests = requests
        self._clock = clock
        self._most = under_way or len(requests)
        self._under_way = 0
        self._next = 0
        self._sending: dict[Sender, int] = {}
        self._idle: deque[Sender] = deque()
        self._stopped = False
        self.posted = [0.0] * len(requests)
        self.answered = [0.0] * len(requests)
        self.arrived = [0.0] * len(requests)
        self.refused: Counter[int] = Counter()
        self.twice = 0
        self.used_up = asyncio.Event()

    @property
    def sent(self) -> int:
        return self._next

    def missing(self) -> int:
        """How many were accepted and have not arrived."""
        return sum(1 for number in range(self._next) if self.answered[number] and not self.arrived[number])

    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._sending)

    def send(self, sender: Sender) -> None:
        """Sends the next message on a connection that is free, as soon as one more may be under way."""
        if self._stopped:
            return
        if self._next == len(self._requests):
            self.used_up.set()
            return
        if self._under_way >= self._most:
            self._idle.append(sender)
            return
        number = self._next
        self._next += 1
        self._sending[sender] = number
        self._under_way += 1
        self.posted[number] = self._clock()
        sender.send(self._requests[number])

    def on_answer(self, sender: Sender, status: int) -> None:
        number = self._sending.pop(sender)
        if status == ACCEPTED:
            self.answered[number] = self._clock()
        else:
            self.refused[status] += 1
            self._under_way -= 1
        if status != CLOSED:
            self.send(sender)

    def on_hook(self, body: bytes) -> None:
        number = number_of(body)
        if self.arrived[number]:
            self.twice += 1
            return
        self.arrived[number] = self._clock()
        self._under_way -= 1
        if self._idle:
            self.send(self._idle.popleft())

    def stop(self) -> None:
        self._stopped = True


class Hooks:
    """The webhook receiver of all tenants. `load` is told of every call."""

    def __init__(self) -> None:
        self.load: Load | None = None
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: Receiver(self._got), "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    def _got(self, body: bytes) -> None:
        if self.load is not None:
            self.load.on_hook(body)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()


async def connect(load: Load, urls: Sequence[str], count: int) -> list[Sender]:
    """Opens the connections that `load` is sent over, to each of the URLs in turn."""
    loop = asyncio.get_running_loop()
    senders = []
    for url in islice(cycle(map(urlsplit, urls)), count):
        _, sender = await loop.create_connection(lambda: Sender(load.on_answer), str(url.hostname), url.port or 80)
        senders.append(sender)
    return senders


async def until_arrived(load: Load) -> None:
    """Waits until all that was accepted has arrived. What has not after a minute is lost."""
    for _ in range(int(_LATEST / 0.05)):
        if not load.waiting() and not load.missing():
            return
        await asyncio.sleep(0.05)
