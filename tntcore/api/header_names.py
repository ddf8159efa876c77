"""Refuses headers that a caller relies on and that have no effect: nearly the name of one of ours, or a condition for a
call that has no versions (RFC 9110, section 13.1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Route
from tntcore.errors import Problem
from tntcore.nearest import by_lower_case, hint

_VERSIONS: Final = ("if-match", "if-none-match")
_OWN: Final = (KEY_HEADER, OPERATOR_HEADER, "idempotency-key", *_VERSIONS)
_BY_NAME: Final = by_lower_case(_OWN)
_LONGEST: Final = 40  # characters; a longer name is near to none
_NEAR: Final = 0.84  # just reaches `idempotency`, and not `if-modified-since`


def check_header_names(request: Request, route: Route) -> None:
    """Checks the headers of a request for this route.

    Raises:
        Problem: 400 `header-unknown` for nearly the name of one of ours; `header-unsupported` for a condition that is
            not checked. Caches add conditions of their own to a GET, so those are no error.
    """
    for name in request.headers:
        if len(name) <= _LONGEST and (near := _near(name)):
            raise Problem(400, "header-unknown", f"There is no header {name!r}{near}. Correct it, or leave it out.")
    if route.method == "GET":
        return
    for name in ("if-unmodified-since", *(() if route.versioned else _VERSIONS)):
        if name in request.headers:
            other = "Send the ETag of an earlier answer as If-Match instead." if route.versioned else "Leave it out."
            raise Problem(400, "header-unsupported", f"This call does not check the condition {name.title()}. {other}")


@lru_cache(1024)
def _near(name: str) -> str:
    """Returns the hint at the header of ours that a name nearly is; "" if it is one of ours, or near to none."""
    return "" if name in _OWN else hint(name.replace("_", "-"), _BY_NAME, _NEAR)
