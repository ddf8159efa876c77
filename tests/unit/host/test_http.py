import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import azure.functions as func
import pytest
from multidict import CIMultiDict

from devtools.host import Host, SettingsError
from devtools.ports import PortTaken
from tests.unit.host.conftest import Running


def make_app() -> func.FunctionApp:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="Show/{id:int?}", methods=["GET", "POST"])
    async def show(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        seen = {
            "method": req.method,
            "url": req.url,
            "params": dict(req.params),
            "route": dict(req.route_params),
            "body": req.get_body().decode(),
            "twice": req.headers.get("X-Twice"),
            "trace": context.trace_context.trace_parent,
            "function": context.function_name,
        }
        return func.HttpResponse(json.dumps(seen), mimetype="application/problem+json", headers={"X-Made": "1"})

    @app.route(route="plain")
    def plain(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse("ä", status_code=201)

    @app.route(route="bytes", methods=["PUT"])
    async def size(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(str(len(req.get_body())))

    @app.route(route="empty")
    async def empty(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(status_code=202)

    @app.route(route="fail")
    async def fail(req: func.HttpRequest) -> func.HttpResponse:
        raise RuntimeError("a secret detail")

    @app.route(route="nothing")
    async def nothing(req: func.HttpRequest) -> None:
        return None

    @app.route(route="locked", auth_level=func.AuthLevel.FUNCTION)
    async def locked(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse("in")

    @app.route(route="operator", auth_level=func.AuthLevel.ADMIN)
    async def operator(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse("in")

    return app


SETTINGS = {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000"}


@pytest.fixture
async def host(running: Running) -> AsyncIterator[Host]:
    async with running(make_app(), function_key="f-key", master_key="m-key", environment=SETTINGS) as started:
        yield started


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def test_what_a_function_is_given(host: Host, web: aiohttp.ClientSession) -> None:
    url = f"{host.url}/show/7?a=1&a=2&b=&c=x%20y"
    headers = [("X-Twice", "1"), ("X-Twice", "2"), ("traceparent", "00-ab")]
    async with web.post(url, data="body", headers=CIMultiDict(headers)) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Made"] == "1"
        seen: dict[str, Any] = await answer.json(content_type=None)
    assert seen == {
        "method": "POST",
        "url": url,
        "params": {"a": "1,2", "c": "x y"},
        "route": {"id": "7"},
        "body": "body",
        "twice": "1,2",
        "trace": "00-ab",
        "function": "show",
    }


async def test_text_has_a_charset_and_threads_serve_plain_functions(host: Host, web: aiohttp.ClientSession) -> None:
    async with web.get(f"{host.url}/plain") as answer:
        assert (answer.status, await answer.text()) == (201, "ä")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "unknown"),
        ("DELETE", "show"),
        ("GET", "show/x"),
        ("GET", "../plain"),
        ("GET", "/plain"),
        ("FOO", "plain"),
    ],
)
async def test_not_found(host: Host, web: aiohttp.ClientSession, method: str, path: str) -> None:
    async with web.request(method, f"{host.url}/{path}") as answer:
        assert (answer.status, await answer.read()) == (404, b"")


@pytest.mark.parametrize("path", ["fail", "nothing"])
async def test_a_failing_function_tells_the_caller_nothing(
    host: Host, web: aiohttp.ClientSession, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with web.get(f"{host.url}/{path}") as answer:
        assert (answer.status, await answer.read()) == (500, b"")
    assert f"Functions.{path}" in caplog.text


@pytest.mark.parametrize(
    ("path", "header", "code", "status"),
    [
        ("locked", None, None, 401),
        ("locked", "wrong", None, 401),
        ("locked", "", None, 401),
        ("locked", "ä", None, 401),
        ("locked", "f-key", None, 200),
        ("locked", None, "f-key", 200),
        ("locked", "m-key", None, 200),
        ("locked", "wrong", "f-key", 401),
        ("operator", "f-key", None, 401),
        ("operator", None, "m-key", 200),
        ("plain", "wrong", None, 201),
    ],
)
async def test_keys(
    host: Host, web: aiohttp.ClientSession, path: str, header: str | None, code: str | None, status: int
) -> None:
    headers = {} if header is None else {"x-functions-key": header}
    params = {} if code is None else {"code": code}
    async with web.get(f"{host.url}/{path}", headers=headers, params=params) as answer:
        assert answer.status == status


async def test_keys_can_be_left_unchecked(running: Running, web: aiohttp.ClientSession) -> None:
    async with running(make_app(), check_keys=False) as host, web.get(f"{host.url}/operator") as answer:
        assert answer.status == 200


async def test_the_largest_body(host: Host, web: aiohttp.ClientSession) -> None:
    for size, status in ((1000, 200), (1001, 500)):
        async with web.put(f"{host.url}/bytes", data=b"x" * size) as answer:
            assert (answer.status, await answer.read()) == (status, b"1000" if status == 200 else b"")


async def test_a_chunked_body_arrives_empty(host: Host, web: aiohttp.ClientSession) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    # Twice, in one connection: what was not read is no part of the next request.
    for _ in range(2):
        async with web.put(f"{host.url}/bytes", data=chunks()) as answer:
            assert (answer.status, await answer.text()) == (200, "0")


async def test_nothing_has_no_type(host: Host, web: aiohttp.ClientSession) -> None:
    async with web.get(f"{host.url}/empty") as answer:
        assert (answer.status, answer.headers.get("Content-Type")) == (202, None)


async def test_so_many_calls_run_at_once_so_many_wait_and_the_next_is_refused(
    running: Running, web: aiohttp.ClientSession
) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    began, go_on = asyncio.Semaphore(0), asyncio.Event()

    @app.route(route="wait")
    async def wait(req: func.HttpRequest) -> func.HttpResponse:
        began.release()
        await go_on.wait()
        return func.HttpResponse("done")

    async with running(app, http={"maxConcurrentRequests": 2, "maxOutstandingRequests": 3}) as host:
        calls = [asyncio.create_task(web.get(f"{host.url}/wait")) for _ in range(2)]
        await began.acquire()
        await began.acquire()
        more = [asyncio.create_task(web.get(f"{host.url}/wait")) for _ in range(2)]
        [refused], [waits] = await asyncio.wait(more, return_when=asyncio.FIRST_COMPLETED)
        answer = await refused
        assert (answer.status, await answer.read()) == (429, b"")
        assert began.locked()
        go_on.set()
        assert [(await call).status for call in (*calls, waits)] == [200, 200, 200]


async def test_a_body_that_comes_slowly_takes_no_place_and_is_given_up(
    running: Running, web: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(make_app(), http={"maxConcurrentRequests": 1}) as host:
        slow = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
            writer.write(b"PUT /api/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nx")
            slow.append((reader, writer))
        async with web.put(f"{host.url}/bytes", data=b"x" * 10) as answer:
            assert (answer.status, await answer.text()) == (200, "10")
        monkeypatch.setattr("devtools.host.http._GRACE", 0.0)
        monkeypatch.setattr("devtools.host.http._LEAST_RATE", 1_000_000.0)
        for reader, writer in slow:
            writer.write(b"x")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.1 408 ")
            writer.close()


async def raw(host: Host, request: bytes) -> bytes:
    """The whole answer to these bytes; the connection is closed then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


async def test_methods_in_lower_case_in_one_connection(host: Host) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    for _ in range(3):
        writer.write(b"put /api/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nget ")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"4"
    writer.close()


async def test_a_head_in_pieces(host: Host) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
    for _ in range(2):
        for piece in (b"get /api/show HTTP/1.1\r\nHost: x\r\nX-Twice:", b"one two\r\n", b"\r\n"):
            writer.write(piece)
            await writer.drain()
            # Long enough for it to arrive by itself.
            await asyncio.sleep(0.02)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length
        seen = json.loads(await reader.readexactly(int(length[1])))
        assert (seen["method"], seen["twice"]) == ("GET", "one two")
    writer.close()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\n", 201),
        (b"GET /api/plain?" + b"a" * 8200 + b" HTTP/1.1\r\nHost: x\r\n", 414),
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n", 201),
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 33_000 + b"\r\n", 431),
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\n" + (b"A: " + b"a" * 17_000 + b"\r\n") * 2, 431),
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 120, 431),
        (b"GET /api/plain HTTP/1.1\r\n", 400),
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\nA: \xe9\r\n", 400),
        (b"GET /api/plain HTTP/1.1\r\nHost: x\r\nA: \xc3\xa9\r\n", 201),
        (b"GET /api/plain/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n", 400),
        (b"GET /api/plain/%00 HTTP/1.1\r\nHost: x\r\n", 400),
        (b"GET http://x/api/plain HTTP/1.1\r\nHost: x\r\n", 201),
        (b"PUT /api/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n", 400),
        (b"GET /api/y/../plain HTTP/1.1\r\nHost: x\r\n", 201),
        (b"GET /admin/host/status HTTP/1.1\r\nHost: x\r\n", 401),
        (b"GET /administrator HTTP/1.1\r\nHost: x\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 200),
    ],
    ids=lambda value: value[:60].decode("latin1") if isinstance(value, bytes) else str(value),
)
async def test_what_the_server_takes(host: Host, lines: bytes, status: int) -> None:
    answer = await raw(host, lines + b"Connection: close\r\n\r\n")
    assert int(answer.split(b" ")[1]) == status
    if status >= 400:
        assert answer.endswith(b"\r\n\r\n")
        assert b"content-type" not in answer.lower()


async def test_a_length_beside_transfer_encoding_is_ignored(host: Host) -> None:
    head = b"PUT /api/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n"
    answer = await raw(host, head + b"Connection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n0")


async def test_the_platforms_page_can_be_turned_off(running: Running, web: aiohttp.ClientSession) -> None:
    async with (
        running(make_app(), environment={"AzureWebJobsDisableHomepage": "true"}) as host,
        web.get(f"http://127.0.0.1:{host.port}/") as answer,
    ):
        assert (answer.status, await answer.read()) == (204, b"")


async def test_a_request_under_way_is_finished_by_a_stop_and_no_more_come(
    running: Running, web: aiohttp.ClientSession
) -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    order: list[str] = []
    began = asyncio.Event()

    @app.route(route="slow")
    async def slow(req: func.HttpRequest) -> func.HttpResponse:
        order.append("began")
        began.set()
        await asyncio.sleep(0.5)
        order.append("ended")
        return func.HttpResponse("late")

    async def on_start(host: Host) -> None:
        order.append("start")

    async def on_stop(host: Host) -> None:
        order.append("stop")

    async with running(app, on_start=on_start, on_stop=on_stop) as host:
        request = asyncio.create_task(web.get(f"{host.url}/slow"))
        await began.wait()
        await host.stop()
        answer = await request
        assert (answer.status, await answer.text()) == (200, "late")
        with pytest.raises(aiohttp.ClientConnectionError):
            await web.get(f"{host.url}/slow")
    assert order == ["start", "began", "ended", "stop"]


async def test_a_taken_port_is_named(running: Running, host: Host) -> None:
    with pytest.raises(PortTaken, match=rf"port {host.port} is in use.*--port"):
        async with running(make_app(), port=host.port):
            pass


def test_what_the_host_cannot_run_is_refused() -> None:
    blob = func.FunctionApp()

    @blob.blob_trigger(arg_name="b", path="a/{name}", connection="AzureWebJobsStorage")
    def on_blob(b: func.InputStream) -> None: ...

    with pytest.raises(SettingsError, match=r"on_blob.*blobTrigger"):
        Host(blob, {}, "unused")

    extra = func.FunctionApp()

    @extra.route(route="x")
    def surplus(req: func.HttpRequest, other: int) -> func.HttpResponse:
        raise NotImplementedError

    with pytest.raises(SettingsError, match=r"surplus.*parameters"):
        Host(extra, {}, "unused")

    elsewhere = func.FunctionApp()

    @elsewhere.queue_trigger(arg_name="msg", queue_name="q", connection="Other")
    def on_message(msg: func.QueueMessage) -> None: ...

    with pytest.raises(SettingsError, match=r"on_message.*AzureWebJobsStorage"):
        Host(elsewhere, {}, "unused")
