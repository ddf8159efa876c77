"""Output: tables, details, JSON. Text written by others reaches the terminal only through `safe` or `written`."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from tntcore.cli.errors import Wrong

# Characters that move the cursor, colour, rename the window, change the direction of text, or are invisible: C0 and C1
# controls, format characters (but for the joiners, which emoji need), separators of lines, and halves of characters.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHORT = 8
"""Characters of a short id."""
_SPACE = re.compile(r"\s+")
_REST = 120  # columns
_NARROW = 12  # columns that a shortened column keeps
_PREFIXES = ("https://didcomm.org/", "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/")
_COLOURS = {
    "green": ("ACTIVE", "ACCEPTED", "DELIVERED", "SENT", "RECEIVED", "DONE", "ok", "completed"),
    "red": ("FAILED", "REJECTED", "REVOKED", "ERROR", "CONFLICT", "DISABLED", "DELETED", "degraded", "abandoned"),
    "yellow": ("PENDING", "HELD", "SENDING", "REQUESTED", "WITHHELD", "DRAFT"),
}
_COLOUR_OF = {word: colour for colour, words in _COLOURS.items() for word in words}


def safe(value: object) -> str:
    """Returns the text on one line; characters that a terminal acts on are escaped, as in `\u001b`."""
    return _UNSAFE.sub(_spelled, _SPACE.sub(" ", "" if value is None else str(value)))


def written(value: Any, indent: int | None = 2) -> str:
    """Returns equivalent JSON in which characters that a terminal acts on are escaped."""
    lines = json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    return "\n".join(_UNSAFE.sub(_spelled, line) for line in lines)


def _spelled(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def status(word: object) -> str:
    """Returns the status word in a colour that matches its meaning."""
    return click.style(safe(word), fg=_COLOUR_OF.get(str(word)))


def moment(value: object) -> str:
    """Formats an ISO 8601 time in the local time zone; "" for none."""
    try:
        return datetime.fromisoformat(str(value)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return safe(value) if value else ""


def short_moment(value: object, now: datetime | None = None) -> str:
    """Formats a time for a narrow table: the time of day if it is today, else the day and the minute."""
    try:
        at = datetime.fromisoformat(str(value)).astimezone()
    except ValueError:
        return moment(value)
    today = (now or datetime.now(UTC)).astimezone()
    if at.date() == today.date():
        return at.strftime("%H:%M:%S")
    return at.strftime("%m-%d %H:%M" if at.year == today.year else "%Y-%m-%d")


def short_id(value: object) -> str:
    """Returns the end of a uuid, which is random, while its beginning is a time that many have in common. Commands
    take it in place of the uuid.
    """
    text = safe(value)
    return text[-SHORT:] if _UUID.fullmatch(text) else text


def long_type(text: str) -> str:
    """Returns the type that `short_type` shortened; any other text as it is."""
    whole = "://" in text or text.startswith("did:") or text.upper() == "DIDCOMM"
    return text if whole or not text else _PREFIXES[0] + text


def short_type(value: object) -> str:
    """Returns a message type without the prefix that all types share."""
    text = safe(value)
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def short_did(value: object) -> str:
    """Returns the two ends of a DID; a peer DID has hundreds of characters."""
    text = safe(value)
    return text if len(text) <= 48 else f"{text[:30]}…{text[-12:]}"


def preview(view: Mapping[str, Any]) -> str:
    """Summarises a message's content in one line."""
    if "message" not in view:
        return safe(f"(could not be opened: {view.get('error')})")
    message = view["message"]
    if not isinstance(message, dict):
        return safe(message)
    body = message["body"] if isinstance(message.get("body"), dict) else message
    for name in ("content", "comment"):
        if isinstance(body.get(name), str):
            return safe(body[name])
    rest = {key: value for key, value in body.items() if key not in ("@id", "@type", "~thread", "id", "type", "marker")}
    return fitted(safe(written(rest, None)), _REST) if rest else ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `value` returns safe text.

    Attributes:
        cut: this column is shortened if the terminal is narrow.
        short: in place of `value` at a terminal.
        spare: this column is left out if the terminal is narrow.
    """

    title: str
    value: Callable[[Mapping[str, Any]], str]
    cut: bool = False
    short: Callable[[Mapping[str, Any]], str] | None = None
    spare: bool = False


def field(
    title: str, name: str, form: Callable[[object], str] = safe, *, cut: bool = False, spare: bool = False
) -> Column:
    """Makes a column that shows one member."""
    short = short_moment if form is moment else None
    return Column(
        title, lambda row: form(row.get(name)), cut, None if short is None else lambda row: short(row.get(name)), spare
    )


def identifier(title: str = "UUID", name: str = "uuid", *, spare: bool = False) -> Column:
    """Makes a column that shows a uuid, at a terminal its short form."""
    return Column(title, lambda row: safe(row.get(name)), short=lambda row: short_id(row.get(name)), spare=spare)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], width: int | None = None) -> list[str]:
    """Returns the lines of a table. A column without any value is left out.

    Args:
        width: of the terminal, in columns; None means no terminal: nothing is cut.
    """
    shown = []
    for column in columns:
        form = column.short if width is not None and column.short is not None else column.value
        texts = [form(row) for row in rows]
        if any(texts):
            shown.append((column, texts))
    widths = [max(measure(text) for text in (column.title, *texts)) for column, texts in shown]
    if width is not None:
        shown, widths = _fit(shown, widths, width)
    lines = [
        "  ".join(
            _padded(_title(_cut(column.title, size)), size) for (column, _), size in zip(shown, widths, strict=True)
        )
    ]
    for row in zip(*(texts for _, texts in shown), strict=True):
        lines.append("  ".join(_padded(_cut(text, size), size) for text, size in zip(row, widths, strict=True)))
    return [line.rstrip() for line in lines]


_Shown = list[tuple[Column, list[str]]]


def _fit(shown: _Shown, widths: list[int], width: int) -> tuple[_Shown, list[int]]:
    """Returns the columns, and their widths, that fit: shortens those that may be cut, leaves out spare ones, and at
    last shortens the widest.
    """
    while (over := sum(widths) + 2 * (len(widths) - 1) - width) > 0:
        spare = next((index for index in reversed(range(len(shown))) if shown[index][0].spare), None)
        may_be_cut = [index for index in reversed(range(len(shown))) if shown[index][0].cut and widths[index] > _NARROW]
        if sum(widths[index] - _NARROW for index in may_be_cut) >= over:
            for index in may_be_cut:
                less = min(over, widths[index] - _NARROW)
                widths[index] -= less
                over -= less
        elif spare is not None:
            shown, widths = shown[:spare] + shown[spare + 1 :], widths[:spare] + widths[spare + 1 :]
        elif may_be_cut:
            for index in may_be_cut:
                widths[index] = _NARROW
        elif max(widths) > 1:
            widths[widths.index(max(widths))] -= 1
        else:
            break
    return shown, widths


def _title(text: str) -> str:
    return click.style(text, dim=True) if text else ""


def details(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Returns the lines of a list of names and values; pairs without a value are left out."""
    given = [(name, value) for name, value in pairs if value]
    size = max((len(name) for name, _ in given), default=0)
    return [f"{_title(name.ljust(size))}  {value}" for name, value in given]


