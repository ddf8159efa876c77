"""`python -m devtools.soak`: sends messages to two processes of the service on one storage, and counts what arrives.

All along: the receiver answers 500 or not at all, the sender sends some messages twice and repeats what was not
answered, one process of the service is killed, or told to stop, and started again with a clock that is wrong, and the
storage emulator stands still for seconds. At half time a backup is taken. It ends by itself, with code 1 if a message
was lost or doubled, or did not arrive in time, or if anything is left in the queues, or waits in storage for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from azure.core.exceptions import AzureError
from azure.storage.queue.aio import QueueServiceClient

from devtools.azurite import Azurite
from devtools.bench.load import MEDIA_TYPE, number_of, plaintext
from devtools.bench.measure import table
from devtools.bench.stack import Service, Stack, start
from devtools.ports import free_ports
from tntcore.delivery.outbox import UNQUEUED
from tntcore.delivery.pulse import PROCESS
from tntcore.envelope import PrivateKey, pack_v1
from tntcore.storage.records import END, Delivery
from tntcore.storage.storage import Storage
from tntcore.telemetry import Meter

_LEASE = 10.0  # seconds
_ANSWER = 20.0  # seconds that a sender waits
_WRONG = 600.0  # seconds; from 900 on, storage refuses what is signed
_STOPPED, _KILLED = "times that a process was told to stop", "times that a process was killed"
_HANG = 20.0  # seconds, longer than the service waits for a webhook


@dataclass(frozen=True, slots=True)
class Options:
    """Shares are of messages; `*_every` are seconds. `restart_after`: seconds, until storage is ended and started again
    with what it kept; 0 for never, and then it keeps things in memory. `seconds`: no message is sent after them; 0 for
    no end. `ends`: no message is sent after so many ends of a process; 0 for no end. `stops`: share of these ends that
    are asked for by SIGTERM. `clock`: seconds by which the clock of a process that is started again may be wrong.
    `backup`: whether a backup is taken at half time."""

    messages: int
    under_way: int
    latest: float
    failing: float = 0.03
    hanging: float = 0.002
    twice: float = 0.03
    kill_every: float = 15.0
    pause_every: float = 25.0
    pause: float = 3.0
    restart_after: float = 0
    seconds: float = 0
    ends: int = 0
    stops: float = 0.5
    clock: float = 0
    backup: bool = False


@dataclass
class Count:
    """What was done, and what arrived: by message the ids of its webhook calls, each with how often it was taken.

    Attributes:
        memory, handles: of the process that is not killed, and waiting: messages in all queues; each with the time.
        stopping: seconds from SIGTERM to the end of a process.
        left: what is in storage in the end and should not be.
    """

    done: Counter[str] = field(default_factory=Counter)
    calls: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seen: set[str] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)
    memory: list[tuple[float, int]] = field(default_factory=list)
    handles: list[tuple[float, int]] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    stopping: list[float] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """Whether anything is lost, doubled or left behind."""
        return bool(self.lost or self.doubled or self.left.total())

    @property
    def lost(self) -> list[int]:
        return sorted(self.accepted - self.calls.keys())

    @property
    def doubled(self) -> list[int]:
        return sorted(number for number, ids in self.calls.items() if len(ids) > 1)


class Receiver:
    """The tenants' webhook. Of some calls it takes the first attempt badly."""

    def __init__(self, options: Options, count: Count) -> None:
        self._options = options
        self._count = count
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.url = ""

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._take, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"

    async def stop(self) -> None:
        await self._runner.cleanup()

    def arrival(self, number: int) -> asyncio.Future[None]:
        return self._waiting.setdefault(number, asyncio.get_running_loop().create_future())

    async def _take(self, request: web.BaseRequest) -> web.Response:
        name, number = request.headers["webhook-id"], number_of(await request.read())
        if name not in self._count.seen:
            self._count.seen.add(name)
            chance = random.random()
            if chance < self._options.hanging:
                self._count.done["webhook calls that were not answered"] += 1
                await asyncio.sleep(_HANG)
                return web.Response(status=500)
            if chance < self._options.hanging + self._options.failing:
                self._count.done["webhook calls that were answered with 500"] += 1
                return web.Response(status=500)
        if self._count.calls[number][name]:
            self._count.done["webhook calls that came again, under their id"] += 1
        self._count.calls[number][name] += 1
        arrival = self._waiting.pop(number, None)
        if arrival is not None and not arrival.done():
            arrival.set_result(None)
        return web.Response()


