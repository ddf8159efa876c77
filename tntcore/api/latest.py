"""`?include=latest`: what lists of contacts and actions show of each hit besides its own record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypedDict

from tntcore.api.http import Call
from tntcore.api.views import Time, Uuid
from tntcore.connections.connection import connections_of
from tntcore.messaging import times
from tntcore.storage.records import Action, Connection, Contact, Message
from tntcore.storage.repository import Repository
from tntcore.storage.timeline import Timeline

_COLUMNS: Final = ("status", "createdAt", "direction", "type", "actionUuid", "contactUuid")
_SEARCHED: Final = 999
"""Messages among which the latest of each hit is looked for: one storage call reads as many."""
MOST_SHOWN: Final = 50
"""Hits of a page: each may cost as many storage calls as there are identities, up to `FEW_IDENTITIES`."""


class WithLatest(TypedDict, total=False):
    include: Annotated[
        Literal["latest"],
        f"`latest` adds to each hit what is marked so; of contacts, a page then has at most {MOST_SHOWN}",
    ]


class LastMessage(TypedDict):
    uuid: Uuid
    createdAt: Time
    actionUuid: Uuid | None
    direction: Literal["IN", "OUT"]
    type: str
    status: str


class ContactConnection(TypedDict):
    uuid: Uuid
    state: Annotated[str, "as in RFC 0023"]


Last = Annotated[
    LastMessage | None, f"with `include=latest`: its latest message; null if it is not among your latest {_SEARCHED}"
]
ConnectionShown = Annotated[
    ContactConnection | None, "with `include=latest`: its connection; a completed one of several"
]


def is_wanted(call: Call) -> bool:
    return call.query.get("include") == "latest"


async def of_contacts(call: Call, contacts: Sequence[Contact]) -> Mapping[str, Mapping[str, Any]]:
    """Returns `connection` and `lastMessage` of each contact, by its uuid."""
    records = call.tenant.records
    connections = await _connections(records, [contact.uuid for contact in contacts])
    last = {message.contact_uuid: message for message in reversed(await _last_messages(call))}
    return {
        one.uuid: {
            "connection": _state(connections.get(one.uuid)),
            "lastMessage": _view(last.get(one.uuid)),
        }
        for one in contacts
    }


async def of_actions(call: Call, actions: Sequence[Action]) -> Mapping[str, Mapping[str, Any]]:
    """Returns `lastMessage` of each action, by its uuid."""
    last = {message.action_uuid: message for message in reversed(await _last_messages(call))}
    return {one.uuid: {"lastMessage": _view(last.get(one.uuid))} for one in actions}


async def _last_messages(call: Call) -> Sequence[Message]:
    """Returns the tenant's latest messages, the newest first."""
    timeline = Timeline(call.tenant.records, Message, columns=_COLUMNS)
    return (await timeline.page(_SEARCHED, newest=True, now=call.services.now())).records


async def _connections(records: Repository, contacts: Sequence[str]) -> Mapping[str, Connection]:
    """Returns the contacts' connections. If a contact has several, a completed one counts, or else the latest."""
    found = await connections_of(records, contacts, columns=("contactUuid", "state", "createdAt"))
    found.sort(key=lambda one: (one.state == "completed", one.created_at))
    return {one.contact_uuid: one for one in found}


def _state(connection: Connection | None) -> ContactConnection | None:
    return None if connection is None else {"uuid": connection.uuid, "state": connection.state}


def _view(message: Message | None) -> dict[str, Any] | None:
    if message is None:
        return None
    return {
        "uuid": message.uuid,
        "createdAt": times.iso(message.created_at),
        "actionUuid": message.action_uuid or None,
        "direction": message.direction,
        "type": message.type,
        "status": message.status,
    }
