"""A tenant that would have the service call itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import assert_problem
from tests.stack import Client, Stack
from tntcore.api.http import KEY_HEADER
from tntcore.tenancy.webhooks import is_own_api

TEST = "settings/DIDCOMM_WEBHOOK/loop/test"


def own(stack: Stack, path: str) -> str:
    return f"{stack.url}{path}"


@pytest.mark.parametrize("key", ["DIDCOMM_WEBHOOK", "TASK_WEBHOOK"])
async def test_a_webhook_at_our_own_api_is_refused(stack: Stack, pair: tuple[Client, Client], key: str) -> None:
    entry: dict[str, Any] = {"id": "loop", "url": own(stack, f"/api/{TEST}")}
    answer = await pair[0].call("POST", f"settings/{key}", {"setting": [entry]})
    assert "itself" in assert_problem(answer, 400, "setting-invalid")["detail"]
    entry = {"id": "loop", "url": "https://receiver.example/", "headers": {KEY_HEADER.title(): "secret"}}
    answer = await pair[0].call("POST", f"settings/{key}", {"setting": [entry]})
    assert KEY_HEADER.title() in assert_problem(answer, 400, "setting-invalid")["detail"]


async def test_a_signer_at_our_own_api_is_refused(stack: Stack, pair: tuple[Client, Client]) -> None:
    setting = {"externalSigningUrl": own(stack, "/api/health")}
    answer = await pair[0].call("POST", "settings/PRINCIPAL_SETTINGS", {"setting": setting})
    assert "itself" in assert_problem(answer, 400, "setting-invalid")["detail"]


async def test_messages_may_be_relayed_to_our_own_didcomm_endpoint(stack: Stack, pair: tuple[Client, Client]) -> None:
    await pair[0].post("settings/DIDCOMM_WEBHOOK", {"setting": [{"url": own(stack, "/api/didcomm")}]}, 200)


async def test_a_loop_through_another_name_ends_at_its_first_turn(
    stack: Stack, pair: tuple[Client, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was saved before such entries were refused, or leads here by a name that is not known to be ours."""
    monkeypatch.setattr("tntcore.api.settings.check_loops", lambda entries, public_url: None)
    headers = {KEY_HEADER: pair[0].key}
    entry = {"id": "loop", "url": own(stack, f"/api/{TEST}"), "headers": headers}
    await pair[0].post("settings/DIDCOMM_WEBHOOK", {"setting": [entry]}, 200)
    answer = (await pair[0].call("POST", TEST, {})).json()
    assert (answer["status"], answer["error"]) == ("FAILED", "http-508")


@pytest.mark.parametrize(
    ("url", "leads_here"),
    [
        ("https://tnt.example/api/action", True),
        ("https://TNT.example:443/api/action", True),
        ("https://tnt.example./", True),
        ("https://tnt.example/api/didcomm/../action", True),
        ("https://tnt.example/api/didcomm", False),
        ("https://tnt.example/API/DIDComm/", False),
        ("https://tnt.example:8443/", False),
        ("https://other.example/", False),
        ("https://tnt.example.other.example/", False),
    ],
)
def test_what_leads_to_ourselves(url: str, leads_here: bool) -> None:
    assert is_own_api(url, "https://tnt.example") is leads_here
