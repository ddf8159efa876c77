"""Calls as clients of the original API write them; docs/interop.md lists them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem, basic
from tests.stack import Client, Stack

UUID = "019a8c3e-5b7d-7e2f-9a41-5d6e7f809a1b"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("action/DIDCOMM", {}),
        ("action/didcomm", {"command": "message"}),
        ("didcomm", {"type": "DIDCOMM"}),
        ("asset", {"type": "DIDCOMM"}),
        ("asset", {}),
    ],
)
async def test_an_action(stack: Stack, pair: tuple[Client, Client], path: str, more: dict[str, str]) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, _ = await stack.connect(acme, bolt)
    body = {"from": acme.identity["uuid"], "to": mine.contact_uuid, "data": {"message": basic(path)}, **more}
    # Not by `Stack.call`: what the older calls answer is not in the API document under their paths.
    async with stack.session.post(f"{stack.url}/api/{path}", json=body, headers=_key(acme.key)) as answer:
        assert answer.status == 201
        action = await answer.json()
    assert (action["type"], action["status"]) == ("DIDCOMM", "ACTIVE")
    got = (await hook.until(lambda hook: True)).json()
    assert got["message"]["content"] == path


async def test_an_action_at_the_public_endpoint_needs_the_key(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    mine, _ = await stack.connect(acme, bolt)
    body = {"type": "DIDCOMM", "to": mine.contact_uuid, "data": {"message": basic("x")}}
    with stack.described.whatever_is_asked():
        assert_problem(await stack.call("POST", "didcomm", body), 400, "message-not-an-envelope")
        envelope: dict[str, Any] = {"targetPrincipalUuid": UUID, "message": {"type": "DIDCOMM"}}
        answer = await acme.call("POST", "didcomm", envelope)
        assert_problem(answer, 400, "message-not-an-envelope")
    async with stack.session.post(f"{stack.url}/api/didcomm", json=body, headers=_key("tnt_wrong")) as refused:
        assert refused.status == 401
        assert (await refused.json())["type"] == "urn:tnt:problem:key-unknown"


def _key(key: str) -> dict[str, str]:
    return {"tnt-subscription-key": key}


@pytest.mark.parametrize("what", ["credential", "presentation"])
async def test_verify_by_get(pair: tuple[Client, Client], what: str) -> None:
    acme, _ = pair
    assert_problem(await acme.call("GET", f"{what}/{UUID}/verify"), 404, f"{what}-unknown")


async def test_an_invitation_accepted_with_what_the_contact_is_called(pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    invitation = await acme.post("invitation", {})
    contact = {"displayName": "Acme", "email": "orders@acme.example"}
    made = await bolt.post("contact", {"invitationId": invitation["uuid"], "contact": contact})
    assert (made["displayName"], made["email"]) == ("Acme", "orders@acme.example")


async def test_the_older_name_of_the_external_signer(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    given = {"setting": {"externalSignerUrl": "https://signer.example/sign"}}
    saved = await acme.post("settings/PRINCIPAL_SETTINGS", given, 200)
    assert saved["setting"] == {"externalSigningUrl": "https://signer.example/sign"}


async def test_saving_a_setting_again_by_its_key_shows_the_secret_again(pair: tuple[Client, Client]) -> None:
    acme, _ = pair
    given = {"setting": [{"url": "https://erp.example/"}]}
    first = await acme.post("settings/TASK_WEBHOOK", given, 200, idempotency_key="once")
    assert first["secrets"]
    assert await acme.post("settings/TASK_WEBHOOK", given, 200, idempotency_key="once") == first
