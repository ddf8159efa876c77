"""The only way out: all webhook calls, DIDComm messages and requests for did:web documents go through here.

Others choose the URLs: a tenant, or the author of a DID document. So no internal address may be reached (OWASP,
"Server-Side Request Forgery Prevention"): a host with even one address that is not public is refused, and the address
of each opened socket is checked again, whatever spelling or name led to it. Redirects are not followed, no cookies are
kept, and everything has a bound.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from tntcore.caching import SharedCache
from tntcore.shares import Busy, Shares, current_budget, party
from tntcore.status_line import Connector, StatusResponse, UnreadableAnswerError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str], Awaitable[Sequence[str]]]
ErrorCode = Literal[
    "invalid-url",  # not http(s), http where only https may be, a user name inside, too long
    "invalid-header",  # one that is not the caller's to set, or that cannot be sent
    "refused-address",  # leads to an address that is not public
    "dns",  # the host's name has no address
    "connect",  # nobody listens, or unreachable
    "tls",  # certificate or handshake
    "timeout",
    "disconnected",  # closed before the whole answer had come
    "protocol",  # answered with something that is not HTTP, or with headers beyond all bounds
    "too-large",  # `fetch` only
    "status",  # `fetch` only: not 200
    "busy",  # nothing was sent: as many requests, or look-ups, for this tenant or host are under way as may be
]

MAX_URL = 4_096
MAX_DOCUMENT = 256 * 1024
_DOCUMENTS = "application/did+json, application/did+ld+json, application/json"
FETCH_TIMEOUT = 10.0
USER_AGENT = "tnt-egress/1"
LOOP_HEADER = "tnt-egress"
"""Marks what was sent from here, so that a call of our own API by ourselves is known as one."""

_MAX_HEADER = 8_190
_MAX_HOST = 253  # characters of a host that an error shows
_KEPT_HEADERS = ("content-type", "location", "retry-after")
_NAMES = 16  # names that are looked up at once
_PATIENCE = 30.0  # seconds to wait for a place
_NAME_PATIENCE, _NAME_ANSWER, _NAME_KEPT = 5.0, 8.0, 10.0  # seconds
_MAX_NAMES_KEPT = 10_000
_SILENT_SECONDS, _SILENT_NAMES = 30.0, 10_000  # for which a name without an answer is not asked for, and how many
# Under the five seconds after which many servers close an idle connection: a POST should not meet one just closing.
_KEEP_ALIVE = 4.0
_METHOD = re.compile(r"[A-Z]{1,20}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "expect", LOOP_HEADER}
)


class EgressError(Exception):
    """A request without an answer.

    Args:
        code: stable, see `ErrorCode`.
        detail: names the host and port as the URL has them. Contains no resolved address and no content.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: ErrorCode = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, redirects (3xx) included: they are not followed.

    Attributes:
        headers: `content-type`, `location` and `retry-after`, if they were sent.
        body: up to the requested bound; not decompressed.
        truncated: there was more, or should have been.
        duration: seconds from the call to the end of the answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    duration: float


@dataclass(slots=True)
class _Begun:
    """The part of an answer that has come so far; status 0 if there is none yet."""

    at: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# IANA's special-purpose registries (RFC 6890 and its successors), written out because the standard library's
# `is_global` differs between the versions of Python; and Azure's own virtual address, public in form only.
_NOT_PUBLIC_4 = _networks(
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
)  # fmt: skip
_GLOBAL_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = _networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the public internet, and to no tunnel or translation into something else. A NAT64
    address (RFC 6052) is what the IPv4 address inside it is; an IPv4-mapped one is not public."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address.scope_id is None
        and address in _GLOBAL_UNICAST_6
        and not any(address in network for network in _NOT_PUBLIC_6)
    )


class _BusyNamesError(OSError):
    """Too many names are being looked up for this tenant, or in this domain."""


class _RefusedAddressError(OSError):
    """An error that aiohttp passes on from a resolver and from the opening of a socket."""


