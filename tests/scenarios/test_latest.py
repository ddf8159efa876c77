"""What lists of contacts and actions show of each hit with `include=latest`: its connection, its latest message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.counting import counting
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.api import contacts, latest
from tntcore.api.http import Request
from tntcore.connections import connection


async def by_uuid(client: Client, path: str) -> Mapping[str, Any]:
    return {hit["uuid"]: hit for hit in (await client.get(path))["hits"]}


@pytest.fixture
async def talking(stack: Stack) -> tuple[Foreign, Foreign, str]:
    """Two partners of one tenant, the first written to twice, and the uuid of a contact that has not answered."""
    client = await stack.register("Talking")
    one, other = await connect_foreign(stack, client), await connect_foreign(stack, client)
    for number in range(2):
        await client.act(one.connection.contact_uuid, basic(number), referenceID="thread")
    await client.act(other.connection.contact_uuid, basic("other"))
    invited = await client.post("contact", {"contact": {"email": "ada@partner.example"}})
    return one, other, invited["uuid"]


async def test_contacts_with_their_connection_and_last_message(talking: tuple[Foreign, Foreign, str]) -> None:
    one, other, invited = talking
    client = one.client
    messages = (await client.get("message?order=newest"))["hits"]
    shown = await by_uuid(client, "contact?include=latest&order=newest")
    for foreign in (one, other):
        contact = foreign.connection.contact_uuid
        last = next(message for message in messages if message["contactUuid"] == contact)
        assert shown[contact]["connection"] == {"uuid": foreign.connection.uuid, "state": "completed"}
        found = shown[contact]["lastMessage"]
        assert (found["uuid"], found["createdAt"], found["type"]) == (last["uuid"], last["createdAt"], last["type"])
        assert (found["actionUuid"], found["direction"]) == (last["actionUuid"], "OUT")
    assert shown[invited]["lastMessage"] is None
    assert shown[invited]["connection"] is None or shown[invited]["connection"]["state"] != "completed"
    plain = await by_uuid(client, "contact")
    assert plain.keys() == shown.keys()
    assert not {"connection", "lastMessage"} & set().union(*plain.values())
    searched = await by_uuid(client, "contact?include=latest&search=ada")
    assert searched.keys() == {invited}
    assert_problem(await client.call("GET", "contact?include=everything"), 400, "include-invalid")


async def test_actions_with_their_last_message(talking: tuple[Foreign, Foreign, str]) -> None:
    client = talking[0].client
    [thread] = (await client.get("action?thread=thread&include=latest"))["hits"]
    newest = (await client.get(f"message?action={thread['uuid']}&order=newest"))["hits"]
    assert len(newest) == 2
    assert thread["lastMessage"]["uuid"] == newest[0]["uuid"]
    assert "lastMessage" not in (await client.get("action?thread=thread"))["hits"][0]


async def test_the_cost_is_bounded(talking: tuple[Foreign, Foreign, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Point reads with few identities, else some queries; and no more messages than a call reads."""
    one, other, _ = talking
    client = one.client
    # Called here, not by HTTP: so only what the call does is counted.
    asked = Request("GET", "contact", {"include": "latest"}, {"tnt-subscription-key": client.key}, b"")
    with counting(client.stack.app.services.meter) as counts:
        answer = await client.stack.app.http(asked)
    few = {hit["uuid"]: hit for hit in orjson.loads(answer.body)["hits"]}
    assert 0 < counts["table.get"] <= len(few) + 5
    assert await by_uuid(client, "contact?include=latest") == few
    with monkeypatch.context() as patch:
        patch.setattr(contacts, "MOST_SHOWN", 1)
        page = await client.get("contact?include=latest&limit=200")
        rest = await client.get(f"contact?include=latest&limit=200&next={page['next']}")
        assert len(page["hits"]) == len(rest["hits"]) == 1
        assert len((await client.get("contact?limit=200"))["hits"]) == len(few)
    monkeypatch.setattr(connection, "FEW_IDENTITIES", 0)
    assert await by_uuid(client, "contact?include=latest") == few
    monkeypatch.setattr(connection, "_IN_A_FILTER", 1)
    assert await by_uuid(client, "contact?include=latest") == few
    monkeypatch.setattr(latest, "_SEARCHED", 1)
    shown = await by_uuid(client, "contact?include=latest")
    assert shown[other.connection.contact_uuid]["lastMessage"] is not None
    assert shown[one.connection.contact_uuid]["lastMessage"] is None


async def test_nothing_of_another_tenant(stack: Stack, talking: tuple[Foreign, Foreign, str]) -> None:
    beside = await connect_foreign(stack, await stack.register("Beside"))
    [hit] = (await beside.client.get("contact?include=latest"))["hits"]
    assert hit["lastMessage"] is None
    assert hit["connection"]["uuid"] == beside.connection.uuid
