import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import azure.functions as func
import pytest
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from devtools.host import Host


@pytest.fixture(scope="session")
def storage(accounts: Iterator[str]) -> str:
    """The connection string of an account of their own."""
    return next(accounts)


class Running(Protocol):
    def __call__(
        self, app: func.FunctionApp, queues: dict[str, Any] | None = None, **options: Any
    ) -> AbstractAsyncContextManager[Host]: ...


@pytest.fixture
def running(storage: str) -> Running:
    """`async with running(app, {"batchSize": 1}, lease=2) as host`, on a free port, stopped at the end.

    `http` is that section of host.json.
    """

    @asynccontextmanager
    async def run(
        app: func.FunctionApp,
        queues: dict[str, Any] | None = None,
        http: dict[str, Any] | None = None,
        **options: Any,
    ) -> AsyncIterator[Host]:
        sections = {"queues": {"maxPollingInterval": "00:00:00.200"} | (queues or {}), "http": http or {}}
        host_json = {"extensions": sections}
        host = Host(app, host_json, storage, **({"port": 0, "grace": 3.0} | options))
        await host.start()
        try:
            yield host
        finally:
            await host.stop()

    return run


@dataclass(frozen=True)
class Queue:
    """A queue of its own for one test, with its poison queue."""

    name: str
    client: QueueClient
    poison: QueueClient

    async def put(self, body: str | bytes, raw: bool = False) -> None:
        text = str(body) if raw else base64.b64encode(body.encode() if isinstance(body, str) else body).decode()
        await self.client.send_message(text)

    async def count(self) -> int:
        """Messages in the queue, visible or leased."""
        return (await self.client.get_queue_properties()).approximate_message_count or 0

    async def poisoned(self) -> list[str]:
        """The raw texts in the poison queue; empty while it does not exist."""
        names = [queue.name async for queue in self.service.list_queues()]
        if self.poison.queue_name not in names:
            return []
        return [str(message.content) for message in await self.poison.peek_messages(32)]

    service: QueueServiceClient


@pytest.fixture
async def queue(storage: str) -> AsyncIterator[Queue]:
    name = f"q{uuid.uuid4().hex[:12]}"
    async with QueueServiceClient.from_connection_string(storage, retry_total=0) as service:
        client = service.get_queue_client(name)
        await client.create_queue()
        yield Queue(name=name, client=client, poison=service.get_queue_client(name + "-poison"), service=service)


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """`await eventually(condition)`: polls a function, plain or async, until it answers something true."""

    async def wait(condition: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not within {seconds} s")
            await asyncio.sleep(0.02)

    return wait
