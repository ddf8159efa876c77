"""Operators have keys of their own: made, listed, rotated and revoked, with a role each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Answer, Stack
from tntcore.api.http import Request
from tntcore.app import App
from tntcore.storage.commit import Unit
from tntcore.storage.records import Operator
from tntcore.tenancy.operators import HOME, OVERLAP

HOST = {"x_functions_key": "operator"}
NOBODY = "00000000-0000-0000-0000-000000000000"


async def make(stack: Stack, role: str, name: str = "Rex", **more: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A new operator, and its key as a header."""
    answer = await stack.call("POST", "operator", {"name": name, "role": role, **more}, **stack.operator)
    assert answer.status == 201, answer.body
    made = answer.json()
    return made, {"tnt_operator_key": made["headers"]["tnt-operator-key"]}


async def listed(stack: Stack) -> Mapping[str, Any]:
    answer = await stack.call("GET", "operator", **stack.operator)
    return {hit["uuid"]: hit for hit in answer.json()["hits"]}


async def test_a_key_is_shown_once_and_stored_as_a_hash(stack: Stack) -> None:
    made, key = await make(stack, "read")
    assert (made["role"], made["status"], made["madeBy"], made["expiresAt"]) == ("read", "ACTIVE", "Ada", None)
    shown = (await listed(stack))[made["uuid"]]
    assert "headers" not in shown
    row = await stack.app.services.storage.records.get(HOME, Operator.row_key(made["uuid"]))
    assert row is not None
    text = key["tnt_operator_key"]
    assert text not in str(row.values)
    assert text[5:] not in str(row.values)
    me = (await stack.call("GET", "operator/me", **key)).json()
    assert me == {"uuid": made["uuid"], "name": "Rex", "role": "read", "subject": None, "expiresAt": None}


async def test_last_use_is_written_beside_the_call(stack: Stack) -> None:
    made, key = await make(stack, "read")
    assert (await listed(stack))[made["uuid"]]["lastUsedAt"] is None
    for _ in range(5):
        assert (await stack.call("GET", "operator/me", **key)).status == 200

    async def used() -> Any:
        return (await listed(stack))[made["uuid"]]["lastUsedAt"]

    assert await stack.eventually(used)


async def test_a_role_that_is_too_low_is_told_which_it_needs(stack: Stack) -> None:
    _, key = await make(stack, "read")
    answer = await stack.call("POST", "principal", {"displayName": "x"}, **key)
    assert_problem(answer, 403, "role-too-low")
    assert "needs operate" in answer.json()["detail"]
    assert "Your role is read" in answer.json()["detail"]


async def test_an_expired_key_is_refused(stack: Stack) -> None:
    for wrong in ("2020-01-01T00:00:00Z", "soon", 7, "10000-01-01"):
        answer = await stack.call(
            "POST", "operator", {"name": "x", "role": "read", "expiresAt": wrong}, **stack.operator
        )
        assert_problem(answer, 400, "expires-at-invalid")
    made, key = await make(stack, "read", expiresAt="2099-01-01T00:00:00Z")
    assert made["expiresAt"] == "2099-01-01T00:00:00.000Z"
    unit = Unit()
    unit.merge(Operator.row_key(made["uuid"]), {"expiresAt": stack.app.services.now() - 1})
    await stack.app.services.operators.commit(unit)
    stack.app.services.operators.forget(made["uuid"])
    assert_problem(await stack.call("GET", "operator/me", **key), 401, "operator-key-expired")
    assert (await listed(stack))[made["uuid"]]["status"] == "EXPIRED"


async def test_rotation_takes_the_former_key_for_an_hour(stack: Stack, monkeypatch: Any) -> None:
    made, key = await make(stack, "operate")
    other, _ = await make(stack, "read")
    assert_problem(await stack.call("POST", f"operator/{other['uuid']}/rotate", **key), 403, "role-too-low")
    rotated = await stack.call("POST", f"operator/{made['uuid']}/rotate", **key)
    assert rotated.status == 200, rotated.body
    new = {"tnt_operator_key": rotated.json()["headers"]["tnt-operator-key"]}
    assert new != key
    for each in (key, new):
        assert (await stack.call("GET", "operator/me", **each)).status == 200
    operators = stack.app.services.operators
    now = operators._now
    monkeypatch.setattr(operators, "_now", lambda: now() + OVERLAP + 1000)
    assert_problem(await stack.call("GET", "operator/me", **key), 401, "operator-key-unknown")
    assert (await stack.call("GET", "operator/me", **new)).status == 200


