"""A message that comes twice is handled once, and one that only looks like it is not lost."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.scenarios.common import basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.dids.document import Version
from tntcore.envelope import pack_v1


async def foreign_of(stack: Stack, version: Version) -> Foreign:
    client = await stack.register("Twice")
    await client.webhook()
    return await connect_foreign(stack, client, version)


def packed(foreign: Foreign, content: str, **more: Any) -> bytes:
    if foreign.connection.version == "v1":
        return foreign.v1(orjson.dumps(basic(content, **{"@id": "one", **more})))
    thread = {"thid": more["~thread"]["thid"]} if more else {}
    return foreign.v2({"id": "one", "type": "t", "body": {"content": content}, **thread})


async def stored(client: Client, number: int) -> list[dict[str, Any]]:
    """What is stored, once that many are and everything that was queued has been handled."""

    async def check() -> list[dict[str, Any]] | None:
        hits: list[dict[str, Any]] = (await client.get("message"))["hits"]
        return hits if len(hits) >= number else None

    await client.stack.eventually(check)
    await asyncio.sleep(0.3)
    hits = await check()
    assert hits is not None
    assert len(hits) == number
    return hits


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one after the other"])
async def test_the_same_message_again(stack: Stack, version: Version, at_once: bool) -> None:
    foreign = await foreign_of(stack, version)
    first = packed(foreign, "x")
    envelopes = [first, first, packed(foreign, "x") if version == "v1" else first, first]
    assert envelopes[2] != first or version == "v2"
    if at_once:
        answers = await asyncio.gather(*(stack.deliver(envelope) for envelope in envelopes))
    else:
        answers = []
        for envelope in envelopes:
            answers.append(await stack.deliver(envelope))
            await stored(foreign.client, 1)
    assert {answer.status for answer in answers} == {202}
    [message] = await stored(foreign.client, 1)
    assert message["status"] == "RECEIVED"
    assert len(foreign.client.receivers[0].got) == 1
    assert (await foreign.client.get("delivery"))["total"]["value"] == 1


async def test_the_same_v2_message_packed_again(stack: Stack) -> None:
    foreign = await foreign_of(stack, "v2")
    one, two = packed(foreign, "x"), packed(foreign, "x")
    assert one != two
    for envelope in (one, two):
        assert (await stack.deliver(envelope)).status == 202
    await stored(foreign.client, 1)
    assert len(foreign.client.receivers[0].got) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_same_id_with_other_content(stack: Stack, version: Version) -> None:
    foreign = await foreign_of(stack, version)
    assert (await stack.deliver(packed(foreign, "x"))).status == 202
    await stored(foreign.client, 1)
    for content in ("y", "y", "x", "z"):
        assert (await stack.deliver(packed(foreign, content))).status == 202
    hits = await stored(foreign.client, 3)
    contents = {(hit["message"].get("body") or hit["message"])["content"]: hit for hit in hits}
    assert {name: (hit["status"], hit["error"]) for name, hit in contents.items()} == {
        "x": ("RECEIVED", None),
        "y": ("CONFLICT", "message-id-reused"),
        "z": ("CONFLICT", "message-id-reused"),
    }
    assert len(foreign.client.receivers[0].got) == 3
    shown = await foreign.client.get(f"action/{hits[0]['actionUuid']}")
    assert sorted(shown["messages"]) == sorted(hit["uuid"] for hit in hits)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_same_id_on_another_thread(stack: Stack, version: Version) -> None:
    foreign = await foreign_of(stack, version)
    for thread in ("a", "b"):
        assert (await stack.deliver(packed(foreign, "x", **{"~thread": {"thid": thread}}))).status == 202
    hits = await stored(foreign.client, 2)
    assert {hit["status"] for hit in hits} == {"RECEIVED"}
    assert len({hit["actionUuid"] for hit in hits}) == 2


@pytest.mark.parametrize("body", [b"no JSON at all", b'{"@type": "t", "content": "no id"}', b"[1]"])
async def test_without_an_id_the_content_decides(stack: Stack, body: bytes) -> None:
    foreign = await foreign_of(stack, "v1")
    for plaintext in (body, body, body + b" "):
        assert (await stack.deliver(foreign.v1(plaintext))).status == 202
    hits = await stored(foreign.client, 2)
    assert {hit["status"] for hit in hits} == {"RECEIVED"}


async def test_large_duplicates_leave_nothing_behind(stack: Stack) -> None:
    foreign = await foreign_of(stack, "v1")
    envelopes = stack.app.services.storage.envelopes._client
    before = {blob.name async for blob in envelopes.list_blobs()}
    plaintext = orjson.dumps(basic("x" * 100_000, **{"@id": "one"}))
    for _ in range(3):
        assert (await stack.deliver(foreign.v1(plaintext))).status == 202
    [message] = await stored(foreign.client, 1)
    service = stack.app.services.storage.bodies._client
    names = [blob.name async for blob in service.list_blobs(name_starts_with=foreign.client.uuid)]
    assert names == [f"{foreign.client.uuid}/{message['uuid']}"]
    assert {blob.name async for blob in envelopes.list_blobs()} <= before


async def test_one_envelope_for_two_tenants(stack: Stack, pair: tuple[Client, Client]) -> None:
    one, other = pair
    hooks = [await client.webhook() for client in pair]
    first = await connect_foreign(stack, one)
    second = await connect_foreign(stack, other, agent=first.their_keys)
    outsider = await connect_foreign(stack, await stack.register("Third"))
    recipients = [first.our_keys.verkey, outsider.their_keys.verkey, second.our_keys.verkey]
    envelope = pack_v1(
        orjson.dumps(basic("for both", **{"@id": "one"})), recipients=recipients, sender=first.their_keys.ed25519
    )
    for _ in range(2):
        assert (await stack.deliver(envelope)).status == 202
    for foreign, hook in zip((first, second), hooks, strict=True):
        [message] = await stored(foreign.client, 1)
        assert (message["status"], message["connectionUuid"]) == ("RECEIVED", foreign.connection.uuid)
        [got] = hook.got
        assert (got.json()["authenticated"], got.json()["to"]) == (True, foreign.client.identity["did"])
    wrapped = orjson.dumps({"targetPrincipalUuid": other.uuid, "message": orjson.Fragment(envelope)})
    assert (await stack.deliver(wrapped, "application/json")).status == 202


async def test_one_envelope_for_two_keys_of_a_tenant(stack: Stack) -> None:
    """Each connection is asked for itself: the one that the sender is not the contact of does not believe it."""
    foreign = await foreign_of(stack, "v1")
    second = await connect_foreign(stack, foreign.client)
    envelope = pack_v1(
        orjson.dumps(basic("x", **{"@id": "one"})),
        recipients=[foreign.our_keys.verkey, second.our_keys.verkey, foreign.our_keys.verkey],
        sender=foreign.their_keys.ed25519,
    )
    assert (await stack.deliver(envelope)).status == 202
    hits = {hit["connectionUuid"]: hit for hit in await stored(foreign.client, 2)}
    assert hits[foreign.connection.uuid]["status"] == "RECEIVED"
    rejected = hits[second.connection.uuid]
    assert (rejected["status"], rejected["error"]) == ("REJECTED", "sender-not-connection")
    [got] = foreign.client.receivers[0].got
    assert got.json()["connectionUuid"] == foreign.connection.uuid
