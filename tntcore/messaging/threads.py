"""The uuid of an action, computed from its thread: no lookup is needed to find where a message belongs.

An action that the other side begins has a uuid derived from (connection, thread id). An action that this side begins
makes its uuid first and uses it as the default thread id; it carries a check of its connection, so that a reply's
thread id leads back to it, while the same id on any other connection leads elsewhere. Both are UUID version 8 (RFC
9562, section 5.8).

The check needs no secret. It keeps one contact from writing into another's thread, because the scope is part of it.
"""

from __future__ import annotations

import hashlib
import re
import uuid

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_CHECK_BITS = 48


def new_action_uuid(scope: str, random: bytes) -> str:
    """Makes a uuid for an action begun here, in canonical lower case; its last 48 bits are the check.

    Args:
        scope: uuid of the connection.
        random: 10 bytes or more; 74 bits of them are used.
    """
    if len(random) < 10:
        raise ValueError("10 random bytes are needed")
    other_bits = _version8(int.from_bytes(random[:10], "big") << _CHECK_BITS) >> _CHECK_BITS
    return str(uuid.UUID(int=other_bits << _CHECK_BITS | _check(scope, other_bits)))


def action_uuid(scope: str, thid: str) -> str:
    """Returns the uuid of the action to which the thread `thid` belongs on the connection `scope`: `thid` itself if
    `new_action_uuid` made it for this scope, else one derived from both. Always the same for the same arguments.
    """
    if _CANONICAL.fullmatch(thid):
        value = uuid.UUID(thid).int
        if value & ((1 << _CHECK_BITS) - 1) == _check(scope, value >> _CHECK_BITS):
            return thid
    digest = _digest(b"tnt/action/thread", scope, thid.encode("utf-8", "surrogatepass"))
    return str(uuid.UUID(int=_version8(int.from_bytes(digest[:16], "big"))))


def _check(scope: str, other_bits: int) -> int:
    return int.from_bytes(_digest(b"tnt/action/check", scope, other_bits.to_bytes(10, "big"))[:6], "big")


def _digest(domain: bytes, scope: str, value: bytes) -> bytes:
    # Lengths in front, so that no two different triples are hashed as the same bytes.
    encoded = scope.encode("utf-8", "surrogatepass")
    head = len(domain).to_bytes(4, "big") + domain + len(encoded).to_bytes(4, "big") + encoded
    return hashlib.sha256(head + value).digest()


def _version8(value: int) -> int:
    value &= (1 << 128) - 1 & ~(0xF << 76) & ~(0b11 << 62)
    return value | 0x8 << 76 | 0b10 << 62
