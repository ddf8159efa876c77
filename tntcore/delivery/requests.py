"""The requests of deliveries, made again to be shown: without signatures, values of a tenant's headers, and keys."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tntcore.delivery.outbound import CONTENT_TYPES, plaintext_of
from tntcore.delivery.strangers import peer_of
from tntcore.delivery.webhook_calls import message_body, probe_body
from tntcore.dids.endpoint import didcomm_endpoint
from tntcore.errors import DidError
from tntcore.messaging.ids import time_of
from tntcore.services import Services
from tntcore.storage.records import Delivery, Message
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, TASK_WEBHOOK, Tenant

MASKED: Final = "***"
_SIGNATURE = ("webhook-timestamp", "webhook-signature")


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request to a webhook, or to a partner's agent. `body` of the latter is the plaintext, before encryption."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


async def sent_request(services: Services, tenant: Tenant, delivery: Delivery, *, whole: bool) -> SentRequest | None:
    """Returns the request as the next attempt would make it, which differs from an earlier one if the webhook or the
    partner's address was changed in between. None if its webhook, message or connection is gone.

    Args:
        whole: show all of a webhook's URL; otherwise its path and query, which may contain a secret, are masked.
    """
    if delivery.kind == "didcomm":
        return await _to_partner(services, tenant, delivery)
    return await _to_webhook(tenant, delivery, whole=whole)


async def _to_webhook(tenant: Tenant, delivery: Delivery, *, whole: bool) -> SentRequest | None:
    keys = {"webhook": [DIDCOMM_WEBHOOK], "task": [TASK_WEBHOOK]}.get(delivery.kind, [DIDCOMM_WEBHOOK, TASK_WEBHOOK])
    for key in keys:
        entry = (await tenant.webhooks(key)).entry(delivery.entry_id)
        if entry is not None:
            break
    else:
        return None
    if delivery.kind == "task":
        body = write_json(delivery.task)
    elif delivery.kind == "test":
        body = probe_body(key, delivery.uuid)
    else:
        message = await tenant.records.get(Message, delivery.message_uuid)
        plaintext = await tenant.records.body(message) if message is not None else b""
        if message is None or not plaintext:
            return None
        body = message_body(message, plaintext, delivery.uuid)
    headers = {
        **dict.fromkeys(entry.headers, MASKED),
        "content-type": "application/json",
        "webhook-id": delivery.uuid,
        **dict.fromkeys(_SIGNATURE, MASKED),
    }
    parts = urlsplit(entry.url)
    url = entry.url if whole else f"{parts.scheme}://{parts.netloc}/{MASKED}"
    return SentRequest(entry.method, url, headers, body)


async def _to_partner(services: Services, tenant: Tenant, delivery: Delivery) -> SentRequest | None:
    if delivery.connection_uuid:
        peer = await services.tenants.recipient(tenant, "connection", delivery.connection_uuid)
    else:
        peer = await peer_of(services.tenants, tenant, delivery.uuid)
    message = await tenant.records.get(Message, delivery.message_uuid)
    stored = await tenant.records.body(message) if message is not None else b""
    if peer is None or peer.connection is None or peer.theirs is None or not stored:
        return None
    theirs, version, url = peer.announced or peer.theirs, peer.connection.version, ""
    with suppress(DidError):
        url = didcomm_endpoint(theirs, version).uri
    created = time_of(delivery.message_uuid)
    plaintext = plaintext_of(peer, peer.connection, theirs, stored, created, endpoint=services.config.endpoint)
    if version == "v2":
        plaintext = _without_from_prior(plaintext)
    return SentRequest("POST", url, {"content-type": CONTENT_TYPES[version]}, plaintext)


def _without_from_prior(plaintext: bytes) -> bytes:
    """Masks the signature by a former DID: it would end or move the connection, whoever sends it."""
    message = reread_json(plaintext)
    return write_json({**message, "from_prior": MASKED}) if "from_prior" in message else plaintext
