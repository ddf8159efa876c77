"""Webhook entries that are written one at a time, only if they are as they were read, and saved under other ids."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.scenarios.foreign import connect_foreign
from tests.scenarios.test_deliveries import body, kept_back, received
from tests.scenarios.test_replay import change, until
from tests.stack import Answer, Client, Receiver, Stack
from tntcore.storage.commit import Unit
from tntcore.storage.records import Setting
from tntcore.strict_json import write_json

SETTING = "settings/DIDCOMM_WEBHOOK"


@pytest.fixture
async def client(stack: Stack) -> Client:
    return await stack.register("Piecemeal")


def etag(answer: Answer) -> str:
    """The version that was answered; the host spells the header's name as it likes."""
    return {name.lower(): value for name, value in answer.headers.items()}["etag"]


async def saved(client: Client) -> dict[str, Any]:
    return {entry["id"]: entry for entry in (await client.get(SETTING))["setting"]}


async def test_entries_are_written_one_at_a_time(client: Client) -> None:
    assert_problem(await client.call("GET", f"{SETTING}/a"), 404, "setting-unknown")
    made = await client.call("PUT", f"{SETTING}/a", {"url": "https://a.example"})
    assert made.status == 201
    secret = made.json()["secret"]
    assert secret.startswith("whsec_")
    assert (made.json()["key"], made.json()["id"], made.json()["match"]) == ("DIDCOMM_WEBHOOK", "a", ".*")
    await client.call("PUT", f"{SETTING}/b", {"url": "https://b.example", "match": "trade"})
    before = await saved(client)
    assert list(before) == ["a", "b"]

    changed = await client.call("PUT", f"{SETTING}/a", {**before["a"], "url": "https://a.example/2"})
    assert (changed.status, "secret" in changed.json()) == (200, False)
    assert (await saved(client)) == {"a": {**before["a"], "url": "https://a.example/2"}, "b": before["b"]}
    assert (await (await client.tenant()).webhooks("DIDCOMM_WEBHOOK")).secrets["a"].shown == secret

    read = await client.call("GET", f"{SETTING}/a")
    assert read.json() == changed.json()
    assert etag(read) == etag(changed) != etag(made)

    assert (await client.call("DELETE", f"{SETTING}/a")).status == 204
    assert (await saved(client)) == {"b": before["b"]}
    assert_problem(await client.call("DELETE", f"{SETTING}/a"), 404, "entry-unknown")
    assert_problem(await client.call("GET", f"{SETTING}/a"), 404, "entry-unknown")
    audit = [(one["act"], one["details"]) for one in (await client.get("audit?limit=2"))["hits"]]
    assert ("setting.saved", {"added": [], "changed": [], "removed": ["a"]}) in audit


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (f"{SETTING}/a", {"url": "ftp://a.example"}, 400, "setting-invalid"),
        (f"{SETTING}/a", {"url": "https://a.example", "match": "("}, 400, "setting-match-invalid"),
        (f"{SETTING}/a", {"url": "https://a.example", "id": "b"}, 400, "id-invalid"),
        (f"{SETTING}/a", {"url": "https://a.example", "publicKey": 1}, 400, "public-key-invalid"),
        (f"{SETTING}/a", {}, 400, "url-invalid"),
        (f"{SETTING}/{'a' * 65}", {"url": "https://a.example"}, 400, "setting-invalid"),
        ("settings/PRINCIPAL_SETTINGS/a", {"url": "https://a.example"}, 404, "entry-unknown"),
        ("settings/OTHER/a", {"url": "https://a.example"}, 404, "setting-unknown"),
    ],
)
async def test_an_entry_that_cannot_be(client: Client, path: str, body: Any, status: int, code: str) -> None:
    assert_problem(await client.call("PUT", path, body), status, code)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("publicKey", "whpk_" + "A" * 44),
        ("status", "DISABLED"),
        ("failingSince", "2026-01-31T12:00:00.000Z"),
        ("disabledAt", "2026-01-31T12:00:00.000Z"),
        ("disabledBy", "me"),
    ],
)
async def test_nothing_that_has_no_effect_is_taken(client: Client, name: str, value: str) -> None:
    entry = {"url": "https://a.example", name: value}
    for _ in range(2):  # a new entry, and one that is there
        for call in (
            ("PUT", f"{SETTING}/a", entry),
            ("PUT", SETTING, {"setting": [{"id": "b", "url": "https://b.example"}, {"id": "a", **entry}]}),
        ):
            told = assert_problem(await client.call(*call), 400, "setting-invalid")["detail"]
            assert f"{name} is read-only" in told
            assert told.startswith("Entry 2: " if "setting" in call[2] else "The entry: ")
        await client.call("PUT", f"{SETTING}/a", {"url": "https://a.example"})
    # As it is now: also with null, with ACTIVE, and with a time in another form.
    tenant = await client.tenant()
    record = await tenant.records.get(Setting, "DIDCOMM_WEBHOOK")
    assert record is not None
    record.health = {"a": {"since": 0, "last": 0, "disabled_at": 1, "reason": "failing"}}
    unit = Unit()
    unit.upsert(record)
    await tenant.records.commit(unit)
    shown = (await saved(client))["a"]
    assert (shown["status"], shown["disabledAt"]) == ("DISABLED", "1970-01-01T00:00:00.001Z")
    given = {**shown, "failingSince": "1970-01-01T01:00:00+01:00"}
    enabled = await client.call("PUT", SETTING, {"setting": [given]})
    assert (enabled.status, enabled.json()["setting"][0]["status"]) == (200, "ACTIVE")
    again = await client.call("PUT", SETTING, {"setting": [{**shown, "status": "active"}]})
    assert (
        "failingSince is read-only, and this entry has none" in assert_problem(again, 400, "setting-invalid")["detail"]
    )
    cleared = {**shown, "status": "active", "failingSince": None, "disabledAt": None, "disabledBy": None}
    assert (await client.call("PUT", SETTING, {"setting": [cleared]})).status == 200


