"""Two processes of the service on one storage: what one has in memory may be older than what the other wrote."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest

from tests.scenarios.common import basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.app import App
from tntcore.config import Config
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.envelope import NeedsDocument, pack_v1
from tntcore.errors import DidError
from tntcore.protocols import did_rotate
from tntcore.storage.commit import Unit
from tntcore.storage.records import AttachedMessage, Message
from tntcore.tenancy.recipients import KeyPairs


@pytest.fixture
async def other(stack: Stack) -> AsyncIterator[App]:
    """A second process."""
    app = App.open(Config.read(stack.environment))
    yield app
    await app.close()


def inbound_body(stack: Stack, foreign: Foreign, packed: bytes) -> bytes:
    """The queue message in which the door puts an envelope for the connection."""
    item = {
        "id": stack.app.services.uuid7(),
        "p": foreign.client.uuid,
        "o": "connection",
        "u": foreign.connection.uuid,
        "e": packed.decode(),
    }
    return orjson.dumps({"items": [item]})


def did_of(keys: KeyPairs) -> str:
    services = didcomm_services("http://127.0.0.1:9/x", "#key-2")
    return peer.create_2([("E", keys.x25519.public), ("V", keys.ed25519.public)], services)


def plain(message: dict[str, object]) -> bytes:
    return orjson.dumps({"@id": f"id of {message}", **message})


async def test_a_message_under_a_new_did_is_not_refused_by_who_knows_the_old_one(stack: Stack, other: App) -> None:
    acme = await stack.register("Acme")
    foreign = await connect_foreign(stack, acme)
    await other.inbound.handle(inbound_body(stack, foreign, foreign.v1(plain(basic(1)))), 1)
    new = KeyPairs.generate()
    did = did_of(new)
    rotate = foreign.v1(orjson.dumps(did_rotate.rotate(message_id="r", to_did=did)))
    await stack.app.inbound.handle(inbound_body(stack, foreign, rotate), 1)
    later = pack_v1(plain(basic(2)), recipients=[foreign.our_keys.verkey], sender=new.ed25519)
    await other.inbound.handle(inbound_body(stack, foreign, later), 1)
    hits = (await acme.get("message?direction=IN"))["hits"]
    assert [hit["status"] for hit in hits] == ["RECEIVED"] * 3


async def test_a_message_inside_an_invitation_can_be_read_but_does_nothing(stack: Stack) -> None:
    acme = await stack.register("Acme")
    foreign = await connect_foreign(stack, acme)
    tenant = await acme.tenant()
    mallory = KeyPairs.generate()
    did = peer.create_2(
        [("E", mallory.x25519.public), ("V", mallory.ed25519.public)],
        didcomm_services("http://127.0.0.1:9/x", "#key-2"),
    )
    attached = AttachedMessage(uuid=f"{foreign.connection.uuid}.00")
    attached.body = tenant.records.seal(orjson.dumps(did_rotate.rotate(message_id="m", to_did=did)), attached.key)
    unit = Unit()
    unit.create(attached)
    await tenant.records.commit(unit)
    item = {"id": stack.app.services.uuid7(), "p": acme.uuid, "o": "connection", "u": foreign.connection.uuid}
    await stack.app.inbound.handle(orjson.dumps({"items": [{**item, "r": attached.uuid}]}), 1)
    stored = await tenant.records.get(Message, item["id"])
    assert stored is not None
    assert (stored.status, stored.authenticated) == ("RECEIVED", False)
    connection = await acme.get(f"connection/{foreign.connection.uuid}")
    assert connection["theirDid"] == foreign.theirs.id


async def test_what_fails_for_another_reason_than_itself_is_put_off_and_not_given_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = await stack.register("Acme")
    foreign = await connect_foreign(stack, acme)
    body = inbound_body(stack, foreign, foreign.v1(plain(basic(1))))
    put: list[tuple[bytes, int]] = []

    async def later(content: bytes, *, delay: int = 0) -> None:
        put.append((content, delay))

    def out_of_order(*_: object) -> None:
        raise OSError("no storage")

    with monkeypatch.context() as broken:
        broken.setattr(stack.app.services.storage.queues["inbound"], "put", later)
        broken.setattr("tntcore.pipeline.opening.envelope.unpack", out_of_order)
        for count in (1, 2, 3):
            with pytest.raises(OSError, match="no storage"):
                await stack.app.inbound.handle(body, count)
        await stack.app.inbound.handle(body, 4)
        broken.setattr("tntcore.pipeline.opening.envelope.unpack", _needs_document)
        broken.setattr(stack.app.services.resolver, "resolve", _unresolvable)
        await stack.app.inbound.handle(put[-1][0], 1)
    assert [delay for _, delay in put] == [5, 60]
    assert (await acme.get("message"))["hits"] == []
    await stack.app.inbound.handle(put[-1][0], 1)
    assert [hit["status"] for hit in (await acme.get("message"))["hits"]] == ["RECEIVED"]


def _needs_document(*_: object) -> None:
    raise NeedsDocument("did:web:away.example")


async def _unresolvable(did: str) -> None:
    raise DidError("unresolvable", did)


async def test_an_item_that_is_cancelled_goes_back_to_the_queue(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, _ = pair
    foreign = await connect_foreign(stack, acme)
    items = [orjson.loads(inbound_body(stack, foreign, foreign.v1(plain(basic(n)))))["items"][0] for n in range(2)]
    commit = stack.app.services.storage.committer.commit
    first = True

    async def cancelled_once(*args: object) -> None:
        nonlocal first
        if first:
            first = False
            raise asyncio.CancelledError
        await commit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(stack.app.services.storage.committer, "commit", cancelled_once)
    await stack.app.inbound.handle(orjson.dumps({"items": items}), 1)

    async def both() -> bool:
        return len((await acme.get("message"))["hits"]) == 2

    await stack.eventually(both)
