"""DID Rotate (Aries RFC 0794, 1.0, read as of 2025-01): its messages. `rotation.py` runs it.

The rotating party goes on receiving under its old DID at least until the `ack`, which is sent to that old DID.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from tntcore.messaging.message import Message
from tntcore.messaging.types import canonical

PREFIX: Final = "https://didcomm.org/did-rotate/1.0"

UNRESOLVABLE: Final = "e.did.unresolvable"
METHOD_UNSUPPORTED: Final = "e.did.method_unsupported"
DOC_UNSUPPORTED: Final = "e.did.doc_unsupported"

Kind = Literal["rotate", "ack", "problem-report", "hangup"]
_KINDS: Final[dict[str, Kind]] = {
    f"{PREFIX}/rotate": "rotate",
    f"{PREFIX}/ack": "ack",
    f"{PREFIX}/problem-report": "problem-report",
    f"{PREFIX}/hangup": "hangup",
}


def kind_of(message: Message) -> Kind | None:
    """Which message of the protocol this is, or None."""
    return _KINDS.get(canonical(message.type)) if message.version == "v1" else None


def rotate(*, message_id: str, to_did: str) -> dict[str, Any]:
    return {"@type": f"{PREFIX}/rotate", "@id": message_id, "~thread": {"thid": message_id}, "to_did": to_did}


def ack(*, message_id: str, thid: str) -> dict[str, Any]:
    return {"@type": f"{PREFIX}/ack", "@id": message_id, "~thread": {"thid": thid}, "status": "OK"}


def hangup(*, message_id: str) -> dict[str, Any]:
    return {"@type": f"{PREFIX}/hangup", "@id": message_id, "~thread": {"thid": message_id}}


def problem_report(*, message_id: str, thid: str, code: str, did: str) -> dict[str, Any]:
    return {
        "@type": f"{PREFIX}/problem-report",
        "@id": message_id,
        "~thread": {"thid": thid, "pthid": thid},
        "description": {"code": code, "en": "The DID cannot be used."},
        "problem_items": [{"did": did}],
    }
