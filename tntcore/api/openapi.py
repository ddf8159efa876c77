"""The OpenAPI 3.1 description of the API, generated from the routes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_type_hints

from tntcore.api import versions, webhook_types
from tntcore.api.given import body_shape, query_shape
from tntcore.api.http import (
    JSON,
    KEY_HEADER,
    OPERATOR_HEADER,
    PROBLEM_JSON,
    Body,
    Route,
    title_of,
)
from tntcore.api.json_schema import REFERENCE, JsonSchema, example_of, schema_of
from tntcore.api.operation_ids import operation_id, webhook_id
from tntcore.errors import PROBLEM_BASE
from tntcore.version import VERSION

_ABOUT = """A hosted DIDComm service. A company registers once and then uses plain JSON. The service holds its DIDs and
keys, encrypts what it sends, decrypts what it receives, stores every message, and relays each received message by
webhook.

Lists are paged: send the `next` of a page to get the next one. Errors are RFC 9457 problems: `type` is stable, `detail`
says what happened and what to change. Identities and contacts can be named by uuid or by DID."""

_ERRORS: Mapping[str, Sequence[str]] = {
    "any": ("500 internal",),
    "keeps": ("503 storage-unavailable", "503 keys-unavailable"),
    "tenant": (
        "401 key-missing",
        "401 key-unknown",
        "401 key-expired",
        "403 scope-too-low",
        "403 tenant-suspended",
        "429 too-many-wrong-keys",
        "429 too-much-work",
        "508 loop-detected",
    ),
    "operator": (
        "401 operator-key-missing",
        "401 operator-key-unknown",
        "401 operator-key-expired",
        "401 operator-token-invalid",
        "403 operator-network",
        "403 role-missing",
        "403 role-too-low",
        "429 too-many-wrong-keys",
        "503 issuer-unavailable",
        "508 loop-detected",
    ),
    "host": ("403 operator-network",),
    "argument": ("404 no-such-path",),
    "own": (
        "400 query-invalid",
        "400 parameter-unknown",
        "400 header-unknown",
    ),
    "conditional": ("400 header-unsupported",),
    "named": ("400 uuid-invalid",),
    "id": ("400 id-invalid",),
    "empty": ("400 member-unknown",),
    "sends": ("411 length-required", "415 unsupported-media-type"),
    "body": ("400 body-not-json", "400 body-not-an-object", "413 body-too-large"),
    "creates": (
        "400 idempotency-key-invalid",
        "409 idempotency-in-progress",
        "422 idempotency-key-reused",
    ),
    "grows": ("507 quota-exceeded",),
    "versioned": versions.ERRORS,
    "changes": ("409 changed-meanwhile",),
}
ANY_PATH = ("404 no-such-path", "405 method-not-allowed")
"""Errors of requests that match no route."""

_CONDITIONS: Sequence[JsonSchema] = [
    {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
    for name, about in (
        ("If-Match", "The `ETag` of the version to change. If it is another by now, nothing is changed (412)."),
        ("If-None-Match", "`*` if it must not exist yet."),
    )
]

_PROBLEM: JsonSchema = {
    "type": "object",
    "description": "A problem (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": f"A stable identifier: `{PROBLEM_BASE}` and a code."},
        "title": {"type": "string"},
        "status": {"type": "integer", "format": "int64"},
        "detail": {"type": "string", "description": "What happened, and what to change."},
        "traceId": {"type": "string", "description": "Give this id to the operator when you report the problem."},
    },
    "required": ["type", "title", "status", "detail", "traceId"],
}
_SECURITY: Mapping[str, JsonSchema] = {
    "tenant": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "A subscription key."},
    "operator": {"type": "apiKey", "in": "header", "name": OPERATOR_HEADER, "description": "An operator's key."},
    "operatorToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the operators' identity provider, if the service is configured to accept them.",
    },
    "host": {"type": "apiKey", "in": "header", "name": "x-functions-key", "description": "The functions host's key."},
}
_ARGUMENTS: Mapping[str, tuple[str, JsonSchema]] = {
    "id": ("A uuid or a DID.", {"type": "string"}),
    "key": (
        "The key of the setting.",
        {"type": "string", "enum": ["DIDCOMM_WEBHOOK", "TASK_WEBHOOK", "PRINCIPAL_SETTINGS"]},
    ),
    "entry": ("The id of an entry in the setting, or `externalSigningUrl`.", {"type": "string"}),
    "queue": ("The queue that gave the message up.", {"type": "string", "enum": ["inbound", "outbound", "relay"]}),
    "message": ("The id of a message that the queue gave up.", {"type": "string"}),
    "number": ("The number of the identity's status list, from 0.", {"type": "string", "pattern": "^[0-9]+$"}),
    "digest": ("SHA-256 of the resource, in hexadecimal.", {"type": "string"}),
    "time": ("Seconds since 1970.", {"type": "string", "pattern": "^[0-9]+$"}),
    "code": ("What a short URL ends in.", {"type": "string"}),
    "file": ("The name of the file.", {"type": "string"}),
}
_TAGS: Mapping[str, str] = {
    "action": "Send messages, on threads with one contact",
    "message": "Sent and received messages",
    "asset": "Messages, under the path that older clients use",
    "asset-data": "Attachments of messages",
    "contact": "Partners",
    "invitation": "Out-of-band invitations, to connect with partners",
    "connection": "Connections between your identities and contacts",
    "identity": "Your DIDs",
    "settings": "Your webhooks and preferences",
    "delivery": "Webhook calls and outgoing messages: every attempt, and replays",
    "credential": "Credentials: offer, request, issue and hold",
    "proof-request": "Request proof",
    "presentation": "Give proof, and verify received proof",
    "exchange": "Runs of the credential protocols, and the steps that wait for your decision",
    "context": "JSON-LD contexts of your own credential types",
    "schema": "AnonCreds schemas",
    "credential-definition": "AnonCreds credential definitions",
    "account": "Your account, and the key of this call",
    "api-token": "Your subscription keys",
    "audit": "The audit log",
    "usage": "What a tenant did in each month",
    "didcomm": "For agents: the endpoint for packed messages",
    "health": "Liveness",
    "openapi.json": "This description",
    "openapi-3.0.json": "This description, for tools that do not read OpenAPI 3.1",
    "docs": "This page",
    "console": "The console: a page to do all this without programming",
    "principal": "For operators: tenants",
    "operator": "For operators: their own keys",
    "backlog": "For operators: what waits in the queues",
    "poison": "For operators: messages that the queues gave up",
}
"""Tags in display order. A path without a tag here would have no description."""


def document(routes: Iterable[Route], public_url: str) -> dict[str, Any]:
    """Returns the OpenAPI 3.1 document of the routes.

    Raises:
        TypeError: a type in the routes cannot be described.
    """
    named: dict[str, JsonSchema] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"/{route.path}", {})[route.method.lower()] = _operation(route, named)
    called = {name: {"post": _webhook(name, hook, named)} for name, hook in webhook_types.WEBHOOKS.items()}
    return {
        "openapi": "3.1.1",
        "info": {"title": "tntcore", "version": VERSION, "description": _ABOUT, "license": _LICENSE},
        "servers": [{"url": f"{public_url}/api"}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "webhooks": called,
        "components": {
            "schemas": {
                name: {word: value for word, value in schema.items() if word != "x-type"}
                for name, schema in sorted(named.items())
            },
            "securitySchemes": dict(_SECURITY),
        },
    }


_LICENSE = {"name": "Apache 2.0", "identifier": "Apache-2.0"}


def _operation(route: Route, named: dict[str, JsonSchema]) -> dict[str, Any]:
    body = {"requestBody": _request_body(route, named)} if route.request is not None else {}
    return {
        "operationId": operation_id(route),
        "tags": [_tag(route)],
        "summary": route.summary,
        "description": _description(route),
        "parameters": _parameters(route, named),
        **body,
        "responses": _responses(route, named),
        **({"security": _security(route)} if route.access != "public" else {}),
    }


def _tag(route: Route) -> str:
    """Returns the first part of the path. A generated class for the tag `i` would be called as C# calls interfaces."""
    first = route.path.partition("/")[0] or "docs"
    return "invitation" if first == "i" else first


