"""What things cost with much stored: `python -m devtools.bench --growth 0 --growth 50000`.

The service, its storage, a partner and a webhook share one process, so that hundreds of thousands of messages are
stored in minutes, and what storage does can be left out of what is measured. Half of the messages belong to one large
tenant, the others to as many tenants as there are, 25 messages each. Rows are written as the service writes them, but
past it.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import orjson

from devtools.agent import BASIC_MESSAGE, Agent
from devtools.bench.load import MEDIA_TYPE, plaintext
from devtools.bench.measure import table
from devtools.connect import complete
from devtools.memory import Durable, MemoryStorage
from devtools.proc import resident
from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Response
from tntcore.app import App
from tntcore.config import Config, ServiceLimits
from tntcore.connections.connection import pairwise, start
from tntcore.egress import Answer, Egress
from tntcore.envelope import PrivateKey, pack_v1
from tntcore.messaging.ids import delivery_uuid, uuid_at
from tntcore.messaging.threads import action_uuid
from tntcore.services import open_services
from tntcore.storage.commit import Unit
from tntcore.storage.indexes import POINTERS
from tntcore.storage.layout import PARTITION
from tntcore.storage.records import (
    Action,
    Connection,
    Contact,
    Delivery,
    Entry,
    Identity,
    Message,
    Record,
    entry_id,
)
from tntcore.storage.repository import Repository
from tntcore.storage.states import COMPLETED, ContactStatus, DeliveryStatus, MessageStatus
from tntcore.storage.tables import Row
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, PRINCIPAL_SETTINGS

T = TypeVar("T")
EACH: Final = 25
"""Messages of a small tenant."""
_OF_A_CONTACT = 250  # messages of the large tenant with one contact
_SAMPLES = 8  # tenants whose messages are measured, beside the large one
_DAYS = 400  # over which the stored messages came
_ROUNDS = 12
_KEPT = 397  # days that tenants keep messages
_URL = "https://service.example"
_HOOK = "https://hooks.example/"
_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Step:
    """What one thing cost.

    Attributes:
        calls: of storage. rows: those that storage had to look at for them. cpu: milliseconds, without storage's.
    """

    name: str
    calls: float
    rows: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Grown:
    """What things cost at one size. `memory`: bytes that measuring added to the process."""

    messages: int
    tenants: int
    memory: int
    steps: Sequence[Step]


@dataclass
class _Meter:
    """Stands between the service and its storage."""

    calls: int = 0
    seconds: float = 0.0  # of CPU, in storage

    async def point(self, name: str, effect: Callable[[], T], *, writes: bool) -> T:
        self.calls += 1
        began = time.process_time()
        try:
            return effect()
        finally:
            self.seconds += time.process_time() - began


class _Quick(Egress):
    """Answers 200 to everything."""

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        options.get("is_sent", lambda: None)()
        return Answer(200, {}, b"", truncated=False, duration=0.001)


@dataclass
class _Tenant:
    """A tenant with one connection: `contact` and `did` are the partner's, `verkey` is where the partner sends to."""

    uuid: str
    key: str
    identity: str
    contact: str = ""
    did: str = ""
    partner: PrivateKey | None = None
    verkey: str = ""


