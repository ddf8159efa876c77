"""Reads what callers give, bodies and queries, by the same types of which `json_schema` makes the API's description.

Nothing that a caller typed is passed over: a name that a type does not have is an error that says the nearest one it
has. `null` is the same as leaving a member out, unless the type says `ERASED_BY_NULL`. A `Literal` is read in any case.
"""

from __future__ import annotations

import re
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from tntcore.api.json_schema import ERASED_BY_NULL, Code, Reads, Words, is_required
from tntcore.dids.parse import check_did, qualify
from tntcore.errors import DidError, Problem
from tntcore.messaging.texts import is_line, is_visible
from tntcore.nearest import MAX_SHOWN, unknown

_CAPITALS = re.compile("(?<=[a-z])(?=[A-Z])")
_EMAIL = re.compile(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Shape:
    """The reader of one type.

    Attributes:
        read: takes a value and its place, such as `contact.email`. Returns it as handlers want it. Raises `Problem`
            400.
        codes: of the problems that it raises.
        kinds: the Python types of JSON values that it may take.
        members: of an object, their shapes; None if it is none, or takes any member.
    """

    read: Callable[[Any, str], Any]
    codes: frozenset[str]
    kinds: tuple[type, ...]
    members: Mapping[str, Shape] | None = None


def code_of(name: str) -> str:
    """The code of the error for a wrong value of a member with this name: `displayName` -> `display-name-invalid`."""
    return f"{_CAPITALS.sub('-', name).lower()}-invalid"


@cache
def body_shape(hint: Any) -> Shape:
    """Returns the reader of a body of this type, a `TypedDict`. Raises `TypeError` for an unsupported type."""
    return _object(hint, _Context("body-not-an-object", "member", "The body"))


@cache
def query_shape(hint: Any) -> Shape:
    """Returns the reader of a query, in which all values are texts."""
    return _object(hint, _Context("query-invalid", "parameter", "This call", textual=True))


@dataclass(frozen=True, slots=True)
class _Context:
    """
    Attributes:
        code: of the problem for a value of another type. cascades: also for every member within it.
        plain: of the problem for a choice that is not a text, if that is another one.
        noun: `member` of a body, or `parameter` of a query. whole: the body or the query.
        textual: numbers are given as texts.
    """

    code: str
    noun: str
    whole: str
    textual: bool = False
    cascades: bool = False
    plain: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    reads: Callable[[str], str] | None = None

    def of(self, **changes: Any) -> _Context:
        return _Context(**{**{name: getattr(self, name) for name in self.__slots__}, **changes})


def _shape(hint: Any, context: _Context) -> Shape:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _shape(arguments[0], _annotated(arguments[1:], context))
    if origin in (Required, NotRequired):
        return _shape(arguments[0], context)
    if hint is Any:
        return Shape(lambda value, where: value, frozenset(), (object,))
    if hint is str:
        return _text(context)
    if hint is int:
        return _number(context)
    if hint is bool:
        return _leaf(context, "true or false", (bool,), lambda value: value)
    if origin is Literal:
        return _choice(arguments, context)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _choice([one.value for one in hint], context)
    if origin in (Union, types.UnionType):
        return _one_of([_shape(one, context) for one in arguments if one is not type(None)], context)
    plain = context.of(words={}, reads=None)
    if origin is list:
        return _list(_shape(arguments[0], plain), context)
    if origin is dict:
        return _free(_shape(arguments[1], plain), context)
    if is_typeddict(hint):
        return _object(hint, context)
    raise TypeError(f"{hint!r} cannot be read")


def _annotated(notes: Iterable[Any], context: _Context) -> _Context:
    for note in notes:
        if isinstance(note, Words):
            context = context.of(words={**context.words, **note.words})
        elif isinstance(note, Code):
            context = context.of(code=note.code, cascades=True)
        elif isinstance(note, Reads):
            context = context.of(reads=note.read)
    return context


def _leaf(
    context: _Context, wanted: str, kinds: tuple[type, ...], check: Callable[[Any], Any], mistyped: str = ""
) -> Shape:
    """
    Args:
        check: returns the value as it is read. Raises `ValueError`; its text, if any, replaces `wanted`.
        mistyped: the code of the problem for a value of none of the kinds.
    """
    mistyped = mistyped or context.code

    def read(value: Any, where: str) -> Any:
        if type(value) not in kinds:
            raise Problem(400, mistyped, f"{where} must be {wanted}.")
        try:
            return check(value)
        except ValueError as error:
            raise Problem(400, context.code, f"{where} must be {str(error) or wanted}.") from None

    return Shape(read, frozenset({context.code, mistyped}), kinds)


def _text(context: _Context) -> Shape:
    shortest, longest = context.words.get("minLength", 0), context.words.get("maxLength")
    wanted = "a text" if longest is None else f"a text of at most {longest} characters"

    def check(value: str) -> str:
        if len(value) < shortest or (longest is not None and len(value) > longest):
            raise ValueError
        return context.reads(value) if context.reads is not None and (value or not context.textual) else value

    return _leaf(context, wanted, (str,), check)


def _number(context: _Context) -> Shape:
    lowest, highest = context.words.get("minimum"), context.words.get("maximum")
    wanted = "a whole number"
    if lowest is not None:
        wanted += f" from {lowest}" + ("" if highest is None else f" to {highest}")

    def check(value: Any) -> int:
        if context.textual and not (value.isascii() and value.isdigit() and len(value) < 16):
            raise ValueError
        number = int(value)
        if (lowest is not None and number < lowest) or (highest is not None and number > highest):
            raise ValueError
        return number

    return _leaf(context, wanted, (str,) if context.textual else (int,), check)


def _choice(choices: Sequence[str], context: _Context) -> Shape:
    by_name = {choice.casefold(): choice for choice in choices}

    def check(value: str) -> str:
        if value.casefold() not in by_name:
            raise ValueError
        return by_name[value.casefold()]

    several = f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    return _leaf(context, several, (str,), check, context.plain)


def _one_of(shapes: Sequence[Shape], context: _Context) -> Shape:
    """The only one of several that takes a JSON value of this kind."""
    if len(shapes) == 1:
        return shapes[0]

    def read(value: Any, where: str) -> Any:
        for shape in shapes:
            if type(value) in shape.kinds or object in shape.kinds:
                return shape.read(value, where)
        kinds = ", or ".join(dict.fromkeys(_KINDS[kind] for shape in shapes for kind in shape.kinds))
        raise Problem(400, context.code, f"{where} must be {kinds}.")

    codes = frozenset({context.code}).union(*(shape.codes for shape in shapes))
    return Shape(read, codes, tuple(kind for shape in shapes for kind in shape.kinds))


_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    object: "anything",
}