def _description(route: Route) -> str:
    parts = [inspect.getdoc(route.handler) or ""]
    if route.role is not None:
        parts.append(f"Role: `{route.role}`.")
    if route.access == "tenant":
        parts.append(f"Scope: `{route.needs}`.")
    return "\n\n".join(filter(None, parts))


def _security(route: Route) -> list[dict[str, Any]]:
    tokens: list[dict[str, Any]] = [{"operatorToken": []}] if route.role is not None else []
    return [{route.access: []}, *tokens]


def _parameters(route: Route, named: dict[str, JsonSchema]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for name in _arguments(route):
        about, schema = _ARGUMENTS.get(name) or _uuid_of(route)
        parameters.append({"name": name, "in": "path", "required": True, "description": about, "schema": schema})
    parameters += _query(route, named)
    if route.creates:
        about = "Makes retries safe: a call repeated with the same key within 24 hours gets the first answer again."
        text = {"type": "string", "minLength": 1, "maxLength": 255}
        parameters.append({"name": "Idempotency-Key", "in": "header", "description": about, "schema": text})
    if route.versioned and route.method != "GET":
        parameters += _CONDITIONS
    return parameters


def _arguments(route: Route) -> list[str]:
    return re.findall(r"\{(\w+)\}", route.path)


def _request_body(route: Route, named: dict[str, JsonSchema]) -> dict[str, Any]:
    content = _content(route.request, named, given=not isinstance(route.request, Body))
    media = next(iter(content.values()))
    if route.example is not None:
        media["example"] = route.example
    return {"required": not route.bodiless, "content": content}


def _responses(route: Route, named: dict[str, JsonSchema]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, of in route.answers.items():
        shown: JsonSchema = {} if of is None else {"content": _content(of, named)}
        if route.versioned and of is not None:
            shown["headers"] = {"ETag": {"description": "The version.", "schema": {"type": "string"}}}
        responses[str(status)] = {"description": _STATUS[status], **shown}
    for refused, codes in _by_status(_errors(route)).items():
        responses[refused] = _refusal(refused, codes)
    if route.access == "host":
        responses["401"] = {"description": "The host's key is missing or wrong."}
    return responses


def _errors(route: Route) -> list[str]:
    """Returns the errors of a route, as `status code`: its own, and those of what is checked before it is called."""
    arguments, typed = _arguments(route), route.access != "public"
    errors = [*_ERRORS["any"], *route.errors]
    if typed and route.query is not None:
        errors += [f"400 {code}" for code in query_shape(route.query).codes - {"query-invalid"}]
    if route.request is not None and not isinstance(route.request, Body):
        errors += [f"400 {code}" for code in body_shape(route.request).codes]
    for kind, applies in {
        "keeps": 503 not in route.answers,
        "tenant": route.access == "tenant",
        "operator": route.access == "operator",
        "host": route.access == "host",
        "argument": arguments,
        "own": typed,
        "named": typed and "uuid" in arguments,
        "id": typed and "id" in arguments,
        "empty": typed and route.request is None,
        "sends": route.method != "GET",
        "body": (typed or route.request is not None) and not isinstance(route.request, Body),
        "creates": route.creates,
        "grows": route.creates and not route.when_full and route.access == "tenant",
        "versioned": route.versioned and route.method != "GET",
        "conditional": typed and route.method != "GET",
        "changes": route.access != "public" and route.method != "GET",
    }.items():
        errors += _ERRORS[kind] if applies else ()
    return errors


def _uuid_of(route: Route) -> tuple[str, JsonSchema]:
    noun = re.findall(r"([\w-]+)/\{uuid\}", route.path)[0]
    return f"The uuid of the {noun}.", {"type": "string", "format": "uuid"}


_STATUS = {200: "Success.", 201: "Created.", 202: "Accepted.", 204: "Success.", 503: "Unhealthy."}


def _query(route: Route, named: dict[str, JsonSchema]) -> Iterable[dict[str, Any]]:
    for name, hint in get_type_hints(route.query, include_extras=True).items() if route.query is not None else ():
        schema = schema_of(hint, named)
        about = schema.pop("description", name)
        yield {"name": name, "in": "query", "description": about, "schema": schema}


def _content(of: Any, named: dict[str, JsonSchema], *, given: bool = False) -> dict[str, Any]:
    if isinstance(of, Body):
        if of.type is None:
            return {of.media_type: {"schema": {"type": "string", "format": "binary"}}}
        schema = _referred(schema_of(of.type, named), named)
        return {of.media_type: {"schema": schema, "example": example_of(schema, named)}}
    schema = _referred(schema_of(of, named, given=given), named)
    return {JSON: {"schema": schema, "example": example_of(schema, named)}}


def _referred(schema: JsonSchema, named: dict[str, JsonSchema]) -> JsonSchema:
    """Gives a union of named types a name. Of a union without one, NSwag makes a type for each status of an operation,
    and then throws for all but the first."""
    if "anyOf" not in schema:
        return schema
    name = "Or".join(one["$ref"].removeprefix(REFERENCE) for one in schema["anyOf"])
    named[name] = schema
    return {"$ref": REFERENCE + name}


def _by_status(errors: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for error in sorted(set(errors)):
        status, _, code = error.partition(" ")
        found.setdefault(status, []).append(code)
    return found


def _refusal(status: str, codes: Sequence[str]) -> dict[str, Any]:
    example = {
        "type": PROBLEM_BASE + codes[0],
        "title": title_of(codes[0]),
        "status": int(status),
        "detail": "A sentence that says what happened and what to change.",
        "traceId": "00000000000000000000000000000000",
    }
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        # Generators lose the members of a reference that has keywords beside it, so the codes are no enum of `type`.
        "x-codes": list(codes),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }


def _webhook(name: str, hook: webhook_types.Webhook, named: dict[str, JsonSchema]) -> dict[str, Any]:
    schema = schema_of(hook.body, named)
    media = {"schema": schema, "example": hook.example or example_of(schema, named)}
    about = "see Standard Webhooks 1.0.0"
    signed = ("webhook-id", "webhook-timestamp", "webhook-signature")
    return {
        "operationId": webhook_id(name),
        "summary": hook.summary,
        "description": inspect.cleandoc(hook.about),
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": about, "schema": {"type": "string"}}
            for name in signed
        ],
        "requestBody": {"required": True, "content": {JSON: media}},
        "responses": {"200": _content_of_answer(hook, named)},
    }


def _content_of_answer(hook: webhook_types.Webhook, named: dict[str, JsonSchema]) -> dict[str, Any]:
    if hook.answer is None:
        return {
            "description": "Any 2xx status means that the call was received. After any other status the "
            "service retries."
        }
    return {"description": "Done.", "content": _content(hook.answer, named)}
