"""Webhooks as a tenant's own system sees them: which are called, with what, signed how, and what if they fail."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from tests.scenarios.common import BASIC, assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Hook, Receiver, Stack

SETTING = "settings/DIDCOMM_WEBHOOK"
SOV = "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/basicmessage/1.0/message"


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Hooked"))


async def deliver(foreign: Foreign, message: dict[str, Any], *, anonymous: bool = False) -> None:
    packed = foreign.v1(orjson.dumps(message), anonymous=anonymous)
    assert (await foreign.stack.deliver(packed)).status == 202


def paths(receiver: Receiver) -> list[str]:
    return sorted(hook.path for hook in receiver.got)


async def test_each_entry_that_matches_is_called_once(foreign: Foreign, receiver: Receiver) -> None:
    entries = {
        "all": ".*",
        "default": None,
        "basic": "basicmessage",
        "full": f"^{BASIC}$",
        "sov": f"^{SOV}$",
        "ack": "notification/1.0/ack",
        "please-ack": "~please_ack",
        "requests": "requests~attach",
        "either": "~please_ack|requests~attach|basicmessage",
        "nothing": "^$",
        "case": "BASICMESSAGE",
        "no-case": "(?i)BASICMESSAGE",
    }
    setting = [
        {"id": name, "url": f"{receiver.url}/{name}", **({"match": match} if match is not None else {})}
        for name, match in entries.items()
    ]
    await foreign.client.post(SETTING, {"setting": setting}, 200)

    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"@type": BASIC}, ["all", "basic", "default", "either", "full", "no-case", "sov"]),
        ({"@type": SOV}, ["all", "basic", "default", "either", "full", "no-case", "sov"]),
        ({"@type": "x", "~please_ack": {}}, ["all", "default", "either", "please-ack"]),
        ({"@type": "x", "requests~attach": []}, ["all", "default", "either", "requests"]),
        (
            {"@type": "x", "~please_ack": {}, "requests~attach": []},
            ["all", "default", "either", "please-ack", "requests"],
        ),
        ({"@type": "https://didcomm.org/notification/1.0/ack"}, ["ack", "all", "default"]),
        ({"@type": "x", "content": "basicmessage ~please_ack"}, ["all", "default"]),
        ({"content": "no type"}, ["all", "default", "nothing"]),
    ]
    for number, (message, expected) in enumerate(cases):
        receiver.got.clear()
        await deliver(foreign, {**message, "@id": f"message {number}"})
        await receiver.count(len(expected))
        deliveries = await foreign.client.get(f"delivery?message={receiver.got[0].json()['assetUuid']}")
        assert paths(receiver) == [f"/{name}" for name in expected], message
        assert sorted(hit["webhookId"] for hit in deliveries["hits"]) == expected
        assert len({hook.json()["eventUuid"] for hook in receiver.got}) == len(expected)
        assert len({hook.json()["assetUuid"] for hook in receiver.got}) == 1


async def test_what_is_sent(foreign: Foreign, receiver: Receiver) -> None:
    client = foreign.client
    saved = await client.post(
        SETTING,
        {
            "setting": [
                {
                    "url": f"{receiver.url}/in?token=a%20b",
                    "method": "put",
                    "match": ".*",
                    "headers": {"Authorization": "Bearer t", "X-Own": "1"},
                }
            ]
        },
        200,
    )
    [entry] = saved["setting"]
    secret = saved["secrets"][entry["id"]]
    sent = {"@type": BASIC, "@id": "one", "a~attach": [{"data": {"json": 1}}, {"data": {"json": 2}}]}
    await deliver(foreign, sent)
    hook = await receiver.until(lambda hook: True)
    assert (hook.method, hook.path) == ("PUT", "/in")
    headers = {name.lower(): value for name, value in hook.headers.items()}
    assert (headers["authorization"], headers["x-own"]) == ("Bearer t", "1")
    assert headers["content-type"] == "application/json"
    Webhook(secret).verify(hook.body, headers)
    got = hook.json()
    assert list(got) == [
        "message",
        "from",
        "to",
        "type",
        "actionUuid",
        "eventUuid",
        "assetUuid",
        "assetDataUuids",
        "contactUuid",
        "connectionUuid",
        "sequence",
        "authenticated",
    ]
    assert hook.body.startswith(b'{"message":' + orjson.dumps(sent) + b",")
    assert (got["from"], got["to"]) == (foreign.theirs.id, client.identity["did"])
    assert got["type"] == BASIC
    assert got["contactUuid"] == foreign.connection.contact_uuid
    assert got["connectionUuid"] == foreign.connection.uuid
    assert got["authenticated"] is True
    assert headers["webhook-id"] == got["eventUuid"]
    values = [(await client.get(f"asset-data/{uuid}"))["value"] for uuid in got["assetDataUuids"]]
    assert values == [1, 2]
    delivery = await client.get(f"delivery/{got['eventUuid']}")
    assert (delivery["kind"], delivery["messageUuid"]) == ("webhook", got["assetUuid"])

    await deliver(foreign, {"@type": BASIC, "@id": "two"}, anonymous=True)
    got = (await receiver.until(lambda hook: hook.json()["message"]["@id"] == "two")).json()
    assert (got["from"], got["contactUuid"], got["authenticated"]) == (None, None, False)


async def test_sequence_is_the_order_of_receipt(foreign: Foreign, receiver: Receiver) -> None:
    await foreign.client.post(SETTING, {"setting": [{"url": receiver.url}]}, 200)
    for number in range(10):
        await deliver(foreign, {"@type": BASIC, "@id": str(number), "content": number})
    await receiver.count(10)
    ordered = sorted((hook.json() for hook in receiver.got), key=lambda got: str(got["sequence"]))
    assert [got["message"]["content"] for got in ordered] == list(range(10))
    hits = (await foreign.client.get("message"))["hits"]
    assert [hit["sequence"] for hit in hits] == [got["sequence"] for got in ordered]


async def test_failures_are_tried_again_and_shown(foreign: Foreign, receiver: Receiver) -> None:
    client = foreign.client
    receiver.text = "out of order: " + "x" * 30
    first_failed = set()

    def answer(hook: Hook) -> tuple[int, dict[str, str]]:
        if hook.path in first_failed and hook.path == "/once":
            return 200, {}
        first_failed.add(hook.path)
        return 500, {}

    receiver.answer = answer
    once = {"id": "once", "url": f"{receiver.url}/once"}
    nobody = {"id": "nobody", "url": "http://127.0.0.1:9/"}
    saved = await client.post(SETTING, {"setting": [once, {"id": "gone", "url": f"{receiver.url}/gone"}, nobody]}, 200)
    await deliver(foreign, basic(**{"@id": "one"}))
    await receiver.count(2)

    async def failures() -> list[dict[str, Any]] | None:
        hits = (await client.get("delivery"))["hits"]
        return hits if [hit["attempts"] for hit in hits] == [1, 1, 1] else None

    hits = {hit["webhookId"]: hit for hit in await client.stack.eventually(failures)}
    for name, hit in hits.items():
        assert (hit["status"], hit["type"]) == ("PENDING", BASIC)
        assert hit["nextAttemptAt"] > hit["updatedAt"]
        shown = await client.get(f"delivery/{hit['uuid']}")
        [failure] = shown["log"]
        assert failure["number"] == 1
        if name == "nobody":
            assert (failure["responseStatus"], failure["error"], failure["answer"]) == (None, "connect", None)
        else:
            assert (failure["responseStatus"], failure["error"]) == (500, "http-500")
            assert failure["answer"] == receiver.text

    # The entry `gone` is removed; `once` stays, and so does its secret.
    again = await client.post(SETTING, {"setting": [once]}, 200)
    assert "secrets" not in again
    # The second attempt comes after five to six seconds.
    await receiver.count(3, 15)

    async def over() -> bool:
        return {hit["status"] for hit in (await client.get("delivery"))["hits"]} == {"DELIVERED", "FAILED"}

    await client.stack.eventually(over)
    attempts = [hook for hook in receiver.got if hook.path == "/once"]
    assert len(attempts) == 2
    assert attempts[0].body == attempts[1].body
    assert attempts[0].headers["webhook-id"] == attempts[1].headers["webhook-id"]
    assert 5 <= int(attempts[1].headers["webhook-timestamp"]) - int(attempts[0].headers["webhook-timestamp"]) <= 8
    for attempt in attempts:
        Webhook(saved["secrets"]["once"]).verify(attempt.body, dict(attempt.headers))
    shown = await client.get(f"delivery/{hits['once']['uuid']}")
    assert (shown["status"], shown["attempts"], shown["responseStatus"]) == ("DELIVERED", 2, 200)
    assert (shown["error"], shown["nextAttemptAt"]) == (None, None)
    assert [(attempt["number"], attempt["responseStatus"]) for attempt in shown["log"]] == [(1, 500), (2, 200)]
    assert [attempt["answer"] for attempt in shown["log"]] == [receiver.text] * 2
    for name in ("gone", "nobody"):
        shown = await client.get(f"delivery/{hits[name]['uuid']}")
        assert (shown["status"], shown["error"], shown["attempts"]) == ("FAILED", "webhook-removed", 2)
        assert [failure["error"] for failure in shown["log"]][1:] == ["webhook-removed"]
    found = await client.get("delivery?status=FAILED")
    assert {hit["webhookId"] for hit in found["hits"]} == {"gone", "nobody"}


async def test_no_setting_no_calls(foreign: Foreign, receiver: Receiver) -> None:
    client = foreign.client
    await client.post(SETTING, {"setting": [{"url": receiver.url}]}, 200)
    assert (await client.call("DELETE", SETTING)).status == 204
    assert_problem(await client.call("GET", SETTING), 404, "setting-unknown")
    assert_problem(await client.call("DELETE", SETTING), 404, "setting-unknown")
    await deliver(foreign, basic())

    async def stored() -> list[Any]:
        hits: list[Any] = (await client.get("message"))["hits"]
        return hits

    [message] = await client.stack.eventually(stored)
    assert message["status"] == "RECEIVED"
    assert (await client.get("delivery"))["hits"] == []
    assert receiver.got == []


async def test_secrets_are_shown_once_and_kept(stack: Stack) -> None:
    client = await stack.register("Secretive")
    saved = await client.post(SETTING, {"setting": [{"url": "https://example.com/a"}]}, 200)
    [entry] = saved["setting"]
    assert entry == {
        "id": entry["id"],
        "url": "https://example.com/a",
        "method": "POST",
        "match": ".*",
        "headers": {},
        "publicKey": entry["publicKey"],
        "status": "ACTIVE",
        "failingSince": None,
        "disabledAt": None,
        "disabledBy": None,
    }
    assert entry["publicKey"].startswith("whpk_")
    secret = saved["secrets"][entry["id"]]
    assert secret.startswith("whsec_")
    read = await client.call("GET", SETTING)
    assert read.json()["setting"] == [entry]
    assert b"whsec_" not in read.body
    assert b"whsk_" not in read.body + orjson.dumps(saved)
    for method in ("PUT", "POST"):
        kept = await client.call(method, SETTING, {"setting": [{**entry, "url": "https://example.com/b"}]})
        assert kept.status == 200
        assert "secrets" not in kept.json()
        assert b"whsec_" not in kept.body
    tenant = await client.tenant()
    assert (await tenant.webhooks("DIDCOMM_WEBHOOK")).secrets[entry["id"]].shown == secret
    renewed = await client.post(SETTING, {"setting": [{"url": "https://example.com/b"}]}, 200)
    assert list(renewed["secrets"]) == [renewed["setting"][0]["id"]] != [entry["id"]]
    assert renewed["createdAt"] == saved["createdAt"]
    assert renewed["updatedAt"] > saved["updatedAt"]


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ([{"url": "https://example.com", "match": "(?=x)"}], "setting-match-invalid"),
        ([{"url": "https://example.com", "match": r"(a)\1"}], "setting-match-invalid"),
        ([{"url": "https://example.com", "match": "("}], "setting-match-invalid"),
        ([{"url": "https://example.com", "match": "a" * 1001}], "setting-invalid"),
        ([{"url": "https://example.com", "match": 1}], "setting-invalid"),
        ([{"url": "ftp://example.com"}], "setting-invalid"),
        ([{"url": "https://user:pass@example.com"}], "setting-invalid"),
        ([{}], "setting-invalid"),
        (["https://example.com"], "setting-invalid"),
        ({"url": "https://example.com"}, "setting-invalid"),
        (None, "setting-invalid"),
        ([{"url": "https://example.com", "method": "DELETE"}], "setting-invalid"),
        ([{"url": "https://example.com", "headers": {"webhook-id": "x"}}], "setting-invalid"),
        ([{"url": "https://example.com", "headers": {"x": "a\r\nb: c"}}], "setting-invalid"),
        ([{"url": "https://example.com", "id": "a"}, {"url": "https://example.com", "id": "a"}], "setting-invalid"),
        ([{"url": "https://example.com"}] * 51, "setting-invalid"),
    ],
)
@pytest.mark.parametrize("key", ["DIDCOMM_WEBHOOK", "task_webhook"])
async def test_bad_settings(refused: Client, key: str, setting: Any, code: str) -> None:
    assert_problem(await refused.call("POST", f"settings/{key}", {"setting": setting}), 400, code)
    assert_problem(await refused.call("GET", f"settings/{key}"), 404, "setting-unknown")


@pytest.fixture(scope="module")
async def refused(stack: Stack) -> Client:
    return await stack.register("Refused")


async def test_settings_of_other_keys(refused: Client) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        body: dict[str, Any] | None = {"setting": []} if method in ("POST", "PUT") else None
        assert_problem(await refused.call(method, "settings/NO_SUCH_KEY", body), 404, "setting-unknown")
    assert_problem(await refused.call("POST", "settings/PRINCIPAL_SETTINGS", {}), 400, "setting-invalid")
    large = {"setting": {"x": "x" * 70_000}}
    assert_problem(await refused.call("PUT", "settings/PRINCIPAL_SETTINGS", large), 413, "setting-too-large")
    saved = await refused.post("settings/principal_settings", {"setting": {"any": ["thing", None]}}, 200)
    assert (saved["key"], saved["setting"]) == ("PRINCIPAL_SETTINGS", {"any": ["thing", None]})
    assert (await refused.get("settings/PRINCIPAL_SETTINGS"))["setting"] == {"any": ["thing", None]}
