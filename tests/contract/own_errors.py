"""A check for schemathesis, which loads this module: see `test_schemathesis`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import schemathesis

from tntcore.api.openapi import ANY_PATH
from tntcore.errors import PROBLEM_BASE

_REFUSED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\xff]")


@schemathesis.check
def not_our_error(ctx: Any, response: Any, case: Any) -> None:
    """As schemathesis' `not_a_server_error`, but that a DID's own server is not reached is no error of this service."""
    elsewhere = response.status_code == 502 and response.json().get("type") == "urn:tnt:problem:did-unresolvable"
    assert response.status_code < 500 or elsewhere, f"answered {response.status_code}"


@schemathesis.check
def described_code(ctx: Any, response: Any, case: Any) -> None:
    """The code of a problem is among the `x-codes` of its status."""
    # Another method at this path may be another operation.
    described = case.method.upper() == case.operation.method.upper()
    if described and response.headers.get("content-type", [""])[0].startswith("application/problem+json"):
        answers = case.operation.definition.raw["responses"].get(str(response.status_code), {})
        code = response.json()["type"].removeprefix(PROBLEM_BASE)
        known = {*answers.get("x-codes", ()), *(one.partition(" ")[2] for one in ANY_PATH)}
        assert code in known, f"{response.status_code} {code} is not described"


@schemathesis.hook
def filter_headers(context: schemathesis.HookContext, headers: Mapping[str, Any] | None) -> bool:
    """Leaves out values that the host's server refuses before the service sees them: control characters and Latin-1."""
    return not any(_REFUSED.search(str(value)) for value in (headers or {}).values())
