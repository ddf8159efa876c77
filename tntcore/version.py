"""The version of the service."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

VERSION: Final = "0.1.0"
"""The version in pyproject.toml and CHANGELOG.md."""


@cache
def commit() -> str:
    """The commit that the deployed package was built from; "" where that is not known, such as in a checkout."""
    try:
        return (Path(__file__).parent / "COMMIT").read_text().strip()
    except OSError:
        return ""
