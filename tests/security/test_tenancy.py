"""One tenant reaches nothing of another's; nobody gets in without a key; what is deleted is gone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from yarl import URL

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.api.http import Request
from tntcore.app import App
from tntcore.keys.custody import CustodyError
from tntcore.storage.records import Message, Principal


@dataclass
class Owner:
    """A tenant with one of everything.

    Attributes:
        objects: for each beginning of a path up to its variable, what to put in its place: the owner's objects.
    """

    client: Client
    foreign: Foreign
    objects: dict[str, list[str]] = field(default_factory=dict)


# What a request to a route has to carry, so that it is refused for whose object it is and for nothing else.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "action/{uuid}"): {"command": "message", "data": {"message": basic()}},
    ("PUT", "contact/{id}"): {"contact": {"displayName": "Mallory"}},
    ("PUT", "identity/{id}"): {"displayName": "Mallory"},
    ("POST", "settings/{key}"): {"setting": []},
    ("PUT", "settings/{key}"): {"setting": []},
    ("PUT", "settings/{key}/{entry}"): {"url": "https://mallory.example/hook"},
}
# Each tenant has its own settings, by the same keys: these make the caller's.
OWN = {("POST", "settings/{key}"), ("PUT", "settings/{key}"), ("PUT", "settings/{key}/{entry}")}


@pytest.fixture(scope="module")
async def owner(stack: Stack) -> Owner:
    client = await stack.register("Owner")
    hook = await client.webhook()
    foreign = await connect_foreign(stack, client)
    attached = {"@type": "t", "@id": "1", "a~attach": {"data": {"secret": 1}}}
    assert (await stack.deliver(foreign.v1(orjson.dumps(attached)))).status == 202
    got = (await hook.until(lambda hook: True)).json()
    token = (await client.get("api-token"))["hits"][0]
    [entry] = (await client.get("settings/DIDCOMM_WEBHOOK"))["setting"]
    contact = await client.get(f"contact/{foreign.connection.contact_uuid}")
    credential = await _answered(stack, client, foreign, "issue-credential/1.0", "request-credential")
    schema = await client.post("schema", {"name": "secret", "version": "1.0", "attributes": ["secret"]})
    definition = await client.post("credential-definition", {"schemaId": schema["uuid"]})
    presentation = await _answered(stack, client, foreign, "present-proof/1.0", "request-presentation")
    terms = {"url": "https://owner.example/terms", "document": {"@context": {"secret": "https://owner.example/secret"}}}
    return Owner(
        client,
        foreign,
        {
            "action/{uuid}": [got["actionUuid"]],
            "api-token/{uuid}": [token["uuid"]],
            "asset-data/{uuid}": got["assetDataUuids"],
            "connection/{uuid}": [got["connectionUuid"]],
            "schema/{uuid}": [schema["uuid"]],
            "credential-definition/{uuid}": [definition["uuid"]],
            "credential/{uuid}": credential["credentialUuids"],
            "exchange/{uuid}": [credential["uuid"], presentation["uuid"]],
            "presentation/{uuid}": presentation["presentationUuids"],
            "context/{uuid}": [(await client.post("context", terms))["uuid"]],
            "contact/{id}": [contact["uuid"], contact["did"]],
            "delivery/{uuid}": [got["eventUuid"]],
            "delivery/replay/{uuid}": [(await client.post("delivery/replay", {"since": "2100-01-01"}, 202))["uuid"]],
            "identity/{id}": [client.identity["uuid"], client.identity["did"].replace("%", "%25")],
            "invitation/{uuid}": [(await client.post("invitation", {}))["uuid"]],
            "message/{uuid}": [got["assetUuid"]],
            "principal/{uuid}": [client.uuid],
            "settings/{key}": ["DIDCOMM_WEBHOOK"],
            "settings/{key}/{entry}": [f"DIDCOMM_WEBHOOK/{entry['id']}"],
        },
    )


_ATTACHED = {
    "request-credential": "requests~attach",
    "issue-credential": "credentials~attach",
    "request-presentation": "request_presentations~attach",
    "presentation": "presentations~attach",
}


async def _answered(stack: Stack, client: Client, foreign: Foreign, protocol: str, asked: str) -> Any:
    """The exchange of what the client asked for, once it has come."""

    def message(name: str) -> dict[str, Any]:
        attached = {_ATTACHED[name]: [{"@id": "1", "data": {"json": {"secret": 1}}}]}
        return {"@type": f"https://didcomm.org/{protocol}/{name}", **attached}

    action = await client.act(foreign.connection.contact_uuid, message(asked))
    answer = "presentation" if asked == "request-presentation" else "issue-credential"
    reply = {**message(answer), "@id": f"{protocol}/answer", "~thread": {"thid": action["referenceID"]}}
    assert (await stack.deliver(foreign.v1(orjson.dumps(reply)))).status == 202

    async def check() -> Any:
        exchange = await client.get(f"exchange/{action['uuid']}")
        return exchange if exchange["status"] == "WAITING" else None

    return await stack.eventually(check)


@pytest.fixture(scope="module")
async def mallory(stack: Stack) -> Client:
    return await stack.register("Mallory")


def _path(route: str, value: str) -> str:
    head, _, rest = route.partition("{")
    return head + value + rest.rpartition("}")[2]


async def everything(owner: Owner) -> dict[str, Any]:
    """All that the owner can see of itself."""
    client = owner.client
    seen = {}
    for route, values in owner.objects.items():
        if not route.startswith(("principal", "api-token", "settings/{key}/{entry}")):
            for value in values:
                seen[_path(route, value)] = await client.get(_path(route, value))
    # What is sent to the agent, which does not answer, is tried again all the while.
    for noun in ("action", "api-token", "connection", "contact", "delivery?kind=webhook", "identity", "message"):
        seen[noun] = await client.get(noun)
    return seen


async def test_another_tenants_objects_are_not_there(stack: Stack, owner: Owner, mallory: Client) -> None:
    before = await everything(owner)
    checked = 0
    for route in stack.app.routes:
        if "{" not in route.path or route.access != "tenant":
            continue
        noun = route.path.rpartition("}")[0] + "}"
        assert noun in owner.objects, f"give {route.path} an object of the owner's to try"
        for value in owner.objects[noun]:
            body = BODIES.get((route.method, route.path), {}) if route.method in ("POST", "PUT") else None
            answer = await mallory.call(route.method, _path(route.path, value), body)
            if (route.method, route.path) in OWN:
                assert answer.status in (200, 201)
                assert (await mallory.call("DELETE", _path(route.path, value))).status == 204
                continue
            assert answer.status == 404, (route.method, route.path, answer.body)
            assert answer.headers["Content-Type"] == "application/problem+json"
            checked += 1
            # With the owner's key, the same request finds it: the 404 was for whose it is. GET ../verify, which older
            # clients call, checks it again and so changes it.
            if route.method == "GET" and not route.path.endswith("/verify"):
                assert (await owner.client.call("GET", _path(route.path, value))).status == 200 or (
                    route.path == "api-token/{uuid}"
                )
    assert checked >= 15
    assert await everything(owner) == before


async def test_another_tenants_objects_cannot_be_named_in_a_body(stack: Stack, owner: Owner, mallory: Client) -> None:
    own = await connect_foreign(stack, mallory)
    identity, contact = owner.client.identity, owner.foreign.connection.contact_uuid
    message = {"type": "DIDCOMM", "data": {"message": basic("stolen")}}
    for action, code in (
        ({"from": identity["uuid"], "to": contact}, "identity-unknown"),
        ({"from": identity["did"], "to": owner.foreign.theirs.id}, "identity-unknown"),
        ({"from": identity["uuid"], "to": own.connection.contact_uuid}, "identity-unknown"),
        ({"to": contact}, "contact-unknown"),
        ({"to": own.theirs.id, "config": {"contactUuid": contact}}, "contact-unknown"),
        ({"to": identity["did"]}, "contact-unknown"),
    ):
        assert_problem(await mallory.call("POST", "action", {**message, **action}), 404, code)
    body = {"contact": {"did": "did:example:x"}, "identityId": identity["uuid"]}
    assert_problem(await mallory.call("POST", "contact", body), 404, "identity-unknown")
    # Its own message may well carry another tenant's thread id: it is another thread.
    thread = (await owner.client.get("action"))["hits"][0]
    made = await mallory.act(own.connection.contact_uuid, basic(), referenceID=thread["referenceID"])
    assert made["uuid"] != thread["uuid"]
    assert (await mallory.get(f"action/{made['uuid']}"))["messages"] == made["messages"]


# Members of bodies, and parameters of queries, that name something; each is tried with each object of the owner's.
NAMES = (
    "from", "to", "identityId", "contactUuid", "connectionUuid", "actionUuid", "exchangeUuid", "invitationId",
    "invitationUuid", "credentialUuid", "credentialUuids", "presentationUuid", "messageUuid", "schemaId",
    "credentialDefinitionId", "referenceID", "principalUuid", "uuid", "id",
)  # fmt: skip
QUERIES = (
    "action", "actionUuid", "contact", "contactUuid", "connection", "connectionUuid", "identity", "identityDid",
    "contactDid", "did", "message", "exchange", "parent", "principal", "principalUuid", "since", "next", "uuid",
)  # fmt: skip


def _objects(owner: Owner) -> list[str]:
    given = [value for noun, values in owner.objects.items() if noun != "settings/{key}" for value in values]
    return [*given, owner.foreign.theirs.id, owner.foreign.ours.id]


async def _counts(client: Client) -> dict[str, Any]:
    nouns = ("action", "connection", "contact", "delivery", "identity", "message", "invitation", "exchange")
    answers = {noun: await client.call("GET", noun) for noun in nouns}
    return {noun: answer.json()["hits"] for noun, answer in answers.items() if answer.status == 200}


def _settled(name: str, value: Any) -> Any:
    """Without what the owner's own deliveries, on their way all the while, write as they come to an end."""
    if name.startswith(("delivery", "message", "action")):
        if isinstance(value, dict):
            passing = (
                "updatedAt",
                "status",
                "typeStatus",
                "attempts",
                "failures",
                "nextAttemptAt",
                "error",
                "duration",
            )
            return {key: _settled(name, inner) for key, inner in value.items() if key not in passing}
        if isinstance(value, list):
            return [_settled(name, inner) for inner in value]
    return value


