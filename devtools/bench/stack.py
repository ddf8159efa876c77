"""The processes of one scenario, each fresh: the storage emulator, the service; and the tenants in it."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import requests

from devtools.agent import Agent
from devtools.azurite import Azurite
from devtools.bench import ROOT
from devtools.bench.measure import Snapshot, Usage, hosted, storage_calls
from devtools.ports import free_ports
from tntcore.envelope import PrivateKey
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK

_MASTER_KEY = "operator"
_MAX_LINE = 1 << 24
_STRETCHES = 4


class Service:
    """The service's process, and the line to it."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self._asking = asyncio.Lock()
        self.url = url

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended_with(self) -> int | None:
        """The process's exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    async def stop(self) -> None:
        """Lets what runs finish, for a while."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 20)
        except TimeoutError:
            await self.kill()

    async def terminate(self) -> float:
        """Ends it as a platform does, by SIGTERM. Returns the seconds that it took; a process that does not end within
        60 is killed.
        """
        began = time.monotonic()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 60)
        except TimeoutError:
            await self.kill()
        return time.monotonic() - began

    async def kill(self) -> None:
        """Ends it as a crash does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Gives a command; see `devtools.bench.service`. Raises `RuntimeError` if the process has ended."""
        assert self._process.stdin is not None
        async with self._asking:
            self._process.stdin.write(orjson.dumps({"do": do, **arguments}) + b"\n")
            return await self.answer()

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the service ended; what it said is above")
        answer: dict[str, Any] = orjson.loads(line)
        return answer


@dataclass
class Stack:
    """`service` is the process that is told what to do; `others` share its storage and take messages, too."""

    azurite: Azurite
    service: Service
    others: Sequence[Service] = ()

    async def snapshot(self) -> Snapshot:
        """The counts and CPU of `service` are those of all its processes, the memory that of the largest."""
        services = (self.service, *self.others)
        calls: Counter[str] = Counter()
        by_host: Counter[str] = Counter()
        for said in await asyncio.gather(*(service.ask("counts") for service in services)):
            calls.update(storage_calls(said["service"], said["host"]))
            by_host.update(hosted(said["invocations"], said["stages"], said["records"]))
        pids = {"service": [service.pid for service in services], "azurite": [self.azurite.pid], "load": [os.getpid()]}
        usage = {}
        for name, of_name in pids.items():
            read = [used for pid in of_name if (used := read_usage(pid)) is not None]
            if read:
                usage[name] = Usage(sum(used.cpu for used in read), max(used.peak for used in read))
        return Snapshot(time.perf_counter(), usage, calls, read_machine(), by_host)

    async def cost_of_a_poll(self, seconds: float) -> float:
        """Returns the CPU seconds that a look into an empty queue costs the service, while nothing else happens.

        Args:
            seconds: of each of several stretches. The cheapest counts: in others the service may load code.
        """
        costs = []
        cpu, polls = await self._polled()
        for _ in range(_STRETCHES):
            await asyncio.sleep(seconds)
            cpu_before, polls_before = cpu, polls
            cpu, polls = await self._polled()
            if polls > polls_before:
                costs.append((cpu - cpu_before) / (polls - polls_before))
        return min(costs, default=0.0)

    async def _polled(self) -> tuple[float, int]:
        """CPU seconds of the service so far, and looks into empty queues."""
        said = await asyncio.gather(*(service.ask("counts") for service in (self.service, *self.others)))
        return sum(one["cpu"] for one in said), sum(one["host"].get("queue.get_empty", 0) for one in said)

    async def idle(self, seconds: float = 60) -> None:
        """Waits until every queue message that was put has been handled, or so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    calls = (await self.snapshot()).calls
                    if calls.get("queue.put", 0) <= calls.get("queue.delete", 0):
                        return
                    await asyncio.sleep(0.2)

    async def populate(self, hook: str, tenants: int, each: int) -> list[tuple[PrivateKey, str]]:
        """Registers tenants with a webhook for everything, and gives each finished connections with partners outside.

        Returns:
            For each connection: the partner's key, the verkey that it sends to.
        """
        operator = self.operator("Benchmark")
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda number: self.register(f"Tenant {number}", hook, operator), range(tenants)))
        targets = []
        for tenant in made:
            partners = [Agent(hook) for _ in range(each)]
            verkeys = await self.connect(tenant["uuid"], tenant["identity"]["uuid"], partners)
            targets += [(partner.keys.ed25519, verkey) for partner, verkey in zip(partners, verkeys, strict=True)]
        await self.idle()
        return targets

    def operator(self, name: str) -> dict[str, str]:
        """The headers of the first operator's calls. Works once."""
        host = {"x-functions-key": _MASTER_KEY}
        headers: dict[str, str] = _call(f"{self.service.url}/api/operator/first", {"name": name}, host)["headers"]
        return headers

    async def connect(self, principal: str, identity: str, partners: Sequence[Agent]) -> list[str]:
        """Gives an identity finished connections with agents outside: the verkeys that each of them sends to."""
        documents = [dict(partner.document.raw) for partner in partners]
        said = await self.service.ask("connect", principal=principal, identity=identity, partners=documents)
        return list(said["verkeys"])

    def register(self, name: str, hook: str, operator: dict[str, str]) -> Any:
        """Registers a tenant with a webhook for all messages. Returns the API's answer."""
        made = _call(f"{self.service.url}/api/principal", {"displayName": name}, operator)
        _call(
            f"{self.service.url}/api/settings/{DIDCOMM_WEBHOOK}",
            {"setting": [{"url": hook, "match": "basicmessage"}]},
            made["headers"],
        )
        return made


