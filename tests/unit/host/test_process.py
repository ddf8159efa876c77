"""The host as a command: what it prints, how it ends, and what is left when it is killed."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.storage.queue.aio import QueueClient

from devtools.azurite import connection_string
from devtools.ports import free_ports

ROOT = Path(__file__).parents[3]

Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "sample.log"
    file.touch()
    return file


@pytest.fixture
def launch(storage: str, tmp_path: Path, log: Path) -> Iterator[Launch]:
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "host.json").write_text(
        '{"version": "2.0", "extensions": {"queues": {"maxPollingInterval": "00:00:00.200"}}}'
    )
    (tmp_path / "local.settings.json").write_text(
        f'{{"Values": {{"AzureWebJobsStorage": "{storage}", "SAMPLE_LOG": "{log}",'
        ' "DEV_FUNCTION_KEY": "f-key", "DEV_MASTER_KEY": "m-key"}}'
    )

    def start(*options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "devtools.host", "--app", "tests.unit.host.sample_app:app"]
        command += ["--settings", str(tmp_path / "local.settings.json"), "--host-json", str(tmp_path / "host.json")]
        environment = {name: value for name, value in os.environ.items() if name != "AzureWebJobsStorage"}
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_prints_its_functions_runs_them_and_ends_in_order(
    launch: Launch, log: Path, eventually: Callable[..., Any]
) -> None:
    [port] = free_ports(1)
    process = launch("--port", str(port))
    await eventually(lambda: "sweep False" in log.read_text())
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as web:
        async with web.get(f"http://127.0.0.1:{port}/api/echo/me") as answer:
            assert await answer.text() == "echo me 0"
        async with web.get(f"http://127.0.0.1:{port}/api/slow") as answer:
            assert answer.status == 401
        slow = asyncio.create_task(web.get(f"http://127.0.0.1:{port}/api/slow?code=f-key&seconds=0.5"))
        await eventually(lambda: "slow began" in log.read_text())
        process.send_signal(signal.SIGINT)
        answer = await slow
        assert await answer.text() == "done"
    output, errors = await asyncio.to_thread(process.communicate, timeout=8)
    assert process.returncode == 0, errors
    assert f"echo: [GET,POST] http://127.0.0.1:{port}/api/echo/{{name?}} (anonymous)" in output
    assert "work: queueTrigger sample\n" in output
    assert "sweep: timerTrigger 0 0 3 * * *" in output
    assert "f-key" not in output + errors


async def test_a_killed_hosts_message_comes_back_when_its_lease_ends(
    launch: Launch, log: Path, storage: str, eventually: Callable[..., Any]
) -> None:
    first = launch("--port", "0", "--lease", "2")
    await eventually(lambda: "sweep" in log.read_text())
    async with QueueClient.from_connection_string(storage, "sample", retry_total=0) as queue:
        await queue.create_queue()
        await queue.send_message("aGFuZyBvbmNl")
        await eventually(lambda: "work hang once 1" in log.read_text())
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
        launch("--port", "0", "--lease", "2")
        await eventually(lambda: "work hang once 2\nworked hang once" in log.read_text(), seconds=60)


def test_a_taken_port_gets_one_line(launch: Launch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output, errors = launch("--port", str(port)).communicate(timeout=10)
    assert errors == (
        f"host: The local Functions host: port {port} is in use; stop what uses it or choose another with --port\n"
    )
    assert output == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--settings", "nowhere.json"], "nowhere.json does not exist"),
        (["--app", "devtools.ports:free_ports"], "is no FunctionApp"),
        (["--lease", "0.1"], "lease"),
    ],
)
def test_what_cannot_run_says_why(launch: Launch, options: list[str], message: str) -> None:
    process = launch(*options)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert re.fullmatch(rf"host: .*{re.escape(message)}.*\n", errors)


def test_unreachable_storage_says_so(launch: Launch, tmp_path: Path) -> None:
    settings = tmp_path / "gone.json"
    blob, queue, table = free_ports(3)
    settings.write_text(f'{{"Values": {{"AzureWebJobsStorage": "{connection_string(blob, queue, table)}"}}}}')
    process = launch("--settings", str(settings), "--port", "0")
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "is Azurite up?" in errors
