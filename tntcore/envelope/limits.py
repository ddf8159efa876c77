"""How much of a stranger's JSON is read, and the one strict way to read it. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

from tntcore.errors import EnvelopeError

MAX_RECIPIENTS: Final = 32
"""Recipients of one envelope. Each costs a lookup; an honest sender has one per key of one DID."""

MAX_DEPTH: Final = 32
"""Nested objects and arrays in a message. What reads it later may recurse; orjson alone allows 1,024. Headers, of which
nothing is handed on but strings that were checked, may be as deep as orjson lets them."""

MAX_PLAINTEXT: Final = 4 * 1024 * 1024
"""Bytes of a message, unpacked."""

MAX_WIRE: Final = 9_961_472
"""Bytes of a packed message, 9.5 MiB: the largest plaintext, in base64 three times (encryption and two forwards)."""


def parse_json(raw: bytes) -> Any:
    """JSON text as Python values: no deeper than `MAX_DEPTH`, UTF-8, no NaN.

    Raises:
        EnvelopeError: `not-json`, `too-deep`.
    """
    value = load_json(raw)
    check_depth(raw, value)
    return value


def load_json(raw: bytes) -> Any:
    """As `parse_json`, but up to 1,024 deep: for what is only looked into, not handed on."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        # Raised `from None`: the original carries the whole text, which may be a plaintext.
        if "depth" in error.msg:
            raise _too_deep() from None
        raise EnvelopeError("not-json", "not JSON in UTF-8") from None


def check_depth(raw: bytes, value: Any) -> None:
    """Raises `EnvelopeError` `too-deep` if `value`, which is `raw` parsed, is deeper than `MAX_DEPTH`."""
    # Counting is far cheaper than walking, and settles the matter for nearly every message.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_deep(value):
        raise _too_deep()


def load_object(raw: bytes) -> dict[str, Any]:
    """As `load_json`, for a text that must be an object.

    Raises:
        EnvelopeError: `not-json`, `too-deep`, `malformed` if it is another JSON value.
    """
    value = load_json(raw)
    if type(value) is not dict:
        raise EnvelopeError("malformed", "not a JSON object")
    return value


def check_plaintext_size(plaintext: bytes) -> None:
    """Raises `EnvelopeError` `too-large` over `MAX_PLAINTEXT`."""
    if len(plaintext) > MAX_PLAINTEXT:
        raise EnvelopeError("too-large", f"a message has at most {MAX_PLAINTEXT} bytes, not {len(plaintext)}")


def check_wire_size(packed: bytes) -> None:
    """Raises `EnvelopeError` `too-large` over `MAX_WIRE`."""
    if len(packed) > MAX_WIRE:
        raise EnvelopeError("too-large", f"a packed message has at most {MAX_WIRE} bytes, not {len(packed)}")


def _too_deep() -> EnvelopeError:
    return EnvelopeError("too-deep", f"JSON is nested deeper than {MAX_DEPTH}")


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True
