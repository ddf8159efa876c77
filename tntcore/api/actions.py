"""`/action`: a tenant's plain messages and their threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import orjson

from tntcore.api.contacts import ambiguous, find_contacts
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.identities import find_identity
from tntcore.api.json_schema import Code
from tntcore.api.latest import Last, WithLatest, is_wanted, of_actions
from tntcore.api.views import (
    ByConnection,
    ByContact,
    Entity,
    JsonObject,
    Page,
    Sides,
    Timed,
    Uuid,
    UuidOrDid,
    entity,
    filters,
    found,
    listing,
    text,
)
from tntcore.connections.connection import connections_of
from tntcore.dids.parse import qualify
from tntcore.errors import Problem
from tntcore.messaging.message import MAX_IDENTIFIER
from tntcore.messaging.message import Message as Plaintext
from tntcore.pipeline.sending import Actions, SentMessage, Thread
from tntcore.storage import queries
from tntcore.storage.records import Action, Connection, Contact, Entry
from tntcore.storage.repository import Repository

_TYPE_VERSION = "1.0"
ActionStatus = Literal["ACTIVE", "ERROR"]
_UUID = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"
_HELLO = {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "Hello"}

CONNECTION_ERRORS = ("404 identity-unknown", "404 contact-unknown", "409 contact-ambiguous", "409 not-connected")
_SENDING_ERRORS = (
    "400 message-invalid",
    "400 command-unsupported",
    "400 thread-mismatch",
    "404 connection-unknown",
    "409 connection-ended",
    "409 message-id-used",
    "413 message-too-large",
)


class MessageGiven(TypedDict):
    """The message to send, in the form of DIDComm v1 or v2. The service fills in `@id` and `~thread`."""

    message: JsonObject


class ActionConfig(TypedDict):
    contactUuid: NotRequired[Annotated[Uuid, "uuid of the contact, instead of `to`"]]


Between = TypedDict(
    "Between",
    {
        "from": Annotated[
            UuidOrDid,
            "uuid or DID of an identity; by default the default one or, if it is not connected "
            "with the contact, the only one that is",
        ],
        "to": Annotated[UuidOrDid, "uuid or DID of a contact"],
        "config": ActionConfig,
    },
    total=False,
)


_Command = Annotated[Literal["message"], Code("command-unsupported")]


class NewAction(Between):
    type: Annotated[Literal["DIDCOMM"], Code("type-unsupported", missing="type-invalid")]
    command: NotRequired[_Command]
    data: NotRequired[Annotated[MessageGiven, Code("message-invalid")]]
    referenceID: NotRequired[Annotated[str, "the DIDComm thread id; by default the action's uuid"]]


class OlderAction(Between, total=False):
    """An action as clients of the original write it, where the path says the type."""

    type: Annotated[Literal["DIDCOMM"], Code("type-unsupported", missing="type-invalid")]
    command: _Command
    data: Annotated[MessageGiven, Code("message-invalid")]
    referenceID: Annotated[str, "the DIDComm thread id; by default the action's uuid"]


class Command(TypedDict):
    command: NotRequired[_Command]
    data: Annotated[MessageGiven, Code("message-invalid", missing="message-missing")]


class ActionQuery(Timed, ByContact, ByConnection, WithLatest, total=False):
    status: ActionStatus
    referenceID: Annotated[str, "the DIDComm thread id"]
    thread: Annotated[str, "the same"]


class MessageData(TypedDict):
    message: JsonObject


class _ShownConfig(TypedDict):
    contactUuid: Uuid | None
    error: NotRequired[Annotated[Any, "the problem report that ended it"]]


class ActionView(Entity, Sides):
    """A thread of messages with one contact."""

    status: ActionStatus
    principalUuid: Uuid
    type: Literal["DIDCOMM"]
    typeVersion: str
    direction: Annotated[Literal["IN", "OUT"], "direction of its first message"]
    referenceID: Annotated[str, "the DIDComm thread id"]
    connectionUuid: Uuid | None
    config: _ShownConfig
    typeStatus: Literal["HELD", "SENDING", "SENT", "FAILED"] | None
    data: MessageData | None
    messages: NotRequired[Annotated[list[Uuid], "uuids of its messages, oldest first"]]
    lastMessage: NotRequired[Last]


class ActionRoutes:
    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self.routes = [
            Route(
                "POST",
                "action",
                self.create,
                creates=True,
                summary="Start a thread and send a message",
                request=NewAction,
                answers={201: ActionView},
                errors=(*CONNECTION_ERRORS, *_SENDING_ERRORS),
                example={"type": "DIDCOMM", "from": _UUID, "to": _UUID, "data": {"message": _HELLO}},
            ),
            *(
                Route(
                    "POST",
                    path,
                    self.create,
                    creates=True,
                    summary=f"Start a thread ({path}, as older clients call it)",
                    request=OlderAction,
                    answers={201: ActionView},
                    errors=(*CONNECTION_ERRORS, *_SENDING_ERRORS),
                    example={"from": _UUID, "to": _UUID, "data": {"message": _HELLO}},
                )
                # Before `action/{uuid}`, which would take this one.
                for path in ("action/DIDCOMM", "asset")
            ),
            Route(
                "GET",
                "action",
                self.list_,
                summary="List threads",
                answers={200: Page[ActionView]},
                query=ActionQuery,
            ),
            Route(
                "GET",
                "action/{uuid}",
                self.read,
                summary="Read a thread and the uuids of its messages",
                answers={200: ActionView},
                errors=("404 action-unknown",),
            ),
            Route(
                "POST",
                "action/{uuid}",
                self.command,
                creates=True,
                summary="Send a message on a thread",
                request=Command,
                answers={200: ActionView},
                errors=(
                    "404 action-unknown",
                    "409 action-without-contact",
                    *_SENDING_ERRORS,
                ),
                example={"command": "message", "data": {"message": _HELLO}},
            ),
        ]

    async def create(self, call: Call) -> Response:
        """Starts a thread with a contact, and sends `data.message` on it if given.

        Body: `{type: "DIDCOMM", from, to, command?, data?: {message}, config?: {contactUuid}, referenceID?}`.
        """
        body = call.body
        message = body["data"]["message"] if "data" in body else None
        connection = await connection_between(call, body)
        call = call.at(connection)
        thread = self._actions.begin(connection, _reference(body, message), call.random)
        if message is None:
            return answer(action_view(await self._actions.create(call.tenant, thread), call), 201)
        sent = await self._actions.send(call.tenant, thread, message, random=call.random)
        return answer(_sent(sent, call), 201)

    async def command(self, call: Call) -> Response:
        """Sends a message on the action's thread. Body: `{command: "message", data: {message}}`."""
        message = call.body["data"]["message"]
        action = await found(call.tenant.records, Action, call.arguments["uuid"])
        if not action.connection_uuid:
            raise Problem(
                409,
                "action-without-contact",
                "This action has no contact, so no message can be sent on it. Start a new action.",
            )
        connection = await _by_uuid(call, action.connection_uuid)
        if connection is None:
            raise Problem(404, "connection-unknown", "The connection of this action was deleted. Start a new action.")
        call, thread = call.at(connection), Thread(connection, action)
        return answer(_sent(await self._actions.send(call.tenant, thread, message, random=call.random), call))

    async def list_(self, call: Call) -> Response:
        """Lists threads. By time they go by their latest change, which is mostly their latest message; a page then
        costs a storage call for each hit besides those of other lists. `include=latest` adds each thread's latest
        message, for two to 42 storage calls more."""
        thread = call.query.get("thread", "")
        where = filters(call) & (queries.actions_of_thread(thread) if thread else queries.ANY)
        beside = partial(of_actions, call) if is_wanted(call) else None
        return await listing(call, Action, lambda action: action_view(action, call), where=where, beside=beside)

    async def read(self, call: Call) -> Response:
        """Shows the action and the uuids of its messages, oldest first, at most 1,000."""
        records = call.tenant.records
        action = await found(records, Action, call.arguments["uuid"])
        entries = (await records.list(Entry, limit=1000, under=f"{action.uuid}.")).records
        return answer(
            action_view(action, call, messages=sorted(entry.message_uuid for entry in entries if entry.message_uuid))
        )