async def test_no_body_of_any_route_reaches_another_tenants_objects(
    stack: Stack, owner: Owner, mallory: Client
) -> None:
    """Every route that takes a body: a member alone, and all at once, name each of the owner's objects."""
    before, values = [await everything(owner), await _counts(owner.client)], _objects(owner)
    own = await connect_foreign(stack, mallory)
    good = {"type": "DIDCOMM", "data": {"message": basic("stolen")}, "to": own.connection.contact_uuid}
    mine = {"command": "accept", "contact": {"displayName": "x", "email": "x@example.com"}, "displayName": "x"}
    checked = 0
    for route in stack.app.routes:
        if route.access != "tenant" or route.method not in ("POST", "PUT") or "{" in route.path:
            continue
        bodies: list[dict[str, Any]] = [{**mine, **dict.fromkeys(NAMES, value)} for value in values]
        bodies += [{**good, **mine, name: values[number % len(values)]} for number, name in enumerate(NAMES)]
        bodies += [{**good, "config": dict.fromkeys(NAMES, value)} for value in values]
        for body in bodies:
            with stack.described.whatever_is_asked():
                answer = await mallory.call("POST", route.path, body)
            assert answer.status < 500, (route.path, body, answer.body)
            checked += 1
            sent = str(body)
            for value in values:
                assert value in sent or value.encode() not in answer.body, (route.path, body, answer.body)
            assert owner.client.uuid in sent or owner.client.uuid.encode() not in answer.body
            assert b"secret" not in answer.body
    assert checked >= 300
    after = [await everything(owner), await _counts(owner.client)]
    for was, now in zip(before, after, strict=True):
        for name in was:
            assert _settled(name, now[name]) == _settled(name, was[name]), name


