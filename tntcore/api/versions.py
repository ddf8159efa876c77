"""`ETag`, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1): changes of the version that was read."""

from __future__ import annotations

import re
from typing import Final

from tntcore.api.http import Request
from tntcore.errors import Problem

_TAG = r'(?:W/)?"[!#-~\x80-\xff]*"'
_TAGS = re.compile(rf"{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")
ERRORS: Final = ("400 if-match-invalid", "400 if-none-match-invalid", "412 precondition-failed")


def check_version(request: Request, etag: str | None) -> None:
    """Checks that the request is for this version. Weak tags match no `If-Match`.

    Args:
        etag: of the object, with its quotes; None if there is none.

    Raises:
        Problem: 412 `precondition-failed`; 400 for a malformed header.
    """
    wanted, unwanted = _tags(request, "if-match"), _tags(request, "if-none-match")
    if wanted is not None and (etag is None if wanted == ["*"] else etag not in wanted):
        if etag is None:
            raise _failed("It does not exist, and If-Match names a version. Leave If-Match out to create it.")
        raise _failed("It was changed since the version that If-Match names. Read it and send the ETag of that answer.")
    if unwanted is not None and etag is not None and (unwanted == ["*"] or etag in _strong(unwanted)):
        raise _failed("It exists already. Leave If-None-Match out to replace it.")


def _failed(detail: str) -> Problem:
    return Problem(412, "precondition-failed", detail)


def _strong(tags: list[str]) -> list[str]:
    return [tag.removeprefix("W/") for tag in tags]


def _tags(request: Request, name: str) -> list[str] | None:
    value = request.headers.get(name)
    if value is None:
        return None
    value = value.strip()
    if value == "*":
        return ["*"]
    if not _TAGS.fullmatch(value):
        raise Problem(400, f"{name}-invalid", f"{name.title()} must be * or ETags as they were answered, in quotes.")
    return re.findall(_TAG, value)
