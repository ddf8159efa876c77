"""Who did what: each act that had an effect, once, for the tenant and for operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.scenarios.test_operators import make
from tests.stack import Client, Stack, rows_of
from tntcore.api.http import Request
from tntcore.errors import Problem
from tntcore.maintenance.retention import Retention
from tntcore.storage.commit import Changed, Unit
from tntcore.tenancy.audit import AUDITED, DAY
from tntcore.tenancy.operators import HOME


async def acts(client: Client) -> list[Any]:
    """The newest first."""
    return list((await client.get("audit?limit=200"))["hits"])


async def operators_acts(stack: Stack, headers: Mapping[str, str]) -> list[Any]:
    answer = await stack.call("GET", "operator/audit?limit=200", **headers)
    assert answer.status == 200, answer.body
    return list(answer.json()["hits"])


async def test_what_a_tenants_key_does(stack: Stack) -> None:
    client = await stack.register("Audited")
    await client.post("api-token", {"name": "second"})
    second = next(hit for hit in (await client.get("api-token"))["hits"] if hit["name"] == "second")
    hook = [{"url": "https://erp.example/hook", "headers": {"authorization": "Bearer hidden-word"}}]
    saved = await client.post("settings/DIDCOMM_WEBHOOK", {"setting": hook}, 200)
    [entry] = saved["setting"]
    await client.post(f"settings/DIDCOMM_WEBHOOK/{entry['id']}/rotate-secret", None, 200)
    await client.post("settings/PRINCIPAL_SETTINGS", {"setting": {"autoAcceptConnections": False}}, 200)
    assert (await client.call("DELETE", "settings/DIDCOMM_WEBHOOK")).status == 204
    assert (await client.call("DELETE", f"api-token/{second['uuid']}")).status == 204
    await client.post("delivery/replay", {"since": "2100-01-01"}, 202)
    seen = await acts(client)
    first = next(hit for hit in (await client.get("api-token"))["hits"] if hit["name"] == "first")
    mine = [hit for hit in reversed(seen) if hit["by"]["kind"] == "tenant"]
    assert [(hit["act"], hit["on"]) for hit in mine] == [
        ("api-token.made", second["uuid"]),
        ("setting.saved", "DIDCOMM_WEBHOOK"),
        ("webhook.secret-rotated", "DIDCOMM_WEBHOOK"),
        ("setting.saved", "PRINCIPAL_SETTINGS"),
        ("setting.deleted", "DIDCOMM_WEBHOOK"),
        ("api-token.revoked", second["uuid"]),
        ("deliveries.replayed", None),
    ]
    for hit in mine:
        assert hit["by"] == {"kind": "tenant", "id": first["uuid"], "name": "first", "role": "admin"}
        assert hit["principalUuid"] == client.uuid
        assert hit["traceId"]
    assert mine[1]["details"] == {"added": [entry["id"]], "changed": [], "removed": []}
    assert mine[3]["details"]["added"] == ["autoAcceptConnections"]
    text = str(seen)
    assert "hidden-word" not in text
    assert client.key not in text
    assert "whsec_" not in text


async def test_what_operators_do(stack: Stack) -> None:
    made, key = await make(stack, "admin", "Olga")
    answer = await stack.call("POST", "principal", {"displayName": "Watched"}, **key)
    uuid, tenant = answer.json()["uuid"], Client(stack, answer.json()["uuid"], "", {})
    tenant.key = answer.json()["headers"]["tnt-subscription-key"]
    limits = {"limits": {"messagesPerMinute": 5}}
    assert (await stack.call("PUT", f"principal/{uuid}", limits, **key)).status == 200
    assert (await stack.call("POST", f"principal/{uuid}/recount", **key)).status == 200
    expected = ["tenant.changed", "tenant.registered"]
    shown = await acts(tenant)
    assert [hit["act"] for hit in shown] == expected
    assert shown[0]["by"] == {"kind": "operator", "id": made["uuid"], "name": "Olga", "role": "admin"}
    assert shown[0]["details"] == limits
    theirs = (await stack.call("GET", f"principal/{uuid}/audit", **key)).json()["hits"]
    assert theirs == shown
    assert (await stack.call("DELETE", f"principal/{uuid}", **key)).status == 204
    assert (await stack.call("DELETE", f"principal/{uuid}", **key)).status == 204
    rex, _ = await make(stack, "read", "Rex")
    await stack.call("POST", f"operator/{rex['uuid']}/rotate", **key)
    await stack.call("DELETE", f"operator/{rex['uuid']}", **key)
    every = await operators_acts(stack, key)
    mine = [hit for hit in every if hit["by"]["id"] == made["uuid"]]
    assert [hit["act"] for hit in mine] == [
        "operator.revoked",
        "operator.rotated",
        "tenant.deleted",
        "tenant.recounted",
        *expected,
    ]
    assert {hit["status"] for hit in mine} == {"DONE"}
    # It is one record, in both lists.
    assert mine[-1]["uuid"] == shown[-1]["uuid"]
    assert every[0]["createdAt"] >= every[-1]["createdAt"]
    assert key["tnt_operator_key"] not in str(every)


async def test_what_is_refused_or_does_nothing_is_no_act(stack: Stack) -> None:
    made, key = await make(stack, "admin", "Idle")
    nobody = "00000000-0000-0000-0000-000000000000"
    for method, path, body in (
        ("POST", "principal", {}),
        ("PUT", f"principal/{nobody}", {"displayName": "x"}),
        ("DELETE", f"principal/{nobody}", None),
        ("POST", "poison/replay", {"queue": "inbound", "id": "none"}),
        ("POST", "poison/replay", {"principalUuid": nobody}),
        ("DELETE", "poison/inbound/none", None),
        ("POST", f"operator/{nobody}/rotate", None),
        ("POST", "operator", {"name": "x", "role": "owner"}),
    ):
        await stack.call(method, path, body, **key)
    assert [hit for hit in await operators_acts(stack, key) if hit["by"]["id"] == made["uuid"]] == []


def _headers(key: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in key.items()}


async def test_an_act_that_broke_off_stays_visible(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    made, key = await make(stack, "admin", "Broken")
    client = await stack.register("Half")

    async def fail(*arguments: Any) -> int:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(type(stack.app.services.usage), "recount", fail)
        assert (await stack.call("POST", f"principal/{client.uuid}/recount", **key)).status == 500
    [hit] = [hit for hit in await operators_acts(stack, key) if hit["by"]["id"] == made["uuid"]]
    assert (hit["act"], hit["status"], hit["principalUuid"]) == ("tenant.recounted", "STARTED", client.uuid)

    async def faster(*arguments: Any) -> int:
        raise Changed("x")

    with monkeypatch.context() as patch:
        patch.setattr(type(stack.app.services.usage), "recount", faster)
        assert (await stack.call("POST", f"principal/{client.uuid}/recount", **key)).status == 409
    # A lost race may have been lost to the same write, repeated.
    hits = [hit for hit in await operators_acts(stack, key) if hit["by"]["id"] == made["uuid"]]
    assert [hit["status"] for hit in hits] == ["STARTED", "STARTED"]

    async def refuse(*arguments: Any) -> int:
        raise Problem(409, "not-now", "No.")

    with monkeypatch.context() as patch:
        patch.setattr(type(stack.app.services.usage), "recount", refuse)
        request = Request("POST", f"principal/{client.uuid}/recount", {}, _headers(key), b"")
        assert (await stack.app.http(request)).status == 409
    assert len([hit for hit in await operators_acts(stack, key) if hit["by"]["id"] == made["uuid"]]) == 2


async def test_pages_and_bounds(stack: Stack) -> None:
    client = await stack.register("Paged")
    for number in range(5):
        await client.post("api-token", {"name": str(number)})
    every = await acts(client)
    assert len(every) == 6
    found, token = [], ""
    while token is not None:
        page = await client.get(f"audit?limit=2&next={token}")
        assert page["total"] == {"value": 6, "relation": "eq"}
        found += page["hits"]
        token = page["next"]
    assert found == every
    middle = every[2]["createdAt"]
    since = (await client.get(f"audit?since={middle}"))["hits"]
    until = (await client.get(f"audit?until={middle}"))["hits"]
    assert since + until == every
    assert middle == since[-1]["createdAt"]
    for query in ("since=soon", "until=soon", "limit=0"):
        assert (await client.call("GET", f"audit?{query}")).status == 400
    other = await stack.register("Other")
    assert client.uuid not in str(await acts(other))
    assert_problem(await stack.call("GET", "principal/operators/audit", **stack.operator), 400, "uuid-invalid")


async def test_old_records_are_deleted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    services = stack.app.services
    client = await stack.register("Forgotten")
    await client.post("api-token", {"name": "old"})
    assert len(await acts(client)) == 2
    days = services.config.audit_days

    async def marked() -> list[str]:
        return [row.key async for row in rows_of(services.storage.due, AUDITED)]

    assert any(key.endswith(client.uuid) for key in await marked())
    later = replace(services, now=lambda: services.now() + (days - 1) * DAY)
    await Retention(later).sweep()
    assert len(await acts(client)) == 2
    later = replace(services, now=lambda: services.now() + (days + 2) * DAY)
    await Retention(replace(later, config=replace(services.config, audit_days=0))).sweep()
    assert len(await acts(client)) == 2
    # They are reached even if older ones of another partition cannot be deleted.
    committer, commit = services.storage.committer, services.storage.committer.commit

    async def broken(partition: str, unit: Unit) -> None:
        if partition == HOME:
            raise OSError("storage")
        await commit(partition, unit)

    with monkeypatch.context() as patch:
        patch.setattr(committer, "commit", broken)
        with pytest.raises(ExceptionGroup):
            await Retention(later).sweep()
    assert await acts(client) == []
    await Retention(later).sweep()
    assert not any(key.endswith((client.uuid, HOME)) for key in await marked())


async def test_an_act_that_is_refused_after_its_commit_stays_visible(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, key = await make(stack, "admin", "Unlucky")

    async def fail(*arguments: Any, **more: Any) -> None:
        raise Problem(503, "storage-unavailable", "Storage is away. Retry later.")

    with monkeypatch.context() as patch:
        patch.setattr("tntcore.api.principals.create_identity", fail)
        assert (await stack.call("POST", "principal", {"displayName": "Half made"}, **key)).status == 503
    [hit] = [hit for hit in await operators_acts(stack, key) if hit["by"]["id"] == made["uuid"]]
    assert (hit["act"], hit["status"]) == ("tenant.registered", "STARTED")
    theirs = (await stack.call("GET", f"principal/{hit['principalUuid']}/audit", **key)).json()["hits"]
    assert [one["uuid"] for one in theirs] == [hit["uuid"]]
