"""What those who take part in a siege have in common: tenants, agents outside, and servers, all on loopback."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from devtools.agent import Agent
from devtools.bench.load import MEDIA_TYPE
from devtools.bench.stack import Stack
from tntcore.dids.document import DidDocument
from tntcore.dids.parse import parse_document

T = TypeVar("T")
Handler = Callable[[bytes], Awaitable[None]]
UNANSWERED = 0  # in place of a status
_COME_AGAIN = (UNANSWERED, 429, 503)
_MOST_PATIENCE = 5.0  # seconds before it calls again, whatever `Retry-After` says
_ANSWER = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """To a call; `retry_after` in seconds, 0 where nothing is said of it."""

    status: int
    body: bytes = b""
    retry_after: float = 0.0

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Partner:
    """A finished connection of a tenant's with an agent outside.

    Attributes:
        verkey: of the tenant, which the agent sends to. contact: the agent, as the tenant knows it.
    """

    agent: Agent
    verkey: str
    contact: str


class Side:
    """One side of a siege: its calls come from one address, and it is told how they were answered.

    Args:
        operator: headers of an operator, who registers its tenants.
        address: of loopback.
    """

    def __init__(self, stack: Stack, operator: Mapping[str, str], address: str) -> None:
        self.stack = stack
        self.url = f"{stack.service.url}/api"
        self.answers: Counter[int] = Counter()
        self._operator = operator
        self._address = address
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        connector = TCPConnector(limit=0, local_addr=(self._address, 0))
        session = ClientSession(connector=connector, timeout=ClientTimeout(_ANSWER))
        self._session = await self._open.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def call(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Answer:
        answer = Answer(UNANSWERED)
        with suppress(ClientError, TimeoutError, OSError):
            async with self._session.request(method, f"{self.url}/{path}", data=data, headers=headers) as response:
                wait = response.headers.get("retry-after", "")
                answer = Answer(response.status, await response.read(), float(wait) if wait.isdigit() else 0.0)
        self.answers[answer.status] += 1
        return answer

    async def deliver(self, packed: bytes, media_type: str = MEDIA_TYPE) -> Answer:
        """As an agent outside does."""
        return await self.call("POST", "didcomm", packed, {"content-type": media_type})

    async def register(self, name: str) -> Tenant:
        body = orjson.dumps({"displayName": name})
        made = await self.call("POST", "principal", body, {**self._operator, "content-type": "application/json"})
        return Tenant(self, made.json())

    async def serve(self, handle: Handler, host: str = "127.0.0.1", port: int = 0) -> str:
        """A server that answers 200 to what `handle` has taken; its URL."""

        async def take(request: web.BaseRequest) -> web.Response:
            await handle(await request.read())
            return web.Response()

        def unbounded(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
            loop = asyncio.get_running_loop()
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=0)

        runner = web.ServerRunner(web.Server(take, request_factory=unbounded), shutdown_timeout=0.1)
        await runner.setup()
        self._open.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        return f"http://{host}:{runner.addresses[0][1]}"

    async def partner(self, tenant: Tenant, endpoint: str) -> Partner:
        """Connects the tenant with a new agent at this endpoint."""
        agent = Agent(endpoint)
        [verkey] = await self.stack.connect(tenant.uuid, tenant.identity["uuid"], [agent])
        contacts = (await tenant.get("contact?limit=200"))["hits"]
        [contact] = [contact["uuid"] for contact in contacts if contact["did"] == agent.peer_2]
        return Partner(agent, verkey, contact)

    async def introduce(self, one: Tenant, other: Tenant) -> str:
        """Connects two tenants by an invitation; the contact that `one` knows `other` by."""
        invited = await one.post("invitation", {})
        await other.post("contact", {"invitationId": invited["uuid"]})
        for _ in range(600):
            hits = (await one.get(f"connection?state=completed&invitation={invited['uuid']}"))["hits"]
            if hits:
                return str(hits[0]["contactUuid"])
            await asyncio.sleep(0.1)
        raise TimeoutError("two tenants could not be connected within a minute")


class Refused(Exception):
    """A tenant's call was not answered with 2xx."""

    def __init__(self, answer: Answer, call: str) -> None:
        super().__init__(f"{call} was answered {answer.status}: {answer.body[:500].decode(errors='replace')}")
        self.answer = answer


class Tenant:
    """A tenant of the service, and its key. `made`: as its registration was answered."""

    def __init__(self, side: Side, made: Mapping[str, Any]) -> None:
        self.side = side
        self.uuid: str = made["uuid"]
        self.identity: dict[str, str] = made["identity"]
        self.headers: dict[str, str] = made["headers"]

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        data = None if body is None else orjson.dumps(body)
        given = {**self.headers, "content-type": "application/json", **headers}
        return await self.side.call(method, path, data, given)

    async def get(self, path: str) -> Any:
        return self._read(await self.call("GET", path), f"GET {path}")

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        return self._read(await self.call("POST", path, body, **headers), f"POST {path}")

    async def document(self) -> DidDocument:
        """Of its identity, as everybody gets it."""
        path = self.identity["did"].split(":", 3)[3].replace(":", "/").removeprefix("api/")
        return parse_document((await self.side.call("GET", f"{path}/did.json", None, {})).json())

    async def webhooks(self, *urls: str, key: str = "DIDCOMM_WEBHOOK") -> None:
        await self.post(f"settings/{key}", {"setting": [{"url": url} for url in urls]})

    async def act(self, contact: str, message: Mapping[str, Any], **headers: str) -> Any:
        body = {"type": "DIDCOMM", "to": contact, "data": {"message": message}}
        return await self.post("action", body, **headers)

    @staticmethod
    def _read(answer: Answer, call: str) -> Any:
        if not 200 <= answer.status < 300:
            raise Refused(answer, call)
        return answer.json()


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Calls until it is taken, as `Retry-After` says. Raises `Refused` where coming again is of no use."""
    while True:
        try:
            return await call()
        except Refused as refused:
            if refused.answer.status not in _COME_AGAIN:
                raise
            await asyncio.sleep(min(refused.answer.retry_after or 1.0, _MOST_PATIENCE))
