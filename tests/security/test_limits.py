"""Too much: of one sender, for one tenant, at one moment. What was accepted is never lost, and nobody else waits."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.counting import counting
from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.test_redelivery import Partly, body, item
from tests.stack import Answer, Client, Stack
from tntcore.api import didcomm
from tntcore.api.http import Request, client_address
from tntcore.app import App
from tntcore.config import ServiceLimits
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import MAX_WIRE, pack_v1
from tntcore.rate_limits import Allowance
from tntcore.storage.batching import Full
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Found, LookupKind, Lookups
from tntcore.storage.queues import MAX_MESSAGE
from tntcore.storage.records import ApiToken
from tntcore.strict_json import read_json
from tntcore.tenancy.recipients import KeyPairs


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Limited"))


def limited(stack: Stack, **limits: int) -> App:
    """The service in one more process, with other limits."""
    services = stack.app.services
    return App(replace(services, config=replace(services.config, limits=replace(ServiceLimits(), **limits))))


async def knock(app: App, packed: bytes, sender: str = "198.51.100.7", key: str | None = None) -> Answer:
    headers = {"content-type": "application/didcomm-envelope-enc", "x-forwarded-for": f"10.9.8.7, {sender}:1234"}
    if key is not None:
        headers |= {"content-type": "application/json", "tnt-subscription-key": key}
    answer = await app.http(Request("POST", "didcomm", {}, headers, packed))
    return Answer(answer.status, {"Content-Type": answer.content_type, **answer.headers}, answer.body)


def packed(foreign: Foreign, content: Any = "x") -> bytes:
    return foreign.v1(orjson.dumps(basic(content)))


async def number_of(client: Client, **query: str) -> int:
    text = "&".join(f"{name}={value}" for name, value in {"limit": "1", **query}.items())
    first = await client.get(f"message?{text}")
    return (
        int((await client.get(f"message?{text}&next={first['next']}"))["total"]["value"])
        if first["next"]
        else len(first["hits"])
    )


# At the door.


async def test_messages_for_one_key(stack: Stack, foreign: Foreign) -> None:
    app = limited(stack, key=5)
    answers = [await knock(app, packed(foreign, number), f"198.51.100.{number}") for number in range(8)]
    assert [answer.status for answer in answers] == [202] * 5 + [429] * 3
    assert_problem(answers[-1], 429, "too-many-messages")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 12
    other = await connect_foreign(stack, foreign.client)
    assert (await knock(app, packed(other))).status == 202


async def test_messages_from_one_address(stack: Stack, foreign: Foreign) -> None:
    app = limited(stack, address=5)
    assert [(await knock(app, packed(foreign, number))).status for number in range(6)] == [202] * 5 + [429]
    # Whoever it is that a request says it was forwarded for, it is the last hop that counts.
    answer = await knock(app, packed(foreign), "1.2.3.4, 198.51.100.7")
    assert_problem(answer, 429, "too-many-messages")
    assert (await knock(app, packed(foreign), "198.51.100.8")).status == 202


async def test_recipients_that_are_not_here_cost_more(stack: Stack) -> None:
    app = limited(stack, address=100)
    statuses = []
    with counting(stack.app.services.meter) as counts:
        for _ in range(20):
            stranger = pack_v1(b"{}", recipients=[KeyPairs.generate().verkey], sender=None)
            statuses.append((await knock(app, stranger)).status)
    assert statuses == [404] * 5 + [429] * 15
    assert 0 < counts["table.get"] < 15


async def test_wrong_keys_at_the_door_have_no_bodies_read(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body with a tenant's key may be an action, so the router reads it before the endpoint's own limits."""
    app, parsed = limited(stack, wrong_keys=3), 0

    def count(data: bytes) -> Any:
        nonlocal parsed
        parsed += 1
        return read_json(data)

    monkeypatch.setattr("tntcore.api.router.read_json", count)
    for key in ("tnt_wrong", await expired_key(stack, foreign.client)):
        parsed, statuses = 0, []
        for _ in range(6):
            answer = await knock(app, b'{"type": "DIDCOMM"}', f"198.51.100.{len(key)}", key)
            statuses.append((answer.status, answer.json()["type"].rpartition(":")[2]))
        assert statuses[:3] == [(401, "key-unknown" if key == "tnt_wrong" else "key-expired")] * 3
        # From then on it is handled as a partner's message.
        assert statuses[3:] == [(400, "message-not-an-envelope")] * 3
        assert parsed == 3
    # An envelope is received whatever the header has, and one of a tenant that has its key is read.
    assert (await knock(app, packed(foreign), "198.51.100.9", "tnt_wrong")).status == 202
    action = {"type": "DIDCOMM", "to": foreign.connection.contact_uuid, "data": {"message": basic("x")}}
    assert (await knock(app, orjson.dumps(action), "198.51.100.9", foreign.client.key)).status == 201


