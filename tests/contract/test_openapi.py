"""The description of the API: complete, and true."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from tests.contract.described import WRONG_CALLS, note_webhook
from tests.stack import Stack
from tntcore.version import VERSION

VIEWER = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
SOURCE = Path(__file__).parents[2] / "tntcore"


def test_every_route_says_what_it_does(stack: Stack) -> None:
    for route in stack.app.routes:
        assert route.summary, f"{route.method} {route.path} has no summary"
        assert route.answers, f"{route.method} {route.path} does not say what it answers"
        assert route.request is not None or route.method not in ("PUT",), f"{route.method} {route.path} has no body"


def test_every_operation_says_enough_to_be_called(stack: Stack) -> None:
    document = stack.described.document
    tags = [tag["name"] for tag in document["tags"]]
    assert len(set(tags)) == len(tags)
    used = set()
    for name, operation in operations(document):
        used.update(operation["tags"])
        assert operation["summary"], name
        assert len(operation["summary"]) <= 60, f"{name}: {operation['summary']}"
        assert not operation["summary"].endswith("."), name
        for parameter in operation["parameters"]:
            assert parameter["description"], f"{name}: {parameter['name']}"
        described = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
        assert described == re.findall(r"\{(\w+)\}", name), name
        public = operation.get("security") is None
        assert public == ("401" not in operation["responses"]), f"{name}: 401 and security go together"
        assert any(status.startswith("2") for status in operation["responses"]), name
        assert "500" in operation["responses"], name
    assert used == set(tags)


def test_nothing_is_said_in_the_words_of_openapi_3_0(stack: Stack) -> None:
    """`nullable` and `example` in a schema mean nothing in 3.1; null is a type of its own."""

    def look(value: Any, where: str) -> None:
        if isinstance(value, dict):
            if "properties" in value or "type" in value:
                assert not {"nullable", "example", "exclusiveMinimum"} & value.keys(), where
            for name, one in value.items():
                if name not in ("example", "examples", "properties"):
                    look(one, f"{where}/{name}")
            for name, one in value.get("properties", {}).items():
                look(one, f"{where}/properties/{name}")

    look(stack.described.document["components"], "components")
    page = stack.described.document["components"]["schemas"]["ActionPage"]
    assert page["properties"]["next"]["type"] == ["string", "null"]
    assert page["required"] == ["total", "hits", "next"]


def test_no_two_operations_have_one_id(stack: Stack) -> None:
    ids = [operation["operationId"] for _, operation in operations(stack.described.document)]
    assert len(set(ids)) == len(ids) == len(stack.app.routes)
    called = [hook["post"]["operationId"] for hook in stack.described.document["webhooks"].values()]
    assert len({*ids, *called}) == len(ids) + len(called)


def operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, by_method in document["paths"].items():
        for method, operation in by_method.items():
            yield f"{method} {path}", operation


def test_generated_clients_can_use_it(stack: Stack) -> None:
    """What NSwag, Kiota and openapi-typescript made wrong types of, or refused."""
    document = stack.described.document
    for name, operation in operations(document):
        assert re.fullmatch(r"[a-z]+[A-Za-z0-9]*", operation["operationId"]), name
        successes = [one.get("content") for status, one in operation["responses"].items() if status.startswith("2")]
        assert all(one == successes[0] for one in successes), f"{name}: answers of two types"
        for media in (successes[0] or {}).values() if len(successes) > 1 else ():
            assert media["schema"].keys() == {"$ref"}, f"{name}: a type without a name becomes two in NSwag"
    assert not {"Action", "Index", "Task", "Type", "Object", "Range"} & document["components"]["schemas"].keys()

    def look(value: Any, where: str) -> None:
        if isinstance(value, list):
            for number, one in enumerate(value):
                look(one, f"{where}/{number}")
        if not isinstance(value, dict):
            return
        if isinstance(value.get("$ref"), str):
            assert value.keys() <= {"$ref", "description"}, f"{where}: keywords beside a reference"
        if {"type": "null"} in value.get("anyOf", ()):
            assert len(value["anyOf"]) > 2, f"{where}: null beside one type is no anyOf"
        if value.get("type") == "integer" or value.get("type") == ["integer", "null"]:
            assert value.get("format") == "int64", where
        if value.get("type") in ("object", ["object", "null"]) and "properties" not in value:
            assert value.keys() & {"additionalProperties", "$ref"}, f"{where}: an object that has no member"
        if "enum" in value and isinstance(value.get("type"), list):
            assert ("null" in value["type"]) == (None in value["enum"]), where
        for word, one in value.items():
            if word not in ("example", "examples"):
                look(one, f"{where}/{word}")

    look(document["paths"], "paths")
    look(document["components"], "components")


def test_operations_are_named_by_what_they_do(stack: Stack) -> None:
    ids = {name: operation["operationId"] for name, operation in operations(stack.described.document)}
    assert {name: ids[name] for name in ("post /connection/{uuid}/rotate", "get /delivery", "get /identity/{id}")} == {
        "post /connection/{uuid}/rotate": "rotateConnection",
        "get /delivery": "listDeliveries",
        "get /identity/{id}": "getIdentity",
    }
    assert ids["post /credential-definition"] == "createCredentialDefinition"
    assert ids["get /exchange/{uuid}/candidates"] == "getExchangeCandidates"


def test_examples_are_as_their_schemas_say(stack: Stack) -> None:
    document = stack.described.document
    checked = 0
    called = ((name, hook["post"]) for name, hook in document["webhooks"].items())
    for name, operation in (*operations(document), *called):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in (*bodies, *operation["responses"].values()):
            for media_type, media in body.get("content", {}).items():
                if "json" in media_type or "example" in media:
                    checked += 1
                    schema = {**media["schema"], "components": document["components"]}
                    errors = [error.message for error in Draft202012Validator(schema).iter_errors(media["example"])]
                    assert not errors, f"{name}: {errors}"
    assert checked > 480


def literal_codes() -> Iterator[tuple[str, str]]:
    """`409 not-connected` of each `Problem` that is made in the code with a code that is written there."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            values = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
            if node.func.id == "Problem" and len(values) == 2:
                yield f"{values[0]!s} {values[1]!s}", f"{path.name}:{node.lineno}"
            if node.func.id == "FormatError" and values:
                yield f"409 {values[0]!s}", f"{path.name}:{node.lineno}"


