"""Export and erasure of everything that is stored of one contact."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import connect_foreign
from tests.stack import Client, Stack
from tntcore.api import contacts, personal_data
from tntcore.api.http import Call
from tntcore.connections.reuse import write_reuse
from tntcore.messaging.invitations import read_invitation
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.erasure import erase
from tntcore.storage.records import (
    AssetData,
    AttachedMessage,
    Attempt,
    Connection,
    Contact,
    Delivery,
    HeldMessage,
    Message,
    PendingReuse,
    sent_id,
)
from tntcore.storage.states import DeliveryStatus, MessageStatus
from tntcore.storage.tables import Row
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant


async def exported(client: Client, uuid: str, limit: int) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token = ""
    while True:
        part = await client.get(f"contact/{uuid}/export?limit={limit}{'&next=' + token if token else ''}")
        assert part["contact"]["uuid"] == uuid
        assert len(part["items"]) <= limit
        items += part["items"]
        if part["next"] is None:
            return items
        token = part["next"]


async def test_a_contact_is_exported_and_erased_and_nothing_else(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = await stack.register("Keeper"), await stack.register("Beside")
    hook = await client.webhook()
    hook.answer = lambda got: (500, {"retry-after": "1000"})
    theirs, stays, beside = [await connect_foreign(stack, one) for one in (client, client, other)]
    large = basic("x" * 70_000, **{"@id": "1", "a~attach": [{"data": {"json": {"secret": 1}}}]})
    for foreign in (theirs, stays, beside):
        assert (await stack.deliver(foreign.v1(orjson.dumps(large)))).status == 202
        await foreign.client.act(foreign.connection.contact_uuid, basic("out"), referenceID="t")
    await hook.count(2)
    uuid = theirs.connection.contact_uuid
    offer = {"@type": "https://didcomm.org/issue-credential/1.0/offer-credential", "@id": "2", "offers~attach": []}
    assert (await stack.deliver(theirs.v1(orjson.dumps(offer)))).status == 202

    async def arrived() -> bool:
        found = await client.get(f"message?contact={uuid}")
        deliveries = (await client.get(f"delivery?contact={uuid}&kind=webhook"))["hits"]
        return len(found["hits"]) >= 3 and all(hit["attempts"] for hit in deliveries)

    await stack.eventually(arrived)
    tenant = await client.tenant()
    await make_more(stack, tenant, theirs.connection)
    whole = await exported(client, uuid, 200)
    assert {"connection", "action", "message", "delivery", "reuse"} <= {item["kind"] for item in whole}
    [reuse] = [item["record"] for item in whole if item["kind"] == "reuse"]
    assert reuse["invitation"]["label"] == "Theirs"
    connections = [item["record"] for item in whole if item["kind"] == "connection"]
    assert [one["attached"] for one in connections if one["attached"]] == [[{"@id": "enclosed"}]]
    tried = [item["record"] for item in whole if item["kind"] == "delivery" and item["record"]["kind"] == "webhook"]
    assert {attempt["responseStatus"] for one in tried for attempt in one["log"]} == {500}
    for _ in range(5):
        # A delivery to the partner may be tried again in between.
        if (paged := await exported(client, uuid, 1)) == whole:
            break
        whole = await exported(client, uuid, 200)
    assert paged == whole
    contents = [item["record"]["message"].get("content") for item in whole if item["kind"] == "message"]
    assert "x" * 70_000 in contents
    assert_problem(await other.call("GET", f"contact/{uuid}/export"), 404, "contact-unknown")
    assert_problem(await other.call("POST", f"contact/{uuid}/erase"), 404, "contact-unknown")

    monkeypatch.setattr(personal_data, "MOST", 1)
    monkeypatch.setattr(contacts, "MOST", 2)
    rows = [row async for row in rows_of_partition(stack, client)]
    mine = {uuid, theirs.connection.uuid, theirs.theirs.id, *(one["uuid"] for one in connections)}
    named = {row.key.partition("~")[0] for row in rows if any(name in text_of(row) for name in mine)}
    assert {"connection", "held", "attached", "sent", "reuse", "contact"} <= named
    erased: dict[str, int] = {}
    for _ in range(50):
        answer = await client.call("POST", f"contact/{uuid}/erase")
        assert answer.status == 200, answer.body
        body = answer.json()
        assert body["kept"]
        for kind, number in body["erased"].items():
            erased[kind] = erased.get(kind, 0) + number
        if body["done"]:
            break
    else:
        raise AssertionError("it is never done")
    assert (erased["contact"], erased["connection"]) == (1, len(connections)) == (1, 4)
    # Nothing names the contact any more, but what the answer says that it stays.
    await stack.eventually(lambda: is_drained(stack, client))
    naming = [row async for row in rows_of_partition(stack, client) if any(name in text_of(row) for name in mine)]
    assert {row.key.partition("~")[0] for row in naming} == {"audit"}
    lookups = list(theirs.our_keys.by_kid(theirs.ours))
    assert [await stack.app.services.lookups.find("key", name) for name in lookups] == [None] * len(lookups)
    assert erased["message"] == sum(item["kind"] == "message" for item in whole)
    assert_problem(await client.call("POST", f"contact/{uuid}/erase"), 404, "contact-unknown")
    for noun in ("message", "action", "delivery", "exchange", "connection", "credential", "presentation"):
        assert (await client.get(f"{noun}?contact={uuid}"))["hits"] == [], noun
    records = (await client.tenant()).records
    [left] = (await records.list(AssetData, limit=10)).records
    kept = {message.uuid for message in (await records.list(Message, limit=50)).records}
    assert left.message_uuid in kept
    deliveries = {delivery.uuid for delivery in (await records.list(Delivery, limit=50)).records}
    attempts = (await records.list(Attempt, limit=50)).records
    assert {attempt.uuid.partition(".")[0] for attempt in attempts} <= deliveries
    # Another contact, and another tenant, have all of theirs.
    for foreign in (stays, beside):
        items = await exported(foreign.client, foreign.connection.contact_uuid, 200)
        assert sum(item["kind"] == "message" for item in items) == 2
    [record] = [one for one in (await client.get("audit"))["hits"] if one["act"] == "contact.erased"]
    assert record["on"] == uuid


async def make_more(stack: Stack, tenant: Tenant, connection: Connection) -> None:
    """More connections with the contact, and what is stored of one that is not completed."""
    services, now = stack.app.services, stack.app.services.now()
    unit = Unit()
    for _ in range(3):
        unit.create(
            Connection(uuid=services.uuid7(), state="start", contact_uuid=connection.contact_uuid, created_at=now)
        )
    attached = AttachedMessage(uuid=f"{connection.uuid}.{services.uuid7()}", parent_id="i")
    attached.body = tenant.records.seal(b'{"@id": "enclosed"}', attached.key)
    unit.create(attached)
    content = read_invitation(
        {
            "@type": "https://didcomm.org/connections/1.0/invitation",
            "@id": "i1",
            "label": "Theirs",
            "recipientKeys": [KeyPairs.generate().verkey],
            "serviceEndpoint": "https://theirs.example",
        }
    )
    reuse = PendingReuse(uuid=sent_id(connection.uuid, "asked"), contact_uuid=connection.contact_uuid, created_at=now)
    write_reuse(tenant, reuse, content, Contact(uuid=connection.contact_uuid), None)
    unit.create(reuse)
    unit.create(HeldMessage(uuid=f"{connection.uuid}.{services.uuid7()}", delivery_uuid=services.uuid7()))
    await tenant.records.commit(unit)


async def rows_of_partition(stack: Stack, client: Client) -> AsyncIterator[Row]:
    start: str | None = ""
    while start is not None:
        page = await stack.app.services.storage.records.scan(client.uuid, start, "~~~", limit=500)
        start = page.next
        for row in page.rows:
            yield row


def text_of(row: Row) -> str:
    return " ".join([row.key, *(value for value in row.values.values() if isinstance(value, str))])


async def is_drained(stack: Stack, client: Client) -> bool:
    return not [row async for row in rows_of_partition(stack, client) if row.key.startswith("held~")]


async def test_an_erasure_that_was_disturbed_is_not_done(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await stack.register("Disturbed")
    foreign = await connect_foreign(stack, client)
    assert (await stack.deliver(foreign.v1(orjson.dumps(basic("in"))))).status == 202
    uuid = foreign.connection.contact_uuid
    await stack.eventually(lambda: _has_message(client, uuid))

    async def disturbed(call: Call, message: Message) -> None:
        raise Changed(message.key)

    erasers = personal_data._ERASERS
    others = [one for one in erasers if one[0] is not Message]
    monkeypatch.setattr(personal_data, "_ERASERS", ((Message, disturbed), *others))
    first = (await client.call("POST", f"contact/{uuid}/erase")).json()
    assert first["done"] is False
    assert "message" not in first["erased"]
    monkeypatch.setattr(personal_data, "_ERASERS", erasers)
    second = (await client.call("POST", f"contact/{uuid}/erase")).json()
    assert second["done"] is True
    assert second["erased"]["message"] == 1


async def _has_message(client: Client, uuid: str) -> bool:
    return bool((await client.get(f"message?contact={uuid}"))["hits"])


async def test_what_another_process_received_just_after_is_erased_by_one_more_call(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may know the connection for half a minute more."""
    client = await stack.register("Late")
    foreign = await connect_foreign(stack, client)
    tenants, contact = stack.app.services.tenants, foreign.connection.contact_uuid
    known = await tenants.recipient(await client.tenant(), "connection", foreign.connection.uuid)
    find, look_up = tenants.recipient, stack.app.services.lookups.find
    found = await look_up("key", foreign.our_keys.verkey)

    async def still(tenant: Tenant, owner: str, uuid: str) -> Any:
        return known if uuid == foreign.connection.uuid else await find(tenant, owner, uuid)

    async def still_found(kind: Any, name: str) -> Any:
        return found if name == foreign.our_keys.verkey else await look_up(kind, name)

    first = await client.post(f"contact/{contact}/erase", {}, 200)
    assert first["done"]
    with monkeypatch.context() as patch:
        patch.setattr(tenants, "recipient", still)
        patch.setattr(stack.app.services.lookups, "find", still_found)
        assert (await stack.deliver(foreign.v1(orjson.dumps(basic("late", **{"@id": "late"}))))).status == 202

        async def stored() -> Any:
            return (await client.get(f"message?contact={contact}"))["hits"]

        assert await stack.eventually(stored)
    second = await client.post(f"contact/{contact}/erase", {}, 200)
    assert second["done"]
    assert second["erased"]["message"] == 1
    assert (await client.get("message"))["hits"] == []
    assert_problem(await client.call("POST", f"contact/{contact}/erase", {}), 404, "contact-unknown")


async def test_all_attempts_of_a_delivery_are_erased(stack: Stack) -> None:
    records = (await (await stack.register("Often")).tenant()).records
    message = Message(uuid="01900000-0000-7000-8000-000000000001", direction="IN", status=MessageStatus.RECEIVED)
    delivery = Delivery(uuid=message.uuid, status=DeliveryStatus.FAILED, message_uuid=message.uuid)
    rows = [message, delivery, *(Attempt(uuid=f"{delivery.uuid}.{number:04}") for number in range(250))]
    for begin in range(0, len(rows), 90):
        unit = Unit()
        for row in rows[begin : begin + 90]:
            unit.create(row)
        await records.commit(unit)
    assert await erase(records, message)
    for kind in (Message, Delivery, Attempt):
        assert (await records.list(kind, limit=1, under=message.uuid)).records == []
