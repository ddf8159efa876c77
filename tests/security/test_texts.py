"""Names and reasons that look like something else: refused from tenants, shown harmless from strangers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.security.agents import Agent
from tests.security.handshakes import connections, invited, report, requested, stored, until_state
from tests.stack import Client
from tntcore.protocols.did_exchange import DID_EXCHANGE_1_1

HOSTILE = "Your bank\u202e\x1b[2J\nand more"
HARMLESS = "Your bank\ufffd\ufffd[2J and more"
NO_LINES = ["two\nlines", "reordered \u202egnp.exe", "isolated \u2067x\u2069", "\x1b[31mred", "\u2028", "nul\x00"]


def member_of(path: str, name: str, value: str) -> dict[str, Any]:
    if path == "contact":
        return {"contact": {"email": "a@b.example", name: value}}
    return {name: value}


@pytest.mark.parametrize(
    ("path", "name", "code"),
    [
        ("invitation", "label", "label-invalid"),
        ("invitation", "goal", "goal-invalid"),
        ("invitation", "goalCode", "goal-code-invalid"),
        ("contact", "displayName", "display-name-invalid"),
        ("contact", "internalRef", "internal-ref-invalid"),
        ("identity", "displayName", "display-name-invalid"),
    ],
)
async def test_a_tenants_text_of_more_than_a_line_is_refused(tenant: Client, path: str, name: str, code: str) -> None:
    for text in NO_LINES:
        answer = await tenant.call("POST", path, member_of(path, name, text))
        assert "must be a text on one line, without control characters" in assert_problem(answer, 400, code)["detail"]
    for text in ("שלום", "مرحبا \u200fعالم", "👩\u200d👩\u200d👧"):
        assert (await tenant.call("POST", path, member_of(path, name, text))).status == 201


@pytest.mark.parametrize("name", ["label", "goal", "goalCode"])
@pytest.mark.parametrize("text", ["", " ", "\u3000", "\u200b"])
async def test_an_empty_text_of_an_invitation_is_refused(tenant: Client, name: str, text: str) -> None:
    problem = assert_problem(
        await tenant.call("POST", "invitation", {name: text}),
        400,
        f"{'goal-code' if name == 'goalCode' else name}-invalid",
    )
    assert name in problem["detail"]
    assert (await tenant.get("invitation"))["hits"] == []


async def test_a_strangers_label_names_the_contact_harmlessly_and_is_kept(tenant: Client, agent: Agent) -> None:
    _, pthid, key = await invited(tenant)
    request = {**agent.request(DID_EXCHANGE_1_1, pthid), "label": HOSTILE}
    await agent.send(request, key)
    record = await stored(tenant, request["@id"])
    contact = await tenant.get(f"contact/{record.contact_uuid}")
    assert contact["displayName"] == HARMLESS
    assert (await tenant.get(f"message/{record.uuid}"))["message"]["label"] == HOSTILE


@pytest.mark.parametrize("label", ["", " ", "\n", "\u200b\u2060", 7, None])
async def test_a_request_with_a_label_that_says_nothing(tenant: Client, agent: Agent, label: Any) -> None:
    _, pthid, key = await invited(tenant)
    await agent.send({**agent.request(DID_EXCHANGE_1_1, pthid), "label": label}, key)
    await agent.hears("/response")
    [connection] = await connections(tenant)
    assert not (await tenant.get(f"contact/{connection['contactUuid']}"))["displayName"]


@pytest.mark.parametrize("accept", [True, False])
async def test_an_invitations_label_names_the_contact_harmlessly(tenant: Client, agent: Agent, accept: bool) -> None:
    invitation = {**agent.invitation(DID_EXCHANGE_1_1), "label": HOSTILE, "goal": HOSTILE}
    contact = await tenant.post("contact", {"invitation": invitation, "accept": accept})
    assert contact["displayName"] == HARMLESS
    named = {"invitation": invitation, "accept": accept, "contact": {"displayName": "Partner"}}
    assert (await tenant.post("contact", named))["displayName"] == "Partner"


async def test_a_partners_reason_is_shown_on_one_line(tenant: Client, agent: Agent) -> None:
    uuid, request, ours = await requested(tenant, agent, DID_EXCHANGE_1_1)
    said = report(DID_EXCHANGE_1_1, request["@id"])
    await agent.send({**said, "explain": HOSTILE}, ours)
    assert (await until_state(tenant, uuid, "abandoned"))["error"] == f"request_not_accepted: {HARMLESS}"
