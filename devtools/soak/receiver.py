"""The tenants' webhooks, and the partners' endpoints, in one server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from devtools.bench.load import number_of
from devtools.soak.counts import Count

HANG = 20.0
"""Seconds, longer than the service waits for a webhook."""
FAILED, UNANSWERED = "webhook calls that were answered with 500", "webhook calls that were not answered"
_END = b"\r\n\r\n"


class Receiver:
    """Takes of each call the first attempt badly, if at all.

    Args:
        port: 0 for a free one.

    Attributes:
        count: what comes in is counted there.
        on_arrival: called when a message arrives for the first time.
        on_partner: called with a partner's number, and the envelope that it was sent.
        failing: numbers of tenants whose webhook answers 500. hanging: calls to come that are not answered.
    """

    def __init__(self, count: Count, *, port: int = 0) -> None:
        self.count = count
        self.failing: set[int] = set()
        self.hanging = 0
        self._port = port
        self._refused: set[str] = set()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self.on_arrival: Callable[[], None] = lambda: None
        self.on_partner: Callable[[int, bytes], None] = lambda number, envelope: None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    async def stop(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def arrival(self, number: int) -> asyncio.Future[None]:
        """Done when the message has arrived."""
        return self._waiting.setdefault(number, asyncio.get_running_loop().create_future())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(_END)).decode("latin-1")
                    path, headers = parsed(head)
                    body = await reader.readexactly(int(headers.get("content-length", "0")))
                    status = await self._take(path, headers, body)
                    writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)
        finally:
            self._connections.discard(task)
            await closed(writer)

    async def _take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        kind, _, which = path.removeprefix("/").partition("/")
        if kind == "partner":
            self.on_partner(int(which), body)
            return 200
        number, name = number_of(body), headers["webhook-id"]
        # The third attempt comes after five minutes only.
        if name not in self._refused and (self.hanging or int(which or 0) in self.failing):
            self._refused.add(name)
            if self.hanging:
                self.hanging -= 1
                self.count.done[UNANSWERED] += 1
                await asyncio.sleep(HANG)
            else:
                self.count.done[FAILED] += 1
            return 500
        if self.count.arrive(number, name):
            self.on_arrival()
            arrival = self._waiting.pop(number, None)
            if arrival is not None and not arrival.done():
                arrival.set_result(None)
        return 200


async def closed(writer: asyncio.StreamWriter) -> None:
    """Closes a connection that may be broken."""
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


def parsed(head: str) -> tuple[str, dict[str, str]]:
    """The path and the headers of a request."""
    first, *lines = head.split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return first.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}
