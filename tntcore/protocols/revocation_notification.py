"""Revocation notification (Aries RFC 0183, 1.0; RFC 0721, 2.0; read as of 2023-01): an issuer tells the holder.

RFC 0183 names the credential by the thread on which it was issued; agents of Indy write `indy::<registry>::<number>`
there. RFC 0721 has that without `indy::` in `credential_id`, with its format beside it. A credential without a registry
is named by its thread in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tntcore.dids.document import Version
from tntcore.messaging.message import Message
from tntcore.messaging.types import canonical

PROTOCOLS: Final = {
    "https://didcomm.org/revocation_notification/1.0": ("issuer", "holder"),
    "https://didcomm.org/revocation_notification/2.0": ("issuer", "holder"),
}
MAX_COMMENT: Final = 1_000
_TYPE: Final = re.compile(r"https://didcomm\.org/revocation_notification/([12])\.\d{1,3}/revoke")
_NUMBER: Final = re.compile(r"(.{1,1000})::([0-9]{1,10})", re.ASCII)
_INDY: Final = "indy::"

Dialect = Literal["1.0", "2.0"]


@dataclass(frozen=True, slots=True)
class RevocationNotice:
    """An issuer's notice of a revoked credential.

    Attributes:
        threads: the credential was issued on one of these.
        registry, number: of an AnonCreds credential; "" and 0 if it is not named so.
        wants_ack: an acknowledgement is asked for.
    """

    threads: tuple[str, ...]
    registry: str
    number: int
    comment: str
    wants_ack: bool


def read(message: Message) -> RevocationNotice | None:
    """Reads a notification; None if the message is none."""
    match = _TYPE.fullmatch(canonical(message.type))
    if match is None:
        return None
    named = message.body.get("thread_id" if match[1] == "1" else "credential_id")
    name = named if isinstance(named, str) else ""
    number = _NUMBER.fullmatch(name.removeprefix(_INDY))
    comment = message.body.get("comment")
    threads = (message.thid, message.pthid or "") if number else (name, message.thid, message.pthid or "")
    return RevocationNotice(
        tuple(dict.fromkeys(filter(None, threads))),
        number[1] if number else "",
        int(number[2]) if number else 0,
        comment[:MAX_COMMENT] if isinstance(comment, str) else "",
        any(name in message.body for name in ("~please_ack", "~please-ack")) or bool(message.fields.get("please_ack")),
    )


def build(
    dialect: Dialect,
    *,
    message_id: str,
    thid: str,
    registry: str,
    number: int,
    comment: str,
    version: Version,
) -> dict[str, Any]:
    """Makes the notification about a credential that was issued on the thread `thid`.

    Args:
        registry, number: of an AnonCreds credential; "" and 0 for others, for which 2.0 has no format.
        version: of the connection.
    """
    members: dict[str, Any]
    if dialect == "1.0" or not registry:
        dialect = "1.0"
        members = {"thread_id": f"{_INDY}{registry}::{number}" if registry else thid}
    else:
        legacy = not registry.startswith("did:") or registry.startswith("did:indy:")
        format_ = "indy-anoncreds" if legacy else "anoncreds"
        members = {"revocation_format": format_, "credential_id": f"{registry}::{number}"}
    members |= {"comment": comment} if comment else {}
    return _message(f"https://didcomm.org/revocation_notification/{dialect}/revoke", message_id, thid, members, version)


def ack(message: Message, message_id: str) -> dict[str, Any]:
    """Makes the answer to a notification that asks for one (RFC 0015)."""
    version: Version = "v2" if message.version == "v2" else "v1"
    type_ = "https://didcomm.org/notification/1.0/ack"
    return _message(type_, message_id, message.thid or message.id, {"status": "OK"}, version)


def _message(type_: str, message_id: str, thid: str, members: Mapping[str, Any], version: Version) -> dict[str, Any]:
    if version == "v2":
        return {"id": message_id, "type": type_, "thid": thid, "body": dict(members)}
    return {"@type": type_, "@id": message_id, "~thread": {"thid": thid}, **members}
