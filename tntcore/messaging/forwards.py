"""Forwards as mediators receive them: RFC 0094 (v1), and Routing Protocol 2.0 of DIDComm Messaging 2.1. Pure."""

from __future__ import annotations

from typing import Any

from tntcore.dids.document import Version
from tntcore.messaging.message import Message, attachments
from tntcore.messaging.types import DIDCOMM_ORG, canonical, parse
from tntcore.strict_json import JsonError, read_json, write_json


def forwarded(plaintext: bytes, version: Version) -> bytes | None:
    """Returns the packed message inside a forward; None if the plaintext is not a forward, or contains none or
    several.
    """
    if b"/forward" not in plaintext:
        return None
    message = Message.read(plaintext, version)
    type_ = parse(canonical(message.type))
    if type_ is None or (type_.prefix, type_.protocol, type_.name) != (DIDCOMM_ORG, "routing", "forward"):
        return None
    carried: Any = message.fields.get("msg")
    if message.version == "v2":
        found = attachments(message)
        try:
            carried = found[0].json_value() if len(found) == 1 else None
        except ValueError:
            return None
    elif isinstance(carried, str):
        try:
            carried = read_json(carried.encode())
        except (JsonError, UnicodeEncodeError):
            return None
    return write_json(carried) if isinstance(carried, dict) else None
