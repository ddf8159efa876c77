"""Lists and their filters, the small nouns (identities, contacts, keys), erasing, and what is not there."""

from __future__ import annotations

import asyncio
import time
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.scenarios.common import BASIC, assert_problem, basic, contact_out_of_reach, messages_of, settled
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import ROOT, Client, Stack
from tntcore.api.views import since
from tntcore.messaging.types import DID_SOV, DIDCOMM_ORG
from tntcore.storage.records import AssetData

ACK = "https://didcomm.org/notification/1.0/ack"


async def pages(client: Client, path: str, limit: int) -> list[dict[str, Any]]:
    """All hits, page by page; each page but the last is full, and says the same total."""
    hits: list[dict[str, Any]] = []
    token, totals = "", set()
    while True:
        page = await client.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{'&next=' + token if token else ''}")
        hits += page["hits"]
        totals.add(page["total"]["value"])
        if page["next"] is None:
            break
        assert len(page["hits"]) == limit
        token = page["next"]
    assert totals == {len(hits)}
    return hits


@pytest.fixture(scope="module")
async def busy(stack: Stack) -> Foreign:
    """A tenant that got 12 messages and sent 3."""
    client = await stack.register("Busy")
    foreign = await connect_foreign(stack, client)
    for number in range(12):
        message = basic(number, **{"@id": str(number), "@type": BASIC if number % 3 else ACK})
        assert (await stack.deliver(foreign.v1(orjson.dumps(message)))).status == 202

    async def arrived() -> bool:
        return bool((await client.get("message"))["total"]["value"] == 12)

    await stack.eventually(arrived)
    for number in range(3):
        await client.act(foreign.connection.contact_uuid, basic(f"out {number}"), referenceID="mine")
    return foreign


def numbers(hits: list[dict[str, Any]]) -> list[Any]:
    return [hit["message"]["content"] for hit in hits]


EVERYTHING = [*range(12), "out 0", "out 1", "out 2"]


@pytest.mark.parametrize("limit", [1, 4, 5, 14, 15, 16])
async def test_paging(busy: Foreign, limit: int) -> None:
    hits = await pages(busy.client, "message", limit)
    assert numbers(hits) == EVERYTHING
    assert len({hit["uuid"] for hit in hits}) == len(hits)
    assert sorted(hit["sequence"] for hit in hits) == [hit["sequence"] for hit in hits]


async def test_filters(busy: Foreign) -> None:
    client, connection = busy.client, busy.connection
    assert numbers(await pages(client, "message?direction=IN", 5)) == list(range(12))
    assert numbers(await pages(client, "message?direction=OUT", 2)) == ["out 0", "out 1", "out 2"]
    assert numbers(await pages(client, f"message?type={quote(ACK)}", 3)) == [0, 3, 6, 9]
    assert numbers(await pages(client, f"message?type={quote(ACK[:30])}", 50)) == [0, 3, 6, 9]
    assert numbers(await pages(client, f"message?type={quote(BASIC)}&direction=IN", 3)) == [1, 2, 4, 5, 7, 8, 10, 11]
    assert await pages(client, "message?type=nothing", 3) == []
    # A type is meant in either of its spellings.
    other = DID_SOV + ACK.removeprefix(DIDCOMM_ORG)
    for beginning in (other, other[:50], DID_SOV + "notification/"):
        assert numbers(await pages(client, f"message?type={quote(beginning)}", 3)) == [0, 3, 6, 9], beginning
    path = f"message?type={quote(DID_SOV + BASIC.removeprefix(DIDCOMM_ORG))}&direction=IN"
    assert numbers(await pages(client, path, 3)) == [1, 2, 4, 5, 7, 8, 10, 11]
    assert numbers(await pages(client, f"message?connection={connection.uuid}", 50)) == EVERYTHING
    assert numbers(await pages(client, f"message?contact={connection.contact_uuid}", 50)) == EVERYTHING
    assert await pages(client, f"message?contact={connection.uuid}", 50) == []
    [action] = (await client.get("action?referenceID=mine"))["hits"]
    for path in (f"message?action={action['uuid']}", f"asset?type=DIDCOMM&actionUuid={action['uuid']}"):
        assert numbers(await pages(client, path, 2)) == ["out 0", "out 1", "out 2"]
    assert numbers(await pages(client, "message?status=RECEIVED", 50)) == list(range(12))


