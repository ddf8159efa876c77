"""Values that a document shows and a signature would not cover, or not as they are written.

Suites that sign statements sign no empty list, no second copy of a value and no label of a blank node, and numbers
with 16 digits (RDF conversion: JSON-LD 1.1 API, section 8.6). eddsa-jcs-2022 signs numbers as doubles (RFC 8785,
section 3.2.2.3). The holder could change what is left, under the same signature. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from tntcore.strict_json import Number, write_json

XSD: Final = "http://www.w3.org/2001/XMLSchema#"
_DOUBLE: Final = XSD + "double"
_INTEGERS: Final = (
    *("integer", "negativeInteger", "nonNegativeInteger", "nonPositiveInteger", "positiveInteger"),
    *("byte", "int", "long", "short", "unsignedByte", "unsignedInt", "unsignedLong", "unsignedShort"),
)
_NUMERIC: Final = frozenset(XSD + name for name in (*_INTEGERS, "decimal", "double", "float"))
_EXACT: Final = 10**15  # smaller integers are signed digit by digit, whatever their type
_DOUBLES_BEGIN: Final = 10**21  # whole numbers from here on are signed as doubles
_BLANK: Final = "_:"


class NotSigned(ValueError):
    """A value that the signature would not cover as it is written; the text says how to write it."""


def check_doubles(value: Any) -> None:
    """Checks that each number in a JSON value is the one that JCS writes. Raises `NotSigned`."""
    if isinstance(value, Mapping):
        for item in value.values():
            check_doubles(item)
    elif isinstance(value, list):
        for item in value:
            check_doubles(item)
    elif _is_number(value) and _exactly(value) != Decimal(repr(float(value))):
        raise _too_exact(value)


def is_unusual(value: Any, *, typed: bool) -> bool:
    """Whether a document has values that only `check_expanded` can tell from unsigned ones.

    Args:
        typed: the document's own contexts give values other types than those of JSON.
    """
    if isinstance(value, Mapping):
        return any(is_unusual(item, typed=typed) for name, item in value.items() if name != "@context")
    if isinstance(value, list):
        return not value or _has_copies(value) or any(is_unusual(item, typed=typed) for item in value)
    if isinstance(value, str):
        return value.startswith(_BLANK)
    if isinstance(value, bool) or not _is_number(value):
        return typed and isinstance(value, bool)
    return typed or isinstance(value, Number) or abs(value) >= _EXACT or _exactly(value) != _as_double(value)


def check_expanded(document: Any) -> None:
    """Checks that all values in an expanded document are signed as they are written. Raises `NotSigned`."""
    labels: Counter[str] = Counter()
    _walk(document, labels)
    for label, uses in labels.items():
        # A label that is used again says that both are one node, which is signed. Its letters are not.
        if uses == 1:
            raise NotSigned(f"{label[:60]!r} is the label of a blank node, which is not signed: leave it out")


def _walk(value: Any, labels: Counter[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _walk(item, labels)
    elif isinstance(value, dict):
        if "@value" in value:
            _check_literal(value["@value"], value.get("@type"))
            return
        if isinstance(value.get("@id"), str) and value["@id"].startswith(_BLANK):
            labels[value["@id"]] += 1
        for name, item in value.items():
            if name == "@id":
                continue
            if name == "@list":
                _walk(item, labels)
                continue
            if name == "@type":
                labels.update(type_ for type_ in set(item) if type_.startswith(_BLANK))
            if item == []:
                raise NotSigned(f"{name[:120]!r} is an empty list, which is not signed: leave it out")
            if isinstance(item, list) and _has_copies(item):
                raise NotSigned(f"{name[:120]!r} has a value twice, and the copy is not signed: leave it out")
            _walk(item, labels)


def _check_literal(value: Any, type_: Any) -> None:
    if type_ == "@json":
        check_doubles(value)
    elif isinstance(value, bool):
        if type_ not in (None, XSD + "boolean"):
            raise NotSigned(
                f"{write_json(value).decode()} is signed as a text of type {type_!r}: write it as one"[:250]
            )
    elif _is_number(value):
        if type_ is not None and type_ not in _NUMERIC:
            raise NotSigned(f"{_literal(value)} is signed as a text of type {type_!r}: write it as one"[:250])
        is_whole = isinstance(value, int) or value.is_integer()
        is_double = type_ == _DOUBLE or not is_whole or abs(value) >= _DOUBLES_BEGIN
        if _exactly(value) != (_as_double(value) if is_double else Decimal(int(value))):
            raise _too_exact(value)


def _has_copies(items: list[Any]) -> bool:
    """Whether a list has a value, or a node with an id, more than once."""
    seen = set()
    for item in items:
        key = item
        if isinstance(item, dict):
            key = item.get("@id", item.get("id"))
            if key is None and "@value" not in item:
                continue
            key = key if key is not None else item
        elif isinstance(item, list):
            continue
        name = write_json(key, sort_keys=True)
        if name in seen:
            return True
        seen.add(name)
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _literal(value: Any) -> str:
    return write_json(value).decode()


def _exactly(value: Any) -> Decimal:
    """Returns the number as it is written."""
    return Decimal(_literal(value))


def _as_double(value: Any) -> Decimal:
    """Returns the number that RDF's canonical double shows."""
    return Decimal(f"{float(value):.15E}")


def _too_exact(value: Any) -> NotSigned:
    return NotSigned(
        f"the number {_literal(value)[:60]} has more digits than are signed: round it, or write it as a text"
    )
