"""HTTP/1.1 as bare as it can be, so that the load and the receiver leave the processors to what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_END = b"\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def request(path: str, host: str, content_type: str, body: bytes) -> bytes:
    """A whole POST request, ready to be written to a connection that is kept open."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def split(buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Takes the first whole message off `buffer`: its head and its body. None as long as it is not all there.

    Raises:
        ValueError: no Content-Length, so nobody knows where it ends.
    """
    end = buffer.find(_END)
    if end < 0:
        return None
    head = bytes(buffer[:end])
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise ValueError("a message without Content-Length")
    start = end + len(_END)
    stop = start + int(rest.partition(b"\r\n")[0])
    if len(buffer) < stop:
        return None
    body = bytes(buffer[start:stop])
    del buffer[:stop]
    return head, body


def status(head: bytes) -> int:
    """The status code of an answer."""
    return int(head[9:12])


class Sender(asyncio.Protocol):
    """One connection that sends requests, one at a time, and tells the status of each answer (0: closed before it)."""

    def __init__(self, answered: Callable[[Sender, int], None]) -> None:
        self._answered = answered
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._waiting = True
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = split(self._buffer)
        if answer is not None:
            self._waiting = False
            self._answered(self, status(answer[0]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._waiting = False
            self._answered(self, 0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Receiver(asyncio.Protocol):
    """One connection to a webhook receiver that answers everything with 200, and hands on the bodies."""

    def __init__(self, got: Callable[[bytes], None]) -> None:
        self._got = got
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (hook := split(self._buffer)) is not None:
            self._got(hook[1])
            self._transport.write(_OK)
