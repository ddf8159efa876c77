"""Invitations of DIDComm v2, and what came of an answer to one."""

from __future__ import annotations

from typing import Any

from tests.scenarios.agent import Agent
from tests.scenarios.test_did_exchange import only_connection
from tests.stack import Client
from tntcore.dids import peer
from tntcore.dids.document import DidDocument
from tntcore.storage.records import Connection

FORM = {"form": "out-of-band/2"}


async def other_agent(agent: Agent) -> Agent:
    """Another one, with the same inbox."""
    return Agent(agent._stack, agent.inbox)


async def invite(client: Client, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = await client.post("invitation", {**FORM, **more})
    return made


def inviter(invited: dict[str, Any]) -> DidDocument:
    return peer.resolve(invited["invitation"]["from"])


def answering(invited: dict[str, Any], content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"id": content, "pthid": invited["invitation"]["id"], "body": {"content": content}, **more}


async def received(client: Client, content: str) -> dict[str, Any]:
    """The stored message with that content."""

    async def check() -> dict[str, Any] | None:
        for hit in (await client.get("message?direction=IN"))["hits"]:
            shown: dict[str, Any] = await client.get(f"message/{hit['uuid']}")
            message = shown["message"]
            if isinstance(message, dict) and message.get("body", {}).get("content") == content:
                return shown
        return None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


async def refused(client: Client, content: str) -> str:
    found = await received(client, content)
    assert (found["status"], found["authenticated"]) == ("REJECTED", False)
    assert found["actionUuid"] is None
    return str(found["error"])


async def kept(client: Client) -> Connection:
    """The only connection of a tenant, as it is stored."""
    shown = await only_connection(client)
    connection = await (await client.tenant()).records.get(Connection, shown["uuid"])
    assert connection is not None
    return connection
