"""HTTP types: requests, responses, routes, and problems as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from tntcore.errors import Problem
from tntcore.messaging.ids import Ids, Stream, UuidFactory
from tntcore.services import Services
from tntcore.storage.records import Record
from tntcore.strict_json import JsonError, no_deeper, read_json, write_json
from tntcore.tenancy.access import Actor, OperatorRole, Scope
from tntcore.tenancy.tenants import Tenant

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
KEY_HEADER = "tnt-subscription-key"
MAX_JSON = 6 * 1024 * 1024

OPERATOR_HEADER = "tnt-operator-key"

Access = Literal["tenant", "public", "operator", "host"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `path` is relative to the prefix, without slashes at its ends; header names are in lower case.
    `url` is as the caller wrote it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    url: str = ""

    def json(self) -> Any:
        """Returns the parsed body. Raises `Problem` 400, 413 or 415."""
        media_type = self.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media_type != JSON and not media_type.endswith("+json"):
            raise Problem(
                415,
                "unsupported-media-type",
                f"The Content-Type is {media_type or 'missing'}. Send the body as {JSON}.",
            )
        if len(self.body) > MAX_JSON:
            raise Problem(413, "body-too-large", f"The body has {len(self.body)} bytes. Send at most {MAX_JSON}.")
        try:
            return read_json(self.body, unique=True)
        except JsonError as error:
            raise Problem(400, "body-not-json", f"The body is not valid JSON: {error}. Send valid JSON.") from None

    def check_transfer(self) -> None:
        """Raises `Problem` 411 if the body did not arrive, 415 if it is compressed."""
        if "transfer-encoding" in self.headers and not self.body:
            raise Problem(
                411,
                "length-required",
                "The body did not arrive, because it was sent in chunks (Transfer-Encoding). Send it in one piece, "
                "with Content-Length.",
            )
        coding = self.headers.get("content-encoding", "identity").strip().lower()
        if self.body and coding not in ("", "identity"):
            raise Problem(
                415,
                "unsupported-media-type",
                f"The body is compressed (Content-Encoding: {coding}), which is not supported. Send it "
                "uncompressed, without Content-Encoding.",
                headers={"accept-encoding": "identity"},
            )

    def object(self) -> dict[str, Any]:
        """Returns the body, which must be a JSON object. Raises as `json`."""
        value = self.json()
        if not isinstance(value, dict):
            raise Problem(400, "body-not-an-object", "The body is not a JSON object. Send a JSON object.")
        return value


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """Returns a value as JSON that common parsers read: not too deep, see `no_deeper`."""
    return Response(status, no_deeper(write_json(value)), headers=headers)


def problem(error: Problem, trace_id: str) -> Response:
    """Returns an RFC 9457 problem, with a stable `type` and a `detail` that says what to change."""
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    body = {
        "type": error.type,
        "title": title_of(error.code),
        "status": error.status,
        "detail": error.detail,
        "traceId": trace_id,
    }
    return Response(error.status, write_json(body), PROBLEM_JSON, headers)


def title_of(code: str) -> str:
    """Returns a problem's title: its code, in words."""
    return code.replace("-", " ")


