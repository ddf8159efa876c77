"""What is done while faults are injected, and what must be true afterwards, whatever they were."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from tests.faults.sites import Client, Partner
from tests.faults.world import World
from tntcore.api.http import Request
from tntcore.dids.document import Version

PING = "https://didcomm.org/trust_ping/1.0/ping"
PING_2 = "https://didcomm.org/trust-ping/2.0/ping"
BASIC = "https://didcomm.org/basicmessage/1.0/message"
LARGE = "x" * 60_000  # more than a queue message, and more than a row


def basic(content: Any) -> dict[str, Any]:
    return {"@type": BASIC, "content": content}


class Flow:
    """
    Attributes:
        failed: how many deliveries of each tenant are to fail.
        large: whether envelopes are too large for a queue message.
    """

    failed: ClassVar[int] = 0
    large: ClassVar[bool] = False
    acme: Client
    bolt: Client

    def __init__(self, world: World) -> None:
        self.world = world

    async def prepare(self) -> None:
        """Without faults."""
        self.acme = await self.world.register("Acme")

    async def act(self) -> None:
        """With faults, as everything that follows from it."""
        raise NotImplementedError

    async def check(self) -> None:
        """Without faults."""
        raise NotImplementedError

    @property
    def clients(self) -> list[Client]:
        return [client for client in (getattr(self, "acme", None), getattr(self, "bolt", None)) if client]

    async def stored(self, client: Client, *expected: tuple[str, str, str]) -> None:
        """That these are the client's messages: (direction, last part of the type, status)."""
        hits = (await client.get("message?limit=200"))["hits"]
        found = sorted((hit["direction"], hit["type"].rpartition("/")[2], hit["status"]) for hit in hits)
        assert found == sorted(expected)


class Received(Flow):
    """From outside, to a webhook."""

    version: ClassVar[Version] = "v1"
    contents: ClassVar[list[Any]] = ["one"]
    partner: Partner

    async def prepare(self) -> None:
        await super().prepare()
        self.partner = await self.world.partner(self.acme, self.version)

    async def act(self) -> None:
        for content in self.contents:
            await self.partner.send(self.partner.basic(content))

    async def check(self) -> None:
        assert self.acme.contents() == sorted(self.contents)
        await self.stored(self.acme, *[("IN", "message", "RECEIVED")] * len(self.contents))


class ReceivedByQueue(Received):
    """The webhook is called by queue `relay`, as one that may be slow."""

    async def prepare(self) -> None:
        self.world.by_queue = True
        self.world.restart()
        await super().prepare()


class ReceivedV2(Received):
    version = "v2"


class ReceivedLarge(Received):
    """In a blob where it is too large for a queue message."""

    large = True
    contents: ClassVar = [LARGE, "small"]


class ReceivedTogether(Received):
    """Three items in one queue message, one of which cannot be opened."""

    contents: ClassVar = ["a", "b", "c"]

    async def act(self) -> None:
        services = self.world.process.app.services
        items = []
        for content in self.contents:
            packed = self.partner.pack(self.partner.basic(content)).decode()
            items.append({"o": "connection", "u": self.partner.connection.uuid, "e": packed})
        items.append({**items[0], "e": "{}"})
        named = [{"id": services.uuid7(), "p": self.partner.shard, **item} for item in items]
        self.world.durable.put("inbound", orjson.dumps({"items": named}))

    async def check(self) -> None:
        assert self.acme.contents() == sorted(self.contents)
        refused = ("IN", "", "REJECTED")
        await self.stored(self.acme, *[("IN", "message", "RECEIVED")] * 3, refused)


class Answered(Received):
    """A ping, which is answered."""

    async def act(self) -> None:
        if self.version == "v1":
            ping = {"@id": "ping-1", "@type": PING, "response_requested": True}
        else:
            ping = {"id": "ping-1", "type": PING_2, "body": {"response_requested": True}}
        await self.partner.send(ping)

    async def check(self) -> None:
        kinds = [message.get("@type") or message["type"] for message in self.partner.messages.values()]
        response = "ping_response" if self.version == "v1" else "ping-response"
        assert [kind.rpartition("/")[2] for kind in kinds] == [response]
        assert len(self.acme.hooks.events) == 1
        await self.stored(self.acme, ("IN", "ping", "RECEIVED"), ("OUT", response, "SENT"))


class AnsweredByQueue(ReceivedByQueue, Answered):
    """By queue `outbound`."""


class AnsweredV2(Answered):
    version = "v2"


class Retried(Received):
    """The webhook is out of order for a while."""

    contents: ClassVar = ["one", "two"]

    async def prepare(self) -> None:
        await super().prepare()
        self.acme.hooks.answers = [503, 500, 429, 503, 500]


