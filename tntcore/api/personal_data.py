"""`/contact/{id}/export` and `/contact/{id}/erase`: everything that a tenant has of one contact."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, TypedDict

import orjson

from tntcore.api.actions import action_view
from tntcore.api.audit import note
from tntcore.api.connections import connection_view
from tntcore.api.contacts import ContactView, contact_view, find_contact, forget
from tntcore.api.credentials import credential_view, outcome_view
from tntcore.api.deliveries import attempt_log, delivery_view
from tntcore.api.exchange_shapes import view as exchange_view
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Reads
from tntcore.api.messages import message_view
from tntcore.api.views import JsonObject, Limited, Uuid, entity, limit_of, not_found
from tntcore.connections.removal import remove
from tntcore.connections.reuse import read_reuse
from tntcore.credentials.wallet import open_held
from tntcore.errors import Problem
from tntcore.messaging.ids import first_uuid
from tntcore.messaging.invitations import MAX_REQUESTS
from tntcore.storage.commit import Changed, Unit
from tntcore.storage.erasure import erase, erase_attempts
from tntcore.storage.queries import connections_of_contact as of_contact
from tntcore.storage.queries import pointers_to
from tntcore.storage.records import (
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
    sent_id,
)
from tntcore.storage.repository import Hits, Repository
from tntcore.storage.transactions import MAX_OPERATIONS
from tntcore.strict_json import reread_json, write_json
from tntcore.tenancy.access import Scope

_POINTED: Final[Mapping[type[Record], Callable[[str], str]]] = {
    Connection: Connection.with_contact,
    Exchange: Exchange.with_contact,
    Credential: Credential.with_contact,
    Presentation: Presentation.with_contact,
}
"""The beginning of the pointers to a contact's records, for kinds that have these."""
MOST: Final = 100
"""Records that one call erases."""
_AT_ONCE: Final = 10
_PAGE_BYTES: Final = 4_000_000
_KINDS: Final[tuple[type[Record], ...]] = (
    Connection,
    Action,
    Message,
    Delivery,
    Exchange,
    Credential,
    Presentation,
    PendingReuse,
)
_CLOCKS = 60_000  # milliseconds: by how much the clocks of two instances may differ
_POSITION = re.compile(rf"({'|'.join(kind.KIND for kind in _KINDS)})\.[0-9a-f.-]{{0,80}}", re.ASCII)
KEPT: Final = (
    "Hashes of the received messages' ids stay, so that a message that comes again is recognized as a duplicate. So do "
    "hashes of received presentations, so that a copy is.",
    "Audit records stay: they name the contact by its uuid alone.",
    "Invitations that were made for the contact stay until you withdraw them.",
    "Public status lists and revocation registries stay. Their entries name nobody, but an issued credential that is "
    "erased here can no longer be revoked.",
    "Answers to requests with an Idempotency-Key stay, encrypted, for a day. A queue message that was given up stays, "
    "encrypted, until the operator sees to it.",
    "Backups and copies at others' systems are not changed: what your webhooks and the partner received, they have.",
)


def _position(token: str) -> str:
    if not _POSITION.fullmatch(token):
        raise ValueError("the `next` of the page before")
    return token


class ExportQuery(Limited, total=False):
    next: Annotated[str, "of the page before", Reads(_position)]


class ExportedView(TypedDict):
    """A record as the call that reads it shows it. An attachment is in its message."""

    kind: Literal["connection", "action", "message", "delivery", "exchange", "credential", "presentation", "reuse"]
    record: JsonObject


class ExportView(TypedDict):
    """A part of the data about a contact. `next` is the parameter for the next part; null in the last one."""

    contact: ContactView
    items: list[ExportedView]
    next: str | None


class ErasureView(TypedDict):
    """Records that this call erased, by kind. `done`: nothing is left to erase; otherwise call again."""

    contactUuid: Uuid
    done: bool
    erased: dict[str, int]
    kept: Annotated[list[str], "what stays, and why"]


async def export(call: Call) -> Response:
    """Exports everything that is stored of a contact, in parts: connections, threads, messages, deliveries, exchanges,
    credentials, presentations, and invitations that wait to be answered over a connection (`reuse`).

    A part costs up to eight storage calls, and one for each connection, for each delivery that was attempted more than
    once, and for each body that is larger than 48 kB.
    """
    records, limit = call.tenant.records, limit_of(call)
    contact = await find_contact(records, call.arguments["id"])
    name, _, start = call.query.get("next", f"{_KINDS[0].KIND}.").partition(".")
    number = [kind.KIND for kind in _KINDS].index(name)
    items: list[orjson.Fragment] = []
    size, following = 0, None
    for kind in _KINDS[number:]:
        if len(items) >= limit or size > _PAGE_BYTES:
            following = f"{kind.KIND}."
            break
        under = await _pointers(records, kind, contact.uuid)
        hits = await _of(records, kind, contact.uuid, under, limit=limit - len(items), start=start)
        start, after = "", hits.next
        for record in hits.records:
            if size > _PAGE_BYTES:
                pointers = [uuid for uuid in record.filed if uuid.startswith(under)] if under else []
                after = _place(pointers[0]) if pointers else record.uuid
                break
            written = write_json({"kind": kind.KIND, "record": await _shown(call, record)})
            items.append(orjson.Fragment(written))
            size += len(written)
        if after is not None:
            following = f"{kind.KIND}.{after}"
            break
    return answer({"contact": contact_view(contact), "items": items, "next": following})