class Chance:
    """Random bytes of a call with an idempotency key: the same at each attempt, so that the call finds what an earlier
    attempt created instead of creating it again.

    Args:
        seed: drawn at the first attempt, and kept sealed until the call is over.
        at: time of the first attempt, in milliseconds since 1970.
        again: whether an earlier attempt was made.
    """

    def __init__(self, seed: bytes, at: int, *, again: bool) -> None:
        self.at = at
        self.again = again
        self.random = Stream(seed)
        self.uuid7 = UuidFactory(lambda: at, self.random)


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request.

    Attributes:
        arguments: the variable parts of its path.
        query, body: what the caller gave, read by `given` as the route's types. Empty on public routes.
        caller: the tenant; None on routes without a subscription key.
        by: the caller; None on public routes.
        trace: the id that the answer shows if the request fails.
    """

    services: Services
    request: Request
    arguments: Mapping[str, str]
    caller: Tenant | None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    chance: Chance | None = None
    by: Actor | None = None
    trace: str = ""

    @property
    def is_repeated(self) -> bool:
        """Whether an earlier attempt of this call was made, which may have had an effect."""
        return self.chance is not None and self.chance.again

    @property
    def ids(self) -> Ids:
        """Returns the source of the identifiers and secrets of the records that the call creates."""
        return Ids(self.uuid7, self.random, self.chance.at if self.chance is not None else self.services.now())

    @property
    def random(self) -> Callable[[int], bytes]:
        """Returns a source of random bytes, also for secrets; see `Chance`."""
        return self.chance.random if self.chance is not None else self.services.random

    @property
    def uuid7(self) -> UuidFactory:
        return self.chance.uuid7 if self.chance is not None else self.services.uuid7

    @property
    def tenant(self) -> Tenant:
        if self.caller is None:
            raise Problem(401, "key-missing", f"The subscription key is missing. Send it in the header {KEY_HEADER}.")
        return self.caller

    def at(self, record: Record) -> Call:
        """Returns the call with the tenant in the shard that the record, which was read, is in."""
        return self.by_tenant(self.tenant.at(record))

    def by_tenant(self, tenant: Tenant) -> Call:
        """Returns the call with the tenant in another shard."""
        return self if tenant is self.caller else replace(self, caller=tenant)

    @property
    def actor(self) -> Actor:
        if self.by is None:
            raise RuntimeError("anybody may call this")
        return self.by


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Body:
    """A body with another media type than `application/json`; `type` describes it if it still is JSON."""

    media_type: str
    type: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """A path such as `action/{uuid}`, its handler, and its description in the API document (`openapi.py`).

    Types are those that `json_schema.schema_of` takes. `openapi.py` adds what all routes of a kind share: the key, the
    parts of the path, the paging of lists, `Idempotency-Key`, and the errors of these. It shows the handler's docstring
    as the description.

    Attributes:
        access: `tenant` requires a subscription key, `operator` an operator's key or token, `host` the functions host's
            own key (the host checks it); `public` requires none.
        role: the lowest role that may call an operator's route.
        scope: the lowest scope that may call a tenant's route; by default see `needs`.
        when_suspended: whether a suspended tenant may call it.
        creates: whether it is a POST that takes an `Idempotency-Key`.
        versioned: whether answers have an `ETag`, and a change takes `If-Match` and `If-None-Match`.
        when_full: whether a tenant whose quota is used up may call it, although it creates.
        summary: a few words that begin with a verb.
        request: the type of the body, a `TypedDict` or a `Body`; None for no body.
        bodiless: whether the body may be left out.
        answers: for each status the type of the body, a `Body`, or None for no body.
        query: the type of the query, a `TypedDict`; None for no parameters.
        errors: status and code of each error, such as `409 not-connected`.
        example: an example of the request's body; by default made of the examples in `request`.
    """

    method: str
    path: str
    handler: Handler
    access: Access = "tenant"
    role: OperatorRole | None = None
    scope: Scope | None = None
    when_suspended: bool = False
    creates: bool = False
    versioned: bool = False
    when_full: bool = False
    summary: str = ""
    request: Any = None
    bodiless: bool = False
    answers: Mapping[int, Any] = field(default_factory=dict)
    query: Any = None
    errors: Sequence[str] = ()
    example: Any = None

    @property
    def needs(self) -> Scope:
        """Returns the scope that a tenant's route requires: `scope`, or by default `read` for a GET and `send`
        otherwise."""
        return self.scope or (Scope.READ if self.method == "GET" else Scope.SEND)


def hash_key(key: str) -> str:
    """Returns the stored form of a subscription key. Keys are long and random, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def client_ip(headers: Mapping[str, str], hops: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Returns the address that a request comes from, or None if it is not known.

    Args:
        headers: `x-forwarded-for` has one entry for each proxy, the last proxy's last. Entries before those of our own
            proxies can be forged.
        hops: number of our own proxies, including the platform's front end.
    """
    entries = headers.get("x-forwarded-for", "").split(",")
    if not 0 < hops <= len(entries):
        return None
    return _address(entries[-hops].strip())


def client_address(headers: Mapping[str, str], hops: int) -> str:
    """Returns the client's network: an IPv4 address, or the /64 of an IPv6 address (one client's network); "" if
    unknown.

    Takes the arguments of `client_ip`.
    """
    address = client_ip(headers, hops)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
    return str(address or "")


@lru_cache(4096)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
