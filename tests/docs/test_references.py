"""What the pages name is there: links and their anchors, paths of the API, settings, targets of make, tables."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, name, prose
from tests.stack import Stack

LANGUAGES = {"", "sh", "json", "python", "js", "csharp", "yaml", "mermaid"}
_SETTING = r"(TNT_[A-Z_]+|AzureWebJobsStorage\w*)"
TEXTS = {page: page.read_text() for page in PAGES}
CLI = {
    setting
    for file in (ROOT / "tntcore" / "cli").glob("*.py")
    for setting in re.findall(f'"{_SETTING}"', file.read_text())
}
READ = set(re.findall(f'"{_SETTING}"', (ROOT / "tntcore" / "config.py").read_text()))


@cache
def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(TEXTS[page]), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (anchor := slug if not number else f"{slug}-{number}") in found:
            number += 1
        found.add(anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(TEXTS[page])):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_found_from_the_readme() -> None:
    reached, open_ = set[Path](), [ROOT / "README.md"]
    while open_:
        page = open_.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", prose(TEXTS[page])):
            open_.append((page.parent / link).resolve())
    assert reached >= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_say_what_they_are(page: Path) -> None:
    for block in blocks(TEXTS[page]):
        assert block.language in LANGUAGES, block.line
        assert block.language or not re.search(r"^\s*(curl|make|python3?|\$) ", block.text, re.MULTILINE), block.line


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_targets_of_make_exist(page: Path) -> None:
    text = TEXTS[page]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets


_PATH = re.compile(r"(?:\b(GET|POST|PUT|DELETE) )?(?<![\w.])(?:/api|\$URL)/([\w{}$()./<>-]*)")


def parts(path: str) -> list[str]:
    """Of a path as a page has it; "*" for each part that varies."""
    clean = path.rstrip(".)/")
    return ["*" if re.search(r"[{$<]|^\.+$", part) else part for part in clean.split("/")]


def fits(named: list[str], route: str) -> bool:
    wanted = route.split("/")
    return len(named) == len(wanted) and all(
        one in ("*", other) or other.startswith("{") for one, other in zip(named, wanted, strict=True)
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
async def test_paths_of_the_api_exist(stack: Stack, page: Path) -> None:
    routes = stack.app.routes
    for method, path in _PATH.findall(TEXTS[page]):
        named = parts(path)
        if named != [""]:
            assert any(fits(named, route.path) and method in ("", route.method) for route in routes), (method, path)


async def test_the_guide_has_every_call(stack: Stack) -> None:
    """docs/api.md lists each path with what may be done to it."""
    rows = re.findall(r"^\| ((?:`[A-Z]+ [^`]+`,? ?)+) \|", TEXTS[ROOT / "docs" / "api.md"], re.MULTILINE)
    listed = {tuple(call.split(" ")) for row in rows for call in re.findall("`([^`]+)`", row)}
    assert listed == {(route.method, "/api/" + route.path) for route in stack.app.routes}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_settings_exist(page: Path) -> None:
    named = set(re.findall(rf"\b{_SETTING}\b", TEXTS[page]))
    # The command line has its own, as it runs elsewhere.
    assert named <= {"cli.md": CLI, "operating.md": READ | CLI, "deploy.md": READ | CLI}.get(page.name, READ)
    assert page.name != "cli.md" or named == CLI


def test_every_setting_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", TEXTS[ROOT / "docs" / "operating.md"], re.MULTILINE)
    assert {found for row in rows for found in re.findall(f"`{_SETTING}`", row)} == READ


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for file in folder.glob("0*.md"):
        assert f"({file.name})" in index


@cache
def defined(file: Path) -> set[str]:
    """The names that a module defines, its classes' methods and attributes as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        for defined_here in _names(node):
            found.add(defined_here)
            found |= {f"{defined_here}.{member}" for inner in getattr(node, "body", []) for member in _names(inner)}
    return found


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_architecture_names_what_the_code_has() -> None:
    """`file.py: Name`, and further names between back quotes right after it, are in that file."""
    text = " ".join(prose(TEXTS[ROOT / "docs" / "architecture.md"]).split())
    mentioned = re.findall(r"`([\w/]+\.py)(?:: ([\w.]+))?`((?:, `\w+`)*)", text)
    assert len(mentioned) > 60
    for path, first, more in mentioned:
        file = next((root / path for root in (ROOT, ROOT / "tntcore") if (root / path).is_file()), None)
        assert file is not None, path
        for wanted in filter(None, (first, *re.findall(r"\w+", more if first else ""))):
            assert wanted in defined(file), f"{path}: {wanted}"


def test_the_first_change_is_in_the_code() -> None:
    code = {
        line.strip()
        for path in ("tntcore/api/connections.py", "tests/scenarios/test_did_exchange.py")
        for line in (ROOT / path).read_text().splitlines()
    }
    shown = [block.text for block in blocks(TEXTS[ROOT / "CONTRIBUTING.md"]) if block.language == "python"]
    assert len(shown) == 2
    assert {line.strip() for text in shown for line in text.splitlines()} <= code