class Growth:
    """A service that stores as much as it is told to.

    Args:
        folder: of the master keys.
    """

    def __init__(self, folder: Path) -> None:
        self._meter = _Meter()
        self._durable = Durable(time.time_ns() // 1_000_000)
        limits = ServiceLimits(key=0, address=0, sender=0, tenant=0, stored=0)
        self._app = App(
            open_services(
                Config("memory", _URL, folder / "master-keys.json", limits=limits),
                lambda queue, delay: None,
                egress=_Quick(),
                storage=MemoryStorage(self._durable, self._meter.point),
            )
        )
        self._numbers = iter(range(1 << 40))
        self._operator = ""
        self._large = _Tenant("", "", "")
        self._samples: list[_Tenant] = []
        self._messages = self._tenants = 0

    async def open(self) -> None:
        """Registers the tenants that are measured."""
        services = self._app.services
        first = await services.operators.first("Growth", 0, services.uuid7(), anyway=True, by="benchmark")
        self._operator = first.key.text
        self._large, *self._samples = [await self._register() for _ in range(1 + _SAMPLES)]
        for tenant in (self._large, *self._samples):
            await self._connect(tenant)

    async def close(self) -> None:
        await self._app.close()

    async def _call(self, method: str, path: str, body: Any = None, key: str = "", **headers: str) -> Response:
        given = {KEY_HEADER: key} if key else {OPERATOR_HEADER: self._operator}
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        path, _, query = path.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&")) if query else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self._app.http(Request(method, path, pairs, {**given, **named}, data))
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {answer.body[:500]!r}")
        return answer

    async def _register(self) -> _Tenant:
        made = orjson.loads((await self._call("POST", "principal", {"displayName": "A tenant"})).body)
        tenant = _Tenant(made["uuid"], made["headers"][KEY_HEADER], made["identity"]["uuid"])
        entries = [{"id": "e", "url": _HOOK, "match": "basicmessage"}]
        await self._call("POST", f"settings/{DIDCOMM_WEBHOOK}", {"setting": entries}, tenant.key)
        await self._call("POST", f"settings/{PRINCIPAL_SETTINGS}", {"setting": {"retentionDays": _KEPT}}, tenant.key)
        return tenant

    async def _connect(self, tenant: _Tenant) -> None:
        services, agent, keys = self._app.services, Agent("https://partner.example/"), KeyPairs.generate()
        found = await services.tenants.get(tenant.uuid)
        identity = await found.records.get(Identity, tenant.identity) if found else None
        assert found is not None
        assert identity is not None
        contact = _contact(services.uuid7(), agent.document.id, services.now())
        unit = Unit()
        unit.create(contact)
        await found.records.commit(unit)
        await complete(
            services,
            self._app.outbound,
            found,
            start(identity, contact, services.now()),
            keys=keys,
            mine=pairwise(services, keys),
            theirs=agent.document.raw,
            version="v1",
        )
        tenant.contact, tenant.did = contact.uuid, contact.did
        tenant.partner, tenant.verkey = agent.keys.ed25519, keys.verkey

    # What is stored.

    async def fill(self, messages: int) -> None:
        """Stores messages and tenants until there are so many messages."""
        more = messages - self._messages
        large = await self._app.services.tenants.get(self._large.uuid)
        assert large is not None
        identity = await large.records.get(Identity, self._large.identity)
        assert identity is not None
        rows = self._durable.rows("records")
        rows.fill(self._of_one(large.records, identity, more // 2))
        await self._others(more // 2 // EACH)
        self._messages = messages
        # As the service does, once it has loaded all: its collector does not walk over what lives for ever.
        gc.collect()
        gc.freeze()

    def _of_one(self, records: Repository, identity: Identity, count: int) -> Iterator[Row]:
        """The rows of so many messages, with as many contacts as go with them."""
        now, since = self._app.services.now(), _DAYS * _DAY
        connection = None
        for number in range(count):
            at = now - since + number * since // count
            if number % _OF_A_CONTACT == 0:
                contact = _contact(self._uuid(at), f"did:example:{next(self._numbers)}", at)
                connection = start(identity, contact, at)
                connection.state, connection.their_did = COMPLETED, contact.did
                yield from _rows(records.principal, contact)
                yield from _rows(records.principal, connection)
            assert connection is not None
            for record in _message(records, connection, self._uuid(at), at):
                yield from _rows(records.principal, record)

    def _uuid(self, at: int) -> str:
        return uuid_at(at, f"{next(self._numbers)}")

    async def _others(self, count: int) -> None:
        """Stores so many tenants more, each with `EACH` messages."""
        for _ in range(count):
            tenant = await self._register()
            found = await self._app.services.tenants.get(tenant.uuid)
            assert found is not None
            identity = Identity(uuid=tenant.identity, did="did:example:identity")
            self._durable.rows("records").fill(self._of_one(found.records, identity, EACH))
            self._tenants += 1

    # What things cost.

    async def measure(self, beside: Growth | None = None, *, each: int = 25) -> Grown:
        """Measures every step, messages in rounds of `each`, one after the other.

        Args:
            beside: a service that stores next to nothing, whose messages are measured in turn with those of this one:
                what else the machine does then slows both.
        """
        services = self._app.services
        # This version has run for long, and its timer all the time.
        await services.storage.lookups.put(PARTITION, POINTERS, {"since": 0, "seen": services.now(), "filedSince": 0})
        before = resident(os.getpid())
        key = self._large.key
        one_by_one: dict[str, Callable[[], Awaitable[Any]]] = {
            **{f"GET {path}": partial(self._call, "GET", path, key=key) for path in _LISTS},
            "GET principal": partial(self._call, "GET", "principal"),
            "POST action, by the contact's uuid": partial(self._send, self._large.contact),
            "POST action, by the contact's DID": partial(self._send, self._large.did),
        }
        steps: list[Step] = []
        for to in ("the large tenant", "others"):
            both = {f"message to {to}": self, **({"the same, nothing stored": beside} if beside is not None else {})}
            rounds: dict[str, list[Step]] = {name: [] for name in both}
            for _ in range(1 + _ROUNDS):
                for name, growth in both.items():
                    rounds[name].append(await growth._receive(name, to, each))
            # The first round fills caches.
            steps += [_usual(of_one[1:]) for of_one in rounds.values()]
        steps += [await self._step(name, act) for name, act in one_by_one.items()]
        # The first run of a process may have more to do.
        await self._app.sweep.run()
        steps.append(await self._step("sweep", self._app.sweep.run))
        steps.append(await self._step("sweep between", self._app.sweep.unqueued))
        return Grown(self._messages, self._tenants, max(resident(os.getpid()) - before, 0), steps)

    async def _step(self, name: str, act: Callable[[], Awaitable[Any]], times: int = 1) -> Step:
        calls, rows, stored = self._meter.calls, self._durable.rows_read, self._meter.seconds
        began = time.process_time()
        await act()
        cpu = time.process_time() - began - (self._meter.seconds - stored)
        return Step(
            name,
            (self._meter.calls - calls) / times,
            (self._durable.rows_read - rows) / times,
            cpu * 1000 / times,
        )

    async def _receive(self, name: str, to: str, count: int) -> Step:
        tenants = [self._large] if to == "the large tenant" else self._samples
        packed = [
            pack_v1(plaintext(next(self._numbers)), recipients=[tenant.verkey], sender=tenant.partner)
            for tenant in islice(cycle(tenants), count)
        ]

        async def receive() -> None:
            for envelope in packed:
                await self._call("POST", "didcomm", envelope, content_type=MEDIA_TYPE)
                await self._handle()

        return await self._step(name, receive, times=count)

    async def _send(self, contact: str) -> None:
        message = {"@type": BASIC_MESSAGE, "content": "x"}
        await self._call(
            "POST", "action", {"type": "DIDCOMM", "to": contact, "data": {"message": message}}, self._large.key
        )
        await self._handle()

    async def _handle(self) -> None:
        """Does what the host does: gives out the queue messages that can be seen."""
        queue = self._durable.queue
        for waiting in [one for one in queue.values() if one.visible <= self._durable.now]:
            self._meter.calls += 2  # the get and the delete
            await getattr(self._app, waiting.queue).handle(waiting.body, 1)
            del queue[waiting.id]


_LISTS = (
    "message",
    "message?order=newest",
    "delivery?order=newest",
    "action",
    "action?order=newest",
    "contact",
    "contact?order=newest",
    "connection",
    "connection?order=newest",
    "contact?email=orders@partner.example",
    "connection?state=request-received",
    "exchange?status=WAITING",
    "message?status=FAILED",
    "delivery?status=FAILED",
    "identity?order=newest",
    "api-token",
    "usage",
    "audit",
)


def _usual(steps: Sequence[Step]) -> Step:
    """The medians: in some rounds a cache expires."""
    return Step(
        steps[0].name,
        median(step.calls for step in steps),
        median(step.rows for step in steps),
        median(step.cpu for step in steps),
    )


def _contact(uuid: str, did: str, now: int) -> Contact:
    return Contact(uuid=uuid, did=did, named=True, status=ContactStatus.ACCEPTED, created_at=now, updated_at=now)


def _message(records: Repository, connection: Connection, uuid: str, now: int) -> Sequence[Record]:
    """What a message leaves behind that was received and relayed."""
    action = Action(uuid=action_uuid(connection.uuid, uuid), reference_id=uuid, direction="IN",
                    identity_did=connection.identity_did, contact_did=connection.contact_did,
                    contact_uuid=connection.contact_uuid, connection_uuid=connection.uuid, created_at=now,
                    updated_at=now)  # fmt: skip
    message = Message(uuid=uuid, status=MessageStatus.RECEIVED, direction="IN", type=BASIC_MESSAGE, message_id=uuid,
                      action_uuid=action.uuid, contact_uuid=connection.contact_uuid, connection_uuid=connection.uuid,
                      identity_did=connection.identity_did, contact_did=connection.contact_did, authenticated=True,
                      body=records.seal_body(uuid, b"{}"), created_at=now, updated_at=now)  # fmt: skip
    delivery = Delivery(uuid=delivery_uuid(uuid, "e"), status=DeliveryStatus.DELIVERED, kind="webhook",
                        message_uuid=uuid, action_uuid=action.uuid, connection_uuid=connection.uuid, entry_id="e",
                        type=BASIC_MESSAGE, attempts=1, response_status=200, created_at=now,
                        updated_at=now)  # fmt: skip
    entry = Entry(uuid=entry_id(action.uuid, "in", uuid), message_uuid=uuid, deliveries=[delivery.uuid], created_at=now)
    return action, message, delivery, entry


def _rows(principal: str, record: Record) -> Iterator[Row]:
    unit = Unit()
    unit.create(record)
    for operation in unit.operations:
        yield Row(principal, operation.row, operation.values, "1")


def show(grown: Sequence[Grown]) -> str:
    """One table: calls, rows and CPU of each step, at each size."""
    head = ["stored: messages, tenants", *(f"{one.messages:,}, {one.tenants:,}" for one in grown)]
    rows = [
        [steps[0].name, *(f"{step.calls:.1f} / {step.rows:,.1f} / {step.cpu:.2f}" for step in steps)]
        for steps in zip(*(one.steps for one in grown), strict=True)
    ]
    memory = ["memory that this took, MB", *(f"{one.memory / 1e6:.0f}" for one in grown)]
    title = "Storage calls / rows that storage looked at / CPU ms of the service"
    return f"{title}:\n\n{table(head, [*rows, memory])}"


async def grow(sizes: Sequence[int], say: Callable[[str], None]) -> list[Grown]:
    """Measures at each number of stored messages, from the smallest to the largest."""
    found = []
    with TemporaryDirectory() as folder:
        empty, growth = Growth(Path(folder)), Growth(Path(folder))
        try:
            await empty.open()
            await growth.open()
            for size in sorted(sizes):
                say(f"{size:,} messages stored ...")
                await growth.fill(size)
                found.append(await growth.measure(empty))
        finally:
            await empty.close()
            await growth.close()
    return found
