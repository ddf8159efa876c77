"""Messages to a contact whose DID exchange is not finished wait, and go out by themselves, in order, when it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.scenarios.common import basic, contact_out_of_reach, messages_of, settled
from tests.stack import Client, Stack
from tntcore.delivery.outbox import GRACE
from tntcore.dids.document import Version
from tntcore.maintenance import sweep
from tntcore.storage.commit import Unit
from tntcore.storage.records import Connection, Delivery
from tntcore.storage.repository import Repository


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_held_until_connected(stack: Stack, pair: tuple[Client, Client], version: Version) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    assert contact["status"] == "REQUESTED"
    action = await acme.act(contact["uuid"], basic(0))
    assert action["typeStatus"] == "HELD"
    for number in range(1, 5):
        await acme.post(f"action/{action['uuid']}", {"data": {"message": basic(number)}}, 200)
    other = await acme.act(contact["uuid"], basic(5), referenceID="another thread")
    for message in [*await messages_of(acme, action["uuid"]), *await messages_of(acme, other["uuid"])]:
        assert message["status"] == "HELD"
        [delivery] = (await acme.get(f"delivery?message={message['uuid']}"))["hits"]
        assert (delivery["status"], delivery["attempts"], delivery["nextAttemptAt"]) == ("HELD", 0, None)
    connection = await acme.get(f"connection/{contact['connectionUuid']}")
    assert (connection["state"], connection["myDid"]) == ("start", None)
    assert hook.got == []

    await stack.connect(acme, bolt, version)
    await hook.count(6)
    # Webhook calls may overtake each other: `sequence` is the order of receipt.
    received = sorted((got.json() for got in hook.got), key=lambda got: str(got["sequence"]))
    contents = [(got["message"].get("body") or got["message"])["content"] for got in received]
    assert contents == [0, 1, 2, 3, 4, 5]
    assert (await acme.get(f"contact/{contact['uuid']}"))["status"] == "ACCEPTED"
    assert (await acme.get(f"connection/{contact['connectionUuid']}"))["state"] == "completed"
    for message in await settled(acme, action["uuid"], 5):
        assert message["status"] == "SENT"
        [delivery] = (await acme.get(f"delivery?message={message['uuid']}"))["hits"]
        assert (delivery["status"], delivery["attempts"]) == ("DELIVERED", 1)
    assert (await acme.get(f"action/{action['uuid']}"))["typeStatus"] == "SENT"


async def test_what_was_held_by_a_clock_that_is_ahead_goes_at_once(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    await acme.act(contact["uuid"], basic(0))
    [delivery] = (await acme.get("delivery"))["hits"]
    ahead = stack.app.services.now() + 90_000
    unit = Unit()
    unit.merge(Delivery.row_key(delivery["uuid"]), {"createdAt": ahead, "updatedAt": ahead, "nextAttemptAt": ahead})
    await (await acme.tenant()).records.commit(unit)
    await stack.connect(acme, bolt)
    await hook.count(1, seconds=30)


async def test_a_drain_that_comes_before_the_time_of_an_attempt_comes_again(
    stack: Stack, pair: tuple[Client, Client]
) -> None:
    """A process whose clock is ahead has set the time of the next attempt, and no other drain is scheduled for it."""
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    await acme.act(contact["uuid"], basic(0))
    [delivery] = (await acme.get("delivery"))["hits"]
    unit = Unit()
    ahead = stack.app.services.now() + 3_000
    unit.merge(Delivery.row_key(delivery["uuid"]), {"attempts": 1, "nextAttemptAt": ahead})
    await (await acme.tenant()).records.commit(unit)
    await stack.connect(acme, bolt)
    await hook.count(1, seconds=30)
    assert stack.app.services.now() >= ahead - 1_000


async def test_sent_while_the_connection_is_completed(stack: Stack, pair: tuple[Client, Client]) -> None:
    """Whatever the moment, each arrives once."""
    acme, bolt = pair
    hook = await bolt.webhook()
    contact = await contact_out_of_reach(acme, bolt.identity["did"])

    async def send(number: int) -> None:
        await asyncio.sleep(number * 0.005)
        await acme.act(contact["uuid"], basic(number))

    await asyncio.gather(*(send(number) for number in range(20)), stack.connect(acme, bolt))
    await hook.count(20)

    async def all_sent() -> bool:
        hits = (await acme.get("message"))["hits"]
        return len(hits) == 20 and all(hit["status"] == "SENT" for hit in hits)

    await stack.eventually(all_sent)
    assert sorted(got.json()["message"]["content"] for got in hook.got) == list(range(20))


async def test_held_for_a_contact_that_is_deleted(stack: Stack, pair: tuple[Client, Client]) -> None:
    """What can never be sent does not wait for ever: its owner sees that it failed."""
    acme, bolt = pair
    contact = await contact_out_of_reach(acme, bolt.identity["did"])
    action = await acme.act(contact["uuid"], basic())
    assert (await acme.call("DELETE", f"contact/{contact['uuid']}")).status == 204

    async def failed() -> bool:
        [message] = await messages_of(acme, action["uuid"])
        return bool(message["status"] == "FAILED")

    await stack.eventually(failed)
    [delivery] = (await acme.get(f"delivery?action={action['uuid']}"))["hits"]
    assert (delivery["status"], delivery["error"]) == ("FAILED", "connection-gone")
    answer = await acme.call("POST", f"action/{action['uuid']}", {"data": {"message": basic()}})
    assert answer.status == 404


async def test_messages_held_for_who_never_answers_cost_the_sweeper_next_to_nothing(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are, and whatever the number of contacts; and the next tenant is not kept waiting for them."""
    monkeypatch.setattr(sweep, "_LOOKS", 3)
    for number in range(5):
        made = await pair[0].post("contact", {"contact": {"email": f"nobody{number}@example.com"}})
        for _ in range(4):
            await pair[0].act(made["uuid"], basic())
    records = await pair[0].tenant()
    looked: list[str] = []
    get = Repository.get

    async def counting(self: Repository, kind: Any, uuid: str) -> Any:
        if kind is Connection and self.principal == records.uuid:
            looked.append(uuid)
        return await get(self, kind, uuid)

    monkeypatch.setattr(Repository, "get", counting)
    services = stack.app.services
    later = replace(services, now=lambda: services.now() + 2 * GRACE)
    sweeper = sweep.Sweep(later, stack.app.outbox, stack.app.outbound, stack.app.relay._replays)
    for expected in (3, 5, 8):
        await sweeper.run()
        assert len(looked) == expected
    assert len(set(looked[:5])) == 5
