"""Queue messages as the local host receives and deletes them."""

from __future__ import annotations

from aiohttp import web
from azure.storage.queue.aio import QueueServiceClient

from devtools.host.stored_messages import StoredMessages
from tests.unit.answering import account_of


async def test_a_receipt_comes_to_the_service_as_it_was_given() -> None:
    """The service's own are any characters of base64."""
    got: list[tuple[str, str]] = []

    def answer(request: web.Request) -> web.Response:
        got.append((request.path, request.query["popreceipt"]))
        return web.Response(status=204)

    async with account_of("Queue", answer) as account, QueueServiceClient.from_connection_string(account) as service:
        await StoredMessages(service, "inbound").delete("an-id", "AgA+b/c==&d")
    assert got == [("/a/inbound/messages/an-id", "AgA+b/c==&d")]
