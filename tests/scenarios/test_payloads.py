"""Whatever a message holds, it is stored and relayed, as it is."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest

from tests.scenarios.common import BASIC, assert_problem, basic, settled
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.dids.document import Version
from tntcore.envelope import MAX_PLAINTEXT

UNICODE = "Grüße, 你好, 🙂, \u0000\u2028\ufffe, \\ \" ' </script>"
TYPES = [
    "request-credential",
    "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/basicmessage/1.0/message",
    "https://example.com/our-own/9.9/thing",
    "x",
    "not a uri at all ' OR 1 eq 1 ~ % 🙂",
    "x" * 1024,
]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_unknown_types(stack: Stack, pair: tuple[Client, Client], version: Version) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt, version)
    for type_ in TYPES:
        action = await acme.act(mine.contact_uuid, {"@type": type_, "note": UNICODE, "ключ": [1, 2.5, None, True]})
        got = (await hook.until(lambda hook, type_=type_: hook.json()["type"] == type_)).json()  # type: ignore[misc]
        inner = got["message"] if version == "v1" else got["message"]["body"]
        assert inner["note"] == UNICODE
        assert inner["ключ"] == [1, 2.5, None, True]
        stored = await bolt.get(f"message/{got['assetUuid']}")
        assert (stored["type"], stored["status"], stored["message"]) == (type_, "RECEIVED", got["message"])
        [sent] = await settled(acme, action["uuid"], 1)
        assert sent["type"] == type_
        assert sent["status"] == "SENT"
    assert len(hook.got) == len(TYPES)


@pytest.fixture(scope="module")
async def foreign(stack: Stack) -> Foreign:
    client = await stack.register("Anything")
    await client.webhook()
    return await connect_foreign(stack, client)


@pytest.mark.parametrize(
    ("plaintext", "shown"),
    [
        (b"I AM A PRIVATE MESSAGE", "I AM A PRIVATE MESSAGE"),
        (UNICODE.encode(), UNICODE),
        (b"", None),
        (b" ", " "),
        (b"\x00\xff\xfe binary", {"base64": base64.b64encode(b"\x00\xff\xfe binary").decode()}),
        (b'[1, {"@type": "x"}]', [1, {"@type": "x"}]),
        (b'"text"', "text"),
        (b"42", 42),
        (b"null", None),
        (b"true", True),
        (b"{}", {}),
        (b'{"@type": 1, "@id": [], "~thread": "x"}', {"@type": 1, "@id": [], "~thread": "x"}),
        (b'{"content": "no type"}', {"content": "no type"}),
        (b'{ "@type" : "t" , "n": 1.0 }', {"@type": "t", "n": 1.0}),
        (b'{"@type": "t", "n": 123456789012345678901234567890}', {"@type": "t", "n": 123456789012345678901234567890}),
        (b'{"@type": "t", "n": 1e400}', '{"@type": "t", "n": 1e400}'),
        (b'{"@type": "t", "n": NaN}', '{"@type": "t", "n": NaN}'),
        (b'{"@type": "t", "@type": "u"}', {"@type": "u"}),
        (b'{"@id": "' + b"x" * 5000 + b'"}', {"@id": "x" * 5000}),
    ],
    ids=str,
)
async def test_any_payload(stack: Stack, foreign: Foreign, plaintext: bytes, shown: Any) -> None:
    hook = foreign.client.receivers[0]
    before = len(hook.got)
    assert (await stack.deliver(foreign.v1(plaintext))).status == 202
    await hook.count(before + 1)
    got = hook.got[before]
    body = json.loads(got.body)
    if plaintext:
        assert body["message"] == shown
    if isinstance(shown, dict) and "base64" not in shown:
        assert plaintext in got.body
    assert body["authenticated"] is True
    stored = await foreign.client.call("GET", f"message/{body['assetUuid']}")
    assert stored.status == 200
    if plaintext:
        assert json.loads(stored.body)["message"] == shown
    shown_action = await foreign.client.get(f"action/{body['actionUuid']}")
    assert shown_action["messages"] == [body["assetUuid"]]


def _attached(size: int) -> dict[str, Any]:
    data = base64.b64encode(bytes(range(256)) * (size // 256 + 1))[:size].decode()
    return {"@id": "a", "mime-type": "application/octet-stream", "data": {"base64": data}}


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_three_mebibytes_there_and_back(stack: Stack, pair: tuple[Client, Client], version: Version) -> None:
    acme, bolt = pair
    hook, back = await bolt.webhook(), await acme.webhook()
    mine, _ = await stack.connect(acme, bolt, version)
    attachment = _attached(3 * 1024 * 1024)
    raw = base64.b64decode(attachment["data"]["base64"])
    action = await acme.act(mine.contact_uuid, {"@type": BASIC, "files~attach": [attachment]})
    asked = (await hook.until(lambda hook: True, 20)).json()
    await _check_attachment(bolt, asked, raw)
    await bolt.post(
        f"action/{asked['actionUuid']}",
        {"data": {"message": {"@type": BASIC, "content": UNICODE, "files~attach": [attachment]}}},
        200,
    )
    answered = (await back.until(lambda hook: True, 20)).json()
    assert answered["actionUuid"] == action["uuid"]
    await _check_attachment(acme, answered, raw)
    for message in await settled(acme, action["uuid"], 2):
        assert len(orjson.dumps(message["message"])) > 3 * 1024 * 1024
        erased = await acme.call("DELETE", f"message/{message['uuid']}")
        assert erased.status == 204
        tenant = await acme.tenant()
        assert await tenant.records.stored_body(message["uuid"]) == b""


async def _check_attachment(client: Client, got: dict[str, Any], raw: bytes) -> None:
    [asset] = got["assetDataUuids"]
    value = (await client.get(f"asset-data/{asset}"))["value"]
    assert base64.b64decode(value["base64"]) == raw


def _of_size(size: int, **more: Any) -> dict[str, Any]:
    """A completed message of exactly so many bytes."""
    message = basic("", **{"@id": "big", "~thread": {"thid": "t"}, **more})
    return {**message, "content": "x" * (size - len(orjson.dumps(message)))}


async def test_the_largest_message(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt)
    body = {"type": "DIDCOMM", "to": mine.contact_uuid, "referenceID": "t"}
    answer = await acme.call("POST", "action", {**body, "data": {"message": _of_size(MAX_PLAINTEXT + 1)}})
    assert_problem(answer, 413, "message-too-large")
    assert (await acme.get("message"))["hits"] == []
    message = _of_size(MAX_PLAINTEXT)
    await acme.post("action", {**body, "data": {"message": message}})
    got = await hook.until(lambda hook: True, 20)
    assert got.json()["message"] == message


async def test_the_largest_message_over_v2(stack: Stack, pair: tuple[Client, Client]) -> None:
    """What does not fit any more once it has the form of v2 is refused at once, not found out later."""
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt, "v2")
    body = {"type": "DIDCOMM", "to": mine.contact_uuid, "referenceID": "t"}
    for size in (MAX_PLAINTEXT + 1, MAX_PLAINTEXT):
        answer = await acme.call("POST", "action", {**body, "data": {"message": _of_size(size)}})
        assert_problem(answer, 413, "message-too-large")
    assert (await acme.get("message"))["hits"] == []
    message = _of_size(MAX_PLAINTEXT - 4096)
    await acme.post("action", {**body, "data": {"message": message}})
    got = await hook.until(lambda hook: True, 20)
    assert got.json()["message"]["body"]["content"] == message["content"]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_deep_messages(stack: Stack, pair: tuple[Client, Client], version: Version) -> None:
    """As deep as it is read on the other side, and no deeper: what would be refused there is refused here."""
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt, version)
    sent = 0
    for depth in (5, 30, 31, 32, 33, 34, 100, 250, 2000):
        body = b'{"type": "DIDCOMM", "to": "%b", "data": {"message": {"@type": "t", "content": %b"x"%b}}}' % (
            mine.contact_uuid.encode(),
            b"[" * (depth - 1),
            b"]" * (depth - 1),
        )
        answer = await acme.call("POST", "action", body)
        assert answer.status in (201, 400), answer.body
        assert answer.status == 201 or depth > 30
        sent += answer.status == 201
    await hook.count(sent)
    assert {hit["status"] for hit in (await bolt.get("message"))["hits"]} == {"RECEIVED"}
