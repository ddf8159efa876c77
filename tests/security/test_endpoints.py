"""Where partners say that they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.test_slow_agents import connection_with
from tests.stack import Stack


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
