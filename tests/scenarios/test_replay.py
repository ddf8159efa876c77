"""Deliveries that are sent again by hand: one, or all since a time; once each, paced, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tests.scenarios.clock import HOUR, Clock
from tests.scenarios.common import assert_problem, basic, messages_of
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_deliveries import abandon, kept_back, received
from tests.stack import Client, Hook, Receiver, Stack
from tntcore.delivery import replay as replaying
from tntcore.delivery.outbox import GRACE
from tntcore.dids import peer
from tntcore.dids.build import didcomm_services
from tntcore.envelope import unpack
from tntcore.storage.commit import Unit
from tntcore.storage.records import Attempt, Connection, Delivery, Replay
from tntcore.tenancy.recipients import KeyPairs

SETTING = "settings/DIDCOMM_WEBHOOK"


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Replaying"))


async def receiver_of(client: Client, **entry: Any) -> Receiver:
    receiver = await client.webhook(id="erp", **entry)
    receiver.text = "thanks"
    return receiver


async def fail(foreign: Foreign, *contents: str) -> list[str]:
    """Messages whose webhook calls failed for good; their deliveries."""
    stack, client = foreign.stack, foreign.client
    with kept_back(stack, "relay") as items:
        for content in contents:
            await stack.app.inbound.handle(received(foreign, content), 1)
    uuids = [item["d"] for item in items]
    await change(client, uuids, {"status": "FAILED", "attempts": 10, "error": "http-503", "responseStatus": 503})
    return uuids


async def change(client: Client, uuids: list[str], values: dict[str, Any]) -> None:
    records = (await client.tenant()).records
    for uuid in uuids:
        unit = Unit()
        unit.merge(Delivery.row_key(uuid), values)
        await records.commit(unit)


async def shown(client: Client, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = await client.get(f"delivery/{uuid}")
    return found


async def until(client: Client, uuid: str, status: str) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        found = await shown(client, uuid)
        return found if found["status"] == status else None

    found: dict[str, Any] = await client.stack.eventually(check)
    return found


async def done(client: Client, uuid: str) -> dict[str, Any]:
    async def check() -> dict[str, Any] | None:
        found: dict[str, Any] = await client.get(f"delivery/replay/{uuid}")
        return found if found["status"] == "DONE" else None

    found: dict[str, Any] = await client.stack.eventually(check, 20)
    return found


async def test_one_that_failed_is_sent_again_once(foreign: Foreign) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    [uuid] = await fail(foreign, "x")
    again = await client.post(f"delivery/{uuid}/replay", None, 200)
    assert again["replayedAt"] is not None
    assert again["skipped"] is None
    delivered = await until(client, uuid, "DELIVERED")
    [hook] = erp.got
    assert {name.lower(): value for name, value in hook.headers.items()}["webhook-id"] == uuid
    assert hook.json()["eventUuid"] == uuid
    [attempt] = delivered["log"]
    assert (attempt["number"], attempt["responseStatus"], attempt["answer"]) == (11, 200, "thanks")
    # Just replayed, whether with the same key or not: nothing is sent.
    for headers in ({}, {"idempotency_key": "k"}, {"idempotency_key": "k"}):
        left = await client.post(f"delivery/{uuid}/replay", None, 200, **headers)
        assert (left["attempts"], left["skipped"]) == (11, "just-replayed")
    await asyncio.sleep(0.3)
    assert len(erp.got) == 1


async def test_replays_at_the_same_time(foreign: Foreign) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    [uuid] = await fail(foreign, "x")
    answers = await asyncio.gather(*(client.call("POST", f"delivery/{uuid}/replay") for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    assert [answer.json()["skipped"] for answer in answers].count(None) == 1
    await until(client, uuid, "DELIVERED")
    await asyncio.sleep(0.3)
    assert len(erp.got) == 1


async def test_what_was_delivered_is_sent_again_and_both_attempts_are_shown(
    foreign: Foreign, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    packed = foreign.v1(orjson.dumps(basic("x", **{"@id": "1"})))
    assert (await stack.deliver(packed)).status == 202
    uuid = (await erp.until(lambda hook: True)).json()["eventUuid"]
    first = (await until(client, uuid, "DELIVERED"))["log"]
    assert [(attempt["number"], attempt["answer"]) for attempt in first] == [(1, "thanks")]
    erp.text = ""
    await client.post(f"delivery/{uuid}/replay", None, 200)
    second = (await until(client, uuid, "DELIVERED"))["log"]
    assert second[:1] == first
    assert [(attempt["number"], attempt["answer"]) for attempt in second] == [(1, "thanks"), (2, None)]
    assert erp.got[0].body == erp.got[1].body


async def test_one_that_waits_for_its_next_attempt_is_sent_now(foreign: Foreign, stack: Stack) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    erp.answer = lambda hook: (503, {"retry-after": "3000"})
    assert (await stack.deliver(foreign.v1(b'{"@type":"waits"}'))).status == 202
    await erp.count(1)

    async def is_in(status: str) -> dict[str, Any] | None:
        [hit] = (await client.get("delivery?kind=webhook&limit=1"))["hits"]
        return (
            hit
            if (hit["type"], hit["status"], hit["error"] is None) == ("waits", status, status != "PENDING")
            else None
        )

    waiting = await stack.eventually(lambda: is_in("PENDING"))
    erp.answer = lambda hook: (200, {})
    assert (await client.post(f"delivery/{waiting['uuid']}/replay", None, 200))["status"] in ("PENDING", "DELIVERED")
    await erp.count(2)
    assert (await stack.eventually(lambda: is_in("DELIVERED")))["attempts"] == 2
    assert erp.got[0].headers["webhook-id"] == erp.got[1].headers["webhook-id"]


async def test_the_ladder_begins_anew(foreign: Foreign, stack: Stack) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    erp.answer = lambda hook: (503, {"retry-after": "3000"})
    [uuid] = await fail(foreign, "x")
    await client.post(f"delivery/{uuid}/replay", None, 200)
    await erp.count(1)

    async def failed() -> dict[str, Any] | None:
        found = await shown(client, uuid)
        return found if found["attempts"] == 11 else None

    found = await stack.eventually(failed)
    assert (found["status"], found["error"]) == ("PENDING", "http-503")
    assert found["nextAttemptAt"] > found["updatedAt"]
    # One that is on its way is left alone.
    assert (await client.post(f"delivery/{uuid}/replay", None, 200))["attempts"] == 11
    assert len(erp.got) == 1


async def test_what_cannot_arrive_is_refused(foreign: Foreign) -> None:
    client = foreign.client
    await receiver_of(client)
    [uuid] = await fail(foreign, "x")
    await client.post(SETTING, {"setting": []}, 200)
    assert_problem(await client.call("POST", f"delivery/{uuid}/replay"), 409, "webhook-removed")
    assert (await shown(client, uuid))["status"] == "FAILED"
    nobody = "00000000-0000-0000-0000-000000000000"
    assert_problem(await client.call("POST", f"delivery/{nobody}/replay"), 404, "delivery-unknown")
    assert_problem(await client.call("GET", f"delivery/replay/{nobody}"), 404, "replay-unknown")


async def test_a_message_that_failed_is_packed_anew(foreign: Foreign, receiver: Receiver, stack: Stack) -> None:
    client = foreign.client
    theirs = KeyPairs.generate()
    services = didcomm_services(receiver.url, "#key-2")
    document = peer.resolve(peer.create_2([("E", theirs.x25519.public), ("V", theirs.ed25519.public)], services))
    unit = Unit()
    unit.merge(foreign.connection.key, {"theirDid": document.id, "theirDocument": orjson.dumps(document.raw).decode()})
    await (await client.tenant()).records.commit(unit)
    stack.app.services.tenants.forget_recipient(await client.tenant(), foreign.connection.uuid)
    action = await client.act(foreign.connection.contact_uuid, basic("x", **{"@id": "1"}))
    first = await receiver.until(lambda hook: True)
    [hit] = (await client.get("delivery?kind=didcomm"))["hits"]
    await until(client, hit["uuid"], "DELIVERED")
    await change(client, [hit["uuid"]], {"status": "FAILED", "error": "http-503"})
    await client.post(f"delivery/{hit['uuid']}/replay", None, 200)
    await receiver.count(2)
    await until(client, hit["uuid"], "DELIVERED")
    second = receiver.got[1]
    assert first.body != second.body
    keys = {theirs.verkey: theirs.ed25519}
    plaintexts = [opened(hook, keys) for hook in (first, second)]
    assert plaintexts[0] == plaintexts[1]
    assert orjson.loads(plaintexts[0])["@id"] == "1"
    [message] = await messages_of(client, action["uuid"])
    assert message["status"] == "SENT"

    await change(client, [hit["uuid"]], {"status": "FAILED", "replayedAt": 1})
    connection = await (await client.tenant()).records.get(Connection, foreign.connection.uuid)
    assert connection is not None
    await abandon(client, connection)
    stack.app.services.tenants.forget_recipient(await client.tenant(), foreign.connection.uuid)
    assert_problem(await client.call("POST", f"delivery/{hit['uuid']}/replay"), 409, "connection-ended")
    await change(client, [hit["uuid"]], {"connectionUuid": "gone"})
    assert_problem(await client.call("POST", f"delivery/{hit['uuid']}/replay"), 409, "connection-ended")


def opened(hook: Hook, keys: Any) -> bytes:
    return unpack(hook.body, keys, {}).plaintext


async def test_all_since_a_time(foreign: Foreign, stack: Stack) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    before = await fail(foreign, "before")
    await asyncio.sleep(0.05)
    since, _, delivered, withheld, also = await fail(foreign, "1", "2", "fine", "3", "4")
    await change(client, [delivered], {"status": "DELIVERED"})
    await change(client, [withheld], {"status": "WITHHELD"})
    await asyncio.sleep(0.05)
    [after] = await fail(foreign, "after")
    # `since` overlaps by five seconds; what is before is so by more.
    await change(client, before, {"status": "DELIVERED"})
    asked = {"since": since, "until": after}
    made = await client.post("delivery/replay", asked, 202, idempotency_key="k")
    assert (made["status"], made["deliveryStatus"]) == ("ACTIVE", ["FAILED", "WITHHELD"])
    assert (await client.post("delivery/replay", asked, 202, idempotency_key="k"))["uuid"] == made["uuid"]
    over = await done(client, made["uuid"])
    assert (over["replayed"], over["skipped"]) == (4, 0)
    await erp.count(4)
    assert sorted(hook.json()["message"]["content"] for hook in erp.got) == ["1", "2", "3", "4"]
    assert (await shown(client, after))["status"] == "FAILED"
    await until(client, also, "DELIVERED")
    # The same again: nothing failed any more.
    again = await done(client, (await client.post("delivery/replay", asked, 202))["uuid"])
    assert (again["replayed"], len(erp.got)) == (0, 4)
    # By status, and of one webhook.
    other = {**asked, "status": "DELIVERED", "webhookId": "other"}
    assert (await done(client, (await client.post("delivery/replay", other, 202))["uuid"]))["replayed"] == 0
    resent = {**asked, "status": ["DELIVERED"], "webhookId": "erp"}
    over = await done(client, (await client.post("delivery/replay", resent, 202))["uuid"])
    assert over["replayed"] == 6
    await erp.count(10)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "since-invalid"),
        ({"since": "yesterday"}, "since-invalid"),
        ({"since": 5}, "since-invalid"),
        ({"since": ["2026-01-01"]}, "since-invalid"),
        ({"since": "2026-01-01", "until": "tomorrow"}, "until-invalid"),
        ({"since": "2026-01-01", "status": "PENDING"}, "status-invalid"),
        ({"since": "2026-01-01", "status": []}, "status-invalid"),
        ({"since": "2026-01-01", "status": [{}]}, "status-invalid"),
        ({"since": "2026-01-01", "status": {"FAILED": 1}}, "status-invalid"),
        ({"since": "2026-01-01", "webhookId": 1}, "webhook-id-invalid"),
    ],
)
async def test_replays_that_make_no_sense(foreign: Foreign, body: Any, code: str) -> None:
    assert_problem(await foreign.client.call("POST", "delivery/replay", body), 400, code)


async def test_a_large_replay_is_paced_and_goes_on_after_a_crash(
    foreign: Foreign, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "_PART", 5)
    client = foreign.client
    erp = await receiver_of(client)
    await fail(foreign, *(str(number) for number in range(22)))
    parts: list[tuple[int, bytes]] = []
    put = stack.app.services.storage.queues["relay"].put

    async def note(data: bytes, *, delay: int = 0) -> None:
        if b'"replay"' in data:
            parts.append((delay, data))
            return
        await put(data, delay=delay)

    monkeypatch.setattr(stack.app.services.storage.queues["relay"], "put", note)
    made = await client.post("delivery/replay", {"since": "2020-01-01"}, 202)
    steps = 0
    while (await client.get(f"delivery/replay/{made['uuid']}"))["status"] == "ACTIVE":
        [(delay, message)] = parts
        assert delay == (replaying._PACE if steps else 0)
        parts.clear()
        steps += 1
        records = (await client.tenant()).records
        commit = records.commit
        with monkeypatch.context() as patch:

            async def dies(unit: Unit, commit: Any = commit) -> None:
                # As if the process ended before it wrote down how far it came.
                if any(operation.row.startswith("replay~") for operation in unit.operations):
                    raise ConnectionError
                await commit(unit)

            patch.setattr(records, "commit", dies)
            with pytest.raises(ConnectionError):
                await stack.app.relay.handle(message, 1)
        # The queue gives it out again; and a second copy of it, at the same time; and a third one, when it is done.
        await asyncio.gather(*(stack.app.relay.handle(message, 2) for _ in range(2)))
        await stack.app.relay.handle(message, 3)
    # Five each time, and five more the second time: those of the first are no longer among what failed.
    assert steps == 3
    assert parts == []
    assert (await client.get(f"delivery/replay/{made['uuid']}"))["replayed"] <= 22
    await erp.count(22)
    await asyncio.sleep(0.3)
    assert len(erp.got) == 22
    await stack.app.relay.handle(message, 1)
    assert len(erp.got) == 22


async def test_a_replay_whose_queue_message_was_lost(
    foreign: Foreign, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    await fail(foreign, "x")

    async def lose(*lost: Any) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(stack.app.relay._replays, "_next", lose)
        made = await client.post("delivery/replay", {"since": "2020-01-01"}, 202)
    await stack.app.sweep.run()
    assert (await client.get(f"delivery/replay/{made['uuid']}"))["status"] == "ACTIVE"
    clock = Clock(stack.app, monkeypatch)
    clock.ahead = GRACE + 1_000
    await stack.app.relay._replays.sweep()
    await done(client, made["uuid"])
    await erp.count(1)
    due = stack.app.services.storage.due
    left = await due.scan("replay", client.uuid, f"{client.uuid}~~", limit=10)
    assert left.rows == []
    # One whose record was never written is forgotten, even if another cannot be read.
    await due.put("replay", f" ~{stack.app.services.uuid7()}", {"markedAt": "broken"})
    with monkeypatch.context() as patch:
        tenants = stack.app.services.tenants
        get = tenants.get

        async def broken(uuid: str) -> Any:
            if uuid == " ":
                raise OSError("storage")
            return await get(uuid)

        patch.setattr(tenants, "get", broken)
        await due.put("replay", f"{client.uuid}~{stack.app.services.uuid7()}", {"markedAt": 1})
        with pytest.raises(ExceptionGroup):
            await stack.app.relay._replays.sweep()
    assert (await due.scan("replay", client.uuid, f"{client.uuid}~~", limit=10)).rows == []
    [broken_row] = (await due.scan("replay", " ", " ~~", limit=10)).rows
    await due.delete("replay", broken_row.key)
    # One whose record was never written is forgotten.
    await due.put("replay", f"{client.uuid}~{stack.app.services.uuid7()}", {"markedAt": 1})
    await stack.app.relay._replays.sweep()
    assert (await due.scan("replay", client.uuid, f"{client.uuid}~~", limit=10)).rows == []


async def test_what_was_sent_again_and_lost_is_found_by_the_sweeper(
    foreign: Foreign, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    [uuid] = await fail(foreign, "x")

    async def lose(*lost: Any, **named: Any) -> None:
        return None

    with monkeypatch.context() as patch:
        patch.setattr(replaying, "redeliver", lose)
        await client.post(f"delivery/{uuid}/replay", None, 200)
    await change(client, [uuid], {"nextAttemptAt": stack.app.services.now() - HOUR})
    await stack.app.sweep.run()
    await erp.count(1)
    await until(client, uuid, "DELIVERED")


async def test_a_message_that_is_erased_takes_its_log_with_it(foreign: Foreign) -> None:
    client = foreign.client
    await receiver_of(client)
    [uuid] = await fail(foreign, "x")
    message = (await shown(client, uuid))["messageUuid"]
    await client.post(f"delivery/{uuid}/replay", None, 200)
    await until(client, uuid, "DELIVERED")
    assert (await client.call("DELETE", f"message/{message}")).status == 204
    assert_problem(await client.call("POST", f"delivery/{uuid}/replay"), 404, "delivery-unknown")
    records = (await client.tenant()).records
    assert (await records.list(Attempt, limit=10, under=uuid)).records == []


async def test_lists_by_contact_and_time(foreign: Foreign, stack: Stack) -> None:
    client = foreign.client
    await receiver_of(client)
    one, two = await fail(foreign, "1", "2")
    contact = foreign.connection.contact_uuid
    for query, expected in (
        (f"contact={contact}", [one, two]),
        (f"contactUuid={contact.upper()}", [one, two]),
        ("contact=00000000-0000-0000-0000-000000000000", []),
        (f"connection={foreign.connection.uuid}&kind=webhook", [one, two]),
        ("webhookId=erp&status=FAILED", [one, two]),
        ("webhookId=other", []),
        (f"until={one}", []),
        (f"since={two}&status=FAILED", [one, two]),
        (f"since={(datetime.now(UTC) + timedelta(hours=1)).isoformat().replace('+', '%2B')}", []),
        (f"until={(datetime.now(UTC) + timedelta(hours=1)).isoformat().replace('+', '%2B')}", [one, two]),
    ):
        found = await client.get(f"delivery?{query}")
        assert [hit["uuid"] for hit in found["hits"]] == expected, query
        assert found["total"]["value"] == len(expected)
    assert_problem(await client.call("GET", "delivery?contact=x"), 400, "contact-invalid")
    assert_problem(await client.call("GET", "delivery?since=x"), 400, "since-invalid")
    assert_problem(await client.call("GET", "delivery?until=x"), 400, "until-invalid")


async def test_the_first_20_kb_of_an_answer_are_kept_sealed(foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    client = foreign.client
    erp = await receiver_of(client)
    erp.text = "TOPSECRET" + "x" * 50_000
    records = (await client.tenant()).records
    counted: list[int] = []
    monkeypatch.setattr(records, "_wrote", counted.append)
    first, second = await fail(foreign, "1", "2")
    await client.post(f"delivery/{first}/replay", None, 200)
    await until(client, first, "DELIVERED")
    erp.answer = lambda hook: (500, {})
    await client.post(f"delivery/{second}/replay", None, 200)

    async def tried() -> list[Any]:
        log: list[Any] = (await shown(client, second))["log"]
        return log

    [failure] = await client.stack.eventually(tried)
    [success] = (await shown(client, first))["log"]
    assert success["answer"] == failure["answer"] == erp.text[:20_000]
    rows = await client.stack.app.services.storage.records.scan(client.uuid, "a", "e", limit=100)
    assert rows.rows
    values = [value for row in rows.rows for value in row.values.values() if isinstance(value, bytes)]
    assert sum(len(value) > 20_000 for value in values) == 2
    assert sum(amount > 20_000 for amount in counted) == 2  # of what the tenant may keep
    assert all(b"TOPSECRET" not in value for value in values)


async def test_a_replay_of_a_deleted_tenant(stack: Stack) -> None:
    await stack.app.relay.handle(orjson.dumps({"replay": {"p": stack.app.services.uuid7(), "r": "x", "at": ""}}), 1)
    client = await stack.register("Replays nothing")
    await stack.app.relay.handle(orjson.dumps({"replay": {"p": client.uuid, "r": "x", "at": ""}}), 1)
    assert await (await client.tenant()).records.get(Replay, "x") is None


async def test_a_message_is_sent_to_another_entry(stack: Stack, foreign: Foreign) -> None:
    """One that was not called with it, as the entry matches nothing. A second time, the same delivery is sent again."""
    client, other = foreign.client, await stack.register("Another")
    first = await receiver_of(client)
    first.answer = lambda got: (500, {"retry-after": "1000"})
    [uuid] = await fail(foreign, "to another")
    second = Receiver()
    await second.start()
    client.receivers.append(second)
    entries = [
        {"id": "erp", "url": f"{first.url}/hook", "match": ".*"},
        {"id": "crm", "url": f"{second.url}/hook", "match": "nothing at all"},
    ]
    await client.post(SETTING, {"setting": entries}, 200)
    made = await client.post(f"delivery/{uuid}/replay", {"webhookId": "crm"}, 200)
    assert (made["webhookId"], made["kind"]) == ("crm", "webhook")
    assert made["uuid"] != uuid
    assert b"to another" in (await second.until(lambda got: True)).body
    assert (await until(client, made["uuid"], "DELIVERED"))["attempts"] == 1
    assert (await shown(client, uuid))["status"] == "FAILED"
    again = await client.post(f"delivery/{uuid}/replay", {"webhookId": "crm"}, 200)
    assert again["uuid"] == made["uuid"]
    assert not first.got
    unknown = await client.call("POST", f"delivery/{uuid}/replay", {"webhookId": "nowhere"})
    assert_problem(unknown, 409, "webhook-removed")
    assert_problem(await other.call("POST", f"delivery/{uuid}/replay", {"webhookId": "crm"}), 404, "delivery-unknown")
    sent = await client.act(foreign.connection.contact_uuid, basic("out"))
    [delivery] = (await client.get(f"delivery?action={sent['uuid']}"))["hits"]
    answer = await client.call("POST", f"delivery/{delivery['uuid']}/replay", {"webhookId": "crm"})
    assert_problem(answer, 409, "delivery-not-replayable")
