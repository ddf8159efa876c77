"""The local host in front of the service answers odd requests as the real Functions host did.

What the host itself answers is compared whole. Of the service's own answers, which change with it, status, headers and
a problem's type are. Where the service answers otherwise today, on purpose, it is listed with the reason.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from tests.contract.host.requests import ask, cases
from tests.stack import Stack

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "answers.json").read_text())


def essence(answer: dict[str, Any]) -> tuple[str, dict[str, str], str]:
    """What is compared."""
    media_type = answer["headers"].get("content-type", "")
    if media_type == "application/problem+json":
        found = re.match(r'{"type":"urn:tnt:problem:([a-z-]+)"', answer["body"])
        body = found[1] if found else ""
    else:
        body = answer["body"] if media_type == "" or answer["body"].startswith("<!DOCTYPE html>") else ""
    return answer["status"], answer["headers"], body


def refused(status: int, code: str, **headers: str) -> tuple[str, dict[str, str], str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return str(status), {"content-type": "application/problem+json", **named}, code


def not_allowed(methods: str) -> tuple[str, dict[str, str], str]:
    return refused(405, "method-not-allowed", allow=methods)


# Every HTTP function takes every method now, so that it is the service that answers; it says HEAD in Allow.
METHODS = {
    "HEAD contact": ("200", {"content-type": "application/json"}, ""),
    "HEAD didcomm": ("405", not_allowed("POST")[1], ""),
    "OPTIONS contact": not_allowed("GET, HEAD, POST"),
    "OPTIONS didcomm": not_allowed("POST"),
    "PATCH contact": not_allowed("GET, HEAD, POST"),
    "PATCH didcomm": not_allowed("POST"),
    "CORS preflight": not_allowed("GET, HEAD, POST"),
    "operator HEAD": ("200", {"content-type": "application/json"}, ""),
    "operator PATCH": not_allowed("DELETE, GET, HEAD, PUT"),
    "method override": not_allowed("DELETE, GET, HEAD, PUT"),
}
# A body that does not arrive, or is compressed, is not taken for an empty or a broken one.
BODIES = {
    "POST chunked": refused(411, "length-required"),
    "POST chunked envelope": refused(411, "length-required"),
    "POST chunked with a length": refused(411, "length-required"),
    "POST gzip": refused(415, "unsupported-media-type", accept_encoding="identity"),
}
# It says where to go.
ROOT = {path: ("200", {"content-type": "application/json"}, "") for path in ("GET /api", "GET /api/")}
# The service checks operators' keys itself, which the host did, and takes none in a URL.
KEYS = {
    "operator without a key": refused(401, "operator-key-missing"),
    "operator with a wrong key": refused(401, "operator-key-unknown"),
    "operator by ?code=": refused(401, "operator-key-missing"),
}
# Nothing that is given is passed over: what a call does not know, and what is no uuid where one is wanted.
GIVEN = {
    "%ff": refused(400, "id-invalid"),
    "utf-8, quoted": refused(400, "id-invalid"),
    "operator": refused(400, "uuid-invalid"),
    "DELETE with a body": refused(400, "id-invalid"),
    "GET with a body": refused(400, "member-unknown"),
    "POST without a type": refused(400, "member-unknown"),
    "parameter in upper case": refused(400, "parameter-unknown"),
    "code in the query": refused(400, "parameter-unknown"),
    "parameter twice": refused(400, "query-invalid"),
    **dict.fromkeys(("plus", "bad quoting", "parameter not utf-8", "query of 7 kB"), refused(400, "email-invalid")),
}
EXPLAINED = METHODS | BODIES | ROOT | KEYS | GIVEN


async def test_odd_requests_are_answered_as_by_the_real_host(stack: Stack) -> None:
    client = await stack.register("Odd")
    asked = dict(cases([("tnt-subscription-key", client.key)], stack.operator["tnt_operator_key"]))
    assert asked.keys() == RECORDED.keys()
    answers = {name: await asyncio.to_thread(ask, stack.port, raw) for name, raw in asked.items()}
    other = {name for name, answer in answers.items() if essence(answer) != essence(RECORDED[name])}
    assert other == EXPLAINED.keys()
    assert {name: essence(answers[name]) for name in EXPLAINED} == EXPLAINED
    assert len(asked) - len(EXPLAINED) == 65
