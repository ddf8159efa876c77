"""Texts for people, on one line: names, goals, reasons. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_BREAKS: Final = re.compile("[\t-\r\x1c-\x1e\x85\u2028\u2029 ]+")
# Control characters, and those that show text in another order than it is written in.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# White space, characters that are shown as nothing (Unicode's Default_Ignorable_Code_Point), and the blank of Braille.
_INVISIBLE: Final = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]*"
)
# Invisible characters that no script and no emoji needs: with one of them a name looks like another one.
_NOTHING: Final = re.compile(
    "[\u00ad\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufff8]"
    "|(?:^|(?<=[^\U0001f3f4\U000e0000-\U000e0fff]))[\U000e0000-\U000e0fff]+"  # tags of a flag are needed
)
_MARKS: Final = 4  # on one letter, which no script needs more of; with hundreds a name covers the lines around it
_SPARE: Final = 4  # characters that are looked at for each that is kept


def is_line(text: str) -> bool:
    """Whether the text has no line break, no control character, and no character that reorders text: an override,
    embedding or isolate (Unicode Standard Annex 9, section 2).
    """
    return _UNSAFE.search(text) is None


def is_visible(text: str) -> bool:
    """Whether a line shows anything."""
    return _INVISIBLE.fullmatch(text) is None


def as_line(text: str, maximum: int) -> str:
    """Returns a stranger's text on one line: white space and line breaks as one space, and each other character that
    `is_line` refuses as U+FFFD. Leaves out invisible characters that no script needs, and marks beyond a few on one
    letter. Returns "" for a text that shows nothing. Letters that look like those of another script stay.

    Args:
        maximum: characters that are kept.
    """
    line = _BREAKS.sub(" ", _NOTHING.sub("", text[: _SPARE * maximum]))
    line = _UNSAFE.sub("\ufffd", line).strip()
    line = _with_few_marks(line)[:maximum].rstrip()
    return line if is_visible(line) else ""


def _with_few_marks(line: str) -> str:
    kept: list[str] = []
    marks = 0
    for character in line:
        marks = marks + 1 if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= _MARKS:
            kept.append(character)
    return "".join(kept)