async def test_no_query_of_any_list_reaches_another_tenants_objects(
    stack: Stack, owner: Owner, mallory: Client
) -> None:
    """Every list: each parameter names an object of the owner's, of every kind."""
    values, checked = _objects(owner), 0
    theirs = {hit["uuid"] for hits in (await _counts(owner.client)).values() for hit in hits} | set(values)
    for route in stack.app.routes:
        if route.access != "tenant" or route.method != "GET" or "{" in route.path:
            continue
        for name in QUERIES:
            for value in values if name in ("next", "action", "contact") else [values[checked % len(values)]]:
                quoted = value.replace("%", "%25").replace("#", "%23").replace("+", "%2B")
                with stack.described.whatever_is_asked():
                    answer = await mallory.call("GET", f"{route.path}?{name}={quoted}")
                assert answer.status < 500, (route.path, name, value, answer.body)
                checked += 1
                if answer.status == 200:
                    shown = answer.json()
                    assert all(hit.get("uuid") not in theirs for hit in shown.get("hits", [])), (route.path, name)
                    assert owner.client.uuid.encode() not in answer.body
                    assert b"secret" not in answer.body
    assert checked >= 200


async def test_filters_reach_nothing_else(owner: Owner, mallory: Client) -> None:
    value = owner.objects
    quote = "' or PartitionKey ne 'x"
    for query in (
        f"message?action={value['action/{uuid}'][0]}",
        f"message?contact={value['contact/{id}'][0]}",
        f"message?connection={value['connection/{uuid}'][0]}",
        f"message?next={value['message/{uuid}'][0]}",
        f"message?type={quote}",
        f"message?action={quote}",
        f"asset?actionUuid={value['action/{uuid}'][0]}",
        f"contact?did={owner.foreign.theirs.id}",
        f"contact?did={quote}",
        f"delivery?message={value['message/{uuid}'][0]}",
        f"delivery?contact={value['contact/{id}'][0]}",
        f"delivery?next={value['delivery/{uuid}'][0]}",
        f"delivery?webhookId={quote}",
        "delivery?since=2000-01-01&until=2100-01-01",
        f"action?status={quote}",
        f"connection?identityDid={owner.client.identity['did']}",
        "action?next=.",
        "identity?next=~",
        "identity?next=principal~",
    ):
        answer = await mallory.call("GET", query.replace(" ", "%20"))
        assert answer.status in (200, 400), (query, answer.body)
        assert owner.client.uuid.encode() not in answer.body
        assert b"secret" not in answer.body
        for hit in answer.json().get("hits", []):
            assert hit["uuid"] not in {uuid for values in value.values() for uuid in values}, query


