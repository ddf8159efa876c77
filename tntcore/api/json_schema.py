"""JSON Schemas (2020-12, as in OpenAPI 3.1) of the types that describe bodies and views.

The types are `TypedDict`s of strings, numbers, lists, objects and each other. `Annotated` adds to a type: a string is
its description, `Words` has keywords such as `format="uuid", examples=[...]`. `Code`, `Reads` and `ERASED_BY_NULL` say
how `given` reads it.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

REFERENCE = "#/components/schemas/"
JsonSchema = dict[str, Any]
NULL: JsonSchema = {"type": "null"}
_SCALARS: Mapping[type, JsonSchema] = {
    str: {"type": "string"},
    # Without a format, generated clients read 32 bits.
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    bool: {"type": "boolean"},
    type(None): NULL,
}
# Names that hide a type which .NET or TypeScript has in every file.
_TAKEN = {"Action", "Event", "Index", "Object", "Range", "Record", "Request", "Response", "Task", "Type", "Version"}


class Words:
    """Keywords of JSON Schema, for `Annotated`."""

    def __init__(self, **words: Any) -> None:
        self.words = words


class Code:
    """The error code of a member that is invalid, or that has anything invalid within it; by default it is made of the
    member's name. `missing`: the code where the member is missing, if that is another one."""

    def __init__(self, code: str, missing: str | None = None) -> None:
        self.code = code
        self.missing = missing


class Reads:
    """Checks a string and converts it to its stored form. `read` raises `ValueError`, whose text says what the string
    must be, such as "a uuid"."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self.read = read


ERASED_BY_NULL = object()
"""For `Annotated`: `null` does not leave this member out, but erases the value that there is."""


def schema_of(
    hint: Any, named: dict[str, JsonSchema], variables: Mapping[Any, Any] | None = None, *, given: bool = False
) -> JsonSchema:
    """Returns the schema of a type.

    Args:
        named: receives the schema of each `TypedDict` found, under its name without the suffix `View` where that
            leaves a name that generated clients can use.
        variables: values of a generic type's variables.
        given: whether callers give it: it has no other members, and null for each member that may be left out.

    Raises:
        TypeError: the type cannot be described, or two types have the same name.
    """
    if isinstance(hint, TypeVar):
        hint = (variables or {})[hint]
    if hint is Any:
        return {}
    if hint in _SCALARS:
        return dict(_SCALARS[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = schema_of(arguments[0], named, variables, given=given)
        for note in arguments[1:]:
            if isinstance(note, Words):
                schema |= note.words
            elif isinstance(note, str):
                schema["description"] = note
        return schema
    if origin in (Required, NotRequired):
        return schema_of(arguments[0], named, variables, given=given)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [one.value for one in hint]}
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _any_of([schema_of(argument, named, variables, given=given) for argument in arguments])
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], named, variables, given=given)}
    if origin is dict:
        values = schema_of(arguments[1], named, variables, given=given)
        # Where it is not said that others are allowed, openapi-typescript makes a type that has no member at all.
        return {"type": "object", "additionalProperties": values or True}
    if is_typeddict(origin or hint):
        return _named(hint, named, given=given)
    raise TypeError(f"{hint!r} cannot be described")


def _any_of(schemas: list[JsonSchema]) -> JsonSchema:
    if len(schemas) == 2 and NULL in schemas:
        return _or_null(next(schema for schema in schemas if schema != NULL))
    return {"anyOf": schemas}


def _or_null(schema: JsonSchema) -> JsonSchema:
    """Generators of clients read `type: [string, "null"]` and `oneOf` of a reference and null; of other unions with
    null they make types that cannot hold what comes."""
    if not schema or NULL in schema.get("anyOf", ()) or NULL in schema.get("oneOf", ()):
        return schema
    if isinstance(schema.get("type"), list):
        return schema
    if "enum" in schema:
        return {**schema, "type": [schema["type"], "null"], "enum": [*schema["enum"], None]}
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], NULL]}
    about = {"description": schema["description"]} if "description" in schema else {}
    return {**about, "oneOf": [{word: value for word, value in schema.items() if word != "description"}, NULL]}


def _named(hint: Any, named: dict[str, JsonSchema], *, given: bool) -> JsonSchema:
    origin = get_origin(hint) or hint
    arguments = get_args(hint)
    name = "".join(one.__name__.removesuffix("View").lstrip("_") for one in (*arguments, origin))
    if name in _TAKEN:
        name += "View"
    marker = {"x-type": f"{origin.__module__}.{origin.__qualname__}{', as given' if given else ''}"}
    if name not in named:
        named[name] = marker  # a type may contain itself
        variables = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=True))
        hints = get_type_hints(origin, include_extras=True)
        schema: JsonSchema = {"type": "object"}
        if about := origin.__dict__.get("__doc__"):
            schema["description"] = inspect.cleandoc(about)
        schema["properties"] = {member: schema_of(of, named, variables, given=given) for member, of in hints.items()}
        required = [member for member, of in hints.items() if is_required(origin, member, of)]
        if given:
            schema["additionalProperties"] = False
            for member in hints.keys() - set(required):
                schema["properties"][member] = _or_null(schema["properties"][member])
        if required:
            schema["required"] = required
        named[name] = schema | marker
    elif named[name]["x-type"] != marker["x-type"]:
        raise TypeError(f"two types are called {name}: {named[name]['x-type']} and {marker['x-type']}")
    return {"$ref": REFERENCE + name}


def is_required(origin: Any, member: str, hint: Any) -> bool:
    """Returns whether a `TypedDict` must have this member, whose type is `hint`."""
    # With annotations as strings, the class cannot see NotRequired in them, so its own sets reflect only `total`.
    if get_origin(hint) in (Required, NotRequired):
        return get_origin(hint) is Required
    return member in origin.__required_keys__


def example_of(schema: JsonSchema, named: Mapping[str, JsonSchema]) -> Any:
    """Returns a value that matches the schema, made of the examples in it."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example_of(named[schema["$ref"].removeprefix(REFERENCE)], named)
    if "enum" in schema:
        return schema["enum"][0]
    for choices in ("anyOf", "oneOf"):
        if choices in schema:
            return example_of(schema[choices][0], named)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example_of(of, named) for name, of in schema.get("properties", {}).items()}
    if kind == "array":
        return [example_of(schema["items"], named)]
    return {"string": "text", "integer": schema.get("minimum", 1), "number": 1.5, "boolean": True, "null": None}[kind]
