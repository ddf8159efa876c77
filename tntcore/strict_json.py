"""Reads JSON from outside: strictly (RFC 8259, UTF-8 only), with bounds that are checked before parsing.

The cost of parsing depends on the number of values, not on bytes: four megabytes of empty lists take seconds to build
and to walk, four megabytes of text some milliseconds. So containers and strings are counted first.

Numbers stay as they were written: `12.50`, `1E+2` and integers beyond 64 bits are read as `Number`, which `write_json`
writes back. JSON with values of others is therefore read and written here, not by orjson.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import accumulate
from typing import Any

import orjson

MAX_DEPTH = 100
"""Nested objects and arrays in a value that is handed on: later readers may recurse, and orjson writes at most 254."""

PARSER_DEPTH = 1024
"""The input that orjson reads."""

MAX_CONTAINERS = 50_000
"""Objects and arrays in one text. A linked-data document of 4 MiB has a tenth of that."""

MAX_STRINGS = 250_000
"""Strings in one text, names of members included."""

MAX_VALUES = 200_000
"""Values in one text of which each costs more than usual: it has numbers that must stay as they are written."""

SHOWN_DEPTH = 58
"""Nested objects and arrays in answers and webhook calls. .NET reads 64 levels by default."""

TOO_DEEP = "tooDeep"
"""The only member of the object that replaces a value which is nested deeper: the JSON text of that value."""

_NO_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_NO_MEMBERS = bytes(set(range(256)) - set(b'":'))
_NO_NUMBERS = bytes(set(range(256)) - set(b'"0123456789.eE+-:,['))
# Numbers that may be written in another way than they were read: of 17 digits, with an exponent, or with zeros at the
# end or many at the beginning.
_MAY_CHANGE = re.compile(rb"[0-9.]{17}|[0-9][eE]|\.[0-9]+0(?![0-9eE])|(?<![0-9])0\.0000|-0(?!\.)")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_STEPS = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}


class JsonError(ValueError):
    """The bytes are not JSON (RFC 8259) in UTF-8. The text names the position, never the content."""


class JsonTooDeepError(JsonError):
    """Arrays and objects are nested deeper than the limit."""


class JsonTooManyError(JsonError):
    """There are more arrays and objects, or more strings, than any honest text of this size has."""


class Number(float):
    """A number whose text is not what its value would be written as.

    Attributes:
        literal: the text.
    """

    __slots__ = ("literal",)
    literal: str

    def __new__(cls, literal: str) -> Number:
        number = super().__new__(cls, literal)
        number.literal = literal
        return number

    def __reduce__(self) -> tuple[type[Number], tuple[str]]:
        return Number, (self.literal,)


def read_json(data: bytes, max_depth: int = MAX_DEPTH, *, exact: bool = True, unique: bool = False) -> Any:
    """Parses `data`; arrays and objects may be nested `max_depth` deep. `NaN`, lone surrogates, a byte order mark and
    anything after the value are refused.

    Args:
        exact: numbers stay as they are written. Otherwise they become what orjson makes of them.
        unique: a repeated member is refused. Otherwise the last one counts.

    Raises:
        JsonTooDeepError: nested deeper than `max_depth`.
        JsonTooManyError: more than `MAX_CONTAINERS`, `MAX_STRINGS` or `MAX_VALUES`.
        JsonError: not JSON, or not UTF-8.
    """
    # A text that is short cannot have too many parts, and the parser knows its own depth.
    bounded = len(data) <= MAX_CONTAINERS and max_depth >= PARSER_DEPTH
    deep = not bounded and _depth(data, max_depth) > max_depth
    try:
        # Text that is not JSON gets that error, however deep it is. Its parts were counted above, so this is cheap.
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "depth" in error.msg:
            raise JsonTooDeepError(f"nested deeper than {max_depth}") from None
        raise JsonError(f"not JSON: {error.msg} at {error.pos}") from None
    if deep:
        raise JsonTooDeepError(f"nested deeper than {max_depth}")
    change = exact and _numbers_may_change(data)
    if unique or change:
        _check_values(data)
    if change or (unique and _members(data) > _members(orjson.dumps(value))):
        return json.loads(
            data, parse_int=_integer, parse_float=_decimal, object_pairs_hook=_once_each if unique else None
        )
    return value


def reread_json(text: bytes | str) -> Any:
    """Parses what `write_json` or a library wrote, numbers as they were written."""
    data = text.encode() if isinstance(text, str) else text
    value = orjson.loads(data)
    if _numbers_may_change(data):
        return json.loads(data, parse_int=_integer, parse_float=_decimal)
    return value


def write_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """Writes a value, each `Number` as it was read. Raises `TypeError` for a type that JSON does not have."""
    return orjson.dumps(value, _literal, orjson.OPT_SORT_KEYS if sort_keys else None)


def read_leniently(data: bytes) -> Any:
    """Parses text that `read_json` refuses and other programs write nevertheless: halves of surrogate pairs (read as
    U+FFFD), control characters in strings, a byte order mark, UTF-16, Latin-1, NaN (read as null). Values
    nested deeper than `SHOWN_DEPTH` are read as `no_deeper` returns them.

    Raises:
        JsonTooManyError: as `read_json`.
        JsonError: not JSON in any of these ways.
    """
    text = _decoded(data)
    shallow = encoded = text.encode(errors="surrogatepass")
    # It counts the containers first, which costs a hundredth of `no_deeper`.
    if _depth(encoded, SHOWN_DEPTH) > SHOWN_DEPTH:
        shallow = no_deeper(encoded)
        if _depth(shallow, SHOWN_DEPTH) > SHOWN_DEPTH:
            raise JsonTooDeepError(f"nested deeper than {SHOWN_DEPTH}")
    _check_values(shallow)
    try:
        value = json.loads(
            shallow.decode(errors="surrogatepass"),
            strict=False,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=lambda _: None,
        )
    except (ValueError, RecursionError):
        raise JsonError("not JSON") from None
    return _without_surrogates(value)


def no_deeper(data: bytes, limit: int = SHOWN_DEPTH) -> bytes:
    """Returns the JSON text `data` nested at most `limit` deep: each object and array in it that would stand deeper, or
    stands at the limit and has others in it, is replaced by `{"tooDeep": its text}`."""
    if data.count(b"[") + data.count(b"{") <= limit or _nesting(_brackets(data)) <= limit:
        return data
    parts: list[bytes] = []
    depth = done = start = 0
    for token in _TOKEN.finditer(data):
        step = _STEPS.get(data[token.start()], 0)
        if step > 0 and depth == limit - 1:
            start = token.start()
        depth += step
        if step < 0 and depth == limit - 1:
            inner = data[start : token.end()]
            if _nesting(_brackets(inner)) > 1:
                text = inner.decode(errors="surrogatepass")
                parts += [data[done:start], orjson.dumps({TOO_DEEP: _SURROGATE.sub("\ufffd", text)})]
                done = token.end()
    return b"".join([*parts, data[done:]])


def is_deep(data: bytes, limit: int = MAX_DEPTH) -> bool:
    """Whether arrays and objects are nested deeper than `limit` in `data`, which is JSON. Raises `JsonTooManyError`."""
    return _depth(data, limit) > limit


def _depth(data: bytes, enough: int) -> int:
    """Returns the nesting depth of arrays and objects in `data`; an upper bound if that is at most `enough`.

    Exact for JSON, and for the part of any other text that a parser reads before it gives up.

    Raises:
        JsonTooManyError
    """
    # The number of opening brackets bounds the depth. These counts decide about nearly every message.
    opening = data.count(b"[") + data.count(b"{")
    if opening <= enough and (len(data) <= 2 * MAX_STRINGS or data.count(b'"') <= 2 * MAX_STRINGS):
        return opening
    if _unescaped(data).count(b'"') > 2 * MAX_STRINGS:
        raise JsonTooManyError(f"more than {MAX_STRINGS} strings")
    brackets = _brackets(data)
    opening = brackets.count(b"[") + brackets.count(b"{")
    if opening > MAX_CONTAINERS:
        raise JsonTooManyError(f"more than {MAX_CONTAINERS} objects and arrays")
    return opening if opening <= enough else _nesting(brackets)


def _brackets(data: bytes) -> bytes:
    """The brackets outside of strings, in their order."""
    return _unquoted(data, _NO_STRUCTURE)


def _nesting(brackets: bytes) -> int:
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _unescaped(data: bytes) -> bytes:
    """The text without escaped quotes, so that each quote begins or ends a string."""
    return data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data


def _members(data: bytes) -> int:
    """The number of members in JSON text, each as often as it is given."""
    return _unquoted(data, _NO_MEMBERS).count(b":")


def _check_values(data: bytes) -> None:
    """Raises `JsonTooManyError` if `data` has more than `MAX_VALUES`."""
    if data.count(b",") > MAX_VALUES and _unquoted(data, _NO_NUMBERS).count(b",") > MAX_VALUES:
        raise JsonTooManyError(f"more than {MAX_VALUES} values")


def _numbers_may_change(data: bytes) -> bool:
    """Whether `data`, which is JSON, has numbers that orjson may not write as they are."""
    return _MAY_CHANGE.search(_unquoted(data, _NO_NUMBERS)) is not None


def _unquoted(data: bytes, dropped: bytes) -> bytes:
    """Returns what is outside of strings, but for the characters `dropped`; nothing of a string that does not end."""
    # Every second part is a string. A regular expression takes twice as long.
    return b"".join(_unescaped(data).translate(None, dropped).split(b'"')[::2])


def _integer(literal: str) -> int | Number:
    if len(literal) < 19 and literal != "-0":
        return int(literal)
    if len(literal) > 20 or literal == "-0":
        return Number(literal)
    value = int(literal)
    return value if -(2**63) <= value < 2**64 else Number(literal)


def _decimal(literal: str) -> float:
    value = float(literal)
    return value if orjson.dumps(value) == literal.encode() else Number(literal)


def _once_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        counts = Counter(name for name, _ in members)
        twice = next(name for name, count in counts.items() if count > 1)
        raise JsonError(f"the member {twice[:100]!r} is given more than once")
    return value


def _literal(value: Any) -> orjson.Fragment:
    if isinstance(value, Number):
        return orjson.Fragment(value.literal)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _decoded(data: bytes) -> str:
    encoding = json.detect_encoding(data)
    for candidate, errors in ((encoding, "strict"), ("utf-8", "surrogatepass")):
        try:
            return data.decode(candidate, errors)
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value
