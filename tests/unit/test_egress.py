import asyncio
import datetime
import gzip
import ipaddress
import itertools
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yarl import URL

from tntcore.egress import MAX_DOCUMENT, Egress, EgressError, is_public
from tntcore.shares import on_behalf_of, party, within_budget

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names:
    """A name server that counts, and answers each time with the next of its answers."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        given = self._answers.get(host)
        if not given:
            raise OSError("unknown name")
        return given.pop(0) if len(given) > 1 else given[0]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    server = TestServer(app, host="127.0.0.1", scheme="https" if tls else "http")
    await server.start_server(ssl=tls)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def opened(egress: Egress) -> AsyncIterator[Egress]:
    try:
        yield egress
    finally:
        await egress.close()


@asynccontextmanager
async def raw_server(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await answer(writer)
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        },
        status=202,
        headers={"Retry-After": "7", "Set-Cookie": "a=b", "X-Other": "x"},
    )


async def code_of(awaitable: Awaitable[object]) -> str:
    with pytest.raises(EgressError) as caught:
        await awaitable
    return caught.value.code


async def test_a_request_and_its_answer() -> None:
    async with serving(echo) as server, opened(Egress(LOOPBACK, now=iter([10.0, 12.5]).__next__)) as egress:
        answer = await egress.request(
            "POST",
            f"http://127.0.0.1:{server.port}/a%2Fb?c=d",
            headers={"content-type": "application/json", "X-Key": "k", "user-agent": "mine"},
            body=b'{"a":1}',
        )
    assert answer.status == 202
    assert dict(answer.headers) == {"content-type": "application/json; charset=utf-8", "retry-after": "7"}
    assert answer.duration == 2.5
    assert not answer.truncated
    seen = json.loads(answer.body)
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/a%2Fb?c=d", '{"a":1}')
    assert {name: seen["headers"][name] for name in ("content-type", "x-key", "user-agent", "accept-encoding")} == {
        "content-type": "application/json",
        "x-key": "k",
        "user-agent": "mine",
        "accept-encoding": "identity",
    }


async def test_nothing_is_remembered_followed_or_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []

    async def redirect(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("cookie")))
        return web.Response(status=307, headers={"Location": "/elsewhere", "Set-Cookie": "a=b"})

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(redirect) as server, opened(Egress(LOOPBACK)) as egress:
        for _ in range(2):
            answer = await egress.request("POST", f"http://127.0.0.1:{server.port}/here", body=b"x")
            assert answer.status == 307
    assert seen == [("/here", None), ("/here", None)]


async def test_no_proxy_and_no_password_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it is called, for http and https, by name or by number, and whatever `.netrc` knows of the host."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
        for spelling in (name, name.upper()):
            monkeypatch.setenv(spelling, url)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text(
        "machine 127.0.0.1 login user password secret\nmachine inside.example login user password secret\n"
    )
    monkeypatch.setenv("NETRC", str(netrc))
    server_tls, client_tls = make_certificate(tmp_path, "inside.example")
    names = Names(inside_example=[["127.0.0.1"]])
    egress = Egress(LOOPBACK, lookup=names, tls=client_tls)
    async with serving(echo) as plain, serving(echo, server_tls) as secure, opened(egress):
        for target in (
            f"http://127.0.0.1:{plain.port}/",
            f"http://inside.example:{plain.port}/",
            f"https://inside.example:{secure.port}/",
        ):
            seen = json.loads((await egress.request("POST", target, body=b"x")).body)
            assert "authorization" not in seen["headers"]
    listener.close()
    assert asked == []


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_nobody_is_led_inside_by_a_redirect(status: int) -> None:
    inside = []

    async def secret(request: web.Request) -> web.Response:
        inside.append(request.path)
        return web.Response()

    async with serving(secret) as target:

        async def redirect(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{target.port}/latest/meta-data"})

        async with serving(redirect) as server, opened(Egress(LOOPBACK)) as egress:
            url = f"http://127.0.0.1:{server.port}/"
            assert (await egress.request("GET", url)).status == status
            assert await code_of(egress.fetch(url)) == "status"
    assert inside == []


async def test_a_name_that_leads_elsewhere_a_moment_later_is_not_believed() -> None:
    """While the first answer is remembered the checked address is used; afterwards the next one is checked as well."""
    inside = []

    async def secret(request: web.Request) -> web.Response:
        inside.append(request.path)
        return web.Response()

    async with serving(secret) as server:
        names = Names(rebind_example=[["127.0.0.2"], ["127.0.0.1"]])
        allow = [ipaddress.ip_network("127.0.0.2/32")]
        async with opened(Egress(allow, lookup=names)) as egress:
            url = f"http://rebind.example:{server.port}/"
            for _ in range(2):
                # Nobody listens there: the address that was checked is the one that was tried.
                assert await code_of(egress.request("POST", url, body=b"x", timeout=2)) in ("connect", "timeout")
            assert names.asked == ["rebind.example"]
            await egress.close()
            assert await code_of(egress.request("POST", url, body=b"x", timeout=2)) == "refused-address"
    assert inside == []


async def test_the_way_a_url_is_written_changes_no_header() -> None:
    """`Host` is the URL's, `Content-Length` the body's, whatever stands in either."""
    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=Names(a_example=[["127.0.0.1"]]))) as egress:
        for path in ("?%0d%0aHost:%20evil", "?a=\r\nHost: evil", "#\r\nHost: evil", "\tx", " HTTP/1.1\r\nHost: evil"):
            answer = await egress.request("POST", f"http://a.example:{server.port}/{path}", body=b"four")
            seen = json.loads(answer.body)["headers"]
            assert (seen["host"], seen["content-length"]) == (f"a.example:{server.port}", "4")


LITERALS = [
    "127.0.0.1",
    "127.0.0.1.",
    "2130706433",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "0",
    "0.0.0.0",
    "１２７.0.0.1",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "%31%32%37.0.0.1",
    "127%2e0.0.1",
    "localhost",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
]


@pytest.mark.parametrize("host", LITERALS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_this_machine_reaches_it(host: str, scheme: str) -> None:
    connections = 0

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    # All addresses, both families: whatever gets out of the process to this machine is seen.
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(accept, sock=listener)
    port = listener.getsockname()[1]
    async with opened(Egress(allow_http=True)) as egress:
        code = await code_of(egress.request("POST", f"{scheme}://{host}:{port}/", body=b"x", timeout=5))
        assert code in ("refused-address", "invalid-url", "dns")
        await asyncio.sleep(0)
    server.close()
    assert connections == 0


NOT_PUBLIC = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::ffff:8.8.8.8", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808", "100::1", "2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "2606:4700::1%1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1",
    "168.63.129.17", "192.0.1.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_nothing_is_public_that_the_standard_library_knows_as_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
    ):
        nat64 = isinstance(address, ipaddress.IPv6Address) and address in ipaddress.IPv6Network("64:ff9b::/96")
        assert nat64 or not is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_a_name_with_one_address_inside_is_refused(address: str) -> None:
    names = Names(mixed_example=[["1.1.1.1", address]])
    async with opened(Egress(lookup=names)) as egress:
        assert await code_of(egress.request("POST", "https://mixed.example/", timeout=5)) == "refused-address"
    assert names.asked == ["mixed.example"]


async def test_an_address_is_not_looked_up_again_between_check_and_use() -> None:
    names = Names(rebind_example=[["127.0.0.1"], ["10.0.0.1"]])
    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=names)) as egress:
        answer = await egress.request("GET", f"http://rebind.example:{server.port}/")
        assert answer.status == 202
        assert names.asked == ["rebind.example"]
        await egress.close()
        assert await code_of(egress.request("GET", f"http://rebind.example:{server.port}/")) == "refused-address"


async def test_only_the_allowed_networks_are_open() -> None:
    names = Names(inside_example=[["127.0.0.1"]])
    allow = [ipaddress.ip_network("127.0.0.2/32"), ipaddress.ip_network("fd00::/8")]
    async with serving(echo) as server, opened(Egress(allow, lookup=names)) as egress:
        for url in (f"http://127.0.0.1:{server.port}/", f"http://inside.example:{server.port}/"):
            assert await code_of(egress.request("GET", url)) == "refused-address"


async def test_http_is_for_allowed_networks_only() -> None:
    names = Names(public_example=[["1.1.1.1"]])
    async with opened(Egress(lookup=names)) as egress:
        assert await code_of(egress.request("GET", "http://public.example/")) == "invalid-url"
    async with opened(Egress(LOOPBACK, lookup=names)) as egress:
        assert await code_of(egress.request("GET", "http://public.example/")) == "refused-address"
        assert await code_of(egress.request("GET", "http://1.1.1.1/")) == "refused-address"


async def test_the_refusal_names_the_host_and_no_inner_address() -> None:
    async with opened(Egress(lookup=Names(a_example=[["10.11.12.13"]]))) as egress:
        with pytest.raises(EgressError) as caught:
            await egress.request("GET", "https://a.example/")
    assert "10.11" not in str(caught.value)
    assert caught.value.detail.endswith("(a.example:443)")
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "https://",
        "https:///path",
        "ftp://example.com/",
        "ws://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://[::1/",
        "https://" + "a" * 5000,
        "javascript:alert(1)",
    ],
)
async def test_invalid_urls(url: str) -> None:
    async with opened(Egress(lookup=Names())) as egress:
        with pytest.raises(EgressError) as caught:
            await egress.request("GET", url)
    assert caught.value.code == "invalid-url"
    assert "secret" not in str(caught.value)


def leads_out(url: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(URL(url).raw_host or ""))
    except ValueError:
        return False


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=30)
    | st.from_regex(r"https?://[^/]{0,20}/.{0,5}", fullmatch=True)
    | st.from_regex(r"https://[0-9a-fx.:\[\]%]{1,20}", fullmatch=True)
)
def test_any_text_as_url_is_refused_with_a_code(url: str) -> None:
    async def attempt() -> str:
        async with opened(Egress(lookup=Names())) as egress:
            return await code_of(egress.request("GET", url, timeout=5))

    assume(not leads_out(url))
    assert asyncio.run(attempt()) in ("invalid-url", "dns", "refused-address")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "other"),
        ("content-length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Accept-Encoding", "gzip"),
        ("X-A", "b\r\nX-C: d"),
        ("X-A", "b\nc"),
        ("X-A\r\nB", "c"),
        ("X A", "b"),
        ("", "b"),
        ("X-A", "ü"),
        ("X-A", "\x00"),
    ],
)
async def test_headers_that_cannot_be_set(name: str, value: str) -> None:
    async with opened(Egress(lookup=Names())) as egress:
        code = await code_of(egress.request("POST", "https://example.com/", headers={name: value}))
    assert code == "invalid-header"


@pytest.mark.parametrize("method", ["", "post", "GET /\r\n", "G T"])
async def test_methods_that_cannot_be_sent(method: str) -> None:
    async with opened(Egress(lookup=Names())) as egress:
        assert await code_of(egress.request(method, "https://example.com/")) == "invalid-header"


async def test_the_answer_is_read_up_to_its_bound_only() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                sent += 65536
        except ConnectionError:
            return response

    async with serving(endless) as server, opened(Egress(LOOPBACK)) as egress:
        answer = await egress.request("GET", f"http://127.0.0.1:{server.port}/", max_answer=1000, timeout=5)
        assert answer.body == b"x" * 1000
        assert answer.truncated
    assert sent < 64 * 2**20


async def test_an_answer_as_long_as_its_bound_is_whole() -> None:
    async def exact(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1000)

    async with serving(exact) as server, opened(Egress(LOOPBACK)) as egress:
        answer = await egress.request("GET", f"http://127.0.0.1:{server.port}/", max_answer=1000)
        assert (len(answer.body), answer.truncated) == (1000, False)


async def test_nothing_is_decompressed() -> None:
    bomb = gzip.compress(b"x" * 10_000_000)

    async def compressed(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with serving(compressed) as server, opened(Egress(LOOPBACK)) as egress:
        answer = await egress.request("GET", f"http://127.0.0.1:{server.port}/", max_answer=100_000)
        assert answer.body == bomb


async def test_one_deadline_over_everything() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_server(drip) as port, opened(Egress(LOOPBACK)) as egress, asyncio.timeout(20):
        assert await code_of(egress.request("GET", f"http://127.0.0.1:{port}/", timeout=0.3)) == "timeout"


async def test_a_name_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow_names(host: str) -> Sequence[str]:
        await asyncio.sleep(0.5 if host == "slow.example" else 60)
        return ["127.0.0.1"]

    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=slow_names)) as egress, asyncio.timeout(20):
        # A receiver has its time even if its name took longer than that.
        answer = await egress.request("GET", f"http://slow.example:{server.port}/", timeout=0.4)
        assert answer.status == 202
        assert answer.duration >= 0.5
        monkeypatch.setattr("tntcore.egress._NAME_PATIENCE", 0.1)
        monkeypatch.setattr("tntcore.egress._NAME_ANSWER", 0.1)
        assert await code_of(egress.request("GET", "https://never.example/", timeout=60)) == "timeout"
        # And a message that has little time left does not spend more on it.
        monkeypatch.undo()
        with within_budget(0.2):
            assert await code_of(egress.request("GET", "https://never.example/", timeout=60)) == "timeout"


async def test_nobody_waits_for_a_look_up_that_another_tenant_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant who has used up its share would have every other one wait for its turn."""
    waits = {"greedy"}

    async def names(host: str) -> Sequence[str]:
        if party().tenant in waits:
            await asyncio.sleep(60)
        return ["127.0.0.1"]

    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=names)) as egress, asyncio.timeout(20):
        url = f"http://honest.example:{server.port}/"
        with on_behalf_of("greedy"):
            greedy = asyncio.create_task(egress.request("GET", url))
        await asyncio.sleep(0)
        with on_behalf_of("modest"):
            assert (await egress.request("GET", url)).status == 202
        greedy.cancel()


