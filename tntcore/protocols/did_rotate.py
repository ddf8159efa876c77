"""Messages of DID Rotate (Aries RFC 0794, 1.0, read as of 2025-01). `rotation.py` runs it.

The rotating party goes on receiving under its old DID at least until the `ack`, which is sent to that old DID.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from tntcore.messaging.message import Message
from tntcore.messaging.types import canonical, in_prefix_of

PREFIX: Final = "https://didcomm.org/did-rotate/1.0"

UNRESOLVABLE: Final = "e.did.unresolvable"
METHOD_UNSUPPORTED: Final = "e.did.method_unsupported"
DOC_UNSUPPORTED: Final = "e.did.doc_unsupported"

MessageKind = Literal["rotate", "ack", "problem-report", "hangup"]
_KINDS: Final[dict[str, MessageKind]] = {
    f"{PREFIX}/rotate": "rotate",
    f"{PREFIX}/ack": "ack",
    f"{PREFIX}/problem-report": "problem-report",
    f"{PREFIX}/hangup": "hangup",
}


def kind_of(message: Message) -> MessageKind | None:
    """Returns the message of the protocol that this is, or None."""
    return _KINDS.get(canonical(message.type)) if message.version == "v1" else None


def rotate(*, message_id: str, to_did: str, thid: str | None = None) -> dict[str, Any]:
    """Makes a `rotate`. `thid`: of the first announcement of the same DID, if this repeats it."""
    thread = {"thid": thid or message_id}
    return {"@type": f"{PREFIX}/rotate", "@id": message_id, "~thread": thread, "to_did": to_did}


def ack(message: Message, *, message_id: str) -> dict[str, Any]:
    """Makes the `ack` of a `rotate`, in its spelling."""
    type_ = in_prefix_of(f"{PREFIX}/ack", message.type)
    return {"@type": type_, "@id": message_id, "~thread": {"thid": message.thid}, "status": "OK"}


def hangup(*, message_id: str) -> dict[str, Any]:
    return {"@type": f"{PREFIX}/hangup", "@id": message_id, "~thread": {"thid": message_id}}


def problem_report(message: Message, *, message_id: str, code: str, did: str) -> dict[str, Any]:
    """Makes a problem report about a `rotate`, in its spelling."""
    return {
        "@type": in_prefix_of(f"{PREFIX}/problem-report", message.type),
        "@id": message_id,
        "~thread": {"thid": message.thid, "pthid": message.thid},
        "description": {"code": code, "en": "The DID cannot be used."},
        "problem_items": [{"did": did}],
    }
