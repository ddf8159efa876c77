from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from devtools.azurite import Azurite
from tests.stack import Client, Stack


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture(scope="session")
async def stack(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("keys")
    running = Stack(azurite.connection_string, folder)
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def pair(stack: Stack) -> tuple[Client, Client]:
    """Two tenants that do not know each other yet."""
    return await stack.register("Acme"), await stack.register("Bolt")