class Ended(Received):
    """The webhook never comes to order: the tenant is told, once."""

    failed = 1

    async def prepare(self) -> None:
        await super().prepare()
        self.acme.hooks.answers = [500] * 50

    async def check(self) -> None:
        assert self.acme.hooks.events == {}
        [delivery] = (await self.acme.get("delivery?kind=webhook"))["hits"]
        assert delivery["status"] == "FAILED"
        told = [event for event in self.acme.tasks.events.values() if event["type"] == "delivery"]
        assert [(event["uuid"], event["status"]) for event in told] == [(delivery["uuid"], "FAILED")]


class Sent(Received):
    """To outside."""

    async def act(self) -> None:
        for content in self.contents:
            await self.acme.act(self.partner.connection.contact_uuid, basic(content))

    async def check(self) -> None:
        found = [message.get("body") or message for message in self.partner.messages.values()]
        assert sorted(message["content"] for message in found) == sorted(self.contents)
        await self.stored(self.acme, *[("OUT", "message", "SENT")] * len(self.contents))


class SentV2(Sent):
    version = "v2"


class SentLarge(Sent):
    contents: ClassVar = [LARGE]


class SentAgain(Sent):
    """The partner is out of order for a while."""

    contents: ClassVar = ["one", "two"]

    async def prepare(self) -> None:
        await super().prepare()
        self.partner.answers = [500, 503, 500]


class GivenUp(Received):
    """No process survives the handling of a queue's messages, until the operator has them handled again."""

    queue: ClassVar[str] = "inbound"

    async def act(self) -> None:
        self.world.given_up.add(self.queue)
        await self.begin()
        await self.world.settle()
        assert not self.contents_arrived
        assert await self.statuses() == {"FAILED"}
        self.world.given_up.clear()
        await self.world.replay()
        await self.world.settle()

    async def begin(self) -> None:
        await super().act()

    async def statuses(self) -> set[str]:
        """What the tenant sees meanwhile."""
        return {hit["status"] for hit in (await self.acme.get("message"))["hits"]}

    @property
    def contents_arrived(self) -> list[Any]:
        return self.acme.contents()


class GivenUpLarge(GivenUp):
    large = True
    contents: ClassVar = [LARGE, "small"]

    async def statuses(self) -> set[str]:
        """The envelopes stay as long as the operator takes, and are not given up again and again."""
        durable = self.world.durable
        blobs, rows = {name: dict(durable.blobs[name]) for name in durable.blobs}, len(durable.tables["poisoned"])
        for _ in range(10):
            await self.world.pass_days(1)
            await self.world.settle()
        assert durable.blobs == blobs
        # One that was never queued is given up by now, too.
        assert len(durable.tables["poisoned"]) <= rows + 1
        return await super().statuses()


class LeftWaiting(ReceivedLarge):
    """Nobody handles the queue for long, and the timer goes on."""

    async def act(self) -> None:
        await super().act()
        blobs = dict(self.world.durable.blobs["envelopes"])
        await self.world.pass_days(10)
        assert self.world.durable.blobs["envelopes"] == blobs
        # What was queued, the faulty call's one, and of each blob one in three days.
        assert len(self.world.durable.queue) <= len(self.contents) + 1 + len(blobs) * 10 // 3


class GivenUpOnce(Received):
    """Of two queue messages with the same item, as a repeated put leaves them, one is given up, before or after the
    other one is handled."""

    large = True
    contents: ClassVar = [LARGE, "small"]
    first: ClassVar[bool] = True

    async def act(self) -> None:
        await super().act()
        durable = self.world.durable
        for message in list(durable.queue.values()):
            if message.queue == "inbound":
                durable.put("inbound" if self.first else "inbound-poison", message.body, delay=60)
                if self.first:
                    self.world.give_up(message)
        await self.world.settle()
        await self.world.replay()
        await self.world.settle()


class GivenUpAfterwards(GivenUpOnce):
    first = False


class GivenUpRelay(ReceivedByQueue, GivenUp):
    queue = "relay"
    contents: ClassVar = ["one", LARGE]
    large = True

    async def act(self) -> None:
        await GivenUp.act(self)

    async def begin(self) -> None:
        await Received.act(self)

    async def statuses(self) -> set[str]:
        return {hit["status"] for hit in (await self.acme.get("delivery"))["hits"]}


class GivenUpOutbound(Sent, GivenUp):
    queue = "outbound"
    contents: ClassVar = ["one", LARGE]

    async def act(self) -> None:
        await GivenUp.act(self)

    async def begin(self) -> None:
        await Sent.act(self)

    @property
    def contents_arrived(self) -> list[Any]:
        return list(self.partner.messages)