async def expired_key(stack: Stack, client: Client) -> str:
    made = await client.post("api-token", {"name": "short", "scope": "admin"})
    unit = Unit()
    unit.merge(ApiToken.row_key(made["uuid"]), {"expiresAt": stack.app.services.now() - 1})
    await (await client.tenant()).records.commit(unit)
    return str(made["headers"]["tnt-subscription-key"])


async def test_over_http_the_platform_says_who_it_is(stack: Stack, foreign: Foreign, monkeypatch: Any) -> None:
    seen: list[str] = []

    def note(headers: Mapping[str, str], hops: int) -> str:
        seen.append(client(headers, hops))
        return seen[-1]

    client = client_address
    monkeypatch.setattr(didcomm, "client_address", note)
    headers = {"content_type": "application/didcomm-envelope-enc", "x_forwarded_for": "1.2.3.4"}
    assert (await stack.call("POST", "didcomm", packed(foreign), **headers)).status == 202
    # What a test before sends to itself may come meanwhile.
    assert set(seen) == {"127.0.0.1"}


async def test_more_than_can_be_queued_is_refused_before_memory_grows(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue stands still, and a thousand requests come, large and small."""
    gate, peak = asyncio.Event(), 0
    app = limited(stack, key=0, address=0)
    storage = app.services.storage
    put = storage.inbound._put

    async def slow(content: bytes) -> None:
        await gate.wait()
        await put(content)

    async def keep(name: str, content: bytes, metadata: Mapping[str, str]) -> None:
        nonlocal peak
        held.append(len(content))
        peak = max(peak, sum(held))
        await gate.wait()
        held.remove(len(content))

    held: list[int] = []
    monkeypatch.setattr(storage.inbound, "_put", slow)
    monkeypatch.setattr(storage.envelopes, "put", keep)
    small = packed(foreign)
    large = small[:-1] + b" " * (MAX_WIRE - len(small)) + b"}"
    tasks = [asyncio.create_task(knock(app, large)) for _ in range(100)]
    tasks += [asyncio.create_task(knock(app, small)) for _ in range(1000)]
    done, _ = await asyncio.wait(tasks, timeout=1)
    refused = [task.result() for task in done]
    assert peak <= didcomm.MAX_IN_HAND
    assert {answer.status for answer in refused} == {503}
    assert len(refused) >= 90
    assert refused[0].headers["retry-after"] == "30"
    assert_problem(refused[0], 503, "busy")
    gate.set()
    answers = [await task for task in tasks]
    assert {answer.status for answer in answers} == {202, 503}
    assert (await knock(app, small)).status == 202


async def test_a_list_that_is_full(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(content: bytes) -> None:
        raise Full("10000 items are waiting already")

    monkeypatch.setattr(stack.app.services.storage.inbound, "add", full)
    answer = await stack.deliver(packed(foreign))
    assert_problem(answer, 503, "busy")
    assert answer.headers["Retry-After"] == "30"


# After it.


class Later:
    """Queue `inbound`, which only takes note of what is put off, unless it is of an earlier test."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch, foreign: Foreign) -> None:
        self.puts: list[tuple[int, bytes]] = []
        self._first = foreign.client.uuid  # tenants of earlier tests come before it
        queues = app.services.storage.queues
        self._queue = queues["inbound"]
        queue = Partly(self._queue, put=self._put)
        monkeypatch.setitem(queues, "inbound", queue)

    async def _put(self, content: bytes, *, delay: int = 0) -> None:
        assert len(content) <= MAX_MESSAGE
        if orjson.loads(content)["items"][0]["p"] < self._first:
            await self._queue.put(content, delay=delay)
        else:
            self.puts.append((delay, content))

    @property
    def items(self) -> list[dict[str, Any]]:
        return [item for _, content in self.puts for item in orjson.loads(content)["items"]]


async def test_a_sender_over_the_limit_waits_and_nobody_else_does(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = limited(stack, sender=10)
    neighbour = await connect_foreign(stack, foreign.client)
    other = await connect_foreign(stack, await stack.register("Another tenant"))
    flood = [item(foreign, f"flood {number}") for number in range(40)]
    later = Later(app, monkeypatch, foreign)
    await app.inbound.handle(body(*flood, item(neighbour, "neighbour"), item(other, "other")), 1)
    assert await number_of(foreign.client) == 11
    assert await number_of(other.client) == 1
    assert [one["id"] for one in later.items] == [one["id"] for one in flood[10:]]
    # At ten a minute the last one's turn is in three minutes; they come back in lists, not one by one.
    delays = [delay for delay, _ in later.puts]
    assert delays == sorted(delays)
    assert delays[-1] == 180
    assert len(delays) <= 7
    # They have their turn: none is put off a second time for the same limit, whenever it comes, and however often.
    for _, content in list(later.puts):
        await app.inbound.handle(content, 1)
    for _, content in list(later.puts):
        await app.inbound.handle(content, 1)
    assert len(later.items) == 30
    assert await number_of(foreign.client) == 41


async def test_a_tenant_over_the_limit_waits_and_no_other_does(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = limited(stack, tenant=10)
    senders = [foreign, *[await connect_foreign(stack, foreign.client) for _ in range(3)]]
    other = await connect_foreign(stack, await stack.register("Another tenant"))
    items = [item(senders[number % 4], f"{number}") for number in range(20)]
    later = Later(app, monkeypatch, foreign)
    await app.inbound.handle(body(*items, item(other, "other")), 1)
    assert await number_of(foreign.client) == 10
    assert await number_of(other.client) == 1
    assert len(later.items) == 10
    for content in later.items:
        await app.inbound.handle(body(content), 1)
    assert await number_of(foreign.client) == 20


async def test_a_flood_of_one_sender_does_not_use_up_the_tenants(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = limited(stack, sender=5, tenant=20)
    neighbour = await connect_foreign(stack, foreign.client)
    later = Later(app, monkeypatch, foreign)
    await app.inbound.handle(body(*(item(foreign, f"{number}") for number in range(50))), 1)
    await app.inbound.handle(body(*(item(neighbour, f"{number}") for number in range(5))), 1)
    assert await number_of(foreign.client) == 10
    assert len(later.items) == 45


async def test_connections_by_one_entrance_share_a_limit(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has an invitation makes as many connections as it likes: that gives it no more messages."""
    app = limited(stack, sender=10, tenant=20)
    crowd = [await connect_foreign(stack, foreign.client) for _ in range(4)]
    for one in crowd:
        await came_by(one, "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b")
    later = Later(app, monkeypatch, foreign)
    for one in crowd:
        await app.inbound.handle(body(*(item(one, f"{one.connection.uuid} {number}") for number in range(10))), 1)
    assert (await number_of(foreign.client), len(later.items)) == (10, 30)
    await app.inbound.handle(body(*(item(foreign, f"{number}") for number in range(10))), 1)
    assert (await number_of(foreign.client), len(later.items)) == (20, 30)


async def came_by(foreign: Foreign, invitation: str) -> None:
    tenant = await foreign.client.tenant()
    unit = Unit()
    unit.merge(foreign.connection.key, {"role": "responder", "invitationUuid": invitation})
    await tenant.records.commit(unit)


async def test_strangers_share_one_limit(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a new key for each message, or none, or with what cannot be opened."""
    app = limited(stack, sender=6)
    plaintext = orjson.dumps(basic())
    envelopes = [foreign.v1(plaintext, sender=KeyPairs.generate().ed25519) for _ in range(10)]
    envelopes += [foreign.v1(orjson.dumps(basic(number)), anonymous=True) for number in range(10)]
    for number in range(10):
        broken = orjson.loads(foreign.v1(orjson.dumps(basic(number))))
        broken["tag"] = "A" * 22
        envelopes.append(orjson.dumps(broken))
    later = Later(app, monkeypatch, foreign)
    await app.inbound.handle(body(*(item(foreign, "", e=one.decode()) for one in envelopes)), 1)
    assert len(later.items) == 24
    await app.inbound.handle(body(item(foreign, "the contact itself")), 1)
    assert len(later.items) == 24


async def test_one_that_is_put_off_alone(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    app = limited(stack, sender=1)
    later = Later(app, monkeypatch, foreign)
    for number in range(2):
        await app.inbound.handle(body(item(foreign, str(number))), 1)
    [(delay, content)] = later.puts
    assert delay == 60
    await app.inbound.handle(content, 1)
    assert await number_of(foreign.client) == 2


async def test_through_the_queue(stack: Stack, foreign: Foreign) -> None:
    """Put off for a second or two, by a real queue, and none is missing."""
    hook = await foreign.client.webhook()
    app = limited(stack, sender=60)
    await app.inbound.handle(body(*(item(foreign, f"{number}") for number in range(62))), 1)
    await hook.count(62)
    assert len({one.json()["message"]["content"] for one in hook.got}) == 62


async def test_the_largest_item_that_goes_in_a_queue_can_be_put_off(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is added to it on the way, it still fits."""
    app, storage = limited(stack, sender=1), stack.app.services.storage
    later, queued = Later(app, monkeypatch, foreign), []

    async def note(content: bytes) -> None:
        queued.append(orjson.loads(content))

    monkeypatch.setattr(storage.inbound, "add", note)
    small = packed(foreign)
    size = storage.inbound.room
    for length in range(size - 400, size + 1, 8):
        await knock(app, small[:-1] + b" " * (length - len(small)) + b"}", f"10.0.{length % 250}.1")
        if "e" not in queued[-1]:
            break
    largest = queued[-2]
    for tries in range(2):
        await app.inbound.handle(body({**largest, "id": stack.app.services.uuid7(), "n": 5 + tries}), 1)
    assert len(later.puts) == 1


# What is kept.


async def set_limits(client: Client, **limits: Any) -> Any:
    answer = await client.stack.call("PUT", f"principal/{client.uuid}", {"limits": limits}, **client.stack.operator)
    assert answer.status == 200, answer.body
    return answer.json()


async def stored_bytes(client: Client) -> int:
    """As they are counted, and as they really are."""
    services = client.stack.app.services
    services.tenants.forget(client.uuid)
    estimate = services.usage.stored((await client.tenant()).principal)
    one = f"principal/{client.uuid}"
    counted = (await client.stack.call("POST", f"{one}/recount", {}, **client.stack.operator)).json()["storedBytes"]
    assert (await client.stack.call("GET", one, **client.stack.operator)).json()["storedBytes"] == counted
    assert abs(estimate - counted) <= 1000 + counted * 0.4, (estimate, counted)
    return int(counted)


async def test_what_a_tenant_keeps(stack: Stack, foreign: Foreign) -> None:
    client = foreign.client
    sizes = [await stored_bytes(client)]
    for content in ("x" * 20_000, "x" * 200_000):
        given = item(foreign, content)
        if len(content) > 100_000:
            await stack.app.services.storage.envelopes.put(given["id"], given.pop("e").encode())
        await stack.app.inbound.handle(body(given), 1)
        sizes.append(await stored_bytes(client))
        assert sizes[-1] > sizes[-2] + len(content)
    assert sizes[-1] < sizes[0] + 500_000
    for hit in (await client.get("message"))["hits"]:
        assert (await client.call("DELETE", f"message/{hit['uuid']}")).status == 204
    assert await stored_bytes(client) < sizes[0] + 10_000
    # Another process reads it from the principal's row.
    usage = stack.app.services.usage
    usage.add(client.uuid, 5_000_000)
    await usage.flush()
    shown = (await stack.call("GET", f"principal/{client.uuid}", **stack.operator)).json()
    assert shown["storedBytes"] > 5_000_000


async def test_a_tenant_over_its_quota(stack: Stack, foreign: Foreign) -> None:
    """Senders are told to come again, the tenant what to do; what was accepted before is handled, and reads go on."""
    client = foreign.client
    accepted = item(foreign, "accepted before")
    contact = foreign.connection.contact_uuid
    assert (await set_limits(client, storedBytes=1))["limits"] == {"storedBytes": 1}
    refused = await stack.deliver(packed(foreign))
    # That somebody is full is not for strangers to know: it looks like a service that is busy.
    assert_problem(refused, 503, "busy")
    await stack.app.inbound.handle(body(accepted), 1)
    [message] = (await client.get("message"))["hits"]
    assert message["message"]["content"] == "accepted before"
    problem = assert_problem(
        await client.call("POST", "action", {"type": "DIDCOMM", "to": contact, "data": {"message": basic()}}),
        507,
        "quota-exceeded",
    )
    assert "Delete messages" in problem["detail"]
    assert (await client.call("POST", "invitation", {})).status == 507
    # What it needs to get out of this, or when a key was stolen, it may do.
    for method in ("PUT", "POST"):
        saved = await client.call(
            method, "settings/DIDCOMM_WEBHOOK", {"setting": [{"id": "a", "url": "https://a.example"}]}
        )
        assert saved.status == 200, saved.body
    assert (await client.call("POST", "settings/DIDCOMM_WEBHOOK/a/rotate-secret")).status == 200
    assert (await client.call("POST", "api-token", {"scope": "read"})).status == 201
    assert (await client.call("DELETE", f"message/{message['uuid']}")).status == 204
    # The operator gives it room, and nothing was lost but time.
    await set_limits(client, storedBytes=10**9)
    assert (await stack.deliver(packed(foreign))).status == 202
    await client.act(contact, basic())


async def test_strangers_leave_a_fifth_of_the_quota_to_others(stack: Stack, foreign: Foreign) -> None:
    """Strangers become contacts by a public DID, each with a document of up to 30 kB, and write as such."""
    client, bolt = foreign.client, await stack.register("Bolt")
    await bolt.post("contact", {"contact": {"did": client.identity["did"]}})
    closed = await client.post("invitation", {})
    await bolt.post("contact", {"invitationId": closed["uuid"]})

    async def completed() -> Any:
        hits = (await client.get("connection?state=completed"))["hits"]
        return hits if len(hits) == 3 else None

    hits = await stack.eventually(completed, 30)
    tenant = await client.tenant()
    keys = {}
    for hit in hits:
        recipient = await stack.app.services.tenants.recipient(tenant, "connection", hit["uuid"])
        assert recipient is not None
        keys[hit["invitationUuid"] or hit["uuid"]] = encode_verkey(recipient.signer.public)
    [public] = keys.keys() - {closed["uuid"], foreign.connection.uuid}
    identity = await stack.app.services.tenants.recipient(tenant, "identity", client.identity["uuid"])
    assert identity is not None
    keys["identity"] = encode_verkey(identity.signer.public)

    async def statuses() -> dict[str, int]:
        packed = {name: pack_v1(orjson.dumps(basic()), recipients=[key], sender=None) for name, key in keys.items()}
        return {name: (await stack.deliver(one)).status for name, one in packed.items()}

    assert set((await statuses()).values()) == {202}
    await set_limits(client, storedBytes=10_000_000)
    stack.app.services.usage.add(client.uuid, 8_500_000)
    await stack.app.services.usage.flush()
    known = {closed["uuid"]: 202, foreign.connection.uuid: 202}
    assert await statuses() == {**known, public: 503, "identity": 503}
    assert (await client.call("POST", "invitation", {})).status == 201


async def test_one_of_two_recipients_is_full(stack: Stack, pair: tuple[Client, Client]) -> None:
    """The other one has the message once, however often the sender comes again."""
    full, other = [await connect_foreign(stack, client) for client in pair]
    await set_limits(full.client, storedBytes=1)
    plaintext = orjson.dumps(basic(**{"@id": "1"}))
    both = pack_v1(plaintext, recipients=[full.our_keys.verkey, other.our_keys.verkey], sender=other.their_keys.ed25519)
    for _ in range(2):
        assert_problem(await stack.deliver(both), 503, "busy")
    await set_limits(full.client)
    assert (await stack.deliver(both)).status == 202

    async def arrived() -> bool:
        return await number_of(other.client) == 1 and await number_of(full.client) == 1

    await stack.eventually(arrived)
    await asyncio.sleep(0.3)
    assert await arrived()


async def test_many_at_once_are_not_taken_on_credit(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is stored before the last one is at the door."""
    quota = 20 * 1024**2
    await set_limits(foreign.client, storedBytes=quota)
    taken: list[bytes] = []

    async def keep(data: bytes) -> None:
        taken.append(data)

    monkeypatch.setattr(stack.app.services.storage.inbound, "add", keep)
    large = packed(foreign, "x" * 2_000_000)
    answers = [(await knock(stack.app, large)).status for _ in range(12)]
    assert answers.count(202) * len(large) <= quota * 1.1 + len(large)
    assert answers[-1] == 503
    # What is stored, or was given up, makes room for the next.
    for data in taken:
        await stack.app.inbound.handle(b'{"items":[' + data.replace(foreign.client.uuid.encode(), b"gone") + b"]}", 1)
    assert (await knock(stack.app, large)).status == 202


async def test_what_could_not_be_queued_takes_no_room(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(content: bytes) -> None:
        raise Full("10000 items are waiting already")

    await set_limits(foreign.client, storedBytes=10_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.inbound, "add", full)
        large = packed(foreign, "x" * 2_000_000)
        assert {(await knock(stack.app, large)).status for _ in range(6)} == {503}
    assert (await knock(stack.app, packed(foreign))).status == 202


async def test_a_tenant_that_is_over_its_quota_by_far_has_what_was_accepted_wait(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = stack.app.services.usage
    await set_limits(foreign.client, storedBytes=10_000_000)
    usage.add(foreign.client.uuid, 10_900_000)
    await usage.flush()
    assert usage.stored((await foreign.client.tenant()).principal) > 10_900_000, "also before the row is read again"
    await stack.app.inbound.handle(body(item(foreign, "a little over")), 1)
    assert await number_of(foreign.client) == 1
    usage.add(foreign.client.uuid, 200_000)
    later = Later(stack.app, monkeypatch, foreign)
    await stack.app.inbound.handle(body(item(foreign, "far over")), 1)
    assert len(later.items) == 1
    assert await number_of(foreign.client) == 1
    await set_limits(foreign.client)
    await stack.app.inbound.handle(body(*later.items), 1)
    assert await number_of(foreign.client) == 2


async def test_what_cannot_be_opened_has_a_small_share_of_what_a_tenant_keeps(stack: Stack, foreign: Foreign) -> None:
    before = await stored_bytes(foreign.client)
    junk = orjson.loads(packed(foreign, "x" * 1_000_000))
    for number in range(300):
        given = item(foreign, "")
        given["e"] = orjson.dumps({**junk, "iv": f"{number:016}"}).decode()[: 1_000_000 if number < 3 else None]
        await stack.app.inbound.handle(body(given), 1)
        if number == 5:
            junk["ciphertext"] = "AAAA"
    assert await number_of(foreign.client, status="REJECTED") == 200
    assert await stored_bytes(foreign.client) < before + 1_500_000
    await stack.app.inbound.handle(body(item(foreign, "honest")), 1)
    assert (await foreign.client.get("message?status=RECEIVED"))["hits"]


async def test_large_junk_writes_only_so_many_rows(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.app.inbound._receiving, "_settled", Allowance(lambda: 0.0, burst=3, seconds=60.0))
    storage, tenant = stack.app.services.storage, foreign.client.uuid
    junk = orjson.loads(packed(foreign))
    for number in range(210):
        given = item(foreign, "")
        raw = orjson.dumps({**junk, "iv": f"{number:016}"})
        del given["e"]
        await storage.envelopes.put(given["id"], raw, {"p": given["p"], "o": given["o"], "u": given["u"]})
        await stack.app.inbound.handle(body(given), 1)
        assert await storage.envelopes.get(given["id"]) is None
    rows = await storage.records.scan(tenant, "entry~", "entry~~", limit=1000)
    assert len(rows.rows) == 200 + 3


async def test_unknown_keys_beside_a_known_one_are_charged(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each message counts as one; of its 31 unknown keys, the first counts as 20, the next as 40 and so on: 9,920.
    app = limited(stack, address=20_000)
    keys = [foreign.our_keys.verkey, *(KeyPairs.generate().verkey for _ in range(31))]
    mixed = pack_v1(orjson.dumps(basic()), recipients=keys, sender=foreign.their_keys.ed25519)
    looked_up: list[str] = []
    find = Lookups.find

    async def found(self: Lookups, kind: LookupKind, name: str) -> Found | None:
        if name in keys:
            looked_up.append(name)
        return await find(self, kind, name)

    monkeypatch.setattr(Lookups, "find", found)
    answers = [(await knock(app, mixed)).status for _ in range(4)]
    assert answers == [202] * 2 + [429] * 2
    # The third was looked at until it exceeded the rate.
    assert 64 < len(looked_up) <= 64 + 12
    # Of those that come at the same time, two are looked at.
    looked_up.clear()
    app = limited(stack, address=200_000)
    many = await asyncio.gather(*(knock(app, mixed) for _ in range(16)))
    assert Counter(answer.status for answer in many) == {202: 2, 429: 14}
    assert len(looked_up) == 2 * 32
    assert (await knock(app, mixed)).status == 202


@pytest.mark.parametrize(
    "limits", [1, [], {"storedBytes": 10**15}, {"storedBytes": -1}, {"storedBytes": "1"}, {"messagesPerMinute": True}]
)
async def test_limits_that_are_none(stack: Stack, foreign: Foreign, limits: Any) -> None:
    one = f"principal/{foreign.client.uuid}"
    answer = await stack.call("PUT", one, {"limits": limits}, **stack.operator)
    assert_problem(answer, 400, "limits-invalid")


async def test_a_tenants_own_pace(stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch) -> None:
    await set_limits(foreign.client, messagesPerMinute=3)
    later = Later(stack.app, monkeypatch, foreign)
    await stack.app.inbound.handle(body(*(item(foreign, str(number)) for number in range(5))), 1)
    assert len(later.items) == 2
    assert [math.ceil(delay / 20) for delay, _ in later.puts] == [2]


async def test_what_is_counted_survives_a_storage_that_is_away(
    stack: Stack, foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, usage = foreign.client, stack.app.services.usage
    principal = (await client.tenant()).principal
    before = usage.stored(principal)

    async def away(*_: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(stack.app.services.storage.records, "get", away)
        usage.add(client.uuid, 2_000_000)
        await asyncio.sleep(0.05)
    assert usage.stored(principal) == before + 2_000_000
    await usage.flush()
    shown = (await stack.call("GET", f"principal/{client.uuid}", **stack.operator)).json()
    assert shown["storedBytes"] >= 2_000_000
