"""`POST /didcomm`: the endpoint to which external agents deliver packed messages.

It answers 202 once every message is durably queued. Errors found later are never reported in the answer. A sender that
exceeds a limit is told when to retry, before its message is read, looked up or stored.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tntcore import envelope
from tntcore.api.http import JSON, Body, Call, Response, Route, client_address
from tntcore.envelope import EnvelopeError
from tntcore.errors import Problem
from tntcore.rate_limits import Pace
from tntcore.services import Services
from tntcore.shares import on_behalf_of
from tntcore.storage.batching import Full
from tntcore.storage.items import InboundItem
from tntcore.storage.lookups import Found
from tntcore.storage.shards import principal_of
from tntcore.strict_json import write_json
from tntcore.telemetry import current, traceparent
from tntcore.telemetry.meter import DOOR_BYTES
from tntcore.together import together

_MEDIA_TYPES = frozenset(
    {
        "application/didcomm-envelope-enc",
        "application/ssi-agent-wire",
        "application/didcomm-encrypted+json",
        "application/didcomm-signed+json",
        "application/didcomm-plain+json",
        JSON,
    }
)
_ACCEPTED = Response(202, content_type="")
# The reasons for refusal that a sender may learn: only faults of the envelope's outer form, which it can see itself.
_STATUS = {"too-large": 413}
_REFUSED = (
    "malformed",
    "not-json",
    "not-an-envelope",
    "too-deep",
    "too-many-recipients",
    "too-many-values",
    "unsupported",
    "zip-refused",
)
MAX_IN_HAND = 64 * 1024 * 1024
"""The most bytes of messages that may wait to be queued at one time in one process."""
_REQUEST = 10_000  # upper bound of a request's memory besides its body
_MISS = 20  # messages, for the first unknown key of an envelope; twice as many for the second, and so on
_LOOKUPS = 4  # keys of one message that are looked up at once
_LONG = 2  # messages of one address with more new keys than that, whose keys are looked up at the same time
_SLACK = 64  # bytes of a queue message that the pipeline may add to an item


class Door:
    """
    Args:
        now: monotonic seconds.
    """

    def __init__(self, services: Services, now: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._limits = services.config.limits
        self._keys = Pace(now)
        self._addresses = Pace(now)
        self._long: Counter[str] = Counter()  # such messages, by address
        self._in_hand = 0
        services.meter.gauge(DOOR_BYTES, lambda: self._in_hand)
        self.routes = [
            Route(
                "POST",
                "didcomm",
                self.receive,
                "public",
                summary="Deliver a packed message",
                request=Body("application/didcomm-encrypted+json", dict[str, Any]),
                answers={202: None},
                errors=(
                    *(f"400 message-{code}" for code in _REFUSED),
                    "400 message-not-encrypted",
                    "400 target-invalid",
                    "404 recipient-unknown",
                    "413 message-too-large",
                    "415 unsupported-media-type",
                    "429 too-many-messages",
                    "503 busy",
                ),
                example={"protected": "eyJ...", "recipients": [], "iv": "...", "ciphertext": "...", "tag": "..."},
            )
        ]

    async def receive(self, call: Call) -> Response:
        """Receives a packed message, or `{"targetPrincipalUuid", "message": <packed>}` as older clients send it.

        An action of type DIDCOMM, sent with a tenant's subscription key, is handled as by `POST /action`.
        """
        request = call.request
        address = client_address(request.headers, self._limits.forwarded_hops)
        if address and (wait := self._addresses.take(address, self._limits.address)):
            raise _too_many("from your address", wait)
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media_type not in _MEDIA_TYPES:
            raise Problem(
                415,
                "unsupported-media-type",
                f"The media type is not supported. Send one of {', '.join(sorted(_MEDIA_TYPES))}.",
            )
        size = len(request.body) + _REQUEST
        if self._in_hand + size > MAX_IN_HAND:
            raise _busy()
        self._in_hand += size
        try:
            return await self._receive(request.body, address)
        finally:
            self._in_hand -= size

    async def _receive(self, raw: bytes, address: str) -> Response:
        principal = None
        try:
            if b'"targetPrincipalUuid"' in raw[:4096] or b'"targetPrincipalUuid"' in raw[-4096:]:
                raw, principal = _unwrap(raw)
            header = envelope.peek(raw)
        except EnvelopeError as error:
            raise Problem(
                _STATUS.get(error.code, 400), f"message-{error.code}", f"The message is not acceptable: {error.detail}."
            ) from None
        if header.kind != "encrypted":
            raise Problem(
                400,
                "message-not-encrypted",
                "The message is not encrypted. Encrypt it for one of the recipient's keys.",
            )
        found = await self._owners(header.recipient_kids, len(raw), address)
        owners = {
            (owner.principal, owner.uuid): (owner, full)
            for owner, full in (one for one in found if one is not None)
            if principal in (None, owner.tenant)
        }
        # Each copy costs a place in the queue.
        if address and len(owners) > 1:
            self._addresses.reserve(address, self._limits.address, len(owners) - 1)
        if not owners:
            raise Problem(
                404,
                "recipient-unknown",
                "None of the recipient keys is hosted here. Get a current "
                "invitation or DID document from the recipient.",
            )
        for owner in owners:
            if wait := self._keys.take("/".join(owner), self._limits.key):
                raise _too_many("for this recipient", wait)
        queue = self._queue if len({owner.tenant for owner, _ in owners.values()}) == 1 else self._queue_apart
        if (span := current()) is not None and queue == self._queue:
            span.tenant = principal_of(next(iter(owners))[0])
        try:
            await together([queue(owner, raw) for owner, full in owners.values() if not full])
        except Full:
            raise _busy() from None
        if any(full for _, full in owners.values()):
            # The other recipients have the message now; a retry will be a duplicate for them.
            # A sender must not learn that a tenant is full or suspended.
            self._services.meter.count("door.no-room")
            raise _busy()
        return _ACCEPTED

    async def _owners(self, kids: Sequence[str], size: int, address: str) -> list[tuple[Found, bool] | None]:
        """Returns what `_owner` returns of each key. A stranger may name many keys that nobody has, and each costs a
        storage call: the address is charged for them, and no more are looked up once it has exceeded its rate. Until
        then, few of its messages that name many keys are looked at side by side.
        """
        lookups = self._services.lookups
        if not address or sum(not lookups.is_cached("key", kid) for kid in kids) <= _LOOKUPS:
            return await self._owners_of(kids, size, address)
        if self._long[address] >= _LONG:
            raise _too_many("for many recipients from your address", 1)
        self._long[address] += 1
        try:
            return await self._owners_of(kids, size, address)
        finally:
            self._long[address] -= 1
            if not self._long[address]:
                del self._long[address]

    async def _owners_of(self, kids: Sequence[str], size: int, address: str) -> list[tuple[Found, bool] | None]:
        found: list[tuple[Found, bool] | None] = []
        unknown = 0
        for start in range(0, len(kids), _LOOKUPS):
            # Other messages from the address are looked at, too.
            if start and address and (wait := self._addresses.wait(address, self._limits.address)):
                raise _too_many("from your address", wait)
            found += await together([self._owner(kid, size) for kid in kids[start : start + _LOOKUPS]])
            before, unknown = unknown, sum(one is None for one in found)
            charge = sum(_MISS * number for number in range(before + 1, unknown + 1))
            if address and charge:
                self._addresses.reserve(address, self._limits.address, charge)
        return found

    async def _owner(self, kid: str, size: int) -> tuple[Found, bool] | None:
        """Returns the owner of the key, and whether a message of so many bytes is refused now (tenant suspended, or
        without room for it).
        """
        owner = await self._services.lookups.find("key", kid)
        # The keys of a deleted tenant stay in the lookup table.
        tenant = await self._services.tenants.get(owner.principal) if owner else None
        if owner is None or tenant is None:
            return None
        by_anybody = owner.owner != "connection" or owner.is_open
        has_room = self._services.usage.may_accept(tenant.principal, size, by_anybody=by_anybody)
        return owner, tenant.is_suspended or not has_room

    async def _queue_apart(self, owner: Found, raw: bytes) -> None:
        """Queues in a separate trace, so that a trace shown to one tenant says nothing about another."""
        with self._services.tracing.begin("send inbound", "producer", links=(traceparent(),)) as span:
            span.tenant = owner.tenant
            await self._queue(owner, raw)

    async def _queue(self, owner: Found, raw: bytes) -> None:
        """Queues one item for a tenant and key owner, as `pipeline.inbound` reads it."""
        storage = self._services.storage
        item = InboundItem(
            uuid=self._services.uuid7(),
            principal=owner.principal,
            owner=owner.owner,
            owner_uuid=owner.uuid,
            envelope=raw.decode(),
        ).traced()
        self._services.usage.expect(owner.tenant, item.uuid, len(raw))
        data = item.data()
        try:
            if len(data) > storage.inbound.room - _SLACK:
                await storage.envelopes.put(item.uuid, raw, item.metadata())
                data = replace(item, envelope=None).data()
            with on_behalf_of(owner.tenant, owner.uuid):
                await storage.inbound.add(data)
        except BaseException:
            # It was not accepted, so it takes no room.
            self._services.usage.arrived(item.uuid)
            raise


def _too_many(where: str, wait: float) -> Problem:
    seconds = math.ceil(wait)
    detail = f"Too many messages {where}. Retry in {seconds} s, and send fewer messages a minute."
    return Problem(429, "too-many-messages", detail, retry_after=seconds)


def _busy() -> Problem:
    return Problem(503, "busy", "The service cannot receive the message now. Retry later.", retry_after=30)


def _unwrap(raw: bytes) -> tuple[bytes, str | None]:
    """Returns the packed message and the principal it is meant for. Raises `EnvelopeError`."""
    value = envelope.parse_json(raw)
    if not isinstance(value, dict) or "message" not in value:
        return raw, None
    principal, message = value.get("targetPrincipalUuid"), value["message"]
    if not isinstance(principal, str):
        raise Problem(400, "target-invalid", "targetPrincipalUuid must be the uuid of a principal.")
    return message.encode() if isinstance(message, str) else write_json(message), principal
