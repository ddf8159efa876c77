"""The HTTP door of the local host: aiohttp in front, `azure.functions` requests and responses behind."""

import hmac
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import azure.functions as func
from aiohttp import web
from multidict import CIMultiDict

from devtools.host.functions import Invoker, LoadedFunction
from devtools.host.routing import RouteTable

log = logging.getLogger("devtools.host")

# The server writes these itself, from the body it sends.
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding"})


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
    """Answers each request by calling the function its route names.

    404 no route for path and method, 401 key missing or wrong, 413 body over `max_body` bytes,
    500 with an empty body when the function fails.
    """

    def __init__(self, routes: RouteTable[HttpFunction], invoke: Invoker, keys: Keys, max_body: int) -> None:
        self._routes = routes
        self._invoke = invoke
        self._keys = keys
        self._max_body = max_body

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The aiohttp handler."""
        raw_path, _, raw_query = request.raw_path.partition("?")
        found = self._routes.find(request.method, raw_path)
        if found is None:
            return web.Response(status=404)
        target, route_params = found
        params = _joined(request.rel_url.query.items()) if raw_query else {}
        headers = _joined((name.lower(), value) for name, value in request.headers.items())
        if request.remote:
            # As the platform's front end does, behind whatever the client itself claims.
            before = headers.get("x-forwarded-for", "")
            headers["x-forwarded-for"] = before + (", " if before else "") + request.remote
        if not self._keys.allow(target.level, headers.get("x-functions-key", params.get("code", ""))):
            return web.Response(status=401)
        if (request.content_length or 0) > self._max_body:
            return web.Response(status=413)
        try:
            body = await request.read() if request.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413)
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
            answer = await self._invoke(
                target.function, asked, headers.get("traceparent", ""), headers.get("tracestate", "")
            )
            return to_response(answer)
        except Exception:
            log.exception("Executed 'Functions.%s' (Failed)", target.function.name)
            return web.Response(status=500)


def to_response(answer: object) -> web.Response:
    """A function's return value as aiohttp sends it; raises `TypeError` for what is neither text nor HttpResponse."""
    if isinstance(answer, str):
        return web.Response(text=answer)
    if not isinstance(answer, func.HttpResponse):
        raise TypeError(f"an HTTP function returned {type(answer).__name__}, not an HttpResponse")
    headers = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _OWN_HEADERS)
    if "content-type" not in headers:
        text = answer.mimetype.startswith("text/")
        headers["content-type"] = f"{answer.mimetype}; charset={answer.charset}" if text else answer.mimetype
    return web.Response(status=answer.status_code, body=answer.get_body(), headers=headers)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