def _sample(path: str) -> str:
    return re.sub(r"\{\w+\}", "00000000-0000-0000-0000-000000000000", path)


async def test_no_tenant_route_without_a_key(stack: Stack) -> None:
    client = await stack.register("Revoked")
    made = await client.post("api-token", {"name": "second"})
    second = made["headers"]["tnt-subscription-key"]
    assert (await stack.call("GET", "identity", tnt_subscription_key=second)).status == 200
    [token] = [hit for hit in (await client.get("api-token"))["hits"] if hit["name"] == "second"]
    assert (await client.call("DELETE", f"api-token/{token['uuid']}")).status == 204
    checked = 0
    for route in stack.app.routes:
        if route.access != "tenant":
            continue
        checked += 1
        body: dict[str, Any] | None = None if route.method == "GET" else {}
        path = _sample(route.path)
        assert_problem(await stack.call(route.method, path, body), 401, "key-missing")
        for key in ("x", "tnt_" + "A" * 43, second, client.uuid, client.key + "x", client.key[:-1], " "):
            answer = await stack.call(route.method, path, body, tnt_subscription_key=key)
            assert answer.status == 401, (route.method, path, key)
        assert_problem(
            await stack.call(route.method, f"{path}?tnt-subscription-key={client.key}", body), 401, "key-missing"
        )
        answer = await stack.call(route.method, path, body, **stack.operator)
        assert_problem(answer, 401, "key-missing")
    assert checked >= 25


async def test_a_key_in_the_query_where_the_operator_allows_it(stack: Stack) -> None:
    client = await stack.register("In the query")
    services = stack.app.services
    allowing = App(replace(services, config=replace(services.config, key_in_query=True)))
    for app, status in ((allowing, 200), (stack.app, 401)):
        answer = await app.http(Request("GET", "identity", {"tnt-subscription-key": client.key}, {}, b""))
        assert answer.status == status
    wrong = await allowing.http(Request("GET", "identity", {"tnt-subscription-key": "x"}, {}, b""))
    assert wrong.status == 401


async def test_every_route_is_accounted_for(stack: Stack) -> None:
    """A new public or operator route is a decision: it is made here."""
    others = {(route.method, route.path, route.access) for route in stack.app.routes if route.access != "tenant"}
    assert others == {
        ("POST", "didcomm", "public"),
        ("GET", "", "public"),
        ("GET", "health", "public"),
        ("GET", "openapi.json", "public"),
        ("GET", "openapi-3.0.json", "public"),
        ("GET", "docs", "public"),
        ("GET", "docs/{file}", "public"),
        ("GET", "console", "public"),
        ("GET", "console/{file}", "public"),
        ("GET", "i", "public"),
        ("GET", "i/{code}", "public"),
        ("GET", "i/page/{file}", "public"),
        ("GET", "identity/{uuid}/did.json", "public"),
        ("GET", "identity/{uuid}/resources/{digest}", "public"),
        ("GET", "identity/{uuid}/resources/{digest}/status/{time}", "public"),
        ("GET", "identity/{uuid}/status-list/{number}", "public"),
        ("POST", "principal", "operator"),
        ("GET", "principal", "operator"),
        ("POST", "principal/{uuid}/suspend", "operator"),
        ("GET", "principal/{uuid}/usage", "operator"),
        ("POST", "principal/{uuid}/resume", "operator"),
        ("POST", "principal/rewrap", "operator"),
        ("GET", "principal/{uuid}", "operator"),
        ("PUT", "principal/{uuid}", "operator"),
        ("POST", "principal/{uuid}/recount", "operator"),
        ("DELETE", "principal/{uuid}", "operator"),
        ("GET", "backlog", "operator"),
        ("GET", "poison", "operator"),
        ("GET", "poison/{queue}/{message}", "operator"),
        ("DELETE", "poison/{queue}/{message}", "operator"),
        ("POST", "poison/replay", "operator"),
        ("POST", "operator/first", "host"),
        ("POST", "operator", "operator"),
        ("GET", "operator", "operator"),
        ("POST", "operator/revoke", "operator"),
        ("GET", "operator/me", "operator"),
        ("GET", "operator/audit", "operator"),
        ("GET", "principal/{uuid}/audit", "operator"),
        ("POST", "operator/{uuid}/rotate", "operator"),
        ("DELETE", "operator/{uuid}", "operator"),
    }


