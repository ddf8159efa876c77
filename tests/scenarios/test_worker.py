"""The service as a process of the Functions worker: what it logs for each message, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from azure.core.exceptions import ServiceRequestError
from azure.storage.queue.aio import QueueServiceClient

import function_app
from devtools.azurite import Azurite
from devtools.host.functions import load
from devtools.host.worker import WorkerLog
from tests.collector import Collector
from tests.scenarios.common import basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.silent import Silent
from tests.stack import ROOT, Receiver, Stack
from tntcore import process
from tntcore.sigterm import OnSigterm
from tntcore.telemetry import invocation, logs

PYTHON313 = ROOT / ".venv313" / "bin" / "python"
# Loggers to which the tests give a level, which nobody does in a worker.
LEVELLED = ("tntcore", "azure", "aiohttp", "azure_functions_worker")


@contextmanager
def as_in_a_worker(log: WorkerLog) -> Iterator[None]:
    """Levels as the worker leaves them before it imports the app."""
    loggers = {name: logging.getLogger(name) for name in ("", *LEVELLED)}
    levels = {name: logger.level for name, logger in loggers.items()}
    for logger in loggers.values():
        logger.setLevel(logging.NOTSET)
    loggers[""].setLevel(logging.INFO)
    loggers[""].addHandler(log)
    try:
        yield
    finally:
        loggers[""].removeHandler(log)
        for name, logger in loggers.items():
            logger.setLevel(levels[name])


async def receive_and_relay(foreign: Foreign, hook: Receiver, number: int) -> None:
    before = len(hook.got)
    for count in range(number):
        packed = foreign.v1(orjson.dumps(basic(str(count), **{"@id": f"{before}-{count}"})))
        assert (await foreign.stack.deliver(packed)).status == 202
    await hook.count(before + number)

    async def over() -> bool:
        hits = (await foreign.client.get("delivery?status=DELIVERED&limit=200"))["hits"]
        return len(hits) == before + number

    await foreign.stack.eventually(over)


async def test_a_message_is_no_line_of_the_log(stack: Stack) -> None:
    client = await stack.register("Quiet")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    log = stack.host.log
    log.taken.clear()
    log.dropped.clear()
    with as_in_a_worker(log):
        await receive_and_relay(foreign, hook, 5)
        # The clients of tables and queues write none, whatever the levels are. Those of blobs and of the key vault do.
        assert log.taken == {}
        sdks = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
        before = log.dropped[sdks.name]
        sdks.info("a request")
        assert log.dropped[sdks.name] > before, "the worker's own levels let the SDKs' records through"
        logs.set_levels({})
        log.dropped.clear()
        sdks.info("a request")
        await receive_and_relay(foreign, hook, 5)
    assert (log.taken, log.dropped) == ({}, {})


@contextmanager
def lines_kept_for_an_invocation(handler: logging.Handler) -> Iterator[None]:
    """As the app does to the worker's handler when it is imported."""
    late = invocation.LateLines(handler)
    handler.addFilter(late)
    invocation._late.append(late)
    try:
        yield
    finally:
        invocation._late.remove(late)
        handler.removeFilter(late)


async def test_what_goes_wrong_after_an_invocation_is_said_in_the_next(stack: Stack) -> None:
    """A receiver takes its time: its queue message is done long before it answers, which fails the delivery."""
    receiver = Waiting()
    await receiver.start()
    client = await stack.register("Late")
    await client.post("settings/DIDCOMM_WEBHOOK", {"setting": [{"id": "e", "url": receiver.url}]}, 200)
    foreign = await connect_foreign(stack, client)
    log, failed = stack.host.log, "tntcore.delivery.attempts"
    receivers = stack.app.relay._attempts._receivers

    async def let_go() -> bool:
        return bool(receivers._under_way)

    async def fails() -> bool:
        return bool((await client.get("delivery?status=FAILED"))["hits"])

    async def said() -> bool:
        await client.get("health")
        return bool(log.taken[failed])

    with as_in_a_worker(log), lines_kept_for_an_invocation(log):
        logs.set_levels({})
        log.taken.clear()
        log.dropped.clear()
        assert (await stack.deliver(foreign.v1(orjson.dumps(basic("late"))))).status == 202
        await stack.eventually(let_go)
        receiver.status = 410
        receiver.go_on.set()
        await stack.eventually(fails)
        await stack.eventually(said)
    await receiver.stop()
    assert log.taken[failed] == 1
    assert {name for name in log.dropped if name.startswith("tntcore")} == set()