def test_every_error_is_in_the_document(stack: Stack) -> None:
    known = {"404 no-such-path", "405 method-not-allowed"}
    for _, operation in operations(stack.described.document):
        for status, response in operation["responses"].items():
            known |= {f"{status} {code}" for code in response.get("x-codes", ())}
    found = dict(literal_codes())
    assert len(found) > 100
    assert {code: where for code, where in found.items() if code not in known} == {}


def test_errors_are_written_as_a_status_and_a_code(stack: Stack) -> None:
    for route in stack.app.routes:
        for error in route.errors:
            assert re.fullmatch(r"[45]\d\d [a-z0-9]+(-[a-z0-9]+)*", error), (route.path, error)


def test_the_viewer_is_as_it_was_published() -> None:
    for name, digest in VIEWER.items():
        assert hashlib.sha256((SOURCE / "api" / "viewer" / name).read_bytes()).hexdigest() == digest


async def test_the_document_is_served(stack: Stack) -> None:
    answer = await stack.call("GET", "openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    document = answer.json()
    assert document == orjson.loads(orjson.dumps(stack.described.document))
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == VERSION
    assert document["servers"] == [{"url": f"{stack.url}/api"}]
    assert {"DIDCOMM_WEBHOOK", "TASK_WEBHOOK connection"} <= document["webhooks"].keys()


@pytest.mark.parametrize("path", ["docs", "docs/"])
async def test_the_page_needs_nobody_else(stack: Stack, path: str) -> None:
    answer = await stack.call("GET", path)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    text = answer.body.decode()
    for link in re.findall(r'(?:src|href)="([^"]+)"', text):
        if link != "data:,":
            asset = await stack.call("GET", link.removeprefix("/api/"))
            assert asset.status == 200, link
            assert len(asset.body) > 100
            assert asset.headers["Content-Encoding"] == "gzip"
            plain = await stack.call("GET", link.removeprefix("/api/"), accept_encoding="identity")
            assert plain.body == asset.body
            assert "Content-Encoding" not in plain.headers
    assert (await stack.call("GET", "docs/index.html")).status == 404
    assert (await stack.call("GET", "docs/..%2fhttp.py")).status == 404


def test_a_route_that_is_not_described_is_noticed(stack: Stack) -> None:
    """The check itself can fail."""
    described = stack.described
    described.check(
        "GET",
        "health",
        None,
        200,
        "application/json",
        b'{"status": "ok", "storage": {"a": true}, "version": "1", "commit": ""}',
    )
    with pytest.raises(AssertionError, match="storage"):
        described.check("GET", "health", None, 200, "application/json", b'{"status": "ok"}')
    with pytest.raises(AssertionError, match="more"):
        described.check("GET", "health", None, 200, "application/json", b'{"status": "ok", "storage": {}, "more": 1}')
    with pytest.raises(AssertionError, match="not described"):
        described.check("GET", "health", None, 418, "application/json", b"{}")
    with pytest.raises(AssertionError, match="not described"):
        described.check("GET", "nothing", None, 200, "application/json", b"{}")


def test_a_webhook_that_is_not_described_is_noticed() -> None:
    event = {"type": "urn:tnt:webhook-test", "uuid": "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b", "status": "TEST"}
    signed = {"Webhook-Id": "1"}
    note_webhook(signed, orjson.dumps(event))
    note_webhook({}, b"of somebody else")
    assert WRONG_CALLS == []
    note_webhook(signed, orjson.dumps({**event, "more": 1}))
    note_webhook(signed, orjson.dumps({**event, "type": "new"}))
    assert ["'more'" in WRONG_CALLS[0], "TASK_WEBHOOK new" in WRONG_CALLS[1]] == [True, True]
    WRONG_CALLS.clear()
