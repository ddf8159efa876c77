"""Reads JSON from outside: strictly (RFC 8259, UTF-8 only), with bounds that are checked before parsing.

The cost of parsing depends on the number of values, not on bytes: four megabytes of empty lists take seconds to build
and to walk, four megabytes of text some milliseconds. So containers and strings are counted first.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any

import orjson

MAX_DEPTH = 100
"""Nested objects and arrays in what is handed on: what reads it later may recurse, and orjson writes at most 254."""

PARSER_DEPTH = 1024
"""What orjson reads."""

MAX_CONTAINERS = 50_000
"""Objects and arrays in one text. A linked-data document of 4 MiB has a tenth of that."""

MAX_STRINGS = 250_000
"""Strings in one text, names of members included."""

_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_STRING = re.compile(rb'"[^"]*"')
_STEPS = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}


class JsonError(ValueError):
    """The bytes are not JSON (RFC 8259) in UTF-8. The text names the position, never the content."""


class JsonTooDeepError(JsonError):
    """Arrays and objects are nested deeper than the limit."""


class JsonTooManyError(JsonError):
    """There are more arrays and objects, or more strings, than any honest text of this size has."""


def read_json(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Parses `data`; arrays and objects may be nested `max_depth` deep. Refuses `NaN`, lone surrogates, a byte order
    mark and anything after the value; of a repeated member the last one counts.

    Raises:
        JsonTooDeepError: nested deeper than `max_depth`.
        JsonTooManyError: more than `MAX_CONTAINERS` or `MAX_STRINGS`.
        JsonError: not JSON, or not UTF-8.
    """
    deep = _depth(data, max_depth) > max_depth
    try:
        # What is no JSON is said to be that, however deep it is. A text this deep costs little: it was counted.
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise JsonTooDeepError(f"nested deeper than {max_depth}") from None
        raise JsonError(f"not JSON: {error.msg} at {error.pos}") from None
    if deep:
        raise JsonTooDeepError(f"nested deeper than {max_depth}")
    return value


def is_deep(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects are nested deeper than `limit` in `data`, which is JSON. Raises `JsonTooManyError`."""
    return _depth(data, limit) > limit


def _depth(data: bytes, enough: int) -> int:
    """Returns the nesting depth of arrays and objects in `data`; an upper bound if that is at most `enough`.

    Exact for JSON, and for the part of any other text that a parser reads before it gives up.

    Raises:
        JsonTooManyError
    """
    # Nothing is nested deeper than it has opening brackets. Nearly every message is settled by these counts alone.
    opening = data.count(b"[") + data.count(b"{")
    if opening <= enough and data.count(b'"') <= 2 * MAX_STRINGS:
        return opening
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if data.count(b'"') > 2 * MAX_STRINGS:
        raise JsonTooManyError(f"more than {MAX_STRINGS} strings")
    brackets = _STRING.sub(b"", data.translate(None, _NO_STRUCTURE)).partition(b'"')[0]
    opening = brackets.count(b"[") + brackets.count(b"{")
    if opening > MAX_CONTAINERS:
        raise JsonTooManyError(f"more than {MAX_CONTAINERS} objects and arrays")
    if opening <= enough:
        return opening
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)