async def test_a_revoked_key_is_refused_everywhere(stack: Stack) -> None:
    made, key = await make(stack, "admin")
    assert (await stack.call("GET", "operator", **key)).status == 200
    other = App(stack.app.services)
    assert (await stack.call("DELETE", f"operator/{made['uuid']}", **stack.operator)).status == 204
    assert (await stack.call("DELETE", f"operator/{made['uuid']}", **stack.operator)).status == 204
    assert_problem(await stack.call("GET", "operator", **key), 401, "operator-key-unknown")
    request = Request("GET", "operator", {}, {"tnt-operator-key": key["tnt_operator_key"]}, b"")
    assert (await other.http(request)).status == 401
    assert (await listed(stack))[made["uuid"]]["status"] == "REVOKED"
    assert_problem(
        await stack.call("POST", f"operator/{made['uuid']}/rotate", **stack.operator), 409, "operator-not-active"
    )
    assert_problem(await stack.call("DELETE", f"operator/{NOBODY}", **stack.operator), 404, "operator-unknown")


async def test_whoever_has_a_key_may_revoke_it(stack: Stack) -> None:
    made, key = await make(stack, "read")
    other, _ = await make(stack, "read")
    assert_problem(await stack.call("DELETE", f"operator/{other['uuid']}", **key), 403, "role-too-low")
    assert (await stack.call("DELETE", f"operator/{made['uuid']}", **key)).status == 204
    assert_problem(await stack.call("GET", "operator/me", **key), 401, "operator-key-unknown")
    assert (await listed(stack))[other["uuid"]]["status"] == "ACTIVE"


async def test_a_former_key_revokes_what_a_thief_rotated(stack: Stack) -> None:
    made, key = await make(stack, "read")
    rotated = await stack.call("POST", f"operator/{made['uuid']}/rotate", **key)
    assert rotated.status == 200, rotated.body
    assert (await stack.call("DELETE", f"operator/{made['uuid']}", **key)).status == 204
    assert_problem(await stack.call("GET", "operator/me", **_key(rotated)), 401, "operator-key-unknown")


async def test_all_keys_of_a_name_are_revoked_by_one_call(stack: Stack) -> None:
    keys = [await make(stack, role, "Rex Reader") for role in ("read", "operate", "admin")]
    _, others = await make(stack, "read", "Rex")
    answer = await stack.call("POST", "operator/revoke", {"name": "Rex Reader"}, **stack.operator)
    assert answer.status == 200, answer.body
    hits = answer.json()["hits"]
    assert {(hit["uuid"], hit["status"]) for hit in hits} == {(made["uuid"], "REVOKED") for made, _ in keys}
    for _, key in keys:
        assert_problem(await stack.call("GET", "operator/me", **key), 401, "operator-key-unknown")
    assert (await stack.call("GET", "operator/me", **others)).status == 200
    audit = (await stack.call("GET", "operator/audit?limit=50", **stack.operator)).json()["hits"]
    assert {made["uuid"] for made, _ in keys} <= {hit["on"] for hit in audit if hit["act"] == "operator.revoked"}
    # Once more changes nothing.
    again = await stack.call("POST", "operator/revoke", {"name": "Rex Reader"}, **stack.operator)
    assert (again.status, again.json()["hits"]) == (200, [])