async def test_a_name_is_asked_for_once_by_many_and_again_when_it_is_old() -> None:
    now = 0.0
    names = Names(many_example=[["127.0.0.1"]])
    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=names, now=lambda: now)) as egress:
        url = f"http://many.example:{server.port}/"
        await asyncio.gather(*(egress.request("GET", url) for _ in range(5)))
        assert names.asked == ["many.example"]
        now = 11.0
        await egress.request("GET", url)
        assert names.asked == ["many.example"] * 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "disconnected"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Many: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n" * 100_000 + b"\r\n", "protocol"),
    ],
)
async def test_answers_that_are_none(answer: bytes, code: str) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with raw_server(send) as port, opened(Egress(LOOPBACK)) as egress:
        assert await code_of(egress.request("GET", f"http://127.0.0.1:{port}/", timeout=5)) == code


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 200),
        (b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 202),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 200),
        (b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 500),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\nok", 200),
        (b"HTTP/1.1 503 Busy\r\nno colon here\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc", 200),
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No\r\nno colon\r\n\r\n", 204),
        (b"HTTP/1.0 200 OK\r\n\r\nok", 200),
        (b"HTTP/1.1 200\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\n\nok", 200),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000, 200),
    ],
)
async def test_the_status_line_decides_where_the_rest_does_not_matter(answer: bytes, status: int) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with raw_server(send) as port, opened(Egress(LOOPBACK)) as egress:
        answered = await egress.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", timeout=5, whole=False)
        assert answered.status == status


