"""Docstrings begin with a verb or a noun phrase, and one class name means one thing, throughout tntcore."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import tntcore

ROOT = Path(tntcore.__file__).parent
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_WORDS = "As Has How If Of That What Whatever When Where Which Who Whoever Whom Whose Why"
_FORBIDDEN = frozenset(_WORDS.split())
_RIDDLES = frozenset(["Has", "Of", "That", "What", "Whatever", "Which", "Who", "Whoever", "Whom", "Whose"])
"""Words that begin no later paragraph either."""

# Names that several classes or types share, and why. A name of the HTTP contract, and of the interface for registries
# of AnonCreds definitions, is not ours to change.
_SHARED = {
    "Acceptance": "the body of a call, and what accepts invitations",
    "Candidate": "a credential that fits, and its HTTP form",
    "Message": "the plaintext, and the record of one",
    "Publisher": "of AnonCreds definitions, and of what a commit queued",
    "Refusal": "the body of a call, and the effect of a message that is refused",
}
# What each protocol has of its own, under the same name in each file.
_OF_EACH_PROTOCOL = frozenset({"Dialect", "Event", "MessageKind", "Role", "State", "Step"})


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(ROOT.rglob("*.py")):
        yield file.relative_to(ROOT), ast.parse(file.read_text())


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    """Also those of constants and types, and each paragraph of a docstring."""
    wrong = [
        f"{file}:{node.lineno}: {paragraph[:40]}"
        for file, module in _modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number, paragraph in enumerate(re.split(r"\n\s*\n", node.value.value.strip()))
        if (first := re.match(r"\w+", paragraph.strip())) and first.group() in (_RIDDLES if number else _FORBIDDEN)
    ]
    assert not wrong, wrong


def test_texts_name_paths_as_they_are_called() -> None:
    """As in "PUT /api/settings/TASK_WEBHOOK". Docstrings leave /api out: OpenAPI shows them below its server's URL."""
    wrong = [
        f"{file}:{node.lineno}: {node.value[:60]}"
        for file, module in _modules()
        for docstrings in [_docstrings(module)]
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if re.search(r"\b(GET|POST|PUT|DELETE) /(?!api\b)[a-z]", node.value)
    ]
    assert not wrong, wrong


def _docstrings(module: ast.Module) -> set[int]:
    """The ids of the nodes that are docstrings."""
    documented = [node for node in ast.walk(module) if isinstance(node, _DOCUMENTED) and ast.get_docstring(node)]
    return {id(node.body[0].value) for node in documented if isinstance(node.body[0], ast.Expr)}


def test_a_class_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for file, module in _modules():
        for name in filter(_is_type_name, _defined(module)):
            if name not in _OF_EACH_PROTOCOL or file.parts[0] != "protocols":
                homes[name].append(str(file))
    shared = {name: files for name, files in homes.items() if len(files) > 1}
    assert shared.keys() <= _SHARED.keys(), {name: shared[name] for name in shared.keys() - _SHARED.keys()}
    assert shared.keys() >= _SHARED.keys(), f"no longer shared: {_SHARED.keys() - shared.keys()}"


def _defined(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _is_type_name(name: str) -> bool:
    """Whether it is written as the name of a class or of a type: `Name`, but neither `NAME` nor `T`."""
    return name[0].isupper() and not name.isupper()
