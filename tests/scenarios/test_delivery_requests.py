"""What a delivery sent, as its tenant sees it: all but what would let a reader act in the tenant's name."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.scenarios.common import BASIC, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.stack import Client, Stack
from tntcore.dids.document import Version


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Curious"))


async def receive(foreign: Foreign, **message: Any) -> None:
    packed = foreign.v1(orjson.dumps({"@type": BASIC, **message}))
    assert (await foreign.stack.deliver(packed)).status == 202


async def test_the_request_to_a_webhook(foreign: Foreign) -> None:
    client = foreign.client
    receiver = await client.webhook(headers={"Authorization": "Bearer secret-1"}, id="erp", method="PUT")
    await receive(foreign, **{"@id": "one"}, content="a" * 10)
    hook = await receiver.until(lambda hook: True)
    path = f"delivery/{hook.json()['eventUuid']}"
    answer = await client.call("GET", path)
    request = answer.json()["request"]
    assert (request["method"], request["url"]) == ("PUT", receiver.url + "/hook")
    assert request["body"] == hook.json()
    sent = {name.lower(): value for name, value in hook.headers.items()}
    assert request["headers"].pop("Authorization") == "***"
    assert request["headers"] == {
        "content-type": "application/json",
        "webhook-id": sent["webhook-id"],
        "webhook-timestamp": "***",
        "webhook-signature": "***",
    }
    assert b"secret-1" not in answer.body
    assert "request" not in (await client.get("delivery"))["hits"][0]

    # Settings are not for a key that only reads, and a path may be a secret.
    made = await client.post("api-token", {"scope": "read"})
    reader = await client.stack.call("GET", path, **made["headers"])
    assert reader.json()["request"] == {**answer.json()["request"], "url": receiver.url + "/***"}

    await client.call("DELETE", f"message/{hook.json()['assetUuid']}")
    assert (await client.post("settings/DIDCOMM_WEBHOOK/erp/test", None, 200))["request"]["body"]["type"] == (
        "urn:tnt:webhook-test"
    )


async def test_a_request_with_a_large_body(foreign: Foreign) -> None:
    receiver = await foreign.client.webhook()
    await receive(foreign, **{"@id": "large"}, content="é" * 100_000)
    hook = await receiver.until(lambda hook: True)
    request = (await foreign.client.get(f"delivery/{hook.json()['eventUuid']}"))["request"]
    beginning = request["body"]["tooLarge"].encode()
    assert list(request["body"]) == ["tooLarge"]
    assert 99_990 < len(beginning) <= 100_000
    assert hook.body.startswith(beginning)


async def test_a_request_of_a_webhook_that_is_gone(foreign: Foreign) -> None:
    client = foreign.client
    receiver = await client.webhook()
    await receive(foreign, **{"@id": "one"})
    hook = await receiver.until(lambda hook: True)
    await client.call("DELETE", "settings/DIDCOMM_WEBHOOK")
    assert (await client.get(f"delivery/{hook.json()['eventUuid']}"))["request"] is None


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_request_to_a_partner_is_shown_before_encryption(
    stack: Stack, pair: tuple[Client, Client], version: Version
) -> None:
    acme, bolt = pair
    connection, _ = await stack.connect(acme, bolt, version)
    sent = await acme.act(connection.contact_uuid, basic("plain", amount=12.50, **{"@id": f"m-{version}"}))
    [hit] = (await acme.get(f"delivery?kind=didcomm&action={sent['uuid']}"))["hits"]
    answer = await acme.call("GET", f"delivery/{hit['uuid']}")
    request = answer.json()["request"]
    assert (request["method"], request["url"]) == ("POST", stack.app.services.config.endpoint)
    body = request["body"]
    if version == "v1":
        assert request["headers"] == {"content-type": "application/didcomm-envelope-enc"}
        assert (body["@type"], body["@id"], body["content"]) == (BASIC, "m-v1", "plain")
    else:
        assert request["headers"] == {"content-type": "application/didcomm-encrypted+json"}
        assert (body["type"], body["id"], body["body"]["content"]) == (BASIC, "m-v2", "plain")
        assert body["from"] == connection.my_did
    for secret in (b"ciphertext", b"whsec_", b'"d":'):
        assert secret not in answer.body


async def test_the_proof_of_a_new_did_is_not_shown(stack: Stack, pair: tuple[Client, Client]) -> None:
    acme, bolt = pair
    connection, _ = await stack.connect(acme, bolt, "v2")
    await acme.post(f"connection/{connection.uuid}/rotate", None, 200)
    [hit] = (await acme.get("delivery?kind=didcomm"))["hits"]
    request = (await acme.get(f"delivery/{hit['uuid']}"))["request"]
    assert request["body"]["from_prior"] == "***"
    assert request["body"]["from"] != connection.my_did
