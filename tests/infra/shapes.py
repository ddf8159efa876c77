"""The properties that a Bicep file writes for each resource, as paths, read from the syntax tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_DECLARED = re.compile(r"resource \w+ '([\w./]+)@([\w-]+)' (existing )?=")
_WRITTEN = {"object", "array", "string", "number", "boolean"}


@dataclass(frozen=True)
class Property:
    """`properties.siteConfig.minTlsVersion` of a resource, in a file at a line. A name that is made up is `*`.

    Attributes:
        kind: `object`, `array`, `string`, `number`, `boolean`, or `expression` for what is known only when deployed.
        text: a string without interpolation; of anything else None.
    """

    resource: str
    path: str
    kind: str
    text: str | None
    line: int


def resources(source: bytes) -> Iterator[tuple[str, bool]]:
    """Each resource's `Type@version`, and whether it is only referred to (`existing`)."""
    for node in _all(_parse(source)):
        if node.type == "resource_declaration" and (found := _DECLARED.match(_text(node))):
            yield f"{found[1]}@{found[2]}", bool(found[3])


def properties(source: bytes) -> Iterator[Property]:
    """Everything that is written for the resources that the file owns, in place or as a variable.

    A list's items are `path[]`.
    """
    root = _parse(source)
    declared = {
        _text(_named(node)[0]): _named(node)[-1] for node in root.children if node.type == "variable_declaration"
    }
    for node in _all(root):
        if node.type == "resource_declaration" and (found := _DECLARED.match(_text(node))) and not found[3]:
            body = next(each for each in _all(node) if each.type == "object")
            yield from _walk(body, f"{found[1]}@{found[2]}", "", declared)


def read(path: Path) -> list[Property]:
    return list(properties(path.read_bytes()))


def _walk(node: Node, resource: str, path: str, declared: dict[str, Node]) -> Iterator[Property]:
    if others := _stands_for(node, declared):
        for value in others:
            yield from _walk(value, resource, path, declared)
        return
    kind = node.type if node.type in _WRITTEN else "expression"
    text = _text(node)
    literal = text[1:-1] if kind == "string" and "${" not in text else None
    if path:
        yield Property(resource, path, kind, literal, node.start_point[0] + 1)
    if kind == "object":
        for each in (child for child in node.children if child.type == "object_property"):
            name = _text(each.children[0]).strip("'")
            name = "*" if "${" in name else name
            # What the language itself takes beside a resource's properties.
            if path or name not in ("parent", "scope", "dependsOn"):
                yield from _walk(_named(each)[-1], resource, f"{path}.{name}" if path else name, declared)
    elif kind == "array":
        for each in _named(node):
            item = _named(each)[-1] if each.type == "for_statement" else each
            yield from _walk(item, resource, f"{path}[]", declared)


def _stands_for(node: Node, declared: dict[str, Node]) -> list[Node]:
    """Returns the values that may come in a node's place, or none where it is a value itself."""
    inner = _named(node)
    if node.type in ("ternary_expression", "conditional_expression"):
        return inner[1:]
    if node.type == "parenthesized_expression":
        return inner
    if node.type == "call_expression" and _text(inner[0]) in ("union", "concat"):
        return _named(inner[1])
    if node.type == "identifier" and _text(node) in declared:
        return [declared[_text(node)]]
    return []


def _parse(source: bytes) -> Node:
    return Parser(Language(tree_sitter_bicep.language())).parse(source).root_node


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _all(child)


def _named(node: Node) -> list[Node]:
    return [child for child in node.children if child.is_named and child.type != "comment"]


def _text(node: Node) -> str:
    return (node.text or b"").decode()
