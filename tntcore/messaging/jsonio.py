"""Reading JSON that someone else wrote: strict (RFC 8259, UTF-8 only) and with a bounded depth."""

from __future__ import annotations

from typing import Any

import orjson

# Below the 254 levels that orjson can write, with room for what a message is put into when it is passed on.
MAX_DEPTH = 200


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
    # Nothing is nested deeper than it has opening brackets: nearly every message is let through by this count alone.
    if data.count(b"{") + data.count(b"[") > max_depth and _deeper_than(value, max_depth):
        raise JsonTooDeepError(f"nested deeper than {max_depth}")
    return value


def _deeper_than(value: Any, limit: int) -> bool:
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