def _sent(sent: SentMessage, call: Call) -> dict[str, Any]:
    data = {"message": orjson.Fragment(sent.plaintext)}
    return action_view(sent.action, call, messages=[sent.message_uuid], data=data)


def _reference(body: dict[str, Any], message: dict[str, Any] | None) -> str | None:
    """Returns the thread id from `referenceID` or from the message; None if the caller gave none."""
    given = text(body.get("referenceID"), "referenceID", maximum=MAX_IDENTIFIER)
    if given or message is None:
        return given or None
    thread = message.get("~thread", message)
    thid = thread.get("thid") if isinstance(thread, dict) else None
    return thid if isinstance(thid, str) and 0 < len(thid) <= MAX_IDENTIFIER else None


async def connection_between(call: Call, body: dict[str, Any]) -> Connection:
    """Finds the connection between `from` and `to`.

    Raises:
        Problem: 404 for an unknown identity or contact, 409 if they are not connected, or if `to` is a DID that
            several contacts share (contacts whose connection has ended do not count).
    """
    config = body.get("config", {})
    sender = text(body.get("from"), "from", maximum=4000)
    receiver = text(config.get("contactUuid"), "contactUuid") or text(body.get("to"), "to", maximum=4000, required=True)
    if sender and not sender.startswith("did:") and not receiver.startswith("did:"):
        connection = await _by_uuid(call, Connection.uuid_of(sender, receiver))
        if connection is not None:
            return connection
    records = call.tenant.records
    identity = await find_identity(records, sender)
    contacts = await find_contacts(records, receiver)
    found = [(contact, await _by_uuid(call, Connection.uuid_of(identity.uuid, contact.uuid))) for contact in contacts]
    known = [(contact, connection) for contact, connection in found if connection is not None]
    if not known and not sender:
        known = await _of_any_identity(records, contacts)
    if qualify(receiver).startswith("did:"):
        # A contact may use a different DID with each identity.
        known = [one for one in known if qualify(receiver) in (one[1].contact_did, one[1].their_did)]
    known = [one for one in known if one[1].state != "abandoned"] or known
    if not known:
        detail = (
            "This identity has no connection with this contact. Give another identity as `from`, or invite the contact."
        )
        raise Problem(409, "not-connected", detail)
    if len(known) > 1:
        raise ambiguous([contact for contact, _ in known])
    return known[0][1]


