"""Sends numbered messages until each is accepted, over connections that are kept open."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence

from devtools.bench.load import MEDIA_TYPE, SIZE, plaintext
from devtools.bench.wire import request, status
from devtools.soak.counts import Count
from devtools.soak.field import Target
from devtools.soak.options import Options
from devtools.soak.receiver import closed
from tntcore.envelope import pack_v1

ACCEPTED, NONE = 202, 0
_ANSWER = 20.0  # seconds that a sender waits
_AGAIN = 0.5  # seconds
_LARGE = 50_000  # bytes
_LINES = 160  # messages that are posted at once
_END = b"\r\n\r\n"


class Line:
    """A connection to one process of the service, opened again whenever it was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, packed: bytes) -> int:
        """The status of the answer, or `NONE`."""
        try:
            async with asyncio.timeout(_ANSWER):
                return await self._post(packed)
        except (OSError, TimeoutError, EOFError, ValueError):
            await self.close()
            return NONE

    async def _post(self, packed: bytes) -> int:
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._open
        writer.write(request("/api/didcomm", f"127.0.0.1:{self.port}", MEDIA_TYPE, packed))
        head = await reader.readuntil(_END)
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        return status(head)

    async def close(self) -> None:
        if self._open is not None:
            (_, writer), self._open = self._open, None
            await closed(writer)


class Sending:
    """Posts numbered messages, as long as not too many are under way.

    Args:
        numbers: of the messages. is_over: no more are sent.
    """

    def __init__(
        self,
        options: Options,
        count: Count,
        targets: Sequence[Target],
        ports: Sequence[int],
        numbers: Iterator[int],
        is_over: Callable[[], bool],
    ) -> None:
        self._options = options
        self._count = count
        self._targets = targets
        self._ports = ports
        self._numbers = numbers
        self._is_over = is_over
        self._room = asyncio.Semaphore(options.under_way)
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._sending = 0
        self._none_is_sent = asyncio.Event()
        self._none_is_sent.set()

    def on_arrival(self) -> None:
        """To be called when a message has arrived for the first time."""
        self._room.release()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_LINES, self._options.under_way)):
                group.create_task(self._work())

    async def pause(self) -> None:
        """Returns when everything that was sent is accepted. Nothing more is sent."""
        self._may_send.clear()
        await self._none_is_sent.wait()

    def go_on(self) -> None:
        self._may_send.set()

    async def post(self, target: Target, message: bytes) -> None:
        """Sends another message of a partner until it is accepted."""
        packed = pack_v1(message, recipients=[target.verkey], sender=target.keys.ed25519)
        lines = [Line(port) for port in self._ports]
        await self._deliver(lines, packed)
        for line in lines:
            await line.close()

    async def _work(self) -> None:
        lines = [Line(port) for port in self._ports]
        while True:
            await self._room.acquire()
            await self._may_send.wait()
            number = None if self._is_over() else next(self._numbers, None)
            if number is None:
                # Others may wait for it.
                self._room.release()
                break
            self._sending += 1
            self._none_is_sent.clear()
            await self._send(lines, number)
            self._sending -= 1
            if not self._sending:
                self._none_is_sent.set()
        for line in lines:
            await line.close()

    async def _send(self, lines: Sequence[Line], number: int) -> None:
        target, options = self._targets[number % len(self._targets)], self._options
        is_large = options.large and number % options.large == 0
        text = plaintext(number, _LARGE if is_large else SIZE)
        packed = pack_v1(text, recipients=[target.verkey], sender=target.keys.ed25519)
        await self._deliver(lines, packed)
        self._count.accepted.add(number)
        if random.random() < options.twice:
            self._count.done["messages that were sent twice"] += 1
            await self._deliver(lines, packed)

    async def _deliver(self, lines: Sequence[Line], packed: bytes) -> None:
        while await random.choice(lines).post(packed) != ACCEPTED:
            self._count.done["posts that were repeated"] += 1
            await asyncio.sleep(_AGAIN)
