"""A cold start: from the start of a process to its first answer, and to the first message relayed.

The process runs what is deployed, the package, in an environment in which nothing else is installed. The local host
comes beside it, with bytecode too. A tenant, its contacts and its webhook are in storage before.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from devtools import package
from devtools.azurite import Azurite
from devtools.bench import ROOT
from devtools.bench.load import Hooks, Load, connect, prepare, until_arrived
from devtools.bench.measure import Usage, table
from devtools.bench.stack import Stack, read_usage, settings_of, start
from devtools.ports import free_ports
from tntcore.envelope import PrivateKey

_LATEST = 60.0  # seconds after which something is wrong
_REST = 5.0  # seconds after which the rest is loaded, too: `tntcore.process` begins after two
_IMPORT = "import time, function_app; print(time.process_time())"
_HEALTH = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One process. Times in milliseconds, memory in bytes.

    Attributes:
        imported: CPU of a process that imports the function app, and ends.
        answered: until `GET /api/health` is answered, which asks storage. cpu: until then.
        relayed: until the webhook is called for a message that is sent at that moment.
        peak: the most memory until then. later: when what a first message may need is loaded, too.
    """

    imported: float
    answered: float
    cpu: float
    relayed: float
    peak: float
    later: float


def is_possible() -> bool:
    """Whether the package runs here."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


async def cold_starts(times: int) -> list[ColdStart]:
    """Starts as many processes, one after the other. Raises `RuntimeError` if one does not work."""
    with TemporaryDirectory() as name, Azurite() as azurite:
        folder, port = Path(name), free_ports(1)[0]
        python = _install(folder)
        url = f"http://127.0.0.1:{port}"
        hooks = Hooks()
        await hooks.start()
        try:
            service = await start(azurite, folder, port, url)
            try:
                targets = await Stack(azurite, service).populate(hooks.url, 1, times)
            finally:
                await service.stop()
            settings = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(map(str, (folder / "package" / package.PACKAGES, folder / "host"))),
                **settings_of(azurite, folder, url),
            }
            return [await _start_once(python, folder / "package", settings, port, hooks, one) for one in targets]
        finally:
            await hooks.stop()


def _install(folder: Path) -> Path:
    """Puts the package into `folder`, and the local host beside it. Returns the interpreter of an empty environment."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    package.build(ROOT, version, folder / "package")
    devtools = folder / "host" / "devtools"
    shutil.copytree(ROOT / "devtools", devtools, ignore=shutil.ignore_patterns("node_modules", "__pycache__", ".local"))
    package.compile_all(devtools, version)
    venv.create(folder / "empty", symlinks=True)
    return folder / "empty" / "bin" / "python"


async def _start_once(
    python: Path,
    folder: Path,
    settings: Mapping[str, str],
    port: int,
    hooks: Hooks,
    target: tuple[PrivateKey, str],
) -> ColdStart:
    imported = await _import(python, folder, settings)
    endpoint = f"http://127.0.0.1:{port}/api/didcomm"
    load = hooks.load = Load(prepare(endpoint, [target], 1))
    began = time.perf_counter()
    async with _process(python, folder, settings, port) as (process, log), asyncio.timeout(_LATEST):
        while not await _answers(port):
            if process.returncode is not None:
                raise RuntimeError(log.read_text())
            await asyncio.sleep(0.005)
        answered, at_first = time.perf_counter() - began, _usage(process.pid)
        [sender] = await connect(load, [endpoint], 1)
        load.send(sender)
        await until_arrived(load)
        sender.close()
        if not load.arrived[0]:
            raise RuntimeError(f"the message did not arrive: answered {dict(load.refused) or 202}")
        peak = _usage(process.pid).peak
        await asyncio.sleep(_REST)
        return ColdStart(
            imported=imported * 1000,
            answered=answered * 1000,
            cpu=at_first.cpu * 1000,
            relayed=(load.arrived[0] - began) * 1000,
            peak=peak,
            later=_usage(process.pid).peak,
        )


async def _import(python: Path, folder: Path, settings: Mapping[str, str]) -> float:
    """Returns the seconds of CPU that it takes."""
    arguments = (python, "-c", _IMPORT)
    process = await asyncio.create_subprocess_exec(*arguments, cwd=folder, env=settings, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    return float(said)


@asynccontextmanager
async def _process(
    python: Path, folder: Path, settings: Mapping[str, str], port: int
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Yields the process, and what it writes."""
    arguments = (python, "-m", "devtools.host", "--port", str(port), "--hooks", "devtools.bench.waking")
    log = folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=folder, env=settings, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process, log
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(_HEALTH)
        head = await reader.readline()
    finally:
        writer.close()
    return head.split()[1:2] == [b"200"]


def _usage(pid: int) -> Usage:
    used = read_usage(pid)
    if used is None:
        raise RuntimeError("the process is gone")
    return used


def show(found: Sequence[ColdStart]) -> str:
    """The starts as a table."""
    titles = {
        "imported": "importing function_app, CPU ms",
        "answered": "to the first answer, ms",
        "cpu": "to the first answer, CPU ms",
        "relayed": "to the first message relayed, ms",
        "peak": "memory then, MB",
        "later": f"memory {_REST:g} s later, MB",
    }
    rows = []
    for field in fields(ColdStart):
        scale = 1e6 if field.name in ("peak", "later") else 1
        values = [getattr(one, field.name) / scale for one in found]
        rows.append([titles[field.name], *(f"{value:.0f}" for value in (median(values), min(values), max(values)))])
    return table([f"a cold start, {len(found)} times", "median", "least", "most"], rows)