async def test_one_entry_too_many(client: Client) -> None:
    entries = [{"id": str(number), "url": "https://a.example"} for number in range(8)]
    await client.post("settings/TASK_WEBHOOK", {"setting": entries}, 200)
    path = "settings/TASK_WEBHOOK"
    assert_problem(await client.call("PUT", f"{path}/new", {"url": "https://a.example"}), 400, "setting-invalid")
    assert (await client.call("PUT", f"{path}/7", {"url": "https://b.example"})).status == 200


async def test_what_was_changed_meanwhile_is_not_overwritten(client: Client) -> None:
    entry = {"id": "a", "url": "https://a.example"}
    first = await client.call("PUT", SETTING, {"setting": [entry]})
    old, old_one = etag(first), etag(await client.call("GET", f"{SETTING}/a"))
    second = await client.call("PUT", SETTING, {"setting": [{**entry, "match": "x"}]}, if_match=old)
    assert second.status == 200
    for method, path, given, version in (
        ("PUT", SETTING, {"setting": []}, old),
        ("POST", SETTING, {"setting": []}, old),
        ("PUT", SETTING, {"setting": []}, "W/" + etag(second)),
        ("DELETE", SETTING, None, old),
        ("PUT", f"{SETTING}/a", {"url": "https://b.example"}, old_one),
        ("DELETE", f"{SETTING}/a", None, old_one),
        ("PUT", f"{SETTING}/new", {"url": "https://b.example"}, "*"),
        ("PUT", "settings/TASK_WEBHOOK", {"setting": []}, "*"),
    ):
        assert_problem(await client.call(method, path, given, if_match=version), 412, "precondition-failed")
    assert (await saved(client))["a"]["match"] == "x"
    none = await client.call("PUT", f"{SETTING}/a", {"url": "https://b.example"}, if_none_match="*")
    assert_problem(none, 412, "precondition-failed")
    for wrong in (old.strip('"'), "", f"{old} {old}", '"'):
        answer = await client.call("PUT", SETTING, {"setting": []}, if_match=wrong)
        assert_problem(answer, 400, "if-match-invalid")

    read = await client.call("GET", SETTING)
    assert etag(read) == etag(second)
    # Another entry does not change this one's version; its keys do.
    one = etag(await client.call("GET", f"{SETTING}/a"))
    made = await client.call("PUT", f"{SETTING}/b", {"url": "https://b.example"}, if_none_match="*")
    assert made.status == 201
    several = f'"x" , {one}'
    assert (await client.call("PUT", f"{SETTING}/a", {"url": entry["url"]}, if_match=several)).status == 200
    one = etag(await client.call("GET", f"{SETTING}/a"))
    await client.post(f"{SETTING}/a/rotate-secret", None, 200)
    assert_problem(await client.call("DELETE", f"{SETTING}/a", if_match=one), 412, "precondition-failed")
    one = etag(await client.call("GET", f"{SETTING}/a"))
    assert (await client.call("DELETE", f"{SETTING}/a", if_match=one)).status == 204


