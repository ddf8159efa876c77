"""Queue `relay`: call the tenants' webhooks.

A queue message is `{"items": [item, ...]}`, items as `outbox.relay_item` makes them. Calls of one list run side by
side; each has its own delivery record, and one that fails goes on alone along the ladder of `retry.retry_delay`.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any

import orjson

from tntcore import webhooks
from tntcore.caching import SharedCache
from tntcore.egress import EgressError
from tntcore.messaging.message import Message as Plaintext
from tntcore.pipeline.attempts import Attempted, Attempts
from tntcore.pipeline.outbox import Item, Outbox
from tntcore.pipeline.retry import retry_delay
from tntcore.pipeline.tasks import task_item
from tntcore.records import Delivery, Message
from tntcore.services import Services
from tntcore.storage.storage import RELAY
from tntcore.storage.tables import Row
from tntcore.tenants import DIDCOMM_WEBHOOK, TASK_WEBHOOK, Tenant

_TIMEOUT = 15.0  # seconds for one call; Standard Webhooks recommends 15 to 30
_SLOW = 2.0  # seconds that the calls of other tenants may have to wait for one
_SLOW_FOR = 60.0  # seconds that an endpoint counts as slow since it was
_MAX_SLOW = 10_000
_MAX_ANSWER = 20_000  # bytes kept of an answer


class Relay:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        self._attempts = Attempts(services, outbox, RELAY, retry_delay)
        self._slow: SharedCache[bool] = SharedCache(time.monotonic, _MAX_SLOW)

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. See `Inbound.handle`."""
        items: list[Item] = orjson.loads(body)["items"]
        if dequeue_count == 1:
            items = await self._without_slow(items)
        await self._attempts.run(items, self._call, repeated=dequeue_count > 1)

    async def _without_slow(self, items: list[Item]) -> list[Item]:
        """Those items for which the others need not wait long. What goes to an endpoint that lately gave no answer, or
        none soon, is put back, in a queue message for each endpoint."""
        groups: dict[str, list[Item]] = {}
        for item in items:
            groups.setdefault(_endpoint(item), []).append(item)
        if len(groups) == 1:
            return items
        slow = {endpoint: group for endpoint, group in groups.items() if self._slow.peek(endpoint)}
        await self._outbox.put_back(RELAY, slow.values())
        return [item for item in items if _endpoint(item) not in slow]

    async def _call(self, tenant: Tenant, item: Item, now: int) -> Attempted:
        key = TASK_WEBHOOK if "k" in item else DIDCOMM_WEBHOOK
        setting = await tenant.webhooks(key)
        entry = setting.entry(item["e"])
        if entry is None:
            # Another process may know an entry that is newer than what this one has read.
            tenant.settings_changed(key)
            setting = await tenant.webhooks(key)
            entry = setting.entry(item["e"])
        if entry is None:
            return Attempted.failed_for_good("webhook-removed")
        body = orjson.dumps(item["k"]) if "k" in item else await self._body(tenant, item)
        if body is None:
            return Attempted.failed_for_good("message-erased")
        signature = webhooks.sign(setting.secrets[entry.id], item["d"], now // 1000, body)
        try:
            answer = await self._services.egress.request(
                entry.method,
                entry.url,
                headers={**entry.headers, "content-type": "application/json", **signature},
                body=body,
                max_answer=_MAX_ANSWER,
                timeout=_TIMEOUT,
            )
        except EgressError as error:
            self._slow.put(_endpoint(item), True, _SLOW_FOR)
            return Attempted.refused(error)
        if answer.duration > _SLOW:
            self._slow.put(_endpoint(item), True, _SLOW_FOR)
        return Attempted.answered(answer)

    async def _body(self, tenant: Tenant, item: Item) -> bytes | None:
        """What the webhook is told of a message; None if it was erased."""
        message, sealed = await self._message(tenant, item)
        if message is None:
            return None
        plaintext = tenant.records.open_body(message.uuid, sealed)
        return webhooks.delivery_body(
            Plaintext.read(plaintext),
            from_did=message.contact_did or None,
            to_did=message.identity_did or None,
            action_uuid=message.action_uuid or None,
            event_uuid=item["d"],
            asset_uuid=message.uuid,
            asset_data_uuids=message.asset_data,
            contact_uuid=message.contact_uuid or None,
            connection_uuid=message.connection_uuid or None,
            sequence=message.uuid,
            authenticated=message.authenticated,
        )

    async def _message(self, tenant: Tenant, item: Mapping[str, Any]) -> tuple[Message | None, bytes]:
        if "b" in item:
            row = Row(tenant.uuid, Message.row_key(item["u"]), item["m"], "")
            return Message.read(row), base64.b64decode(item["b"])
        message = await tenant.records.get(Message, item["u"])
        if message is None:
            return None, b""
        sealed = message.body or await tenant.records.stored_body(message.uuid)
        return (message, sealed) if sealed else (None, b"")


def _endpoint(item: Item) -> str:
    return f"{item['p']}/{item['e']}"


async def redeliver(outbox: Outbox, tenant: Tenant, delivery: Delivery, *, overdue: bool = False) -> None:
    """Puts a delivery on its way again, by what is stored of it.

    Args:
        overdue: the queue message of its next attempt counts as lost; this one takes its place. Otherwise it is
            attempted only if no attempt is scheduled.
    """
    again: Item = {"again": True, "t": delivery.attempts if overdue else 0}
    item: Item = {"p": tenant.uuid, "d": delivery.uuid, "u": delivery.message_uuid, **again}
    if delivery.kind == "task":
        await outbox.relay({**task_item(tenant.uuid, delivery), **again})
    elif delivery.kind == "webhook":
        await outbox.relay({**item, "e": delivery.entry_id})
    else:
        await outbox.outbound({**item, "a": delivery.action_uuid, "n": delivery.connection_uuid})
