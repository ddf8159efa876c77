"""JSON Schemas (2020-12, as in OpenAPI 3.1) of the types that describe bodies and views.

The types are `TypedDict`s of strings, numbers, lists, objects and each other. `Annotated` adds to a type: a string is
its description, `Words` has keywords such as `format="uuid", examples=[...]`.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
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
Schema = dict[str, Any]
_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


class Words:
    """Keywords of JSON Schema, for `Annotated`."""

    def __init__(self, **words: Any) -> None:
        self.words = words


def schema_of(hint: Any, named: dict[str, Schema], variables: Mapping[Any, Any] | None = None) -> Schema:
    """Returns the schema of a type.

    Args:
        named: receives the schema of each `TypedDict` found, under its name without the suffix `View`.
        variables: values of a generic type's variables.

    Raises:
        TypeError: the type cannot be described, or two types have the same name.
    """
    if isinstance(hint, TypeVar):
        hint = (variables or {})[hint]
    if hint is Any:
        return {}
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        schema = schema_of(arguments[0], named, variables)
        for note in arguments[1:]:
            schema |= note.words if isinstance(note, Words) else {"description": note}
        return schema
    if origin in (Required, NotRequired):
        return schema_of(arguments[0], named, variables)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [one.value for one in hint]}
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return _any_of([schema_of(argument, named, variables) for argument in arguments])
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], named, variables)}
    if origin is dict:
        values = schema_of(arguments[1], named, variables)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if is_typeddict(origin or hint):
        return _named(hint, named)
    raise TypeError(f"{hint!r} cannot be described")


def _any_of(schemas: list[Schema]) -> Schema:
    first, *others = schemas
    if others == [{"type": "null"}] and isinstance(first.get("type"), str) and "enum" not in first:
        return {**first, "type": [first["type"], "null"]}
    return {"anyOf": schemas}


def _named(hint: Any, named: dict[str, Schema]) -> Schema:
    origin = get_origin(hint) or hint
    arguments = get_args(hint)
    name = "".join(one.__name__.removesuffix("View").lstrip("_") for one in (*arguments, origin))
    marker = {"x-type": f"{origin.__module__}.{origin.__qualname__}"}
    if name not in named:
        named[name] = marker  # a type may contain itself
        variables = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=True))
        hints = get_type_hints(origin, include_extras=True)
        schema: Schema = {"type": "object"}
        if about := origin.__dict__.get("__doc__"):
            schema["description"] = inspect.cleandoc(about)
        schema["properties"] = {member: schema_of(of, named, variables) for member, of in hints.items()}
        required = [member for member, of in hints.items() if _is_required(origin, member, of)]
        if required:
            schema["required"] = required
        named[name] = schema | marker
    elif named[name]["x-type"] != marker["x-type"]:
        raise TypeError(f"two types are called {name}: {named[name]['x-type']} and {marker['x-type']}")
    return {"$ref": REFERENCE + name}


def _is_required(origin: Any, member: str, hint: Any) -> bool:
    # With annotations as strings, the class cannot see NotRequired in them, so its own sets reflect only `total`.
    if get_origin(hint) in (Required, NotRequired):
        return get_origin(hint) is Required
    return member in origin.__required_keys__


def example_of(schema: Schema, named: Mapping[str, Schema]) -> Any:
    """Returns a value that matches the schema, made of the examples in it."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example_of(named[schema["$ref"].removeprefix(REFERENCE)], named)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], named)
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: example_of(of, named) for name, of in schema.get("properties", {}).items()}
    if kind == "array":
        return [example_of(schema["items"], named)]
    return {"string": "text", "integer": schema.get("minimum", 1), "number": 1.5, "boolean": True, "null": None}[kind]
