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
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

import orjson
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from devtools.connect import complete, connect_tenants
from tests.contract.described import note_webhook
from tests.faults.memory import Durable, MemoryStorage, Waiting, given_out
from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Response
from tntcore.app import App
from tntcore.cloud import Cloud
from tntcore.config import Config, ServiceLimits
from tntcore.connections.connection import pairwise, start
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.dids.document import DidDocument, Version
from tntcore.dids.methods import Web
from tntcore.dids.resolver import Resolver
from tntcore.egress import Answer, Egress, EgressError
from tntcore.envelope import Authcrypt, pack_v1, pack_v2, unpack
from tntcore.keys.custody import Custody, LocalMasterKeys
from tntcore.messaging.ids import UuidFactory
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Lookups
from tntcore.storage.records import Connection, Contact, Identity, Operator
from tntcore.storage.states import ContactStatus
from tntcore.storage.tables import Row
from tntcore.storage.transactions import TransactionError
from tntcore.tenancy.audit import Audits
from tntcore.tenancy.last_used import LastUsed
from tntcore.tenancy.operators import HOME, OperatorKeys, new_key
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant, Tenants, stored_data_key
from tntcore.tenancy.usage import Usage
from tntcore.workers import Workers

T = TypeVar("T")
log = logging.getLogger(__name__)

URL = "https://service.example"
LEASE = 600_000  # milliseconds, as the real host has it
AGAIN = 5_000  # milliseconds: visibilityTimeout of host.json
MAX_DEQUEUE = 5
DAY = 86_400_000
SWEEP = 300_000  # milliseconds between runs of the timer
NOW = 1_700_000_000_000

Fault = Literal["kill", "fail", "lost", "twice"]
"""What happens to a call: the process dies before it; it fails and had no effect; it has its effect, but that is not
learnt; it has its effect twice, as where a client library repeats it unasked."""


class Killed(BaseException):
    """The process is dead: none of its calls has an effect any more, whoever catches this."""


class NoCloud(Cloud):
    """Nothing is reached by it."""

    def __init__(self) -> None:
        return None

    async def close(self) -> None:
        return None


class Here(Workers):
    """What others have processes for is done at once."""

    async def run(self, function: Callable[..., T], *args: object) -> T:
        return function(*args)


def server_error(status: int) -> HttpResponseError:
    error = HttpResponseError("the server failed")
    error.status_code = status
    return error


def once_more(effect: Callable[[], T], *, repeated: bool) -> T:
    """Returns what the effect returns. A transaction that is refused says whether it is `repeated`, as it does where
    the client library repeated it."""
    try:
        return effect()
    except TransactionError as error:
        error.repeated = repeated
        raise


class Process:
    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        durable = world.durable

        def now() -> int:
            return durable.now

        def monotonic() -> float:
            return durable.now / 1000

        storage = MemoryStorage(durable, self.point)
        egress = MemoryEgress(self)
        resolver = Resolver([Web(egress.fetch)], monotonic)
        custody = Custody(world.master_keys, stored_data_key(storage), monotonic)
        usage = Usage(storage, world.config.limits.stored, monotonic)
        random = world.random.randbytes
        self.app = App(
            Services(
                config=world.config,
                meter=storage.meter,
                storage=storage,
                lookups=Lookups(storage.lookups, monotonic),
                custody=custody,
                tenants=Tenants(storage, custody, resolver.resolve, monotonic, usage.add),
                resolver=resolver,
                egress=egress,
                cloud=NoCloud(),
                workers=Here(),
                slow_workers=Here(),
                usage=usage,
                operators=OperatorKeys(storage, now, monotonic, random),
                last_used=LastUsed(storage.committer, storage.meter),
                audits=Audits(storage, monotonic),
                now=now,
                random=random,
                uuid7=UuidFactory(now, random),
            )
        )

    async def enter(self, name: str, *, writes: bool) -> Fault | None:
        """Every call begins here: the fault that befalls it."""
        await asyncio.sleep(0)  # what else is ready goes on meanwhile
        self._check()
        self.world.durable.now += 1
        fault = self.world.inject(name, writes)
        if fault == "kill":
            self.dead = True
        self._check()
        return fault

    def _check(self) -> None:
        if self.dead:
            raise Killed

    async def point(self, name: str, effect: Callable[[], T], *, writes: bool) -> T:
        fault = await self.enter(name, writes=writes)
        # A server's error says the same as a broken connection, by another exception.
        is_told = len(self.world.trace) % 2 == 0
        if fault == "fail":
            raise server_error(503) if is_told else ServiceRequestError("the call did not get there")
        if fault == "twice":
            with suppress(Exception):
                effect()
        result = once_more(effect, repeated=fault == "twice")
        if fault == "lost":
            raise server_error(500) if is_told else ServiceResponseError("the answer did not come back")
        await asyncio.sleep(0)
        self._check()
        return result

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        host, _, path = url.partition("://")[2].partition("/")
        fault = await self.enter(f"{method} {host}", writes=True)
        if fault == "fail":
            raise EgressError("connect", "nobody answers there")
        status, more, content = await self.world.ask(host, method, path, headers, body)
        self._check()
        if fault == "lost":
            raise EgressError("disconnected", "the connection was closed before the whole answer had come")
        return Answer(status, more, content, truncated=False, duration=0.01)


