"""Decrypted messages: type, id and thread in both wire versions, decorators, attachments.

Nothing here refuses a message. A payload that is not understood is a message too: it is stored and relayed.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from tntcore.dids.document import Version
from tntcore.messaging.types import canonical, parse
from tntcore.strict_json import JsonError, read_json, read_leniently, write_json

# Longer than any identifier in use, and short enough to be stored and matched without a further thought.
MAX_IDENTIFIER = 1024
MAX_KEYS = 256
MAX_ATTACHMENTS = 100

_V2_HEADERS = frozenset({"id", "type", "typ", "from", "to", "thid", "pthid", "created_time", "expires_time", "body"})
# Headers about the way of a message. They may change from one sending to the next.
_V2_OF_THE_WAY = frozenset({"from", "to", "pthid", "created_time", "from_prior"})
_NOTHING: Mapping[str, Any] = {}
# The member of v1 for what v2 has in `attachments` (RFC 0434, RFC 0453, RFC 0454).
_V1_ATTACHMENTS: Mapping[tuple[str, str], str] = {
    ("out-of-band", "invitation"): "requests~attach",
    ("issue-credential", "propose-credential"): "filters~attach",
    ("issue-credential", "offer-credential"): "offers~attach",
    ("issue-credential", "request-credential"): "requests~attach",
    ("issue-credential", "issue-credential"): "credentials~attach",
    ("present-proof", "propose-presentation"): "proposals~attach",
    ("present-proof", "request-presentation"): "request_presentations~attach",
    ("present-proof", "presentation"): "presentations~attach",
}


@dataclass(frozen=True, slots=True)
class Message:
    """A plaintext and its parsed members.

    Attributes:
        raw: the plaintext, exactly as received.
        type: `@type` (v1, RFC 0003) or `type` (v2); "" if there is none. Short types are legal.
        id: `@id` or `id`; "" if there is none.
        thid: `~thread.thid` (RFC 0008) or `thid` (DIDComm v2.1, section "Threads"); the id if there is none.
        pthid: `~thread.pthid` or `pthid`, or None.
        version: by shape: `@type` or `@id` make a message v1, else `type` or `id` make it v2. "v1" for the rest.
        fields: the whole JSON object; empty if the payload is not an object.
        body: the object with the protocol's own members: `body` (v2; empty if it is no object), or the whole object
            (v1).
        is_json: the payload is JSON (of any kind), nested no deeper than `strict_json.MAX_DEPTH`. If it is not, but can
            be read leniently (`strict_json.read_leniently`), the other attributes come from that.

    An identifier that is not text, is empty, or has more than 1,024 characters, counts as absent.
    """

    raw: bytes = field(repr=False)
    type: str = ""
    id: str = ""
    thid: str = ""
    pthid: str | None = None
    version: Version = "v1"
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    is_json: bool = False

    @staticmethod
    def read(plaintext: bytes, version: Version | None = None) -> Message:
        """Reads a decrypted plaintext. Never raises: a payload that is no JSON object has type "" and id "".

        Args:
            version: of the envelope it came in, if any. In a v2 envelope `@type` is a member like any other.
        """
        try:
            value, is_json = read_json(plaintext), True
        except JsonError:
            try:
                value, is_json = read_leniently(plaintext), False
            except JsonError:
                return Message(plaintext)
        if not isinstance(value, dict):
            return Message(plaintext, is_json=is_json)
        message = Message._of(plaintext, value, version)
        return message if is_json else replace(message, is_json=False)

    @staticmethod
    def _of(raw: bytes, fields: Mapping[str, Any], version: Version | None) -> Message:
        v2_shaped = "@type" not in fields and "@id" not in fields and ("type" in fields or "id" in fields)
        if v2_shaped or version == "v2":
            message_id = _identifier(fields, "id")
            body = fields.get("body")
            return Message(
                raw,
                _identifier(fields, "type"),
                message_id,
                _identifier(fields, "thid") or message_id,
                _identifier(fields, "pthid") or None,
                "v2",
                fields,
                body if isinstance(body, dict) else _NOTHING,
                True,
            )
        message_id = _identifier(fields, "@id")
        thread = fields.get("~thread")
        if not isinstance(thread, dict):
            thread = _NOTHING
        return Message(
            raw,
            _identifier(fields, "@type"),
            message_id,
            _identifier(thread, "thid") or message_id,
            _identifier(thread, "pthid") or None,
            "v1",
            fields,
            fields,
            True,
        )


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_IDENTIFIER else ""


def what_it_says(message: Message) -> bytes:
    """Returns the content that all copies of a message share. It tells a message that is sent again from another one
    with the same id. Left out are the order of members, and members that a sender adds until it is heard: `~service`
    and the parent thread in v1; `from_prior`, the parent thread, the DIDs and the time of sending in v2. Without an id,
    it is the whole message.
    """
    if not message.id or not message.is_json:
        return message.raw
    if message.version == "v2":
        said = {name: value for name, value in message.fields.items() if name not in _V2_OF_THE_WAY}
    else:
        said = {name: value for name, value in message.fields.items() if name != "~service"}
        if isinstance(thread := said.get("~thread"), dict):
            said["~thread"] = {name: value for name, value in thread.items() if name != "pthid"}
    try:
        return write_json(said, sort_keys=True)
    except (orjson.JSONEncodeError, RecursionError):
        return message.raw


def decorator_keys(message: Message) -> tuple[str, ...]:
    """Returns the keys that a webhook's `match` is tried against besides the type, in the message's order, each once.

    v1: top-level members with a decorator in their name (RFC 0011): `~please_ack`, `requests~attach`, `comment~l10n`.
    v2: headers that not every message has (`please_ack`, `attachments`, `lang`), decorators that a message converted
    from v1 keeps in its body (`~timing`), the v1 name for attachments of its type (`requests~attach`), then each
    attachment's `format`. The first 256 of at most 1,024 characters each.
    """
    if message.version == "v1":
        keys: Iterator[str] = (key for key in message.fields if "~" in key)
    else:
        keys = _v2_keys(message)
    return tuple(dict.fromkeys(key for key, _ in zip(_short(keys), range(MAX_KEYS), strict=False)))


def _short(keys: Iterator[str]) -> Iterator[str]:
    return (key for key in keys if len(key) <= MAX_IDENTIFIER)


def _v2_keys(message: Message) -> Iterator[str]:
    yield from (key for key in message.fields if key not in _V2_HEADERS)
    yield from (key for key in message.body if "~" in key)
    attached = message.fields.get("attachments")
    type_ = parse(canonical(message.type)) if attached else None
    if type_ is not None and (type_.protocol, type_.name) in _V1_ATTACHMENTS:
        yield _V1_ATTACHMENTS[type_.protocol, type_.name]
    for item in attached if isinstance(attached, list) else ():
        if isinstance(item, dict) and isinstance(item.get("format"), str):
            yield item["format"]


AttachmentKind = Literal["json", "base64", "links", "none"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment (RFC 0017; DIDComm v2.1, section "Attachments").

    Attributes:
        id: `@id` (v1) or `id` (v2); "" if there is none.
        key: the member it was found under: `requests~attach`, `ack~attach`, `attachments`, ...
        mime_type: `mime-type` (v1) or `media_type` (v2).
        format: its own `format` (v2), or the one that `formats` names for its id (RFC 0453, RFC 0454).
        kind: which of the members of `data` was there.
        data: "json": the value. "base64": the decoded bytes. "links": a tuple of URLs, not fetched. "none": None. A
            `data` object with none of the known members is itself the value ("json"): older clients write it so.
        error: what was wrong with it, for the tenant; None if it could be read.
        raw: the attachment as received (`data.jws`, `data.hash`, `filename`, ...).
    """

    id: str
    key: str
    mime_type: str | None = None
    format: str | None = None
    kind: AttachmentKind = "none"
    data: Any = None
    error: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def json_value(self) -> Any:
        """Returns the attachment as JSON, inline or in base64.

        Raises:
            ValueError: it has neither, or the bytes are not JSON (`strict_json.JsonError`).
        """
        if self.kind == "json":
            return self.data
        if self.kind == "base64" and self.error is None:
            return read_json(self.data)
        raise ValueError(self.error or "the attachment holds no JSON")


