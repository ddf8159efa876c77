"""The project's pages, and the convention by which what they show is run.

- A block marked `sh` is run by bash, in the order of its page, with the variables and functions that those before it
  left. A page begins with what `make run` prints: URL, OPERATOR, ACME, BOLT, CONTACT.
- A block marked `json` directly below an `sh` block is its answer: the same members, of the same types. A member named
  `...` stands for others; words in capitals, such as a status, are meant literally.
- A block below the line `*Not run by the tests: needs ...*` is not run.
- `make` is asked for what it would do: that its target exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MARK = re.compile(r"\*Not run by the tests: needs ([^*]+?)\.\*")
_FENCE = re.compile(r"^( *)```([\w-]*)\s*$")


@dataclass(frozen=True)
class Block:
    """`above` is the last line of prose before it, or "" directly below another block. `line` counts from 1."""

    language: str
    text: str
    line: int
    above: str

    @property
    def needs(self) -> str:
        """What the tests do not have, or ""."""
        found = MARK.fullmatch(self.above)
        return found[1] if found else ""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    above, inside, begun, indent = "", None, 0, ""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None:
            if fence:
                inside, begun, indent, lines = fence[2], number, fence[1], []
            elif line.strip():
                above = line.strip()
        elif fence and not fence[2]:
            found.append(Block(inside, "\n".join(lines) + "\n", begun, above))
            inside, above = None, ""
        else:
            lines.append(line.removeprefix(indent))
    assert inside is None, f"the block that begins in line {begun} has no end"
    return found


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    kept, inside = [], False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def difference(shown: Any, real: Any, where: str = "the answer") -> str:
    """How what is shown of an answer is not so, or ""."""
    if shown is None or real is None:
        return ""
    if isinstance(shown, bool | int | float | str) or type(shown) is not type(real):
        if type(shown) is not type(real):
            return f"{where} is {real!r}, shown as {shown!r}"
        if isinstance(shown, str) and re.fullmatch(r"[A-Z_]{3,}", shown) and shown != real:
            return f"{where} is {real!r}, shown as {shown!r}"
        return ""
    if isinstance(shown, list):
        if shown and not real:
            return f"{where} is empty"
        return difference(shown[0], real[0], f"{where}[0]") if shown else ""
    more = "..." in shown
    named = shown.keys() - {"..."}
    if missing := named - real.keys():
        return f"{where} has no {sorted(missing)}; it has {sorted(real)}"
    if not more and (left_out := real.keys() - named):
        return f"{where} has {sorted(left_out)}, too"
    return next(filter(None, (difference(shown[key], real[key], f"{where}.{key}") for key in named)), "")
