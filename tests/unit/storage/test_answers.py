"""What becomes of the answers of the Table and Queue services, and of those of a proxy before them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from azure.core.exceptions import AzureError
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

from tests.unit.answering import account_of
from tntcore.storage.outage import is_away
from tntcore.storage.queues import Queue
from tntcore.storage.tables import Table
from tntcore.storage.transactions import Operation
from tntcore.telemetry import Meter

_READS: dict[str, Callable[[Table], Awaitable[object]]] = {
    "row": lambda table: table.get("p", "r"),
    "list": lambda table: table.scan("p", "a", "b", limit=1),
    "page": lambda table: table.walk(),
}


@asynccontextmanager
async def table_of(answer: Callable[[web.Request], web.Response]) -> AsyncIterator[Table]:
    async with (
        account_of("Table", answer) as account,
        TableServiceClient.from_connection_string(account, retry_total=0) as service,
    ):
        yield Table(service, "records", Meter())


@pytest.mark.parametrize("read", _READS.values(), ids=_READS)
@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        (404, "<html>no such site</html>", "text/html"),
        (404, '{"odata.error": {"code": "UnsupportedPath"}}', "application/json"),
        (200, "<html>log in</html>", "text/html"),
        (200, "<html>log in</html>", "application/json"),
        (200, "[]", "application/json"),
        (204, "", "text/plain"),
        (302, '{"value": []}', "application/json"),
    ],
)
async def test_an_answer_of_another_means_that_storage_is_away(
    read: Callable[[Table], Awaitable[object]], status: int, body: str, content_type: str
) -> None:
    """A message for a row that seemed not to exist would be refused for good."""
    async with table_of(lambda _: web.Response(status=status, text=body, content_type=content_type)) as table:
        with pytest.raises(AzureError) as raised:
            await read(table)
    assert is_away(raised.value)


@pytest.mark.parametrize("status", [200, 204, 302])
async def test_a_transaction_is_done_once_the_service_itself_says_so(status: int) -> None:
    async with table_of(lambda _: web.Response(status=status, text="{}", content_type="application/json")) as table:
        with pytest.raises(AzureError) as raised:
            await table.transact("p", [Operation("create", "r", {"a": 1})])
    assert is_away(raised.value)


@pytest.mark.parametrize("code", ["ResourceNotFound", "TableNotFound", "EntityNotFound"])
async def test_the_services_own_404_is_a_row_that_there_is_not(code: str) -> None:
    body = f'{{"odata.error":{{"code":"{code}","message":{{"lang":"en-US","value":"no"}}}}}}'
    async with table_of(lambda _: web.Response(status=404, text=body, content_type="application/json")) as table:
        assert await table.get("p", "r") is None


async def test_the_next_page_begins_where_the_service_said() -> None:
    """Its words for that are its own: any characters, and sometimes only one of the two."""
    position = {"PartitionKey": "1!8!a+b/c=&d%20e'f"}
    asked: list[dict[str, str]] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        headers = {"x-ms-continuation-NextPartitionKey": position["PartitionKey"]} if len(asked) == 1 else {}
        return web.json_response({"value": []}, headers=headers)

    async with table_of(answer) as table:
        first = await table.walk()
        assert first.next == position
        assert (await table.walk(first.next)).next is None
    assert [one.get("NextPartitionKey") for one in asked] == [None, position["PartitionKey"]]
    assert not any("NextRowKey" in one for one in asked)


@pytest.mark.parametrize(
    ("status", "body", "content_type"),
    [
        *((status, "", "text/plain") for status in (200, 202, 204, 404, 429, 502)),
        (200, "<html>log in</html>", "text/html"),
        (200, "<html>log in</html>", "application/json"),
        (201, "<html>log in", "application/xml"),
        (201, "<html>welcome</html>", "text/html"),
        (302, "", "text/plain"),
        (404, "<html>no such site</html>", "application/json"),
    ],
)
async def test_a_message_is_in_the_queue_once_the_service_itself_says_so(
    status: int, body: str, content_type: str
) -> None:
    put: list[str] = []
    async with (
        account_of("Queue", lambda _: web.Response(status=status, text=body, content_type=content_type)) as account,
        QueueServiceClient.from_connection_string(account, retry_total=0) as service,
    ):
        with pytest.raises(AzureError) as raised:
            await Queue(service, "inbound", Meter(), lambda name, delay: put.append(name)).put(b"{}")
    assert is_away(raised.value)
    assert not put


async def test_a_refused_message_is_not_taken_for_an_outage() -> None:
    async with (
        account_of("Queue", lambda _: web.Response(status=403)) as account,
        QueueServiceClient.from_connection_string(account, retry_total=0) as service,
    ):
        with pytest.raises(AzureError) as raised:
            await Queue(service, "inbound", Meter(), lambda name, delay: None).put(b"{}")
    assert not is_away(raised.value)
