"""The HTTP entry point: finds the route, authenticates the caller, and turns problems into answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypedDict
from urllib.parse import parse_qsl, urlsplit

from tntcore.api.callers import HOST, Callers
from tntcore.api.cors import Cors
from tntcore.api.given import body_shape, query_shape, read_name, read_uuid
from tntcore.api.header_names import check_header_names
from tntcore.api.http import KEY_HEADER, MAX_JSON, Access, Body, Call, Request, Response, Route, problem
from tntcore.api.idempotency import once
from tntcore.api.turns import Turns
from tntcore.egress import LOOP_HEADER
from tntcore.errors import Problem
from tntcore.keys.custody import CustodyError
from tntcore.services import Services
from tntcore.shares import Busy, on_behalf_of
from tntcore.storage.commit import Changed, Exists
from tntcore.storage.outage import AGAIN, Outage, is_away
from tntcore.storage.repository import Repository
from tntcore.strict_json import JsonError, read_json
from tntcore.telemetry import QUIET, Span
from tntcore.telemetry.meter import REFUSALS, REQUEST_SECONDS
from tntcore.tenancy.access import Actor, OperatorRole
from tntcore.tenancy.operators import home
from tntcore.tenancy.tenants import Tenant

Matched = tuple[Route, Mapping[str, str]]

log = logging.getLogger(__name__)


class _Nothing(TypedDict):
    pass


_ARGUMENTS = {"uuid": read_uuid, "id": read_name}
_SOON = 2  # seconds after which a caller may find a place
_HOSTS_OWN = frozenset({"code", "clientid"})  # by which the host takes its own keys

_METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})


class Router:
    """Finds the route of a request, authenticates the caller, and turns problems into answers.

    Args:
        new_trace_id: returns a fresh identifier for the answer and the log, used if the request is not traced.

    Raises:
        ValueError: a route does not say who may call it.
    """

    def __init__(self, services: Services, routes: Sequence[Route], new_trace_id: Callable[[], str]) -> None:
        self._services = services
        self._new_trace_id = new_trace_id
        self._outage = Outage()
        self._cors = Cors(services.config.cors_origins)
        self._callers = Callers(services)
        self._turns = Turns()
        # By the number of segments, and the first of them: no route begins with a variable one.
        self._routes: dict[tuple[int, str], list[tuple[list[str], Route]]] = {}
        for route in routes:
            if (route.access == "operator") != (route.role is not None):
                raise ValueError(f"{route.method} {route.path}: only an operator's route names a role, and each must")
            segments = route.path.split("/")
            self._routes.setdefault((len(segments), segments[0].lower()), []).append((segments, route))

    async def handle(self, request: Request, access: Sequence[Access]) -> Response:
        """Answers the request. `access` limits the routes that can be reached."""
        # Callers are not trusted to name our trace, so a new trace begins here. A tenant's own trace is linked, see
        # below.
        with self._services.tracing.begin("HTTP") as span:
            response = await self._answer(request, access, span)
            span.attributes["http.response.status_code"] = response.status
            span.attributes["http.request.method"] = request.method if request.method in _METHODS else "_OTHER"
        if span is not QUIET:
            meter, told = self._services.meter, span.attributes
            route = str(told.get("http.route", ""))
            meter.record(REQUEST_SECONDS, span.seconds, str(told["http.request.method"]), route, str(response.status))
            if span.error:
                meter.add(REFUSALS, route, span.error)
        return self._cors.share(request, response)

    async def _answer(self, request: Request, access: Sequence[Access], span: Span) -> Response:
        try:
            return await self._called(request, access, span)
        except Problem as error:
            return self._problem(error, span)
        except Busy:
            return self._problem(_too_much_work(), span)
        except (Changed, Exists):
            # Two calls changed or deleted the same row at the same time; one of them succeeded.
            return self._problem(
                Problem(
                    409,
                    "changed-meanwhile",
                    "Another request changed the object at the same time. Read it and try again.",
                ),
                span,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer
            return self._failed(error, request, span)

    async def _called(self, request: Request, access: Sequence[Access], span: Span) -> Response:
        """Calls the route of a request, or answers a preflight."""
        request, access = await self._action_instead(request, access)
        found = self._at(request.path, access)
        if found and (preflight := self._cors.preflight(request, _methods(found))):
            span.name = "OPTIONS"
            return preflight
        route, arguments = _choose(found, request.method)
        span.name = f"{route.method} /api/{route.path}"
        span.attributes["http.route"] = f"/api/{route.path}"
        if route.access != "public":
            _end_loops(request)
            check_header_names(request, route)
        caller, actor = await self._let_in(request, route)
        if caller is not None:
            span.tenant = caller.uuid
            span.link(request.headers.get("traceparent"))
        async with self._turns.turn(caller.uuid) if caller is not None else nullcontext():
            return await self._handled(
                route, Call(self._services, request, arguments, caller, by=actor, trace=span.trace)
            )

    def _failed(self, error: Exception, request: Request, span: Span) -> Response:
        """Answers a request that met an error of ours, and logs the error unless it is an outage."""
        if is_away(error):
            self._services.meter.count("api.storage-unavailable")
            self._outage.saw(error)
            return self._problem(_away(), span)
        if isinstance(error, CustodyError) and error.is_passing:
            self._services.meter.count("api.keys-unavailable")
            return self._problem(_keyless(), span)
        trace_id = span.trace or self._new_trace_id()
        log.error(
            "a request failed, trace %s: %s %s",
            trace_id,
            request.method,
            request.path,
            extra={"traceId": trace_id, "code": "internal"},
            exc_info=error,
        )
        span.error = "internal"
        return problem(
            Problem(
                500,
                "internal",
                "The service failed unexpectedly. Try again later; if it fails "
                "again, give the traceId to the operator.",
            ),
            trace_id,
        )

    async def _handled(self, route: Route, call: Call) -> Response:
        """Runs the route's handler. Raises what it raises, and `Problem` for what is asked wrongly."""
        request, caller, actor = call.request, call.caller, call.by
        if route.method != "GET":
            request.check_transfer()
        call = self._read(route, call)
        if route.creates and not route.when_full and caller is not None:
            self._check_room(caller)
        with on_behalf_of(caller.uuid if caller else ""):
            if route.creates and actor is not None and "idempotency-key" in request.headers:
                records = caller.records if caller is not None else await self._home()
                return await once(call, records, route.handler, of=actor.id if caller is None else "")
            return await route.handler(call)

    def _read(self, route: Route, call: Call) -> Call:
        """Returns the call with its query and body, read by the route's types. Raises `Problem` 400, 413 or 415.

        The query of a public route is not read: other people's agents and resolvers add parameters of their own.
        """
        if route.access == "public":
            return call
        # Made by the first call of a route: all at once take ten times as long as the rest of opening the app.
        shape = None if isinstance(route.request, Body) else body_shape(route.request or _Nothing)
        own = _HOSTS_OWN if route.access == "host" else {KEY_HEADER}
        query = {
            name: value or None
            for name, value in {**_parameters(call.request.url), **call.request.query}.items()
            if name.lower() not in own
        }
        query = query_shape(route.query or _Nothing).read(query, "")
        call = replace(call, arguments=_arguments(call.arguments), query=query)
        body: dict[str, Any] = {}
        if shape is not None and not call.request.body and route.request is not None and not route.bodiless:
            raise Problem(400, "body-not-json", "The body is missing. Send a JSON object.")
        if shape is not None and call.request.body:
            given = call.request.json()
            left_out = given is None and (route.request is None or route.bodiless)
            body = {} if left_out else shape.read(given, "")
        return replace(call, body=body)

    def _problem(self, error: Problem, span: Span) -> Response:
        span.error = error.code
        return problem(error, span.trace or self._new_trace_id())

    def _at(self, path: str, access: Sequence[Access]) -> list[Matched]:
        """Returns the reachable routes of a path, each with the variable parts of the path."""
        parts = path.split("/")
        candidates = [one for one in self._routes.get((len(parts), parts[0].lower()), ()) if one[1].access in access]
        return [
            (route, arguments) for segments, route in candidates if (arguments := _match(segments, parts)) is not None
        ]

    async def _action_instead(self, request: Request, access: Sequence[Access]) -> tuple[Request, Sequence[Access]]:
        """Returns the request as one for `POST /action` if a tenant sends an action to `POST /didcomm`, as clients of
        the original do: with its key, and an object of type DIDCOMM that is no envelope. Any other request as it is.

        Raises `Problem` 401 for an action with a wrong key. So many wrong keys may come from an address; the bodies of
        what comes after them are not read here, since anybody can call this endpoint.
        """
        if request.path.lower() != "didcomm" or request.method != "POST" or KEY_HEADER not in request.headers:
            return request, access
        if len(request.body) > MAX_JSON:
            return request, access
        refused = None
        try:
            await self._callers.check_key(request)
        except Problem as problem:
            if problem.status != 401:
                return request, access
            refused = problem
        try:
            body = read_json(request.body)
        except JsonError:
            return request, access
        is_action = (
            isinstance(body, dict)
            and isinstance(body.get("type"), str)
            and body["type"].upper() == "DIDCOMM"
            and not body.keys() & {"ciphertext", "payload", "message"}
        )
        if not is_action:
            return request, access
        if refused is not None:
            raise refused
        return replace(request, path="action"), [*access, "tenant"]

    async def _let_in(self, request: Request, route: Route) -> tuple[Tenant | None, Actor | None]:
        match route.access:
            case "tenant":
                return await self._callers.tenant(request, route)
            case "operator":
                self._callers.check_network(request)
                return None, await self._callers.operator(request, route.role or OperatorRole.ADMIN)
            case "host":
                self._callers.check_network(request)
                return None, HOST
            case "public":
                return None, None

    async def _home(self) -> Repository:
        services = self._services
        return await home(services.storage, services.custody, services.now())

    def _check_room(self, caller: Tenant) -> None:
        """Raises `Problem` if the tenant's quota is used up. `didcomm` refuses messages from others by itself."""
        usage = self._services.usage
        if usage.is_full(caller.principal):
            raise Problem(
                507,
                "quota-exceeded",
                f"You store {usage.stored(caller.principal)} bytes; your quota is "
                f"{usage.quota(caller.principal)}. Delete "
                "messages, or ask the operator for a larger quota. Until then you cannot send, and partners that send "
                "to you are told to retry later.",
            )