class Soak:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._count = Count()
        self._receiver = Receiver(options, self._count)
        self._over = False
        self._at_storage = asyncio.Lock()

    async def run(self) -> tuple[Count, float]:
        """What was counted, and the seconds that sending took."""
        await self._receiver.start()
        ports = free_ports(2)
        url = f"http://127.0.0.1:{ports[0]}"
        with TemporaryDirectory() as folder, self._storage(Path(folder)) as azurite:
            self._azurite, self._folder = azurite, Path(folder)
            self._steady = await start(azurite, self._folder, ports[0], url, lease=_LEASE)
            self._other: Service | None = None
            try:
                targets = await Stack(azurite, self._steady).populate(self._receiver.url, 8, 8)
                self._other = await start(azurite, self._folder, ports[1], url, lease=_LEASE)
                say(f"sending {self._options.messages} messages ...")
                return self._count, await self._run(targets, ports, url)
            finally:
                os.kill(azurite.pid, signal.SIGCONT)
                await self._steady.stop()
                if self._other is not None:
                    await self._other.kill()
                await self._receiver.stop()

    def _storage(self, folder: Path) -> Azurite:
        if not self._options.restart_after:
            return Azurite()
        blobs, queues, tables = free_ports(3)
        return Azurite(location=folder / "storage", blob_port=blobs, queue_port=queues, table_port=tables)

    async def _run(self, targets: Sequence[tuple[PrivateKey, str]], ports: Sequence[int], url: str) -> float:
        began = time.monotonic()
        around = [
            asyncio.create_task(work)
            for work in (
                self._kill(ports[1], url),
                self._pause(),
                self._restart(),
                self._back_up(began),
                self._watch(began),
                self._count_waiting(began),
            )
        ]
        numbers = iter(range(self._options.messages))
        try:
            async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(_ANSWER)) as session:

                async def send() -> None:
                    for number in numbers:
                        if self._is_enough(began):
                            return
                        await self._send(session, number, targets[number % len(targets)], ports)

                await asyncio.gather(*(send() for _ in range(self._options.under_way)))
            took = time.monotonic() - began
            self._over = True
            say("waiting for the last of them ...")
            deadline = time.monotonic() + self._options.latest
            while self._count.lost and time.monotonic() < deadline:  # noqa: ASYNC110  it is told by many
                await asyncio.sleep(1)
            # Whatever is doubled shows now, if it ever does.
            await self._until_empty(deadline)
            await asyncio.sleep(2 * _LEASE)
            self._count.left += await look_for_what_is_left(self._azurite.connection_string)
            return took
        finally:
            for task in around:
                task.cancel()
            await asyncio.gather(*around, return_exceptions=True)

    def _is_enough(self, began: float) -> bool:
        options, ends = self._options, self._count.done[_STOPPED] + self._count.done[_KILLED]
        return bool(
            (options.seconds and time.monotonic() - began > options.seconds) or (options.ends and ends > options.ends)
        )

    async def _send(
        self, session: ClientSession, number: int, target: tuple[PrivateKey, str], ports: Sequence[int]
    ) -> None:
        sender, verkey = target
        packed = pack_v1(plaintext(number), recipients=[verkey], sender=sender)
        arrival = self._receiver.arrival(number)
        for _ in range(1 + (random.random() < self._options.twice)):
            while not await self._post(session, packed, random.choice(ports)):
                self._count.done["posts that were repeated"] += 1
                await asyncio.sleep(0.5)
            if number in self._count.accepted:
                self._count.done["messages that were sent twice"] += 1
            self._count.accepted.add(number)
        # What takes long to arrive holds up none of those that come after it for ever.
        with suppress(TimeoutError):
            await asyncio.wait_for(arrival, 30)

    async def _post(self, session: ClientSession, packed: bytes, port: int) -> bool:
        url = f"http://127.0.0.1:{port}/api/didcomm"
        try:
            async with session.post(url, data=packed, headers={"content-type": MEDIA_TYPE}) as answer:
                return answer.status == 202
        except (ClientError, TimeoutError, OSError):
            return False

    async def _kill(self, port: int, url: str) -> None:
        while not self._over:
            await asyncio.sleep(self._options.kill_every * random.uniform(0.5, 1.5))
            if self._other is not None and not self._over:
                if random.random() < self._options.stops:
                    self._count.done[_STOPPED] += 1
                    self._count.stopping.append(await self._other.terminate())
                else:
                    self._count.done[_KILLED] += 1
                    await self._other.kill()
                await asyncio.sleep(1)
                wrong = random.uniform(-1, 1) * self._options.clock
                settings = {"BENCH_CLOCK": f"{wrong * 1000:.0f}"}
                self._other = await start(self._azurite, self._folder, port, url, lease=_LEASE, settings=settings)

    async def _pause(self) -> None:
        while not self._over:
            await asyncio.sleep(self._options.pause_every * random.uniform(0.5, 1.5))
            if self._over:
                return
            self._count.done["times that storage stood still"] += 1
            async with self._at_storage:
                os.kill(self._azurite.pid, signal.SIGSTOP)
                try:
                    await asyncio.sleep(self._options.pause)
                finally:
                    os.kill(self._azurite.pid, signal.SIGCONT)

    async def _restart(self) -> None:
        if not self._options.restart_after:
            return
        await asyncio.sleep(self._options.restart_after)
        async with self._at_storage:
            self._count.done["times that storage was ended"] += 1
            await asyncio.to_thread(self._azurite.stop)
            await asyncio.sleep(self._options.pause)
            await asyncio.to_thread(self._azurite.start)

    async def _back_up(self, began: float) -> None:
        """Takes a backup while messages flow, and reads it."""
        if not self._options.backup:
            return
        while not self._is_half(began):  # noqa: ASYNC110  it is told by time and by many
            await asyncio.sleep(1)
        self._count.done["backups that were taken meanwhile, and read"] += 1
        target = self._folder / "backup"
        for command in (("backup", str(target)), ("restore", "--check", str(target))):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tntcore", *command),
                env={**os.environ, "AzureWebJobsStorage": self._azurite.connection_string},
                stdout=asyncio.subprocess.DEVNULL,
            )
            if await process.wait():
                self._count.left[f"{command[0]} that failed"] += 1

    def _is_half(self, began: float) -> bool:
        options = self._options
        if options.seconds:
            return time.monotonic() - began > options.seconds / 2
        return len(self._count.accepted) > options.messages / 2

    async def _watch(self, began: float) -> None:
        """Writes down the memory and handles of the process that is not killed, and says how far things are."""
        for number in range(1_000_000):
            at = time.monotonic() - began
            self._count.memory.append((at, resident(self._steady.pid)))
            self._count.handles.append((at, handles(self._steady.pid)))
            if number % 30 == 29:
                arrived, accepted = len(self._count.calls), len(self._count.accepted)
                waiting = self._count.waiting[-1][1] if self._count.waiting else 0
                say(
                    f"{accepted} accepted, {arrived} arrived, {waiting} in the queues, "
                    f"{self._count.memory[-1][1] >> 20} MiB, {self._count.handles[-1][1]} handles"
                )
            await asyncio.sleep(1)

    async def _count_waiting(self, began: float) -> None:
        """Writes down how many messages are in the queues."""
        async with QueueServiceClient.from_connection_string(self._azurite.connection_string) as queues:
            while True:
                with suppress(AzureError, TimeoutError):
                    async with asyncio.timeout(5):
                        self._count.waiting.append((time.monotonic() - began, await waiting_in(queues)))
                await asyncio.sleep(2)

    async def _until_empty(self, deadline: float) -> None:
        async with QueueServiceClient.from_connection_string(self._azurite.connection_string) as queues:
            while time.monotonic() < deadline:
                waiting = await waiting_in(queues)
                if not waiting:
                    return
                await asyncio.sleep(1)
        self._count.left["queue messages"] = waiting


