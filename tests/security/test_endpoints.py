"""Where partners say that they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.common import basic
from tests.scenarios.test_slow_agents import connection_with
from tests.security.agents import Agent
from tests.security.handshakes import complete, connections, invited, until_state
from tests.stack import Client, Stack
from tntcore.protocols.did_exchange import DID_EXCHANGE_1_1
from tntcore.shares import party


@pytest.mark.parametrize("url", ["https://[", "https://a]b/", "https://[::1", "https://\x1b[31m", "http://"])
async def test_an_endpoint_that_is_no_url_fails_for_what_it_is(stack: Stack, url: str) -> None:
    client = await stack.register("Acme")
    await connection_with(stack, client, url, ["hello"])
    delivery: dict[str, Any] = {}

    async def tried() -> bool:
        [found] = (await client.get("delivery"))["hits"]
        delivery.update(found)
        return bool(found["attempts"])

    await stack.eventually(tried)
    assert delivery["error"] == "invalid-url"


async def test_requests_to_a_strangers_endpoint_are_in_the_strangers_share(
    tenant: Client, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And later ones in the share of the entrance: strangers make any number of connections there."""
    egress, asked = tenant.stack.app.services.egress, list[tuple[str, str]]()
    request = egress.request

    async def watched(method: str, url: str, **rest: Any) -> Any:
        if url == agent.endpoint:
            asked.append((party().sender, party().entrance))
        return await request(method, url, **rest)

    monkeypatch.setattr(egress, "request", watched)
    made, pthid, key = await invited(tenant, multiUse=True)
    sent = agent.request(DID_EXCHANGE_1_1, pthid)
    await agent.send(sent, key)
    _, ours = await agent.hears("/response")
    assert set(asked) == {("strangers", made["uuid"])}
    asked.clear()
    await agent.send(complete(DID_EXCHANGE_1_1, sent), ours)
    [connection] = await connections(tenant)
    await until_state(tenant, connection["uuid"], "completed")
    await tenant.act(connection["contactUuid"], basic("hello"))
    await agent.hears("/message")
    assert set(asked) == {("agents", made["uuid"])}
