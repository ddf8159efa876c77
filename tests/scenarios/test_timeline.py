"""Lists by time, their filters, search and counts, for two tenants."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import UUID

import orjson
import pytest

from tests.counting import counting
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.api import counts
from tntcore.maintenance.indexing import drop_if_lost, point, point_to_thread
from tntcore.messaging import times
from tntcore.messaging.ids import uuid_at
from tntcore.storage.commit import Unit
from tntcore.storage.records import Action, Connection, Contact, Exchange, Message, Pointer
from tntcore.storage.states import MessageStatus
from tntcore.storage.timeline import MOST_READS, Timeline
from tntcore.storage.transactions import Operation

NOW = 1_800_000_000_000
PING = "https://didcomm.org/trust-ping/2.0/ping"


async def pages(client: Client, path: str, limit: int) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = []
    token = ""
    while True:
        page = await client.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{'&next=' + token if token else ''}")
        hits += page["hits"]
        assert len(page["hits"]) <= limit
        if page["next"] is None:
            assert page["total"] == {"value": len(hits), "relation": "eq"}
            return hits
        token = page["next"]


@pytest.fixture(scope="module")
async def busy(stack: Stack) -> Foreign:
    """A tenant that sent 7 messages on threads of their own, beside another tenant that sent one."""
    client, other = await stack.register("Timed"), await stack.register("Other")
    foreign, beside = await connect_foreign(stack, client), await connect_foreign(stack, other)
    for number in range(7):
        await client.act(foreign.connection.contact_uuid, basic(number), referenceID=f"t{number}")
    await other.act(beside.connection.contact_uuid, basic("of another"), referenceID="t1")
    return foreign


@pytest.mark.parametrize("noun", ["message", "delivery", "action", "connection", "contact", "identity", "api-token"])
@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_newest_first_is_oldest_first_backwards(busy: Foreign, noun: str, limit: int) -> None:
    oldest = await pages(busy.client, f"{noun}?order=oldest", limit)
    newest = await pages(busy.client, f"{noun}?order=newest", limit)
    assert oldest
    assert [hit["uuid"] for hit in newest] == [hit["uuid"] for hit in reversed(oldest)]
    times = [hit["updatedAt" if noun == "action" else "createdAt"] for hit in oldest]
    assert times == sorted(times)
    assert {hit["uuid"] for hit in await pages(busy.client, noun, 50)} == {hit["uuid"] for hit in oldest}


async def test_threads_go_by_their_latest_message(busy: Foreign) -> None:
    client = busy.client
    [first] = (await client.get("action?thread=t0"))["hits"]
    sent = await client.call("POST", f"action/{first['uuid']}", {"data": {"message": basic("again")}})
    assert sent.status == 200
    assert (await client.get("action?order=newest&limit=1"))["hits"][0]["uuid"] == first["uuid"]


async def test_bounds(busy: Foreign) -> None:
    client = busy.client
    hits = await pages(client, "message?order=oldest", 50)
    later = quote("2100-01-01T00:00:00Z")
    for noun in ("message", "action", "connection", "contact", "identity"):
        assert await pages(client, f"{noun}?since={later}", 5) == []
        assert await pages(client, f"{noun}?order=newest&until=2020-01-01T00:00:00Z", 5) == []
        assert await pages(client, f"{noun}?order=newest&since=2020-01-01T00:00:00Z&until={later}", 5)
    third = hits[3]["sequence"]
    before = await pages(client, f"message?order=newest&until={third}", 2)
    assert [hit["uuid"] for hit in before] == [hit["uuid"] for hit in hits if hit["createdAt"] < hits[3]["createdAt"]][
        ::-1
    ]


async def test_filters_by_thread_and_short_type(busy: Foreign) -> None:
    client = busy.client
    for noun in ("message", "delivery"):
        [hit] = await pages(client, f"{noun}?thread=t1&order=newest", 5)
        assert hit["type"].endswith("basicmessage/1.0/message")
        assert await pages(client, f"{noun}?thread=nowhere", 5) == []
        for short in ("basicmessage", "basicmessage/1.0", "basicmessage/1.0/message"):
            assert len(await pages(client, f"{noun}?type={quote(short)}&order=newest", 3)) >= 7
        assert await pages(client, f"{noun}?type=trust-ping", 5) == []


async def test_counts(busy: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    """By status and by day, in one call and, beyond a thousand, day by day."""
    client = busy.client
    records = (await client.tenant()).records
    today = client.stack.app.services.now()
    unit = Unit()
    for days, status in (
        (1, MessageStatus.FAILED),
        (3, MessageStatus.FAILED),
        (3, MessageStatus.SENT),
        (30, MessageStatus.SENT),
    ):
        at = today - days * 24 * 3_600_000
        unit.create(
            Message(uuid=uuid_at(at, f"{days}{status}"), status=status, direction="OUT", type=PING, created_at=at)
        )
    await records.commit(unit)
    for read in (999, 1):
        monkeypatch.setattr(counts, "_READ", read)
        found = await client.get("message/count?type=trust-ping")
        assert (found["total"], found["relation"]) == (3, "eq")
        assert found["byStatus"] == {"FAILED": 2, "SENT": 1}
        assert [day["total"] for day in found["byDay"]] == [1, 2]
        assert found["byDay"][1]["byStatus"] == {"FAILED": 1, "SENT": 1}
        assert found["byDay"][0]["day"] == times.iso(today - 24 * 3_600_000)[:10]
    monkeypatch.setattr(counts, "MOST_COUNTED", 1)
    few = await client.get("message/count?type=trust-ping")
    assert (few["total"], few["relation"]) == (1, "gte")
    monkeypatch.undo()
    since = quote(times.iso(today - 40 * 24 * 3_600_000))
    assert (await client.get(f"message/count?type=trust-ping&since={since}&status=SENT"))["total"] == 2
    assert (await client.get("delivery/count?kind=didcomm"))["total"] >= 7
    answer = await client.call("GET", "message/count?since=2020-01-01T00:00:00Z")
    assert_problem(answer, 400, "since-invalid")
    for hit in await pages(client, "message?type=trust-ping", 50):
        await client.call("DELETE", f"message/{hit['uuid']}")


async def test_search(stack: Stack, busy: Foreign) -> None:
    client, other = await stack.register("Searcher"), busy.client
    for name, ref in (("Acme Orders", "4711"), ("Bolt", "ACME-2"), ("Ümlaut", "9")):
        await client.post("contact", {"contact": {"email": "x@p.example", "displayName": name, "internalRef": ref}})
    await other.post("contact", {"contact": {"email": "x@p.example", "displayName": "Acme of another"}})
    found = await pages(client, "contact?search=acme", 1)
    assert [hit["displayName"] for hit in found] == ["Acme Orders", "Bolt"]
    found = await pages(client, "contact?search=acme&order=newest", 5)
    assert [hit["displayName"] for hit in found] == ["Bolt", "Acme Orders"]
    assert [hit["displayName"] for hit in await pages(client, f"contact?search={quote('üML')}", 5)] == ["Ümlaut"]
    assert await pages(client, "contact?search=nobody", 5) == []


async def test_windows_find_every_record_once(stack: Stack) -> None:
    """Records close together, in one millisecond, and years apart, at a bounded number of storage calls."""
    client = await stack.register("Walker")
    records = (await client.tenant()).records
    ages = [*range(100), *([5_000_000] * 1_010), *(10**9 * number for number in range(1, 60))]
    uuids = [uuid_at(NOW - age, str(number)) for number, age in enumerate(ages)]
    for begin in range(0, len(uuids), 30):
        unit = Unit()
        for age, uuid in zip(ages[begin : begin + 30], uuids[begin : begin + 30], strict=True):
            unit.create(Contact(uuid=uuid, created_at=NOW - age, updated_at=NOW - age))
            if age != 5_000_000:
                unit.create(Action(uuid=uuid, created_at=NOW - age, updated_at=NOW - age))
        await records.commit(unit)
    apart = [uuid for age, uuid in zip(ages, uuids, strict=True) if age != 5_000_000]
    for kind, wanted in ((Contact, uuids), (Action, apart)):
        seen: list[str] = []
        position, calls = "", []
        while True:
            with counting(stack.app.services.meter) as counts:
                page = await Timeline(records, kind).page(200, newest=True, now=NOW, position=position)
            calls.append(counts["table.scan"])
            seen += [record.uuid for record in page.records]
            if page.next is None:
                break
            position = page.next
        assert sorted(seen) == sorted(wanted)
        times = [int(uuid[:8] + uuid[9:13], 16) for uuid in seen]
        assert times == sorted(times, reverse=True)
        assert max(calls) <= MOST_READS + 4, calls


async def test_rows_without_a_later_column_are_listed(busy: Foreign) -> None:
    """Actions as older versions wrote them."""
    records = (await busy.client.tenant()).records
    unit = Unit()
    unit.create_row("action~00000000-0000-8000-8000-00000000000a", {"status": "ACTIVE", "updatedAt": NOW - 10**11})
    await records.commit(unit)
    last = (await pages(busy.client, "action?order=newest", 3))[-1]
    assert last["uuid"] == "00000000-0000-8000-8000-00000000000a"
    assert orjson.dumps(last)
    assert Message.TIME == ""


async def test_rows_of_older_versions_get_pointers(stack: Stack) -> None:
    client = await stack.register("Older")
    records, storage = (await client.tenant()).records, stack.app.services.storage
    partition = client.uuid
    uuids = [str(UUID(int=number)) for number in range(3)]
    unit = Unit()
    for number, uuid in enumerate(uuids):
        for kind in ("connection", "exchange"):
            unit.create_row(f"{kind}~{uuid}", {"status": "ACTIVE", "createdAt": NOW - number})
        unit.create_row(f"contact~{uuid}", {"status": "ACCEPTED", "did": f"did:example:{number}", "named": True})
        unit.create_row(f"action~{uuid}", {"status": "ACTIVE"})
    await records.commit(unit)
    await storage.records.transact(
        partition, [Operation("merge", f"action~{uuid}", {"updatedAt": NOW - at}) for at, uuid in enumerate(uuids)]
    )
    for again in (False, True):
        for uuid in uuids:
            for indexed in (Connection, Contact, Exchange):
                assert await point(storage, indexed, partition, uuid) is not again
            thread = await records.get(Action, uuid)
            assert thread is not None
            assert await point_to_thread(storage, thread, partition) is not again
    for listed in (Connection, Exchange, Action):
        for newest in (True, False):
            page = await Timeline(records, listed, by_pointers=True).page(9, newest=newest, now=NOW)
            assert [one.uuid for one in page.records] == (uuids if newest else uuids[::-1])
    found = await records.list(Pointer, limit=9, under=Contact.pointers_of("did:example:1"))
    assert [one.record_uuid for one in found.records] == [uuids[1]]
    assert not await drop_if_lost(storage, found.records[0], partition)
    contact = await records.get(Contact, uuids[1])
    assert contact is not None
    contact.did = "did:example:other"
    unit = Unit()
    unit.change(contact)
    await records.commit(unit)
    assert not (await records.list(Pointer, limit=9, under=Contact.pointers_of("did:example:1"))).records
    await storage.records.delete(partition, contact.key)
    found = await records.list(Pointer, limit=9, under=Contact.pointers_of(contact.did))
    assert await drop_if_lost(storage, found.records[0], partition)
    assert not (await records.list(Pointer, limit=9, under=Contact.pointers_of(contact.did))).records
