"""Whether what the service says, and is told, is as its OpenAPI document has it: checked of every call in a test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs
import orjson
from jsonschema import Draft202012Validator, ValidationError, validators

from tntcore.api.http import PROBLEM_JSON, Route
from tntcore.api.openapi import ANY_PATH, document
from tntcore.errors import PROBLEM_BASE


class Described:
    """The document of these routes, held against calls. Not even a member may be said that it does not know."""

    def __init__(self, routes: Sequence[Route], public_url: str) -> None:
        self.document = document(routes, public_url)
        self._closed = closed(self.document)
        self._validators: dict[str | int, Any] = {}
        self._checks_requests = True
        self._paths = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), re.IGNORECASE), operations)
            for path, operations in self._closed["paths"].items()
        ]

    def check(self, method: str, path: str, asked: bytes | None, status: int, media_type: str, body: bytes) -> None:
        """Raises `AssertionError`. `path` is below `/api`, with its query."""
        place, _, query = path.partition("?")
        operation = self.operation(method, place)
        where = f"{method} {path[:200]} -> {status}"
        if media_type == PROBLEM_JSON:
            problem = orjson.loads(body)
            code = problem["type"].removeprefix(PROBLEM_BASE)
            assert problem["status"] == status, where
            if operation is None or f"{status} {code}" in ANY_PATH:
                assert f"{status} {code}" in ANY_PATH, f"{where}: {code} of a path that is not described"
                return
        elif operation is None:
            # The host answers for what is no function of ours.
            assert status in (401, 404), f"{where} is not described"
            assert not body, f"{where} is not described"
            return
        described = operation["responses"].get(str(status))
        assert described is not None, f"{where} is not described: {body[:300]!r}"
        if media_type == PROBLEM_JSON:
            assert code in described["x-codes"], f"{where}: {code} is not described"
        content = described.get("content", {})
        if not content:
            assert not body, f"{where} has a body that is not described"
        else:
            media = content.get(media_type) or content.get("*/*")
            assert media is not None, f"{where}: {media_type} is not described, only {', '.join(content)}"
            self._validate(media["schema"], body, where)
        if self._checks_requests and 200 <= status < 300:
            self._check_request(operation, query, asked, where)

    @contextmanager
    def whatever_is_asked(self) -> Iterator[None]:
        """For tests that ask for what is not described, on purpose."""
        self._checks_requests = False
        try:
            yield
        finally:
            self._checks_requests = True

    def check_webhook(self, body: bytes) -> None:
        """What a tenant's own system was called with."""
        called = orjson.loads(body)
        if "message" not in called:
            kind = called["type"]
            name = f"TASK_WEBHOOK {'credential' if kind == 'presentation' else kind}"
        else:
            name = "externalSigningUrl" if "algorithm" in called else "DIDCOMM_WEBHOOK"
        assert name in self._closed["webhooks"], f"{name} is not described: {body[:300]!r}"
        media = self._closed["webhooks"][name]["post"]["requestBody"]["content"]["application/json"]
        self._validate(media["schema"], body, name)

    def operation(self, method: str, place: str) -> dict[str, Any] | None:
        """The operation of a call. Of several that fit, the first is meant."""
        called = "/" + place.strip("/")
        for pattern, operations in self._paths:
            if pattern.fullmatch(called) and method.lower() in operations:
                operation: dict[str, Any] = operations[method.lower()]
                return operation
        return None

    def _check_request(self, operation: Mapping[str, Any], query: str, asked: bytes | None, where: str) -> None:
        known = {one["name"] for one in operation["parameters"] if one["in"] == "query"} | {"tnt-subscription-key"}
        assert parse_qs(query).keys() <= known, f"{where}: a parameter is not described"
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if asked:
            assert "requestBody" in operation or asked == b"{}", f"{where}: no body is described"
            if media:
                self._validate(media["schema"], asked, f"{where}, its request", _AnyCase)

    def _validate(
        self, schema: Mapping[str, Any], body: bytes, where: str, of: type[Any] = Draft202012Validator
    ) -> None:
        if schema.get("format") == "binary" or not schema:
            return
        whole = {**schema, "components": self._closed["components"]}
        name = schema.get("$ref", id(schema))
        validator = self._validators.get(name)
        if validator is None:
            validator = self._validators[name] = jsonschema_rs.Draft202012Validator(whole)
        said = orjson.loads(body)
        # The other one is twenty times slower. It takes other capitals too, and names all faults.
        if not validator.is_valid(said):
            errors = [f"{error.json_path}: {error.message[:500]}" for error in of(whole).iter_errors(said)]
            assert not errors, f"{where}: {errors}"


def _enum_in_any_case(validator: Any, enum: Sequence[Any], instance: Any, schema: Any) -> Iterator[ValidationError]:
    if str(instance).casefold() not in {str(one).casefold() for one in enum}:
        yield ValidationError(f"{instance!r} is not one of {enum!r}")


# What callers give is taken in any case.
_AnyCase = validators.extend(Draft202012Validator, {"enum": _enum_in_any_case})  # type: ignore[no-untyped-call]

WRONG_CALLS: list[str] = []
"""What tenants' systems were called with and is not described, since the test began."""


def note_webhook(headers: Mapping[str, str], body: bytes) -> None:
    """A request that anybody's system got, which may be a call of a webhook: there is no telling the service so."""
    if "webhook-id" not in {name.lower() for name in headers}:
        return
    try:
        _webhooks().check_webhook(body)
    except AssertionError as error:
        WRONG_CALLS.append(str(error))


@cache
def _webhooks() -> Described:
    return Described([], "https://tnt.example")


def closed(value: Any) -> Any:
    """The document, in which no object has a member that is not described."""
    if isinstance(value, list):
        return [closed(one) for one in value]
    if not isinstance(value, dict):
        return value
    inner = {name: one if name in ("example", "examples") else closed(one) for name, one in value.items()}
    if value.get("type") == "object" and "properties" in value and "additionalProperties" not in value:
        inner["additionalProperties"] = False
    return inner