async def test_an_answer_without_end_counts_by_its_status_line() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nok")
        await writer.drain()
        await asyncio.sleep(5)

    async with raw_server(endless) as port, opened(Egress(LOOPBACK)) as egress:
        answered = await egress.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", timeout=0.3, whole=False)
        assert (answered.status, answered.body, answered.truncated) == (200, b"ok", True)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 20", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_without_a_status_line_nothing_is_answered(answer: bytes) -> None:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with raw_server(send) as port, opened(Egress(LOOPBACK)) as egress:
        request = egress.request("POST", f"http://127.0.0.1:{port}/", body=b"{}", timeout=5, whole=False)
        assert await code_of(request) in ("disconnected", "protocol")


async def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with opened(Egress(LOOPBACK, lookup=Names(empty_example=[[]]))) as egress:
        assert await code_of(egress.request("GET", f"http://127.0.0.1:{port}/")) == "connect"
        assert await code_of(egress.request("GET", "https://unknown.example/")) == "dns"
        assert await code_of(egress.request("GET", "https://empty.example/")) == "dns"


async def test_the_systems_resolver() -> None:
    async with serving(echo) as server, opened(Egress([*LOOPBACK, ipaddress.ip_network("::1/128")])) as egress:
        assert (await egress.request("GET", f"http://localhost:{server.port}/")).status == 202
        for host in ("a" * 64 + ".example", "does-not-exist.invalid"):
            assert await code_of(egress.request("GET", f"https://{host}/")) == "dns"


