"""What the HTTP door speaks: requests, responses, routes, and problems as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import orjson

from tntcore.errors import Problem
from tntcore.messaging.ids import UuidFactory
from tntcore.services import Services
from tntcore.strict_json import JsonError, read_json
from tntcore.tenancy.access import Actor, Role, Scope
from tntcore.tenancy.tenants import Tenant

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
KEY_HEADER = "tnt-subscription-key"
MAX_JSON = 6 * 1024 * 1024

OPERATOR_HEADER = "tnt-operator-key"

Access = Literal["tenant", "public", "operator", "host"]


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is relative to the prefix, without slashes at its ends; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body. Raises `Problem` 400, 413 or 415."""
        media_type = self.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media_type != JSON and not media_type.endswith("+json"):
            raise Problem(415, "unsupported-media-type", f"Send the body as {JSON}, not {media_type or 'nothing'}.")
        if len(self.body) > MAX_JSON:
            raise Problem(413, "body-too-large", f"The body has {len(self.body)} bytes; at most {MAX_JSON} are taken.")
        try:
            return read_json(self.body)
        except JsonError as error:
            raise Problem(400, "body-not-json", f"The body has to be JSON: {error}.") from None

    def check_transfer(self) -> None:
        """Raises `Problem` where the body did not arrive, 411, or is compressed, 415."""
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
                f"The body is compressed (Content-Encoding: {coding}), and compressed bodies are not read. Send it as "
                "it is, without Content-Encoding.",
                headers={"accept-encoding": "identity"},
            )

    def object(self) -> dict[str, Any]:
        """The body, which has to be a JSON object. Raises as `json`."""
        value = self.json()
        if not isinstance(value, dict):
            raise Problem(400, "body-not-an-object", "The body has to be a JSON object.")
        return value


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(value: Any, status: int = 200) -> Response:
    return Response(status, orjson.dumps(value))


def problem(error: Problem, trace_id: str) -> Response:
    """RFC 9457, with a `type` that is stable and a `detail` that says what to change."""
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
    return Response(error.status, orjson.dumps(body), PROBLEM_JSON, headers)


def title_of(code: str) -> str:
    """A problem's title: its code, in words."""
    return code.replace("-", " ")


class Chance:
    """What a call with an idempotency key takes for random: the same each time that it is tried, so that what an
    earlier try made, whose answer nobody got, is found and not made again.

    Args:
        seed: of the key. at: milliseconds since 1970, of the first try. again: this is not the first one.
    """

    def __init__(self, seed: bytes, at: int, *, again: bool) -> None:
        self.at = at
        self.again = again
        self._seed = seed
        self._taken = 0
        self.uuid7 = UuidFactory(lambda: at, self.random)

    def random(self, size: int) -> bytes:
        self._taken += 1
        return hashlib.shake_256(self._seed + self._taken.to_bytes(8, "big")).digest(size)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, let in.

    Attributes:
        arguments: the variable parts of its path.
        caller: the tenant; None where no subscription key is asked.
        by: who calls; None where anybody may.
        trace: what the answer of a failure names.
    """

    services: Services
    request: Request
    arguments: Mapping[str, str]
    caller: Tenant | None
    chance: Chance | None = None
    by: Actor | None = None
    trace: str = ""

    @property
    def random(self) -> Callable[[int], bytes]:
        """For identifiers. Not for secrets."""
        return self.chance.random if self.chance is not None else self.services.random

    @property
    def uuid7(self) -> UuidFactory:
        return self.chance.uuid7 if self.chance is not None else self.services.uuid7

    @property
    def tenant(self) -> Tenant:
        if self.caller is None:
            raise Problem(401, "key-missing", f"Send the header {KEY_HEADER}.")
        return self.caller

    @property
    def actor(self) -> Actor:
        if self.by is None:
            raise RuntimeError("anybody may call this")
        return self.by


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Content:
    """An answer's body that is not `application/json`; `type` describes it where it is JSON all the same."""

    media_type: str
    type: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """A path such as `action/{uuid}`, what answers it, and how the API's description (`openapi.py`) shows it.

    Types are those that `json_schema.schema_of` takes. What every route of its kind has (the key, the parts of its
    path, the pages of a list, `Idempotency-Key`, and the errors of these) needs no word here. The handler's docstring
    is shown.

    Attributes:
        access: `tenant` asks for a subscription key, `operator` for an operator's key or token; `host` is for who has
            the functions host's own key, which the host checks; `public` for anybody.
        role: of an operator's route, the least that may call it.
        scope: of a tenant's route, the least that a key has to have; by default `needs` says it. `when_suspended`: a
            suspended tenant may call it.
        creates: a POST that takes an `Idempotency-Key`.
        summary: what it does, in a few words.
        request: the type of the body, or a `Content`; None for none. `bodiless`: it may be left out.
        answers: the type of the body by status, a `Content`, or None for none.
        query: the parameters of the query, each with what it means.
        errors: each as its status and code, such as `409 not-connected`.
        example: of a request's body; by default one made of the examples in `request`.
    """

    method: str
    path: str
    handler: Handler
    access: Access = "tenant"
    role: Role | None = None
    scope: Scope | None = None
    when_suspended: bool = False
    creates: bool = False
    summary: str = ""
    request: Any = None
    bodiless: bool = False
    answers: Mapping[int, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[str] = ()
    example: Any = None

    @property
    def needs(self) -> Scope:
        """Of a tenant's route: the scope. A GET reads, and whatever else sends, where the route says nothing."""
        return self.scope or (Scope.READ if self.method == "GET" else Scope.SEND)


def hash_key(key: str) -> str:
    """What is stored of a subscription key. It is random and long, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def client_ip(headers: Mapping[str, str], hops: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a request comes from, or None if it is not known.

    Args:
        headers: `x-forwarded-for` has an entry of each proxy, the last one's last; what is before those of our own may
            be anybody's invention.
        hops: how many proxies of ours there are: the platform's own front end is one.
    """
    entries = headers.get("x-forwarded-for", "").split(",")
    if not 0 < hops <= len(entries):
        return None
    return _address(entries[-hops].strip())


def client_address(headers: Mapping[str, str], hops: int) -> str:
    """Whom a request comes from, "" if that is not known: an IPv4 address, or the /64 of an IPv6 address, all of which
    are one client's. Takes what `client_ip` takes.
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
