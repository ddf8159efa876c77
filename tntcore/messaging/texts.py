"""Texts for people, on one line: names, goals, reasons. Pure."""

from __future__ import annotations

import re
from typing import Final

_BREAKS: Final = re.compile("[\t-\r\x1c-\x1e\x85\u2028\u2029 ]+")
# Control characters, and those that show text in another order than it is written in.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SPARE: Final = 4  # characters that are looked at for each that is kept


def is_line(text: str) -> bool:
    """Whether the text has no line break, no control character, and no character that reorders text: an override,
    embedding or isolate (Unicode Standard Annex 9, section 2).
    """
    return _UNSAFE.search(text) is None


def as_line(text: str, maximum: int) -> str:
    """Returns a stranger's text on one line: white space and line breaks as one space, and each other character that
    `is_line` refuses as U+FFFD.

    Args:
        maximum: characters that are kept.
    """
    line = _BREAKS.sub(" ", text[: _SPARE * maximum])
    return _UNSAFE.sub("\ufffd", line).strip()[:maximum].rstrip()
