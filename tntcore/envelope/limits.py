"""Limits on JSON from strangers, and the one strict parser for it. Pure."""

from __future__ import annotations

from typing import Any, Final

from tntcore.errors import EnvelopeError
from tntcore.strict_json import (
    MAX_DEPTH,
    PARSER_DEPTH,
    JsonError,
    JsonTooDeepError,
    JsonTooManyError,
    is_deep,
    read_json,
)

MAX_RECIPIENTS: Final = 32
"""Recipients of one envelope. Each costs a lookup; an honest sender has one per key of one DID."""

MAX_PLAINTEXT: Final = 4 * 1024 * 1024
"""Bytes of a message, unpacked."""

MAX_WIRE: Final = 9_961_472
"""Bytes of a packed message, 9.5 MiB: the largest plaintext, in base64 three times (encryption and two forwards)."""


def parse_json(raw: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Parses JSON text: at most `max_depth` deep, bounded in its number of values, UTF-8, no NaN.

    Raises:
        EnvelopeError: `not-json`, `too-deep`, `too-many-values`.
    """
    try:
        return read_json(raw, max_depth, exact=False)
    except JsonTooDeepError as error:
        raise EnvelopeError("too-deep", f"JSON is {error}") from None
    except JsonTooManyError as error:
        raise EnvelopeError("too-many-values", f"JSON has {error}") from None
    except JsonError:
        raise EnvelopeError("not-json", "not JSON in UTF-8") from None


def load_json(raw: bytes) -> Any:
    """Parses JSON to any depth that the parser allows: only for headers, of which just checked strings are used."""
    return parse_json(raw, PARSER_DEPTH)


def check_depth(raw: bytes) -> None:
    """Raises `EnvelopeError` `too-deep` or `too-many-values` if `raw`, which is JSON, exceeds the limits."""
    try:
        deep = is_deep(raw)
    except JsonTooManyError as error:
        raise EnvelopeError("too-many-values", f"JSON has {error}") from None
    if deep:
        raise EnvelopeError("too-deep", f"JSON is nested deeper than {MAX_DEPTH}")


def load_object(raw: bytes) -> dict[str, Any]:
    """Parses like `load_json` a text that must be an object.

    Raises:
        EnvelopeError: those of `load_json`; `malformed` if it is another JSON value.
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
