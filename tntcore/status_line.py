"""Tells the status of an answer that aiohttp cannot read: one whose headers or body are not as HTTP has them. Ends
answers that have no end, of what is neither headers nor body.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

_MAX_HEAD = 16_384
_MAX_INTERIM = 10  # answers (1xx) before the one that counts
_MAX_RECEIVED = 16 * 1024 * 1024  # bytes of one answer with all that frames it: twice the largest tails file
_PIECE = 16_384  # bytes that are read at once
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-9]\d\d)(?: [^\n]*)?\r?\n")


class UnreadableAnswerError(aiohttp.ClientError):
    """The status line arrived; what follows it cannot be read."""

    def __init__(self, status: int, reason: aiohttp.ClientError | OSError) -> None:
        super().__init__(f"an answer of status {status} that cannot be read")
        self.status = status
        self.reason = reason


class Connector(aiohttp.TCPConnector):
    """A connector that remembers how each answer begins. Sessions use it with `StatusResponse`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp keeps neither the bytes nor the status of an answer that it refuses, and offers no other way to them.
        self._factory: Any = partial(_Handler, loop=asyncio.get_running_loop())


class StatusResponse(aiohttp.ClientResponse):
    """A response of which the status is known even if the rest cannot be read: `start` then raises
    `UnreadableAnswerError`."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        handler = connection.protocol
        try:
            return await super().start(connection)
        except (aiohttp.ClientError, OSError) as error:
            status = read_status(handler.head) if isinstance(handler, _Handler) else None
            if status is None:
                raise
            raise UnreadableAnswerError(status, error) from error


class _Handler(ResponseHandler):
    head = b""
    received = 0
    answers = 0

    def set_response_params(self, **params: Any) -> None:
        self.head, self.received, self.answers = b"", 0, 0
        super().set_response_params(**params)

    def feed_data(self, data: Any, size: int = 0) -> None:
        self.answers += 1
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        # aiohttp also passes no data at all, to go on with what it has.
        for start in range(0, max(len(data), 1), _PIECE):
            if self.answers > _MAX_INTERIM or self.received > _MAX_RECEIVED:
                if self.transport is not None:
                    self.transport.abort()
                return
            piece = data[start : start + _PIECE]
            self.received += len(piece)
            if len(self.head) < _MAX_HEAD:
                self.head += piece[: _MAX_HEAD - len(self.head)]
            super().data_received(piece)


def read_status(head: bytes) -> int | None:
    """Returns the status of the answer that `head` begins, interim ones (1xx) left out; None if there is no whole
    status line (RFC 9112, section 4)."""
    position = 0
    while interim := _INTERIM.match(head, position):
        position = interim.end()
    found = _STATUS.match(head, position)
    return int(found[1]) if found else None
