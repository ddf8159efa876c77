"""Each scope on each of a tenant's routes: a table made of the routes themselves. And keys that end."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Client, Stack
from tntcore.api.http import Request
from tntcore.storage.commit import Unit
from tntcore.storage.records import ApiToken
from tntcore.tenancy.access import Scope

NOBODY = "00000000-0000-0000-0000-000000000000"
# What takes the scope admin, and what a key that only reads may call although it is no GET. A new route is a decision.
ADMIN = {
    "GET api-token",
    "POST api-token",
    "DELETE api-token/{uuid}",
    "GET settings/{key}",
    "POST settings/{key}",
    "PUT settings/{key}",
    "DELETE settings/{key}",
    "GET settings/{key}/{entry}",
    "PUT settings/{key}/{entry}",
    "DELETE settings/{key}/{entry}",
    "POST settings/{key}/{entry}/rotate-secret",
    "POST settings/{key}/{entry}/enable",
    "POST settings/{key}/{entry}/test",
    "POST contact/{id}/erase",
    "POST identity",
    "PUT identity/{id}",
    "GET audit",
}


async def make(client: Client, **body: Any) -> tuple[dict[str, Any], str]:
    made = await client.post("api-token", body)
    return made, made["headers"]["tnt-subscription-key"]


@pytest.fixture(scope="module")
async def client(stack: Stack) -> Client:
    return await stack.register("Scoped")


async def test_each_scope_on_each_route(stack: Stack, client: Client) -> None:
    routes = {f"{route.method} {route.path}": route for route in stack.app.routes if route.access == "tenant"}
    assert {name for name, route in routes.items() if route.needs == Scope.ADMIN} >= ADMIN
    assert len(routes) > 50
    for scope in Scope:
        _, key = await make(client, name=scope, scope=scope)
        for name, route in routes.items():
            reads = route.method == "GET" and not name.endswith("/verify")  # a check again, as older clients call it
            least = Scope.ADMIN if name in ADMIN else Scope.READ if reads else Scope.SEND
            path = route.path.format_map(_Nobody())
            body = b"[]" if route.method in ("POST", "PUT") else b""
            # A body that no route takes, so that nothing is done.
            answer = await stack.app.http(Request(route.method, path, {}, {"tnt-subscription-key": key}, body))
            assert (answer.status == 403) == (not scope.covers(least)), (scope, name, answer.status, answer.body)
            if answer.status == 403:
                problem = orjson.loads(answer.body)
                assert problem["type"].endswith(":scope-too-low")
                assert f"needs {least}" in problem["detail"]


class _Nobody(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "DIDCOMM_WEBHOOK" if key == "key" else NOBODY


async def test_whose_key_it_is(stack: Stack, client: Client) -> None:
    made, key = await make(client, name="the ERP", scope="read", expiresAt="2099-01-01T00:00:00Z")
    answer = await stack.call("GET", "account", tnt_subscription_key=key)
    assert answer.status == 200, answer.body
    account = answer.json()
    assert (account["principalUuid"], account["displayName"], account["status"]) == (client.uuid, "Scoped", "ACTIVE")
    assert account["key"]["uuid"] == made["uuid"]
    assert (account["key"]["name"], account["key"]["scope"]) == ("the ERP", "read")
    assert account["key"]["expiresAt"] == "2099-01-01T00:00:00.000Z"

    async def used() -> Any:
        again = await stack.call("GET", "account", tnt_subscription_key=key)
        return again.json()["key"]["lastUsedAt"]

    last = await stack.eventually(used)
    records = (await client.tenant()).records
    before = await records.get(ApiToken, made["uuid"])
    for _ in range(10):
        assert await used() == last
    assert await records.get(ApiToken, made["uuid"]) == before, "it is not written at each call"


async def test_a_key_in_the_other_keys_header(stack: Stack, client: Client) -> None:
    [operators] = stack.operator.values()
    answer = await stack.call("GET", "account", tnt_subscription_key=operators)
    assert "Send it in tnt-operator-key" in assert_problem(answer, 401, "key-unknown")["detail"]
    answer = await stack.call("GET", "operator/me", tnt_operator_key=client.key)
    detail = assert_problem(answer, 401, "operator-key-unknown")["detail"]
    assert "A tenant's key goes in tnt-subscription-key" in detail


async def test_a_suspended_tenant_may_ask_who_it_is(stack: Stack) -> None:
    client = await stack.register("Paused")
    assert (await stack.call("POST", f"principal/{client.uuid}/suspend", **stack.operator)).status == 200
    assert (await client.get("account"))["status"] == "SUSPENDED"
    assert_problem(await client.call("GET", "api-token"), 403, "tenant-suspended")


async def test_a_key_ends(stack: Stack, client: Client) -> None:
    made, key = await make(client, expiresAt="2099-01-01T00:00:00Z")
    tenant = await client.tenant()
    unit = Unit()
    unit.merge(ApiToken.row_key(made["uuid"]), {"expiresAt": stack.app.services.now() - 1})
    await tenant.records.commit(unit)
    tenant.token_changed(made["uuid"])
    assert_problem(await stack.call("GET", "account", tnt_subscription_key=key), 401, "key-expired")
    [shown] = [hit for hit in (await client.get("api-token"))["hits"] if hit["uuid"] == made["uuid"]]
    assert shown["status"] == "EXPIRED"


async def test_keys_from_before_there_were_scopes(stack: Stack, client: Client) -> None:
    made, key = await make(client)
    tenant = await client.tenant()
    unit = Unit()
    unit.merge(ApiToken.row_key(made["uuid"]), {"scope": ""})
    await tenant.records.commit(unit)
    tenant.token_changed(made["uuid"])
    account = (await stack.call("GET", "account", tnt_subscription_key=key)).json()
    assert (account["key"]["scope"], account["key"]["expiresAt"]) == ("admin", None)
    assert (await stack.call("GET", "api-token", tnt_subscription_key=key)).status == 200


async def test_what_is_asked_wrongly(client: Client) -> None:
    for body, code in (
        ({"scope": "owner"}, "scope-invalid"),
        ({"scope": ["read"]}, "scope-invalid"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expires-at-invalid"),
        ({"expiresAt": 5}, "expires-at-invalid"),
        ({"expiresIn": 5}, "member-unknown"),
    ):
        assert_problem(await client.call("POST", "api-token", body), 400, code)


async def test_a_row_whose_hash_is_another_opens_nothing(stack: Stack, client: Client) -> None:
    """As an earlier try leaves one that nobody got the answer of."""
    made, key = await make(client)
    tenant = await client.tenant()
    unit = Unit()
    unit.merge(ApiToken.row_key(made["uuid"]), {"hash": "0" * 64})
    await tenant.records.commit(unit)
    tenant.token_changed(made["uuid"])
    assert_problem(await stack.call("GET", "account", tnt_subscription_key=key), 401, "key-unknown")
