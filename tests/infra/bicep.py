"""Bicep read by two parsers: pycep for what a file declares, tree-sitter for what names it uses.

Neither is the compiler. They know the grammar, not Azure's types: a misspelt property passes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from pycep import BicepParser
from tree_sitter import Language, Node, Parser

INFRA = Path(__file__).parents[2] / "infra"
# Functions and namespaces of Bicep that the files use: https://learn.microsoft.com/azure/azure-resource-manager/bicep
BUILT_IN = {
    "allowed",
    "concat",
    "description",
    "empty",
    "environment",
    "guid",
    "join",
    "loadTextContent",
    "maxLength",
    "maxValue",
    "metadata",
    "minLength",
    "minValue",
    "replace",
    "resourceGroup",
    "resourceId",
    "subscription",
    "subscriptionResourceId",
    "tenant",
    "toLower",
    "union",
    "uniqueString",
}


@dataclass(frozen=True)
class File:
    """What one file declares, by name; `used` are the names that it refers to, `outputs_used` `(module, output)`."""

    path: Path
    parameters: dict[str, Any]
    variables: dict[str, Any]
    resources: dict[str, Any]
    modules: dict[str, Any]
    outputs: dict[str, Any]
    used: frozenset[str]
    declared: frozenset[str]
    outputs_used: frozenset[tuple[str, str]]
    errors: tuple[str, ...]

    @property
    def required(self) -> set[str]:
        return {name for name, parameter in self.parameters.items() if parameter.get("default") is None}

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """The properties of each resource of a type, of which the file is the owner."""
        found = [each for each in self.resources.values() if each["type"] == kind and not each["existing"]]
        return [body(each["config"]) for each in found]


def body(config: dict[str, Any]) -> dict[str, Any]:
    """A resource's or module's own properties, whatever condition or loop it stands in."""
    while "config" in config and ("condition" in config or "loop_type" in config):
        config = config["config"]
    return config


def files() -> dict[str, File]:
    """By path within infra/."""
    return {str(path.relative_to(INFRA)): read(path) for path in sorted(INFRA.rglob("*.bicep"))}


@cache
def read(path: Path) -> File:
    return parse(path.read_text(), path)


@cache
def _parser() -> BicepParser:
    """Takes four times as long to make as a file to read."""
    return BicepParser()


def parse(text: str, path: Path = Path("text.bicep")) -> File:
    """Raises whatever pycep raises for what it cannot read."""
    parsed: dict[str, Any] = dict(_parser().parse(text=text))
    root = Parser(Language(tree_sitter_bicep.language())).parse(text.encode()).root_node
    used: set[str] = set()
    declared: set[str] = set()
    errors: list[str] = []
    _walk(root, used, declared, errors)
    return File(
        path,
        parameters=dict(parsed.get("parameters", {})),
        variables=dict(parsed.get("variables", {})),
        resources=dict(parsed.get("resources", {})),
        modules=dict(parsed.get("modules", {})),
        outputs=dict(parsed.get("outputs", {})),
        used=frozenset(used),
        declared=frozenset(declared),
        outputs_used=frozenset(re.findall(r"(\w+)!?\.outputs\.(\w+)", text)),
        errors=tuple(errors),
    )


def _walk(node: Node, used: set[str], declared: set[str], errors: list[str]) -> None:
    text = (node.text or b"").decode()
    if node.type == "ERROR" or node.is_missing:
        errors.append(f"line {node.start_point[0] + 1}: {text[:60]}")
    if node.type in ("loop_variable", "loop_enumerator"):
        declared.add(text)
    for index, child in enumerate(node.children):
        if child.type != "identifier":
            _walk(child, used, declared, errors)
            continue
        first = not any(before.type == "identifier" for before in node.children[:index])
        loop = node.type == "for_statement" and node.children[index + 1].type == "in"
        if (node.type.endswith("_declaration") and first) or loop:
            # An output's name is none that anything refers to.
            if node.type != "output_declaration":
                declared.add((child.text or b"").decode())
        elif not (node.type == "object_property" and first and index == 0):
            used.add((child.text or b"").decode())