async def _of_any_identity(records: Repository, contacts: Sequence[Contact]) -> list[tuple[Contact, Connection]]:
    """Returns the contacts' connections, whichever identity they are with; none if they are with several."""
    found: list[tuple[Contact, Connection]] = []
    for contact in contacts:
        found += [(contact, connection) for connection in await connections_of(records, [contact.uuid])]
    live = [one for one in found if one[1].state != "abandoned"] or found
    return live if len({connection.identity_uuid for _, connection in live}) == 1 else []


async def _by_uuid(call: Call, uuid: str) -> Connection | None:
    """Returns the connection: from the cache if it is completed, otherwise from storage."""
    peer = await call.services.tenants.recipient(call.tenant, "connection", uuid)
    if peer is not None and peer.connection is not None:
        return peer.connection
    return await call.tenant.records.get(Connection, uuid)


def action_view(
    action: Action, call: Call, *, messages: list[str] | None = None, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    incoming = action.direction != "OUT"
    sides = (action.contact_did, action.identity_did) if incoming else (action.identity_did, action.contact_did)
    config: dict[str, Any] = {"contactUuid": action.contact_uuid or None}
    if action.error:
        config["error"] = _error(call.tenant.records, action)
    view = entity(
        action,
        principalUuid=call.tenant.principal.uuid,
        type="DIDCOMM",
        typeVersion=_TYPE_VERSION,
        direction="IN" if incoming else "OUT",
        referenceID=action.reference_id,
        connectionUuid=action.connection_uuid or None,
        config=config,
        typeStatus=action.type_status or None,
        data=data,
        **{"from": sides[0] or None, "to": sides[1] or None},
    )
    return view if messages is None else {**view, "messages": messages}


def _error(records: Repository, action: Action) -> Any:
    """Returns the problem report that ended the action."""
    report = records.open(action.error, f"{action.key}/error")
    return orjson.Fragment(report) if Plaintext.read(report).is_json else None