def make_certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a new self-signed certificate for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())


async def test_tls_is_verified(tmp_path: Path) -> None:
    server_tls, client_tls = make_certificate(tmp_path, "right.example")
    names = Names(right_example=[["127.0.0.1"]], wrong_example=[["127.0.0.1"]])
    async with serving(echo, server_tls) as server:
        right, wrong = (f"https://{host}.example:{server.port}/" for host in ("right", "wrong"))
        async with opened(Egress(LOOPBACK, lookup=names, tls=client_tls)) as egress:
            assert (await egress.request("GET", right)).status == 202
            assert await code_of(egress.request("GET", wrong)) == "tls"
        async with opened(Egress(LOOPBACK, lookup=names)) as egress:
            assert await code_of(egress.request("GET", right)) == "tls"
    async with serving(echo) as plain, opened(Egress(LOOPBACK, lookup=names)) as egress:
        assert await code_of(egress.request("GET", f"https://right.example:{plain.port}/")) == "tls"


async def test_connections_are_used_again() -> None:
    peers = set()

    async def note(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async with serving(note) as server, opened(Egress(LOOPBACK)) as egress:
        for _ in range(5):
            await egress.request("POST", f"http://127.0.0.1:{server.port}/", body=b"x")
    assert len(peers) == 1


@pytest.mark.parametrize(
    ("status", "size", "code"),
    [(404, 2, "status"), (204, 0, "status"), (302, 0, "status"), (200, MAX_DOCUMENT + 1, "too-large")],
)
async def test_a_document_that_cannot_be_had(status: int, size: int, code: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, body=b"x" * size, headers={"Location": "/other"} if status == 302 else {})

    async with serving(handler) as server, opened(Egress(LOOPBACK)) as egress:
        assert await code_of(egress.fetch(f"http://127.0.0.1:{server.port}/did.json")) == code


async def test_a_document() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert "application/json" in request.headers["accept"]
        return web.Response(body=b"x" * MAX_DOCUMENT)

    async with serving(handler) as server, opened(Egress(LOOPBACK)) as egress:
        assert await egress.fetch(f"http://127.0.0.1:{server.port}/did.json") == b"x" * MAX_DOCUMENT


async def test_requests_that_hang_leave_places_for_other_tenants_and_hosts() -> None:
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with serving(hang) as slow, serving(echo) as fast, opened(Egress(LOOPBACK, places=8)) as egress:
        with on_behalf_of("greedy"):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://127.0.0.{2 + n}:{slow.port}/", timeout=60))
                for n in range(20)
            ]
            hanging += [asyncio.create_task(egress.request("GET", slow.make_url("/").human_repr(), timeout=60))]
        await asyncio.sleep(0.1)
        with on_behalf_of("modest"):
            for _ in range(3):
                answer = await asyncio.wait_for(egress.request("GET", f"http://127.0.0.1:{fast.port}/", timeout=10), 20)
                assert answer.status == 202
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        never.set()