async def test_since(busy: Foreign) -> None:
    """By time and by sequence; the answer overlaps by five seconds."""
    client = busy.client
    hits = await pages(client, "message", 50)
    first = hits[0]
    assert numbers(await pages(client, f"message?since={first['createdAt']}", 4)) == EVERYTHING
    assert numbers(await pages(client, f"message?since={first['sequence']}", 4)) == EVERYTHING
    later = datetime.fromisoformat(hits[-1]["createdAt"]) + timedelta(seconds=6)
    assert await pages(client, f"message?since={quote(later.isoformat())}", 4) == []
    assert await pages(client, f"message?since={quote(later.astimezone(UTC).isoformat()[:23] + 'Z')}", 4) == []
    # What is further back than the overlap is left out of hits and total alike.
    middle = datetime.fromisoformat(hits[6]["createdAt"]) + timedelta(milliseconds=4_999)
    found = await pages(client, f"message?since={quote(middle.isoformat())}", 2)
    assert 0 < len(found) < len(hits)
    assert numbers(found) == EVERYTHING[-len(found) :]


async def test_other_lists(busy: Foreign) -> None:
    client, connection = busy.client, busy.connection
    assert len(await pages(client, "action", 4)) == 13
    assert len(await pages(client, f"action?contact={connection.contact_uuid}", 5)) == 13
    [contact] = await pages(client, f"contact?did={quote(busy.theirs.id)}", 5)
    assert contact["status"] == "ACCEPTED"
    for query in (
        f"identityDid={quote(client.identity['did'])}",
        f"contactDid={quote(busy.theirs.id)}",
        "state=completed",
        f"identityDid={quote(client.identity['did'])}&contactDid={quote(busy.theirs.id)}",
    ):
        [found] = await pages(client, f"connection?{query}", 5)
        assert found["uuid"] == connection.uuid
        assert (found["myDid"], found["theirDid"]) == (busy.ours.id, busy.theirs.id)
        assert (found["state"], found["version"]) == ("completed", "v1")
        assert "keys" not in found
    assert await pages(client, "connection?state=start", 5) == []
    assert len(await pages(client, "delivery?kind=didcomm", 2)) == 3
    for noun in ("action", "contact", "connection", "message", "identity", "delivery", "api-token"):
        for hit in (await client.get(noun))["hits"]:
            assert {"uuid", "createdAt", "updatedAt", "status"} <= hit.keys()
            for name in ("createdAt", "updatedAt"):
                assert datetime.fromisoformat(hit[name]).tzinfo is not None
                assert len(hit[name]) == len("2026-01-31T12:00:00.000Z")


async def test_erasing_a_message(stack: Stack) -> None:
    client = await stack.register("Eraser")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    first = {"@type": BASIC, "@id": "1", "~thread": {"thid": "t"}, "a~attach": [{"data": {"json": "x" * 60_000}}]}
    packed = foreign.v1(orjson.dumps(first))
    assert (await stack.deliver(packed)).status == 202
    got = (await hook.until(lambda hook: True)).json()
    assert (await stack.deliver(foreign.v1(orjson.dumps({**first, "@id": "2"})))).status == 202
    await hook.count(2)

    async def over() -> bool:
        return {hit["status"] for hit in (await client.get("delivery"))["hits"]} == {"DELIVERED"}

    await stack.eventually(over)
    answer = await client.call("DELETE", f"message/{got['assetUuid']}")
    assert (answer.status, answer.body) == (204, b"")
    assert_problem(await client.call("GET", f"message/{got['assetUuid']}"), 404, "message-unknown")
    assert_problem(await client.call("DELETE", f"message/{got['assetUuid']}"), 404, "message-unknown")
    for asset in got["assetDataUuids"]:
        assert_problem(await client.call("GET", f"asset-data/{asset}"), 404, "asset-data-unknown")
    assert_problem(await client.call("GET", f"delivery/{got['eventUuid']}"), 404, "delivery-unknown")
    [left] = (await client.get("message"))["hits"]
    shown = await client.get(f"action/{got['actionUuid']}")
    assert shown["messages"] == [left["uuid"]]
    tenant = await client.tenant()
    assert await tenant.records.stored_body(got["assetUuid"]) == b""
    assert await tenant.records.stored_body(left["uuid"]) != b""
    assert len((await tenant.records.list(AssetData, limit=10)).records) == 1
    # The same message, sent again, does not come back.
    assert (await stack.deliver(packed)).status == 202
    await asyncio.sleep(0.5)
    assert len(hook.got) == 2
    assert len((await client.get("message"))["hits"]) == 1


async def test_erasing_what_is_on_its_way(stack: Stack) -> None:
    """A delivery whose message is gone does not stay pending for ever."""
    client = await stack.register("Eraser")
    hook = await client.webhook()
    hook.answer = lambda got: (500, {"retry-after": "1000"})
    foreign = await connect_foreign(stack, client)
    assert (await stack.deliver(foreign.v1(orjson.dumps(basic())))).status == 202
    sent = await client.act(foreign.connection.contact_uuid, basic("out"))
    contact = await contact_out_of_reach(client, "did:web:later.example")
    held = await client.act(contact["uuid"], basic("held"))
    await hook.count(1)

    async def tried() -> bool:
        hits = (await client.get("delivery"))["hits"]
        return len(hits) == 3 and all(hit["attempts"] or hit["status"] == "HELD" for hit in hits)

    await stack.eventually(tried)
    for hit in (await client.get("message"))["hits"]:
        assert (await client.call("DELETE", f"message/{hit['uuid']}")).status == 204
    assert (await client.get("delivery"))["hits"] == []
    for action in (sent, held):
        assert await messages_of(client, action["uuid"]) == []


