"""Those that the service serves and calls: tenants, their webhooks, and partners' agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tests.contract.described import note_webhook
from tntcore.api.http import KEY_HEADER, Response
from tntcore.dids.document import DidDocument, Version
from tntcore.envelope import Authcrypt, pack_v1, pack_v2, unpack
from tntcore.storage.records import Connection
from tntcore.tenancy.recipients import KeyPairs
from tntcore.tenancy.tenants import Tenant

if TYPE_CHECKING:
    from tests.faults.world import World


@dataclass
class Site:
    """Somebody else's server. `answers`: statuses of its first answers; 200 after those."""

    got: list[bytes] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    _statuses: Any = None

    def clear(self) -> None:
        self.got.clear()
        self._statuses = iter(self.answers)

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        self.got.append(body)
        return next(self._statuses or iter(()), 200)


@dataclass
class Hooks(Site):
    """A tenant's webhook: `events` are the calls that it took, by `webhook-id`, as who dedupes sees them."""

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def clear(self) -> None:
        super().clear()
        self.events.clear()
        self.changed.clear()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        status = super().take(headers, body)
        if status < 300:
            note_webhook(headers, body)
            name, event = headers["webhook-id"], orjson.loads(body)
            if self.events.setdefault(name, event) != event:
                self.changed.append(name)
        return status


@dataclass
class Client:
    """A tenant."""

    world: World
    name: str
    uuid: str
    key: str
    identity: dict[str, str]
    hooks: Hooks
    tasks: Hooks

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        return await self.world.call(method, path, body, {KEY_HEADER: self.key, **headers})

    async def get(self, path: str) -> Any:
        answer = await self.call("GET", path)
        assert answer.status == 200, answer.body
        return orjson.loads(answer.body)

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """With an idempotency key, as often as it takes."""
        answer = await self.call("POST", path, body, **{"idempotency-key": self.world.name("key"), **headers})
        assert answer.status in (200, 201), answer.body
        return orjson.loads(answer.body)

    async def act(self, contact: str, message: dict[str, Any], **more: Any) -> Any:
        return await self.post("action", {"type": "DIDCOMM", "to": contact, "data": {"message": message}, **more})

    async def tenant(self) -> Tenant:
        tenant = await self.world.process.app.services.tenants.get(self.uuid)
        assert tenant is not None
        return tenant.whole

    def told(self, *names: str) -> list[Any]:
        """Of each event of the webhook, deduped, these members, sorted."""
        found = [tuple(event.get(name) for name in names) for event in self.hooks.events.values()]
        return sorted(found, key=str)

    def contents(self) -> list[Any]:
        """What the messages say of which the webhook was told, deduped."""
        messages = [event["message"] for event in self.hooks.events.values()]
        found = [(message.get("body") or message).get("content") for message in messages]
        return sorted(content for content in found if content is not None)


@dataclass
class Partner(Site):
    """An agent that is not of this service, connected with a tenant, in the tenant's `shard`. `messages` by id, as who
    dedupes sees them."""

    world: World = None  # type: ignore[assignment]
    version: Version = "v1"
    keys: KeyPairs = field(default_factory=KeyPairs.generate)
    document: DidDocument = None  # type: ignore[assignment]
    ours: DidDocument = None  # type: ignore[assignment]
    verkey: str = ""
    connection: Connection = None  # type: ignore[assignment]
    shard: str = ""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)

    def clear(self) -> None:
        super().clear()
        self.messages.clear()

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        status = super().take(headers, body)
        if status < 300:
            unpacked = unpack(body, self.keys.by_kid(self.document), {self.ours.id: self.ours})
            assert isinstance(unpacked, Authcrypt)
            message = orjson.loads(unpacked.plaintext)
            self.messages[message.get("@id") or message["id"]] = message
        return status

    def pack(self, message: dict[str, Any]) -> bytes:
        if self.version == "v1":
            return pack_v1(orjson.dumps(message), recipients=[self.verkey], sender=self.keys.ed25519)
        addressed = {"from": self.document.id, "to": [self.ours.id], **message}
        return pack_v2(addressed, to=self.ours, from_=(self.document, self.keys.by_kid(self.document)))

    def basic(self, content: Any) -> dict[str, Any]:
        name = self.world.name("basic")
        if self.version == "v1":
            return {"@id": name, "@type": "https://didcomm.org/basicmessage/1.0/message", "content": content}
        kind = "https://didcomm.org/basicmessage/2.0/message"
        return {"id": name, "type": kind, "body": {"content": content}}

    async def send(self, message: dict[str, Any]) -> None:
        """Until it is taken."""
        await self.deliver(self.pack(message))

    async def deliver(self, packed: bytes) -> None:
        kind = "application/didcomm-envelope-enc" if self.version == "v1" else "application/didcomm-encrypted+json"
        answer = await self.world.call("POST", "didcomm", packed, {"content-type": kind})
        assert answer.status == 202, answer.body
