"""Completes the messages that a tenant writes, and converts v1-shaped ones to v2."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import count
from typing import Any

from tntcore.errors import Problem
from tntcore.messaging import times
from tntcore.messaging.message import MAX_IDENTIFIER, decode_base64
from tntcore.strict_json import reread_json, write_json

PLAINTEXT_TYP = "application/didcomm-plain+json"


def is_v2_shaped(message: Mapping[str, Any]) -> bool:
    """Whether the message has v2 shape, by the rule of `Message.version`: `type` or `id`, and neither `@type` nor
    `@id`.
    """
    return "@type" not in message and "@id" not in message and ("type" in message or "id" in message)


def prefill_v1(message: Mapping[str, Any], *, thid: str, new_id: str, pthid: str = "") -> dict[str, Any]:
    """Returns a tenant's message with missing members added: `@id` and `~thread.thid` (v1 shape), or `id` and `thid`
    (v2 shape). Existing members stay, in their order; the argument is not changed.

    Args:
        thid: the thread of the action. pthid: of its parent, if it has one.
        new_id: a fresh random uuid.

    Raises:
        Problem: 400 `message-invalid`: no type, or an id or a thread of another form.
    """
    filled = dict(message)
    v2 = is_v2_shaped(message)
    type_name, id_name = ("type", "id") if v2 else ("@type", "@id")
    _require_text(filled.get(type_name), type_name)
    if not filled.setdefault(id_name, new_id):
        filled[id_name] = new_id
    _require_text(filled[id_name], id_name)
    if v2:
        if not filled.setdefault("thid", thid):
            filled["thid"] = thid
        _require_text(filled["thid"], "thid")
        return {"pthid": pthid, **filled} if pthid else filled
    thread = filled.get("~thread")
    if thread is None:
        thread = {}
    if not isinstance(thread, dict):
        raise _invalid("~thread must be an object with a thid")
    filled["~thread"] = thread if thread.get("thid") else {**thread, "thid": thid}
    if pthid:
        filled["~thread"] = {"pthid": pthid, **filled["~thread"]}
    _require_text(filled["~thread"]["thid"], "~thread.thid")
    return filled


def _require_text(value: Any, name: str) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_IDENTIFIER:
        raise _invalid(f"{name} must be a string of 1 to {MAX_IDENTIFIER} characters")


def _invalid(detail: str) -> Problem:
    return Problem(400, "message-invalid", detail + ".")


def introduced(plaintext: bytes, *, service: Mapping[str, Any], pthid: str) -> bytes:
    """Returns a v1-shaped message with our address for answers (`~service`, RFC 0056) and the answered invitation as
    parent thread (RFC 0434, "Invitation"). Existing members stay; a v2-shaped message is returned unchanged.
    """
    message = reread_json(plaintext)
    if is_v2_shaped(message):
        return plaintext
    thread = {"pthid": pthid, **(message.get("~thread") or {})}
    return write_json({"~service": service, **message, "~thread": thread})


def to_v2(message: Mapping[str, Any], *, from_did: str, to_did: str, created_time: int) -> dict[str, Any]:
    """A completed message (`prefill`) as a DIDComm v2 plaintext (DIDComm Messaging v2.1, section "Message Structure").

    `@id` -> `id`, `@type` -> `type`, `~thread` -> `thid`, `pthid`, `sender_order`, `received_orders`; `X~attach` ->
    `attachments` (ids kept, `mime-type` -> `media_type`, the bytes in base64url); everything else -> `body`, so that
    nothing is lost. An `X~attach` that holds no attachments stays in the body. A v2-shaped message stays as it is, with
    `typ`, `body` and `created_time` where it has none. Attachments without an id get one.

    `from` and `to` are the connection's in either case: the envelope says the same, and receivers compare them.

    Args:
        created_time: seconds since 1970.
    """
    header = {"typ": PLAINTEXT_TYP, "from": from_did, "to": [to_did]}
    if is_v2_shaped(message):
        converted = {"body": {}, "created_time": created_time, **message, **header}
        if isinstance(given := message.get("attachments"), list):
            converted["attachments"] = _named(given)
        return converted
    thread = dict(message.get("~thread") or {})
    result: dict[str, Any] = {"id": message["@id"], "type": message["@type"], **header, "created_time": created_time}
    result |= {name: thread.pop(name) for name in ("thid", "pthid", "sender_order") if name in thread}
    orders = thread.pop("received_orders", None)
    if isinstance(orders, dict):
        result["received_orders"] = [{"id": did, "last": last, "gaps": []} for did, last in orders.items()]
    formats = _formats(message.get("formats"))
    body: dict[str, Any] = {"~thread": thread} if thread else {}
    attached: list[dict[str, Any]] = []
    for key, value in message.items():
        if key in ("@id", "@type", "~thread"):
            continue
        items = value if isinstance(value, list) else [value]
        if key.endswith("~attach") and all(isinstance(i, dict) and isinstance(i.get("data"), dict) for i in items):
            attached += [_attachment(item, formats) for item in items]
        else:
            body[key] = value
    result["body"] = body
    if attached:
        result["attachments"] = _named(attached)
    return result


def _named(items: list[Any]) -> list[Any]:
    """Returns attachments that all have an id, the same at each attempt: ids are optional, but some agents require
    them.
    """
    taken = {item.get("id") for item in items if isinstance(item, dict) and isinstance(item.get("id"), str)}
    free = (name for number in count(1) if (name := f"attachment-{number}") not in taken)
    return [{**item, "id": next(free)} if isinstance(item, dict) and not item.get("id") else item for item in items]


def _formats(entries: Any) -> dict[str, str]:
    return {
        entry["attach_id"]: entry["format"]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("attach_id"), str) and isinstance(entry.get("format"), str)
    }


_RENAMED = {"@id": "id", "mime-type": "media_type"}


def _attachment(item: Mapping[str, Any], formats: Mapping[str, str]) -> dict[str, Any]:
    attachment = {_RENAMED.get(name, name): value for name, value in item.items()}
    attachment["data"] = _data(attachment["data"])
    own_id = attachment.get("id")
    if "format" not in attachment and isinstance(own_id, str) and own_id in formats:
        attachment["format"] = formats[own_id]
    if isinstance(attachment.get("lastmod_time"), str):
        attachment["lastmod_time"] = _seconds(attachment["lastmod_time"])
    return attachment


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    if not data.keys() & {"json", "base64", "links", "jws", "hash", "sha256"}:
        return {"json": data}
    converted = dict(data)
    if "base64" in converted:
        try:
            decoded = decode_base64(converted["base64"])
        except ValueError:
            return converted
        converted["base64"] = base64.urlsafe_b64encode(decoded).rstrip(b"=").decode()
    digest = converted.get("sha256")
    if isinstance(digest, str) and "hash" not in converted:
        # v2 has multihashes: base16 of (sha2-256, 32 bytes, the digest).
        converted["hash"] = "f1220" + digest.lower()
        del converted["sha256"]
    return converted


def _seconds(text: str) -> int | str:
    try:
        return times.read(text) // 1000
    except ValueError:
        return text
