"""Manual replay: sends one delivery again, or all of a period.

A replay of many is a record, `Replay`, and a queue message on queue `relay`, `ReplayPart`, that does one part and
queues the next one. So neither the caller nor other tenants wait for it. A crash repeats at most one part, in which
deliveries that were sent again already are skipped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal

from tntcore.delivery.attempted import attempt_of
from tntcore.delivery.outbox import GRACE, Outbox
from tntcore.delivery.redeliver import redeliver
from tntcore.errors import Problem
from tntcore.messaging.ids import Ids, delivery_uuid
from tntcore.services import Services
from tntcore.storage import queries
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.items import ReplayPart
from tntcore.storage.records import Delivery, Message, Replay
from tntcore.storage.shards import principal_of
from tntcore.storage.states import DeliveryStatus, MessageStatus, ReplayStatus
from tntcore.storage.storage import RELAY
from tntcore.storage.tables import Row
from tntcore.storage.transactions import Value
from tntcore.telemetry import traceparent
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, TASK_WEBHOOK, Tenant, rest

log = logging.getLogger(__name__)

STATUSES: Final = ("FAILED", "WITHHELD", "DELIVERED")
BY_DEFAULT: Final = ("FAILED", "WITHHELD")
_JUST: Final = 60_000  # milliseconds in which a delivery is sent again only once
_PART: Final = 100  # deliveries queued concurrently
_PACE: Final = 1  # seconds from one part to the next
REPLAYS: Final = "replay"  # partition of the due table

Skipped = Literal["held", "under-way", "just-replayed"]
"""The reasons for which a delivery is not sent again: it waits for its connection, an attempt is due or being made, or
it was sent again within the last minute."""


class Replays:
    def __init__(self, services: Services, outbox: Outbox) -> None:
        self._services = services
        self._outbox = outbox

    async def one(self, tenant: Tenant, delivery: Delivery, also: Unit | None = None) -> Skipped | None:
        """Sends a delivery again from the first step of its ladder: a webhook call with the same `webhook-id`, or the
        same message packed anew. One that waits for its next attempt is sent now. Returns the reason if it does
        nothing, else None.

        Args:
            also: operations to commit with it.

        Raises:
            Problem: 409 if it could not arrive: `webhook-disabled`, `webhook-removed`, `connection-ended`,
                `message-erased`; or `delivery-not-replayable` for a test.
        """
        _read_anew(tenant)
        now = self._services.now()
        waits = delivery.status == DeliveryStatus.PENDING and delivery.attempts > 0 and delivery.next_attempt_at > now
        return await self._again(tenant, delivery, now - _JUST, also, waits=waits)

    async def to_entry(
        self, tenant: Tenant, delivery: Delivery, entry_id: str, also: Unit
    ) -> tuple[str, Skipped | None]:
        """Sends the message of a webhook call to another entry of the webhook, and returns the uuid of that delivery,
        and the reason if nothing is sent now. If the entry was called with the message before, that delivery is sent
        again.

        Args:
            also: operations to commit with it.

        Raises:
            Problem: 409, as `one`.
        """
        if delivery.kind != "webhook":
            raise Problem(
                409,
                "delivery-not-replayable",
                f"Only the call of a webhook with a message can be sent to another entry; this delivery is of kind "
                f"{delivery.kind}. Leave webhookId out.",
            )
        records, now = tenant.records, self._services.now()
        uuid = delivery_uuid(delivery.message_uuid, entry_id)
        before = await records.get(Delivery, uuid)
        if before is not None:
            return uuid, await self.one(tenant, before, also)
        _read_anew(tenant)
        other = _to_entry(delivery, entry_id, uuid, now)
        await self._check(tenant, other)
        message = await records.get(Message, delivery.message_uuid)
        if message is None:
            raise _erased()
        unit = Unit(list(also.operations))
        unit.create(other)
        # It must not be erased meanwhile.
        unit.merge(message.key, {"updatedAt": message.updated_at})
        await self._outbox.mark(tenant.uuid, [uuid])
        try:
            await records.commit(unit)
        except Changed:
            raise _erased() from None
        except Exists:
            return uuid, "just-replayed"  # by another call
        await redeliver(self._outbox, tenant, other, overdue=True)
        return uuid, None

    async def start(
        self,
        tenant: Tenant,
        since: str,
        until: str,
        statuses: Sequence[str],
        entry_id: str,
        ids: Ids,
        also: Unit | None = None,
    ) -> Replay:
        """Starts sending again all deliveries with one of the statuses and `since` <= uuid < `until`. Deliveries that
        could not arrive are skipped.

        Args:
            entry_id: only deliveries of this webhook; "" for all.
            also: operations to commit with it.
        """
        now = self._services.now()
        replay = Replay(
            uuid=ids.uuid7(),
            position=since,
            end=until,
            statuses=list(statuses),
            entry_id=entry_id,
            created_at=now,
            updated_at=now,
        )
        await self._services.storage.due.put(REPLAYS, f"{tenant.uuid}~{replay.uuid}", {"markedAt": now})
        unit = Unit(list(also.operations) if also is not None else [])
        unit.create(replay)
        replay = await tenant.records.make(unit, replay)
        await self._next(tenant.uuid, replay.uuid, replay.position, 0)
        return replay

    async def step(self, part: ReplayPart) -> None:
        """Does a part of a replay, unless it was done. If its queue message is delivered again and the next one is
        lost, the sweeper goes on.
        """
        with self._services.tracing.begin("process relay", "consumer") as span:
            span.tenant = principal_of(part.principal)
            await self._step(part)

    async def _step(self, part: ReplayPart) -> None:
        principal, uuid = part.principal, part.replay
        first = await self._services.tenants.get(principal)
        tenant = first.whole if first is not None else None
        replay = await tenant.records.get(Replay, uuid) if tenant else None
        if tenant is None or replay is None or replay.status != ReplayStatus.ACTIVE:
            return
        if replay.position != part.position:
            return
        if tenant.is_suspended:
            await self._next(principal, uuid, part.position, rest(2))
            return
        _read_anew(tenant)
        where = queries.deliveries_in(replay.statuses, replay.entry_id)
        hits = await tenant.records.list(Delivery, limit=_PART, start=replay.position, end=replay.end, where=where)
        done = await asyncio.gather(
            *(self._try(tenant.at(delivery), delivery, replay.created_at) for delivery in hits.records)
        )
        unit = Unit()
        changed: dict[str, Value] = {
            "position": hits.next or replay.end,
            "replayed": replay.replayed + done.count(True),
            "skipped": replay.skipped + done.count(False),
            "status": ReplayStatus.ACTIVE if hits.next else ReplayStatus.DONE,
            "updatedAt": self._services.now(),
        }
        unit.merge(replay.key, changed, replay.etag)
        try:
            await tenant.records.commit(unit)
        except Changed:
            return
        if hits.next:
            await self._next(principal, uuid, hits.next, _PACE)
        else:
            await self._services.storage.due.delete(REPLAYS, f"{principal}~{uuid}")

    async def sweep(self) -> None:
        """Continues replays whose queue message was lost.

        Raises:
            ExceptionGroup: errors of some replays, after all others were handled.
        """
        due = self._services.storage.due
        errors: list[Exception] = []
        start: str | None = ""
        while start is not None:
            page = await due.scan(REPLAYS, start, "~", limit=_PART)
            start = page.next
            for row in page.rows:
                try:
                    await self._resume(row)
                except Exception as error:
                    log.exception("the sweeper could not continue replay %s", row.key)
                    errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} replays could not be continued", errors)

    async def _resume(self, row: Row) -> None:
        principal, _, uuid = row.key.partition("~")
        now = self._services.now()
        tenant = await self._services.tenants.get(principal)
        replay = await tenant.records.get(Replay, uuid) if tenant else None
        if replay is not None and replay.status == ReplayStatus.ACTIVE:
            if replay.updated_at + GRACE < now and tenant is not None and not tenant.is_suspended:
                self._services.meter.count("sweep.replay")
                await self._next(principal, uuid, replay.position, 0)
        elif row.values["markedAt"] + GRACE < now:
            await self._services.storage.due.delete(REPLAYS, row.key)

    async def _next(self, principal: str, uuid: str, position: str, delay: int) -> None:
        body = ReplayPart(principal, uuid, position).data()
        await self._services.storage.queues[RELAY].put(body, delay=delay)

    async def _try(self, tenant: Tenant, delivery: Delivery, before: int) -> bool:
        with suppress(Problem):
            return await self._again(tenant, delivery, before) is None
        return False

    async def _again(
        self, tenant: Tenant, delivery: Delivery, since: int, also: Unit | None = None, *, waits: bool = False
    ) -> Skipped | None:
        """Sends a delivery again. Returns the reason if it does nothing, else None.

        Args:
            since: one that was sent again at or after this time is skipped.
            waits: it is PENDING, and its next attempt, which this one takes the place of, is not due.
        """
        if (delivery.replayed_at or 0) >= since:
            return "just-replayed"
        if not (waits or delivery.status in STATUSES):
            return "held" if delivery.status == DeliveryStatus.HELD else "under-way"
        await self._check(tenant, delivery)
        now = self._services.now()
        unit = Unit(list(also.operations) if also is not None else [])
        again: dict[str, Value] = {
            "status": DeliveryStatus.PENDING,
            "replayedFrom": delivery.attempts,
            "replayedAt": now,
            "nextAttemptAt": now,
        }
        unit.merge(delivery.key, {**again, "error": "", "answer": b"", "updatedAt": now}, delivery.etag)
        if delivery.status == DeliveryStatus.DELIVERED:
            # The row's record of the successful attempt is about to be overwritten.
            attempt = attempt_of(
                delivery.uuid, delivery.attempts, delivery.response_status, delivery.duration, "", delivery.updated_at
            )
            if delivery.answer:
                attempt.answer = tenant.records.seal(tenant.records.open(delivery.answer, delivery.key), attempt.key)
            unit.upsert(attempt)
        if delivery.kind == "didcomm":
            unit.merge(Message.row_key(delivery.message_uuid), {"status": MessageStatus.SENDING, "updatedAt": now})
        await self._outbox.mark(tenant.uuid, [delivery.uuid])
        try:
            await tenant.records.commit(unit)
        except Changed as changed:
            if changed.row != delivery.key:
                raise _erased() from None
            return "under-way"
        await redeliver(self._outbox, tenant, delivery, overdue=True, replayed=True)
        return None

    async def _check(self, tenant: Tenant, delivery: Delivery) -> None:
        """Raises `Problem` if the delivery could not arrive."""
        if delivery.kind == "test":
            raise Problem(
                409, "delivery-not-replayable", "A test call cannot be replayed. Make another test call instead."
            )
        if delivery.kind != "didcomm":
            key = TASK_WEBHOOK if delivery.kind == "task" else DIDCOMM_WEBHOOK
            webhooks = await tenant.webhooks(key)
            entry = webhooks.entry(delivery.entry_id)
            if entry is None:
                raise Problem(
                    409,
                    "webhook-removed",
                    f"{key} no longer has the entry {delivery.entry_id!r}. Send the call to another "
                    "entry, by webhookId.",
                )
            if webhooks.is_disabled(entry.id):
                raise Problem(
                    409,
                    "webhook-disabled",
                    f"The webhook is disabled. Enable it first: POST /api/settings/{key}/{entry.id}/enable.",
                )
        elif delivery.connection_uuid:
            peer = await self._services.tenants.recipient(tenant, "connection", delivery.connection_uuid)
            if peer is None or peer.connection is None or peer.connection.state == "abandoned":
                raise Problem(409, "connection-ended", "The connection was ended. Invite the contact again.")


def _to_entry(delivery: Delivery, entry_id: str, uuid: str, now: int) -> Delivery:
    """Returns a new delivery, with this uuid, of the same message to another entry."""
    return Delivery(
        uuid=uuid,
        kind=delivery.kind,
        message_uuid=delivery.message_uuid,
        action_uuid=delivery.action_uuid,
        connection_uuid=delivery.connection_uuid,
        contact_uuid=delivery.contact_uuid,
        entry_id=entry_id,
        type=delivery.type,
        trace=traceparent(),
        next_attempt_at=now,
        replayed_at=now,
        created_at=now,
        updated_at=now,
    )


def _erased() -> Problem:
    return Problem(409, "message-erased", "The message was erased, so it cannot be sent again.")


def _read_anew(tenant: Tenant) -> None:
    """Reads the webhooks again, because another process may have just enabled one."""
    tenant.settings_changed(DIDCOMM_WEBHOOK)
    tenant.settings_changed(TASK_WEBHOOK)
