"""QR codes as text or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_BORDER = 2  # modules; the standard has 4, readers are content with 2
# By whether the upper and the lower module are light.
_HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def matrix(text: str) -> list[list[bool]]:
    """Rows of modules, border included; True is dark. Raises `ValueError` for more than a QR code holds."""
    import segno  # takes a tenth of a second

    made = segno.make_qr(text, error="l", boost_error=False)
    return [[bool(module) for module in row] for row in made.matrix_iter(border=_BORDER)]


def lines(modules: Sequence[Sequence[bool]], *, colour: bool) -> list[str]:
    """Renders two rows of modules per line. Without colours the code is light on dark, as on a dark terminal."""
    rows = [*modules, *([[False] * len(modules[0])] if len(modules) % 2 else [])]
    drawn = [
        "".join(_HALVES[not upper, not lower] for upper, lower in zip(rows[index], rows[index + 1], strict=True))
        for index in range(0, len(rows), 2)
    ]
    return [f"\x1b[38;5;231;48;5;16m{line}\x1b[0m" if colour else line for line in drawn]


def save(text: str, file: Path) -> None:
    """Saves the code as a picture; the file name's ending gives the format. Raises `ValueError` for an unknown format,
    or for more text than a QR code holds.
    """
    import segno

    segno.make_qr(text, error="l").save(str(file), scale=4)
