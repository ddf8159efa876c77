"""The service in a process of its own, as the benchmark measures it: `python -m devtools.bench.service`.

Configured by the environment as ever, with BENCH_PORT, BENCH_MASTER_KEY, BENCH_WAKE (`true`, `false`), BENCH_CLOCK
(milliseconds by which the machine's clock is ahead) and BENCH_STORAGE_LATENCY (milliseconds) beside it. It reads one
JSON object a line from its standard input, answers each with one line, and ends with its input:

- `{"do": "connect", "principal", "identity", "partners": [DID document, ...]}`: gives the identity a finished
  connection with each partner. Answers `{"verkeys": [...]}`: where each partner sends to.
- `{"do": "counts"}`: answers `{"service": counts, "host": counts}`, of storage calls and other events, and
  `invocations` by function, `stages` (items by the queue that they were put on), `records` (log records), `cpu`
  (seconds) and `faults` (of storage).
- `{"do": "sweep"}`: runs the sweeper, which otherwise its timer does; answers `{"seconds": ...}`.
- `{"do": "clock", "milliseconds"}` sets by how much the machine's clock is ahead.
- `{"do": "storage", "refused", "lost"}`: from now on, this share of storage calls is refused with 503 or 429, and this
  share of the others is done, but the answer lost.
- `{"do": "profile"}` begins to profile; `{"do": "profile", "file": path}` ends it and writes the file.
"""

from __future__ import annotations

import asyncio
import cProfile
import logging
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from azure.core.pipeline.transport import AioHttpTransport

import function_app
from devtools.bench import ROOT
from devtools.bench.storage_faults import StorageFaults
from devtools.connect import complete
from devtools.host.host import STORAGE_SETTING, Host
from devtools.host.settings import read_json
from devtools.host.worker import WorkerLog
from tntcore.app import App
from tntcore.connections.connection import pairwise, start
from tntcore.storage.commit import Unit
from tntcore.storage.records import Contact, Identity
from tntcore.storage.storage import INBOUND, OUTBOUND, RELAY, Storage
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant

_MAX_LINE = 1 << 24
_UNANSWERED = b".unanswered.invalid"
_DNS = 10.0  # seconds that a system's resolver asks a name server that is silent, as by resolv.conf(5)


def leave_names_unanswered() -> None:
    """Lets the system's resolver take names under one domain as if their name server were silent."""
    lookup = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **more: Any) -> Any:
        if isinstance(host, bytes) and host.endswith(_UNANSWERED):
            time.sleep(_DNS)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")
        return lookup(host, *args, **more)

    socket.getaddrinfo = look_up


_machine_time = time.time_ns


def set_clock(milliseconds: int) -> None:
    """Lets the process take another time for its machine's."""
    time.time_ns = lambda: _machine_time() + milliseconds * 1_000_000


def delay_storage(seconds: float) -> None:
    """Makes every call of storage take so much longer, the host's included: in Azure one takes 5 to 15 ms."""
    send = AioHttpTransport.send

    async def send_later(transport: Any, request: Any, **options: Any) -> Any:
        await asyncio.sleep(seconds)
        return await send(transport, request, **options)

    AioHttpTransport.send = send_later


def count_stages(storage: Storage) -> Counter[str]:
    """Counts the items that are put on each queue from now on."""
    stages: Counter[str] = Counter()

    def counted(name: str, add: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        async def count(item: bytes) -> None:
            stages[name] += 1
            await add(item)

        return count

    for name, queue in ((INBOUND, storage.inbound), (OUTBOUND, storage.outbound), (RELAY, storage.relay)):
        queue.add = counted(name, queue.add)  # type: ignore[assignment, method-assign]
    return stages


class Control:
    def __init__(self, app: App, host: Host, faults: StorageFaults) -> None:
        self._app = app
        self._host = host
        self._stages = count_stages(app.services.storage)
        self._faults = faults
        self._profile: cProfile.Profile | None = None

    async def answer(self, command: Mapping[str, Any]) -> dict[str, Any]:
        match command:
            case {"do": "connect", "principal": str(principal), "identity": str(identity), "partners": [*partners]}:
                return {"verkeys": await self._connect(principal, identity, partners)}
            case {"do": "counts"}:
                log = self._host.log
                return {
                    "service": dict(self._app.services.meter.counts),
                    "host": dict(self._host.operations),
                    "invocations": dict(self._host.invocations),
                    "stages": dict(self._stages),
                    "records": log.taken.total() + log.dropped.total(),
                    "cpu": time.process_time(),
                    "faults": self._faults.done,
                }
            case {"do": "clock", "milliseconds": int(milliseconds)}:
                set_clock(milliseconds)
                return {}
            case {"do": "storage", "refused": float(refused), "lost": float(lost)}:
                self._faults.refused, self._faults.lost = refused, lost
                return {}
            case {"do": "sweep"}:
                began = time.perf_counter()
                await self._app.sweep.run()
                return {"seconds": time.perf_counter() - began}
            case {"do": "profile", "file": str(file)} if self._profile is not None:
                self._profile.disable()
                self._profile.dump_stats(file)
                return {}
            case {"do": "profile"}:
                self._profile = cProfile.Profile()
                self._profile.enable()
                return {}
        raise ValueError(f"not a command: {command}")

    async def _connect(self, principal: str, identity_uuid: str, partners: list[dict[str, Any]]) -> list[str]:
        tenant = await self._app.services.tenants.get(principal)
        identity = await tenant.records.get(Identity, identity_uuid) if tenant else None
        if tenant is None or identity is None:
            raise ValueError("no such tenant")
        return await asyncio.gather(*(self._connect_one(tenant, identity, partner) for partner in partners))

    async def _connect_one(self, tenant: Tenant, identity: Identity, partner: dict[str, Any]) -> str:
        services = self._app.services
        now = services.now()
        contact = Contact(uuid=services.uuid7(), did=partner["id"], created_at=now, updated_at=now)
        unit = Unit()
        unit.create(contact)
        await tenant.records.commit(unit)
        keys = KeyPairs.generate()
        await complete(
            services,
            self._app.outbound,
            tenant,
            start(identity, contact, now),
            keys=keys,
            mine=pairwise(services, keys),
            theirs=partner,
            version="v1",
        )
        return keys.verkey


async def main() -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader(limit=_MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    log = WorkerLog()
    logging.getLogger().addHandler(log)
    host = Host(
        function_app.app,
        read_json(ROOT / "host.json"),
        os.environ[STORAGE_SETTING],
        port=int(os.environ["BENCH_PORT"]),
        master_key=os.environ["BENCH_MASTER_KEY"],
        lease=float(os.environ.get("BENCH_LEASE", "600")),
        log_of_worker=log,
    )
    leave_names_unanswered()
    set_clock(int(os.environ.get("BENCH_CLOCK", "0")))
    if latency := float(os.environ.get("BENCH_STORAGE_LATENCY", "0")):
        delay_storage(latency / 1000)
    faults = StorageFaults()
    await faults.start()
    await host.start()
    if os.environ.get("BENCH_WAKE", "true") == "true":
        function_app.service.on_put = host.wake
    app = function_app.service.app()
    await app.services.storage.ensure()
    control = Control(app, host, faults)
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    while line := await commands.readline():
        answer = await control.answer(orjson.loads(line))
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
        sys.stdout.flush()
    await host.stop()
    await function_app.service.close()


def run() -> None:
    """Runs the service until it is told to end."""
    logging.basicConfig(level=logging.WARNING)
    # Its warning about a local key file is for whoever runs a service.
    logging.getLogger("tntcore.keys.custody").setLevel(logging.ERROR)
    asyncio.run(main())
