"""Actions: how a message is addressed, completed and answered, and what is refused."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.scenarios.common import assert_problem, basic, messages_of, settled
from tests.stack import Client, Stack


@pytest.fixture
async def connected(stack: Stack, pair: tuple[Client, Client]) -> tuple[Client, Client, str]:
    """Two tenants, connected; the uuid of the second as the first one's contact."""
    acme, bolt = pair
    await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt)
    return acme, bolt, mine.contact_uuid


async def test_addressing(stack: Stack, connected: tuple[Client, Client, str]) -> None:
    acme, bolt, contact = connected
    me, other = acme.identity, bolt.identity
    ways: list[dict[str, Any]] = [
        {"from": me["uuid"], "to": contact},
        {"from": me["did"], "to": contact},
        {"from": me["uuid"], "to": other["did"]},
        {"from": me["did"], "to": other["did"]},
        {"to": contact},
        {"to": other["did"]},
        {"from": "", "to": contact},
        {"from": me["uuid"], "config": {"contactUuid": contact}},
        {"from": me["did"], "to": other["did"], "config": {"contactUuid": contact}},
    ]
    for number, way in enumerate(ways):
        action = await acme.post("action", {"type": "DIDCOMM", "data": {"message": basic(number)}, **way})
        assert (action["from"], action["to"]) == (me["did"], other["did"])
        assert action["config"] == {"contactUuid": contact}
        assert basic(number).items() <= action["data"]["message"].items()
    await bolt.receivers[0].count(len(ways))
    assert {hook.json()["message"]["content"] for hook in bolt.receivers[0].got} == set(range(len(ways)))
    assert (await acme.get("action"))["total"]["value"] == len(ways)


async def test_the_identity_chosen_is_the_one_that_acts(stack: Stack, connected: tuple[Client, Client, str]) -> None:
    acme, _, contact = connected
    second = await acme.post("identity", {"displayName": "Second"})
    answer = await acme.call("POST", "action", {"type": "DIDCOMM", "from": second["uuid"], "to": contact})
    assert_problem(answer, 409, "not-connected")
    answer = await acme.call("POST", "action", {"type": "DIDCOMM", "from": second["did"], "to": contact})
    assert_problem(answer, 409, "not-connected")


async def test_without_data_then_with(connected: tuple[Client, Client, str]) -> None:
    acme, bolt, contact = connected
    action = await acme.post("action", {"type": "DIDCOMM", "to": contact, "command": "message"})
    assert action["data"] is None
    assert action["referenceID"] == action["uuid"]
    assert await messages_of(acme, action["uuid"]) == []
    sent = await acme.post(f"action/{action['uuid']}", {"command": "message", "data": {"message": basic("late")}}, 200)
    assert sent["uuid"] == action["uuid"]
    got = (await bolt.receivers[0].until(lambda hook: True)).json()
    assert got["message"]["~thread"] == {"thid": action["uuid"]}
    assert uuid.UUID(got["message"]["@id"]).version == 4
    [kept] = await settled(acme, action["uuid"], 1)
    assert kept["uuid"] == sent["messages"][0]
    shown = await acme.get(f"action/{action['uuid']}")
    assert (shown["status"], shown["typeStatus"]) == ("ACTIVE", "SENT")
    assert shown["createdAt"] == action["createdAt"] <= shown["updatedAt"]
    deliveries = await acme.get(f"delivery?message={kept['uuid']}")
    assert [(hit["kind"], hit["status"], hit["responseStatus"]) for hit in deliveries["hits"]] == [
        ("didcomm", "DELIVERED", 202)
    ]


