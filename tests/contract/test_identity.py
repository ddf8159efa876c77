"""Storage and key vault opened by the app's managed identity, with the SDKs' own clients over https.

Azurite checks the claims of a token (audience, issuer, times); the key vault is a stand-in: see `tests.contract.cloud`.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from azure.core.exceptions import AzureError, HttpResponseError

from devtools.azurite import ACCOUNT, Azurite
from tests.contract.cloud import CLIENT_ID, Certificate, IdentityEndpoint, KeyVault, base64url
from tests.contract.master_keys import MasterKeysContract
from tntcore.cloud import Cloud
from tntcore.config import CloudIdentity, Config
from tntcore.keys.custody import Custody, CustodyError, MasterKeys, WrappedKey
from tntcore.keys.vault import LATEST_SECONDS, VaultMasterKeys
from tntcore.storage.storage import Storage
from tntcore.storage.transactions import Operation
from tntcore.telemetry import Meter


@pytest.fixture(scope="module")
def azurite_with_identities(certificate: Certificate) -> Iterator[Azurite]:
    with Azurite(certificate=(certificate.certificate, certificate.key)) as running:
        yield running


@pytest.fixture
def config(azurite_with_identities: Azurite) -> Config:
    blob, queue, table = (f"https://127.0.0.1:{port}/{ACCOUNT}" for port in azurite_with_identities.ports)
    return Config.read(
        {
            "AzureWebJobsStorage__credential": "managedidentity",
            "AzureWebJobsStorage__clientId": CLIENT_ID,
            "AzureWebJobsStorage__blobServiceUri": blob,
            "AzureWebJobsStorage__queueServiceUri": queue,
            "AzureWebJobsStorage__tableServiceUri": table,
            "TNT_PUBLIC_URL": "https://didcomm.example.com",
            "TNT_KEY_VAULT_KEY": "https://vault.vault.azure.net/keys/master",
        }
    )


async def test_storage_is_opened_by_the_identity(config: Config, cloud: Cloud, endpoint: IdentityEndpoint) -> None:
    assert config.identity == CloudIdentity(managed=True, client_id=CLIENT_ID)
    storage = Storage(config.storage, Meter(), lambda queue, delay: None, cloud)
    assert await storage.reachable() == {"tables": True, "queues": True, "blobs": True}
    partition = uuid.uuid4().hex
    # Each in its own way creates what is missing, too.
    await storage.records.transact(partition, [Operation("create", "row", {"value": 7})])
    row = await storage.records.get(partition, "row")
    assert row is not None
    assert row.values["value"] == 7
    assert (await storage.records.scan(partition, "", "~", limit=5)).rows == [row]
    await storage.relay.add(b'"item"')
    await storage.bodies.put("a/b", b"body")
    assert await storage.bodies.get("a/b") == b"body"
    assert set(endpoint.given) == {"https://storage.azure.com"}
    await storage.close()


async def test_storage_refuses_who_has_no_token(
    config: Config, cloud: Cloud, endpoint: IdentityEndpoint, certificate: Certificate
) -> None:
    other = Cloud(CloudIdentity(managed=True, client_id="another"), certificate.trust)
    storage = Storage(config.storage, Meter(), lambda queue, delay: None, other)
    with pytest.raises(AzureError):
        await storage.records.get("a", "b")
    await storage.close()
    await other.close()


async def test_storage_whose_certificate_is_not_trusted_is_not_spoken_to(
    config: Config, endpoint: IdentityEndpoint
) -> None:
    cloud = Cloud(CloudIdentity(managed=True, client_id=CLIENT_ID))
    storage = Storage(config.storage, Meter(), lambda queue, delay: None, cloud)
    assert await storage.reachable() == {"tables": False, "queues": False, "blobs": False}
    await storage.close()
    await cloud.close()


class Vault:
    """A key vault, master keys in it, and the clock that they go by."""

    def __init__(self, vault: KeyVault, cloud: Cloud) -> None:
        self.vault = vault
        self.time = 0.0
        self.keys = VaultMasterKeys(vault.key, cloud, lambda: self.time)

    def rotate(self) -> str:
        """A new version, of which the service has heard."""
        self.time += LATEST_SECONDS
        return self.vault.rotate()


@pytest.fixture
async def vault(certificate: Certificate, cloud: Cloud) -> AsyncIterator[Vault]:
    async with KeyVault(certificate) as running:
        yield Vault(running, cloud)


class TestVaultMasterKeys(MasterKeysContract):
    @pytest.fixture
    def keys(self, vault: Vault) -> VaultMasterKeys:
        self._vault = vault
        return vault.keys

    async def rotate(self, keys: MasterKeys) -> None:
        self._vault.rotate()

    async def test_a_known_version_that_never_was_is_unknown(self, vault: Vault) -> None:
        for version in (secrets.token_hex(16), "../../secrets/x", "", "a" * 500):
            with pytest.raises(CustodyError, match="unknown-master-key"):
                await vault.keys.unwrap(WrappedKey(version, bytes(256)), context="a")

    async def test_wrapping_asks_the_vault_once_and_unwrapping_each_time(self, vault: Vault) -> None:
        wrapped = [await vault.keys.wrap(bytes(32), context="a") for _ in range(3)]
        assert vault.vault.calls == ["get"]
        for each in wrapped:
            await vault.keys.unwrap(each, context="a")
        assert vault.vault.calls == ["get", *["unwrapkey"] * 3]

    async def test_a_new_version_is_heard_of_after_its_time(self, vault: Vault) -> None:
        before = await vault.keys.current()
        made = vault.vault.rotate()
        vault.time += LATEST_SECONDS - 1
        assert await vault.keys.current() == before
        vault.time += 1
        assert await vault.keys.current() == made

    async def test_a_version_that_is_switched_off_is_not_taken_for_a_wrong_key(self, vault: Vault) -> None:
        wrapped = await vault.keys.wrap(bytes(32), context="a")
        vault.vault.disabled.add(wrapped.version)
        with pytest.raises(HttpResponseError) as caught:
            await vault.keys.unwrap(wrapped, context="a")
        assert caught.value.status_code == 403
        vault.vault.disabled.clear()
        assert await vault.keys.unwrap(wrapped, context="a") == bytes(32)

    async def test_a_vault_that_is_busy_is_asked_again(self, vault: Vault) -> None:
        wrapped = await vault.keys.wrap(bytes(32), context="a")
        vault.vault.throttle = 2
        assert await vault.keys.unwrap(wrapped, context="a") == bytes(32)
        vault.vault.throttle = 100
        with pytest.raises(HttpResponseError):
            await vault.keys.unwrap(wrapped, context="a")

    async def test_nothing_of_the_key_is_shown(self, vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        data_key = secrets.token_bytes(32)
        wrapped = await vault.keys.wrap(data_key, context="a")
        with pytest.raises(CustodyError) as caught:
            await vault.keys.unwrap(wrapped, context="b")
        await vault.keys.unwrap(wrapped, context="a")
        shown = caplog.text + repr(vault.keys) + str(caught.value)
        assert base64url(data_key)[:20] not in shown
        assert "eyJ" not in shown, "a token"


async def test_data_keys_stay_in_memory_for_their_time(vault: Vault) -> None:
    stored: dict[str, WrappedKey] = {}

    async def load(principal: str) -> WrappedKey | None:
        return stored.get(principal)

    custody = Custody(vault.keys, load, lambda: vault.time, ttl=60)
    stored["a"] = await custody.create("a")
    await custody.data_key("a")
    assert "unwrapkey" not in vault.vault.calls
    vault.time = 60
    sealed = (await custody.data_key("a")).seal(b"secret", context="x")
    await custody.data_key("a")
    assert vault.vault.calls.count("unwrapkey") == 1
    vault.rotate()
    rewrapped = await custody.rewrap(stored["a"], "a")
    assert rewrapped.version == await vault.keys.current() != stored["a"].version
    stored["a"] = rewrapped
    assert (await custody.data_key("a")).open(sealed, context="x") == b"secret"
