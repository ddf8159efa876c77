"""From one tenant's action to the other tenant's webhook, as an encrypted message over HTTP."""

from __future__ import annotations

import pytest

from tests.stack import Client, Stack
from tntcore.dids.document import Version


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_an_action_reaches_the_other_tenants_webhook(
    stack: Stack, pair: tuple[Client, Client], version: Version
) -> None:
    acme, bolt = pair
    hook = await bolt.webhook()
    mine, theirs = await stack.connect(acme, bolt, version)
    action = await acme.act(
        mine.contact_uuid, {"@type": "https://didcomm.org/basicmessage/1.0/message", "content": "hi"}
    )
    got = (await hook.until(lambda hook: True)).json()
    assert got["from"] == acme.identity["did"]
    assert got["to"] == bolt.identity["did"]
    assert got["type"] == "https://didcomm.org/basicmessage/1.0/message"
    assert got["authenticated"] is True
    assert got["contactUuid"] == theirs.contact_uuid
    assert got["connectionUuid"] == theirs.uuid
    if version == "v1":
        assert got["message"]["content"] == "hi"
        assert got["message"]["~thread"]["thid"] == action["referenceID"]
    else:
        assert got["message"]["body"] == {"content": "hi"}
        assert got["message"]["thid"] == action["referenceID"]