class _Gate:
    """Decides on addresses, in the one spelling that the standard library takes: `2130706433` or `0177.0.0.1`, which
    the system would connect to, are no addresses here."""

    def __init__(self, allow: Sequence[Network], *, public: bool) -> None:
        self._allow = tuple(allow)
        self._public = public

    def check(self, address: str) -> None:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise _RefusedAddressError("what is not an address in its usual spelling") from None
        if any(parsed in network for network in self._allow if network.version == parsed.version):
            return
        if not (self._public and is_public(parsed)):
            raise _RefusedAddressError("an address that is not public")

    def open(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """aiohttp's socket factory: the last stop before a connection, and the only one for a host that is a number,
        for which no resolver is asked."""
        family, kind, protocol, _, address = info
        self.check(address[0])
        return socket.socket(family, kind, protocol)


class _CheckedResolver(AbstractResolver):
    """Resolves a name, and refuses it when any of its addresses is refused. aiohttp connects to what this returns."""

    def __init__(self, lookup: Lookup, gate: _Gate) -> None:
        self._lookup = lookup
        self._gate = gate

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host)
        if not addresses:
            raise OSError("no address")
        for address in addresses:
            self._gate.check(address)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


class Egress:
    """Sends requests to places that others chose. Make one per process; `await close()` it at the end.

    Args:
        allow: networks that may be reached although they are not public, by plain http too: for development.
        allow_http: also lets plain http go to public addresses.
        lookup: name -> addresses, as text; raises OSError. Default: the system's resolver.
        tls: default: the system's trust store.
        now: seconds, for `Answer.duration`.
        places: requests under way at once.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        allow_http: bool = False,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.monotonic,
        places: int = 512,
    ) -> None:
        self._gates = {"https": _Gate(allow, public=True), "http": _Gate(allow, public=allow_http)}
        self._http = allow_http or bool(allow)
        self._lookup = lookup or self._system_lookup
        self._tls = tls
        self._now = now
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        # A tenant with many requests, or with names that are never answered, must not delay anybody else.
        self._places = Shares(places)
        self._names = Shares(_NAMES)
        self._silent: SharedCache[bool] = SharedCache(now, _SILENT_NAMES)
        self._found: SharedCache[Sequence[str]] = SharedCache(now, _MAX_NAMES_KEPT)
        # Keeps nothing: only to share look-ups under way, among those of one party.
        self._looking: SharedCache[Sequence[str]] = SharedCache(now, 0)
        self._pool: ThreadPoolExecutor | None = None

    async def close(self) -> None:
        """Closes the connections and forgets the names; a later request begins anew."""
        self._found = SharedCache(self._now, _MAX_NAMES_KEPT)
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_answer: int = 4_096,
        timeout: float = 15.0,  # noqa: ASYNC109 - one deadline over all that a request consists of
        whole: bool = True,
        is_sent: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Sends one request and reads the answer, once.

        It takes a place in the share of the tenant on whose behalf it is sent (`shares.party`) and of the host, and in
        that of the sender whose message causes it, or of the kind of receiver. Waiting for that, and for the addresses
        of the host's name, is not part of `timeout`; both have bounds of their own. The message that causes it may have
        less time left (`shares.Budget`).

        Args:
            url: https; http only to `allow`ed networks (or with `allow_http`).
            headers: `Host`, `Content-Length`, `Transfer-Encoding`, `Connection`, `Accept-Encoding`, `Expect` and
                `tnt-egress` are not the caller's.
            max_answer: bytes of the answer's body that are kept; what comes after them is not read.
            timeout: seconds for connection, sending and answer.
            whole: whether an answer counts only if it can be read to its end, or to `max_answer`. If not, its status
                line decides: what comes after it may be broken off, endless or no HTTP.
            is_sent: called when its place is there: from then on only others are waited for.

        Raises:
            EgressError: there is no answer.
        """
        target = self._target(url)
        sent = _headers(method, headers or {})
        begun = _Begun()
        with _naming(target):
            try:
                async with self._places.place(*_holders(target.host or ""), patience=_PATIENCE):
                    is_sent()
                    begun.at = self._now()
                    await self._name(target.raw_host or "")
                    with current_budget().spending() as left:
                        async with asyncio.timeout(min(timeout, left)):
                            await self._exchange(method, target, sent, body, max_answer, begun)
            except Busy:
                raise EgressError("busy", "too many requests for this tenant, or to this host, are under way") from None
            except TimeoutError:
                if whole or not begun.status:
                    raise EgressError("timeout", f"no complete answer within {timeout:g} s") from None
                begun.truncated = True
            except UnreadableAnswerError as error:
                if whole:
                    raise _as_egress_error(error.reason) from None
                begun.status, begun.truncated = error.status, True
            except (aiohttp.ClientError, OSError) as error:
                if whole or not begun.status:
                    raise _as_egress_error(error) from None
                begun.truncated = True
        kept = bytes(begun.body[:max_answer])
        return Answer(begun.status, begun.headers, kept, begun.truncated, self._now() - begun.at)

    def has_place(self) -> bool:
        """Whether the current party is within its share of requests, whatever the host."""
        return self._places.may_take(*_party())

    def check(self, url: str) -> None:
        """Checks whether requests to such a URL are allowed at all. Its addresses are checked only by a request.

        Raises:
            EgressError: `invalid-url`.
        """
        self._target(url)

    async def fetch(self, url: str, accept: str = _DOCUMENTS) -> bytes:
        """Returns the body of a document, such as a did:web one: GET, https, status 200, at most 256 KiB, within 10
        seconds.

        Args:
            accept: the header Accept.

        Raises:
            EgressError: there is no such document.
        """
        answer = await self.request(
            "GET",
            url,
            headers={"Accept": accept},
            max_answer=MAX_DOCUMENT,
            timeout=FETCH_TIMEOUT,
        )
        with _naming(self._target(url)):
            if answer.status != 200:
                raise EgressError("status", f"answered {answer.status}")
            if answer.truncated:
                raise EgressError("too-large", f"larger than {MAX_DOCUMENT} bytes")
        return answer.body

    def _target(self, url: str) -> URL:
        if len(url) > MAX_URL:
            raise EgressError("invalid-url", f"longer than {MAX_URL} characters")
        try:
            target = URL(url)
            host, port = target.raw_host, target.port
        except ValueError:
            raise EgressError("invalid-url", "not a URL") from None
        if target.scheme not in ("https", "http") or not host or not port:
            raise EgressError("invalid-url", "not an https URL")
        if target.scheme == "http" and not self._http:
            raise EgressError("invalid-url", "https is required")
        if target.raw_user is not None or target.raw_password is not None:
            raise EgressError("invalid-url", "a user name or password inside a URL is not sent")
        return target

    async def _exchange(
        self, method: str, target: URL, headers: CIMultiDict[str], body: bytes | None, max_answer: int, begun: _Begun
    ) -> None:
        async with self._session(target.scheme).request(
            method, target, headers=headers, data=body, allow_redirects=False
        ) as response:
            begun.status, kept = response.status, begun.body
            begun.headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            while len(kept) <= max_answer and (chunk := await response.content.read(max_answer + 1 - len(kept))):
                kept += chunk
            begun.truncated = len(kept) > max_answer
            if begun.truncated:
                response.close()

    def _session(self, scheme: str) -> aiohttp.ClientSession:
        session = self._sessions.get(scheme)
        if session is None:
            gate = self._gates[scheme]
            connector = Connector(
                resolver=_CheckedResolver(self._addresses, gate),
                socket_factory=gate.open,
                ssl=self._tls or True,
                limit=0,
                keepalive_timeout=_KEEP_ALIVE,
                # With it, a tenant would wait for a look-up begun by another one that has no place.
                use_dns_cache=False,
            )
            session = self._sessions[scheme] = aiohttp.ClientSession(
                connector=connector,
                response_class=StatusResponse,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trust_env=False,
                max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
            )
        return session

    async def _name(self, host: str) -> None:
        """Waits for the addresses of a name, so that connecting finds them. Raises `EgressError`."""
        # aiohttp asks no resolver for a host that looks like an address.
        if ":" in host or host.replace(".", "").isdigit():
            return
        try:
            with current_budget().spending() as left:
                async with asyncio.timeout(min(_NAME_PATIENCE + _NAME_ANSWER, left)):
                    await self._addresses(host)
        except _BusyNamesError:
            raise EgressError("busy", "too many names are being looked up for this tenant, or in this domain") from None
        except TimeoutError:
            raise EgressError("timeout", "the host's name was not answered in time") from None
        except OSError:
            raise EgressError("dns", "the host's name has no address") from None

    async def _addresses(self, host: str) -> Sequence[str]:
        """Returns the addresses of a name. Raises OSError. A look-up goes on when nobody waits for it any more."""
        found = self._found.peek(host)
        if found is not None:
            return found

        async def look_up() -> tuple[Sequence[str], float]:
            addresses = await self._lookup(host)
            self._found.put(host, addresses, _NAME_KEPT)
            return addresses, 0

        return await self._looking.get(f"{party().tenant}/{party().sender}/{host}", look_up)

    async def _system_lookup(self, host: str) -> Sequence[str]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_NAMES, thread_name_prefix="egress-dns")
        if self._silent.peek(host):
            raise OSError("the name was not answered a moment ago")
        loop, domain = asyncio.get_running_loop(), f"{party().tenant}/{_domain(host)}"
        # A domain counts twice, as a sender does: its owner can make any number of names that are never answered.
        holders = *_party(), domain, domain
        try:
            await self._names.acquire(*holders, patience=_NAME_PATIENCE)
        except Busy:
            raise _BusyNamesError("too many names are being looked up") from None
        looking = self._pool.submit(
            # The host is passed as bytes: a text would be encoded once more, which may fail.
            lambda: socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
        # The thread goes on when nobody waits for it any more: only then is its place free.
        looking.add_done_callback(lambda _: _tell(loop, lambda: self._names.give_back(*holders)))
        try:
            async with asyncio.timeout(_NAME_ANSWER):
                found = await asyncio.wrap_future(looking)
        except TimeoutError:
            self._silent.put(host, True, _SILENT_SECONDS)
            raise OSError("the name is not answered") from None
        return [str(info[4][0]) for info in found]


def _domain(host: str) -> str:
    """Returns the last two labels of a name."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    # A thread may outlive the loop.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)


def _holders(host: str) -> tuple[str, ...]:
    """Returns the holders of a request's place."""
    return *_party(), f"host {host}"


def _party() -> tuple[str, ...]:
    """Returns the party as holders. A sender, or a kind of receiver, counts twice: strangers choose where their
    messages make requests go, and receivers may hang, so enough of the tenant's share is left to its others. An
    entrance, by which strangers make any number of connections, counts four times, so half of its kind's is left.
    """
    tenant, sender, entrance = party().tenant, party().sender, party().entrance
    holders = f"tenant {tenant}", *((f"sender {tenant}/{sender}",) * 2 if sender else ())
    return *holders, *((f"entrance {tenant}/{sender}/{entrance}",) * 4 if entrance else ())


def _headers(method: str, headers: Mapping[str, str]) -> CIMultiDict[str]:
    if not _METHOD.fullmatch(method):
        raise EgressError("invalid-header", "not an HTTP method")
    sent = CIMultiDict({"User-Agent": USER_AGENT})
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in _OWN_HEADERS:
            raise EgressError("invalid-header", f"the header {name[:100]!r} cannot be set, or not to this value")
        sent[name] = value
    # A compressed answer can be a thousand times larger than its bound.
    sent["Accept-Encoding"] = "identity"
    sent[LOOP_HEADER] = "1"
    return sent


@contextmanager
def _naming(target: URL) -> Iterator[None]:
    """Adds the host and port to the detail of an `EgressError`."""
    try:
        yield
    except EgressError as error:
        place = f"{(target.host or '')[:_MAX_HOST]}:{target.port}"
        raise EgressError(error.code, f"{error.detail} ({place})") from None


def _as_egress_error(error: aiohttp.ClientError | OSError) -> EgressError:
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return EgressError("tls", "no trusted TLS connection: check the certificate and its host name")
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _RefusedAddressError):
        return EgressError("refused-address", f"the host leads to {error.os_error}")
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _BusyNamesError):
        return EgressError("busy", "too many names are being looked up for this tenant, or in this domain")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return EgressError("dns", "the host's name has no address")
    if isinstance(error, aiohttp.InvalidURL):
        return EgressError("invalid-url", "the host is not written in its usual form")
    if isinstance(error, aiohttp.ClientResponseError):
        return EgressError("protocol", "the answer is not HTTP, or its headers are too large")
    if isinstance(error, aiohttp.ClientConnectorError):
        return EgressError("connect", "nobody answers there")
    return EgressError("disconnected", "the connection was closed before the whole answer had come")
