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
from tntcore.messaging.ids import uuid_at
from tntcore.messaging.threads import action_uuid
from tntcore.storage.commit import Unit
from tntcore.storage.records import Entry, Message, entry_id


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


NAMELESS = [
    pytest.param("v1", b"no JSON at all", id="no JSON"),
    pytest.param("v1", b'{"@type": "t", "content": "no id"}', id="v1"),
    pytest.param("v1", b'{"@type": "t", "~thread": {"thid": "known"}}', id="v1 on a thread"),
    pytest.param("v1", b"[1]", id="no object"),
    pytest.param("v2", {"type": "t", "id": "", "body": {"content": "no id"}}, id="v2"),
    pytest.param("v2", {"type": "t", "id": "", "thid": "known"}, id="v2 on a thread"),
]


def nameless(foreign: Foreign, body: Any, **how: Any) -> bytes:
    return foreign.v1(body, **how) if isinstance(body, bytes) else foreign.v2(body, **how)


@pytest.mark.parametrize(("version", "body"), NAMELESS)
async def test_without_an_id_each_envelope_is_a_message(stack: Stack, version: Version, body: Any) -> None:
    foreign = await foreign_of(stack, version)
    first, second = nameless(foreign, body), nameless(foreign, body)
    for envelope in (first, second, first, second):
        assert (await stack.deliver(envelope)).status == 202
    hits = await stored(foreign.client, 2)
    assert {(hit["status"], hit["error"]) for hit in hits} == {("RECEIVED", None)}
    assert len(foreign.client.receivers[0].got) == 2
    on_a_thread = "thid" in str(body)
    assert len({hit["actionUuid"] for hit in hits}) == (1 if on_a_thread else 2)
    shown = await foreign.client.get(f"action/{hits[0]['actionUuid']}")
    assert len(shown["messages"]) == (2 if on_a_thread else 1)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_an_envelope_spelled_otherwise_is_the_same(stack: Stack, version: Version) -> None:
    """Whoever saw an envelope cannot have its message handled again by writing it another way."""
    foreign = await foreign_of(stack, version)
    body = b"no JSON" if version == "v1" else {"type": "t", "id": ""}
    first = orjson.loads(nameless(foreign, body))
    bare = {name: value.rstrip("=") if name in ("iv", "tag", "ciphertext") else value for name, value in first.items()}
    for envelope in (first, dict(reversed(first.items())), bare, {**first, "more": 1}):
        assert (await stack.deliver(orjson.dumps(envelope, option=orjson.OPT_INDENT_2))).status == 202
    await stored(foreign.client, 1)


@pytest.mark.parametrize(("days", "number"), [(1, 1), (7, 2)])
async def test_without_an_id_what_an_older_version_stored_is_known(stack: Stack, days: int, number: int) -> None:
    """Older versions named such messages by their content. Whoever sends an envelope again does so within days."""
    foreign = await foreign_of(stack, "v1")
    records = (await foreign.client.tenant()).records
    plaintext = b'{"@type": "t", "content": "no id"}'
    digest = records.fingerprint(plaintext)
    then = stack.app.services.now() - days * 86_400_000
    before = Entry(
        uuid=entry_id(action_uuid(foreign.connection.uuid, digest), "in", digest),
        message_uuid=uuid_at(then, "before"),
        digest=digest,
        created_at=then,
    )
    unit = Unit()
    unit.create(before)
    unit.create(Message(uuid=before.message_uuid, direction="IN", created_at=then))
    await records.commit(unit)
    assert (await stack.deliver(foreign.v1(plaintext))).status == 202
    await stored(foreign.client, number)


async def test_large_duplicates_leave_nothing_behind(stack: Stack) -> None:
    foreign = await foreign_of(stack, "v1")
    await stack.app.services.storage.envelopes.ensure()
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
