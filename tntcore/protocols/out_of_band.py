"""Out of band (Aries RFC 0434, 1.1, read as of 2024-02): the messages that go over an existing connection.

If the invitation's DID is already connected, the invited side sends them instead of a second handshake.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from tntcore.messaging.message import Message
from tntcore.messaging.types import DIDCOMM_ORG, canonical, parse

PREFIX: Final = "https://didcomm.org/out-of-band/1.1"

MessageKind = Literal["reuse", "reuse-accepted"]
_KINDS: Final[dict[str, MessageKind]] = {"handshake-reuse": "reuse", "handshake-reuse-accepted": "reuse-accepted"}


def kind_of(message: Message) -> MessageKind | None:
    """Returns the message of the protocol that this is, in any 1.x, this is, or None."""
    parsed = parse(canonical(message.type))
    if parsed is None or message.version != "v1":
        return None
    if (parsed.prefix, parsed.protocol, parsed.major) != (DIDCOMM_ORG, "out-of-band", 1):
        return None
    return _KINDS.get(parsed.name)


def reuse(*, message_id: str, pthid: str) -> dict[str, Any]:
    return {
        "@type": f"{PREFIX}/handshake-reuse",
        "@id": message_id,
        "~thread": {"thid": message_id, "pthid": pthid},
    }


def reuse_accepted(message: Message, *, message_id: str) -> dict[str, Any]:
    """Makes the answer, in the version, spelling, thread and parent thread of the message."""
    prefix = message.type.rpartition("/")[0]
    return {
        "@type": f"{prefix}/handshake-reuse-accepted",
        "@id": message_id,
        "~thread": {"thid": message.thid, "pthid": message.pthid},
    }