def _call(url: str, body: Any, headers: dict[str, str]) -> Any:
    answer = requests.post(url, json=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


@asynccontextmanager
async def running(*, wake: bool, settings: Mapping[str, str] | None = None, processes: int = 1) -> AsyncIterator[Stack]:
    """Starts it all, in memory and on free ports. `settings` of the service are added to the environment."""
    with TemporaryDirectory() as folder, Azurite() as azurite:
        ports = free_ports(processes)
        url = f"http://127.0.0.1:{ports[0]}"
        services: list[Service] = []
        try:
            # One after the other: the first one makes the master keys.
            for port in ports:
                services.append(await start(azurite, Path(folder), port, url, wake=wake, settings=settings))
            yield Stack(azurite, services[0], services[1:])
        finally:
            await asyncio.gather(*(service.stop() for service in services))


async def start(
    azurite: Azurite,
    folder: Path,
    port: int,
    public_url: str,
    *,
    wake: bool = True,
    lease: float = 600,
    settings: Mapping[str, str] | None = None,
) -> Service:
    """Starts a process of the service, and waits until it can be asked.

    Args:
        folder: of the master keys. public_url: the service's, whichever process answers there.
        lease: seconds until another process gets what this one had when it was killed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from devtools.bench.service import run; run()",
        cwd=ROOT,
        env={
            **os.environ,
            **settings_of(azurite, folder, public_url),
            "BENCH_MASTER_KEY": _MASTER_KEY,
            "BENCH_PORT": str(port),
            "BENCH_WAKE": "true" if wake else "false",
            "BENCH_LEASE": str(lease),
            **(settings or {}),
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MAX_LINE,
        # A session of its own: Ctrl-C reaches the benchmark alone, which then stops things in order.
        start_new_session=True,
    )
    service = Service(process, f"http://127.0.0.1:{port}")
    try:
        await service.answer()
    except BaseException:
        await service.kill()
        raise
    return service


def settings_of(azurite: Azurite, folder: Path, public_url: str) -> dict[str, str]:
    """The service's own settings, in any process. Arguments as in `start`."""
    return {
        "AzureWebJobsStorage": azurite.connection_string,
        "TNT_PUBLIC_URL": public_url,
        "TNT_MASTER_KEY_FILE": str(folder / "master-keys.json"),
        "TNT_EGRESS_ALLOW": "127.0.0.0/8",
        "TNT_ALLOW_HTTP": "true",
    }


def read_usage(pid: int) -> Usage | None:
    """Of a process; None where the system does not show it as Linux does. Not by `getrusage`, whose greatest size a
    process inherits from the one that started it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return Usage(cpu_ticks(stat) / os.sysconf("SC_CLK_TCK"), peak_memory(status))


def read_machine() -> float:
    """CPU seconds that the machine has spent; NaN where the system does not show it as Linux does."""
    try:
        stat = Path("/proc/stat").read_text()
    except OSError:
        return math.nan
    return busy_ticks(stat) / os.sysconf("SC_CLK_TCK")


def busy_ticks(stat: str) -> int:
    """What is neither idle nor waiting, nor counted twice as a guest's, in the first line of /proc/stat (proc(5))."""
    user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, stat.split()[1:9])
    return user + nice + system + irq + softirq + steal


def cpu_ticks(stat: str) -> int:
    """User and system time in /proc/<pid>/stat (proc(5))."""
    # The name in the second field may hold anything, even spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def peak_memory(status: str) -> int:
    """VmHWM in /proc/<pid>/status (proc(5)), in bytes."""
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
