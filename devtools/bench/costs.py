"""What each step of a message costs in CPU: the service's own functions, one by one, on a message of 1 KB."""

from __future__ import annotations

import base64
import math
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import orjson

from devtools.bench.load import plaintext
from devtools.bench_envelope import microseconds, v1_calls, v2_calls
from tntcore.clock import Clock
from tntcore.delivery.outbox import message_call
from tntcore.dids.multiformats import encode_verkey
from tntcore.envelope import PrivateKey, pack_v1, peek, unpack
from tntcore.keys.custody import DataKey
from tntcore.messaging.ids import UuidFactory, delivery_uuid
from tntcore.messaging.message import Message, attachments
from tntcore.messaging.threads import action_uuid
from tntcore.protocols.registry import PROTOCOLS, decide
from tntcore.protocols.transition import DecisionContext
from tntcore.storage import transactions
from tntcore.storage.commit import Unit
from tntcore.storage.lookups import Lookups
from tntcore.storage.records import Action, Delivery, Entry, Principal, entry_id
from tntcore.storage.records import Message as StoredMessage
from tntcore.storage.repository import Repository
from tntcore.storage.states import DeliveryStatus, MessageStatus
from tntcore.storage.storage import Storage
from tntcore.storage.tables import Row, Table
from tntcore.tenancy.tenants import DIDCOMM_WEBHOOK, Tenant, Webhooks
from tntcore.tenancy.webhooks import EntrySecrets, delivery_body, new_secrets, read_entries, select, sign

Call = Callable[[], object]
_URL = "http://127.0.0.1:10002/devstoreaccount1"
_ROWS = 20  # of one transaction; the price of one is shown


@dataclass(frozen=True, slots=True)
class Cost:
    """`each` and `per_message` in microseconds of CPU; `times` is how often a relayed message needs it."""

    feature: str
    each: float
    times: float

    @property
    def per_message(self) -> float:
        return self.each * self.times


class _KnownKey:
    async def get(self, partition: str, key: str) -> Row:
        return Row(partition, key, {"name": "k", "principal": "p", "owner": "connection", "uuid": "u"}, "")


class _KnownTenant(Tenant):
    async def _load_webhooks(self, key: str) -> tuple[Webhooks, float]:
        entries = read_entries([{"id": "e", "url": "https://receiver.example/hook", "match": "basicmessage"}])
        return Webhooks(entries, {"e": EntrySecrets(new_secrets(os.urandom))}), 3_600


def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that finds all it asks for in a cache."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("it had to wait")


