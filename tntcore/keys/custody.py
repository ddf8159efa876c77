"""Tenants' secrets at rest.

Each principal has one data key; whatever is kept of the principal (private keys, message bodies) is sealed under it, so
that destroying the data key destroys them all. A data key is stored only wrapped by a master key, which a `MasterKeys`
holds: a local file in development, a key vault in production (`tntcore.keys.vault`).

Sealing is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03). Its nonce of 24 bytes may be chosen at random for every
value under one key for ever; 12 bytes may not. The record and tenant of a value are associated data, so that a value
moved to another record or tenant does not open.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from tntcore.caching import SPREAD, SharedCache

log = logging.getLogger(__name__)

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 24
_TAG_BYTES: Final = 16
_FORMAT: Final = b"\x01"
_QUIET: Final = 60.0  # seconds from one warning of a missing master key to the next


class CustodyError(Exception):
    """A secret is unavailable.

    Args:
        code: `sealed-by-other` (another key, another context, or altered: nobody can tell which), `destroyed` (the
            principal has no data key any more), `unknown-master-key`, `key-file`.
        detail: for the log. Never contains key material or plaintext.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    @property
    def is_passing(self) -> bool:
        """Whether the secret still exists and may become available: an operator has to restore the master key's
        version.
        """
        return self.code == "unknown-master-key"


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key encrypted by a master key, as it is stored. `version` names the master key."""

    version: str
    ciphertext: bytes


class MasterKeys(Protocol):
    """Wraps data keys. Versions are opaque; every version that ever wrapped can still unwrap."""

    async def current(self) -> str:
        """Returns the version that wraps now."""

    async def wrap(self, data_key: bytes, *, context: str) -> WrappedKey:
        """Wraps 32 bytes under the current version, bound to `context`."""

    async def unwrap(self, wrapped: WrappedKey, *, context: str) -> bytes:
        """Returns the 32 bytes.

        Raises:
            CustodyError: `sealed-by-other` if altered or wrapped in another context; `unknown-master-key` if the
                version is not known here.
        """


class DataKey:
    """Seals and opens the data of one principal."""

    __slots__ = ("_fingerprint_key", "_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a data key has {KEY_BYTES} bytes")
        self._key = key
        self._fingerprint_key = hashlib.blake2b(key=key, person=b"fingerprint", digest_size=KEY_BYTES).digest()

    def __repr__(self) -> str:
        return "DataKey(...)"

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypts for `context`, which identifies the data (principal and record or key id).

        Returns:
            format (1 byte), nonce (24), ciphertext, tag (16): 41 bytes more than the plaintext.
        """
        return _FORMAT + _encrypt(self._key, plaintext, _FORMAT + context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypts data that was sealed for the same `context`.

        Raises:
            CustodyError: `sealed-by-other`, whatever the reason.
        """
        if sealed[:1] != _FORMAT:
            raise CustodyError("sealed-by-other", "this key does not open this value in this context")
        return _decrypt(self._key, sealed[1:], _FORMAT + context.encode())

    def fingerprint(self, data: bytes) -> str:
        """Returns a value that identifies equal data of this principal without revealing it: HMAC-SHA256 under a key
        derived from the data key. Outsiders cannot guess it, and it is useless once the data key is destroyed.

        Returns:
            64 hexadecimal digits.
        """
        return hmac.digest(self._fingerprint_key, data, "sha256").hex()


class MissingKey(DataKey):
    """A principal's data key that cannot be unwrapped now. It seals and opens nothing.

    Args:
        why: the error that `seal`, `open` and `fingerprint` raise.
    """

    __slots__ = ("_why",)

    def __init__(self, why: Exception) -> None:
        super().__init__(bytes(KEY_BYTES))
        self._why = why

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        raise self._error()

    def open(self, sealed: bytes, *, context: str) -> bytes:
        raise self._error()

    def fingerprint(self, data: bytes) -> str:
        raise self._error()

    def _error(self) -> Exception:
        return self._why.with_traceback(None)


class Custody:
    """The data keys of principals, unwrapped when they are needed and cached for a short time.

    Args:
        master: wraps and unwraps.
        load: the stored wrapped key of a principal; None if there is none (any more).
        now: a clock in seconds that never goes back.
        ttl: seconds for which an unwrapped key stays in memory: after that time, a key destroyed by another process is
            gone here too.
        capacity: how many of them.
    """

    def __init__(
        self,
        master: MasterKeys,
        load: Callable[[str], Awaitable[WrappedKey | None]],
        now: Callable[[], float],
        *,
        ttl: float = 300.0,
        capacity: int = 10_000,
    ) -> None:
        self._master = master
        self._stored = load
        self._ttl = ttl
        self._now = now
        self._said = -_QUIET
        self._keys: SharedCache[DataKey] = SharedCache(now, capacity, SPREAD)

    async def create(self, principal: str) -> WrappedKey:
        """Makes a wrapped data key for a new principal, for the caller to store. Storing it over an older one makes
        everything that one sealed unreadable.
        """
        key = secrets.token_bytes(KEY_BYTES)
        wrapped = await self._master.wrap(key, context=_wrapping_context(principal))
        self._keys.drop(principal)
        self._keys.put(principal, DataKey(key), self._ttl)
        return wrapped

    async def data_key(self, principal: str) -> DataKey:
        """Returns the principal's data key, from memory if it is there.

        Raises:
            CustodyError: `destroyed` if no wrapped key is stored, else those of `MasterKeys.unwrap`.
        """
        return await self._keys.get(principal, lambda: self._unwrap(principal))

    def cached(self, principal: str) -> DataKey | None:
        """Returns the principal's data key if it is in memory. Never waits."""
        return self._keys.peek(principal)

    def forget(self, principal: str) -> None:
        """Drops the principal's data key from memory, as after its destruction."""
        self._keys.drop(principal)

    async def rewrap(self, wrapped: WrappedKey, principal: str) -> WrappedKey:
        """Wraps the same data key under the current master key; returns it unchanged if it is already.

        Raises:
            CustodyError: those of `MasterKeys.unwrap`.
        """
        if wrapped.version == await self._master.current():
            return wrapped
        context = _wrapping_context(principal)
        return await self._master.wrap(await self._master.unwrap(wrapped, context=context), context=context)

    async def _unwrap(self, principal: str) -> tuple[DataKey, float]:
        wrapped = await self._stored(principal)
        if wrapped is None:
            raise CustodyError("destroyed", f"principal {principal} has no data key")
        try:
            return DataKey(await self._master.unwrap(wrapped, context=_wrapping_context(principal))), self._ttl
        except CustodyError as error:
            if error.is_passing and self._now() - self._said >= _QUIET:
                self._said = self._now()
                log.warning("calls are answered 503 and messages wait: %s", error)
            raise


class LocalMasterKeys:
    """Master keys in a JSON file that only its owner may read. For development: the file unlocks everything.

    Args:
        path: created with one fresh key if missing. Its form is `{"current": version, "keys": {version: base64}}`.

    Raises:
        CustodyError: `key-file` if others may read it, or it is not of that form.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with suppress(FileExistsError):
            if not path.exists():
                self._write({"1": secrets.token_bytes(KEY_BYTES)}, "1", replace=False)
        self._keys, self._current = self._read()
        log.warning(
            "DEVELOPMENT ONLY: master keys are in the file %s. Whoever can read it can read every tenant's secrets. "
            "Use a key vault in production.",
            path,
        )

    def __repr__(self) -> str:
        return f"LocalMasterKeys({str(self._path)!r})"

    @staticmethod
    def check(path: Path) -> None:
        """Raises `CustodyError` if the file exists and cannot be used."""
        if path.exists():
            _read_keys(path)

    async def current(self) -> str:
        return self._current

    async def wrap(self, data_key: bytes, *, context: str) -> WrappedKey:
        version = self._current
        return WrappedKey(version, _encrypt(self._keys[version], data_key, _master_context(version, context)))

    async def unwrap(self, wrapped: WrappedKey, *, context: str) -> bytes:
        if wrapped.version not in self._keys:
            # Another process may have rotated since this one read the file.
            self._keys, self._current = self._read()
        key = self._keys.get(wrapped.version)
        if key is None:
            raise CustodyError("unknown-master-key", f"there is no master key {wrapped.version!r} in {self._path}")
        return _decrypt(key, wrapped.ciphertext, _master_context(wrapped.version, context))

    def rotate(self) -> str:
        """Adds a version, which wraps from now on; the older ones still unwrap. Returns its name."""
        keys, _ = self._read()
        version = str(max(int(name) for name in keys) + 1)
        self._write(keys | {version: secrets.token_bytes(KEY_BYTES)}, version, replace=True)
        self._keys, self._current = self._read()
        return version

    def _read(self) -> tuple[dict[str, bytes], str]:
        return _read_keys(self._path)

    def _write(self, keys: dict[str, bytes], current: str, *, replace: bool) -> None:
        text = json.dumps(
            {"current": current, "keys": {version: base64.b64encode(key).decode() for version, key in keys.items()}}
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            # A link fails if another process was first, whose keys then hold; a rename would lose them.
            if replace:
                os.replace(draft, self._path)
            else:
                os.link(draft, self._path)
        finally:
            draft.unlink(missing_ok=True)


def _read_keys(path: Path) -> tuple[dict[str, bytes], str]:
    try:
        if path.stat().st_mode & 0o077:
            raise CustodyError("key-file", f"{path} can be read by others: chmod 600 it")
        data = json.loads(path.read_bytes())
        keys = {str(int(version)): base64.b64decode(key, validate=True) for version, key in data["keys"].items()}
        current = str(data["current"])
    except OSError as error:
        raise CustodyError("key-file", f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # The cause could quote the file.
        raise CustodyError("key-file", f"{path} is not a file of master keys") from None
    if current not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
        raise CustodyError("key-file", f"{path} is not a file of master keys")
    return keys, current


def _wrapping_context(principal: str) -> str:
    return f"data-key:{principal}"


def _master_context(version: str, context: str) -> bytes:
    return f"{version}:{context}".encode()


def _encrypt(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, associated, nonce, key)


def _decrypt(key: bytes, data: bytes, associated: bytes) -> bytes:
    if len(data) < _NONCE_BYTES + _TAG_BYTES:
        raise CustodyError("sealed-by-other", "this key does not open this value in this context")
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(data[_NONCE_BYTES:], associated, data[:_NONCE_BYTES], key)
    except CryptoError:
        raise CustodyError("sealed-by-other", "this key does not open this value in this context") from None
