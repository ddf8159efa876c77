"""OpenAPI 3.0.4 made of the 3.1 document, for generators of clients that do not read 3.1. Pure.

In 3.0 a schema has one type and says `nullable`, one `example`, and only the keywords of its list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tntcore.api.json_schema import NULL, JsonSchema


def to_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document in OpenAPI 3.0.4, without its webhooks, which 3.0 does not have."""
    info = {**document["info"], "license": {"name": document["info"]["license"]["name"]}}
    components = document["components"]
    schemas = {name: _schema(schema) for name, schema in components["schemas"].items()}
    return {
        **{word: value for word, value in document.items() if word != "webhooks"},
        "openapi": "3.0.4",
        "info": info,
        "paths": _with_schemas(document["paths"]),
        "components": {**components, "schemas": schemas},
    }


def _with_schemas(value: Any) -> Any:
    """Goes through paths, operations and bodies to the schemas in them."""
    if isinstance(value, list):
        return [_with_schemas(one) for one in value]
    if isinstance(value, dict):
        return {
            word: _schema(one) if word == "schema" else one if word == "example" else _with_schemas(one)
            for word, one in value.items()
        }
    return value


def _schema(schema: JsonSchema) -> JsonSchema:
    if _is_any(schema):
        # To NSwag, a value of any type is null only where that is said.
        return {**_told(schema), "nullable": True}
    written: JsonSchema = {}
    for word, value in schema.items():
        match word:
            case "type" if isinstance(value, list):
                [written["type"]] = [one for one in value if one != "null"]
                written["nullable"] = True
            case "anyOf" | "oneOf":
                choices = [_schema(one) for one in value if one != NULL]
                if len(choices) < len(value):
                    written["nullable"] = True
                written["allOf" if len(choices) == 1 else word] = choices
            case "properties":
                written[word] = {name: _schema(one) for name, one in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                written[word] = _schema(value)
            case "examples":
                written["example"] = value[0]
            case _:
                written[word] = value
    return written


_TYPED = ("type", "$ref", "allOf", "anyOf", "oneOf", "enum", "const")


def _is_any(schema: JsonSchema) -> bool:
    """Tells whether a schema says no type, or is a union of lists and objects, which no class of .NET can hold."""
    return not schema.keys() & set(_TYPED) or {"array", "object"} <= {
        one.get("type") for one in schema.get("anyOf", ())
    }


def _told(schema: JsonSchema) -> JsonSchema:
    return {word: value for word, value in schema.items() if word == "description"}
