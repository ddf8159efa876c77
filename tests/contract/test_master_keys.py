from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.master_keys import MasterKeysContract
from tntcore.keys.custody import LocalMasterKeys, MasterKeys


class TestLocalMasterKeys(MasterKeysContract):
    @pytest.fixture
    def keys(self, tmp_path: Path) -> LocalMasterKeys:
        return LocalMasterKeys(tmp_path / "master-keys.json")

    async def rotate(self, keys: MasterKeys) -> None:
        assert isinstance(keys, LocalMasterKeys)
        keys.rotate()