async def test_saving_one_enables_it_alone(client: Client) -> None:
    await client.post(SETTING, {"setting": [{"id": name, "url": f"https://{name}.example"} for name in "ab"]}, 200)
    health = {"since": 1, "last": 1, "disabled_at": 1, "reason": "http-410"}
    records = (await client.tenant()).records
    unit = Unit()
    row = Setting.row_key("DIDCOMM_WEBHOOK")
    unit.merge(row, {"health": write_json({"a": health, "b": health}).decode()})
    await records.commit(unit)
    one = await client.call("PUT", f"{SETTING}/a", {"url": "https://a.example"})
    assert one.json()["status"] == "ACTIVE"
    assert (await client.call("PUT", f"{SETTING}/c", {"url": "https://c.example"})).status == 201
    assert {name: one["status"] for name, one in (await saved(client)).items()} == {
        "a": "ACTIVE",
        "b": "DISABLED",
        "c": "ACTIVE",
    }


async def test_deliveries_go_to_the_same_url_under_another_id(stack: Stack, client: Client) -> None:
    """A setting that is saved anew without its ids keeps what waits, through several savings, also for a replay."""
    foreign = await connect_foreign(stack, client)
    erp = Receiver()
    await erp.start()
    client.receivers.append(erp)
    gone = {"id": "gone", "url": "https://gone.example"}
    same = [{"url": erp.url}, {"url": erp.url, "match": "basicmessage"}]
    named = [{**entry, "id": str(number)} for number, entry in enumerate(same)]
    await client.post(SETTING, {"setting": [*named, gone]}, 200)
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "waits"), 1)
    uuids = {item["e"]: item["d"] for item in items}
    await change(client, list(uuids.values()), {"status": "FAILED", "attempts": 10, "error": "http-503"})
    for _ in range(2):
        answered = await client.post(SETTING, {"setting": same}, 200)
    ids = [entry["id"] for entry in answered["setting"]]
    for number in "01":
        await client.post(f"delivery/{uuids[number]}/replay", None, 200)
        assert (await until(client, uuids[number], "DELIVERED"))["webhookId"] == number
    for hook, number in ((hook, hook.json()["eventUuid"]) for hook in erp.got):
        assert number in uuids.values()
        assert hook.headers["webhook-signature"]
    assert len(erp.got) == 2
    setting = await (await client.tenant()).webhooks("DIDCOMM_WEBHOOK")
    assert [entry and entry.id for entry in map(setting.entry, "01")] == ids
    assert_problem(await client.call("POST", f"delivery/{uuids['gone']}/replay"), 409, "webhook-removed")
    # By its former id nothing can be configured.
    assert_problem(await client.call("POST", f"{SETTING}/0/test"), 404, "entry-unknown")


async def test_a_call_that_waits_is_made_for_the_new_id(stack: Stack, client: Client) -> None:
    foreign = await connect_foreign(stack, client)
    erp = await client.webhook(id="old")
    with kept_back(stack, "relay") as items:
        await stack.app.inbound.handle(received(foreign, "waits"), 1)
    await client.post(SETTING, {"setting": [{"id": "new", "url": erp.url + "/hook", "match": "basic"}]}, 200)
    await stack.app.relay.handle(body(*items), 1)
    assert (await until(client, items[0]["d"], "DELIVERED"))["attempts"] == 1
    [hook] = erp.got
    assert hook.json()["message"]["content"] == "waits"
