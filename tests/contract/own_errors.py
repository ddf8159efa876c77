"""A check for schemathesis, which loads this module: see `test_schemathesis`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import schemathesis


@schemathesis.check
def not_our_error(ctx: Any, response: Any, case: Any) -> None:
    """As schemathesis' `not_a_server_error`, but that a DID's own server is not reached is no error of this service."""
    elsewhere = response.status_code == 502 and response.json().get("type") == "urn:tnt:problem:did-unresolvable"
    assert response.status_code < 500 or elsewhere, f"answered {response.status_code}"


@schemathesis.hook
def filter_headers(context: schemathesis.HookContext, headers: Mapping[str, Any] | None) -> bool:
    """Leaves out what no HTTP server passes on: control characters in a header's value."""
    return all(str(value).replace("\t", "").isprintable() for value in (headers or {}).values())
