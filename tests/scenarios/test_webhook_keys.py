"""What signs a webhook's calls, and how its keys are changed; the call that only tests a webhook."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from tests.scenarios.common import assert_problem, basic
from tests.scenarios.foreign import Foreign, connect_foreign
from tests.scenarios.signer import external_signer
from tests.stack import Client, Hook, Receiver, Stack
from tntcore.storage.commit import Unit
from tntcore.storage.records import Setting
from tntcore.tenancy.webhooks import OVERLAP

SETTING = "settings/DIDCOMM_WEBHOOK"
TEST = "urn:tnt:webhook-test"


@pytest.fixture
async def foreign(stack: Stack) -> Foreign:
    return await connect_foreign(stack, await stack.register("Signed"))


async def called(foreign: Foreign, receiver: Receiver, message_id: str) -> Hook:
    packed = foreign.v1(orjson.dumps(basic(**{"@id": message_id})))
    assert (await foreign.stack.deliver(packed)).status == 202
    return await receiver.until(lambda hook: hook.json()["message"]["@id"] == message_id)


def header(hook: Hook, name: str) -> str:
    return {key.lower(): value for key, value in hook.headers.items()}[name]


def by_secret(hook: Hook, secret: str) -> bool:
    try:
        Webhook(secret).verify(hook.body, dict(hook.headers))
    except WebhookVerificationError:
        return False
    return True


def by_public_key(hook: Hook, public: str) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True))
    signed = f"{header(hook, 'webhook-id')}.{header(hook, 'webhook-timestamp')}.".encode() + hook.body
    for signature in header(hook, "webhook-signature").split(" "):
        version, _, value = signature.partition(",")
        if version == "v1a":
            try:
                key.verify(base64.b64decode(value, validate=True), signed)
            except InvalidSignature:
                continue
            return True
    return False


async def entry_of(client: Client, key: str = SETTING) -> dict[str, Any]:
    entry: dict[str, Any] = (await client.get(key))["setting"][0]
    return entry


async def test_a_call_is_signed_for_both_kinds_of_receiver(foreign: Foreign) -> None:
    client = foreign.client
    receiver = await client.webhook()
    entry = await entry_of(client)
    other = await client.post("settings/TASK_WEBHOOK", {"setting": [{"url": "https://example.com"}]}, 200)
    hook = await called(foreign, receiver, "1")
    assert [part.partition(",")[0] for part in header(hook, "webhook-signature").split(" ")] == ["v1", "v1a"]
    assert by_public_key(hook, entry["publicKey"])
    assert not by_public_key(hook, other["setting"][0]["publicKey"])
    changed = Hook(hook.method, hook.path, hook.headers, hook.body + b" ")
    assert not by_public_key(changed, entry["publicKey"])
    # An entry may be sent back as it was read; a key of the tenant's own is not taken, and not ignored either.
    other_key = {**entry, "publicKey": "whpk_" + "A" * 44}
    refused = await client.call("POST", SETTING, {"setting": [other_key]})
    assert "publicKey is read-only" in assert_problem(refused, 400, "setting-invalid")["detail"]
    [saved] = (await client.post(SETTING, {"setting": [entry]}, 200))["setting"]
    assert saved == entry


async def test_a_secret_is_rotated_and_the_old_one_is_valid_for_a_day(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = foreign.client
    receiver = Receiver()
    await receiver.start()
    client.receivers.append(receiver)
    first = await client.post(SETTING, {"setting": [{"id": "erp", "url": receiver.url}]}, 200)
    keys = [(first["secrets"]["erp"], first["setting"][0]["publicKey"])]
    for _ in range(2):
        made = await client.post(f"{SETTING}/erp/rotate-secret", None, 200)
        assert (made["key"], made["entry"]) == ("DIDCOMM_WEBHOOK", "erp")
        keys.append((made["secret"], made["publicKey"]))
    assert len(set(keys)) == 3
    assert (await entry_of(client))["publicKey"] == keys[-1][1]
    # Saving the setting changes no keys and ends no overlap.
    await client.post(SETTING, {"setting": [await entry_of(client)]}, 200)
    hook = await called(foreign, receiver, "1")
    assert all(by_secret(hook, secret) and by_public_key(hook, public) for secret, public in keys)

    services = client.stack.app.services
    record = await (await client.tenant()).records.get(Setting, "DIDCOMM_WEBHOOK")
    assert record is not None
    secrets = (await (await client.tenant()).webhooks("DIDCOMM_WEBHOOK")).secrets["erp"]
    assert len(secrets.valid(services.now() + OVERLAP - 10_000)) == 6
    assert [secret for secret in secrets.valid(services.now() + OVERLAP) if secret.startswith("whsec_")] == [
        keys[-1][0]
    ]
    for _ in range(5):
        await client.post(f"{SETTING}/erp/rotate-secret", None, 200)
    hook = await called(foreign, receiver, "2")
    assert len(header(hook, "webhook-signature").split(" ")) == 8
    assert not by_secret(hook, keys[0][0])


async def test_a_rotation_whose_answer_was_lost(foreign: Foreign) -> None:
    client = foreign.client
    await client.webhook()
    name = (await entry_of(client))["id"]
    path = f"{SETTING}/{name}/rotate-secret"
    first, second = [await client.post(path, None, 200, idempotency_key="k") for _ in range(2)]
    assert first == second


async def test_rotations_at_the_same_time(foreign: Foreign) -> None:
    client = foreign.client
    receiver = await client.webhook()
    path = f"{SETTING}/{(await entry_of(client))['id']}/rotate-secret"
    answers = await asyncio.gather(*(client.call("POST", path) for _ in range(3)))
    secrets = [answer.json()["secret"] for answer in answers if answer.status == 200]
    assert secrets
    hook = await called(foreign, receiver, "1")
    assert all(by_secret(hook, secret) for secret in secrets)


async def test_the_secret_of_a_signer_is_rotated(stack: Stack) -> None:
    client = await stack.register("Signer's")
    async with external_signer() as signer:
        await signer.serve(client)
        made = await client.post("settings/PRINCIPAL_SETTINGS/externalSigningUrl/rotate-secret", None, 200)
        assert made["secret"].startswith("whsec_")
        assert made["publicKey"] is None
        preferences = await (await client.tenant()).preferences()
        assert preferences.signing_secrets.valid(stack.app.services.now())[0] == made["secret"]
        assert len(preferences.signing_secrets.valid(stack.app.services.now())) == 2
        assert_problem(
            await client.call("POST", "settings/PRINCIPAL_SETTINGS/externalSigningUrl/test"), 404, "entry-unknown"
        )


@pytest.mark.parametrize("call", ["rotate-secret", "test", "enable"])
async def test_entries_that_are_not_there(foreign: Foreign, call: str) -> None:
    client = foreign.client
    wanted = {404: {"entry-unknown", "setting-unknown"}}
    for path in (f"{SETTING}/x", "settings/NO_SUCH/x", "settings/PRINCIPAL_SETTINGS/x"):
        answer = await client.call("POST", f"{path}/{call}")
        assert answer.json()["type"].rpartition(":")[2] in wanted[answer.status]
    await client.webhook()
    assert_problem(await client.call("POST", f"{SETTING}/x/{call}"), 404, "entry-unknown")
    assert_problem(await client.call("POST", f"{SETTING}/%01{'x' * 300}/{call}"), 404, "entry-unknown")


@pytest.mark.parametrize("key", ["DIDCOMM_WEBHOOK", "TASK_WEBHOOK"])
async def test_a_test_call(stack: Stack, key: str) -> None:
    client = await stack.register("Tester")
    receiver = Receiver()
    await receiver.start()
    client.receivers.append(receiver)
    entry = {"id": "erp", "url": receiver.url, "match": "nothing like it", "method": "PUT", "headers": {"x-own": "1"}}
    saved = await client.post(f"settings/{key}", {"setting": [entry]}, 200)
    receiver.text = "thanks"
    tested = await client.post(f"settings/{key}/erp/test", None, 200)
    [hook] = receiver.got
    assert (hook.method, header(hook, "x-own"), header(hook, "webhook-id")) == ("PUT", "1", tested["uuid"])
    assert by_secret(hook, saved["secrets"]["erp"])
    assert by_public_key(hook, saved["setting"][0]["publicKey"])
    body = hook.json()
    assert body["type"] == TEST
    if key == "DIDCOMM_WEBHOOK":
        assert body["message"] == {"@type": TEST, "@id": tested["uuid"]}
        assert (body["from"], body["authenticated"], body["eventUuid"]) == (None, False, tested["uuid"])
    else:
        assert body == {"type": TEST, "uuid": tested["uuid"], "status": "TEST"}
    assert (tested["status"], tested["kind"], tested["webhookId"], tested["type"]) == ("DELIVERED", "test", "erp", TEST)
    [attempt] = tested["log"]
    assert (attempt["responseStatus"], attempt["answer"], attempt["error"]) == (200, "thanks", None)

    receiver.answer = lambda hook: (503, {})
    failed = await client.post(f"settings/{key}/erp/test", None, 200)
    assert (failed["status"], failed["error"], failed["nextAttemptAt"]) == ("FAILED", "http-503", None)
    assert [attempt["responseStatus"] for attempt in failed["log"]] == [503]
    await receiver.stop()
    dead = await client.post(f"settings/{key}/erp/test", None, 200)
    assert (dead["status"], dead["error"], dead["responseStatus"]) == ("FAILED", "connect", None)
    hits = (await client.get("delivery?kind=test"))["hits"]
    assert [hit["uuid"] for hit in hits] == [tested["uuid"], failed["uuid"], dead["uuid"]]
    assert_problem(await client.call("POST", f"delivery/{dead['uuid']}/replay"), 409, "delivery-not-replayable")


async def test_a_setting_that_is_saved_while_its_webhook_fails(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a webhook's failures are written down in the setting's row does not get in the way of saving it."""
    client = foreign.client
    await client.webhook()
    tenant = await client.tenant()
    commit = tenant.records.commit
    raced: list[bool] = []

    async def race(unit: Unit) -> None:
        if not raced:
            raced.append(True)
            noted = Unit()
            noted.merge(Setting.row_key("DIDCOMM_WEBHOOK"), {"health": '{"x": {"since": 1, "last": 1}}'})
            await commit(noted)
        await commit(unit)

    monkeypatch.setattr(tenant.records, "commit", race)
    entry = await entry_of(client)
    raced.clear()
    await client.post(SETTING, {"setting": [{**entry, "match": "x"}]}, 200)
    assert raced
    assert (await entry_of(client))["match"] == "x"
