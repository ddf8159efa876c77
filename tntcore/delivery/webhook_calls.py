"""Signed webhook calls, and the effect of failures on the health of an entry."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

import orjson

from tntcore.delivery.attempted import Delivered, Retry
from tntcore.delivery.attempts import answered, unanswered
from tntcore.delivery.outbox import Outbox
from tntcore.delivery.slow_receivers import waiting_for_answer
from tntcore.delivery.spans import calling
from tntcore.delivery.tasks import task_call, task_deliveries
from tntcore.egress import EgressError
from tntcore.messaging.message import Message as Plaintext
from tntcore.services import Services
from tntcore.storage.commit import Unit
from tntcore.storage.records import Delivery, Message, Setting
from tntcore.storage.retrying import Contended, retrying
from tntcore.strict_json import write_json
from tntcore.telemetry import traceparent
from tntcore.tenancy import webhooks
from tntcore.tenancy.tenants import TASK_WEBHOOK, Tenant, Webhooks
from tntcore.tenancy.webhooks import EntryHealth, WebhookEntry, after_failure

PROBE: Final = "urn:tnt:webhook-test"
_TIMEOUT = 15.0  # seconds for one call; Standard Webhooks recommends 15 to 30
_MAX_ANSWER = 20_000  # bytes kept of an answer


async def call_entry(
    services: Services, setting: Webhooks, entry: WebhookEntry, delivery: str, body: bytes, now: int
) -> Delivered | Retry:
    """Calls an entry with `body` (JSON).

    Args:
        delivery: uuid, which is the `webhook-id`.
        now: milliseconds since 1970, of this attempt.
    """
    calling(entry.url)
    # The tenant's own system may continue the trace, unless the tenant set another `traceparent` itself.
    follows = {"traceparent": traceparent()} if traceparent() else {}
    if any(name.lower() == "traceparent" for name in entry.headers):
        follows = {}
    signature = webhooks.sign(setting.secrets[entry.id].valid(now), delivery, now // 1000, body)
    try:
        with waiting_for_answer() as is_sent:
            answer = await services.egress.request(
                entry.method,
                entry.url,
                headers={**entry.headers, **follows, "content-type": "application/json", **signature},
                body=body,
                max_answer=_MAX_ANSWER,
                timeout=_TIMEOUT,
                whole=False,
                is_sent=is_sent,
            )
    except EgressError as error:
        return unanswered(error)
    return answered(answer)


def message_body(message: Message, plaintext: bytes, delivery: str) -> bytes:
    """Returns the body of a call that relays a message."""
    return webhooks.delivery_body(
        Plaintext.read(plaintext),
        from_did=message.contact_did or None,
        to_did=message.identity_did or None,
        action_uuid=message.action_uuid or None,
        event_uuid=delivery,
        asset_uuid=message.uuid,
        asset_data_uuids=message.asset_data,
        contact_uuid=message.contact_uuid or None,
        connection_uuid=message.connection_uuid or None,
        sequence=message.uuid,
        authenticated=message.authenticated,
    )


def probe_body(key: str, uuid: str) -> bytes:
    """Returns the body of a test call for an entry of the setting `key`: one for a message `{"@type", "@id"}`, or a
    task `{type, uuid, status}`."""
    if key == TASK_WEBHOOK:
        return write_json({"type": PROBE, "uuid": uuid, "status": "TEST"})
    return webhooks.delivery_body(
        Plaintext.read(write_json({"@type": PROBE, "@id": uuid})),
        from_did=None,
        to_did=None,
        action_uuid=None,
        event_uuid=uuid,
        asset_uuid=None,
        asset_data_uuids=[],
        contact_uuid=None,
        connection_uuid=None,
        sequence=uuid,
        authenticated=False,
    )


class Watch:
    """Stores which entries fail, in the row of their setting. While all goes well nothing is read or written, because
    the row was read for the setting itself.
    """

    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox
        self._under_way: set[str] = set()

    async def saw(self, tenant: Tenant, key: str, entry_id: str, attempted: Delivered | Retry, *, first: bool) -> None:
        """Notes the outcome of a call.

        Args:
            first: it was the first attempt at its delivery. A failure of that is not written yet: the next attempt
                comes soon.
        """
        tenant = tenant.shard(0)  # which has the setting
        before = (await tenant.webhooks(key)).health.get(entry_id)
        if before is None and (not attempted.error or (first and attempted.status != 410)):
            return
        if _after(before, attempted, self._services.now()) == before:
            return
        name = f"{tenant.principal.uuid}/{key}/{entry_id}"
        if name in self._under_way:
            return
        self._under_way.add(name)
        try:
            await self._change(tenant, key, entry_id, attempted)
        finally:
            self._under_way.discard(name)
            tenant.settings_changed(key)

    async def _change(self, tenant: Tenant, key: str, entry_id: str, attempted: Delivered | Retry) -> None:
        async def attempt() -> list[Delivery]:
            record = await tenant.records.get(Setting, key)
            if record is None:
                return []
            before = EntryHealth(**record.health[entry_id]) if entry_id in record.health else None
            now = self._services.now()
            after = _after(before, attempted, now)
            if after == before:
                return []
            health = {name: state for name, state in record.health.items() if name != entry_id}
            tasks: list[Delivery] = []
            if after is not None:
                health[entry_id] = asdict(after)
                if after.disabled_at:
                    tasks = await self._told(tenant, key, entry_id, after, now)
            unit = Unit()
            unit.merge(record.key, {"health": orjson.dumps(health).decode()}, record.etag)
            for delivery in tasks:
                unit.create(delivery)
            await tenant.records.commit(unit)
            if after is not None and after.disabled_at:
                self._services.meter.count("relay.disabled")
            return tasks

        # If others keep changing the setting, the next failed call is noted instead.
        with suppress(Contended):
            for delivery in await retrying(attempt):
                await self._outbox.relay(task_call(tenant.uuid, delivery))

    async def _told(self, tenant: Tenant, key: str, entry_id: str, after: EntryHealth, now: int) -> list[Delivery]:
        """Returns the calls that tell the tenant about it: to all task webhooks except the disabled one."""
        task: dict[str, Any] = {"type": "webhook", "uuid": entry_id, "status": "DISABLED", "error": after.reason}
        tasks = await task_deliveries(tenant, {**task, "key": key}, source=self._services.uuid7(), now=now)
        tasks = [delivery for delivery in tasks if delivery.entry_id != entry_id]
        await self._outbox.mark(tenant.uuid, [delivery.uuid for delivery in tasks])
        return tasks


def _after(before: EntryHealth | None, attempted: Delivered | Retry, now: int) -> EntryHealth | None:
    """Returns an entry's new health: a success clears it, unless the entry is disabled."""
    if attempted.error:
        return after_failure(before, attempted.status, now) or before
    return before if before is not None and before.disabled_at else None
