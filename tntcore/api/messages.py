"""`/message`: a tenant's DIDComm messages, in and out, decrypted; `/asset-data`: their attachments."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

import orjson

from tntcore.api.counts import CountView, Period, counted
from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Words
from tntcore.api.views import (
    ByAction,
    ByConnection,
    ByContact,
    Entity,
    Page,
    Pointed,
    Sides,
    Timed,
    Uuid,
    entity,
    filters,
    found,
    given_filters,
    listing,
)
from tntcore.keys.custody import CustodyError
from tntcore.messaging.message import Attachment, attachments
from tntcore.messaging.message import Message as Plaintext
from tntcore.messaging.types import meant
from tntcore.storage import queries
from tntcore.storage.erasure import erase
from tntcore.storage.queries import Where
from tntcore.storage.records import Action, AssetData, Delivery, Entry, HeldMessage, Message
from tntcore.storage.repository import Repository
from tntcore.storage.states import MessageStatus
from tntcore.storage.timeline import Places

_MAX_HELD = 999  # one storage call
_MAX_ENTRIES = 999  # of a thread: one storage call
_MAX_THREADS = 10  # contacts that use the same thread id

Direction = Literal["IN", "OUT"]


class MessageFilters(ByAction, ByContact, ByConnection, total=False):
    direction: Direction
    status: MessageStatus
    type: Annotated[
        str,
        "how it begins, in either spelling or short (`basicmessage/1.0`); `DIDCOMM` is every one",
        Words(maxLength=200),
    ]
    thread: Annotated[str, "its thread id"]


class MessageQuery(Timed, MessageFilters, total=False):
    pass


class MessageCountQuery(Period, MessageFilters, total=False):
    pass


class MessageView(Entity, Sides):
    """A DIDComm message. `message` is the plaintext: a string if it is not JSON, `{base64}` if it is not text. If the
    message could not be decrypted, `envelope` takes the place of `message`."""

    status: MessageStatus
    direction: Direction
    type: Annotated[str, Words(examples=["https://didcomm.org/basicmessage/1.0/message"])]
    messageId: Annotated[str | None, "its `@id` or `id`"]
    actionUuid: Uuid | None
    contactUuid: Uuid | None
    connectionUuid: Uuid | None
    authenticated: Annotated[bool, "whether the sender is proven"]
    assetDataUuids: list[Uuid]
    sequence: Annotated[str, "sorts, as a string, in order of receipt"]
    error: str | None
    message: NotRequired[Any]
    envelope: NotRequired[Any]


class AssetDataView(Entity):
    """An attachment of a message. `value` is JSON, or else `{base64}` or `{links}`."""

    status: Literal["ACTIVE"]
    messageUuid: Uuid
    actionUuid: Uuid
    name: Annotated[str, Words(examples=["ack~attach"])]
    format: str | None
    mimeType: str | None
    value: Any


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The condition of a list of messages or deliveries.

    Attributes:
        where: for storage.
        actions: uuids of the only actions that hits are of; None for any.
        types: beginnings of the only types that hits have; None for any.
    """

    where: Where
    actions: frozenset[str] | None
    types: tuple[str, ...] | None

    def keeps(self, record: Message | Delivery) -> bool:
        """Whether a record meets what the condition says of actions and types."""
        is_of = self.actions is None or record.action_uuid in self.actions
        return is_of and (self.types is None or record.type.startswith(self.types))


async def list_(call: Call) -> Response:
    """Lists messages in order of receipt.

    Filters: `action`, `thread`, `contact`, `connection`, `type` (a prefix, in either spelling or short), `direction`,
    `status`, `since` and `until` (a time or a `sequence`). A list with `since` starts a few seconds earlier, so that no
    message is missed.
    """
    narrowed = await narrow(call)

    async def view(message: Message) -> dict[str, Any]:
        return await message_view(call.tenant.records, message)

    places: Places[Message] | None = None
    if (uuids := await messages_of(call, narrowed)) is not None:
        # The action, or the thread, is all that is asked for.
        filters_given = len(given_filters(call)) + ("thread" in call.query)
        exact = narrowed.types is None and filters_given == 1
        places = Places(uuids, lambda some: call.tenant.records.many(Message, some, uuids), exact)
    elif (waiting := await held(call)) is not None:
        shards = {one.message_uuid: one.partition for one in waiting}
        places = Places(shards, lambda some: call.tenant.records.many(Message, some, shards))
    keep = narrowed.keeps if places is not None else None
    pointed: Pointed[Message] | None = None
    status = call.query.get("status", "")
    if status in Message.UNUSUAL:
        pointed = Pointed(Message.with_status(status), narrowed.keeps)
    return await listing(call, Message, view, where=narrowed.where, keep=keep, places=places, pointed=pointed)


async def count(call: Call) -> Response:
    """Counts messages by status and by day; filters as in the list.

    It costs one storage call for up to 999 messages, else one for each day and one more for each 999 messages: at most
    115. The latest 20,000 messages are counted; if there are more, `relation` is `gte`.
    """
    return await counted(call, Message, (await narrow(call)).where)