class MemoryEgress(Egress):
    """Requests to the sites of the world."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_answer: int = 4_096,
        timeout: float = 15.0,  # noqa: ASYNC109
        whole: bool = True,
        is_sent: Callable[[], None] = lambda: None,
    ) -> Answer:
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        return await self._process.request(method, url, lower, body or b"")

    async def fetch(self, url: str, accept: str = "") -> bytes:
        answer = await self.request("GET", url)
        if answer.status != 200:
            raise EgressError("status", f"answered {answer.status}")
        return answer.body


@dataclass
class Site:
    """Somebody else's server. `answers`: statuses of its first answers; 200 after those."""

    got: list[bytes] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    _statuses: Any = None

    def clear(self) -> None:
        self.got.clear()
        self._statuses = iter(self.answers)

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        self.got.append(body)
        return next(self._statuses or iter(()), 200)


@dataclass
class Hooks(Site):
    """A tenant's webhook: `events` are the calls that it took, by `webhook-id`, as who dedupes sees them."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def clear(self) -> None:
        super().clear()
        self.events.clear()
        self.changed.clear()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        status = super().take(headers, body)
        if status < 300:
            note_webhook(headers, body)
            name, event = headers["webhook-id"], orjson.loads(body)
            if self.events.setdefault(name, event) != event:
                self.changed.append(name)
        return status


@dataclass
class Client:
    """A tenant."""

    world: World
    name: str
    uuid: str
    key: str
    identity: dict[str, str]
    hooks: Hooks
    tasks: Hooks

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        return await self.world.call(method, path, body, {KEY_HEADER: self.key, **headers})

    async def get(self, path: str) -> Any:
        answer = await self.call("GET", path)
        assert answer.status == 200, answer.body
        return orjson.loads(answer.body)

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """With an idempotency key, as often as it takes."""
        answer = await self.call("POST", path, body, **{"idempotency-key": self.world.name("key"), **headers})
        assert answer.status in (200, 201), answer.body
        return orjson.loads(answer.body)

    async def act(self, contact: str, message: dict[str, Any], **more: Any) -> Any:
        return await self.post("action", {"type": "DIDCOMM", "to": contact, "data": {"message": message}, **more})

    async def tenant(self) -> Tenant:
        tenant = await self.world.process.app.services.tenants.get(self.uuid)
        assert tenant is not None
        return tenant

    def told(self, *names: str) -> list[Any]:
        """Of each event of the webhook, deduped, these members, sorted."""
        found = [tuple(event.get(name) for name in names) for event in self.hooks.events.values()]
        return sorted(found, key=str)

    def contents(self) -> list[Any]:
        """What the messages say of which the webhook was told, deduped."""
        messages = [event["message"] for event in self.hooks.events.values()]
        found = [(message.get("body") or message).get("content") for message in messages]
        return sorted(content for content in found if content is not None)


@dataclass
class Partner(Site):
    """An agent that is not of this service, connected with a tenant. `messages` by id, as who dedupes sees them."""

    world: World = None  # type: ignore[assignment]
    version: Version = "v1"
    keys: KeyPairs = field(default_factory=KeyPairs.generate)
    document: DidDocument = None  # type: ignore[assignment]
    ours: DidDocument = None  # type: ignore[assignment]
    verkey: str = ""
    connection: Connection = None  # type: ignore[assignment]
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def clear(self) -> None:
        super().clear()
        self.messages.clear()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        status = super().take(headers, body)
        if status < 300:
            unpacked = unpack(body, self.keys.by_kid(self.document), {self.ours.id: self.ours})
            assert isinstance(unpacked, Authcrypt)
            message = orjson.loads(unpacked.plaintext)
            self.messages[message.get("@id") or message["id"]] = message
        return status

    def pack(self, message: dict[str, Any]) -> bytes:
        if self.version == "v1":
            return pack_v1(orjson.dumps(message), recipients=[self.verkey], sender=self.keys.ed25519)
        addressed = {"from": self.document.id, "to": [self.ours.id], **message}
        return pack_v2(addressed, to=self.ours, from_=(self.document, self.keys.by_kid(self.document)))

    def basic(self, content: Any) -> dict[str, Any]:
        name = self.world.name("basic")
        if self.version == "v1":
            return {"@id": name, "@type": "https://didcomm.org/basicmessage/1.0/message", "content": content}
        kind = "https://didcomm.org/basicmessage/2.0/message"
        return {"id": name, "type": kind, "body": {"content": content}}

    async def send(self, message: dict[str, Any]) -> None:
        """Until it is taken."""
        await self.deliver(self.pack(message))

    async def deliver(self, packed: bytes) -> None:
        kind = "application/didcomm-envelope-enc" if self.version == "v1" else "application/didcomm-encrypted+json"
        answer = await self.world.call("POST", "didcomm", packed, {"content-type": kind})
        assert answer.status == 202, answer.body


class World:
    """
    Attributes:
        trace: names of the calls since `rewind`, in the order of their effects.
        choose: which of the visible queue messages is given out next.
        given_up: queues whose messages come to their poison queues, as the host puts those which no process survives.
    """

    def __init__(self, folder: Path) -> None:
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
        """Gives out one queue message; False if none is visible."""
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
        for client in clients:
            found = [hit["status"] for hit in (await client.get("delivery?limit=200"))["hits"]]
            assert sorted(status for status in found if status != "DELIVERED") == ["FAILED"] * failed
            assert client.hooks.changed == client.tasks.changed == []


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs it in an event loop of its own, in which killed processes may leave what they leave."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        return runner.run(work())
