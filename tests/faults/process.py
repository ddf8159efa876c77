"""A process of the service in the world of the fault tests, whose every call may be its last."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError

from devtools.memory import MemoryStorage
from tntcore.app import App
from tntcore.cloud import Cloud
from tntcore.credentials.anoncreds.work import verify
from tntcore.credentials.proof_suites import to_sign, why_not
from tntcore.delivery.slow_receivers import Called, PendingCall
from tntcore.dids.methods import Web
from tntcore.dids.resolver import Resolver
from tntcore.egress import Answer, Egress, EgressError
from tntcore.keys.custody import Custody
from tntcore.messaging.ids import UuidFactory
from tntcore.services import Services
from tntcore.storage.indexes import Indexes
from tntcore.storage.lookups import Lookups
from tntcore.storage.transactions import TransactionError
from tntcore.tenancy.audit import Audits
from tntcore.tenancy.last_used import LastUsed
from tntcore.tenancy.operators import OperatorKeys
from tntcore.tenancy.tenants import Tenants, stored_data_key
from tntcore.tenancy.usage import Usage
from tntcore.workers import Workers, within

if TYPE_CHECKING:
    from tests.faults.world import World

T = TypeVar("T")

Fault = Literal["kill", "fail", "lost", "twice"]
"""What happens to a call: the process dies before it; it fails and had no effect; it has its effect, but that is not
learnt; it has its effect twice, as where a client library repeats it unasked."""


class Killed(BaseException):
    """The process is dead: none of its calls has an effect any more, whoever catches this."""


async def give_way() -> None:
    """Lets what else is ready go on. Mostly nothing is, and a turn of the event loop costs more than all else that a
    call does here. Nothing waits for files or for the machine's clock, so there is nothing else to see to.
    """
    if asyncio.get_running_loop()._ready:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


@contextmanager
def never(item: Called) -> Iterator[PendingCall | None]:
    """Takes the place of `SlowReceivers.at_once`: each call is for its queue."""
    yield None


class NoCloud(Cloud):
    """Nothing is reached by it."""

    def __init__(self) -> None:
        return None

    async def close(self) -> None:
        return None


# These always return the same for the same arguments, unlike the others, which draw random numbers.
PURE = (to_sign, why_not, verify)


class Here(Workers):
    """What others have processes for is done at once; and what is pure, once for all processes and runs."""

    async def run(self, function: Callable[..., T], *args: object, long: bool = False) -> T:
        called = args[1] if function is within else function
        return function(*args) if called not in PURE else _once(pickle.dumps((function, args)))


@lru_cache(1024)
def _once(call: bytes) -> Any:
    function, args = pickle.loads(call)
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
        indexes = Indexes(storage.lookups, now)
        random = world.random.randbytes
        self.app = App(
            Services(
                config=world.config,
                meter=storage.meter,
                storage=storage,
                indexes=indexes,
                lookups=Lookups(storage.lookups, monotonic),
                custody=custody,
                tenants=Tenants(storage, custody, resolver.resolve, monotonic, indexes, usage.add),
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
            ),
            at_once=world.at_once,
        )
        if world.by_queue:
            for deliveries in (self.app.relay, self.app.outbound):
                deliveries._receivers.at_once = never  # type: ignore[method-assign]

    async def enter(self, name: str, *, writes: bool) -> Fault | None:
        """Every call begins here: the fault that befalls it."""
        await give_way()
        self._check()
        self.world.durable.now += self.world.tick
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
        await give_way()
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
