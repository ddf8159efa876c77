"""Texts on one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.messaging.texts import as_line, is_line, is_visible


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Acme & Söhne",
        "株式会社",
        "שלום",
        "مرحبا \u200fعالم",
        "👩\u200d👩\u200d👧",
        "می\u200cخواهم",
        "a\u00a0b",
        "🏴\U000e0067\U000e007f",
        "ที่ปรึกษา",
        "תּוֹרָה",
        "བསྒྲུབས",
    ],
)
def test_names_of_all_scripts_are_lines(text: str) -> None:
    assert is_line(text)
    assert as_line(text, 200) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb", "a b"),
        (" a\r\n\t b \u2028c\u2029", "a b c"),
        ("\x1b[2Jred", "\ufffd[2Jred"),
        ("\u202egnp.exe\u202c", "\ufffdgnp.exe\ufffd"),
        ("\u2066x\u2069", "\ufffdx\ufffd"),
        ("nul\x00 c1\x9b del\x7f half\ud800", "nul\ufffd c1\ufffd del\ufffd half\ufffd"),
    ],
)
def test_what_breaks_or_reorders_a_line_is_replaced(text: str, line: str) -> None:
    assert not is_line(text)
    assert as_line(text, 200) == line


@pytest.mark.parametrize("text", [" ", "\u200b", "\u2060\ufeff\u00ad", "\u3164\u115f", "\u2800", "\u200d \U000e0041"])
def test_what_shows_nothing_is_no_name(text: str) -> None:
    """A name on which nobody can click."""
    assert not is_visible(text)
    assert as_line(text, 200) == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Ac\u200bme", "Acme"),
        ("\ufeffAc\u00adme\u2060", "Acme"),
        ("Acme\U000e0041\U000e0042", "Acme"),
        ("A\u3164 \u200b B", "A B"),
        ("e" + "\u0301" * 300 + "x", "e" + "\u0301" * 4 + "x"),
        ("e" + "\u0489\u0301" * 100, "e" + "\u0489\u0301" * 2),
    ],
)
def test_a_name_is_not_told_from_another_by_what_is_not_seen(text: str, line: str) -> None:
    assert as_line(text, 200) == line


@given(st.text(st.characters(codec=None)), st.integers(0, 50))
def test_a_line_is_one(text: str, maximum: int) -> None:
    line = as_line(text, maximum)
    assert is_line(line)
    assert len(line) <= maximum
    assert as_line(line, maximum) == line
