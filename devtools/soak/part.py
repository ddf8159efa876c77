"""One part of a soak: numbered messages through two processes of the service, with faults all along."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from azure.core.exceptions import AzureError
from azure.storage.queue.aio import QueueServiceClient

from devtools.proc import handles, resident
from devtools.soak.counts import KILLED, Count, Result
from devtools.soak.field import TENANTS, Field
from devtools.soak.hosts import Hosts
from devtools.soak.options import Options
from devtools.soak.receiver import Receiver
from devtools.soak.sending import Sending
from devtools.soak.storage import CommandError, command, look_for_what_is_left, queue_orphans, waiting_in
from tntcore.dids import peer
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.envelope import Authcrypt, unpack
from tntcore.storage.storage import EXCHANGE, INBOUND

BACKUPS, PAUSES = "backups that were taken under way, and read", "times that storage stood still"
RESTARTS, MOVES = "times that storage was ended", "restores into an empty account that the service went on from"
BUSY, STEPS = "times that storage refused 30 % of its calls", "times that a clock was set wrong"
REWRAPPED, ROTATED = "data keys that were wrapped again", "connections that took new keys"
ORPHANS = "large envelopes that were left, and queued again"
_SHOWS = 20.0  # seconds
_REFUSED = 0.3  # share of the calls to storage while it is busy
_FIRST, _MOVE = 0.05, 0.15  # shares of a part after which a backup is taken


class Part:
    """Messages through the processes of `hosts`, and what befalls both meanwhile.

    Args:
        folder: of the master keys, and of backups while it runs. first: number of the first message.
    """

    def __init__(
        self, options: Options, field: Field, count: Count, hosts: Hosts, folder: Path, first: int = 0
    ) -> None:
        self._options = options
        self._field = field
        self._count = count
        self._hosts = hosts
        self._folder = folder
        self._first = first
        self._over = False
        self._began = 0.0
        self._rotations: dict[int, str] = {}

    async def run(self, receiver: Receiver, session: ClientSession) -> Result:
        """Sends the messages, and waits for all that were accepted."""
        options, hosts = self._options, self._hosts
        self._receiver, self._session = receiver, session
        numbers = iter(range(self._first, self._first + options.messages))
        targets = self._field.targets
        sending = self._sending = Sending(options, self._count, targets, hosts.ports, numbers, self._is_enough)
        receiver.on_arrival, receiver.on_partner = sending.on_arrival, self._on_partner
        await hosts.set_storage(options.refused)
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            moving = group.create_task(self._move())
            around = [group.create_task(work) for work in (*self._faults(), self._watch(), self._count_waiting())]
            await sending.run()
            took = time.monotonic() - self._began
            self._over = True
            await moving
            say("waiting for the last of them ...")
            await self._wait_for_the_last()
            await hosts.count_faults()
            for task in around:
                task.cancel()
        return self._count.result(took)

    async def _wait_for_the_last(self) -> None:
        deadline = time.monotonic() + self._options.latest
        while self._count.lost and time.monotonic() < deadline:  # noqa: ASYNC110  it is told by many
            await asyncio.sleep(1)
        await self._until_empty(deadline)
        if not self._count.lost:
            orphans = await queue_orphans(self._hosts.azurite.connection_string)
            self._count.done[ORPHANS] += orphans
            # Only a process that was killed may leave some.
            if not self._count.done[KILLED]:
                self._count.left[ORPHANS] = orphans
            await self._until_empty(deadline)
        # Whatever is doubled shows now, if it ever does.
        await asyncio.sleep(_SHOWS)
        self._count.left += await look_for_what_is_left(self._hosts.azurite.connection_string)

    def _is_enough(self) -> bool:
        options = self._options
        late = options.seconds and time.monotonic() - self._began > options.seconds
        return bool(late or (options.ends and self._count.ends > options.ends))

    def _is_at(self, share: float) -> bool:
        """Whether so much of the part is over, by messages or by time."""
        options = self._options
        late = options.seconds and time.monotonic() - self._began > 2 * share * options.seconds
        return bool(late or len(self._count.accepted) > share * options.messages)

    # Faults.

    def _faults(self) -> list[Coroutine[Any, Any, None]]:
        options, hosts, done = self._options, self._hosts, self._count.done

        async def pause() -> None:
            done[PAUSES] += 1
            await hosts.pause_storage(options.pause)

        async def fail() -> None:
            tenant = random.randrange(TENANTS)
            self._receiver.failing.add(tenant)
            await asyncio.sleep(options.failing)
            self._receiver.failing.discard(tenant)

        async def hang() -> None:
            self._receiver.hanging = 1

        async def be_busy() -> None:
            done[BUSY] += 1
            await hosts.set_storage(_REFUSED)
            await asyncio.sleep(options.busy)
            await hosts.set_storage(options.refused)

        async def step() -> None:
            done[STEPS] += 1
            await hosts.set_clock(random.randrange(2), self._clock())

        async def end() -> None:
            await hosts.end_the_other(asked=random.random() < options.stops, clock=self._clock())

        works: list[tuple[float, Callable[[], Awaitable[None]]]] = [
            (options.kill_every, end),
            (options.pause_every, pause),
            (options.failing_every, fail),
            (options.hanging_every, hang),
            (options.busy_every, be_busy),
            (options.step_every, step),
            (options.rotate_every, self._rotate_a_connection),
        ]
        return [self._restart_storage(), *(self._now_and_then(*work) for work in works if work[0])]

    async def _now_and_then(self, every: float, work: Callable[[], Awaitable[None]]) -> None:
        while not self._over:
            await asyncio.sleep(every * random.uniform(0.5, 1.5))
            if not self._over:
                await work()

    def _clock(self) -> int:
        """Milliseconds by which a clock is to be ahead."""
        return int(random.uniform(-1, 1) * self._options.clock * 1000)

    async def _restart_storage(self) -> None:
        if self._options.restart_after:
            await asyncio.sleep(self._options.restart_after)
            self._count.done[RESTARTS] += 1
            await self._hosts.restart_storage(self._options.pause)

    async def _move(self) -> None:
        """Takes a backup under way; then another, that the service goes on from in an empty account."""
        if not self._options.moves:
            return
        target = self._folder / f"backup-{self._first}"
        await self._until(_FIRST)
        account = self._hosts.azurite.connection_string
        try:
            await command(account, "backup", str(target))
            await command(account, "restore", "--check", str(target))
            self._count.done[BACKUPS] += 1
        except CommandError as error:
            self._count.left[str(error)] += 1
        await self._until(_MOVE)
        if self._over:
            return
        # A backup has no messages that are accepted and not handled, if there are many.
        await self._sending.pause()
        await self._until_handled()
        say("moving to another account ...")
        await command(account, "backup", str(target))
        async with self._hosts.at_processes, self._hosts.at_storage:
            await self._hosts.count_faults()
            await self._hosts.rotate_master_key()
            await self._hosts.move(target)
        self._count.done[MOVES] += 1
        self._sending.go_on()
        await self._rewrap()
        self._rotations = dict.fromkeys(range(len(self._field.targets)), "")

    async def _until(self, share: float) -> None:
        while not (self._over or self._is_at(share)):  # noqa: ASYNC110  it is told by time and by many
            await asyncio.sleep(0.5)

    async def _until_handled(self) -> None:
        async with QueueServiceClient.from_connection_string(self._hosts.azurite.connection_string) as queues:
            while await _number(queues, INBOUND, EXCHANGE):  # noqa: ASYNC110  nobody tells of it
                await asyncio.sleep(0.5)

    async def _rewrap(self) -> None:
        """Has the service wrap the tenants' data keys by the newest version of the master key."""
        start: str | None = ""
        while start is not None:
            said = await self._call("principal/rewrap", self._field.operator, {"start": start} if start else {})
            self._count.done[REWRAPPED] += said["rewrapped"]
            start = said["next"]

    async def _rotate_a_connection(self) -> None:
        """Has a tenant announce new keys to a partner, who acknowledges them and uses them from then on."""
        fresh = [number for number, thid in self._rotations.items() if not thid]
        if not fresh:
            return
        number = random.choice(fresh)
        target = self._field.targets[number]
        self._rotations[number] = "announced"
        await self._call(f"connection/{target.connection}/rotate", target.tenant, {})

    def _on_partner(self, number: int, envelope: bytes) -> None:
        """Takes a message that was sent to a partner."""
        target = self._field.targets[number]
        unpacked = unpack(envelope, {target.keys.verkey: target.keys.ed25519}, {})
        assert isinstance(unpacked, Authcrypt)
        message = orjson.loads(unpacked.plaintext)
        kind, _, name = message["@type"].rpartition("/")
        thid = message.get("~thread", {}).get("thid", message["@id"])
        if name != "rotate" or self._rotations.get(number) == thid:
            return
        self._rotations[number] = thid
        document = peer.resolve(message["to_did"])
        target.verkey = didcomm_endpoint(document, "v1").recipient_verkeys[0]
        self._count.done[ROTATED] += 1
        ack = {"@type": f"{kind}/ack", "@id": f"ack-{number}-{thid}", "~thread": {"thid": thid}, "status": "OK"}
        self._acks = asyncio.create_task(self._sending.post(target, orjson.dumps(ack)))

    async def _call(self, path: str, headers: Mapping[str, str], body: Any) -> Any:
        """Calls the API until it answers."""
        while True:
            url = f"http://127.0.0.1:{random.choice(self._hosts.ports)}/api/{path}"
            with suppress(ClientError, TimeoutError, OSError):
                async with self._session.post(url, json=body, headers=headers, timeout=ClientTimeout(30)) as answer:
                    if answer.status in (200, 201):
                        return await answer.json()
                    said = await answer.text()
                    if answer.status not in (429, 503) and "connection-changed" not in said:
                        raise RuntimeError(f"{path} was answered {answer.status}: {said}")
            await asyncio.sleep(1)

    # What is seen meanwhile.

    async def _watch(self) -> None:
        """Writes down the memory and handles of the process that is not killed, and says how far things are."""
        count, hosts = self._count, self._hosts
        for number in range(1_000_000):
            at = time.monotonic() - self._began
            if (code := hosts.steady.ended_with) is not None and not hosts.at_processes.locked():
                raise RuntimeError(f"the process that nobody ends has ended, with code {code}")
            count.memory.append((at, resident(hosts.steady.pid)))
            count.handles.append((at, handles(hosts.steady.pid)))
            if number % 30 == 29:
                await hosts.count_faults()
                waiting = count.waiting[-1][1] if count.waiting else 0
                say(
                    f"{at:.0f} s: {len(count.accepted)} accepted, {len(count.calls)} arrived, {waiting} in the queues, "
                    f"{count.memory[-1][1] >> 20} MiB, {count.handles[-1][1]} handles"
                )
            await asyncio.sleep(1)

    async def _count_waiting(self) -> None:
        """Writes down how many messages are in the queues."""
        while True:
            # Another account, once everything has moved.
            account = self._hosts.azurite.connection_string
            async with QueueServiceClient.from_connection_string(account) as queues:
                while account == self._hosts.azurite.connection_string:
                    with suppress(AzureError, TimeoutError):
                        async with asyncio.timeout(5):
                            at = time.monotonic() - self._began
                            self._count.waiting.append((at, await waiting_in(queues)))
                    await asyncio.sleep(2)

    async def _until_empty(self, deadline: float) -> None:
        async with QueueServiceClient.from_connection_string(self._hosts.azurite.connection_string) as queues:
            while waiting := await _number(queues):
                if time.monotonic() > deadline:
                    self._count.left["queue messages"] = waiting
                    return
                await asyncio.sleep(1)


async def _number(queues: QueueServiceClient, *names: str) -> int:
    """Messages in these queues; some, if storage does not say."""
    with suppress(AzureError, TimeoutError):
        async with asyncio.timeout(10):
            return await waiting_in(queues, *names)
    return 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
