"""Requests as they leave, over HTTP and TLS, and documents that are fetched."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.egress.servers import LOOPBACK, Names, code_of, echo, make_certificate, opened, raw_server, serving
from tntcore.egress import MAX_DOCUMENT, Egress


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


async def test_the_way_a_url_is_written_changes_no_header() -> None:
    """`Host` is the URL's, `Content-Length` the body's, whatever stands in either."""
    async with serving(echo) as server, opened(Egress(LOOPBACK, lookup=Names(a_example=[["127.0.0.1"]]))) as egress:
        for path in ("?%0d%0aHost:%20evil", "?a=\r\nHost: evil", "#\r\nHost: evil", "\tx", " HTTP/1.1\r\nHost: evil"):
            answer = await egress.request("POST", f"http://a.example:{server.port}/{path}", body=b"four")
            seen = json.loads(answer.body)["headers"]
            assert (seen["host"], seen["content-length"]) == (f"a.example:{server.port}", "4")


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


async def test_one_deadline_over_everything() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with raw_server(drip) as port, opened(Egress(LOOPBACK)) as egress, asyncio.timeout(20):
        assert await code_of(egress.request("GET", f"http://127.0.0.1:{port}/", timeout=0.3)) == "timeout"


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