async def test_operator_routes_need_an_operators_key(stack: Stack, owner: Owner) -> None:
    client = owner.client
    for route in (route for route in stack.app.routes if route.access == "operator"):
        method = route.method
        path = route.path.format(uuid=client.uuid, queue="inbound", message="x")
        body = {"displayName": "x"} if method in ("POST", "PUT") else None
        for spelling in (
            path,
            path.capitalize(),
            path + "/",
            f"/{path}",
            f"./{path}",
            f"x/../{path}",
            f"%70{path[1:]}",
        ):
            attempts: list[dict[str, str]] = [
                {},
                {"tnt_operator_key": ""},
                {"tnt_operator_key": "wrong"},
                {"tnt_operator_key": client.key},
                {"tnt_operator_key": stack.operator["tnt_operator_key"][:-1] + "~"},
                {"authorization": f"Bearer {stack.operator['tnt_operator_key']}"},
                {"x_functions_key": stack.host.keys.master},
                {"tnt_subscription_key": client.key},
            ]
            for headers in attempts:
                url = URL(f"{stack.url}/api/{spelling}", encoded=True)
                given = {name.replace("_", "-"): value for name, value in headers.items()}
                async with stack.session.request(method, url, json=body, headers=given) as answer:
                    assert answer.status in (401, 404, 405), (method, spelling, headers, answer.status)
                    assert client.uuid.encode() not in await answer.read()
    assert (await client.get("identity"))["hits"]


async def test_deleting_a_principal(stack: Stack) -> None:
    client = await stack.register("Deleted")
    await client.webhook()
    foreign = await connect_foreign(stack, client)
    packed = foreign.v1(orjson.dumps(basic("gone", **{"@id": "1"})))
    assert (await stack.deliver(packed)).status == 202
    got = (await client.receivers[0].until(lambda hook: True)).json()
    did_document = f"identity/{client.identity['uuid']}/did.json"
    assert (await stack.call("GET", did_document)).status == 200
    records = (await client.tenant()).records
    body = (await records.get(Message, got["assetUuid"])).body  # type: ignore[union-attr]
    assert b"gone" not in body

    answer = await stack.call("DELETE", f"principal/{client.uuid}", **stack.operator)
    assert (answer.status, answer.body) == (204, b"")
    for method, path in (("GET", "identity"), ("GET", f"message/{got['assetUuid']}"), ("POST", "action")):
        assert_problem(await client.call(method, path, None if method == "GET" else {}), 401, "key-unknown")
    assert_problem(await stack.call("GET", did_document), 404, "identity-unknown")
    assert_problem(await stack.deliver(packed), 404, "recipient-unknown")
    shown = (await stack.call("GET", f"principal/{client.uuid}", **stack.operator)).json()
    assert shown["status"] == "DELETED"

    # The key that its data was sealed under is nowhere any more.
    row = await stack.app.services.storage.records.get(client.uuid, Principal.row_key(client.uuid))
    assert row is not None
    assert not row.values.get("dataKey")
    with pytest.raises(CustodyError):
        await stack.app.services.custody.data_key(client.uuid)
    assert await stack.app.services.tenants.get(client.uuid) is None
    again = await stack.call("DELETE", f"principal/{client.uuid}", **stack.operator)
    assert again.status in (204, 404)


async def test_principals_that_are_not_there(stack: Stack) -> None:
    for name, status in (("00000000-0000-0000-0000-000000000000", 404), ("x", 400), ("a%27b", 400), ("x" * 2000, 400)):
        for method in ("GET", "DELETE"):
            answer = await stack.call(method, f"principal/{name}", **stack.operator)
            assert answer.status == status, (method, name[:20], answer.status)