def _parameters(url: str) -> dict[str, str]:
    """The parameters of a URL, without values: the host drops those that are empty, and joins those that are repeated.

    Raises `Problem` 400 for a parameter that is repeated.
    """
    names = [name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)]
    parameters = dict.fromkeys(names, "")
    for name in parameters:
        if names.count(name) > 1:
            raise Problem(400, "query-invalid", f"The parameter {name[:100]!r} is given more than once. Give it once.")
    return parameters


def _arguments(arguments: Mapping[str, str]) -> Mapping[str, str]:
    """The variable parts of a path, uuids as they are kept. Raises `Problem` 400."""
    read = dict(arguments)
    for name, read_one in _ARGUMENTS.items():
        if name in read:
            try:
                read[name] = read_one(read[name])
            except ValueError as error:
                raise Problem(400, f"{name}-invalid", f"{read[name][:100]!r} in the path must be {error}.") from None
    return read


def _end_loops(request: Request) -> None:
    """Refuses calls that the service itself made: a webhook can point to our own API, through any names and proxies."""
    if LOOP_HEADER in request.headers:
        raise Problem(
            508,
            "loop-detected",
            f"This call came from the service itself (header {LOOP_HEADER}). Change the URL of the webhook.",
        )


def _too_much_work() -> Problem:
    detail = f"Too many calls and messages are being processed. Retry in {_SOON} s, and send fewer of yours at once."
    return Problem(429, "too-much-work", detail, retry_after=_SOON)


