"""A master key in an Azure Key Vault, which never hands it out: tenants' data keys are unwrapped there.

The key is RSA. Wrapping takes only its public half, so it happens here, with RSA-OAEP-256; unwrapping is a call of the
vault (https://learn.microsoft.com/rest/api/keyvault/keys/unwrap-key). RSA-OAEP has no associated data, so a hash of the
context is wrapped along with the data key.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Callable
from typing import Any, Final

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.keyvault.keys import KeyVaultKey
from azure.keyvault.keys.aio import KeyClient
from azure.keyvault.keys.crypto import KeyWrapAlgorithm
from azure.keyvault.keys.crypto.aio import CryptographyClient

from tntcore.caching import SharedCache
from tntcore.cloud import Cloud
from tntcore.keys.custody import KEY_BYTES, CustodyError, WrappedKey

_ALGORITHM: Final = KeyWrapAlgorithm.rsa_oaep_256
# A wrapped key comes from storage. Only a version as vaults write it is put into a URL.
_VERSION: Final = re.compile(r"[0-9a-f]{32}")
# Vaults answer at once or are throttling; the queue redelivers what fails.
_CALLS: Final[dict[str, Any]] = {
    "retry_total": 3,
    "retry_backoff_factor": 0.2,
    "connection_timeout": 10,
    "read_timeout": 10,
}

LATEST_SECONDS: Final = 300.0
"""Seconds for which a process goes on wrapping under the version that was the latest one."""


class VaultMasterKeys:
    """`MasterKeys` of one RSA key in a key vault; its versions are the vault's.

    Args:
        url: `https://<vault>/keys/<name>`, without a version.
        now: a clock in seconds that never goes back.

    Raises, from every method: azure-core's `AzureError` where the vault does not answer, refuses the app's identity, or
        has the key disabled. Nothing is known about the data key then; try again.
    """

    def __init__(self, url: str, cloud: Cloud, now: Callable[[], float]) -> None:
        vault, _, self._name = url.partition("/keys/")
        self._url = url
        self._cloud = cloud
        self._keys = KeyClient(vault, cloud.credential(), transport=cloud.transport(), **_CALLS)
        self._latest: SharedCache[str] = SharedCache(now, 1)
        self._versions: SharedCache[CryptographyClient] = SharedCache(now, 64)

    def __repr__(self) -> str:
        return f"VaultMasterKeys({self._url!r})"

    async def current(self) -> str:
        return await self._latest.get("", self._load_latest)

    async def wrap(self, data_key: bytes, *, context: str) -> WrappedKey:
        version = await self.current()
        client = await self._version(version)
        result = await client.wrap_key(_ALGORITHM, data_key + _digest(context))
        return WrappedKey(version, result.encrypted_key)

    async def unwrap(self, wrapped: WrappedKey, *, context: str) -> bytes:
        if not _VERSION.fullmatch(wrapped.version):
            raise self._unknown(wrapped.version)
        client = await self._version(wrapped.version)
        try:
            result = await client.unwrap_key(_ALGORITHM, wrapped.ciphertext)
        except ResourceNotFoundError:
            raise self._unknown(wrapped.version) from None
        except HttpResponseError as error:
            if error.status_code != 400:
                raise
            raise _sealed_by_other() from None
        key, digest = result.key[:KEY_BYTES], result.key[KEY_BYTES:]
        if not hmac.compare_digest(digest, _digest(context)):
            raise _sealed_by_other()
        return key

    async def _load_latest(self) -> tuple[str, float]:
        key = await self._keys.get_key(self._name)
        version = key.properties.version or ""
        self._versions.put(version, self._client(key), math.inf)
        return version, LATEST_SECONDS

    async def _version(self, version: str) -> CryptographyClient:
        return await self._versions.get(version, lambda: self._load(version))

    async def _load(self, version: str) -> tuple[CryptographyClient, float]:
        try:
            return self._client(await self._keys.get_key(self._name, version)), math.inf
        except ResourceNotFoundError:
            raise self._unknown(version) from None

    def _client(self, key: KeyVaultKey) -> CryptographyClient:
        return CryptographyClient(key, self._cloud.credential(), transport=self._cloud.transport(), **_CALLS)

    def _unknown(self, version: str) -> CustodyError:
        return CustodyError("unknown-master-key", f"{self._url} has no version {version[:40]!r}")


def _digest(context: str) -> bytes:
    return hashlib.sha256(context.encode()).digest()


def _sealed_by_other() -> CustodyError:
    return CustodyError("sealed-by-other", "this master key does not unwrap this data key in this context")