async def calls() -> dict[str, tuple[Call, float]]:
    """What is measured, by feature, and how often a message relayed to one webhook needs it."""
    sender, recipient = PrivateKey.generate("Ed25519"), PrivateKey.generate("Ed25519")
    verkey = encode_verkey(recipient.public)
    secrets = {verkey: recipient}
    plain = plaintext(1)
    packed = pack_v1(plain, recipients=[verkey], sender=sender)
    message = Message.read(plain)
    clock = Clock()
    uuid7 = UuidFactory(clock, os.urandom)
    principal, scope, uuid = uuid7(), uuid7(), uuid7()
    did = "did:web:example.com:api:identity:" + scope
    records = Repository(cast(Storage, None), principal, DataKey(os.urandom(32)))
    sealed = records.seal_body(uuid, plain)
    tenant = _KnownTenant(Principal(uuid=principal), records, time.monotonic)
    entries = (await tenant.webhooks(DIDCOMM_WEBHOOK)).entries
    lookups = Lookups(cast(Table, _KnownKey()), time.monotonic)
    await lookups.find("key", "k")
    now = clock()
    action = Action(uuid=action_uuid(scope, message.id), reference_id=message.id, direction="IN", identity_did=did,
                    contact_did=did, contact_uuid=scope, connection_uuid=scope, created_at=now,
                    updated_at=now)  # fmt: skip
    stored = StoredMessage(uuid=uuid, status=MessageStatus.RECEIVED, direction="IN", type=message.type,
                           message_id=message.id,
                           action_uuid=action.uuid, contact_uuid=scope, connection_uuid=scope, identity_did=did,
                           contact_did=did, authenticated=True, body=sealed, created_at=now,
                           updated_at=now)  # fmt: skip
    delivery = Delivery(uuid=delivery_uuid(uuid, "e"), status=DeliveryStatus.PENDING, kind="webhook", message_uuid=uuid,
                        action_uuid=action.uuid, connection_uuid=scope, entry_id="e", type=message.type,
                        next_attempt_at=now, created_at=now, updated_at=now)  # fmt: skip
    entry = Entry(uuid=entry_id(action.uuid, "in", message.id), message_uuid=uuid, digest="0" * 64,
                  deliveries=[delivery.uuid], created_at=now)  # fmt: skip
    rows = (entry, action, stored, delivery)
    written = Unit()
    for record in rows:
        written.create(record)
    many = written.operations * (_ROWS // len(rows))
    accepted = _batch_answer(_ROWS)
    inbound_item = orjson.dumps({"id": uuid, "p": principal, "o": "connection", "u": scope, "e": packed.decode()})
    item = message_call(principal, delivery, stored, sealed).data()
    secret = (await tenant.webhooks(DIDCOMM_WEBHOOK)).secrets["e"].valid(now)

    def body() -> bytes:
        return delivery_body(
            message,
            from_did=did,
            to_did=did,
            action_uuid=action.uuid,
            event_uuid=delivery.uuid,
            asset_uuid=uuid,
            asset_data_uuids=(),
            contact_uuid=scope,
            connection_uuid=scope,
            sequence=uuid,
            authenticated=True,
        )

    hook = body()
    context = DecisionContext(uuid7, PROTOCOLS)

    def columns() -> None:
        unit = Unit()
        for record in rows:
            unit.create(record)

    def queued(data: bytes) -> Call:
        return lambda: orjson.loads(base64.b64decode(base64.b64encode(data)))

    return {
        "door: envelope header": (lambda: peek(packed), 1),
        "door: whose key (cached)": (lambda: finish(lookups.find("key", "k")), 1),
        "identifiers: uuid7": (uuid7, 1),
        "queue inbound: JSON, base64": (queued(inbound_item), 1),
        "decryption": (lambda: unpack(packed, secrets, {}), 1),
        "message: read, attachments": (lambda: (Message.read(plain), attachments(message)), 1),
        "thread: action's uuid": (lambda: action_uuid(scope, message.id), 1),
        "protocol: decide": (lambda: decide(message, context), 1),
        "custody: seal the body": (lambda: records.seal_body(uuid, plain), 1),
        "webhooks: setting (cached)": (lambda: finish(tenant.webhooks(DIDCOMM_WEBHOOK)), 2),
        "webhooks: match": (lambda: select(entries, message), 1),
        "identifiers: delivery's uuid": (lambda: delivery_uuid(uuid, "e"), 1),
        "records: four rows' columns": (columns, 1),
        "transaction: encode a row": (lambda: transactions.encode(_URL, "records", principal, many, "b"), 5 / _ROWS),
        "transaction: read a row's answer": (lambda: transactions.decode(accepted, _ROWS), 5 / _ROWS),
        "webhook: call, as an item": (lambda: message_call(principal, delivery, stored, sealed), 1),
        # A receiver that is known to be quick is called without queue `relay`.
        "queue relay: JSON, base64": (queued(item), 0),
        "custody: open the body": (lambda: records.open_body(uuid, sealed), 1),
        "webhook: read, body": (lambda: (Message.read(plain), body()), 1),
        "webhook: signature": (lambda: sign(secret, delivery.uuid, now // 1000, hook), 1),
    }


def _batch_answer(rows: int) -> str:
    part = (
        "--changesetresponse_x\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        "HTTP/1.1 204 No Content\r\nContent-ID: 1\r\nX-Content-Type-Options: nosniff\r\nPreference-Applied: "
        "return-no-content\r\nDataServiceVersion: 3.0;\r\n"
        "ETag: W/\"datetime'2026-01-01T00%3A00%3A00.0000000Z'\"\r\n\r\n"
    )
    return part * rows


async def costs(*, rounds: int = 10, each: int = 200) -> list[Cost]:
    """Each feature's median over rounds that are interleaved."""
    measured = await calls()
    seen: dict[str, list[float]] = {feature: [] for feature in measured}
    for _ in range(rounds):
        for feature, (call, _times) in measured.items():
            seen[feature].append(microseconds(call, each))
    found = []
    for feature, (_call, times) in measured.items():
        # A call on a whole transaction is shown as the price of one of its rows.
        share = _ROWS if 0 < times < 1 else 1
        found.append(Cost(feature, median(seen[feature]) / share, times * share))
    return found


def envelopes(*, rounds: int = 10, each: int = 100) -> list[tuple[str, float, float]]:
    """Packing and unpacking in microseconds: name, ours, the bare primitives (NaN where there are none)."""
    rows = v1_calls() | v2_calls()
    seen: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    for _ in range(rounds):
        for name, (call, floor) in rows.items():
            seen[name][0].append(microseconds(call, each))
            if floor is not None:
                seen[name][1].append(microseconds(floor, each))
    return [(name, median(ours), median(bare) if bare else math.nan) for name, (ours, bare) in seen.items()]