class Between(Flow):
    """From one tenant to another."""

    version: ClassVar[Version] = "v1"
    contact: str

    async def prepare(self) -> None:
        await super().prepare()
        self.bolt = await self.world.register("Bolt")
        await self.join()

    async def join(self) -> None:
        mine, _ = await self.world.connect(self.acme, self.bolt, self.version)
        self.contact = mine.contact_uuid

    async def act(self) -> None:
        await self.acme.act(self.contact, basic("one"))

    async def check(self) -> None:
        assert self.bolt.contents() == ["one"]
        await self.stored(self.acme, ("OUT", "message", "SENT"))
        await self.stored(self.bolt, ("IN", "message", "RECEIVED"))


class Connected(Between):
    """A DID exchange, and messages that wait for its end."""

    invitation: ClassVar[dict[str, Any]] = {}
    handshake: ClassVar[int] = 3  # messages
    told: ClassVar[tuple[list[str], ...]] = (["completed"], [])

    async def join(self) -> None:
        wanted = self.invitation
        self.invited = await self.acme.post("invitation", wanted)

    async def act(self) -> None:
        contact = await self.bolt.post("contact", {"invitation": self.invited["invitation"]})
        for content in ("one", "two"):
            await self.bolt.act(contact["uuid"], basic(content))

    async def check(self) -> None:
        sides = []
        for client in self.clients:
            [connection] = (await client.get("connection"))["hits"]
            sides.append(connection)
            [contact] = (await client.get("contact"))["hits"]
            assert (connection["state"], contact["status"]) == ("completed", "ACCEPTED")
            done = [event for event in client.tasks.events.values() if event["type"] == "connection"]
            # Who was invited by v2 decided by itself.
            assert [event["status"] for event in done] in self.told
        assert sides[0]["myDid"].removeprefix("did:sov:") == sides[1]["theirDid"].removeprefix("did:sov:")
        assert sides[1]["myDid"].removeprefix("did:sov:") == sides[0]["theirDid"].removeprefix("did:sov:")
        assert self.acme.contents() == ["one", "two"]
        for client in self.clients:
            hits = (await client.get("message?limit=200"))["hits"]
            assert {hit["status"] for hit in hits} == {"RECEIVED", "SENT"}
            assert len(hits) == self.handshake + 2
        assert (await self.acme.get(f"invitation/{self.invited['uuid']}"))["status"] == "USED"


class ConnectedOld(Connected):
    """Connections 1.0."""

    invitation: ClassVar = {"handshakeProtocols": ["https://didcomm.org/connections/1.0"]}


class ConnectedV2(Connected):
    invitation: ClassVar = {"form": "out-of-band/2"}
    handshake = 2


class Asked(Between):
    """Requests inside an invitation, answered without a handshake."""

    async def join(self) -> None:
        offer = {"@type": "https://example.org/trade/1.0/offer", "content": "offer"}
        self.invited = await self.acme.post("invitation", {"handshakeProtocols": [], "requests": [offer]})

    async def act(self) -> None:
        await self.bolt.post("contact", {"invitation": self.invited["invitation"]})
        await self.world.settle()
        # As the tenant's system does, called by its webhook.
        [offered] = self.bolt.hooks.events.values()
        answer = {"@type": "https://example.org/trade/1.0/answer", "content": "answer"}
        await self.bolt.post(f"action/{offered['actionUuid']}", {"data": {"message": {"@id": "answer", **answer}}})

    async def check(self) -> None:
        assert self.bolt.contents() == ["offer"]
        assert self.acme.contents() == ["answer"]
        for client in self.clients:
            [connection] = (await client.get("connection"))["hits"]
            assert connection["state"] == "completed"
        await self.stored(self.acme, ("IN", "answer", "RECEIVED"))
        await self.stored(self.bolt, ("IN", "offer", "RECEIVED"), ("OUT", "answer", "SENT"))


class Rotated(Between):
    """One side takes a new DID, by RFC 0794, and both write."""

    async def prepare(self) -> None:
        await super().prepare()
        [mine] = (await self.acme.get("connection"))["hits"]
        [theirs] = (await self.bolt.get("connection"))["hits"]
        self.mine, self.theirs = mine, theirs

    async def act(self) -> None:
        await self.acme.post(f"connection/{self.mine['uuid']}/rotate", {})
        await self.bolt.act(self.theirs["contactUuid"], basic("one"))
        await self.world.settle()
        await self.acme.act(self.contact, basic("two"))

    async def check(self) -> None:
        mine = await self.acme.get(f"connection/{self.mine['uuid']}")
        theirs = await self.bolt.get(f"connection/{self.theirs['uuid']}")
        assert mine["myDid"] == theirs["theirDid"] != self.mine["myDid"]
        assert self.acme.contents() == ["one"]
        assert self.bolt.contents() == ["two"]


