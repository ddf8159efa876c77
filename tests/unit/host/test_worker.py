"""Which log lines of an app the local host keeps: those that the real one keeps."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import azure.functions as func
import pytest

from devtools.host.worker import WorkerLog
from tests.unit.host.conftest import Running

log = logging.getLogger("tests.app")


@pytest.fixture
def shown() -> Iterator[tuple[WorkerLog, list[str]]]:
    lines: list[str] = []

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    of_worker = WorkerLog(Shown())
    logging.getLogger().addHandler(of_worker)
    yield of_worker, lines
    logging.getLogger().removeHandler(of_worker)


async def test_only_lines_of_a_running_invocation_are_kept(
    running: Running, shown: tuple[WorkerLog, list[str]], eventually: Callable[..., Any]
) -> None:
    of_worker, lines = shown
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    go_on, tasks = asyncio.Event(), []

    async def say(text: str, wait: bool = False) -> None:
        if wait:
            await go_on.wait()
        log.warning(text)

    @app.route("plain")
    def plain(req: func.HttpRequest) -> func.HttpResponse:
        log.warning("in a plain function")
        return func.HttpResponse("")

    @app.route("whole")
    async def whole(req: func.HttpRequest) -> func.HttpResponse:
        log.warning("in a function")
        await asyncio.create_task(say("in its task"))
        tasks.append(asyncio.create_task(say("in a task that goes on", wait=True)))
        called = asyncio.Event()
        asyncio.get_running_loop().call_soon(lambda: [log.warning("in a callback"), called.set()])  # type: ignore[func-returns-value]
        await called.wait()
        thread = threading.Thread(target=log.warning, args=("in a thread",))
        thread.start()
        thread.join()
        return func.HttpResponse("")

    async with running(app, log_of_worker=of_worker) as host, aiohttp.ClientSession() as web:
        for path in ("whole", "plain"):
            async with web.get(f"{host.url}/{path}") as answer:
                assert answer.status == 200
        go_on.set()
        await asyncio.gather(*tasks)
        log.warning("in no function")
    assert lines == ["in a function", "in its task", "in a plain function"]
    assert of_worker.taken["tests.app"] == 3
    assert of_worker.dropped["tests.app"] == 4
