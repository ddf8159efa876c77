"""What several scenarios say."""

from __future__ import annotations

import base64
from contextlib import nullcontext
from typing import Any

import pytest
from azure.storage.queue.aio import QueueServiceClient

from tests.log_watch import marker
from tests.stack import Answer, Client
from tntcore.app import App
from tntcore.delivery.slow_receivers import SlowReceivers
from tntcore.errors import DidError
from tntcore.storage.commit import Unit
from tntcore.storage.records import Invitation

BASIC = "https://didcomm.org/basicmessage/1.0/message"


def basic(content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"@type": BASIC, "content": content, "marker": marker(content), **more}


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """That the answer is this problem, in the form of RFC 9457; its members."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"].partition(";")[0] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:tnt:problem:{code}", body
    assert body["status"] == status
    assert body["detail"]
    assert body["title"]
    assert body["traceId"]
    assert set(body) == {"type", "status", "detail", "title", "traceId"}
    return body


async def messages_of(client: Client, action: str) -> list[dict[str, Any]]:
    """The messages of an action, in its order."""
    shown = await client.get(f"action/{action}")
    return [await client.get(f"message/{uuid}") for uuid in shown["messages"]]


async def settled(client: Client, action: str, number: int) -> list[dict[str, Any]]:
    """The messages of an action, once there are `number` and none is on its way."""

    async def check() -> list[dict[str, Any]] | None:
        found = await messages_of(client, action)
        done = len(found) >= number and all(message["status"] != "SENDING" for message in found)
        return found if done else None

    found: list[dict[str, Any]] = await client.stack.eventually(check)
    assert len(found) == number
    return found


async def contact_out_of_reach(client: Client, did: str) -> dict[str, Any]:
    """A new contact whose DID cannot be resolved at this moment: no DID exchange begins, and messages wait."""

    async def fail(did: str) -> None:
        raise DidError("unresolvable", "as if its host were down")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client.stack.app.services.resolver, "resolve", fail)
        made: dict[str, Any] = await client.post("contact", {"contact": {"did": did}})
    return made


async def expire(client: Client, invitation: str) -> None:
    """Has an invitation expire; a past time cannot be given when it is made."""
    records = (await client.tenant()).records
    kept = await records.get(Invitation, invitation)
    assert kept is not None
    unit = Unit()
    unit.merge(kept.key, {"expiresAt": client.stack.app.services.now() - 1})
    await records.commit(unit)


async def handle_queues(app: App, queues: QueueServiceClient) -> None:
    """Handles every queue message that can be seen, as a host does, until there is none."""
    idle = False
    while not idle:
        idle = True
        for name in app.services.storage.queues:
            client = queues.get_queue_client(name)
            async for message in client.receive_messages(max_messages=10, visibility_timeout=60):
                idle = False
                await getattr(app, name).handle(base64.b64decode(message.content), 1)
                await client.delete_message(message)


def by_queue(patch: pytest.MonkeyPatch) -> None:
    """No delivery is attempted by the function that commits it: each has a queue message."""
    patch.setattr(SlowReceivers, "at_once", lambda self, item: nullcontext())