async def _shown(call: Call, record: Record) -> dict[str, Any]:
    records = call.tenant.records
    if isinstance(record, Message):
        return await message_view(records, record)
    if isinstance(record, Action):
        return action_view(record, call)
    if isinstance(record, Connection):
        return {**connection_view(call, record), "attached": await _attached(records, record)}
    if isinstance(record, Delivery):
        return {**delivery_view(record), "log": await attempt_log(records, record)}
    if isinstance(record, Exchange):
        return exchange_view(record)
    if isinstance(record, Credential):
        held = await open_held(records, record)
        return {**credential_view(records, record), "credential": held.value}
    if isinstance(record, Presentation):
        return outcome_view(records, record)
    if isinstance(record, PendingReuse):
        content, _, _ = read_reuse(call.tenant, record)
        return entity(record, identityUuid=record.identity_uuid, invitation=content.raw)
    raise TypeError(type(record))


async def _attached(records: Repository, connection: Connection) -> list[Any]:
    """Returns the messages that came inside the invitation and wait for the connection to be completed."""
    hits = await records.list(AttachedMessage, limit=MAX_REQUESTS, under=f"{connection.uuid}.")
    return [reread_json(records.open(attached.body, attached.key)) for attached in hits.records]


async def erase_(call: Call) -> Response:
    """Erases a contact for good: the contact, its connections, its messages with their attachments and deliveries, its
    threads, exchanges, credentials and presentations.

    The first call deletes the contact and up to 23 connections, so that nothing more arrives from it. Each call erases
    up to 100 records; call again with the contact's uuid until `done` is true; after that the contact is unknown.
    Other processes of the service may receive messages for up to half a minute more: a call after that erases them,
    or answers 404 if there are none. A delivery under way is not recalled.
    """
    records, uuid = call.tenant.records, call.arguments["id"]
    erased: dict[str, int] = {}
    left = MOST
    try:
        contact = await find_contact(records, uuid)
    except Problem as problem:
        if problem.code != "contact-unknown":
            raise
    else:
        uuid = contact.uuid
        also, there = Unit(), call.at(contact)
        await note(there, also, "contact.erased", uuid)
        erased["connection"], is_deleted = await forget(there, contact, also)
        if not is_deleted:
            return answer({"contactUuid": uuid, "done": False, "erased": erased, "kept": KEPT})
        erased["contact"] = 1
    for kind, eraser in _ERASERS:
        hits = await _of(records, kind, uuid, await _pointers(records, kind, uuid), limit=left)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(record: Any, eraser: _Eraser = eraser, gate: asyncio.Semaphore = gate) -> bool:
            async with gate:
                try:
                    await eraser(call.at(record), record)
                except Changed:
                    # Another call has just erased it, or a part of it.
                    return False
            return True

        if number := sum(await asyncio.gather(*(one(record) for record in hits.records))):
            erased[kind.KIND] = erased.get(kind.KIND, 0) + number
        left -= len(hits.records)
        if left <= 0:
            break
    done = not await _is_left(records, uuid)
    if done and not erased:
        raise not_found(Contact, uuid)
    return answer({"contactUuid": uuid, "done": done, "erased": erased, "kept": KEPT})


async def _is_left(records: Repository, uuid: str) -> bool:
    """Whether anything of the contact is still stored."""
    for kind, _ in _ERASERS:
        if (await _of(records, kind, uuid, await _pointers(records, kind, uuid), limit=1)).records:
            return True
    return False


async def _pointers(records: Repository, kind: type[Record], contact: str) -> str:
    """Returns the beginning of the pointers to the contact's records of a kind; "" if not all have one."""
    under = _POINTED.get(kind)
    return under(contact) if under is not None and await records.is_filed() else ""


async def _of(
    records: Repository, kind: type[Record], contact: str, under: str, *, limit: int, start: str = ""
) -> Hits[Any]:
    """Returns records of a kind that are the contact's.

    Args:
        under: the beginning of their pointers, "" to look at all records of the kind.
        start: `next` of the page before. One that is a place among pointers begins with a full stop; where the other
            is needed, the kind begins anew.
    """
    is_place = start.startswith(".")
    if not under:
        return await records.list(kind, limit=limit, start="" if is_place else start, where=of_contact(contact))
    hits = await records.pointed(kind, under, limit=limit, start=start[1:] if is_place else "")
    return Hits(hits.records, _place(hits.next) if hits.next is not None else None)


