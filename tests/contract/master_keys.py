"""What every implementation of `MasterKeys` does."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import replace

import pytest

from tntcore.keys.custody import CustodyError, MasterKeys, WrappedKey


class MasterKeysContract(ABC):
    """Subclass it as `Test...` with fixture `keys`, and a way to add a version."""

    @abstractmethod
    async def rotate(self, keys: MasterKeys) -> None:
        """Makes a new version current."""

    async def test_what_was_wrapped_unwraps(self, keys: MasterKeys) -> None:
        data_key = secrets.token_bytes(32)
        wrapped = await keys.wrap(data_key, context="a")
        assert wrapped.version == await keys.current()
        assert data_key not in wrapped.ciphertext
        assert await keys.unwrap(wrapped, context="a") == data_key

    async def test_nothing_unwraps_in_another_context(self, keys: MasterKeys) -> None:
        wrapped = await keys.wrap(bytes(32), context="a")
        for other in ("", "b", "a "):
            with pytest.raises(CustodyError, match="sealed-by-other"):
                await keys.unwrap(wrapped, context=other)

    async def test_nothing_altered_unwraps(self, keys: MasterKeys) -> None:
        wrapped = await keys.wrap(bytes(32), context="a")
        for at in (0, len(wrapped.ciphertext) // 2, len(wrapped.ciphertext) - 1):
            altered = bytearray(wrapped.ciphertext)
            altered[at] ^= 1
            with pytest.raises(CustodyError, match="sealed-by-other"):
                await keys.unwrap(replace(wrapped, ciphertext=bytes(altered)), context="a")
        for cut in (b"", wrapped.ciphertext[:20], wrapped.ciphertext[:-1]):
            with pytest.raises(CustodyError, match="sealed-by-other"):
                await keys.unwrap(replace(wrapped, ciphertext=cut), context="a")

    async def test_wrapping_twice_looks_different(self, keys: MasterKeys) -> None:
        assert await keys.wrap(bytes(32), context="a") != await keys.wrap(bytes(32), context="a")

    async def test_older_versions_still_unwrap(self, keys: MasterKeys) -> None:
        data_key = secrets.token_bytes(32)
        old = await keys.wrap(data_key, context="a")
        await self.rotate(keys)
        new = await keys.wrap(data_key, context="a")
        assert old.version != new.version == await keys.current()
        assert await keys.unwrap(old, context="a") == await keys.unwrap(new, context="a") == data_key
        with pytest.raises(CustodyError, match="sealed-by-other"):
            await keys.unwrap(replace(old, version=new.version), context="a")

    async def test_an_unknown_version_is_named_as_such(self, keys: MasterKeys) -> None:
        with pytest.raises(CustodyError, match="unknown-master-key"):
            await keys.unwrap(WrappedKey("no-such-version", bytes(72)), context="a")
