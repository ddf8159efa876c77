"""The service, its storage, its partners and the time, in one event loop, deterministic, with faults where one likes.

A process is an `App` with all that it has in memory. It touches the world by calls to storage and by requests alone, so
what the world sees of it is the sequence of those that took effect: killing it at any instruction, any `await` among
them, leaves the world as killing it just before the next of its calls does. So it is enough to kill it before each call
(and to have each call fail in the other ways that a call can): nothing else can be told apart from outside.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import selectors
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import orjson
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from devtools.connect import complete, connect_tenants
from devtools.memory import Durable, Waiting, given_out
from tests.faults.process import Fault, Killed, Process
from tests.faults.sites import Client, Hooks, Partner, Site
from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Response
from tntcore.config import Config, ServiceLimits
from tntcore.connections.connection import pairwise, start
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import Version
from tntcore.egress import EgressError
from tntcore.keys.custody import LocalMasterKeys
from tntcore.maintenance.indexing import INDEXED
from tntcore.messaging.ids import first_uuid
from tntcore.storage.commit import Unit
from tntcore.storage.records import (
    Action,
    Connection,
    Contact,
    Delivery,
    Identity,
    Message,
    Operator,
    Pointer,
)
from tntcore.storage.states import ContactStatus
from tntcore.storage.tables import Row
from tntcore.tenancy.operators import HOME, new_key
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant

T = TypeVar("T")
log = logging.getLogger(__name__)

URL = "https://service.example"
LEASE = 600_000  # milliseconds, as the real host has it
AGAIN = 5_000  # milliseconds: visibilityTimeout of host.json
MAX_DEQUEUE = 5
DAY = 86_400_000
SWEEP = 300_000  # milliseconds between runs of the timer
NOW = 1_700_000_000_000


class World:
    """
    Attributes:
        shards: of each tenant. tick: milliseconds that each call takes.
        trace: names of the calls since `rewind`, in the order of their effects.
        choose: which of the visible queue messages is given out next.
        at_once: whether processes handle messages themselves as soon as they have put them.
        by_queue: whether every first attempt is made by a queue, as for receivers that may be slow.
        given_up: queues whose messages come to their poison queues, as the host puts those which no process survives.
    """

    def __init__(self, folder: Path, shards: int = 1) -> None:
        self.shards, self.tick = shards, 1
        limits = ServiceLimits(key=0, address=0, sender=0, tenant=0)
        self.config = Config("memory", URL, folder / "master-keys.json", limits=limits)
        self.master_keys = LocalMasterKeys(folder / "master-keys.json")
        self.durable = Durable(NOW)
        ada = Operator(uuid="019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b", name="Ada", role="admin")
        key = new_key(ada.uuid, bytes)
        ada.hash, self.operator = key.hash, key.text
        self.durable.tables["records"] = {(HOME, ada.key): Row(HOME, ada.key, ada.values(), "1")}
        self.random = Random(0)
        self.sites: dict[str, Site] = {}
        self.trace: list[str] = []
        self.plan: Callable[[str, bool], Fault | None] = lambda name, writes: None
        self.choose: Callable[[list[Waiting]], Waiting] = lambda visible: visible[0]
        self.at_once = False
        self.by_queue = False
        self.given_up: set[str] = set()
        self.deaths = 0
        self._names = itertools.count()
        self._kept: Durable | None = None
        self._swept = NOW
        self.process = Process(self)

    def inject(self, name: str, writes: bool) -> Fault | None:
        self.trace.append(name)
        return self.plan(name, writes)

    def name(self, kind: str) -> str:
        return f"{kind}-{next(self._names)}"

    def keep(self) -> None:
        """From here `rewind` begins."""
        self._kept = self.durable.copy()

    def rewind(self) -> None:
        assert self._kept is not None
        self.durable = self._kept.copy()
        self._swept = self.durable.now
        for site in self.sites.values():
            site.clear()
        self.deaths = 0
        self.given_up.clear()
        # The same run each time, but with other identifiers than those that were kept.
        self.random.seed(1)
        self.trace.clear()
        self.restart()

    def restart(self) -> None:
        """A new process takes the place of the one that there was."""
        self.process.dead = True
        self.process = Process(self)

    # The outside.

    async def ask(
        self, host: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        if f"https://{host}" == URL:
            answer = await self._http(method, path.removeprefix("api/"), body, headers)
            if answer is None:
                raise EgressError("disconnected", "the connection was closed before the whole answer had come")
            return answer.status, answer.headers, answer.body
        return self.sites[host].take(headers, body), {}, b""

    async def call(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Response:
        """A caller who comes again until there is an answer that is not of a failure."""
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        for _ in range(10):
            answer = await self._http(method, path, data, headers)
            if answer is not None and answer.status < 500 and b"in-progress" not in answer.body:
                return answer
            self.durable.now += 130_000
        raise TimeoutError(f"{method} {path} is never answered")

    async def _http(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Response | None:
        """None if the process dies before it has answered."""
        process = self.process
        path, _, query = path.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
        request = Request(method, path, pairs, {**headers, **self._operator(path)}, body)
        try:
            return await process.app.http(request)
        except BaseException:
            if not process.dead:
                raise
            self._buried(process)
            return None

    def _operator(self, path: str) -> Mapping[str, str]:
        return {OPERATOR_HEADER: self.operator} if path.startswith(("principal", "poison", "operator")) else {}

    def _buried(self, process: Process) -> None:
        if self.process is process:
            self.deaths += 1
            self.restart()

    # The host.

    async def settle(self) -> None:
        """Gives out queue messages, and runs the timer, until there is nothing left to do."""
        for _ in range(5_000):
            if await self.step():
                continue
            times = [message.visible for message in self.durable.queue.values()]
            if times:
                self.durable.now = max(self.durable.now, min(times))
                if self.durable.now - self._swept >= SWEEP:
                    await self.sweep()
                continue
            waiting = self._next_attempts()
            for _ in range(2):
                self.durable.now = max(self.durable.now, *waiting, 0) + 2 * LEASE + SWEEP
                await self.sweep()
            if not self.durable.queue and self._next_attempts() == waiting:
                return
        raise TimeoutError("it never comes to rest")

    def _next_attempts(self) -> list[int]:
        rows = [row for (_, key), row in self.durable.tables["records"].items() if key.startswith("delivery~")]
        return [row.values["nextAttemptAt"] for row in rows if row.values["status"] == "PENDING"]

    async def step(self) -> bool:
        """Gives out one queue message, if the process handles none itself; False if none is visible."""
        process = self.process
        await process.app.settle()
        if process.dead:
            self._buried(process)
        visible = [message for message in self.durable.queue.values() if message.visible <= self.durable.now]
        if visible:
            await self.give_out(self.choose(visible))
        return bool(visible)

    async def give_out(self, message: Waiting) -> None:
        process, durable = self.process, self.durable
        if message.queue in self.given_up:
            self.give_up(message)
            return
        leased = durable.queue[message.id] = given_out(message, durable.now + LEASE)
        try:
            await self._handle(process, leased)
        except BaseException as error:
            if process.dead:
                self._buried(process)
                return
            if not isinstance(error, Exception):
                raise
            log.warning("a function failed", exc_info=error)
            self._failed(leased)
            return
        try:
            await process.point("host.delete", lambda: durable.queue.pop(message.id, None), writes=True)
        except (Killed, HttpResponseError, ServiceRequestError, ServiceResponseError):
            if process.dead:
                self._buried(process)

    async def _handle(self, process: Process, message: Waiting) -> None:
        app = process.app
        queue, poison = message.queue.removesuffix("-poison"), message.queue.endswith("-poison")
        if poison:
            await app.poison.handle(queue, str(message.id), message.body)
        else:
            await getattr(app, queue).handle(message.body, message.count)
        # What it began and did not wait for.
        await asyncio.sleep(0)
        if process.dead:
            raise Killed

    def _failed(self, message: Waiting) -> None:
        if message.id not in self.durable.queue:
            return
        if message.count >= MAX_DEQUEUE and not message.queue.endswith("-poison"):
            self.give_up(message)
        else:
            self.durable.queue[message.id] = Waiting(
                message.id, message.queue, message.body, self.durable.now + AGAIN, message.count
            )

    async def pass_days(self, days: int) -> None:
        """With a run of the timer on each."""
        for _ in range(days):
            self.durable.now += DAY
            await self.sweep()

    def give_up(self, message: Waiting) -> None:
        del self.durable.queue[message.id]
        self.durable.put(f"{message.queue}-poison", message.body)

    async def replay(self) -> None:
        """The operator has all handled again that was given up."""
        while True:
            answer = await self.call("POST", "poison/replay", {}, {})
            assert answer.status == 200, answer.body
            done = orjson.loads(answer.body)
            assert done["senseless"] == 0
            if not done["more"]:
                return

    async def sweep(self) -> None:
        process = self.process
        self._swept = self.durable.now
        try:
            await process.app.sweep.run()
        except BaseException as error:
            if process.dead:
                self._buried(process)
            elif not isinstance(error, Exception):
                raise

    # Who there is.

    async def register(self, name: str) -> Client:
        answer = await self.call("POST", "principal", {"displayName": name}, {})
        assert answer.status == 201, answer.body
        made = orjson.loads(answer.body)
        if self.shards > 1:
            answer = await self.call("PUT", f"principal/{made['uuid']}", {"shards": self.shards}, {})
            assert answer.status == 200, answer.body
            self.durable.now += 60_000
        host = f"{name.lower()}.example"
        hooks, tasks = Hooks(), Hooks()
        self.sites |= {host: hooks, f"tasks.{host}": tasks}
        client = Client(self, name, made["uuid"], made["headers"][KEY_HEADER], made["identity"], hooks, tasks)
        for setting, url in (("DIDCOMM_WEBHOOK", f"https://{host}/"), ("TASK_WEBHOOK", f"https://tasks.{host}/")):
            await client.post(f"settings/{setting}", {"setting": [{"url": url, "match": ".*"}]})
        return client

    async def _side(self, client: Client) -> tuple[Tenant, Identity]:
        tenant = await client.tenant()
        identity = await tenant.records.get(Identity, client.identity["uuid"])
        assert identity is not None
        return tenant, identity

    async def connect(self, one: Client, other: Client, version: Version = "v1") -> tuple[Connection, Connection]:
        app = self.process.app
        return await connect_tenants(
            app.services, app.outbound, await self._side(one), await self._side(other), version=version
        )

    async def partner(self, client: Client, version: Version = "v1") -> Partner:
        services = self.process.app.services
        found = self._agent(version)
        ours = KeyPairs.generate()
        found.ours, found.verkey = pairwise(services, ours), ours.verkey
        tenant, identity = await self._side(client)
        now = services.now()
        contact = Contact(
            uuid=services.uuid7(), did=found.document.id, status=ContactStatus.ACCEPTED, created_at=now, updated_at=now
        )
        tenant = await tenant.birthplace(Contact, contact.uuid, now)
        found.shard = tenant.uuid
        unit = Unit()
        unit.create(contact)
        await tenant.records.commit(unit)
        found.connection = start(identity, contact, now)
        await complete(
            services,
            self.process.app.outbound,
            tenant,
            found.connection,
            keys=ours,
            mine=found.ours,
            theirs=found.document.raw,
            version=version,
        )
        return found

    def moved(self, partner: Partner) -> Partner:
        """The same with another DID and endpoint, of which nobody has been told."""
        found = self._agent(partner.version)
        found.ours, found.verkey, found.connection = partner.ours, partner.verkey, partner.connection
        found.shard = partner.shard
        return found

    def _agent(self, version: Version) -> Partner:
        found = Partner(world=self, version=version)
        host = f"{self.name('partner')}.example"
        self.sites[host] = found
        keys = found.keys
        found.document = peer.resolve(
            peer.create_2(
                [("E", keys.x25519.public), ("V", keys.ed25519.public)],
                didcomm_services(f"https://{host}/inbox", "#key-2"),
            )
        )
        return found

    async def assert_at_rest(self, *clients: Client, failed: int = 0) -> None:
        """That nothing is under way or forgotten, that but `failed` of each client's deliveries came to a good end,
        that no call changed under its id, and that no envelope is left in a blob."""
        assert not self.durable.queue
        assert not self.durable.tables.get("poisoned")
        assert not self.durable.blobs.get("envelopes")
        self.assert_pointed()
        for client in clients:
            found = [hit["status"] for hit in (await client.get("delivery?limit=200"))["hits"]]
            assert sorted(status for status in found if status != "DELIVERED") == ["FAILED"] * failed
            assert client.hooks.changed == client.tasks.changed == []

    def assert_pointed(self) -> None:
        """That records have their pointers, and pointers their records."""
        rows = self.durable.tables["records"]
        for (partition, key), row in rows.items():
            unusual = next((kind for kind in (Delivery, Message) if key.startswith(kind.row_key(""))), None)
            if unusual is not None and row.values["status"] in unusual.UNUSUAL:
                pointer = f"{unusual.with_status(row.values['status'])}{key.partition('~')[2]}"
                assert (partition, Pointer.row_key(pointer)) in rows
            kind = next((kind for kind in INDEXED if key.startswith(kind.row_key(""))), None)
            if kind is not None:
                record = kind.read(row)
                assert record.is_pointed
                pointers = {record.pointer, *record.filed} - {""}
                assert {(partition, Pointer.row_key(pointer)) for pointer in pointers} <= rows.keys()
            elif key.startswith(Pointer.row_key("")):
                uuid = key.removeprefix(Pointer.row_key(""))
                noun = re.split("[.-]", uuid, maxsplit=1)[0]
                owner = rows.get((partition, f"{noun}~{row.values['recordUuid']}"))
                # One of an unusual status stays until the timer comes to it; one of a thread, until that is erased.
                if noun not in (Delivery.KIND, Message.KIND):
                    assert owner is not None
                    named = owner.values.get("indexed", ""), *owner.values.get("indexedBy", "").split()
                    assert noun == Action.KIND or uuid in named
            elif key.startswith(Action.row_key("")):
                thread = Action.read(row)
                assert (partition, Pointer.row_key(thread.pointer)) in rows or any(
                    other.values.get("actionUuid") == thread.uuid
                    for (there, name), other in rows.items()
                    if there == partition and name.startswith(Message.row_key(first_uuid(thread.updated_at)))
                )


class Nothing(selectors.SelectSelector):
    """Waits for no file: nothing here has one, and to ask the system is a tenth of what a step costs."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class Loop(asyncio.SelectorEventLoop):
    """An event loop of callbacks alone. It runs what is ready, in the same order as any, without looking at files in
    between.
    """

    def __init__(self) -> None:
        super().__init__(Nothing())

    def _run_once(self) -> None:
        if self._scheduled or not self._ready:  # type: ignore[attr-defined]
            super()._run_once()  # type: ignore[misc]
            return
        for _ in range(len(self._ready)):  # type: ignore[attr-defined]
            handle = self._ready.popleft()  # type: ignore[attr-defined]
            if not handle.cancelled():
                handle._run()


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs it in an event loop of its own, in which killed processes may leave what they leave."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(work())
