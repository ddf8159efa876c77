"""The pages are in plain English: no sentence opens with a relative clause, and some turns of phrase are not used.

CONTRIBUTING.md has the rule, and better words. Headings, tables, code and questions are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, name, prose

OPENINGS = re.compile(r"(?:What|Who|Whose|Whom|Of|To whom|By whom|By which|That which)\b")
"""These put a clause where the subject of a sentence should be: "What is stored here is ..."."""
PHRASES = re.compile(r"\b(?:of whom|to whom|is to be had|are to be had|it is that|nobody is told|is told so)\b")
ALLOWED = ("Of these", "Who is who")
"""Plain openings: "Of these calls, 5 % ...", and the name of a section in docs/concepts.md."""


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs and list items, without their quotations, marks and links."""
    paragraph: list[str] = []
    for line in [*prose(text).splitlines(), ""]:
        skipped = not line.strip() or line.lstrip().startswith(("#", "|", "<!--"))
        item = re.match(r" *(?:[-*]|\d+\.) +", line)
        if skipped or item:
            whole = re.sub(r"\]\([^)]*\)|[\[*_`]", "", " ".join(paragraph))
            yield re.sub(r'"[^"]*"', "...", whole)
            paragraph = []
        if not skipped:
            paragraph.append(line[item.end() :] if item else line.strip())


def sentences(text: str, ends: str = ".!?:;") -> Iterator[str]:
    """The sentences, and parts of sentences, that end in one of these marks."""
    for paragraph in paragraphs(text):
        yield from re.split(rf"(?<=[{ends}])\s+", paragraph)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_sentences_begin_with_their_subject(page: Path) -> None:
    turned = [
        sentence
        for sentence in sentences(page.read_text())
        if OPENINGS.match(sentence) and not sentence.endswith("?") and not sentence.startswith(ALLOWED)
    ]
    assert not turned


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_phrases_that_nobody_uses(page: Path) -> None:
    assert not [sentence for sentence in sentences(page.read_text()) if PHRASES.search(sentence)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_no_sentence_is_a_chain(page: Path) -> None:
    """Two semicolons in a sentence make a list of it, or several sentences."""
    assert not [sentence for sentence in sentences(page.read_text(), ".!?") if sentence.count(";") > 1]


def test_a_turned_sentence_is_found() -> None:
    text = "# What is\n\nIt works. What is kept\nis sealed.\n\n- Who asks, waits.\n- Does it?\n\n| What |\n| --- |\n"
    assert [one for one in sentences(text) if OPENINGS.match(one)] == ["What is kept is sealed.", "Who asks, waits."]