async def waiting_in(queues: QueueServiceClient) -> int:
    """Messages in all queues, those included that are being handled or put off."""
    waiting = 0
    async for queue in queues.list_queues():
        properties = await queues.get_queue_client(queue.name).get_queue_properties()
        waiting += properties.approximate_message_count or 0
    return waiting


async def look_for_what_is_left(connection_string: str) -> Counter[str]:
    """Counts what is in storage and should not be when nothing is under way."""
    left: Counter[str] = Counter()
    storage = Storage(connection_string, Meter(0), lambda queue: None)
    try:
        position = None
        while True:
            page = await storage.records.walk(position, keys=(Delivery.row_key(""), Delivery.KIND + END))
            left.update(f"deliveries {row.values['status']}" for row in page.rows)
            position = page.next
            if position is None:
                break
        del left["deliveries DELIVERED"]
        left["given up"] = len((await storage.poisoned.walk()).rows)
        left["large envelopes"] = len((await storage.envelopes.page(None, 1000)).blobs)
        rows = (await storage.due.scan(UNQUEUED, "", "~", limit=1000)).rows
        left["deliveries noted as not queued"] = sum(not row.key.startswith(PROCESS) for row in rows)
    finally:
        await storage.close()
    return left


def handles(pid: int) -> int:
    """Open files and sockets of a process; 0 where the system does not show them as Linux does."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def resident(pid: int) -> int:
    """Bytes of memory that a process has, by /proc/<pid>/statm (proc(5)); 0 where there is none."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def about(seen: Sequence[tuple[float, int]], seconds: float) -> int:
    """The median of what was seen in ten seconds around that time."""
    near = sorted(value for at, value in seen if abs(at - seconds) <= 5) or [0]
    return near[len(near) // 2]


def report(count: Count, took: float) -> str:
    """The count, as two tables."""
    rows = [
        ["messages accepted", str(len(count.accepted))],
        ["messages that arrived", str(len(count.calls))],
        ["**lost**", f"**{len(count.lost)}**"],
        ["**doubled**, by `webhook-id`", f"**{len(count.doubled)}**"],
        ["seconds of sending", f"{took:.0f}"],
        ["messages a second", f"{len(count.accepted) / took:.0f}"],
        *([name, str(number)] for name, number in sorted(count.done.items())),
        *([f"left in the end: {name}", str(number)] for name, number in sorted(count.left.items())),
    ]
    if count.stopping:
        rows.append(["seconds from SIGTERM to the end of a process, at most", f"{max(count.stopping):.1f}"])
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    over_time = [
        [
            f"{share:.0%} of the time",
            f"{about(count.memory, share * took) >> 20}",
            f"{about(count.handles, share * took)}",
            f"{about(count.waiting, share * took)}",
        ]
        for share in shares
    ]
    heads = ["process that was not killed", "memory, MiB", "handles", "messages in all queues"]
    return f"{table(['', ''], rows)}\n\n{table(heads, over_time)}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m devtools.soak", description="Many messages, with faults all along."
    )
    parser.add_argument("--messages", type=int, help="(default: 20000, or as many as the minutes allow)")
    parser.add_argument("--minutes", type=float, default=0, help="of sending, at most (default: no end)")
    parser.add_argument("--under-way", type=int, default=200, help="at most, at a time (default: %(default)s)")
    parser.add_argument(
        "--latest", type=float, default=900, help="seconds to wait for the last of them (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    messages = chosen.messages or (sys.maxsize if chosen.minutes else 20_000)
    seconds = chosen.minutes * 60
    return Options(messages, chosen.under_way, chosen.latest, seconds=seconds, clock=_WRONG, backup=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    count, took = asyncio.run(Soak(options).run())
    print(report(count, took))
    short = not options.seconds and len(count.accepted) < options.messages
    return 1 if count.failed or short else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
