"""`POST /didcomm`: where external agents deliver packed messages.

Answers 202 once every message is durably queued. What is found out later never answers the sender.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tntcore import envelope
from tntcore.api.http import JSON, Call, Response, Route
from tntcore.envelope import EnvelopeError
from tntcore.errors import Problem
from tntcore.storage.batching import Full
from tntcore.storage.lookups import Found

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
# What a sender may know of why an envelope was not taken: its outer form, which it can see itself.
_STATUS = {"too-large": 413}


async def receive(call: Call) -> Response:
    """Takes a packed message, or `{"targetPrincipalUuid", "message": <packed>}` as older clients send it."""
    request = call.request
    media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise Problem(415, "unsupported-media-type", f"Send the message as one of {', '.join(sorted(_MEDIA_TYPES))}.")
    raw, principal = request.body, None
    try:
        if b'"targetPrincipalUuid"' in raw[:4096] or b'"targetPrincipalUuid"' in raw[-4096:]:
            raw, principal = _unwrap(raw)
        header = envelope.peek(raw)
    except EnvelopeError as error:
        raise Problem(_STATUS.get(error.code, 400), f"message-{error.code}", f"The message: {error.detail}.") from None
    if header.kind != "encrypted":
        raise Problem(400, "message-not-encrypted", "Encrypt the message for one of the recipient's keys.")
    found = await asyncio.gather(*(_owner(call, kid) for kid in header.recipient_kids))
    owners = {
        (owner.principal, owner.uuid): owner
        for owner in found
        if owner is not None and principal in (None, owner.principal)
    }
    if not owners:
        raise Problem(404, "recipient-unknown", "None of the recipient keys is hosted here.")
    try:
        await asyncio.gather(*(_queue(call, owner, raw) for owner in owners.values()))
    except Full:
        raise Problem(503, "busy", "Too many messages are waiting. Send it again later.", retry_after=5) from None
    return _ACCEPTED


async def _owner(call: Call, kid: str) -> Found | None:
    owner = await call.services.lookups.find("key", kid)
    # The keys of a deleted tenant are still listed.
    return owner if owner and await call.services.tenants.get(owner.principal) else None


async def _queue(call: Call, owner: Found, raw: bytes) -> None:
    """One item for each tenant and key owner, as `pipeline.inbound` reads it."""
    storage = call.services.storage
    item: dict[str, Any] = {
        "id": call.services.uuid7(),
        "p": owner.principal,
        "o": owner.owner,
        "u": owner.uuid,
        "e": raw.decode(),
    }
    data = orjson.dumps(item)
    if len(data) > storage.inbound.room:
        await storage.envelopes.put(item["id"], raw)
        del item["e"]
        data = orjson.dumps(item)
    await storage.inbound.add(data)


def _unwrap(raw: bytes) -> tuple[bytes, str | None]:
    """The packed message and the principal that it is meant for. Raises `EnvelopeError`."""
    value = envelope.parse_json(raw)
    if not isinstance(value, dict) or "message" not in value:
        return raw, None
    principal, message = value.get("targetPrincipalUuid"), value["message"]
    if not isinstance(principal, str):
        raise Problem(400, "target-invalid", "targetPrincipalUuid has to be the uuid of a principal.")
    return message.encode() if isinstance(message, str) else orjson.dumps(message), principal


ROUTES = [Route("POST", "didcomm", receive, "public")]
