"""A check for schemathesis, which loads this module: see `test_schemathesis`."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.check
def not_our_error(ctx: Any, response: Any, case: Any) -> None:
    """As schemathesis' `not_a_server_error`, but that a DID's own server is not reached is no error of this service."""
    elsewhere = response.status_code == 502 and response.json().get("type") == "urn:tnt:problem:did-unresolvable"
    assert response.status_code < 500 or elsewhere, f"answered {response.status_code}"