def _list(item: Shape, context: _Context) -> Shape:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise Problem(400, context.code, f"{where} must be a list.")
        return [item.read(one, f"{where}[{number}]") for number, one in enumerate(value)]

    return Shape(read, item.codes | {context.code}, (list,))


def _free(values: Shape, context: _Context) -> Shape:
    """An object whose members are the caller's own."""

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise Problem(400, context.code, f"{where} must be an object.")
        if object in values.kinds:
            return value
        return {name: values.read(one, f"{where}.{name[:MAX_SHOWN]}") for name, one in value.items() if one is not None}

    return Shape(read, values.codes | {context.code}, (dict,))


def _object(hint: Any, context: _Context) -> Shape:
    members: dict[str, Shape] = {}
    kept: set[str] = set()
    missing: dict[str, str] = {}
    words: dict[str, str] = {}
    for name, of in get_type_hints(hint, include_extras=True).items():
        code = context.code if context.cascades else code_of(name)
        inner = context.of(code=code, plain=code, whole=name, words={}, reads=None)
        members[name] = _shape(of, inner)
        notes = list(_notes(of))
        if ERASED_BY_NULL in notes:
            kept.add(name)
        words[name] = next((f": {note}" for note in notes if isinstance(note, str)), "")
        if is_required(hint, name, of):
            codes = [note for note in notes if isinstance(note, Code)]
            missing[name] = (codes[-1].missing or codes[-1].code) if codes else code

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise Problem(400, context.code, f"{where or context.whole} must be a JSON object.")
        if not value.keys() <= members.keys():
            raise _unknown(value.keys() - members.keys(), members, context, where)
        for name, code in missing.items():
            if value.get(name) is None:
                said = f"{where}.{name}" if where else name
                raise Problem(400, code, f"{said} is missing. {_wanted(members[name], words[name])}")
        return {
            name: None if one is None else members[name].read(one, f"{where}.{name}" if where else name)
            for name, one in value.items()
            if one is not None or name in kept
        }

    own = frozenset({context.code, f"{context.noun}-unknown", *missing.values()})
    return Shape(read, own.union(*(shape.codes for shape in members.values())), (dict,), members)


def _wanted(shape: Shape, words: str = "") -> str:
    return f"It must be {', or '.join(dict.fromkeys(_KINDS[kind] for kind in shape.kinds))}{words.rstrip('.')}."


def _notes(hint: Any) -> Iterable[Any]:
    while get_origin(hint) in (Annotated, Required, NotRequired):
        arguments = get_args(hint)
        yield from arguments[1:]
        hint = arguments[0]


def _unknown(given: Iterable[str], members: Mapping[str, Shape], context: _Context, where: str) -> Problem:
    """Names the members that were meant, here or one step below."""
    places = {member.casefold(): member for member in members}
    for member, shape in members.items():
        for below in shape.members or ():
            places.setdefault(below.casefold(), f"{member}.{below}")
    return unknown(given, members, where or context.whole, context.noun, places)


def read_uuid(text: str) -> str:
    """A UUID in any case and form (braces, `urn:uuid:`, no hyphens), as it is kept. Raises `ValueError`."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("a uuid such as 019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b") from None


def read_name(text: str) -> str:
    """A uuid or a DID, which names an identity or a contact; "" names none, as older clients write it. Raises
    `ValueError`."""
    if not text:
        return text
    with suppress(DidError):
        check_did(qualify(text))
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("a uuid or a DID") from None


def read_did(text: str) -> str:
    """A DID; a did:sov may leave out its prefix. Raises `ValueError`."""
    try:
        return check_did(qualify(text))
    except DidError:
        raise ValueError("a DID, such as did:web:partner.example") from None


def read_line(text: str) -> str:
    """A text on one line, such as a name: no control character, and none that reorders text (see `texts.is_line`).
    Raises `ValueError`.
    """
    if not is_line(text):
        raise ValueError("a text on one line, without control characters or characters that reorder text")
    return text


def read_words(text: str) -> str:
    """A line as of `read_line` that says something. Raises `ValueError`."""
    if not is_visible(read_line(text)):
        raise ValueError("a text that is not empty. To say nothing, leave it out")
    return text


def read_email(text: str) -> str:
    """An email address, as far as its form tells. Raises `ValueError`."""
    if not _EMAIL.fullmatch(text):
        raise ValueError("an email address, such as orders@partner.example")
    return text


def uuid_or_other(text: str) -> str:
    """Reads what is a uuid as `read_uuid`, and any other string as it is."""
    with suppress(ValueError):
        return read_uuid(text)
    return text
