"""A check for schemathesis, which loads this module: see `test_schemathesis`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import schemathesis

from tntcore.api.openapi import ANY_PATH
from tntcore.errors import PROBLEM_BASE

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


@schemathesis.check
def not_our_error(ctx: Any, response: Any, case: Any) -> None:
    """As schemathesis' `not_a_server_error`, but that a DID's own server is not reached is no error of this service."""
    elsewhere = response.status_code == 502 and response.json().get("type") == "urn:tnt:problem:did-unresolvable"
    assert response.status_code < 500 or elsewhere, f"answered {response.status_code}"


@schemathesis.check
def described_code(ctx: Any, response: Any, case: Any) -> None:
    """The code of a problem is among the `x-codes` of its status."""
    if response.headers.get("content-type", [""])[0].startswith("application/problem+json"):
        described = case.operation.definition.raw["responses"].get(str(response.status_code), {})
        code = response.json()["type"].removeprefix(PROBLEM_BASE)
        known = {*described.get("x-codes", ()), *(one.partition(" ")[2] for one in ANY_PATH)}
        assert code in known, f"{response.status_code} {code} is not described"


@schemathesis.hook
def filter_headers(context: schemathesis.HookContext, headers: Mapping[str, Any] | None) -> bool:
    """Leaves out what no HTTP server passes on: control characters in a header's value."""
    return not any(_CONTROL.search(str(value)) for value in (headers or {}).values())