class Waiting(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.called = asyncio.Event()

    async def take(self, request: web.BaseRequest) -> None:
        self.called.set()


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(sys.executable, id="alone"),
        pytest.param(
            str(PYTHON313),
            id="worker library",
            marks=pytest.mark.skipif(
                not PYTHON313.exists() and not os.environ.get("CI"),
                reason="Microsoft's worker library needs Python 3.13 (`make test` makes its environment)",
            ),
        ),
    ],
)
async def test_what_runs_is_finished_and_telemetry_sent_before_the_end(
    azurite: Azurite, tmp_path: Path, python: str
) -> None:
    """Metrics are exported once a minute: those that come were sent because the process ended."""
    receiver = Waiting()
    await receiver.start()
    with Collector() as collector:
        settings = {
            "AzureWebJobsStorage": azurite.connection_string,
            "TNT_MASTER_KEY_FILE": str(tmp_path / "keys.json"),
            "TNT_EGRESS_ALLOW": "127.0.0.0/8",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        running = await asyncio.create_subprocess_exec(
            python,
            *("-m", "tests.scenarios.worker_process", receiver.url),
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(40):
                await receiver.called.wait()
            began = time.monotonic()
            running.terminate()
            await asyncio.sleep(0.3)
            assert running.returncode is None
            receiver.go_on.set()
            output, errors = await asyncio.wait_for(running.communicate(), 60)
            took = time.monotonic() - began
        finally:
            if running.returncode is None:
                running.kill()
                print(await running.communicate())
            await receiver.stop()
    assert output.split() == [b"ready", b"200", b"503"], errors
    assert running.returncode == -signal.SIGTERM
    assert took < 5, "the platform would have killed it"
    assert "POST /api/settings/{key}/{entry}/test" in {span.name for span in collector.spans}
    assert "tnt.storage.calls" in collector.points


async def test_whatever_is_missing_in_storage_is_made_before_the_first_call(
    accounts: Iterator[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = next(accounts)
    monkeypatch.setattr(process, "keep_late_lines", lambda: None)
    monkeypatch.setattr(OnSigterm, "install", lambda self: False)
    monkeypatch.setattr(process, "_OPEN_AFTER", 0)
    monkeypatch.setattr(logs, "set_levels", lambda environment: None)
    monkeypatch.setenv("TNT_MASTER_KEY_FILE", str(tmp_path / "keys.json"))
    monkeypatch.setenv("AzureWebJobsStorage", fresh)
    service = process.Service.start()
    await asyncio.sleep(0.01)
    assert service._making is not None
    await asyncio.wait_for(service._making, 60)
    async with QueueServiceClient.from_connection_string(fresh) as queues:
        made = {queue.name async for queue in queues.list_queues()}
    await service.close()
    triggers = [function.trigger for function in load(function_app.app) if function.kind == "queueTrigger"]
    assert made == {trigger.queue_name for trigger in triggers}


async def test_storage_that_is_away_at_the_start_is_tried_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = stack.app.services.storage
    tried: list[float] = []

    async def ensure() -> None:
        tried.append(time.monotonic())
        if len(tried) < 3:
            raise ServiceRequestError("refused")

    monkeypatch.setattr(storage, "ensure", ensure)
    await storage.ensure_in_time(pause=0.1)
    assert len(tried) == 3
    assert tried[2] - tried[1] > tried[1] - tried[0] > 0.05
    assert caplog.text.count("storage cannot be set up yet") == 2