def attachments(message: Message) -> list[Attachment]:
    """Returns the attachments: every `X~attach` (a list or a single object) of a v1 message, `attachments` of a v2
    message. The first 100. Never raises: an attachment that cannot be read has `error`; values that are no objects are
    left out.
    """
    formats = _formats(message)
    found: list[Attachment] = []
    for key, value in message.fields.items():
        if not (key.endswith("~attach") if message.version == "v1" else key == "attachments"):
            continue
        for item in value if isinstance(value, list) else [value]:
            if len(found) == MAX_ATTACHMENTS:
                return found
            if isinstance(item, dict):
                found.append(_attachment(key, item, formats))
    return found


def _formats(message: Message) -> Mapping[str, str]:
    entries = message.body.get("formats")
    return {
        entry["attach_id"]: entry["format"]
        for entry in (entries[:MAX_ATTACHMENTS] if isinstance(entries, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("attach_id"), str) and isinstance(entry.get("format"), str)
    }


def _attachment(key: str, item: Mapping[str, Any], formats: Mapping[str, str]) -> Attachment:
    attachment_id = _identifier(item, "@id") or _identifier(item, "id")
    kind, data, error = _data(item.get("data"))
    return Attachment(
        attachment_id,
        key,
        _identifier(item, "mime-type") or _identifier(item, "media_type") or None,
        _identifier(item, "format") or formats.get(attachment_id),
        kind,
        data,
        error,
        item,
    )


def _data(data: Any) -> tuple[AttachmentKind, Any, str | None]:
    if not isinstance(data, dict):
        return "none", None, "data is not an object"
    if "json" in data:
        return "json", data["json"], None
    if "base64" in data:
        try:
            return "base64", decode_base64(data["base64"]), None
        except ValueError as error:
            return "base64", None, f"data.base64: {error}"
    if "links" in data:
        links = data["links"]
        if isinstance(links, list) and all(isinstance(link, str) for link in links):
            return "links", tuple(links), None
        return "links", (), "data.links is not a list of texts"
    if data.keys() & {"jws", "hash", "sha256"}:
        return "none", None, "data has neither json nor base64 nor links"
    return "json", data, None


def decode_base64(text: Any) -> bytes:
    """Decodes base64 in either alphabet (RFC 4648, sections 4 and 5), with or without padding; no other characters.

    Raises:
        ValueError: not base64.
    """
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("not base64")
    bare = text.rstrip("=")
    try:
        return binascii.a2b_base64(bare.replace("-", "+").replace("_", "/") + "=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        raise ValueError("not base64") from None
