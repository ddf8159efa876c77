"""Makes the stored data consistent again, after a restore or in any doubt. It may run while the service runs, and any
number of times: it leaves consistent rows as they are.

It needs no key: it opens nothing that is sealed, and the keys by which a record is found are in its documents. The
sweeper handles what it makes due.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from tntcore.connections.acceptance import REUSE_SECONDS
from tntcore.connections.removal import key_names
from tntcore.delivery.outbox import BUCKET, DUE, attached_item, due_key, reuse_item
from tntcore.delivery.redeliver import item_again
from tntcore.delivery.replay import REPLAYS
from tntcore.errors import DidError
from tntcore.maintenance.backup import Told
from tntcore.maintenance.indexing import drop_if_lost, point, point_to_thread, point_to_unusual
from tntcore.maintenance.retention import GONE, KEEPS
from tntcore.messaging.ids import UuidFactory, time_of
from tntcore.storage import layout, queries
from tntcore.storage.commit import Changed, Exists, Unit
from tntcore.storage.items import Drain, SendItem, queue_message
from tntcore.storage.lookups import Found, LookupKind, Lookups, Owner
from tntcore.storage.queues import MAX_DELAY
from tntcore.storage.records import (
    END,
    Action,
    ApiToken,
    AssetData,
    AttachedMessage,
    Attempt,
    Audit,
    BoundDid,
    Connection,
    Contact,
    Context,
    Credential,
    CredentialDefinition,
    Delivery,
    Entry,
    Exchange,
    HeldMessage,
    Identity,
    Indexed,
    Invitation,
    LinkSecret,
    Message,
    Operator,
    PendingReuse,
    Pointer,
    Presentation,
    Principal,
    Record,
    Replay,
    RevocationStatus,
    Schema,
    Sent,
    Setting,
    ShownPresentation,
    StatusList,
)
from tntcore.storage.shards import principal_of
from tntcore.storage.states import COMPLETED, DeliveryStatus, MessageStatus, ReplayStatus
from tntcore.storage.storage import INBOUND, OUTBOUND, RELAY, Storage
from tntcore.storage.tables import Row
from tntcore.tenancy.audit import AUDITED, day_key
from tntcore.tenancy.recipients import document_of, names_in
from tntcore.tenancy.tenants import PRINCIPAL_SETTINGS, PRINCIPALS, index_columns

_AT_ONCE = 16  # rows
_MOST_MARKS = 50_000  # that are remembered as written
_UNDER_WAY = (DeliveryStatus.PENDING, DeliveryStatus.HELD)
NOTHING_FOLLOWS: Final[Mapping[type[Record], str]] = {
    AssetData: "written with its message",
    Attempt: "written with its delivery",
    BoundDid: "written with its identity",
    Context: "read by its uuid, which is of its URL",
    CredentialDefinition: "found by a filter",
    Entry: "written with its message",
    HeldMessage: "written again from its delivery",
    LinkSecret: "read by its uuid",
    Operator: "read by its uuid, which is in the key",
    RevocationStatus: "read by its uuid, which is of its registry",
    Schema: "found by a filter",
    Sent: "written with its message",
    ShownPresentation: "read by its uuid, a hash",
    StatusList: "read by its uuid, which is of its identity",
}
"""Kinds of rows that the sweeper does not look for and that are not found from outside, and why."""


@dataclass(slots=True)
class Repaired:
    """Counts of the rows that were checked and of those that were restored.

    Attributes:
        rows: records that were looked at. pending: deliveries that the sweeper will look at.
        lookups: names by which a record is found from outside: keys, tokens, identities, invitations, tenants.
        held: rows of messages that wait for a connection. messages: messages that now say how their delivery ended.
        connections: of contacts that had been deleted: these are deleted, too.
        pointers: rows by which a record is found by its time or DID: written, or deleted as they led nowhere.
        marks: rows of the table `due` of tenants that are no more, which were deleted.
    """

    rows: int = 0
    pending: int = 0
    lookups: int = 0
    held: int = 0
    messages: int = 0
    connections: int = 0
    pointers: int = 0
    marks: int = 0


async def repair(
    storage: Storage, now: Callable[[], int], told: Told = lambda part, count: None, *, queues_are_lost: bool = False
) -> Repaired:
    """Goes through all records.

    Args:
        now: milliseconds since 1970.
        queues_are_lost: no queue has a message of a delivery, so each is queued again, for when it is due.
    """
    return await _Repair(storage, now, told, queues_are_lost).run()


Rule = Callable[[str, Any], Awaitable[None]]


class _Repair:
    def __init__(self, storage: Storage, now: Callable[[], int], told: Told, queues_are_lost: bool = False) -> None:
        self._storage = storage
        self._now = now
        self._told = told
        self._queues_are_lost = queues_are_lost
        self._lookups = Lookups(storage.lookups, time.monotonic, capacity=1)
        self._uuid7 = UuidFactory(now, secrets.token_bytes)
        self._marked: set[tuple[str, str]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tenant: tuple[str, bool] = "", False
        self.did = Repaired()
        self.rules: dict[type[Record], Rule] = {
            Action: self._thread,
            ApiToken: self._token,
            AttachedMessage: self._attached,
            Audit: self._audit,
            Connection: self._connection,
            Contact: self._pointed,
            Credential: self._pointed,
            Delivery: self._delivery,
            Exchange: self._pointed,
            Identity: self._identity,
            Invitation: self._invitation,
            Message: self._message,
            PendingReuse: self._reuse,
            Pointer: self._pointer,
            Presentation: self._pointed,
            Principal: self._principal,
            Replay: self._replay,
            Setting: self._setting,
        }
        self._rules = {kind.KIND: (kind, rule) for kind, rule in self.rules.items()}

    async def run(self) -> Repaired:
        position = None
        while True:
            page = await self._storage.records.walk(position)
            await asyncio.gather(*map(self._row, page.rows))
            self.did.rows += len(page.rows)
            self._told("repair", len(page.rows))
            position = page.next
            if position is None:
                break
        await self._drop_marks()
        return self.did

    async def _row(self, row: Row) -> None:
        kind, rule = self._rules.get(row.key.partition("~")[0], (None, None))
        if kind is not None and rule is not None:
            async with self._slots:
                await rule(row.partition, kind.read(row))

    # The marks by which the sweeper finds records.

    async def _mark(self, partition: str, key: str, at: int | None = None) -> None:
        """Writes a row of the table `due`. One that is there is renewed, which keeps it no longer than it is needed."""
        if (partition, key) in self._marked:
            return
        if len(self._marked) >= _MOST_MARKS:
            self._marked.clear()
        await self._storage.due.put(partition, key, {"markedAt": self._now() if at is None else at})
        self._marked.add((partition, key))

    async def _delivery(self, principal: str, delivery: Delivery) -> None:
        if delivery.status not in _UNDER_WAY:
            await self._unusual(principal, delivery)
            return
        await self._mark(DUE, due_key(time_of(delivery.uuid) // BUCKET, principal))
        self.did.pending += 1
        if delivery.status == DeliveryStatus.HELD:
            await self._hold(principal, delivery)
        elif self._queues_are_lost:
            await self._queue(principal, delivery)

    async def _queue(self, principal: str, delivery: Delivery) -> None:
        item = item_again(principal, delivery, overdue=True)
        delay = min(max(delivery.next_attempt_at - self._now(), 0) // 1000, MAX_DELAY)
        queue = self._storage.queues[OUTBOUND if isinstance(item, SendItem) else RELAY]
        await queue.put(queue_message([item]), delay=delay)

    async def _hold(self, principal: str, delivery: Delivery) -> None:
        """Writes the row by which a held message is found when its connection is completed, if it is missing."""
        held = HeldMessage(
            uuid=f"{delivery.connection_uuid}.{delivery.message_uuid}",
            message_uuid=delivery.message_uuid,
            delivery_uuid=delivery.uuid,
            action_uuid=delivery.action_uuid,
        )
        if await self._storage.records.get(principal, held.key) is not None:
            return
        unit = Unit()
        unit.create(held)
        unit.merge(delivery.key, {"updatedAt": delivery.updated_at}, delivery.etag)
        self.did.held += await self._commit(principal, unit)

    async def _replay(self, principal: str, replay: Replay) -> None:
        if replay.status == ReplayStatus.ACTIVE:
            await self._mark(REPLAYS, f"{principal}~{replay.uuid}")

    async def _setting(self, principal: str, setting: Setting) -> None:
        # Whether it says for how long messages are kept is sealed. The sweeper drops the mark if it does not.
        if setting.uuid == PRINCIPAL_SETTINGS:
            await self._mark(KEEPS, principal)

    async def _audit(self, principal: str, audit: Audit) -> None:
        await self._mark(AUDITED, day_key(audit.created_at, principal), audit.created_at)

    async def _drop_marks(self) -> None:
        """Deletes the marks of tenants that have no row."""
        position = None
        while True:
            page = await self._storage.due.walk(position)
            for row in page.rows:
                if row.partition in (DUE, REPLAYS, KEEPS, GONE):
                    shard = row.key.partition("~")[2] if row.partition == DUE else row.key.partition("~")[0]
                    principal = principal_of(shard)
                    if await self._storage.records.get(principal, Principal.row_key(principal)) is None:
                        self.did.marks += await self._storage.due.delete(row.partition, row.key, row.etag)
            position = page.next
            if position is None:
                return

    # The names by which records are found from outside.

    async def _look_up(self, principal: str, owner: Owner, record: Record, *names: tuple[LookupKind, str]) -> None:
        """Writes the lookup rows of these names."""
        found = Found(principal, owner, record.uuid)
        added = [name for name in names if await self._lookups.add(*name, found)]
        if not added:
            return
        row = await self._storage.records.get(principal, record.key)
        if row is None or row.values.get("status") == "REVOKED":
            # Deleted, or revoked, since it was read.
            for name in added:
                await self._lookups.remove(*name, record.uuid)
            return
        self.did.lookups += len(added)

    async def _principal(self, uuid: str, principal: Principal) -> None:
        if principal.shards > 1:
            await layout.note_shards(self._storage)
        if principal.status in ("ACTIVE", "SUSPENDED"):
            self.did.lookups += await self._storage.lookups.create(PRINCIPALS, uuid, index_columns(principal))
        elif principal.status == "DELETED":
            await self._mark(GONE, uuid)

    async def _token(self, principal: str, token: ApiToken) -> None:
        if token.status == "ACTIVE" and token.hash and await self._is_there(principal):
            await self._look_up(principal, "token", token, ("token", token.hash))

    async def _identity(self, principal: str, identity: Identity) -> None:
        if not identity.keys or not await self._is_there(principal):
            return
        if identity.own.startswith("did:web:"):
            await self._look_up(principal, "identity", identity, ("identity", identity.uuid))
        await self._keys(principal, "identity", identity, identity.own, identity.document)

    async def _invitation(self, principal: str, invitation: Invitation) -> None:
        if not invitation.keys or not await self._is_there(principal):
            return
        await self._look_up(
            principal,
            "invitation",
            invitation,
            ("invitation", invitation.uuid),
            ("invitation-id", invitation.invitation_id),
        )
        await self._keys(principal, "invitation", invitation, invitation.did, invitation.document)

    async def _connection(self, principal: str, connection: Connection) -> None:
        if not await self._is_there(principal):
            return
        if connection.contact_uuid and not await self._has(principal, Contact, connection.contact_uuid):
            await self._complete_deletion(principal, connection)
            return
        await self._pointed(principal, connection)
        names = sorted(key_names(connection))
        await self._look_up(principal, "connection", connection, *(("key", name) for name in names))

    async def _pointed(self, principal: str, record: Indexed) -> None:
        """Writes the record's pointer, if it is missing."""
        if await self._is_there(principal):
            with suppress(Changed):
                self.did.pointers += await point(self._storage, type(record), principal, record.uuid)

    async def _unusual(self, principal: str, record: Record) -> None:
        if record.status in record.UNUSUAL and await self._is_there(principal):
            self.did.pointers += await point_to_unusual(self._storage, record, principal)

    async def _thread(self, principal: str, thread: Action) -> None:
        if await self._is_there(principal):
            self.did.pointers += await point_to_thread(self._storage, thread, principal)

    async def _pointer(self, principal: str, pointer: Pointer) -> None:
        self.did.pointers += await drop_if_lost(self._storage, pointer, principal)

    async def _complete_deletion(self, principal: str, connection: Connection) -> None:
        """Deletes a connection whose contact was deleted, as that would have done."""
        for name in sorted(key_names(connection)):
            await self._lookups.remove("key", name, connection.uuid)
        unit = Unit()
        unit.remove(connection, connection.etag)
        if await self._commit(principal, unit):
            self.did.connections += 1
            await self._storage.queues[OUTBOUND].put(Drain(principal, connection.uuid).data())

    async def _keys(self, principal: str, owner: Owner, record: Record, did: str, kept: dict[str, Any]) -> None:
        """Writes the lookup rows of the names that envelopes use for the record's keys."""
        try:
            document = document_of(did, kept)
        except DidError:
            return  # then nobody can write to it either
        names = sorted(names_in(document))
        await self._look_up(principal, owner, record, *(("key", name) for name in names))

    # Records that are half done.

    async def _attached(self, principal: str, attached: AttachedMessage) -> None:
        """Receives a message that came inside an invitation, if nothing holds it up. A repeat has no further effect."""
        uuid = attached.uuid.partition(".")[0]
        row = await self._storage.records.get(principal, Connection.row_key(uuid))
        if row is None:
            unit = Unit()
            unit.delete(attached.key)
            await self._commit(principal, unit)
        elif Connection.read(row).state == COMPLETED:
            item = attached_item(principal, attached, self._uuid7())
            await self._storage.queues[INBOUND].put(queue_message([item]))

    async def _reuse(self, principal: str, reuse: PendingReuse) -> None:
        item = reuse_item(principal, reuse.uuid.partition(".")[0], reuse.uuid, self._uuid7())
        await self._storage.queues[INBOUND].put(queue_message([item]), delay=REUSE_SECONDS)

    async def _message(self, principal: str, message: Message) -> None:
        """Sets the status of a message to the outcome of its delivery, if it differs."""
        if message.status not in (MessageStatus.SENDING, MessageStatus.HELD):
            await self._unusual(principal, message)
            return
        where = queries.about_message(message.uuid)
        first = Delivery.row_key(message.uuid[:13])
        page = await self._storage.records.scan(
            principal, first, first + END, limit=10, where=where.text, parameters=where.parameters
        )
        statuses = {delivery.status for delivery in map(Delivery.read, page.rows) if delivery.kind == "didcomm"}
        if statuses & {*_UNDER_WAY}:
            return
        ended = MessageStatus.SENT if DeliveryStatus.DELIVERED in statuses else MessageStatus.FAILED
        unit = Unit()
        unit.merge(message.key, {"status": ended, "updatedAt": self._now()}, message.etag)
        self.did.messages += await self._commit(principal, unit)

    async def _commit(self, principal: str, unit: Unit) -> bool:
        """Returns whether the row was written: not if it was changed since it was read."""
        try:
            await self._storage.committer.commit(principal, unit)
        except (Changed, Exists):
            return False
        return True

    async def _is_there(self, partition: str) -> bool:
        """Whether the tenant that the partition belongs to is there."""
        known, is_there = self._tenant
        principal = principal_of(partition)
        if known != principal:
            row = await self._storage.records.get(principal, Principal.row_key(principal))
            is_there = row is not None and row.values.get("status") in ("ACTIVE", "SUSPENDED")
            self._tenant = principal, is_there
        return is_there

    async def _has(self, principal: str, kind: type[Record], uuid: str) -> bool:
        return await self._storage.records.get(principal, kind.row_key(uuid)) is not None
