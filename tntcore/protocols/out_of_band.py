"""Out of band (Aries RFC 0434, 1.1, read as of 2024-02): the messages that go over an existing connection.

If the invitation's DID is already connected, the invited side sends them instead of a second handshake.
"""

from __future__ import annotations

from typing import Any, Final

from tntcore.messaging.message import Message
from tntcore.messaging.types import DIDCOMM_ORG, canonical, parse

PREFIX: Final = "https://didcomm.org/out-of-band/1.1"


def is_reuse(message: Message) -> bool:
    """Whether this is a `handshake-reuse` of any 1.x."""
    return _is(message, "handshake-reuse")


def is_reuse_accepted(message: Message) -> bool:
    """Whether this is a `handshake-reuse-accepted` of any 1.x."""
    return _is(message, "handshake-reuse-accepted")


def _is(message: Message, name: str) -> bool:
    parsed = parse(canonical(message.type))
    return (
        parsed is not None
        and message.version == "v1"
        and (parsed.prefix, parsed.protocol, parsed.major, parsed.name) == (DIDCOMM_ORG, "out-of-band", 1, name)
    )


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
