"""What every call has in common: methods, how a body comes, browsers of other sites."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Answer, Client, Stack
from tntcore.api.cors import Cors

SITE = "https://console.example.com"


async def send(
    stack: Stack, method: str, path: str, body: bytes | AsyncIterator[bytes] | None, **headers: str
) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with stack.session.request(method, f"{stack.url}/api/{path}", data=body, headers=given) as response:
        return Answer(response.status, dict(response.headers), await response.read())


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    yield body


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("HEAD", "didcomm", "POST"),
        ("OPTIONS", "didcomm", "POST"),
        ("PATCH", "didcomm", "POST"),
        ("PATCH", "contact", "GET, HEAD, POST"),
        ("OPTIONS", "contact", "GET, HEAD, POST"),
        ("PATCH", "contact/x", "DELETE, GET, HEAD, PUT"),
        ("PATCH", "principal", "GET, HEAD, POST"),
        ("PATCH", "poison/replay", "POST"),
    ],
)
async def test_a_method_that_a_path_does_not_take(
    pair: tuple[Client, Client], method: str, path: str, allowed: str
) -> None:
    acme, _ = pair
    answer = await send(acme.stack, method, path, None, tnt_subscription_key=acme.key, **acme.stack.operator)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert answer.headers["Content-Type"] == "application/problem+json"
    if method != "HEAD":
        assert_problem(answer, 405, "method-not-allowed")


async def test_head_is_answered_wherever_get_is(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    examples = {"{id}": acme.identity["uuid"], "{uuid}": acme.identity["uuid"], "{key}": "DIDCOMM_WEBHOOK"}
    paths = [route.path for route in acme.stack.app.routes if route.method == "GET"]
    assert len(paths) > 20
    for path in paths:
        for name, value in examples.items():
            path = path.replace(name, value)
        headers = {"tnt_subscription_key": acme.key, **acme.stack.operator}
        got = await send(acme.stack, "GET", path, None, **headers)
        head = await send(acme.stack, "HEAD", path, None, **headers)
        assert (head.status, head.body) == (got.status, b"")
        assert head.headers.get("Content-Type") == got.headers.get("Content-Type"), path


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "contact"), ("POST", "didcomm"), ("POST", "connection/{id}/reject"), ("PUT", "identity/{id}")],
)
async def test_a_body_in_chunks_is_refused_and_not_taken_for_none(
    pair: tuple[Client, Client], method: str, path: str
) -> None:
    acme, _ = pair
    answer = await send(
        acme.stack,
        method,
        path.format(id=acme.identity["uuid"]),
        pieces(b'{"reason": "no"}'),
        tnt_subscription_key=acme.key,
        content_type="application/json",
    )
    assert_problem(answer, 411, "length-required")
    assert "Content-Length" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["contact", "didcomm"])
async def test_a_compressed_body_is_refused(pair: tuple[Client, Client], path: str) -> None:
    acme, _ = pair
    answer = await send(
        acme.stack,
        "POST",
        path,
        gzip.compress(b"{}"),
        tnt_subscription_key=acme.key,
        content_type="application/json",
        content_encoding="gzip",
    )
    assert_problem(answer, 415, "unsupported-media-type")
    assert "Content-Encoding: gzip" in answer.json()["detail"]
    assert answer.headers["Accept-Encoding"] == "identity"


async def test_a_body_that_says_it_is_not_compressed_is_taken(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    made = await acme.call("POST", "invitation", {}, content_encoding="identity")
    assert made.status == 201


async def test_the_root_says_where_to_go(stack: Stack) -> None:
    for path in ("", "/"):
        async with stack.session.get(f"{stack.url}/api{path}") as response:
            places = await response.json()
        for url in places.values():
            async with stack.session.get(url) as response:
                assert response.status == 200


async def test_browsers_of_other_sites_are_told_nothing(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    answer = await acme.call("GET", "contact", origin=SITE)
    assert answer.status == 200
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    asked = await send(acme.stack, "OPTIONS", "contact", None, origin=SITE, access_control_request_method="GET")
    assert_problem(asked, 405, "method-not-allowed")


async def test_browsers_of_sites_that_are_named(pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    acme, _ = pair
    monkeypatch.setattr(acme.stack.app._router, "_cors", Cors([SITE]))
    asked = await send(acme.stack, "OPTIONS", "contact/x", None, origin=SITE, access_control_request_method="PUT")
    assert asked.status == 204
    assert asked.headers["Access-Control-Allow-Origin"] == SITE
    assert asked.headers["Access-Control-Allow-Methods"] == "DELETE, GET, HEAD, PUT"
    assert "tnt-subscription-key" in asked.headers["Access-Control-Allow-Headers"]
    assert asked.headers["Vary"] == "origin"
    for path in ("contact", "contact/unknown"):
        answer = await acme.call("GET", path, origin=SITE)
        assert answer.headers["Access-Control-Allow-Origin"] == SITE
        assert "retry-after" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
    for origin in ("https://other.example.com", "null", f"{SITE}:8443", f"{SITE}.evil.example"):
        answer = await acme.call("GET", "contact", origin=origin)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "origin"
        asked = await send(acme.stack, "OPTIONS", "contact", None, origin=origin, access_control_request_method="GET")
        assert_problem(asked, 405, "method-not-allowed")
    asked = await send(acme.stack, "OPTIONS", "nothing", None, origin=SITE, access_control_request_method="GET")
    assert_problem(asked, 404, "no-such-path")
