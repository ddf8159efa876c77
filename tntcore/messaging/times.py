"""Times, as others write them and as we do. All are in milliseconds since 1970, and bounded: a date outside the
calendar would break every list that contains it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

LATEST: Final = 253_402_300_799_999
"""The end of the year 9999."""
_EARLIEST: Final = -62_135_596_800_000
"""The beginning of the year 1."""
_MAX_CHARACTERS: Final = 64
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(?P<zone>Z|[+-]\d\d:\d\d)?", re.ASCII)
_MIDNIGHT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T24:00:00(\.0+)?((?:Z|[+-]\d\d:\d\d)?)", re.ASCII)


def bounded(milliseconds: float) -> int:
    """Returns the time, limited to the first and last that can be written. Takes any number but NaN."""
    return int(min(max(milliseconds, _EARLIEST), LATEST))


def read(text: object) -> int:
    """Parses a date, or a date and time, in any form of ISO 8601; UTC if there is no zone. `T24:00:00` is the end of
    its day (XML Schema). Times after the year 9999, in UTC, count as the end of that year.

    Raises:
        ValueError: it is malformed.
    """
    if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
        raise ValueError("not a date")
    days = 0
    if midnight := _MIDNIGHT.fullmatch(text):
        days, text = 1, f"{midnight[1]}T00:00:00{midnight[3]}"
    moment = datetime.fromisoformat(text)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return bounded((since + timedelta(days=days)) // timedelta(milliseconds=1))


def is_date_time(text: object, *, zone: bool) -> bool:
    """Whether a text is an `xsd:dateTime` of a year from 1 to 9999.

    Args:
        zone: whether it has to name its zone, as `xsd:dateTimeStamp` does.
    """
    match = _DATE_TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None or (zone and not match["zone"]):
        return False
    try:
        read(text)
    except ValueError:
        return False
    return True


def iso(milliseconds: int) -> str:
    """Formats as ISO 8601 in UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    seconds, rest = divmod(bounded(milliseconds), 1000)
    return f"{_at(seconds):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z".zfill(24)


def iso_seconds(milliseconds: int) -> str:
    """Formats as ISO 8601 in UTC, to the second: `2026-01-31T12:00:00Z`."""
    return f"{_at(bounded(milliseconds) // 1000):%Y-%m-%dT%H:%M:%SZ}".zfill(20)


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
