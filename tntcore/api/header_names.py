"""Refuses headers that a caller relies on and that have no effect: nearly the name of one of ours, or a condition for a
call that has no versions (RFC 9110, section 13.1).
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from typing import Final

from tntcore.api.http import KEY_HEADER, OPERATOR_HEADER, Request, Route
from tntcore.errors import Problem

_VERSIONS: Final = ("if-match", "if-none-match")
_OWN: Final = (KEY_HEADER, OPERATOR_HEADER, "idempotency-key", *_VERSIONS)
_LONGEST: Final = 40  # characters; a longer name is near to none
_NEAR: Final = 0.84  # just reaches `idempotency`, and not `if-modified-since`


def check_header_names(request: Request, route: Route) -> None:
    """Checks the headers of a request for this route.

    Raises:
        Problem: 400 `header-unknown` for nearly the name of one of ours; `header-unsupported` for a condition that is
            not checked. Caches add conditions of their own to a GET, so those are no error.
    """
    for name in request.headers:
        if len(name) <= _LONGEST and (meant := _meant(name)):
            raise Problem(400, "header-unknown", f"There is no header {name!r}. Write {meant!r}, or leave it out.")
    if route.method == "GET":
        return
    for name in ("if-unmodified-since", *(() if route.versioned else _VERSIONS)):
        if name in request.headers:
            other = "Send the ETag of an earlier answer as If-Match instead." if route.versioned else "Leave it out."
            raise Problem(400, "header-unsupported", f"This call does not check the condition {name.title()}. {other}")


@lru_cache(1024)
def _meant(name: str) -> str:
    """Returns the header of ours that a name nearly is; "" if it is one of ours, or near to none."""
    near = [] if name in _OWN else get_close_matches(name.replace("_", "-"), _OWN, n=1, cutoff=_NEAR)
    return near[0] if near else ""