async def test_contacts(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    contact = await acme.post(
        "contact",
        {"contact": {"did": bolt.identity["did"], "displayName": "Bolt", "email": "b@example.com", "internalRef": "7"}},
    )
    assert (contact["displayName"], contact["email"], contact["internalRef"]) == ("Bolt", "b@example.com", "7")
    by_did = quote(quote(bolt.identity["did"], safe=":"), safe=":")
    for name in (contact["uuid"], by_did.replace("%25253A", "%253A")):
        assert (await acme.get(f"contact/{name}"))["uuid"] == contact["uuid"]
    changed = await acme.call("PUT", f"contact/{contact['uuid']}", {"contact": {"displayName": "B", "internalRef": ""}})
    assert changed.status == 200
    shown = await acme.get(f"contact/{contact['uuid']}")
    assert (shown["displayName"], shown["email"], shown["internalRef"]) == ("B", "b@example.com", None)
    assert shown["updatedAt"] > shown["createdAt"] == contact["createdAt"]
    answer = await acme.call("PUT", f"contact/{contact['uuid']}", {"contact": {"did": "did:example:other"}})
    assert_problem(answer, 400, "did-immutable")
    mail = await acme.post("contact", {"contact": {"email": "c@example.com"}})
    assert [hit["uuid"] for hit in (await acme.get("contact?email=c%40example.com"))["hits"]] == [mail["uuid"]]


async def test_messages_of_a_deleted_contact_are_refused(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, theirs = await stack.connect(acme, bolt)
    action = await acme.act(mine.contact_uuid, basic("before"))
    got = (await hook.until(lambda hook: True)).json()
    await settled(acme, action["uuid"], 1)
    assert (await bolt.call("DELETE", f"contact/{theirs.contact_uuid}")).status == 204
    assert_problem(await bolt.call("GET", f"contact/{theirs.contact_uuid}"), 404, "contact-unknown")
    assert_problem(await bolt.call("GET", f"connection/{theirs.uuid}"), 404, "connection-unknown")
    # What came before stays.
    assert (await bolt.get(f"message/{got['assetUuid']}"))["message"]["content"] == "before"
    answer = await bolt.call("POST", f"action/{got['actionUuid']}", {"data": {"message": basic()}})
    assert_problem(answer, 404, "connection-unknown")
    answer = await bolt.call("POST", "action", {"type": "DIDCOMM", "to": theirs.contact_uuid})
    assert_problem(answer, 404, "contact-unknown")
    after = await acme.act(mine.contact_uuid, basic("after"))

    async def refused() -> dict[str, Any] | None:
        [delivery] = (await acme.get(f"delivery?action={after['uuid']}"))["hits"]
        return delivery if delivery["attempts"] else None

    delivery = await stack.eventually(refused)
    assert (delivery["status"], delivery["responseStatus"], delivery["error"]) == ("PENDING", 404, "http-404")
    shown = await acme.get(f"delivery/{delivery['uuid']}")
    assert shown["log"][0]["answer"]["type"] == "urn:tnt:problem:recipient-unknown"
    assert len(hook.got) == 1


async def test_two_deletions_at_once(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    answers = await asyncio.gather(*(acme.call("DELETE", f"contact/{mine.contact_uuid}") for _ in range(4)))
    assert {answer.status for answer in answers} <= {204, 404, 409}
    assert 204 in {answer.status for answer in answers}


async def test_identities(stack: Stack) -> None:
    client = await stack.register("Named")
    made = await client.post("identity", {"displayName": "Second", "method": "did:web"})
    assert (made["status"], made["displayName"], made["isDefault"]) == ("ACTIVE", "Second", False)
    hits = (await client.get("identity"))["hits"]
    assert [(hit["displayName"], hit["isDefault"]) for hit in hits] == [("Named", True), ("Second", False)]
    for name in (made["uuid"], made["did"].replace("%", "%25")):
        renamed = await client.call("PUT", f"identity/{name}", {"displayName": f"Third {len(name)}"})
        assert renamed.status == 200
        assert (await client.get(f"identity/{name}"))["displayName"] == f"Third {len(name)}"
    for identity in hits:
        answer = await stack.call("GET", f"identity/{identity['uuid']}/did.json")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("application/did+json")
        document = answer.json()
        assert document["id"] == identity["did"]
        assert b'"d"' not in answer.body
        assert b"private" not in answer.body.lower()
        resolved = await stack.app.services.resolver.resolve(identity["did"])
        assert resolved.raw == document
        assert identity["did"].endswith(f":api:identity:{identity['uuid']}")
    assert_problem(await stack.call("GET", "identity/unknown/did.json"), 404, "identity-unknown")


async def test_api_tokens(stack: Stack) -> None:
    client = await stack.register("Keyring")
    made = await client.post("api-token", {"name": "ci"})
    assert set(made) == {"account", "principalUuid", "headers", "uuid", "name", "scope", "expiresAt"}
    assert (made["account"], made["principalUuid"]) == ("Keyring", client.uuid)
    key = made["headers"]["tnt-subscription-key"]
    listed = await client.call("GET", "api-token")
    assert [hit["name"] for hit in listed.json()["hits"]] == ["first", "ci"]
    assert key.encode() not in listed.body
    for name in ("tnt-subscription-key", "TNT-Subscription-Key"):
        answer = await stack.call("GET", "identity", **{name: key})
        assert answer.status == 200
    token = listed.json()["hits"][1]
    revoked = await client.call("DELETE", f"api-token/{token['uuid']}")
    assert (revoked.status, revoked.body) == (204, b"")
    assert_problem(await stack.call("GET", "identity", tnt_subscription_key=key), 401, "key-unknown")
    assert [hit["status"] for hit in (await client.get("api-token"))["hits"]] == ["ACTIVE", "REVOKED"]
    assert (await client.get("identity"))["hits"]


async def test_health(stack: Stack) -> None:
    answer = await stack.call("GET", "health")
    assert answer.status == 200
    assert answer.json() == {
        "status": "ok",
        "storage": {"tables": True, "queues": True, "blobs": True},
        "version": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "commit": "",
    }


@pytest.mark.parametrize("path", ["x", "actions", "action/a/b", "identity/x/did.json/y", "message/", "didcomm/x"])
async def test_nothing_there(stack: Stack, path: str) -> None:
    client = await stack.register("Lost")
    answer = await client.call("GET", path)
    if path == "message/":
        assert answer.status == 200  # a slash at the end makes no difference
    else:
        assert_problem(answer, 404, "no-such-path")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "action", "GET, HEAD, POST"),
        ("DELETE", "action/x", "GET, HEAD, POST"),
        ("GET", "didcomm", "POST"),
        ("POST", "health", "GET, HEAD"),
        ("POST", "message", "GET, HEAD"),
        ("POST", "identity/x/did.json", "GET, HEAD"),
        ("PUT", "principal", "GET, HEAD, POST"),
    ],
)
async def test_wrong_methods(stack: Stack, method: str, path: str, allowed: str) -> None:
    answer = await stack.call(method, path, {}, **stack.operator)
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == allowed