@pytest.mark.parametrize(("greedy", "other"), [("agents", "webhooks"), ("webhooks", "agents"), ("agents", "")])
async def test_receivers_of_one_kind_that_hang_leave_places_for_the_other_kind(greedy: str, other: str) -> None:
    never = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with serving(hang) as slow, serving(echo) as fast, opened(Egress(LOOPBACK, places=12)) as egress:
        with on_behalf_of("attacked", greedy):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://127.0.0.{2 + n}:{slow.port}/", timeout=60))
                for n in range(20)
            ]
        await asyncio.sleep(0.1)
        with on_behalf_of("attacked", other):
            for _ in range(3):
                answer = await asyncio.wait_for(egress.request("GET", f"http://127.0.0.1:{fast.port}/", timeout=10), 20)
                assert answer.status == 202
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        never.set()


async def test_waiting_for_a_place_is_not_part_of_the_receivers_time() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return web.Response()

    async with serving(slow) as server, opened(Egress(LOOPBACK, places=2)) as egress:
        url = f"http://127.0.0.1:{server.port}/"
        answers = await asyncio.gather(*(egress.request("GET", url, timeout=1.7) for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert max(answer.duration for answer in answers) < 1.7


async def test_names_that_are_never_answered_leave_threads_for_other_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, hurry = threading.Semaphore(0), threading.Event()

    def look_up(host: bytes, *args: object, **more: object) -> list[tuple[object, ...]]:
        if host.startswith(b"never"):
            asked.release()
            hurry.wait(30)
            raise OSError
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("tntcore.egress._NAME_PATIENCE", 0.2)
    monkeypatch.setattr("tntcore.egress._NAME_ANSWER", 0.2)
    async with serving(echo) as server, opened(Egress(LOOPBACK)) as egress:
        with on_behalf_of("greedy"):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://never{n}.example:{server.port}/", timeout=0.2))
                for n in range(40)
            ]
        await asyncio.to_thread(asked.acquire)
        await asyncio.gather(*hanging, return_exceptions=True)
        # Nobody waits for those names any more, but the threads do.
        with on_behalf_of("modest"):
            answer = await egress.request("GET", f"http://other.example:{server.port}/", timeout=5)
        assert answer.status == 202
        hurry.set()


async def test_names_of_one_domain_leave_threads_for_others_of_the_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry, asked = threading.Event(), threading.Semaphore(0)

    def look_up(host: bytes, *args: object, **more: object) -> list[tuple[object, ...]]:
        if host.endswith(b".slow.example"):
            asked.release()
            hurry.wait(30)
            raise OSError
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("tntcore.egress._NAME_PATIENCE", 0.3)
    async with serving(echo) as server, opened(Egress(LOOPBACK)) as egress:
        with on_behalf_of("attacked"):
            hanging = [
                asyncio.create_task(egress.request("GET", f"http://{n}.slow.example:{server.port}/", timeout=5))
                for n in range(40)
            ]
            await asyncio.to_thread(asked.acquire)
            answer = await egress.request("GET", f"http://honest.other:{server.port}/", timeout=2)
            assert answer.status == 202
            for done in itertools.islice(asyncio.as_completed(hanging, timeout=4), 34):
                with suppress(EgressError):
                    await done
        hurry.set()
        errors = await asyncio.gather(*hanging, return_exceptions=True)
    # Whoever found no thread in time was not asked for anything, and has not failed.
    assert sorted(error.code for error in errors if isinstance(error, EgressError)) == ["busy"] * 34 + ["dns"] * 6


async def test_a_name_without_an_answer_is_not_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry = threading.Event()
    asked: list[bytes] = []
    now = 0.0

    def look_up(host: bytes, *args: object, **more: object) -> list[tuple[object, ...]]:
        asked.append(host)
        hurry.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("tntcore.egress._NAME_ANSWER", 0.1)
    async with serving(echo) as server, opened(Egress(LOOPBACK, now=lambda: now)) as egress:
        url = f"http://silent.example:{server.port}/"
        for _ in range(3):
            with pytest.raises(EgressError) as caught:
                await egress.request("GET", url, timeout=5)
            assert caught.value.code == "dns"
        assert len(asked) == 1
        hurry.set()
        now = 31.0
        assert (await egress.request("GET", url, timeout=5)).status == 202


async def test_a_message_has_one_budget_for_all_that_it_has_fetched() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response()

    async with serving(slow) as server, opened(Egress(LOOPBACK)) as egress:
        with within_budget(0.5):
            codes = []
            for _ in range(4):
                try:
                    await egress.request("GET", f"http://127.0.0.1:{server.port}/")
                except EgressError as error:
                    codes.append(error.code)
    assert codes == ["timeout"] * len(codes)
    assert 2 <= len(codes) <= 3