async def test_all_operators_keys_are_revoked_but_the_text_that_asks_for_it(stack: Stack) -> None:
    """As after a leak: somebody has made keys, more than go in a transaction, and rotated the one that is kept."""
    mine, key = await make(stack, "admin", "Mine")
    thief, thiefs = await make(stack, "admin", "Thief")
    for number in range(45):
        await make(stack, "read", f"made {number}")
    rotated = await stack.call("POST", f"operator/{mine['uuid']}/rotate", **thiefs)
    before = await listed(stack)
    answer = await stack.call("POST", "operator/revoke", {"all": True}, **key)
    try:
        assert answer.status == 200, answer.body
        active = {uuid for uuid, hit in before.items() if hit["status"] != "REVOKED"}
        assert {hit["uuid"] for hit in answer.json()["hits"]} == active - {mine["uuid"]}
        for each in (thiefs, _key(rotated), stack.operator):
            assert_problem(await stack.call("GET", "operator/me", **each), 401, "operator-key-unknown")
        assert (await stack.call("GET", "operator/me", **key)).status == 200
        left = (await stack.call("GET", "operator", **key)).json()["hits"]
        assert [hit["uuid"] for hit in left if hit["status"] != "REVOKED"] == [mine["uuid"]]
    finally:
        # The other tests' own.
        for record in await stack.app.services.operators.all():
            if record.uuid in before and before[record.uuid]["status"] == "ACTIVE":
                await _set(stack, record, {"status": "ACTIVE"})
    assert (await stack.call("DELETE", f"operator/{thief['uuid']}", **stack.operator)).status == 204


