"""A tenant's signer that does not do what it should, and what others could do with it."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

import orjson
import pytest
from nacl.signing import SigningKey

from tests.scenarios.common import assert_problem
from tests.scenarios.signer import ExternalSigner, bind, external_signer, signer_of
from tests.stack import Client, Stack
from tntcore.credentials.formats import SigningError
from tntcore.identities import signing

MESSAGE = b"what is to be signed, and nobody else's business"


@pytest.fixture
async def signer() -> AsyncIterator[ExternalSigner]:
    async with external_signer() as running:
        yield running


@pytest.fixture
async def bound(tenant: Client, signer: ExternalSigner) -> Client:
    await signer.serve(tenant)
    await bind(tenant, signer.did)
    return tenant


def _with(signature: bytes) -> str:
    return orjson.dumps({"signature": base64.b64encode(signature).decode()}).decode()


async def refused(client: Client) -> str:
    signer = await signer_of(client)
    with pytest.raises(SigningError) as error:
        await signer.sign(MESSAGE)
    detail = error.value.detail
    assert MESSAGE.decode() not in detail
    assert base64.urlsafe_b64encode(MESSAGE).decode().rstrip("=") not in detail
    return detail


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda key: _with(SigningKey.generate().sign(MESSAGE).signature), "not by"),
        (lambda key: _with(key.sign(MESSAGE + b".").signature), "not by"),
        (lambda key: _with(bytes(64)), "not by"),
        # As libsodium would take it: the message behind its signature.
        (lambda key: _with(bytes(key.sign(MESSAGE))), "64 bytes"),
        (lambda key: _with(key.sign(MESSAGE).signature[:63]), "64 bytes"),
        (lambda key: _with(b""), "64 bytes"),
        (lambda key: '{"signature": 1}', "64 bytes"),
        (lambda key: '{"signature": "%%%"}', "64 bytes"),
        (lambda key: '{"signature": "\u00e9"}', "64 bytes"),
        (lambda key: "{}", "64 bytes"),
        (lambda key: "[]", "64 bytes"),
        (lambda key: "", "not JSON"),
        (lambda key: "secret of the signer", "not JSON"),
        (lambda key: "[" * 2000, "not JSON"),
    ],
)
async def test_an_answer_that_is_no_signature_of_its_key(
    bound: Client, signer: ExternalSigner, answer: Callable[[SigningKey], str], said: str
) -> None:
    signer.reply = lambda hook: (200, {}, answer(signer.key))
    detail = await refused(bound)
    assert said in detail
    assert "secret of the signer" not in detail


async def test_a_signer_that_redirects(bound: Client, signer: ExternalSigner) -> None:
    async with external_signer() as other:
        other.key = signer.key
        for status in (301, 302, 307, 308):
            location = {"location": other.url}
            signer.reply = lambda hook, status=status, location=location: (  # type: ignore[misc]
                status,
                location,
                signer.answer(MESSAGE),
            )
            assert str(status) in await refused(bound)
        assert other.asked == []


@pytest.mark.parametrize("status", [201, 204, 401, 404, 500, 503])
async def test_a_signer_that_does_not_answer_200(bound: Client, signer: ExternalSigner, status: int) -> None:
    signer.reply = lambda hook: (status, {}, "" if status == 204 else signer.answer(MESSAGE))
    assert str(status) in await refused(bound)


async def test_a_huge_answer(bound: Client, signer: ExternalSigner) -> None:
    signer.reply = lambda hook: (200, {}, signer.answer(MESSAGE)[:-1] + ', "x": "' + "x" * 20_000_000 + '"}')
    started = time.monotonic()
    assert "more than 4096 bytes" in await refused(bound)
    assert time.monotonic() - started < 5


async def test_a_signer_that_hangs(bound: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 5 <= signing.TIMEOUT <= 15
    monkeypatch.setattr(signing, "TIMEOUT", 0.3)
    connected = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        # A byte now and then does not buy more time.
        try:
            while True:
                writer.write(b"H" if len(connected) == 1 else b"")
                await asyncio.sleep(0.05)
        except ConnectionError:
            return

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    await bound.post("settings/PRINCIPAL_SETTINGS", {"setting": {"externalSigningUrl": url}}, 200)
    detail = await refused(bound)
    assert "timeout" in detail or "protocol" in detail
    assert connected
    for writer in connected:
        writer.close()
    server.close()


@pytest.mark.parametrize(
    "url",
    ["https://10.0.0.1/", "http://192.168.1.1/", "https://169.254.169.254/", "http://[::1]/", "https://2130706433/"],
)
async def test_a_signer_at_a_private_address(bound: Client, url: str) -> None:
    await bound.post("settings/PRINCIPAL_SETTINGS", {"setting": {"externalSigningUrl": url}}, 200)
    detail = await refused(bound)
    assert "refused-address" in detail or "invalid-url" in detail or "dns" in detail, detail


async def test_nobody_asks_another_tenants_signer(stack: Stack, bound: Client, signer: ExternalSigner) -> None:
    mallory = await stack.register("Mallory")
    await bind(mallory, signer.did)
    with pytest.raises(SigningError):
        await signer_of(mallory)
    # With the URL itself: the call is not signed with what the signer knows its own service by.
    setting = {"setting": {"externalSigningUrl": signer.url}}
    own = (await mallory.post("settings/PRINCIPAL_SETTINGS", setting, 200))["secrets"]["externalSigningUrl"]
    assert own != signer.secret
    honest = signer.reply
    checked = []

    def reply(hook: object) -> tuple[int, dict[str, str], str]:
        try:
            return honest(hook)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - whatever the library raises
            checked.append(type(error).__name__)
            return 401, {}, ""

    signer.reply = reply
    assert "401" in await refused(mallory)
    assert checked == ["WebhookVerificationError"]
    await (await signer_of(bound)).sign(MESSAGE)
    assert (await mallory.get(f"connection?identityDid={quote(signer.did)}"))["hits"] == []


async def test_an_identity_with_a_key_here_never_asks_a_signer(tenant: Client, signer: ExternalSigner) -> None:
    await signer.serve(tenant)
    made = await tenant.post("identity", {"method": "did:key"})
    for uuid in (tenant.identity["uuid"], made["uuid"]):
        assert len(await (await signer_of(tenant, uuid)).sign(MESSAGE)) == 64
    assert signer.asked == []


async def test_a_did_that_changes_its_document_to_another_did(stack: Stack, tenant: Client) -> None:
    """What the DID's host answers is believed only if it is of that DID."""
    async with external_signer() as host:
        host.web_did = "did:web:bank.example"
        port = host.url.split(":")[2].split("/")[0]
        answer = await tenant.call(
            "PUT", f"identity/{tenant.identity['uuid']}", {"did": f"did:web:127.0.0.1%3A{port}:me"}
        )
        assert_problem(answer, 400, "did-unusable")


async def test_keys_and_secrets_are_in_no_log(
    tenant: Client, signer: ExternalSigner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await tenant.post("identity", {"method": "did:key"})
    local = await signer_of(tenant, made["uuid"])
    await local.sign(MESSAGE)
    await signer.serve(tenant)
    await bind(tenant, signer.did)
    remote = await signer_of(tenant)
    await remote.sign(MESSAGE)
    signer.reply = lambda hook: (500, {}, "")
    await refused(tenant)
    private = local._private.raw  # type: ignore[attr-defined]
    said = caplog.text + repr(local) + repr(remote) + repr(await (await tenant.tenant()).preferences())
    for secret in (private.hex(), repr(private), base64.b64encode(private).decode(), signer.secret, MESSAGE.decode()):
        assert secret not in said
