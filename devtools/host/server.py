"""The web server of the local host: aiohttp, with the bounds and answers of the real host's server (Kestrel).

Seen on host 4.1037: its own answers have no body; a request line has at most 8 KiB (414), all headers together 32 KiB
and 100 lines (431); a method in lower case counts as the upper one, and an unknown one is no function's (404); a length
beside Transfer-Encoding is ignored.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong

MAX_REQUEST_LINE = 8192
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024

_METHOD = re.compile(rb"[A-Za-z]+(?= )")
_CHUNKED = re.compile(rb"\r\nTransfer-Encoding:", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\nContent-Length:", re.IGNORECASE)


def _as_parsed(data: bytes) -> bytes:
    """What begins a request, with what aiohttp's parser refuses and the real host's takes put otherwise."""
    if method := _METHOD.match(data):
        data = method[0].upper() + data[method.end() :]
    end = data.find(b"\r\n\r\n")
    if end > 0 and _CHUNKED.search(data, 0, end):
        data = _LENGTH.sub(b"\r\nX-Content-Length:", data[:end]) + data[end:]
    return data


class _Connection(web.RequestHandler):
    _has_part = False

    def data_received(self, data: bytes) -> None:
        # Between requests the handler waits, or has not begun: what comes then begins with a method, unless a part of
        # the same head came before.
        waiting = self._waiter is not None and not self._waiter.done()
        between = (waiting and not self._messages) or self._request_count == 0
        if between and not self._has_part:
            data = _as_parsed(data)
        count = self._request_count
        super().data_received(data)
        self._has_part = between and self._request_count == count

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):
            status = 414 if exc.args[1] == MAX_REQUEST_LINE else 431
        elif isinstance(exc, BadHttpMethod):
            status = 404
        elif exc is not None and "Too many headers" in str(exc):
            status = 431
        response = web.Response(status=status)
        response.force_close()
        return response


class Server(web.Server):
    """Hands each request that the real host's server lets through to `handler`; answers the others itself."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        async def checked(request: web.BaseRequest) -> web.StreamResponse:
            status = _refusal(request)
            return await handler(request) if status is None else web.Response(status=status)

        loop = asyncio.get_running_loop()

        def make_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            # The handler bounds the body.
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)

        super().__init__(
            checked,
            request_factory=make_request,
            access_log=None,
            # A compressed body reaches the function as it is.
            auto_decompress=False,
            max_line_size=MAX_REQUEST_LINE,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def _refusal(request: web.BaseRequest) -> int | None:
    headers = request.raw_headers
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEADER_BYTES:
        return 431
    if not request.raw_path.isascii():
        return 400
    try:
        for _, value in headers:
            value.decode()
    except UnicodeDecodeError:
        return 400
    return None
