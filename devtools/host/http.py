"""The HTTP door of the local host: aiohttp in front, `azure.functions` requests and responses behind."""

import asyncio
import hmac
import logging
import re
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import azure.functions as func
from aiohttp import web
from multidict import CIMultiDict

from devtools.host.functions import Invoke, LoadedFunction
from devtools.host.routing import BadTarget, RouteTable, server_path
from devtools.host.settings import HttpOptions

log = logging.getLogger("devtools.host")

# The server writes these itself, from the body it sends.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding"})
_GRACE, _LEAST_RATE = 5.0, 240.0  # seconds; bytes a second
# Paths of the host itself.
_HOSTS_OWN = re.compile(r"/(admin|runtime/webhooks)(/|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Keys:
    """The keys that HTTP functions ask for. The master key opens everything, the function key all but ADMIN."""

    function: str
    master: str
    check: bool = True

    def allow(self, level: str, given: str) -> bool:
        """Whether the key `given` (may be empty) opens a function of this authorization level."""
        if level == "anonymous" or not self.check:
            return True
        key = given.encode()
        allowed = hmac.compare_digest(key, self.master.encode())
        if level == "function":
            allowed |= hmac.compare_digest(key, self.function.encode())
        return allowed


@dataclass(frozen=True)
class HttpFunction:
    """An HTTP function with its authorization level: anonymous, function or admin."""

    function: LoadedFunction
    level: str


class HttpDoor:
    """Answers each request by calling the function its route names. What the host itself answers has no body:

    400 a target that it does not take, 401 key missing or wrong, 404 no route for path and method, 408 a body that
    comes too slowly, 429 too many calls at once, 500 the function fails or more body is announced than
    `options.max_body` bytes.
    """

    def __init__(self, routes: RouteTable[HttpFunction], invoke: Invoke, keys: Keys, options: HttpOptions) -> None:
        self._routes = routes
        self._invoke = invoke
        self._keys = keys
        self._options = options
        self._outstanding = 0
        self._running = asyncio.Semaphore(options.max_concurrent) if options.max_concurrent > 0 else nullcontext()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler of the server."""
        if 0 < self._options.max_outstanding <= self._outstanding:
            return web.Response(status=429)
        self._outstanding += 1
        try:
            return await self._answer(request)
        finally:
            self._outstanding -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            path = server_path(request.raw_path)
        except BadTarget:
            return web.Response(status=400)
        params = _joined(request.rel_url.query.items()) if "?" in request.raw_path else {}
        headers = _joined((name.lower(), value) for name, value in request.headers.items())
        given = headers.get("x-functions-key", params.get("code", ""))
        found = self._routes.find(request.method, path)
        if found is None:
            return self._own(path, given)
        target, route_params = found
        if request.remote:
            # As the platform's front end does, behind whatever the client itself claims.
            before = headers.get("x-forwarded-for", "")
            headers["x-forwarded-for"] = before + (", " if before else "") + request.remote
        if not self._keys.allow(target.level, given):
            return web.Response(status=401)
        if (request.content_length or 0) > self._options.max_body:
            # The real host does not say that it is too large.
            refused = web.Response(status=500)
            refused.force_close()
            return refused
        # The real host reads a body of a known length alone: one that is chunked is empty.
        try:
            body = await _read(request) if request.content_length else b""
        except TimeoutError:
            late = web.Response(status=408)
            late.force_close()
            return late
        asked = func.HttpRequest(
            request.method,
            f"{request.scheme}://{request.host}{request.raw_path}",
            headers=headers,
            # The real host leaves out parameters without a value.
            params={name: value for name, value in params.items() if value},
            route_params=route_params,
            body=body,
        )
        try:
            # Who sends a body slowly takes no place.
            async with self._running:
                answer = await self._invoke(
                    target.function, asked, headers.get("traceparent", ""), headers.get("tracestate", "")
                )
            return to_response(answer)
        except Exception:
            log.exception("Executed 'Functions.%s' (Failed)", target.function.name)
            return web.Response(status=500)

    def _own(self, path: str, key: str) -> web.Response:
        """The answer at a path that is no function's."""
        if path == "/":
            return _homepage() if self._options.homepage else web.Response(status=204)
        if _HOSTS_OWN.match(path) and not self._keys.allow("admin", key):
            return web.Response(status=401, headers={"www-authenticate": "Bearer"})
        return web.Response(status=404)


async def _read(request: web.BaseRequest) -> bytes:
    """Returns the body. Raises TimeoutError if it comes more slowly than Kestrel's `MinRequestBodyDataRate` allows."""
    chunks: list[bytes] = []
    size, begun = 0, asyncio.get_running_loop().time()
    while True:
        async with asyncio.timeout_at(begun + _GRACE + size / _LEAST_RATE):
            chunk = await request.content.readany()
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)


def to_response(answer: object) -> web.Response:
    """A function's return value as aiohttp sends it; raises `TypeError` for what is neither text nor HttpResponse."""
    if isinstance(answer, str):
        return web.Response(text=answer)
    if not isinstance(answer, func.HttpResponse):
        raise TypeError(f"an HTTP function returned {type(answer).__name__}, not an HttpResponse")
    headers = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _OWN_HEADERS)
    if not answer.get_body():
        # The real host leaves out the type of nothing.
        headers.popall("content-type", None)
    elif "content-type" not in headers:
        text = answer.mimetype.startswith("text/")
        headers["content-type"] = f"{answer.mimetype}; charset={answer.charset}" if text else answer.mimetype
    return web.Response(status=answer.status_code, body=answer.get_body(), headers=headers)


def _homepage() -> web.Response:
    page = "<!DOCTYPE html>\n<html>\n<head>\n    <title>Your Azure Functions app is up</title>\n</head>\n</html>\n"
    return web.Response(body=page.encode(), headers={"content-type": "text/html"})


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