async def narrow(call: Call) -> Narrowed:
    """Returns the condition of a list of messages or deliveries. A thread id costs a storage call to find."""
    where, prefix, thread = filters(call), call.query.get("type", ""), call.query.get("thread", "")
    types: tuple[str, ...] | None = None
    actions: frozenset[str] | None = None
    if prefix and prefix.upper() != "DIDCOMM":
        types = meant(prefix)
        where = where & queries.messages_of_types(types)
    if thread:
        hits = await call.tenant.records.list(
            Action, limit=_MAX_THREADS, where=queries.actions_of_thread(thread), columns=()
        )
        # Without any, an action that does not exist.
        found_of = [action.uuid for action in hits.records] or ["none"]
        where, actions = where & queries.of_actions(found_of), frozenset(found_of)
    return Narrowed(where, actions, types)


async def held(call: Call) -> Sequence[HeldMessage] | None:
    """Returns the rows that hold all held messages, if a list is for these and they are not too many to look at; or
    None.
    """
    if call.query.get("status") != MessageStatus.HELD:
        return None
    hits = await call.tenant.records.list(HeldMessage, limit=_MAX_HELD, columns=("messageUuid", "deliveryUuid"))
    return hits.records if hits.next is None else None


async def messages_of(call: Call, narrowed: Narrowed) -> Mapping[str, str] | None:
    """Returns the uuids of the messages of the actions that a list is for, and the shard of each. None if it is for
    none in particular, or for so many messages that storage finds those that are wanted sooner.
    """
    action = call.query.get("actionUuid") or call.query.get("action")
    actions = {action} if action else narrowed.actions
    if actions is None:
        return None
    pages = await asyncio.gather(
        *(
            call.tenant.records.list(Entry, limit=_MAX_ENTRIES, under=f"{uuid}.", columns=("messageUuid",))
            for uuid in actions
        )
    )
    if any(page.next is not None for page in pages):
        return None
    return {entry.message_uuid: entry.partition for page in pages for entry in page.records if entry.message_uuid}


async def read(call: Call) -> Response:
    records = call.tenant.records
    return answer(await message_view(records, await found(records, Message, call.arguments["uuid"])))


async def delete(call: Call) -> Response:
    """Erases the message's content for good, with its attachments."""
    message = await found(call.tenant.records, Message, call.arguments["uuid"])
    await erase(call.tenant.at(message).records, message)
    return Response(204, content_type="")


async def read_asset_data(call: Call) -> Response:
    """Shows an attachment: its `data` as JSON, or as base64 if it is not JSON."""
    records = call.tenant.records
    asset = await found(records, AssetData, call.arguments["uuid"])
    message = await found(records, Message, asset.message_uuid)
    attached = attachments(Plaintext.read(await records.body(message), "v2" if message.version == "v2" else None))
    attachment = attached[asset.index] if asset.index < len(attached) else None
    return answer(
        entity(
            asset,
            messageUuid=asset.message_uuid,
            actionUuid=asset.action_uuid,
            name=asset.name,
            format=asset.format or None,
            mimeType=asset.mime_type or None,
            value=_value(attachment) if attachment else None,
        )
    )


def _value(attachment: Attachment) -> Any:
    try:
        return attachment.json_value()
    except ValueError:
        if isinstance(attachment.data, bytes):
            return {"base64": base64.b64encode(attachment.data).decode()}
        return {"links": list(attachment.data)} if attachment.kind == "links" else None


async def message_view(records: Repository, message: Message) -> dict[str, Any]:
    """Returns a message in its API form; `message` is the plaintext, `envelope` a message that could not be
    decrypted."""
    try:
        body = await records.body(message)
    except CustodyError:
        body = b""
    opened = message.direction == "OUT" or bool(message.action_uuid)
    return entity(
        message,
        direction=message.direction,
        type=message.type,
        messageId=message.message_id or None,
        actionUuid=(message.action_uuid or None)
        if message.status != MessageStatus.REJECTED
        else None,  # a rejected message belongs to no action
        contactUuid=message.contact_uuid or None,
        connectionUuid=message.connection_uuid or None,
        **{"from": message.contact_did or None, "to": message.identity_did or None}
        if message.direction == "IN"
        else {"from": message.identity_did or None, "to": message.contact_did or None},
        authenticated=message.authenticated,
        assetDataUuids=message.asset_data,
        sequence=message.uuid,
        error=message.error or None,
        **{"message" if opened else "envelope": shown(body)},
    )


def shown(body: bytes) -> Any:
    """Returns a plaintext for an answer: inserted as it is if it is JSON, else as a string, else as base64."""
    if Plaintext.read(body).is_json:
        return orjson.Fragment(body)
    try:
        return body.decode() or None
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


_UNKNOWN = "404 message-unknown"
ROUTES = [
    Route(
        "GET",
        "message",
        list_,
        summary="List messages",
        answers={200: Page[MessageView]},
        query=MessageQuery,
    ),
    Route(
        "GET",
        "message/count",
        count,
        summary="Count messages by status and day",
        answers={200: CountView},
        query=MessageCountQuery,
    ),
    Route("GET", "message/{uuid}", read, summary="Read a message", answers={200: MessageView}, errors=(_UNKNOWN,)),
    Route("DELETE", "message/{uuid}", delete, summary="Erase a message", answers={204: None}, errors=(_UNKNOWN,)),
    Route(
        "GET",
        "asset",
        list_,
        summary="List messages (path used by older clients)",
        answers={200: Page[MessageView]},
        query=MessageQuery,
    ),
    Route(
        "GET",
        "asset-data/{uuid}",
        read_asset_data,
        summary="Read an attachment of a message",
        answers={200: AssetDataView},
        errors=("404 asset-data-unknown",),
    ),
]