def _place(pointer: str) -> str:
    """Returns the `start` that continues from this pointer."""
    return f".{pointer.rpartition('.')[2]}"


_Eraser = Callable[[Call, Any], Awaitable[object]]


async def _erase_connection(call: Call, connection: Connection) -> None:
    """Erases a connection that was made while the contact was being deleted."""
    unit = Unit()
    await remove(call.services, call.tenant, [connection], unit)


async def _erase_message(call: Call, message: Message) -> None:
    records = call.tenant.records
    if message.direction == "OUT":
        sent = await records.get(Sent, sent_id(message.connection_uuid, message.message_id))
        if sent is not None:
            with suppress(Changed):
                await _erase_row(call, sent)
    await erase(records, message)


async def _erase_delivery(call: Call, delivery: Delivery) -> None:
    """Erases a delivery that belongs to no message: a call of `TASK_WEBHOOK`."""
    await erase_attempts(call.tenant.records, delivery)
    await _erase_row(call, delivery)


async def _erase_with_body(call: Call, credential: Credential) -> None:
    await _erase_row(call, credential)
    await call.tenant.records.delete_body(credential.uuid)


async def _erase_row(call: Call, record: Record) -> None:
    unit = Unit()
    unit.remove(record)
    await call.tenant.records.commit(unit)
    call.tenant.records.erased(record)


async def _erase_thread(call: Call, thread: Action) -> None:
    """Erases a thread with its pointers, of which it has one for each late change."""
    records = call.tenant.records
    # A message that is handled after a later one takes the thread back to its own time.
    first, end = (first_uuid(max(at, 0)) for at in (thread.created_at - _CLOCKS, thread.updated_at + _CLOCKS))
    while True:
        unit = Unit()
        hits = await records.list(
            Pointer,
            limit=MAX_OPERATIONS - 1,
            start=f"{Action.KIND}.{first}",
            end=f"{Action.KIND}.{end}",
            where=pointers_to(thread.uuid),
        )
        for pointer in hits.records:
            unit.delete(pointer.key)
        if hits.next is None:
            break
        await records.commit(unit)
    unit.delete(thread.key)
    await records.commit(unit)
    records.erased(thread)


_ERASERS: Final[tuple[tuple[type[Record], _Eraser], ...]] = (
    (Connection, _erase_connection),
    (PendingReuse, _erase_row),
    (Message, _erase_message),
    (Delivery, _erase_delivery),
    (Credential, _erase_with_body),
    (Presentation, _erase_row),
    (Exchange, _erase_row),
    (Action, _erase_thread),
)
ALONG: Final[Mapping[type[Record], str]] = {
    Contact: "exported with each part, and erased by the first call",
    AttachedMessage: "exported and erased with its connection",
    AssetData: "a value in a message, exported and erased with it",
    Attempt: "exported and erased with its delivery",
    HeldMessage: "names a message, and goes with its connection",
    Pointer: "names a record, and goes with it",
    Sent: "names a message that was sent, and goes with it",
}
"""Kinds of rows of a contact that do not name it themselves."""
NOT_PERSONAL: Final[Mapping[type[Record], str]] = {
    ApiToken: "the tenant's own",
    Audit: "names the contact by its uuid: see `KEPT`",
    BoundDid: "a DID of the tenant",
    Context: "a document about terms",
    CredentialDefinition: "public, and of the tenant",
    Entry: "hashes of a message's id and content: see `KEPT`",
    Identity: "the tenant's own",
    Invitation: "made by the tenant: see `KEPT`",
    LinkSecret: "the tenant's own",
    Operator: "of no tenant",
    Principal: "the tenant itself",
    Replay: "names a time and a status",
    RevocationStatus: "public, and names nobody: see `KEPT`",
    Schema: "public, and of the tenant",
    Setting: "the tenant's own",
    ShownPresentation: "a hash of a presentation: see `KEPT`",
    StatusList: "public, and names nobody: see `KEPT`",
}
"""Kinds of rows that are neither exported nor erased, and why."""


ROUTES = [
    Route(
        "GET",
        "contact/{id}/export",
        export,
        summary="Export everything that is stored of a contact",
        answers={200: ExportView},
        query=ExportQuery,
        errors=("404 contact-unknown", "409 contact-ambiguous"),
    ),
    Route(
        "POST",
        "contact/{id}/erase",
        erase_,
        scope=Scope.ADMIN,
        summary="Erase everything that is stored of a contact",
        answers={200: ErasureView},
        errors=("404 contact-unknown", "409 contact-ambiguous"),
    ),
]
