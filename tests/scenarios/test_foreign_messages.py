"""Messages packed by other programs (tests/vectors) reach the tenant's webhook byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import BOBS_KEYS, connect_foreign, connect_vectors
from tests.stack import Client, Receiver, Stack
from tests.unit.envelope.samples import v1_vectors, v2_vectors
from tntcore.envelope import Signed, forward_v1, unpack

V1 = [(name, vector) for name, vector in v1_vectors() if vector["recipients"]]
V1_SIGNED = [(name, vector) for name, vector in v1_vectors() if not vector["recipients"]]
V2 = [(name, vector) for name, vector in v2_vectors() if "x25519" in name]
MEDIA_TYPES = [
    "application/didcomm-envelope-enc",
    "application/ssi-agent-wire",
    "application/didcomm-encrypted+json",
    "application/json",
    "application/json; charset=utf-8",
]


@pytest.fixture(scope="module")
async def bob(stack: Stack) -> Client:
    client = await stack.register("Bob")
    await client.webhook()
    return client


def _hook(client: Client) -> Receiver:
    return client.receivers[-1]


async def _relayed(client: Client, connection: str) -> bytes:
    got = await _hook(client).until(lambda hook: hook.json()["connectionUuid"] == connection)
    return got.body


@pytest.mark.parametrize(("number", "vector"), list(enumerate(v for _, v in V1)), ids=[name for name, _ in V1])
async def test_v1(stack: Stack, bob: Client, number: int, vector: Mapping[str, Any]) -> None:
    foreign = await connect_vectors(stack, bob, "v1")
    answer = await stack.deliver(vector["packed"].encode(), MEDIA_TYPES[number % len(MEDIA_TYPES)])
    assert (answer.status, answer.body) == (202, b"")
    body = await _relayed(bob, foreign.connection.uuid)
    got = orjson.loads(body)
    opened = unpack(vector["packed"], {BOBS_KEYS["v1"].verkey: BOBS_KEYS["v1"].ed25519}, {})
    if "plaintext_json" in vector:
        assert got["message"] == vector["plaintext_json"]
    else:
        assert opened.plaintext.decode() == vector["plaintext"]
    if "notjson" in vector["name"]:
        assert got["message"] == vector["plaintext"]
        assert got["type"] == ""
    else:
        assert body.startswith(b'{"message":' + opened.plaintext + b',"from":')
        assert got["type"] == "https://didcomm.org/basicmessage/1.0/message"
    if vector["sender"]:
        assert got["authenticated"] is True
        assert got["contactUuid"] == foreign.connection.contact_uuid
        assert got["from"] == foreign.theirs.id
    else:
        assert got["authenticated"] is False
        assert got["contactUuid"] is None
        assert got["from"] is None
    assert got["to"] == bob.identity["did"]
    stored = await bob.get(f"message/{got['assetUuid']}")
    assert stored["status"] == "RECEIVED"
    assert stored["message"] == got["message"]


@pytest.mark.parametrize("vector", [v for _, v in V1_SIGNED], ids=[name for name, _ in V1_SIGNED])
async def test_v1_signed_only_is_refused(stack: Stack, vector: Mapping[str, Any]) -> None:
    assert isinstance(unpack(vector["packed"], {}, {}), Signed)
    assert_problem(await stack.deliver(vector["packed"].encode()), 400, "message-not-encrypted")


@pytest.mark.parametrize("vector", [v for _, v in V2], ids=[name for name, _ in V2])
async def test_v2(stack: Stack, bob: Client, vector: Mapping[str, Any]) -> None:
    foreign = await connect_vectors(stack, bob, "v2")
    packed = vector["packed"]
    answer = await stack.deliver(
        packed.encode() if isinstance(packed, str) else json.dumps(packed).encode(),
        "application/didcomm-encrypted+json",
    )
    assert answer.status == 202
    got = orjson.loads(await _relayed(bob, foreign.connection.uuid))
    assert got["message"]["type"] == "https://didcomm.org/basicmessage/2.0/message"
    assert got["message"]["created_time"] == 1763800000
    assert got["message"]["body"]["content"].startswith("xxx")
    assert got["authenticated"] is bool(vector["sender"])
    assert got["contactUuid"] == (foreign.connection.contact_uuid if vector["sender"] else None)


def test_no_vector_went_missing() -> None:
    assert (len(V1), len(V1_SIGNED), len(V2)) == (48, 3, 16)


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "object"])
@pytest.mark.parametrize("target_first", [True, False])
async def test_the_wrapper_of_older_clients(stack: Stack, bob: Client, as_text: bool, target_first: bool) -> None:
    foreign = await connect_vectors(stack, bob, "v1")
    packed = V1[0][1]["packed"]
    target, message = ("targetPrincipalUuid", bob.uuid), ("message", packed if as_text else json.loads(packed))
    wrapped = dict([target, message] if target_first else [message, target])
    assert (await stack.deliver(orjson.dumps(wrapped), "application/json")).status == 202
    got = orjson.loads(await _relayed(bob, foreign.connection.uuid))
    assert got["message"] == json.loads(V1[0][1]["plaintext"])
    assert got["authenticated"] is True


async def test_the_wrapper_names_the_only_principal_it_is_for(stack: Stack, bob: Client) -> None:
    await connect_vectors(stack, bob, "v1")
    other = await stack.register("Other")
    for target in (other.uuid, "nobody", ""):
        wrapped = {"targetPrincipalUuid": target, "message": V1[0][1]["packed"]}
        assert_problem(await stack.deliver(orjson.dumps(wrapped), "application/json"), 404, "recipient-unknown")
    bad: tuple[Any, ...] = (None, 1, ["x"])
    for wrong in bad:
        wrapped = {"targetPrincipalUuid": wrong, "message": V1[0][1]["packed"]}
        assert_problem(await stack.deliver(orjson.dumps(wrapped), "application/json"), 400, "target-invalid")
    none: tuple[Any, ...] = (None, 1, [], {}, "", "x", True)
    for message in none:
        wrapped = {"targetPrincipalUuid": bob.uuid, "message": message}
        answer = await stack.deliver(orjson.dumps(wrapped), "application/json")
        assert answer.status == 400, message
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("times", [1, 3])
async def test_a_v1_message_that_is_forwarded_to_its_receiver_itself_is_opened(stack: Stack, times: int) -> None:
    client = await stack.register("Rewrapped")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    packed, key = foreign.v1(orjson.dumps(basic("wrapped", **{"@id": "wrapped"}))), foreign.our_keys.verkey
    for _ in range(times):
        packed = forward_v1(packed, to=key, routing_keys=[key], new_id=lambda: "f")
    assert (await stack.deliver(packed)).status == 202
    got = (await hook.until(lambda hook: True)).json()
    assert (got["message"]["content"], got["authenticated"]) == ("wrapped", True)
    assert len((await client.get("message?direction=IN"))["hits"]) == 1