def _away() -> Problem:
    detail = (
        f"Storage is temporarily unavailable. Retry in {AGAIN} s. A create request may already have taken effect; "
        "send an Idempotency-Key to make retries safe."
    )
    return Problem(503, "storage-unavailable", detail, retry_after=AGAIN)


def _keyless() -> Problem:
    detail = (
        f"The keys of this account are temporarily unavailable. Retry in {AGAIN} s; if it lasts, ask the operator to "
        "bring back the missing version of the master key."
    )
    return Problem(503, "keys-unavailable", detail, retry_after=AGAIN)


def _choose(found: Sequence[Matched], method: str) -> Matched:
    """Returns the route of a method; HEAD is handled as GET (the server omits the body). Raises `Problem` 404, 405."""
    for route, arguments in found:
        if route.method == ("GET" if method == "HEAD" else method):
            return route, arguments
    if not found:
        raise Problem(404, "no-such-path", "There is nothing at this path. Check the path; /api/docs lists all.")
    methods = ", ".join(_methods(found))
    raise Problem(
        405, "method-not-allowed", f"This path does not support the method. Use {methods}.", headers={"allow": methods}
    )


def _methods(found: Iterable[Matched]) -> list[str]:
    methods = {route.method for route, _ in found}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _match(segments: Sequence[str], path: Sequence[str]) -> dict[str, str] | None:
    arguments = {}
    for segment, value in zip(segments, path, strict=True):
        if segment.startswith("{"):
            if not value:
                return None
            arguments[segment[1:-1]] = value
        elif segment.lower() != value.lower():
            return None
    return arguments
