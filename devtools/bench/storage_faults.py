"""Storage that is busy, or whose answers get lost, as one process of the service sees it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import AioHttpTransport

REFUSED, LOST = "storage calls that were refused as too many", "storage calls whose answer was lost"
_STATUSES = ("503 Server Busy", "429 Too Many Requests")
_JSON = b'{"odata.error":{"code":"ServerBusy","message":{"lang":"en-US","value":"The server is busy."}}}'
_XML = b'<?xml version="1.0" encoding="utf-8"?><Error><Code>ServerBusy</Code><Message>Busy.</Message></Error>'


class StorageFaults:
    """What befalls storage calls of this process, those of its host included.

    Attributes:
        refused: the share of calls that are answered 503 or 429, and not done.
        lost: the share of the others that are done, but whose answer does not come.
        done: how often each happened.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self.refused = 0.0
        self.lost = 0.0
        self.done = {REFUSED: 0, LOST: 0}

    async def start(self) -> None:
        """Comes between the SDK and all of its calls from now on. Those that are refused go to a server of our own, so
        that the SDK reads a true answer.
        """
        server = await asyncio.start_server(_refuse, "127.0.0.1", 0)
        busy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        send: Callable[..., Awaitable[Any]] = AioHttpTransport.send

        async def send_or_not(transport: Any, request: Any, **options: Any) -> Any:
            if self.refused and self._chance() < self.refused:
                self.done[REFUSED] += 1
                url = request.url
                # The address says which form the error has to have.
                request.url = busy + ("table" if "application/json" in request.headers.get("Accept", "") else "")
                try:
                    return await send(transport, request, **options)
                finally:
                    request.url = url
            answer = await send(transport, request, **options)
            if self.lost and not options.get("stream") and self._chance() < self.lost:
                self.done[LOST] += 1
                raise ServiceResponseError("the answer was lost")
            return answer

        AioHttpTransport.send = send_or_not


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        await reader.readexactly(length)
        body, kind = (_JSON, "json") if b"/table " in head.partition(b"\r\n")[0] else (_XML, "xml")
        status = random.choice(_STATUSES)
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/{kind}\r\nx-ms-error-code: ServerBusy\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
    writer.close()