class HungUp(Rotated):
    async def act(self) -> None:
        answer = await self.acme.call("POST", f"connection/{self.mine['uuid']}/hangup", {})
        # The second time, it is over already.
        assert answer.status in (200, 409), answer.body

    async def check(self) -> None:
        for client, uuid in ((self.acme, self.mine["uuid"]), (self.bolt, self.theirs["uuid"])):
            assert (await client.get(f"connection/{uuid}"))["state"] == "abandoned"
        told = [event["status"] for event in self.bolt.tasks.events.values() if event["type"] == "connection"]
        assert told == ["abandoned"]


class RotatedByPartner(Received):
    """A partner takes a new DID, by RFC 0794: who acknowledges that, at whatever attempt, does so to the old one."""

    async def prepare(self) -> None:
        await super().prepare()
        self.moved = self.world.moved(self.partner)

    async def act(self) -> None:
        rotate = {"@id": "rotate", "@type": "https://didcomm.org/did-rotate/1.0/rotate"}
        await self.partner.send({**rotate, "to_did": self.moved.document.id})
        await self.world.settle()
        await self.acme.act(self.partner.connection.contact_uuid, basic("after"))
        await self.world.settle()
        for delivery in (await self.acme.get("delivery?kind=didcomm"))["hits"]:
            if delivery["type"].endswith("/ack"):
                await self.acme.post(f"delivery/{delivery['uuid']}/replay", {})

    async def check(self) -> None:
        assert [message["@type"].rpartition("/")[2] for message in self.partner.messages.values()] == ["ack"]
        assert [message.get("content") for message in self.moved.messages.values()] == ["after"]
        await self.stored(self.acme, ("IN", "rotate", "RECEIVED"), ("OUT", "ack", "SENT"), ("OUT", "message", "SENT"))


class Registered(Flow):
    """A tenant, by an operator who comes again with the same `Idempotency-Key` until there is an answer."""

    async def prepare(self) -> None:
        """There is nobody yet."""

    async def act(self) -> None:
        given = {"idempotency-key": "register"}
        answer = await self.world.call("POST", "principal", {"displayName": "Acme"}, given)
        assert answer.status == 201, answer.body
        self.made = orjson.loads(answer.body)

    async def check(self) -> None:
        key = self.made["headers"]
        for noun in ("identity", "api-token"):
            answer = await self.world.call("GET", noun, None, key)
            assert answer.status == 200, answer.body
            assert len(orjson.loads(answer.body)["hits"]) == 1, noun
        listed = orjson.loads((await self.world.call("GET", "principal", None, {})).body)
        assert [hit["uuid"] for hit in listed["hits"]] == [self.made["uuid"]]
        audit = orjson.loads((await self.world.call("GET", "operator/audit", None, {})).body)["hits"]
        assert [(hit["act"], hit["status"]) for hit in audit] == [("tenant.registered", "DONE")]
        own = orjson.loads((await self.world.call("GET", "audit", None, key)).body)["hits"]
        assert [hit["uuid"] for hit in own] == [hit["uuid"] for hit in audit]


class OperatorMade(Flow):
    """An operator's key, made likewise."""

    async def prepare(self) -> None:
        """There is Ada."""

    async def act(self) -> None:
        given = {"idempotency-key": "operator"}
        answer = await self.world.call("POST", "operator", {"name": "Rex", "role": "read"}, given)
        assert answer.status == 201, answer.body
        self.made = orjson.loads(answer.body)

    async def check(self) -> None:
        listed = orjson.loads((await self.world.call("GET", "operator", None, {})).body)["hits"]
        assert [(hit["name"], hit["status"]) for hit in listed if hit["name"] != "Ada"] == [("Rex", "ACTIVE")]
        request = Request("GET", "operator/me", {}, dict(self.made["headers"]), b"")
        assert (await self.world.process.app.http(request)).status == 200
        audit = orjson.loads((await self.world.call("GET", "operator/audit", None, {})).body)["hits"]
        assert [hit["act"] for hit in audit] == ["operator.made"]


FLOWS: tuple[type[Flow], ...] = (
    Registered,
    OperatorMade,
    Received,
    ReceivedByQueue,
    ReceivedV2,
    ReceivedLarge,
    LeftWaiting,
    ReceivedTogether,
    Answered,
    AnsweredByQueue,
    AnsweredV2,
    Retried,
    Ended,
    Sent,
    SentV2,
    SentLarge,
    SentAgain,
    GivenUp,
    GivenUpLarge,
    GivenUpOnce,
    GivenUpAfterwards,
    GivenUpRelay,
    GivenUpOutbound,
    Between,
    Connected,
    ConnectedOld,
    ConnectedV2,
    Asked,
    Rotated,
    RotatedByPartner,
    HungUp,
)