async def test_a_key_that_another_process_revoked_makes_no_more_keys(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may take it for half a minute more, time enough to make a key that stays."""
    made, key = await make(stack, "admin", "Revoked")
    victim, _ = await make(stack, "read", "Victim")
    services = stack.app.services
    known = await services.operators.find(key["tnt_operator_key"])
    assert known is not None

    async def stale(text: str) -> Operator | None:
        return known if text == key["tnt_operator_key"] else await find(text)

    async def revoked_after(operator_uuid: str) -> Operator | None:
        found = await get(operator_uuid)
        if operator_uuid == made["uuid"]:
            await _set(stack, known, {"status": "REVOKED"})
        return found

    find, get = services.operators.find, services.operators.get
    monkeypatch.setattr(services.operators, "find", stale)
    calls: list[tuple[str, str, Any]] = [
        ("POST", "operator", {"name": "Kept", "role": "admin"}),
        ("POST", f"operator/{victim['uuid']}/rotate", None),
        ("POST", "operator/revoke", {"name": "Victim"}),
        ("DELETE", f"operator/{victim['uuid']}", None),
    ]
    for revoke in (False, True):
        for method, path, body in calls:
            await _set(stack, known, {"status": "REVOKED" if not revoke else "ACTIVE"})
            # Revoked before, or at the very moment between the check and the commit.
            with monkeypatch.context() as patch:
                if revoke:
                    patch.setattr(services.operators, "get", revoked_after)
                answer = await stack.call(method, path, body, **key)
            assert_problem(answer, 401, "operator-key-unknown")
    keys = await listed(stack)
    assert "Kept" not in {hit["name"] for hit in keys.values()}
    assert keys[victim["uuid"]]["status"] == "ACTIVE"


async def test_which_keys_are_revoked_is_said_in_one_way(stack: Stack) -> None:
    for body in ({}, {"all": False}, {"name": "Rex", "all": True}):
        answer = await stack.call("POST", "operator/revoke", body, **stack.operator)
        assert_problem(answer, 400, "operators-not-named")
    answer = await stack.call("POST", "operator/revoke", {"name": "nobody has it"}, **stack.operator)
    assert_problem(answer, 404, "operator-unknown")


async def test_making_one_again_with_the_same_idempotency_key_makes_none(stack: Stack) -> None:
    body = {"name": "Once", "role": "read"}
    first = await stack.call("POST", "operator", body, idempotency_key="once", **stack.operator)
    again = await stack.call("POST", "operator", body, idempotency_key="once", **stack.operator)
    assert (first.status, again.status) == (201, 201)
    assert first.json() == again.json()
    # Another operator's key of the same text is another call.
    _, other = await make(stack, "admin")
    third = await stack.call("POST", "operator", body, idempotency_key="once", **other)
    assert third.json()["uuid"] != first.json()["uuid"]
    names = [hit["name"] for hit in (await listed(stack)).values()]
    assert names.count("Once") == 2


async def test_what_is_asked_wrongly(stack: Stack) -> None:
    for body, code in (
        ({"name": "x"}, "role-invalid"),
        ({"name": "x", "role": "owner"}, "role-invalid"),
        ({"role": "read"}, "name-invalid"),
        ({"name": "x", "role": "read", "expiresIn": 5}, "member-unknown"),
    ):
        assert_problem(await stack.call("POST", "operator", body, **stack.operator), 400, code)


async def test_the_hosts_key_makes_the_first_key_and_nothing_else(stack: Stack) -> None:
    body = {"name": "First"}
    assert_problem(await stack.call("POST", "operator/first", body, **HOST), 409, "operator-exists")
    for given in ({}, {"x_functions_key": "wrong"}, stack.operator):
        assert (await stack.call("POST", "operator/first", body, **given)).status == 401
    for method, path in (("GET", "operator"), ("GET", "principal/x"), ("GET", "poison"), ("GET", "operator/me")):
        assert_problem(await stack.call(method, path, **HOST), 401, "operator-key-missing")


async def test_without_an_admin_the_hosts_key_makes_one_and_replaces_what_was_never_used(stack: Stack) -> None:
    operators, services = stack.app.services.operators, stack.app.services
    admins = [record for record in await operators.all() if record.role == "admin" and record.status == "ACTIVE"]
    for record in admins:
        await _set(stack, record, {"status": "REVOKED"})
    try:
        made = await asyncio.gather(
            *(stack.call("POST", "operator/first", {"name": "First"}, **HOST) for _ in range(4))
        )
        statuses = sorted(answer.status for answer in made)
        assert statuses[0] == 201
        assert set(statuses) <= {201, 409}
        again = await stack.call("POST", "operator/first", {"name": "Again"}, **HOST)
        assert again.status == 201, again.body
        usable = [record for record in await operators.all() if record.role == "admin" and record.status == "ACTIVE"]
        assert [record.name for record in usable] == ["Again"]
        uuids = {answer.json()["uuid"] for answer in made if answer.status == 201}
        audit = (await stack.call("GET", "operator/audit?limit=200", **_key(again))).json()["hits"]
        assert uuids <= {hit["on"] for hit in audit if hit["act"] == "operator.revoked"}
        assert (await stack.call("GET", "operator/me", **_key(again))).status == 200
        await services.last_used.flush()
        assert_problem(await stack.call("POST", "operator/first", {"name": "Third"}, **HOST), 409, "operator-exists")
    finally:
        for record in admins:
            await _set(stack, record, {"status": "ACTIVE"})


async def test_with_a_setting_the_hosts_key_is_of_no_use_once_a_key_was_used(stack: Stack) -> None:
    services = stack.app.services
    closed = App(replace(services, config=replace(services.config, first_operator_once=True)))
    body = orjson.dumps({"name": "By the host's key"})
    before = {record.uuid for record in await services.operators.all() if record.status == "ACTIVE"}
    try:
        for uuid in before:
            await _set(stack, Operator(uuid=uuid), {"status": "REVOKED"})
        for app, status in ((closed, 409), (stack.app, 201)):
            answer = await app.http(Request("POST", "operator/first", {}, {}, body), ("host",))
            assert answer.status == status, answer.body
    finally:
        for record in await services.operators.all():
            await _set(stack, record, {"status": "ACTIVE" if record.uuid in before else "REVOKED"})


async def test_with_that_setting_a_new_service_gets_its_first_key(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = stack.app.services.operators
    unused = Operator(uuid=NOBODY, name="never used", role="admin", made_by="the host's key", status="ACTIVE")

    async def keys() -> list[Operator]:
        return [unused]

    committed: list[Unit] = []

    async def commit(unit: Unit) -> None:
        committed.append(unit)

    monkeypatch.setattr(operators, "all", keys)
    monkeypatch.setattr(operators, "commit", commit)
    made = await operators.first("First", 0, NOBODY.replace("0", "1"), once=True)
    assert [record.uuid for record in made.replaced] == [NOBODY]
    assert len(committed) == 1


def _key(made: Answer) -> dict[str, str]:
    return {"tnt_operator_key": made.json()["headers"]["tnt-operator-key"]}


async def _set(stack: Stack, record: Operator, values: dict[str, Any]) -> None:
    unit = Unit()
    unit.merge(record.key, values)
    await stack.app.services.operators.commit(unit)
    stack.app.services.operators.forget(record.uuid)


async def test_the_operators_partition_is_no_tenant(stack: Stack) -> None:
    await stack.call("POST", "operator", {"name": "x", "role": "read"}, idempotency_key="home", **stack.operator)
    assert await stack.app.services.tenants.get(HOME) is None
    for method in ("GET", "DELETE"):
        assert_problem(await stack.call(method, f"principal/{HOME}", **stack.operator), 400, "uuid-invalid")
