"""Endings: contacts, tenants and keys that are deleted, suspended or revoked; and requests that a tenant decides on."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson

from tests.faults.flows import PING, Between, Connected, Flow, HungUp, Received, Rotated, basic
from tests.faults.sites import Client
from tntcore.api.http import KEY_HEADER, Request
from tntcore.connections.removal import key_names
from tntcore.storage.records import Connection
from tntcore.storage.shards import principal_of
from tntcore.tenancy.audit import AUDITED

HOUR = 3_600_000


class Decided(Connected):
    """The tenant that invited accepts the request."""

    accepts: ClassVar[bool] = True
    told: ClassVar = (["request-received", "completed"], ["completed"])

    async def join(self) -> None:
        await self.acme.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}})
        await super().join()

    async def act(self) -> None:
        await super().act()
        await self.world.settle()
        [connection] = (await self.acme.get("connection"))["hits"]
        word = "accept" if self.accepts else "reject"
        answer = await self.acme.call("POST", f"connection/{connection['uuid']}/{word}", {})
        # The second time, it is decided already.
        assert answer.status in (200, 409), answer.body


class DecidedV2(Decided):
    invitation: ClassVar = {"form": "out-of-band/2"}
    handshake = 2
    told: ClassVar = (["request-received"], ["completed"])


class Rejected(Decided):
    accepts = False

    async def act(self) -> None:
        await super().act()
        await self.world.settle()

    async def check(self) -> None:
        for client, status in ((self.acme, "REJECTED"), (self.bolt, "REJECTED")):
            [connection] = (await client.get("connection"))["hits"]
            [contact] = (await client.get("contact"))["hits"]
            assert (connection["state"], contact["status"]) == ("abandoned", status)
        assert self.acme.contents() == []

    @property
    def clients(self) -> list[Client]:
        """Bolt's two messages failed, with the connection: `check` looks at the rest."""
        return [self.acme]


class RotatedV2(Rotated):
    version = "v2"


class HungUpV2(HungUp):
    version = "v2"


class Deleted(Received):
    """A contact, and with it a message that waits for it."""

    failed = 1

    async def prepare(self) -> None:
        await super().prepare()
        waiting = await self.acme.post("contact", {"contact": {"email": "eve@partner.example"}})
        await self.acme.act(waiting["uuid"], basic("held"))
        await self.partner.send(self.partner.basic("before"))
        self.uuids = [waiting["uuid"], self.partner.connection.contact_uuid]
        tenant = await self.acme.tenant()
        connections = (await tenant.records.list(Connection, limit=9)).records
        self.names = sorted(name for one in connections for name in key_names(one))
        self.connections = [one.uuid for one in connections]

    async def act(self) -> None:
        for uuid in self.uuids:
            answer = await self.acme.call("DELETE", f"contact/{uuid}")
            assert answer.status in (204, 404), answer.body

    async def check(self) -> None:
        for noun in ("contact", "connection"):
            assert (await self.acme.get(noun))["hits"] == []
        assert await self.found() == [None] * len(self.names)
        await self.stored(self.acme, ("IN", "message", "RECEIVED"), ("OUT", "message", "FAILED"))
        assert self.rows("held", "attached") == []

    async def found(self) -> list[Any]:
        lookups = self.world.process.app.services.lookups
        return [await lookups.find("key", name) for name in self.names]

    def rows(self, *kinds: str) -> list[str]:
        rows = self.world.durable.tables["records"]
        return [key for owner, key in rows if principal_of(owner) == self.acme.uuid and key.partition("~")[0] in kinds]


class Erased(Deleted):
    """A contact with all that is stored of it: messages in both directions, a pong, failed calls, what is held."""

    failed = 0

    async def prepare(self) -> None:
        self.acme = await self.world.register("Acme")
        self.acme.hooks.answers = [500]
        self.acme.hooks.clear()
        self.partner = await self.world.partner(self.acme, self.version)
        await super().prepare()
        await self.partner.send({"@id": "ping-1", "@type": PING, "response_requested": True})
        await self.acme.act(self.uuids[1], basic("out"))

    async def act(self) -> None:
        for uuid in self.uuids:
            for _ in range(9):
                answer = await self.acme.call("POST", f"contact/{uuid}/erase")
                if answer.status == 404 or orjson.loads(answer.body)["done"]:
                    break
            assert answer.status in (200, 404), answer.body

    async def check(self) -> None:
        assert await self.found() == [None] * len(self.names)
        left = {
            key.partition("~")[0]
            for (owner, key), row in self.world.durable.tables["records"].items()
            if principal_of(owner) == self.acme.uuid
            and any(name in f"{key} {[*row.values.values()]}" for name in (*self.uuids, *self.connections))
        }
        assert left <= {"audit", "invitation"}, left
        kinds = ("message", "delivery", "attempt", "action", "sent", "held", "attached", "contact", "connection")
        assert self.rows(*kinds) == []


