"""The command line as its users run it: a process of its own, with its own environment and files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.scenarios.cli import forked
from tests.stack import ROOT, Client, Stack

PATIENCE = 30.0


@dataclass(frozen=True)
class Done:
    code: int
    output: str
    errors: str

    def json(self) -> Any:
        return json.loads(self.output)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.output.splitlines()]


@dataclass
class Tool:
    """A person at a shell: `environment` is what it has exported."""

    url: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    ran: list[Done] = field(default_factory=list)

    @property
    def profiles(self) -> Path:
        return self.folder / "settings" / "profiles.json"

    def surroundings(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "TNT_URL": self.url,
            "TNT_PROFILES": str(self.profiles),
            **self.environment,
            **more,
        }

    async def start(self, *arguments: str, **more: str) -> asyncio.subprocess.Process:
        return await self._start(("-m", "tntcore", *arguments), more)

    async def _start(self, arguments: Sequence[str], more: Mapping[str, str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=self.folder,
            env=self.surroundings(**more),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str, piped: str = "", code: int | None = 0, **more: str) -> Done:
        """Runs a command, which has to end with that exit code; with any if it is None."""
        surroundings = self.surroundings(**more)
        ended = await asyncio.to_thread(forked.run, arguments, piped, self.folder, surroundings, PATIENCE)
        return self._ended(Done(*ended), arguments, code)

    async def run_all(self, commands: Sequence[Sequence[str]]) -> Done:
        """Several commands, one after the other in one process, which is faster; each has to end well."""
        script = "import json, sys; from tntcore.cli.main import main; sys.exit(max(map(main, json.load(sys.stdin))))"
        process = await self._start(("-c", script), {})
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate(json.dumps(commands).encode())
        return self._ended(Done(process.returncode or 0, output.decode(), errors.decode()), ("all",), 0)

    def _ended(self, done: Done, arguments: Sequence[str], code: int | None) -> Done:
        assert code is None or done.code == code, (arguments, done)
        assert "Traceback" not in done.errors, done.errors
        self.ran.append(done)
        return done

    async def json(self, *arguments: str, **more: Any) -> Any:
        return (await self.run(*arguments, "--json", **more)).json()

    @asynccontextmanager
    async def running(self, *arguments: str, **more: str) -> AsyncIterator[Running]:
        """A command that goes on until it is interrupted, which the end of the block does."""
        process = await self.start(*arguments, **more)
        running = Running(process)
        try:
            yield running
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE):
                _, errors = await process.communicate()
            running.errors += errors.decode()
        assert process.returncode == 130, running.errors
        assert "Traceback" not in running.errors, running.errors


class Running:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.errors = ""

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readline()).decode().rstrip("\n")

    async def note(self) -> str:
        """The next line on standard error."""
        assert self._process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            told = (await self._process.stderr.readline()).decode()
        self.errors += told
        return told.rstrip("\n")


class Wire:
    """Between the tool and the service: `cut` ends what is open and answers nobody until `mend`; with `lose` so many
    answers are thrown away once the service has given them."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self.lose = 0
        self.calls = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._stack.port)
        self._open |= {writer, upstream}

        async def there() -> None:
            while data := await reader.read(65536):
                self.calls += 1
                upstream.write(data)

        async def back() -> None:
            while data := await upstream_reader.read(65536):
                if self.lose:
                    self.lose -= 1
                    writer.transport.abort()
                    return
                writer.write(data)

        tasks = [asyncio.create_task(there()), asyncio.create_task(back())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open -= {writer, upstream}
        upstream.transport.abort()
        writer.transport.abort()


async def register(stack: Stack, folder: Path, name: str) -> tuple[Tool, Client]:
    """A tenant with its key in its environment."""
    client = await stack.register(name)
    (folder / name).mkdir()
    return Tool(stack.url, folder / name, {"TNT_SUBSCRIPTION_KEY": client.key}), client


async def until(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(30):
        while not enough(found := await ask()):  # noqa: ASYNC110  it is told by nobody
            await asyncio.sleep(0.2)
    return found
