"""`/message`: every DIDComm message of a principal, in and out, decrypted; `/asset-data`: what was attached to them."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, NotRequired

import orjson

from tntcore.api.http import Call, Response, Route, answer
from tntcore.api.json_schema import Words
from tntcore.api.views import Entity, Page, Sides, Uuid, entity, filters, found, listing, since
from tntcore.errors import Problem
from tntcore.keys.custody import CustodyError
from tntcore.messaging.message import Attachment, attachments
from tntcore.messaging.message import Message as Plaintext
from tntcore.messaging.types import prefixes
from tntcore.storage import queries
from tntcore.storage.erasure import erase
from tntcore.storage.records import AssetData, Message
from tntcore.storage.repository import Repository
from tntcore.storage.states import MessageStatus


class MessageView(Entity, Sides):
    """A DIDComm message. `message` is the plaintext: text where it is not JSON, `{base64}` where it is not even text;
    `envelope` stands in its place where it could not be opened."""

    status: MessageStatus
    direction: Literal["IN", "OUT"]
    type: Annotated[str, Words(examples=["https://didcomm.org/basicmessage/1.0/message"])]
    messageId: Annotated[str | None, "its `@id` or `id`"]
    actionUuid: Uuid | None
    contactUuid: Uuid | None
    connectionUuid: Uuid | None
    authenticated: Annotated[bool, "whether the sender proved itself"]
    assetDataUuids: list[Uuid]
    sequence: Annotated[str, "sorts, as text, in order of receipt"]
    error: str | None
    message: NotRequired[Any]
    envelope: NotRequired[Any]


class AssetDataView(Entity):
    """What was attached to a message. `value`: JSON, else `{base64}` or `{links}`."""

    status: Literal["ACTIVE"]
    messageUuid: Uuid
    actionUuid: Uuid
    name: Annotated[str, Words(examples=["ack~attach"])]
    format: str | None
    mimeType: str | None
    value: Any


async def list_(call: Call) -> Response:
    """Filters: `action`, `contact`, `connection`, `type` (how it begins, in either spelling), `direction`, `status`,
    `since` (a time, or a `sequence`; what it answers overlaps by a few seconds, so that nothing is missed)."""
    where = filters(
        call,
        {
            "action": "actionUuid",
            "actionUuid": "actionUuid",
            "contact": "contactUuid",
            "connection": "connectionUuid",
            "direction": "direction",
            "status": "status",
        },
    )
    if where.parameters.get("direction", "IN") not in ("IN", "OUT"):
        raise Problem(400, "direction-invalid", "direction has to be IN or OUT.")
    prefix = call.request.query.get("type", "")
    if prefix and prefix != "DIDCOMM":
        where = where & queries.messages_of_types(prefixes(prefix))
    start = since(call.request.query.get("since", ""))

    async def view(message: Message) -> dict[str, Any]:
        return await message_view(call.tenant.records, message)

    return await listing(call, Message, view, where=where, start=start)


async def read(call: Call) -> Response:
    records = call.tenant.records
    return answer(await message_view(records, await found(records, Message, call.arguments["uuid"])))


async def delete(call: Call) -> Response:
    """Erases the message, see `erase`."""
    records = call.tenant.records
    await erase(records, await found(records, Message, call.arguments["uuid"]))
    return Response(204, content_type="")


async def read_asset_data(call: Call) -> Response:
    """The value of an attachment: `data` as JSON, or as base64 where it is none."""
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
    """A message as the contract has it; `message` is the plaintext, `envelope` what could not be opened."""
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
        else None,  # it was let into none
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
    """A plaintext in an answer: spliced in where it is JSON, else its text, else base64."""
    if Plaintext.read(body).is_json:
        return orjson.Fragment(body)
    try:
        return body.decode() or None
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


_UNKNOWN = "404 message-unknown"
_FILTERS = {
    "action": "uuid of the action",
    "actionUuid": "the same",
    "contact": "uuid of the contact",
    "connection": "uuid of the connection",
    "direction": "IN or OUT",
    "status": "such as RECEIVED",
    "type": "how it begins, in either spelling",
    "since": "a time, or a `sequence`",
}
ROUTES = [
    Route(
        "GET",
        "message",
        list_,
        summary="Messages",
        answers={200: Page[MessageView]},
        query=_FILTERS,
        errors=("400 since-invalid", "400 direction-invalid"),
    ),
    Route("GET", "message/{uuid}", read, summary="A message", answers={200: MessageView}, errors=(_UNKNOWN,)),
    Route("DELETE", "message/{uuid}", delete, summary="Erase a message", answers={204: None}, errors=(_UNKNOWN,)),
    Route(
        "GET",
        "asset",
        list_,
        summary="Messages, under the name that older clients know",
        answers={200: Page[MessageView]},
        query={**_FILTERS, "type": "`DIDCOMM`, or how it begins"},
        errors=("400 since-invalid", "400 direction-invalid"),
    ),
    Route(
        "GET",
        "asset-data/{uuid}",
        read_asset_data,
        summary="What was attached to a message",
        answers={200: AssetDataView},
        errors=("404 asset-data-unknown",),
    ),
]