class TenantDeleted(Between):
    """By the operator, with a message on its way to it, and a large one stored."""

    failed = 1

    async def prepare(self) -> None:
        await super().prepare()
        await self.acme.act(self.contact, basic("x" * 60_000))

    async def act(self) -> None:
        await self.acme.act(self.contact, basic("one"))
        answer = await self.world.call("DELETE", f"principal/{self.bolt.uuid}", None, {})
        assert answer.status in (204, 404), answer.body
        await self.world.settle()
        # Whoever wrote must have finished; then nothing is left.
        await self.world.pass_days(4)
        await self.world.settle()

    async def check(self) -> None:
        durable, uuid = self.world.durable, self.bolt.uuid
        assert [key for owner, key in durable.tables["records"] if principal_of(owner) == uuid] == [f"principal~{uuid}"]
        assert durable.tables["records"][uuid, f"principal~{uuid}"].values["status"] == "DELETED"
        assert not [name for name in durable.blobs.get("bodies", {}) if name.startswith(uuid)]
        assert {part for part, key in durable.tables["due"] if uuid in key} == {AUDITED}, "which go in time"
        refused = await self.world.call("GET", "message", None, {KEY_HEADER: self.bolt.key})
        assert refused.status == 401
        audit = orjson.loads((await self.world.call("GET", "operator/audit", None, {})).body)["hits"]
        # A call that broke off leaves STARTED.
        assert {hit["status"] for hit in audit if hit["act"] == "tenant.deleted"} <= {"DONE", "STARTED"}

    @property
    def clients(self) -> list[Client]:
        """The message that was on its way may have arrived or failed."""
        return []


class Suspended(Received):
    """A tenant is suspended while messages come, and resumed."""

    async def act(self) -> None:
        for word in ("suspend", "resume"):
            answer = await self.world.call("POST", f"principal/{self.acme.uuid}/{word}", {}, {})
            assert answer.status in (200, 204, 409), answer.body
            if word == "suspend":
                # What was accepted before waits.
                item = {"o": "connection", "u": self.partner.connection.uuid, "p": self.partner.shard}
                item |= {"e": self.partner.pack(self.partner.basic("one")).decode()}
                uuid = self.world.process.app.services.uuid7()
                self.world.durable.put("inbound", orjson.dumps({"items": [{"id": uuid, **item}]}))
                for _ in range(3):
                    await self.world.step()


class KeyRevoked(Flow):
    """Of the tenant, and of an operator; and the limits of the tenant are set."""

    async def prepare(self) -> None:
        await super().prepare()
        self.token = await self.acme.post("api-token", {"name": "shop"})
        answer = await self.world.call("POST", "operator", {"name": "Rex", "role": "read"}, {})
        self.rex = orjson.loads(answer.body)

    async def act(self) -> None:
        answer = await self.acme.call("DELETE", f"api-token/{self.token['uuid']}")
        assert answer.status in (204, 404), answer.body
        answer = await self.world.call("DELETE", f"operator/{self.rex['uuid']}", None, {})
        assert answer.status in (204, 404), answer.body
        limits = {"limits": {"storedBytes": 1_000_000}}
        answer = await self.world.call("PUT", f"principal/{self.acme.uuid}", limits, {})
        assert answer.status == 200, answer.body

    async def check(self) -> None:
        for headers, path in ((self.token["headers"], "message"), (self.rex["headers"], "operator/me")):
            request = Request("GET", path, {}, dict(headers), b"")
            assert (await self.world.process.app.http(request)).status == 401
        shown = orjson.loads((await self.world.call("GET", f"principal/{self.acme.uuid}", None, {})).body)
        assert shown["limits"] == {"storedBytes": 1_000_000}
        audit = orjson.loads((await self.world.call("GET", "operator/audit", None, {})).body)["hits"]
        done = [hit["act"] for hit in audit if hit["status"] == "DONE" and hit["act"] != "tenant.registered"]
        assert sorted(set(done)) == ["operator.made", "operator.revoked", "tenant.changed"]
        own = [hit["act"] for hit in (await self.acme.get("audit"))["hits"]]
        assert own.count("api-token.revoked") == 1


DECIDED: tuple[type[Flow], ...] = (Decided, DecidedV2, Rejected, RotatedV2, HungUpV2)
ENDED: tuple[type[Flow], ...] = (Deleted, Erased, TenantDeleted, Suspended, KeyRevoked)