def measure(text: str) -> int:
    """The number of terminal columns that the text takes."""
    plain = click.unstyle(text)
    if plain.isascii():
        return len(plain)
    return sum(
        0 if unicodedata.combining(c) or c in "\u200c\u200d" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in plain
    )


def _padded(text: str, size: int) -> str:
    return text + " " * (size - measure(text))


def _cut(text: str, size: int) -> str:
    if measure(text) <= size:
        return text
    plain, taken, used = click.unstyle(text), "", 0
    for character in plain:
        used += measure(character)
        if used > size - 1:
            break
        taken += character
    return taken + "…"


def fitted(text: str, size: int | None) -> str:
    """Returns the text, cut to this number of columns."""
    return text if size is None else _cut(text, size)


def terminal_width() -> int | None:
    """The terminal's width in columns, or None if the output is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_SEQUENCE = re.compile(r"[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3}-?[0-9A-Fa-f]{12}")
_LONGEST = 100 * 365 * 86_400  # seconds; a duration that is longer may end after the last year of a date
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def since(text: str, now: float) -> str:
    """Converts a time into the form that the service takes. Accepts a time, a `sequence`, or an age: `90s`, `10m`,
    `2h`, `3d`, `1w`.

    Args:
        now: seconds since 1970.

    Raises:
        Wrong: The text is none of these.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        return iso(now - int(ago[1]) * _SECONDS[ago[2]])
    try:
        datetime.fromisoformat(text)
    except ValueError:
        if not _SEQUENCE.fullmatch(text):
            told = "Give one like 2026-01-31T12:00:00Z, a sequence, or an age like 10m, 2h or 3d."
            raise Wrong(f"{safe(text)!r} is not a time. {told}") from None
    return text


def iso(seconds: float) -> str:
    """Formats seconds since 1970 as ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(max(seconds, 0), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """Converts a duration such as `30m` or `7d` to seconds. Raises `Wrong`, also for 0 and for more than 100 years."""
    found = _AGO.fullmatch(text.strip())
    if found is None:
        raise Wrong(f"{safe(text)!r} is not a duration. Give one like 30m, 12h or 7d.")
    length = int(found[1]) * _SECONDS[found[2]]
    if not 0 < length <= _LONGEST:
        raise Wrong(f"{safe(text)!r} must be more than 0 and at most 36500d.")
    return length


def members(value: Mapping[str, Any]) -> list[str]:
    """Returns the lines that show every member of an object."""
    return details((safe(name), _member(name, each)) for name, each in value.items())


def _member(name: str, value: Any) -> str:
    if value is None or value in ([], {}):
        return ""
    if name in ("status", "state"):
        return status(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        return written(value, None)
    return moment(value) if name.endswith("At") else safe(value)
