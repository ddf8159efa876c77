"""The whole service on this machine for scenarios: Azurite, the local functions host, webhook receivers, a client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientSession, web

import function_app
from devtools.connect import connect_tenants
from devtools.host.host import Host
from devtools.host.settings import read_json
from devtools.ports import free_ports
from tests.contract.described import Described, note_webhook
from tests.definition_keys import DefinitionKeys
from tests.log_watch import WATCH
from tntcore.app import App
from tntcore.config import Config
from tntcore.dids.document import Version
from tntcore.storage.records import Connection, Identity
from tntcore.storage.tables import Row, Table
from tntcore.tenancy.tenants import Tenant

ROOT = Path(__file__).parent.parent
_MOST_TENANTS = 50  # of one stack


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Hook:
    """A request that a webhook receiver got."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


class Receiver:
    """A tenant's own system: answers 200, or what `answer` is told to, with `text`, and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[Hook] = []
        self.text = ""
        self.answer: Callable[[Hook], tuple[int, dict[str, str]]] = lambda hook: (200, {})
        self.url = ""
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        async def handle(request: web.BaseRequest) -> web.Response:
            hook = Hook(request.method, request.path, dict(request.headers), await request.read())
            note_webhook(hook.headers, hook.body)
            async with self._changed:
                self.got.append(hook)
                self._changed.notify_all()
            status, headers = self.answer(hook)
            return web.Response(status=status, headers=headers, text=self.text)

        def unbounded(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            loop = asyncio.get_running_loop()
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)

        self._runner = web.ServerRunner(web.Server(handle, request_factory=unbounded))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def until(self, wanted: Callable[[Hook], bool], seconds: float = 60) -> Hook:
        """The first request that is wanted, waiting for it."""
        async with asyncio.timeout(seconds), self._changed:
            while True:
                for hook in self.got:
                    if wanted(hook):
                        return hook
                await self._changed.wait()

    async def count(self, number: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.got) >= number)


@dataclass
class Client:
    """A tenant and its key."""

    stack: Stack
    uuid: str
    key: str
    identity: dict[str, str]
    receivers: list[Receiver] = field(default_factory=list)

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return await self.stack.call(method, path, body, **{"tnt-subscription-key": self.key, **headers})

    async def _taken(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Calls again while told to: on a busy machine, a few calls at a time may be more than a tenant's share."""
        for _ in range(300):
            answer = await self.call(method, path, body, **headers)
            if answer.status != 429 or b":too-much-work" not in answer.body:
                break
            await asyncio.sleep(0.2)
        return answer

    async def get(self, path: str) -> Any:
        answer = await self._taken("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    async def post(self, path: str, body: Any, status: int = 201, **headers: str) -> Any:
        answer = await self._taken("POST", path, body, **headers)
        assert answer.status == status, (answer.status, answer.body)
        return answer.json()

    async def webhook(self, match: str = ".*", **entry: Any) -> Receiver:
        """A receiver of its own, as the only entry of the tenant's webhook setting."""
        receiver = Receiver()
        await receiver.start()
        self.receivers.append(receiver)
        await self.post(
            "settings/DIDCOMM_WEBHOOK", {"setting": [{"url": receiver.url + "/hook", "match": match, **entry}]}, 200
        )
        return receiver

    async def act(self, contact: str, message: dict[str, Any], **action: Any) -> Any:
        return await self.post(
            "action",
            {
                "type": "DIDCOMM",
                "from": self.identity["uuid"],
                "to": contact,
                "data": {"message": message},
                **action,
            },
        )

    async def tenant(self) -> Tenant:
        tenant = await self.stack.app.services.tenants.get(self.uuid)
        assert tenant is not None
        return tenant


async def rows_of(table: Table, partition: str) -> AsyncIterator[Row]:
    """All rows of a partition: other tests have left some of them, at times more than a page."""
    start: str | None = ""
    while start is not None:
        page = await table.scan(partition, start, "~", limit=1000)
        for row in page.rows:
            yield row
        start = page.next


class Stack:
    def __init__(
        self, storage: str, folder: Path, definition_keys: DefinitionKeys, library: Path | None = None
    ) -> None:
        self.storage = storage
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AzureWebJobsStorage": storage,
            "TNT_PUBLIC_URL": self.url,
            "TNT_MASTER_KEY_FILE": str(folder / "master-keys.json"),
            "TNT_EGRESS_ALLOW": "127.0.0.0/8",
            "TNT_ALLOW_HTTP": "true",
            "TNT_WRONG_KEY_RATE": "0",
            "TNT_ANONCREDS_REGISTRIES": "tests.interop.file_ledger:open_registry",
        }
        self.clients: list[Client] = []
        self._definition_keys = definition_keys
        self._library = library

    async def start(self) -> None:
        os.environ.update(self.environment)
        self.host = Host(
            function_app.app,
            read_json(ROOT / "host.json"),
            self.storage,
            port=self.port,
            master_key="operator",
            lease=10,
            library=self._library,
            poll=5,
        )
        await self.host.start()
        function_app.service.config = Config.read(os.environ)
        function_app.service.on_put = self.host.wake
        self.app: App = function_app.service.app()
        self._definition_keys.share(self.app.services.slow_workers)
        # Everything is traced, as it may be where it runs, and looked at when the tests are over.
        self.app.services.tracing.sinks.append(WATCH.span)
        await self.app.services.storage.ensure()
        # The storage may be one that another stack has used.
        await self.make_operator()
        self.described = Described(self.app.routes, self.url)
        self.session = ClientSession()

    async def make_operator(self) -> None:
        """Makes the key that the tests call as an operator with."""
        first = await self.app.services.operators.first("Ada", 0, self.app.services.uuid7(), anyway=True, by="tests")
        self.operator = {"tnt_operator_key": first.key.text}

    async def stop(self) -> None:
        for client in self.clients:
            for receiver in client.receivers:
                await receiver.stop()
        WATCH.counted(self.app.services.meter)
        await self.session.close()
        await self.host.stop()
        await function_app.service.close()

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes | None) else orjson.dumps(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            given.setdefault("content-type", "application/json")
        async with self.session.request(method, f"{self.url}/api/{path}", data=data, headers=given) as response:
            answer = Answer(response.status, dict(response.headers), await response.read())
        self.described.check(method, path, data, answer.status, response.content_type, answer.body)
        return answer

    async def deliver(self, packed: bytes, media_type: str = "application/didcomm-envelope-enc") -> Answer:
        """As an external agent does."""
        return await self.call("POST", "didcomm", packed, content_type=media_type)

    async def register(self, name: str) -> Client:
        answer = await self.call("POST", "principal", {"displayName": name}, **self.operator)
        assert answer.status == 201, answer.body
        made = answer.json()
        client = Client(self, made["uuid"], made["headers"]["tnt-subscription-key"], made["identity"])
        self.clients.append(client)
        return client

    async def connect(self, one: Client, other: Client, version: Version = "v1") -> tuple[Connection, Connection]:
        """The two sides of a new connection between two tenants."""
        sides = []
        for client in (one, other):
            tenant = await client.tenant()
            identity = await tenant.records.get(Identity, client.identity["uuid"])
            assert identity is not None
            sides.append((tenant, identity))
        return await connect_tenants(self.app.services, self.app.outbound, sides[0], sides[1], version=version)

    async def eventually(self, check: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
        """What `check` answers once it answers something."""
        async with asyncio.timeout(seconds):
            while not (value := await check()):  # noqa: ASYNC110  it is told by nobody
                await asyncio.sleep(0.05)
            return value


class Stacks:
    """One stack after another, each on a storage account of its own. The emulator looks at every row of a table for
    each list, so tests take the longer, the more others left.

    Args:
        folder: makes one for the master keys of a stack.
    """

    def __init__(
        self,
        accounts: Iterator[str],
        folder: Callable[[], Path],
        definition_keys: DefinitionKeys,
        library: Path | None,
    ) -> None:
        self._accounts = accounts
        self._folder = folder
        self._definition_keys = definition_keys
        self._library = library
        self._running: Stack | None = None

    async def current(self) -> Stack:
        """Returns the running stack, or another if that one has had many tenants."""
        if self._running is None or len(self._running.clients) > _MOST_TENANTS:
            return await self.another()
        return self._running

    async def another(self) -> Stack:
        """Stops the running stack, and starts one on an empty account."""
        await self.stop()
        stack = Stack(next(self._accounts), self._folder(), self._definition_keys, self._library)
        await stack.start()
        self._running = stack
        return stack

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.stop()
        self._running = None
