"""Queue `relay`: calls the tenants' webhooks.

A queue message has `RelayItem`s, or is a `ReplayPart`. Calls of one list run concurrently. Each has its own delivery
record, and one that fails goes on alone, by the ladder of `retry.retry_delay`.
"""

from __future__ import annotations

from tntcore.delivery.attempted import Attempted, Failed, Retry, Withheld
from tntcore.delivery.attempts import Attempts
from tntcore.delivery.outbox import Outbox
from tntcore.delivery.replay import Replays
from tntcore.delivery.retry import retry_delay
from tntcore.delivery.slow_receivers import SlowReceivers
from tntcore.delivery.webhook_calls import Watch, call_entry, message_body
from tntcore.services import Services
from tntcore.storage.items import MessageCall, RelayItem, ReplayPart, TaskCall, items_of, relay_item
from tntcore.storage.records import Message
from tntcore.storage.storage import RELAY
from tntcore.storage.tables import Row
from tntcore.strict_json import write_json
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, TASK_WEBHOOK, Tenant

_GONE = 410


class Relay:
    def __init__(self, services: Services, outbox: Outbox, replays: Replays) -> None:
        self._services = services
        self._outbox = outbox
        self._replays = replays
        self._receivers = SlowReceivers()
        self._attempts: Attempts[RelayItem] = Attempts(services, outbox, RELAY, retry_delay, self._receivers)
        self._watch = Watch(services, outbox)

    async def handle(self, body: bytes, dequeue_count: int) -> None:
        """Handles a queue message. See `Inbound.handle`."""
        with self._services.storage.queues[RELAY].handling(body, dequeue_count) as count:
            if part := ReplayPart.read(body):
                await self._replays.step(part)
            else:
                await self._attempts.run(items_of(body, relay_item), self._call, repeated=count > 1)

    async def first(self, item: RelayItem) -> None:
        """Calls a webhook for a delivery that was just committed; queues the call if the receiver may be slow. Raises
        if the delivery has to be published again.
        """
        if (queued := await self._attempts.first(item, self._call)) is not None:
            await self._outbox.relay(queued)

    async def close(self) -> None:
        await self._receivers.close()

    async def _call(self, tenant: Tenant, item: RelayItem, now: int) -> Attempted:
        key = TASK_WEBHOOK if isinstance(item, TaskCall) else DIDCOMM_WEBHOOK
        setting = await tenant.webhooks(key)
        entry = setting.entry(item.entry)
        if entry is None or setting.is_disabled(entry.id):
            # Another process may have added or enabled the entry since this one read the setting.
            tenant.settings_changed(key)
            setting = await tenant.webhooks(key)
            entry = setting.entry(item.entry)
        if entry is None:
            return Failed("webhook-removed")
        if setting.is_disabled(entry.id):
            return Withheld()
        body = write_json(item.task) if isinstance(item, TaskCall) else await self._body(tenant, item)
        if body is None:
            return Failed("message-erased")
        attempted = await call_entry(self._services, setting, entry, item.delivery, body, now)
        if attempted.error or entry.id in setting.health:
            await self._watch.saw(tenant, key, entry.id, attempted, first=not item.attempts)
        if isinstance(attempted, Retry) and attempted.status == _GONE:
            return Failed(attempted.error, attempted.status, attempted.duration, attempted.answer, attempted.slow)
        return attempted

    async def _body(self, tenant: Tenant, item: MessageCall) -> bytes | None:
        """Returns the webhook's body for a message; None if the message was erased."""
        message, sealed = await self._message(tenant, item)
        if message is None:
            return None
        plaintext = tenant.records.open_body(message.uuid, sealed)
        return message_body(message, plaintext, item.delivery)

    async def _message(self, tenant: Tenant, item: MessageCall) -> tuple[Message | None, bytes]:
        if item.body:
            row = Row(tenant.uuid, Message.row_key(item.message), item.columns, "")
            return Message.read(row), item.body
        message = await tenant.records.get(Message, item.message)
        if message is None:
            return None, b""
        sealed = message.body or await tenant.records.stored_body(message.uuid)
        return (message, sealed) if sealed else (None, b"")
