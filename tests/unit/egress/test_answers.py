"""Answers are read up to a bound, and as far as their status line."""

import asyncio
import gzip
import socket

import pytest
from aiohttp import web

from tests.unit.egress.servers import LOOPBACK, Names, code_of, opened, raw_server, serving
from tntcore.egress import Egress


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


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        (b"", b"\r\n", 0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"extension", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", 200),
    ],
)
async def test_what_is_no_part_of_a_body_has_a_bound(begin: bytes, more: bytes, status: int) -> None:
    """Otherwise the event loop would read it for as long as a request may take."""
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(begin)
        while True:
            writer.write(more * 10_000)
            await writer.drain()
            sent += len(more) * 10_000

    async with raw_server(endless) as port, opened(Egress(LOOPBACK)) as egress:
        url = f"http://127.0.0.1:{port}/"
        assert await code_of(egress.request("POST", url, body=b"{}", timeout=100)) in ("disconnected", "protocol")
        if status:
            assert (await egress.request("POST", url, body=b"{}", timeout=100, whole=False)).status == status
    assert sent < 100_000_000


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