async def test_an_action_is_made_once_for_a_reference(connected: tuple[Client, Client, str]) -> None:
    acme, bolt, contact = connected
    first = await acme.post("action", {"type": "DIDCOMM", "to": contact, "referenceID": "order 1"})
    again = await acme.post("action", {"type": "DIDCOMM", "to": contact, "referenceID": "order 1"})
    assert again["uuid"] == first["uuid"]
    assert again["createdAt"] == first["createdAt"]
    sent = await acme.act(contact, basic(), referenceID="order 1")
    assert (sent["uuid"], sent["createdAt"]) == (first["uuid"], first["createdAt"])
    got = (await bolt.receivers[0].until(lambda hook: True)).json()
    assert got["message"]["~thread"]["thid"] == "order 1"
    found = await acme.get("action?referenceID=order%201")
    assert [hit["uuid"] for hit in found["hits"]] == [first["uuid"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"to": "00000000-0000-0000-0000-000000000000"}, 404, "contact-unknown"),
        ({"to": "did:example:nobody"}, 404, "contact-unknown"),
        ({"to": "no such contact, not even a uuid: / \\ # ? %"}, 400, "to-invalid"),
        ({"to": "x" * 3000}, 400, "to-invalid"),
        ({"from": "00000000-0000-0000-0000-000000000000"}, 404, "identity-unknown"),
        ({"from": "did:example:nobody"}, 404, "identity-unknown"),
        ({"from": "a\u0000b"}, 400, "from-invalid"),
        ({"config": {"contactUuid": "00000000-0000-0000-0000-000000000000"}}, 404, "contact-unknown"),
        ({"to": None}, 400, "to-invalid"),
        ({"to": 1}, 400, "to-invalid"),
        ({"to": ["x"]}, 400, "to-invalid"),
        ({"from": {}}, 400, "from-invalid"),
        ({"config": {"contactUuid": 1}}, 400, "contact-uuid-invalid"),
        ({"type": "EMAIL"}, 400, "type-unsupported"),
        ({"type": None}, 400, "type-invalid"),
        ({"type": 1}, 400, "type-invalid"),
        ({"command": "delete"}, 400, "command-unsupported"),
        ({"command": 1}, 400, "command-invalid"),
        ({"referenceID": 1}, 400, "reference-id-invalid"),
        ({"referenceID": "x" * 1025}, 400, "reference-id-invalid"),
        ({"data": {}}, 400, "message-invalid"),
        ({"data": []}, 400, "message-invalid"),
        ({"data": {"message": "text"}}, 400, "message-invalid"),
        ({"data": {"message": []}}, 400, "message-invalid"),
        ({"data": {"message": {}}}, 400, "message-invalid"),
        ({"data": {"message": {"content": "no type"}}}, 400, "message-invalid"),
        ({"data": {"message": {"@type": ""}}}, 400, "message-invalid"),
        ({"data": {"message": {"@type": 1}}}, 400, "message-invalid"),
        ({"data": {"message": basic(**{"@id": 7})}}, 400, "message-invalid"),
        ({"data": {"message": basic(**{"~thread": "x"})}}, 400, "message-invalid"),
        ({"data": {"message": basic(**{"~thread": {"thid": 1}})}}, 400, "message-invalid"),
        ({"referenceID": "a", "data": {"message": basic(**{"~thread": {"thid": "b"}})}}, 400, "thread-mismatch"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
async def test_refusals(
    stack: Stack, refused: tuple[Client, str], body: dict[str, Any], status: int, code: str
) -> None:
    client, contact = refused
    answer = await client.call("POST", "action", {"type": "DIDCOMM", "to": contact, **body})
    assert_problem(answer, status, code)
    assert (await client.get("action"))["hits"] == []
    assert (await client.get("message"))["hits"] == []


@pytest.fixture(scope="module")
async def refused(stack: Stack) -> tuple[Client, str]:
    one, other = await stack.register("Refused"), await stack.register("Other")
    mine, _ = await stack.connect(one, other)
    return one, mine.contact_uuid


async def test_refusals_on_an_action(connected: tuple[Client, Client, str]) -> None:
    acme, _, contact = connected
    action = await acme.post("action", {"type": "DIDCOMM", "to": contact})
    path = f"action/{action['uuid']}"
    for body, code in (
        ({}, "message-missing"),
        ({"command": "message"}, "message-missing"),
        ({"command": "x", "data": {"message": basic()}}, "command-unsupported"),
        ({"data": {"message": {}}}, "message-invalid"),
        ({"data": {"message": basic(**{"~thread": {"thid": "other"}})}}, "thread-mismatch"),
    ):
        assert_problem(await acme.call("POST", path, body), 400, code)
    nowhere = "action/00000000-0000-0000-0000-000000000000"
    assert_problem(await acme.call("POST", nowhere, {"data": {"message": basic()}}), 404, "action-unknown")
    assert_problem(await acme.call("GET", nowhere), 404, "action-unknown")
    assert_problem(await acme.call("POST", path, b"{"), 400, "body-not-json")
    assert_problem(await acme.call("POST", path, []), 400, "body-not-an-object")
    answer = await acme.call("POST", path, b"a=b", content_type="application/x-www-form-urlencoded")
    assert_problem(answer, 415, "unsupported-media-type")
    assert await messages_of(acme, action["uuid"]) == []


async def test_the_same_id_twice(connected: tuple[Client, Client, str]) -> None:
    acme, bolt, contact = connected
    action = await acme.post("action", {"type": "DIDCOMM", "to": contact})
    path, message = f"action/{action['uuid']}", basic("once", **{"@id": "one"})
    first = await acme.post(path, {"data": {"message": message}}, 200)
    again = await acme.post(path, {"data": {"message": message}}, 200)
    assert again["messages"] == first["messages"]
    other = await acme.call("POST", path, {"data": {"message": {**message, "content": "other"}}})
    assert_problem(other, 409, "message-id-used")
    await acme.post(path, {"data": {"message": basic("two")}}, 200)
    await bolt.receivers[0].count(2)
    await settled(acme, action["uuid"], 2)
    assert sorted(hook.json()["message"]["content"] for hook in bolt.receivers[0].got) == ["once", "two"]


@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
async def test_idempotency_key(connected: tuple[Client, Client, str], size: int) -> None:
    acme, bolt, contact = connected
    body = {"type": "DIDCOMM", "to": contact, "data": {"message": basic("x" * size)}}
    key = {"idempotency_key": "a key / with ~ anything"}
    first = await acme.call("POST", "action", body, **key)
    again = await acme.call("POST", "action", body, **key)
    assert first.status == 201
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    other = await acme.call("POST", "action", {**body, "referenceID": "x"}, **key)
    assert_problem(other, 422, "idempotency-key-reused")
    path = f"action/{first.json()['uuid']}"
    assert_problem(await acme.call("POST", path, {"data": body["data"]}, **key), 422, "idempotency-key-reused")
    # Another tenant's key of the same text is another key.
    assert (await bolt.call("POST", "api-token", {}, **key)).status == 201
    await bolt.receivers[0].until(lambda hook: True)
    await asyncio.sleep(0.2)
    assert len(bolt.receivers[0].got) == 1
    assert (await acme.get("action"))["total"]["value"] == 1


async def test_an_idempotency_key_may_be_used_again_after_a_refusal(connected: tuple[Client, Client, str]) -> None:
    acme, _, contact = connected
    key = {"idempotency_key": "k"}
    answer = await acme.call("POST", "action", {"type": "DIDCOMM", "to": "did:example:nobody"}, **key)
    assert_problem(answer, 404, "contact-unknown")
    assert (await acme.call("POST", "action", {"type": "DIDCOMM", "to": contact}, **key)).status == 201
    for bad in ("", "x" * 256):
        answer = await acme.call("POST", "action", {"type": "DIDCOMM", "to": contact}, idempotency_key=bad)
        assert_problem(answer, 400, "idempotency-key-invalid")


async def test_calls_with_one_idempotency_key_at_the_same_time(connected: tuple[Client, Client, str]) -> None:
    acme, _, contact = connected
    body = {"type": "DIDCOMM", "to": contact, "data": {"message": basic()}}
    answers = await asyncio.gather(*(acme.call("POST", "action", body, idempotency_key="k") for _ in range(8)))
    assert {answer.status for answer in answers} <= {201, 409}
    made = {answer.body for answer in answers if answer.status == 201}
    assert len(made) == 1
    for answer in answers:
        if answer.status == 409:
            assert answer.json()["type"] == "urn:tnt:problem:idempotency-in-progress"
            assert answer.headers["Retry-After"] == "2"
    assert (await acme.get("action"))["total"]["value"] == 1