async def test_names_of_paths_in_any_case(busy: Foreign) -> None:
    assert (await busy.client.get("MESSAGE"))["total"]["value"] == 15


async def test_what_was_meant_otherwise_is_not_passed_over(pair: tuple[Client, Client]) -> None:
    """What a first attempt at a call gets wrong: the answer says what to change."""
    acme, bolt = pair
    to_bolt, _ = await acme.stack.connect(acme, bolt)
    action = {"type": "DIDCOMM", "to": to_bolt.contact_uuid}
    with acme.stack.described.whatever_is_asked():
        outside = await acme.call("POST", "action", {**action, "message": basic()})
        assert "did you mean 'data.message'?" in assert_problem(outside, 400, "member-unknown")["detail"]
        untyped = await acme.call("POST", "action", {"to": to_bolt.contact_uuid})
        assert assert_problem(untyped, 400, "type-invalid")["detail"].startswith("type is missing.")
        url = await acme.call("POST", "contact", {"invitation": "https://acme.example?oob=e30"})
        assert "an object" in assert_problem(url, 400, "contact-invalid")["detail"]
        nothing = await acme.call("POST", "contact", {"url": "https://acme.example?oob=e30"})
        assert "invitationUrl" in assert_problem(nothing, 400, "member-unknown")["detail"]
        assert (await acme.get("message?direction=in"))["hits"] == []
    assert_problem(await acme.call("GET", "message?direction=up"), 400, "direction-invalid")
    unset = assert_problem(await acme.call("GET", "settings/TASK_WEBHOOK"), 404, "setting-unknown")
    assert unset["detail"] == "TASK_WEBHOOK is not set. PUT /api/settings/TASK_WEBHOOK sets it."
    assert (await acme.get("message"))["hits"] == []


def test_a_time_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert since("2026-01-31T12:00:00") == since("2026-01-31T12:00:00Z") == since("2026-01-31T13:00:00+01:00")
    finally:
        monkeypatch.undo()
        time.tzset()
