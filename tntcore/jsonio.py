"""Reading JSON that someone else wrote: strict (RFC 8259, UTF-8 only) and with a bounded depth."""

from __future__ import annotations

from typing import Any

import orjson

MAX_DEPTH = 100
"""Nested objects and arrays in what is handed on: what reads it later may recurse, and orjson writes at most 254."""

PARSER_DEPTH = 1024
"""What orjson reads."""


class JsonError(ValueError):
    """The bytes are not JSON (RFC 8259) in UTF-8. The text names the position, never the content."""


class JsonTooDeepError(JsonError):
    """Arrays and objects are nested deeper than was asked for."""


def read_json(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Parses `data`; arrays and objects may be nested `max_depth` deep. `NaN`, lone surrogates, a byte order mark and
    anything after the value are refused; of a repeated member the last one counts.

    Raises:
        JsonTooDeepError: nested deeper than `max_depth`.
        JsonError: not JSON, or not UTF-8.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise JsonTooDeepError(f"nested deeper than {max_depth}") from None
        raise JsonError(f"not JSON: {error.msg} at {error.pos}") from None
    if max_depth < PARSER_DEPTH and is_deep(data, value, max_depth):
        raise JsonTooDeepError(f"nested deeper than {max_depth}")
    return value


def is_deep(data: bytes, value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether `value`, which is `data` parsed, has arrays and objects nested deeper than `limit`."""
    # Nothing is nested deeper than it has opening brackets: nearly every message is settled by this count alone.
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return bool(level)
